// Dropout that drops nothing: models frozen without a switch for training keep its random mask, and run with a rate of
// zero. Such a mask lets everything through whatever the random numbers are, and needs none.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

using ir::PointwiseOp;

const ir::Node* instruction(const LowerContext& context, ir::ValueId value, PointwiseOp op) {
  const ir::Node* node = context.producer(value);
  const auto* attrs = node == nullptr ? nullptr : std::get_if<ir::PointwiseAttrs>(&node->attrs);
  return attrs != nullptr && attrs->program == ir::PointwiseProgram::binary(op) ? node : nullptr;
}

// The number that a scalar is. More dims would be the result's, too.
std::optional<double> scalar_value(const LowerContext& context, ir::ValueId value) {
  const ir::Shape& shape = context.shape(value);
  return shape.has_rank() && shape.rank() == 0 ? context.uniform_value(value) : std::nullopt;
}

// The other operand, where one of them is the scalar `number` and so changes nothing.
ir::ValueId beside(const LowerContext& context, const ir::Node& node, double number) {
  for (const int i : {0, 1}) {
    if (scalar_value(context, node.inputs[i]) == number) return node.inputs[1 - i];
  }
  return ir::kNone;
}

// The shape that random numbers from 0 up to and without 1 are asked for in, also behind "* (1 - 0) + 0"; kNone where
// `value` is something else.
ir::ValueId shape_of_uniform(const LowerContext& context, ir::ValueId value) {
  const ir::Node* node = context.producer(value);
  if (node == nullptr) return ir::kNone;
  if (node->op == ir::Op::kIdentity) return shape_of_uniform(context, node->inputs[0]);
  if (node->op == ir::Op::kForeign) {
    const std::string& op = node->get<ir::ForeignAttrs>().source_op;
    const bool uniform = op == "RandomUniform" || op == "StatelessRandomUniform" || op == "StatelessRandomUniformV2";
    return uniform && !node->inputs.empty() ? node->inputs[0] : ir::kNone;
  }
  for (const auto& [op, nothing] : {std::pair(PointwiseOp::kMul, 1.0), std::pair(PointwiseOp::kAdd, 0.0)}) {
    const ir::Node* same = instruction(context, value, op);
    const ir::ValueId inner = same == nullptr ? ir::kNone : beside(context, *same, nothing);
    if (inner != ir::kNone) return shape_of_uniform(context, inner);
  }
  return ir::kNone;
}

Status finish_ones(LowerContext& context, ir::ValueId shape, ir::DType dtype) {
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId one, context.add_scalar(dtype, 1));
  return context.finish(context.emit(ir::Op::kFill, "", {shape, one}, ir::EmptyAttrs{}));
}

}  // namespace

// random >= rate: TensorFlow 1.13 and later.
Status lower_greater_equal(LowerContext& context, int) {
  if (const auto rate = scalar_value(context, context.input(1)); rate && *rate <= 0) {
    const ir::ValueId shape = shape_of_uniform(context, context.input(0));
    if (shape != ir::kNone) return finish_ones(context, shape, ir::DType::kBool);
  }
  return lower_binary(context, static_cast<int>(PointwiseOp::kGreaterEqual));
}

// floor(keep + random), before. The sum is exact: random numbers have the bits that it has between 1 and 2.
Status lower_floor(LowerContext& context, int) {
  if (const ir::Node* sum = instruction(context, context.input(0), PointwiseOp::kAdd)) {
    const ir::ValueId random = beside(context, *sum, 1);
    const ir::ValueId shape = random == ir::kNone ? ir::kNone : shape_of_uniform(context, random);
    if (shape != ir::kNone) return finish_ones(context, shape, context.dtype(random));
  }
  return lower_unary(context, static_cast<int>(PointwiseOp::kFloor));
}

}  // namespace blade::tensorflow
