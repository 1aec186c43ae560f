// The table of reference kernels: one row an op. They decide what each op means.
#include "backends/reference/common.h"

namespace blade::backends {
namespace {

using namespace reference;

Support any_dtype(const KernelRequest&) { return Support::yes(); }

Support floating(const KernelRequest& request) {
  if (ir::is_floating(request.outputs[0].dtype)) return Support::yes();
  return Support::no(std::string("needs a floating type, has ") + ir::dtype_name(request.outputs[0].dtype));
}

constexpr KernelEntry kTable[] = {
    {"reference.pointwise", ir::Op::kPointwise, any_dtype, nullptr, create<run_pointwise>},
    {"reference.cast", ir::Op::kCast, any_dtype, nullptr, create<run_cast>},
    {"reference.conv", ir::Op::kConv, any_dtype, nullptr, create<run_conv>},
    {"reference.conv_transpose", ir::Op::kConvTranspose, any_dtype, nullptr, create<run_conv_transpose>},
    {"reference.matmul", ir::Op::kMatMul, any_dtype, nullptr, create<run_matmul>},
    {"reference.einsum", ir::Op::kEinsum, any_dtype, nullptr, create<run_einsum>},
    {"reference.batch_norm", ir::Op::kBatchNorm, floating, nullptr, create<run_batch_norm>},
    {"reference.attention", ir::Op::kAttention, floating, nullptr, create<run_attention>},
    {"reference.layer_norm", ir::Op::kLayerNorm, floating, nullptr, create<run_layer_norm>},
    {"reference.moments", ir::Op::kMoments, floating, nullptr, create<run_moments>},
    {"reference.lrn", ir::Op::kLrn, floating, nullptr, create<run_lrn>},
    {"reference.pool", ir::Op::kPool, any_dtype, nullptr, create<run_pool>},
    {"reference.softmax", ir::Op::kSoftmax, floating, nullptr, create<run_softmax>},
    {"reference.reduce", ir::Op::kReduce, any_dtype, nullptr, create<run_reduce>},
    {"reference.arg_reduce", ir::Op::kArgReduce, any_dtype, nullptr, create<run_arg_reduce>},
    {"reference.cumulative", ir::Op::kCumulative, any_dtype, nullptr, create<run_cumulative>},
    {"reference.top_k", ir::Op::kTopK, any_dtype, nullptr, create<run_top_k>},
    {"reference.identity", ir::Op::kIdentity, any_dtype, nullptr, create<run_copy>},
    {"reference.ensure_shape", ir::Op::kEnsureShape, any_dtype, nullptr, create<run_copy>},
    {"reference.reshape", ir::Op::kReshape, any_dtype, nullptr, create<run_copy>},
    {"reference.expand_dims", ir::Op::kExpandDims, any_dtype, nullptr, create<run_copy>},
    {"reference.squeeze", ir::Op::kSqueeze, any_dtype, nullptr, create<run_copy>},
    {"reference.transpose", ir::Op::kTranspose, any_dtype, nullptr, create<run_transpose>},
    {"reference.concat", ir::Op::kConcat, any_dtype, nullptr, create<run_concat>},
    {"reference.split", ir::Op::kSplit, any_dtype, nullptr, create<run_split>},
    {"reference.slice", ir::Op::kSlice, any_dtype, nullptr, create<run_slice>},
    {"reference.strided_slice", ir::Op::kStridedSlice, any_dtype, nullptr, create<run_strided_slice>},
    {"reference.pack", ir::Op::kPack, any_dtype, nullptr, create<run_pack>},
    {"reference.unpack", ir::Op::kUnpack, any_dtype, nullptr, create<run_unpack>},
    {"reference.pad", ir::Op::kPad, any_dtype, nullptr, create<run_pad>},
    {"reference.tile", ir::Op::kTile, any_dtype, nullptr, create<run_tile>},
    {"reference.broadcast_to", ir::Op::kBroadcastTo, any_dtype, nullptr, create<run_broadcast_to>},
    {"reference.fill", ir::Op::kFill, any_dtype, nullptr, create<run_fill>},
    {"reference.range", ir::Op::kRange, any_dtype, nullptr, create<run_range>},
    {"reference.shape_of", ir::Op::kShapeOf, any_dtype, nullptr, create<run_shape_of>},
    {"reference.gather", ir::Op::kGather, any_dtype, nullptr, create<run_gather>},
    {"reference.gather_nd", ir::Op::kGatherNd, any_dtype, nullptr, create<run_gather_nd>},
    {"reference.scatter_nd", ir::Op::kScatterNd, any_dtype, nullptr, create<run_scatter_nd>},
    {"reference.one_hot", ir::Op::kOneHot, any_dtype, nullptr, create<run_one_hot>},
    {"reference.reverse", ir::Op::kReverse, any_dtype, nullptr, create<run_reverse>},
    {"reference.depth_to_space", ir::Op::kDepthToSpace, any_dtype, nullptr, create<run_depth_to_space>},
    {"reference.space_to_depth", ir::Op::kSpaceToDepth, any_dtype, nullptr, create<run_space_to_depth>},
    {"reference.space_to_batch", ir::Op::kSpaceToBatch, any_dtype, nullptr, create<run_space_to_batch>},
    {"reference.batch_to_space", ir::Op::kBatchToSpace, any_dtype, nullptr, create<run_batch_to_space>},
    {"reference.resize", ir::Op::kResize, any_dtype, nullptr, create<run_resize>},
    {"reference.scale_and_translate", ir::Op::kScaleAndTranslate, any_dtype, nullptr, create<run_scale_and_translate>},
    {"reference.matrix_band_part", ir::Op::kMatrixBandPart, any_dtype, nullptr, create<run_matrix_band_part>},
    {"reference.bitcast", ir::Op::kBitcast, any_dtype, nullptr, create<run_copy>},
    {"reference.max_pool_argmax", ir::Op::kMaxPoolArgmax, any_dtype, nullptr, create<run_max_pool_argmax>},
    {"reference.extract_patches", ir::Op::kExtractPatches, any_dtype, nullptr, create<run_extract_patches>},
    {"reference.dilation", ir::Op::kDilation, any_dtype, nullptr, create<run_dilation>},
    {"reference.segment_reduce", ir::Op::kSegmentReduce, any_dtype, nullptr, create<run_segment_reduce>},
    {"reference.sparse_reshape", ir::Op::kSparseReshape, any_dtype, nullptr, create<run_sparse_reshape>},
    {"reference.search_sorted", ir::Op::kSearchSorted, any_dtype, nullptr, create<run_search_sorted>},
    {"reference.tensor_scatter", ir::Op::kTensorScatter, any_dtype, nullptr, create<run_tensor_scatter>},
    {"reference.matrix_diag", ir::Op::kMatrixDiag, any_dtype, nullptr, create<run_matrix_diag>},
    {"reference.matrix_diag_part", ir::Op::kMatrixDiagPart, any_dtype, nullptr, create<run_matrix_diag_part>},
    {"reference.matrix_set_diag", ir::Op::kMatrixSetDiag, any_dtype, nullptr, create<run_matrix_set_diag>},
    {"reference.crop_and_resize", ir::Op::kCropAndResize, any_dtype, nullptr, create<run_crop_and_resize>},
    {"reference.combined_non_max_suppression", ir::Op::kCombinedNonMaxSuppression, any_dtype, nullptr,
     create<run_combined_non_max_suppression>},
    {"reference.fft", ir::Op::kFft, floating, nullptr, create<run_fft>},
    {"reference.ctc_greedy_decoder", ir::Op::kCtcGreedyDecoder, any_dtype, nullptr, create<run_ctc_greedy_decoder>},
    {"reference.block_lstm", ir::Op::kBlockLstm, floating, nullptr, create<run_block_lstm>},
    {"reference.recurrence", ir::Op::kRecurrence, floating, nullptr, create<run_recurrence>},
    {"reference.where", ir::Op::kWhere, any_dtype, nullptr, create<run_where>},
    {"reference.non_max_suppression", ir::Op::kNonMaxSuppression, any_dtype, nullptr, create<run_non_max_suppression>},
    {"reference.unique", ir::Op::kUnique, any_dtype, nullptr, create<run_unique>},
    {"reference.list_diff", ir::Op::kListDiff, any_dtype, nullptr, create<run_list_diff>},
    {"reference.fill_empty_rows", ir::Op::kFillEmptyRows, any_dtype, nullptr, create<run_fill_empty_rows>},
    {"reference.dynamic_partition", ir::Op::kDynamicPartition, any_dtype, nullptr, create<run_dynamic_partition>},
    {"reference.set_rows", ir::Op::kSetRows, any_dtype, nullptr, create<run_set_rows>},
    {"reference.append_row", ir::Op::kAppendRow, any_dtype, nullptr, create<run_append_row>},
};

}  // namespace

std::span<const KernelEntry> reference_kernels() { return kTable; }

}  // namespace blade::backends
