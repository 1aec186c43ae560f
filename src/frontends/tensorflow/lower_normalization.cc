// Batch normalization, local response normalization, pooling, and what TensorFlow's optimizer fuses behind a kernel.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

Result<ir::ValueId> emit_activation(LowerContext& context, const std::string& name, const char* suffix,
                                    ir::ValueId value) {
  using ir::PointwiseOp;
  static constexpr std::pair<const char*, PointwiseOp> kNames[] = {
      {"Relu", PointwiseOp::kRelu},         {"Relu6", PointwiseOp::kRelu6},
      {"Elu", PointwiseOp::kElu},           {"Tanh", PointwiseOp::kTanh},
      {"Sigmoid", PointwiseOp::kSigmoid},   {"GeluApproximate", PointwiseOp::kGeluTanh},
      {"GeluExact", PointwiseOp::kGeluErf},
  };
  if (name == "LeakyRelu") {
    BLADE_ASSIGN_OR_RETURN(float alpha, float_attr_or(context.node(), "leakyrelu_alpha", 0.2f));
    return emit_pointwise(context, PointwiseOp::kLeakyRelu, suffix, {value}, alpha);
  }
  for (auto [known, op] : kNames) {
    if (name == known) return emit_pointwise(context, op, suffix, {value});
  }
  return unimplemented("it fuses '" + name + "', which Blade does not know");
}

Status lower_pool(LowerContext& context, int spatial, ir::PoolKind kind, std::vector<int64_t> window,
                  std::vector<int64_t> strides, const ChannelsLast& layout) {
  ir::PoolAttrs attrs;
  attrs.kind = kind;
  attrs.window = std::move(window);
  attrs.strides = std::move(strides);
  BLADE_ASSIGN_OR_RETURN(attrs.padding, read_padding(context, spatial, layout.move, &attrs.explicit_pads));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId x, to_channels_last(context, layout, context.input(0)));
  if (spatial == 3) {
    BLADE_RETURN_IF_ERROR(refuse_left_over(context, x, attrs.padding, attrs.window, attrs.strides));
  }
  BLADE_ASSIGN_OR_RETURN(ir::ValueId out,
                         context.emit(ir::Op::kPool, layout.move ? "channels_last" : "", {x}, std::move(attrs)));
  return context.finish(from_channels_last(context, layout, out));
}

Status lower_pool_by_attrs(LowerContext& context, int spatial, ir::PoolKind kind) {
  BLADE_ASSIGN_OR_RETURN(ChannelsLast layout, channels_last(context, spatial + 2));
  BLADE_ASSIGN_OR_RETURN(auto window, context.spatial_ints("ksize", spatial, layout.move, 1));
  BLADE_ASSIGN_OR_RETURN(auto strides, context.spatial_ints("strides", spatial, layout.move, 1));
  return lower_pool(context, spatial, kind, window, strides, layout);
}

}  // namespace

Result<ir::ValueId> apply_fused_ops(LowerContext& context, const ChannelsLast& layout, ir::ValueId value,
                                    int first_arg) {
  BLADE_ASSIGN_OR_RETURN(AttrList ops, list_attr(context.node(), "fused_ops"));
  int arg = first_arg;
  for (size_t i = 0; i < ops.strings.size(); ++i) {
    std::string op(ops.strings[i].view());
    bool last = i + 1 == ops.strings.size() && !layout.move;
    std::string suffix = last ? "" : "fused_" + std::to_string(i);
    int needed = op == "BiasAdd" || op == "Add" ? 1 : op == "FusedBatchNorm" ? 4 : 0;
    if (arg + needed > context.num_inputs()) return invalid_argument("has too few operands for its fused ops");
    if (op == "BiasAdd" || op == "Add") {
      ir::ValueId operand = context.input(arg);
      if (op == "Add") {
        BLADE_ASSIGN_OR_RETURN(operand, to_channels_last(context, layout, operand));
      }
      BLADE_ASSIGN_OR_RETURN(value, emit_pointwise(context, ir::PointwiseOp::kAdd, suffix.c_str(), {value, operand}));
    } else if (op == "FusedBatchNorm") {
      BLADE_ASSIGN_OR_RETURN(float epsilon, float_attr_or(context.node(), "epsilon", 1e-4f));
      std::vector<ir::ValueId> operands = {value};
      for (int k = 0; k < 4; ++k) operands.push_back(context.input(arg + k));
      BLADE_ASSIGN_OR_RETURN(value, context.emit(ir::Op::kBatchNorm, suffix, operands, ir::BatchNormAttrs{epsilon}));
    } else {
      BLADE_ASSIGN_OR_RETURN(value, emit_activation(context, op, suffix.c_str(), value));
    }
    arg += needed;
  }
  return value;
}

