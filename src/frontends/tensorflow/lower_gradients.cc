// Gradients inside a graph for inference (saliency maps, Grad-CAM), from ops that Blade has.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {

using ir::PointwiseOp;

// `argument` 0: passed on where the features are positive; 1 (Relu6Grad): and less than 6. Multiplied, as TensorFlow
// does: gradients that are not finite come out as NaN elsewhere.
Status lower_relu_grad(LowerContext& context, int argument) {
  const ir::ValueId gradients = context.input(0), features = context.input(1);
  const ir::DType type = context.dtype(features);
  Emitter e(context);
  ir::ValueId passes = e.pointwise(PointwiseOp::kGreater, "positive", {features, e.scalar(type, 0)});
  if (argument == 1) {
    const ir::ValueId below = e.pointwise(PointwiseOp::kLess, "below", {features, e.scalar(type, 6)});
    passes = e.pointwise(PointwiseOp::kLogicalAnd, "passes", {passes, below});
  }
  return e.finish(e.pointwise(PointwiseOp::kMul, "", {gradients, e.cast(passes, type)}));
}

// y = f(x), dy: dy * y * (1 - y) of a sigmoid; dy * (1 - y * y) of a tanh (`argument` 1).
Status lower_sigmoid_grad(LowerContext& context, int argument) {
  const ir::ValueId y = context.input(0), dy = context.input(1);
  Emitter e(context);
  const auto mul = [&](const char* name, ir::ValueId a, ir::ValueId b) {
    return e.pointwise(PointwiseOp::kMul, name, {a, b});
  };
  const ir::ValueId one = e.scalar(context.dtype(y), 1);
  if (argument == 1) return e.finish(mul("", dy, e.pointwise(PointwiseOp::kSub, "slope", {one, mul("square", y, y)})));
  return e.finish(mul("", mul("scaled", dy, y), e.pointwise(PointwiseOp::kSub, "rest", {one, y})));
}

// Of activations: `argument` 0 Elu, 1 Selu, both from the activation's result; 2 LeakyRelu, 3 Softplus, 4 Softsign,
// from what it was of.
Status lower_activation_grad(LowerContext& context, int argument) {
  const ir::ValueId dy = context.input(0), of = context.input(1);
  const ir::DType type = context.dtype(of);
  Emitter e(context);
  const auto mul = [&](const char* name, ir::ValueId a, ir::ValueId b) {
    return e.pointwise(PointwiseOp::kMul, name, {a, b});
  };
  const auto add = [&](const char* name, ir::ValueId a, double b) {
    return e.pointwise(PointwiseOp::kAdd, name, {a, e.scalar(type, b)});
  };
  // Where `of` is on this side of 0: `a`, else `b`.
  const auto choose = [&](PointwiseOp side, ir::ValueId a, ir::ValueId b) {
    return e.finish(e.pointwise(PointwiseOp::kSelect, "", {e.pointwise(side, "side", {of, e.scalar(type, 0)}), a, b}));
  };
  if (argument == 0) return choose(PointwiseOp::kLess, mul("below", dy, add("slope", of, 1)), dy);
  if (argument == 1) {
    constexpr double kScale = 1.0507009873554804934193349852946, kScaleAlpha = 1.7580993408473768599402175208123;
    return choose(PointwiseOp::kLess, mul("below", dy, add("slope", of, kScaleAlpha)),
                  mul("above", dy, e.scalar(type, kScale)));
  }
  if (argument == 2) {
    BLADE_ASSIGN_OR_RETURN(const float alpha, float_attr_or(context.node(), "alpha", 0.2f));
    return choose(PointwiseOp::kGreater, dy, mul("below", dy, e.scalar(type, static_cast<double>(alpha))));
  }
  ir::ValueId divisor = ir::kNone;
  if (argument == 3) {
    divisor = add("divisor", e.pointwise(PointwiseOp::kExp, "exp", {e.pointwise(PointwiseOp::kNeg, "minus", {of})}), 1);
  } else {
    divisor = e.pointwise(PointwiseOp::kSquare, "square", {add("one", e.pointwise(PointwiseOp::kAbs, "abs", {of}), 1)});
  }
  return e.finish(e.pointwise(PointwiseOp::kDiv, "", {dy, divisor}));
}

// y = f(x), dy: of a reciprocal -dy * y * y (`argument` 0), of a square root dy / 2 / y (1), of one over it
// -dy / 2 * y * y * y (2); 0 where dy is.
Status lower_power_grad(LowerContext& context, int argument) {
  const ir::ValueId y = context.input(0), dy = context.input(1);
  const ir::DType type = context.dtype(y);
  Emitter e(context);
  const ir::ValueId zero = e.scalar(type, 0);
  const ir::ValueId scaled = e.pointwise(PointwiseOp::kMul, "scaled",
                                         {dy, e.scalar(type, argument == 0   ? -1
                                                             : argument == 1 ? 0.5
                                                                             : -0.5)});
  ir::ValueId slope = ir::kNone;
  if (argument == 1) {
    slope = e.pointwise(PointwiseOp::kDiv, "slope", {scaled, y});
  } else {
    const ir::ValueId first = argument == 0 ? scaled : e.pointwise(PointwiseOp::kMul, "first", {scaled, y});
    slope = e.pointwise(PointwiseOp::kMul, "slope", {first, e.pointwise(PointwiseOp::kSquare, "square", {y})});
  }
  const ir::ValueId none = e.pointwise(PointwiseOp::kEqual, "none", {dy, zero});
  return e.finish(e.pointwise(PointwiseOp::kSelect, "", {none, zero, slope}));
}

