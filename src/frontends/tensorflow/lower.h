// Declares the lowering functions of ops.inc; each family is one lower_*.cc file.
#pragma once

#include "frontends/tensorflow/lower_context.h"
#include "frontends/tensorflow/op_table.h"

namespace blade::tensorflow {

Status lower_unary(LowerContext& context, int argument);
Status lower_leaky_relu(LowerContext& context, int argument);
Status lower_binary(LowerContext& context, int argument);
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
Status lower_lrn(LowerContext& context, int argument);
Status lower_matmul(LowerContext& context, int argument);
Status lower_fused_matmul(LowerContext& context, int argument);
Status lower_batch_matmul(LowerContext& context, int argument);
Status lower_einsum(LowerContext& context, int argument);
Status lower_reduce(LowerContext& context, int argument);
Status lower_euclidean_norm(LowerContext& context, int argument);
Status lower_l2_loss(LowerContext& context, int argument);
Status lower_arg_reduce(LowerContext& context, int argument);
Status lower_cumsum(LowerContext& context, int argument);
Status lower_softmax(LowerContext& context, int argument);
Status lower_top_k(LowerContext& context, int argument);
Status lower_shape_of(LowerContext& context, int argument);
Status lower_shape_n(LowerContext& context, int argument);
Status lower_direct(LowerContext& context, int argument);
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
Status lower_non_max_suppression(LowerContext& context, int argument);

// A list as long as `list`, whose elements have these dims (0: not known yet) and are all 0.
Result<ir::ValueId> list_of_elements(LowerContext& context, ir::ValueId list, const std::vector<int64_t>& dims);

// Shared by families: a unary or binary elementwise node.
Result<ir::ValueId> emit_pointwise(LowerContext& context, ir::PointwiseOp op, const char* suffix,
                                   std::vector<ir::ValueId> operands, float alpha = 0, float beta = 0);

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

// The node's 'fused_ops' (BiasAdd, Add, FusedBatchNorm, activations) after `value`; operands from input `first_arg` on.
Result<ir::ValueId> apply_fused_ops(LowerContext& context, const ChannelsLast& layout, ir::ValueId value,
                                    int first_arg);

}  // namespace blade::tensorflow
