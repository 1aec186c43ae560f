// Declares the lowering functions of ops.inc; each family is one lower_*.cc file.
#pragma once

#include "frontends/tensorflow/lower_context.h"
#include "frontends/tensorflow/op_table.h"

namespace blade::tensorflow {

// A node some of whose tensors are complex64; kUnimplemented where the op only takes real numbers.
Status lower_complex_node(LowerContext& context, const OpSpec& spec);

Status lower_unary(LowerContext& context, int argument);
Status lower_leaky_relu(LowerContext& context, int argument);
Status lower_binary(LowerContext& context, int argument);
Status lower_greater_equal(LowerContext& context, int argument);
Status lower_floor(LowerContext& context, int argument);
Status lower_div(LowerContext& context, int argument);
Status lower_select(LowerContext& context, int argument);
Status lower_select_v2(LowerContext& context, int argument);
Status lower_add_n(LowerContext& context, int argument);
Status lower_clip_by_value(LowerContext& context, int argument);
Status lower_cast(LowerContext& context, int argument);
Status lower_bitcast(LowerContext& context, int argument);
Status lower_like(LowerContext& context, int argument);
Status lower_bias_add(LowerContext& context, int argument);
Status lower_approximate_equal(LowerContext& context, int argument);
Status lower_conv(LowerContext& context, int argument);
Status lower_depthwise_conv(LowerContext& context, int argument);
Status lower_conv_transpose(LowerContext& context, int argument);
Status lower_fused_conv(LowerContext& context, int argument);
Status lower_fused_depthwise_conv(LowerContext& context, int argument);
Status lower_max_pool(LowerContext& context, int argument);
Status lower_max_pool_v2(LowerContext& context, int argument);
Status lower_avg_pool(LowerContext& context, int argument);
Status lower_batch_norm(LowerContext& context, int argument);
Status lower_global_batch_norm(LowerContext& context, int argument);
Status lower_lrn(LowerContext& context, int argument);
Status lower_matmul(LowerContext& context, int argument);
Status lower_fused_matmul(LowerContext& context, int argument);
Status lower_batch_matmul(LowerContext& context, int argument);
Status lower_einsum(LowerContext& context, int argument);
Status lower_reduce(LowerContext& context, int argument);
Status lower_euclidean_norm(LowerContext& context, int argument);
Status lower_l2_loss(LowerContext& context, int argument);
Status lower_arg_reduce(LowerContext& context, int argument);
Status lower_cumulative(LowerContext& context, int argument);
Status lower_softmax(LowerContext& context, int argument);
Status lower_top_k(LowerContext& context, int argument);
Status lower_shape_of(LowerContext& context, int argument);
Status lower_shape_n(LowerContext& context, int argument);
Status lower_direct(LowerContext& context, int argument);
Status lower_ensure_shape(LowerContext& context, int argument);
Status lower_expand_dims(LowerContext& context, int argument);
Status lower_squeeze(LowerContext& context, int argument);
Status lower_identity(LowerContext& context, int argument);
Status lower_identity_n(LowerContext& context, int argument);
Status lower_transpose(LowerContext& context, int argument);
Status lower_concat(LowerContext& context, int argument);
Status lower_split(LowerContext& context, int argument);
Status lower_split_v(LowerContext& context, int argument);
Status lower_strided_slice(LowerContext& context, int argument);
Status lower_pack(LowerContext& context, int argument);
Status lower_unpack(LowerContext& context, int argument);
Status lower_pad(LowerContext& context, int argument);
Status lower_mirror_pad(LowerContext& context, int argument);
Status lower_gather(LowerContext& context, int argument);
Status lower_one_hot(LowerContext& context, int argument);
Status lower_reverse(LowerContext& context, int argument);
Status lower_block(LowerContext& context, int argument);
Status lower_square_block(LowerContext& context, int argument);
Status lower_tensor_array(LowerContext& context, int argument);
Status lower_list_reserve(LowerContext& context, int argument);
Status lower_empty_list(LowerContext& context, int argument);
Status lower_list_as_tensor(LowerContext& context, int argument);
Status lower_tensor_as_list(LowerContext& context, int argument);
Status lower_list_get(LowerContext& context, int argument);
Status lower_list_set(LowerContext& context, int argument);
Status lower_list_scatter(LowerContext& context, int argument);
Status lower_list_split(LowerContext& context, int argument);
Status lower_list_length(LowerContext& context, int argument);
Status lower_list_push(LowerContext& context, int argument);
Status lower_list_pop(LowerContext& context, int argument);
Status lower_array_concat(LowerContext& context, int argument);
Status lower_array_close(LowerContext& context, int argument);
Status lower_where(LowerContext& context, int argument);
Status lower_unique(LowerContext& context, int argument);
Status lower_list_diff(LowerContext& context, int argument);
Status lower_dynamic_partition(LowerContext& context, int argument);
Status lower_invert_permutation(LowerContext& context, int argument);
Status lower_resize(LowerContext& context, int argument);
Status lower_scale_and_translate(LowerContext& context, int argument);
Status lower_non_max_suppression(LowerContext& context, int argument);

Status lower_roll(LowerContext& context, int argument);
Status lower_dynamic_slice(LowerContext& context, int argument);
Status lower_dynamic_update_slice(LowerContext& context, int argument);
Status lower_reverse_sequence(LowerContext& context, int argument);
Status lower_dynamic_stitch(LowerContext& context, int argument);
Status lower_tensor_scatter(LowerContext& context, int argument);
Status lower_inplace_update(LowerContext& context, int argument);
Status lower_sparse_to_dense(LowerContext& context, int argument);
Status lower_sparse_matmul(LowerContext& context, int argument);
Status lower_segment_reduce(LowerContext& context, int argument);
Status lower_unsorted_segment(LowerContext& context, int argument);
Status lower_sparse_segment(LowerContext& context, int argument);
Status lower_sparse_reduce(LowerContext& context, int argument);
Status lower_sparse_reorder(LowerContext& context, int argument);
Status lower_bincount(LowerContext& context, int argument);
Status lower_search_sorted(LowerContext& context, int argument);
Status lower_bucketize(LowerContext& context, int argument);
Status lower_in_top_k(LowerContext& context, int argument);
Status lower_broadcast_args(LowerContext& context, int argument);
Status lower_empty(LowerContext& context, int argument);
Status lower_lin_space(LowerContext& context, int argument);
Status lower_cross(LowerContext& context, int argument);
Status lower_matrix_diag(LowerContext& context, int argument);
Status lower_matrix_diag_part(LowerContext& context, int argument);
Status lower_matrix_set_diag(LowerContext& context, int argument);
Status lower_tensor_diag(LowerContext& context, int argument);
Status lower_tensor_diag_part(LowerContext& context, int argument);
Status lower_fake_quant_args(LowerContext& context, int argument);
Status lower_fake_quant(LowerContext& context, int argument);
Status lower_quantize_and_dequantize(LowerContext& context, int argument);
Status lower_adjust_contrast(LowerContext& context, int argument);
Status lower_sparse_reshape(LowerContext& context, int argument);
Status lower_sparse_fill_empty_rows(LowerContext& context, int argument);
Status lower_dequantize(LowerContext& context, int argument);
Status lower_quantize(LowerContext& context, int argument);
Status lower_complex(LowerContext& context, int argument);
Status lower_complex_part(LowerContext& context, int argument);
Status lower_complex_abs(LowerContext& context, int argument);
Status lower_angle(LowerContext& context, int argument);
Status lower_conj(LowerContext& context, int argument);
Status lower_fft(LowerContext& context, int argument);
Status lower_fft_2d(LowerContext& context, int argument);
Status lower_audio_spectrogram(LowerContext& context, int argument);
Status lower_mfcc(LowerContext& context, int argument);
Status lower_ctc_greedy_decoder(LowerContext& context, int argument);
Status lower_relu_grad(LowerContext& context, int argument);
Status lower_sigmoid_grad(LowerContext& context, int argument);
Status lower_activation_grad(LowerContext& context, int argument);
Status lower_power_grad(LowerContext& context, int argument);
Status lower_cross_entropy(LowerContext& context, int argument);
Status lower_max_pool_grad(LowerContext& context, int argument);
Status lower_batch_norm_grad(LowerContext& context, int argument);
Status lower_rgb_to_hsv(LowerContext& context, int argument);
Status lower_hsv_to_rgb(LowerContext& context, int argument);
Status lower_adjust_colors(LowerContext& context, int argument);
Status lower_crop_and_resize(LowerContext& context, int argument);
Status lower_combined_non_max_suppression(LowerContext& context, int argument);
Status lower_extract_patches(LowerContext& context, int argument);
Status lower_dilation(LowerContext& context, int argument);
Status lower_max_pool_argmax(LowerContext& context, int argument);
Status lower_lstm(LowerContext& context, int argument);
Status lower_gru_cell(LowerContext& context, int argument);
Status lower_pad_conv(LowerContext& context, int argument);
Status lower_depthwise_conv_transpose(LowerContext& context, int argument);
// A list as long as `list`, whose elements have these dims (0: not known yet) and are all 0.
Result<ir::ValueId> list_of_elements(LowerContext& context, ir::ValueId list, const std::vector<int64_t>& dims);

// Shared by families: a unary or binary elementwise node.
Result<ir::ValueId> emit_pointwise(LowerContext& context, ir::PointwiseOp op, const char* suffix,
                                   std::vector<ir::ValueId> operands, float alpha = 0, float beta = 0);

// Chains of nodes: after the first error nothing more is added, and finish() gives that error.
class Emitter {
 public:
  explicit Emitter(LowerContext& context) : context_(context) {}
  const Status& status() const { return status_; }
  ir::ValueId emit(ir::Op op, const char* suffix, std::vector<ir::ValueId> inputs, ir::Attrs attrs = ir::EmptyAttrs{});
  ir::ValueId pointwise(ir::PointwiseOp op, const char* suffix, std::vector<ir::ValueId> operands);
  ir::ValueId scalar(ir::DType dtype, double value);
  ir::ValueId ints(const std::vector<int64_t>& values, ir::DType dtype = ir::DType::kInt64);
  ir::ValueId integer(int64_t value, ir::DType dtype = ir::DType::kInt64);
  ir::ValueId cast(ir::ValueId value, ir::DType dtype);
  ir::ValueId reshape(const char* suffix, ir::ValueId value, const std::vector<int64_t>& dims);
  ir::ValueId shape_of(ir::ValueId value, ir::DType dtype = ir::DType::kInt64);
  // Dim `axis` of a tensor as a scalar: a constant where it is known.
  ir::ValueId dim(ir::ValueId value, int axis, ir::DType dtype = ir::DType::kInt64);
  ir::ValueId fill(const char* suffix, ir::ValueId dims, ir::ValueId value);
  Status finish(ir::ValueId value);

