// FusedBatchNorm that normalizes by the statistics of its own batch (is_training): instance-like normalization at
// inference, and the form in which Keras 2 writes layer normalization: [1, rows, width, 1] with NCHW.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

using ir::PointwiseOp;

// The channels' values as [channels, 1] or [1, channels, 1, 1], after which they broadcast; nothing where they are all
// `neutral`.
Result<ir::ValueId> apply_channels(LowerContext& context, PointwiseOp op, const char* suffix, ir::ValueId value,
                                   ir::ValueId channels, double neutral, const std::vector<int64_t>& shape) {
  if (context.uniform(channels) == neutral) return value;
  const std::string name = suffix;
  if (!shape.empty()) {
    const ir::ValueId target = context.add_ints(ir::DType::kInt64, shape);
    BLADE_ASSIGN_OR_RETURN(channels,
                           context.emit(ir::Op::kReshape, name + "_channels", {channels, target}, ir::EmptyAttrs{}));
  }
  return emit_pointwise(context, op, suffix, {value, channels});
}

ir::TensorPtr filled(int64_t count, float value) {
  const std::vector<float> values(static_cast<size_t>(count), value);
  return ir::make_tensor<float>(ir::DType::kFloat32, {count}, std::span<const float>(values));
}

// Each channel of [1, rows, width, 1] is a row of its own.
Result<ir::ValueId> normalize_rows(LowerContext& context, int64_t width, float epsilon) {
  const auto shaped = [&](const char* suffix, ir::ValueId value, const std::vector<int64_t>& dims) {
    const ir::ValueId target = context.add_ints(ir::DType::kInt64, dims);
    return context.emit(ir::Op::kReshape, suffix, {value, target}, ir::EmptyAttrs{});
  };
  BLADE_ASSIGN_OR_RETURN(ir::ValueId value, shaped("rows", context.input(0), {-1, width}));
  const ir::ValueId ones = context.add_constant(filled(width, 1)), zeros = context.add_constant(filled(width, 0));
  BLADE_ASSIGN_OR_RETURN(
      value, context.emit(ir::Op::kLayerNorm, "normalize", {value, ones, zeros}, ir::LayerNormAttrs{epsilon}));
  BLADE_ASSIGN_OR_RETURN(value,
                         apply_channels(context, PointwiseOp::kMul, "scale", value, context.input(1), 1, {-1, 1}));
  BLADE_ASSIGN_OR_RETURN(value,
                         apply_channels(context, PointwiseOp::kAdd, "offset", value, context.input(2), 0, {-1, 1}));
  return shaped("", value, {1, -1, width, 1});
}

// Moments over everything but the channels, then (x - mean) / sqrt(variance + epsilon) * scale + offset.
Result<ir::ValueId> normalize_channels(LowerContext& context, int rank, int channel_axis, float epsilon) {
  ir::ReduceAttrs mean_of{ir::ReduceKind::kMean, {}, true};
  for (int axis = 0; axis < rank; ++axis) {
    if (axis != channel_axis) mean_of.axes.push_back(axis);
  }
  const ir::ValueId x = context.input(0);
  BLADE_ASSIGN_OR_RETURN(ir::ValueId mean, context.emit(ir::Op::kReduce, "mean", {x}, mean_of));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId centered, emit_pointwise(context, PointwiseOp::kSub, "centered", {x, mean}));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId squares, emit_pointwise(context, PointwiseOp::kSquare, "squares", {centered}));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId variance, context.emit(ir::Op::kReduce, "variance", {squares}, mean_of));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId small, context.add_scalar(context.dtype(x), epsilon));
  BLADE_ASSIGN_OR_RETURN(variance, emit_pointwise(context, PointwiseOp::kAdd, "shifted", {variance, small}));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId inverse, emit_pointwise(context, PointwiseOp::kRsqrt, "inverse", {variance}));
  std::vector<int64_t> shape;
  if (channel_axis != rank - 1) {
    shape.assign(static_cast<size_t>(rank), 1);
    shape[static_cast<size_t>(channel_axis)] = -1;
  }
  BLADE_ASSIGN_OR_RETURN(inverse,
                         apply_channels(context, PointwiseOp::kMul, "scale", inverse, context.input(1), 1, shape));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId value,
                         emit_pointwise(context, PointwiseOp::kMul, "normalize", {centered, inverse}));
  return apply_channels(context, PointwiseOp::kAdd, "offset", value, context.input(2), 0, shape);
}

}  // namespace

Status lower_batch_statistics(LowerContext& context, float epsilon) {
  for (int i = 1; i < 6; ++i) {
    if (context.output_used(i)) return unimplemented("its output " + std::to_string(i) + " (statistics) is used");
  }
  BLADE_ASSIGN_OR_RETURN(std::string activation, string_attr_or(context.node(), "activation_mode", "Identity"));
  if (activation != "Identity" || context.num_inputs() != 5)
    return unimplemented("it computes its statistics from the batch (is_training) and fuses more");
  if (context.dtype(context.input(0)) != context.dtype(context.input(1)))
    return unimplemented("it computes its statistics from the batch (is_training) in another precision");
  BLADE_ASSIGN_OR_RETURN(std::string format, string_attr_or(context.node(), "data_format", "NHWC"));
  const int rank = format == "NCDHW" || format == "NDHWC" ? 5 : 4;
  const bool channels_first = format.starts_with("NC");
  const ir::Shape& shape = context.shape(context.input(0));
  const bool rows = rank == 4 && channels_first && shape.has_rank() && shape.rank() == 4 && shape.dim(0) == 1 &&
                    shape.dim(3) == 1 && shape.dim(2).is_known() && shape.dim(2).value() > 0;
  if (rows && context.dtype(context.input(0)) == ir::DType::kFloat32)
    return context.finish(normalize_rows(context, shape.dim(2).value(), epsilon));
  return context.finish(normalize_channels(context, rank, channels_first ? 1 : rank - 1, epsilon));
}

}  // namespace blade::tensorflow