namespace {

// x [1, c, h, w] normalized within each channel: layer normalization of c rows, as Keras writes it.
Result<ir::ValueId> normalize_rows(LowerContext& context, Emitter& e, ir::ValueId x, int64_t length, float epsilon) {
  const ir::DType type = context.dtype(x);
  const ir::ValueId dims = e.shape_of(x), rows = e.reshape("rows", x, {-1, length});
  const auto vector = [&](double value) { return e.fill("vector", e.ints({length}), e.scalar(type, value)); };
  const ir::ValueId normal =
      e.emit(ir::Op::kLayerNorm, "normalize", {rows, vector(1), vector(0)}, ir::LayerNormAttrs{epsilon});
  BLADE_RETURN_IF_ERROR(e.status());
  return e.emit(ir::Op::kReshape, "whole", {normal, dims});
}

// (x - mean) / sqrt(variance + epsilon), both over `axes`.
ir::ValueId normalize_by_pieces(LowerContext& context, Emitter& e, ir::ValueId x, std::vector<int64_t> axes,
                                float epsilon) {
  using ir::PointwiseOp;
  ir::ReduceAttrs mean;
  mean.kind = ir::ReduceKind::kMean;
  mean.axes = std::move(axes);
  mean.keep_dims = true;
  const ir::ValueId centred =
      e.pointwise(PointwiseOp::kSub, "centred", {x, e.emit(ir::Op::kReduce, "mean", {x}, mean)});
  const ir::ValueId variance =
      e.emit(ir::Op::kReduce, "variance", {e.pointwise(PointwiseOp::kSquare, "squares", {centred})}, mean);
  const ir::ValueId safe =
      e.pointwise(PointwiseOp::kAdd, "safe", {variance, e.scalar(context.dtype(x), static_cast<double>(epsilon))});
  return e.pointwise(PointwiseOp::kMul, "normal", {centred, e.pointwise(PointwiseOp::kRsqrt, "factor", {safe})});
}

// Statistics of the batch itself. Stays in the given layout: scale and offset become columns where channels come first.
Status lower_batch_norm_training(LowerContext& context) {
  if (context.node()->op == "_FusedBatchNormEx") return unimplemented("it computes its statistics from the batch");
  for (int i = 1; i < 6; ++i) {
    if (context.output_used(i)) return unimplemented("the statistics of the batch are used");
  }
  BLADE_ASSIGN_OR_RETURN(float epsilon, float_attr_or(context.node(), "epsilon", 1e-4f));
  BLADE_ASSIGN_OR_RETURN(std::string format, string_attr_or(context.node(), "data_format", "NHWC"));
  const int rank = static_cast<int>(format.size());
  const bool first = format.starts_with("NC");
  Emitter e(context);
  const ir::DType type = context.dtype(context.input(0)), statistics = context.dtype(context.input(1));
  ir::ValueId x = e.cast(context.input(0), statistics);
  BLADE_RETURN_IF_ERROR(e.status());
  const ir::Shape shape = context.shape(x);
  int64_t length = 1;
  for (int i = 2; first && shape.has_rank() && i < shape.rank(); ++i) {
    length *= shape.dim(i).is_known() ? shape.dim(i).value() : 0;
  }
  const bool rows = first && shape.has_rank() && shape.rank() == rank && shape.dim(0) == ir::Dim(1) && length > 0;
  if (rows) {
    BLADE_ASSIGN_OR_RETURN(x, normalize_rows(context, e, x, length, epsilon));
  } else {
    std::vector<int64_t> axes;
    for (int i = 0; i < rank; ++i) {
      if (i != (first ? 1 : rank - 1)) axes.push_back(i);
    }
    x = normalize_by_pieces(context, e, x, std::move(axes), epsilon);
  }
  std::vector<int64_t> column(first ? rank - 1 : 1, 1);
  column[0] = -1;
  const auto apply = [&](ir::PointwiseOp op, int input, double nothing) {
    if (context.uniform_value(context.input(input)) == nothing) return;
    x = e.pointwise(op, "channels", {x, e.reshape("channel", context.input(input), column)});
  };
  apply(ir::PointwiseOp::kMul, 1, 1);
  apply(ir::PointwiseOp::kAdd, 2, 0);
  return e.finish(e.cast(x, type));
}

}  // namespace