// Loss and gradient of softmax against labels: probabilities (`argument` 0), or the number of the class (1).
Status lower_cross_entropy(LowerContext& context, int argument) {
  const ir::ValueId x = context.input(0), labels = context.input(1);
  const ir::Shape &scores = context.shape(x), &given = context.shape(labels);
  if (argument == 0 && !(scores.has_rank() && given.has_rank() && scores.dim(-1) == given.dim(-1))) {
    return unimplemented("it is not known whether its labels have as many classes as its scores");
  }
  const ir::DType type = context.dtype(x);
  Emitter e(context);
  const ir::ValueId logs = e.emit(ir::Op::kSoftmax, "logs", {x}, ir::SoftmaxAttrs{true});
  const ir::ValueId soft = e.emit(ir::Op::kSoftmax, "softmax", {x}, ir::SoftmaxAttrs{false});
  ir::ValueId met = ir::kNone, wanted = labels;
  if (argument == 0) {
    met = e.emit(ir::Op::kReduce, "met", {e.pointwise(PointwiseOp::kMul, "weighted", {logs, labels})},
                 ir::ReduceAttrs{ir::ReduceKind::kSum, {1}, false});
  } else {
    met = e.emit(ir::Op::kGather, "met", {logs, labels}, ir::GatherAttrs{1, 1});
    wanted = e.emit(ir::Op::kOneHot, "wanted", {labels, e.dim(x, 1), e.scalar(type, 1), e.scalar(type, 0)},
                    ir::AxisAttrs{1});
  }
  const ir::ValueId loss = e.pointwise(PointwiseOp::kNeg, "loss", {met});
  const ir::ValueId gradient = e.pointwise(PointwiseOp::kSub, "gradient", {soft, wanted});
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish(std::vector<ir::ValueId>{loss, gradient});
}

// x, y = the largest of each window of x, dy: each dy is added where its window's largest element was.
Status lower_max_pool_grad(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const ChannelsLast layout, channels_last(context, 4));
  ir::MaxPoolArgmaxAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.window, context.spatial_ints("ksize", 2, layout.move, 1));
  BLADE_ASSIGN_OR_RETURN(attrs.strides, context.spatial_ints("strides", 2, layout.move, 1));
  BLADE_ASSIGN_OR_RETURN(attrs.padding, read_padding(context, 2, layout.move, &attrs.explicit_pads));
  attrs.include_batch = true;
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId x, to_channels_last(context, layout, context.input(0)));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId dy, to_channels_last(context, layout, context.input(2)));
  BLADE_ASSIGN_OR_RETURN(const auto pooled,
                         context.emit_many(ir::Op::kMaxPoolArgmax, "argmax", {x}, 2, std::move(attrs)));
  Emitter e(context);
  const ir::ValueId size =
      e.emit(ir::Op::kShapeOf, "size", {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kSize, ir::DType::kInt64});
  const ir::ValueId flat =
      e.emit(ir::Op::kScatterNd, "scattered",
             {e.reshape("places", pooled[1], {-1, 1}), e.reshape("flat", dy, {-1}), e.reshape("length", size, {1})});
  const ir::ValueId dx = e.emit(ir::Op::kReshape, layout.move ? "image" : "", {flat, e.shape_of(x)});
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish(from_channels_last(context, layout, dx));
}

// Of a batch normalization with given statistics: dy * scale / sqrt(variance + epsilon).
Status lower_batch_norm_grad(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const bool training, bool_attr_or(context.node(), "is_training", true));
  BLADE_ASSIGN_OR_RETURN(const std::string format, string_attr_or(context.node(), "data_format", "NHWC"));
  BLADE_ASSIGN_OR_RETURN(const float epsilon, float_attr_or(context.node(), "epsilon", 1e-4f));
  const ir::DType type = context.dtype(context.input(2));
  if (training) return unimplemented("it is the gradient of a batch normalization that trains");
  if (format != "NHWC" && format != "NDHWC") return unimplemented("its channels come first");
  if (context.dtype(context.input(0)) != type) return unimplemented("its statistics are of another type");
  for (int i = 1; i < 5; ++i) {
    if (context.output_used(i)) return unimplemented("its output " + std::to_string(i) + " is used");
  }
  Emitter e(context);
  const ir::ValueId safe = e.pointwise(PointwiseOp::kAdd, "safe", {context.input(4), e.scalar(type, epsilon)});
  const ir::ValueId factor = e.pointwise(PointwiseOp::kMul, "factor",
                                         {context.input(2), e.pointwise(PointwiseOp::kRsqrt, "deviation", {safe})});
  return e.finish(e.pointwise(PointwiseOp::kMul, "", {context.input(0), factor}));
}

}  // namespace blade::tensorflow