 private:
  ir::ValueId take(Result<ir::ValueId> made);
  LowerContext& context_;
  Status status_;
};

// Moves channels last before, and first again after, what a channels-first node does. Empty or "NHWC": nothing moves.
struct ChannelsLast {
  bool move = false;
  int rank = 0;
};
Result<ChannelsLast> channels_last(LowerContext& context, int rank);
Result<ir::ValueId> to_channels_last(LowerContext& context, const ChannelsLast& layout, ir::ValueId value);
// The finished value of the node, moved back.
Result<ir::ValueId> from_channels_last(LowerContext& context, const ChannelsLast& layout, ir::ValueId value);

// The node's 'padding' attribute, and what 'explicit_paddings' gives the spatial dims.
Result<ir::Padding> read_padding(LowerContext& context, int spatial, bool channels_first,
                                 std::vector<int64_t>* explicit_pads);

// x [n, spatial..., c] as TensorFlow's own 3-D kernels (Eigen's) see it with SAME padding: where windows are smaller
// than their strides, so that the last one ends before x does, half of what is left over is cut off in front.
Result<ir::ValueId> cut_left_over(LowerContext& context, ir::ValueId x, ir::Padding padding,
                                  const std::vector<int64_t>& window, const std::vector<int64_t>& strides);

// An error where cut_left_over() would cut something off: TensorFlow does so only where its oneDNN kernels are off.
Status refuse_left_over(LowerContext& context, ir::ValueId x, ir::Padding padding, const std::vector<int64_t>& window,
                        const std::vector<int64_t>& strides);

// The node's 'fused_ops' (BiasAdd, Add, FusedBatchNorm, activations) after `value`; operands from input `first_arg` on.
Result<ir::ValueId> apply_fused_ops(LowerContext& context, const ChannelsLast& layout, ir::ValueId value,
                                    int first_arg);

}  // namespace blade::tensorflow