Status lower_batch_norm(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(bool training, bool_attr_or(context.node(), "is_training", true));
  if (training) return lower_batch_norm_training(context);
  BLADE_ASSIGN_OR_RETURN(float epsilon, float_attr_or(context.node(), "epsilon", 1e-4f));
  BLADE_ASSIGN_OR_RETURN(std::string activation, string_attr_or(context.node(), "activation_mode", "Identity"));
  ChannelsLast layout;
  BLADE_ASSIGN_OR_RETURN(std::string format, string_attr_or(context.node(), "data_format", "NHWC"));
  BLADE_ASSIGN_OR_RETURN(layout, channels_last(context, format == "NCDHW" ? 5 : 4));
  ir::DType type = context.dtype(context.input(0)), statistics = context.dtype(context.input(1));
  int side_inputs = context.num_inputs() - 5;
  bool mixed = type != statistics, active = activation != "Identity";
  BLADE_ASSIGN_OR_RETURN(ir::ValueId value, to_channels_last(context, layout, context.input(0)));
  if (mixed) {
    BLADE_ASSIGN_OR_RETURN(value, context.emit(ir::Op::kCast, "widen", {value}, ir::CastAttrs{statistics}));
  }
  bool last = !layout.move && !mixed && side_inputs == 0 && !active;
  BLADE_ASSIGN_OR_RETURN(value,
                         context.emit(ir::Op::kBatchNorm, last ? "" : "normalize",
                                      {value, context.input(1), context.input(2), context.input(3), context.input(4)},
                                      ir::BatchNormAttrs{epsilon}));
  if (mixed) {
    BLADE_ASSIGN_OR_RETURN(value, context.emit(ir::Op::kCast, "narrow", {value}, ir::CastAttrs{type}));
  }
  for (int i = 0; i < side_inputs; ++i) {
    BLADE_ASSIGN_OR_RETURN(ir::ValueId side, to_channels_last(context, layout, context.input(5 + i)));
    BLADE_ASSIGN_OR_RETURN(value, emit_pointwise(context, ir::PointwiseOp::kAdd, "side", {value, side}));
  }
  if (active) {
    BLADE_ASSIGN_OR_RETURN(value, emit_activation(context, activation, layout.move ? "activation" : "", value));
  }
  BLADE_ASSIGN_OR_RETURN(value, from_channels_last(context, layout, value));
  // The statistics given come out again, in both pairs of outputs.
  std::vector<ir::ValueId> outputs = {value};
  int last_used = 0;
  for (int i = 1; i < 6; ++i) last_used = context.output_used(i) ? i : last_used;
  for (int i = 1; i <= last_used; ++i) {
    // The last one is for the gradient on GPUs and empty elsewhere.
    const ir::ValueId source = i == 5 ? context.add_constant(ir::make_tensor<float>(ir::DType::kFloat32, {0}, {}))
                                      : context.input(i % 2 == 1 ? 3 : 4);
    BLADE_ASSIGN_OR_RETURN(ir::ValueId statistic,
                           context.emit(ir::Op::kIdentity, "statistic", {source}, ir::IdentityAttrs{}));
    outputs.push_back(statistic);
  }
  return context.finish(std::move(outputs));
}

// t, mean, variance, beta, gamma: what graphs of 2015 have, which TensorFlow still runs.
Status lower_global_batch_norm(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(float epsilon, float_attr_or(context.node(), "variance_epsilon", 0.0f));
  BLADE_ASSIGN_OR_RETURN(bool scale, bool_attr_or(context.node(), "scale_after_normalization", true));
  Emitter e(context);
  ir::ValueId gamma = context.input(4);
  if (!scale) {
    gamma = e.fill("ones", e.shape_of(gamma), e.scalar(context.dtype(gamma), 1));
  }
  const std::vector<ir::ValueId> operands = {context.input(0), gamma, context.input(3), context.input(1),
                                             context.input(2)};
  return e.finish(e.emit(ir::Op::kBatchNorm, "", operands, ir::BatchNormAttrs{epsilon}));
}

Status lower_lrn(LowerContext& context, int) {
  ir::LrnAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.depth_radius, int_attr_or(context.node(), "depth_radius", 5));
  BLADE_ASSIGN_OR_RETURN(attrs.bias, float_attr_or(context.node(), "bias", 1));
  BLADE_ASSIGN_OR_RETURN(attrs.alpha, float_attr_or(context.node(), "alpha", 1));
  BLADE_ASSIGN_OR_RETURN(attrs.beta, float_attr_or(context.node(), "beta", 0.5f));
  return context.finish(context.emit(ir::Op::kLrn, "", {context.input(0)}, attrs));
}

Status lower_max_pool(LowerContext& context, int argument) {
  return lower_pool_by_attrs(context, argument, ir::PoolKind::kMax);
}
Status lower_avg_pool(LowerContext& context, int argument) {
  return lower_pool_by_attrs(context, argument, ir::PoolKind::kAverage);
}

Status lower_max_pool_v2(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(ChannelsLast layout, channels_last(context, 4));
  BLADE_ASSIGN_OR_RETURN(auto window, context.ints(1, "window"));
  BLADE_ASSIGN_OR_RETURN(auto strides, context.ints(2, "strides"));
  size_t channel = layout.move ? 1 : 3, first = layout.move ? 2 : 1;
  for (auto* list : {&window, &strides}) {
    if (list->size() != 4 || (*list)[0] != 1 || (*list)[channel] != 1) {
      return unimplemented("it pools over batch or channels");
    }
    *list = {(*list)[first], (*list)[first + 1]};
  }
  return lower_pool(context, 2, ir::PoolKind::kMax, window, strides, layout);
}

}  // namespace blade::tensorflow
