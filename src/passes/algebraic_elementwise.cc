// Rewrites of single elementwise instructions: neutral elements, scalar constants as Affine and Clip, cheaper equals.
#include <cmath>
#include <limits>

#include "passes/algebraic_rules.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::PointwiseAttrs;
using ir::PointwiseOp;
using ir::PointwiseProgram;
using ir::ValueId;

constexpr float kInf = std::numeric_limits<float>::infinity();

bool become_unary(Rewriter& rewriter, Node& node, PointwiseOp op, ValueId x, float alpha = 0, float beta = 0) {
  rewriter.change(node, Op::kPointwise, {x}, PointwiseAttrs{PointwiseProgram::unary(op, alpha, beta)});
  return true;
}

bool become_binary(Rewriter& rewriter, Node& node, PointwiseOp op, ValueId a, ValueId b) {
  rewriter.change(node, Op::kPointwise, {a, b}, PointwiseAttrs{PointwiseProgram::binary(op)});
  return true;
}

// x + 0, x - 0, x * 1, x / 1, and the same with the constant first.
bool drop_neutral(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || node.inputs.size() != 2) return false;
  const ValueId a = operand(node, 0), b = operand(node, 1);
  double neutral = 0;
  bool commutes = false;
  switch (instr->op) {
    case PointwiseOp::kAdd:
      commutes = true;
      break;
    case PointwiseOp::kSub:
      break;
    case PointwiseOp::kMul:
      neutral = 1, commutes = true;
      break;
    case PointwiseOp::kDiv:
      neutral = 1;
      break;
    default:
      return false;
  }
  if (uniform_value(rewriter.graph(), b) == neutral && forward(rewriter, node, a)) return true;
  return commutes && uniform_value(rewriter.graph(), a) == neutral && forward(rewriter, node, b);
}

// A choice that a constant makes everywhere alike.
bool choose_by_constant(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || instr->op != PointwiseOp::kSelect) return false;
  const std::optional<double> chosen = uniform_value(rewriter.graph(), operand(node, 0));
  return chosen && forward(rewriter, node, operand(node, *chosen != 0 ? 1 : 2));
}

// An operand and the number that the other one is everywhere.
struct WithScalar {
  ValueId x = ir::kNone;
  float scalar = 0;
  bool scalar_first = false;
};

std::optional<WithScalar> with_scalar(Rewriter& rewriter, const Node& node) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || node.inputs.size() != 2 || !is_float32(rewriter, node)) return std::nullopt;
  const ValueId a = operand(node, 0), b = operand(node, 1);
  if (const auto scalar = float_uniform(rewriter.graph(), b); scalar && same_shape(rewriter, a, node.outputs[0])) {
    return WithScalar{a, *scalar, false};
  }
  if (const auto scalar = float_uniform(rewriter.graph(), a); scalar && same_shape(rewriter, b, node.outputs[0])) {
    return WithScalar{b, *scalar, true};
  }
  return std::nullopt;
}

// 1 / value where that is exact: powers of two within range.
std::optional<float> exact_reciprocal(float value) {
  int exponent = 0;
  if (!std::isnormal(value) || std::fabs(std::frexp(value, &exponent)) != 0.5f) return std::nullopt;
  const float reciprocal = 1.0f / value;
  return std::isnormal(reciprocal) ? std::optional<float>(reciprocal) : std::nullopt;
}

bool scalar_to_affine(Rewriter& rewriter, Node& node) {
  const std::optional<WithScalar> found = with_scalar(rewriter, node);
  if (!found) return false;
  const auto [x, c, first] = *found;
  switch (single_instr(&node)->op) {
    case PointwiseOp::kAdd:
      return become_unary(rewriter, node, PointwiseOp::kAffine, x, 1, c);
    case PointwiseOp::kSub:
      return become_unary(rewriter, node, PointwiseOp::kAffine, x, first ? -1 : 1, first ? c : -c);
    case PointwiseOp::kMul:
      return become_unary(rewriter, node, PointwiseOp::kAffine, x, c, 0);
    case PointwiseOp::kDiv: {
      if (first) return c == 1 && become_unary(rewriter, node, PointwiseOp::kReciprocal, x);
      const std::optional<float> reciprocal = exact_reciprocal(c);
      return reciprocal && become_unary(rewriter, node, PointwiseOp::kAffine, x, *reciprocal, 0);
    }
    default:
      return false;
  }
}

// Division by a constant tensor of powers of two.
bool exact_division(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || instr->op != PointwiseOp::kDiv || !is_float32(rewriter, node)) return false;
  const ValueId divisor = operand(node, 1);
  std::vector<float> values = float_values(rewriter.graph(), divisor);
  if (values.empty()) return false;
  for (float& value : values) {
    const std::optional<float> reciprocal = exact_reciprocal(value);
    if (!reciprocal) return false;
    value = *reciprocal;
  }
  ir::TensorPtr tensor = float_tensor(rewriter.graph().value(divisor).constant->dims, values);
  if (tensor == nullptr) return false;
  return become_binary(rewriter, node, PointwiseOp::kMul, operand(node, 0),
                       rewriter.add_constant(std::move(tensor), ""));
}

bool representable(double value) {
  const float narrow = static_cast<float>(value);
  return std::isfinite(narrow) && (value == 0 || std::isnormal(narrow));
}

// Affine and Neg of Affine and Neg as one, where that spares the inner one; Affine(1, 0) as nothing. Where others read
// the inner one too, it is the variable of what they compute together: x * gate(a * x) keeps its form.
bool merge_affine(Rewriter& rewriter, Node& node) {
  const std::optional<ScalarAffine> outer = scalar_affine(rewriter, node.outputs[0]);
  if (!outer || outer->node != &node) return false;
  const bool is_neg = single_instr(&node)->op == PointwiseOp::kNeg;
  if (!is_neg && outer->beta == 0) {
    if (outer->alpha == 1) return forward(rewriter, node, outer->inner);
    if (outer->alpha == -1) return become_unary(rewriter, node, PointwiseOp::kNeg, outer->inner);
  }
  const std::optional<ScalarAffine> inner = scalar_affine(rewriter, outer->inner);
  if (!inner) return false;
  const double alpha = static_cast<double>(outer->alpha) * inner->alpha;
  const double beta = static_cast<double>(outer->alpha) * inner->beta + outer->beta;
  if (!representable(alpha) || !representable(beta)) return false;
  if (alpha == 1 && beta == 0 && forward(rewriter, node, inner->inner)) return true;
  if (!rewriter.has_one_use(outer->inner)) return false;
  return become_unary(rewriter, node, PointwiseOp::kAffine, inner->inner, static_cast<float>(alpha),
                      static_cast<float>(beta));
}

struct Range {
  float low = -kInf, high = kInf;
  ValueId x = ir::kNone;
};

// What a node that limits its operand to a range does.
std::optional<Range> as_clip(Rewriter& rewriter, Node* node) {
  const ir::PointwiseInstr* instr = single_instr(node);
  if (instr == nullptr || !is_float32(rewriter, *node)) return std::nullopt;
  const ValueId x = operand(*node, 0);
  switch (instr->op) {
    case PointwiseOp::kRelu:
      return Range{0, kInf, x};
    case PointwiseOp::kRelu6:
      return Range{0, 6, x};
    case PointwiseOp::kClip:
      return Range{instr->alpha, instr->beta, x};
    case PointwiseOp::kMaximum:
    case PointwiseOp::kMinimum:
      break;
    default:
      return std::nullopt;
  }
  const std::optional<WithScalar> found = with_scalar(rewriter, *node);
  if (!found || std::isnan(found->scalar)) return std::nullopt;
  if (instr->op == PointwiseOp::kMaximum) return Range{found->scalar, kInf, found->x};
  return Range{-kInf, found->scalar, found->x};
}

bool become_clip(Rewriter& rewriter, Node& node, const Range& range) {
  if (range.low == -kInf && range.high == kInf) return forward(rewriter, node, range.x);
  PointwiseOp op = PointwiseOp::kClip;
  if (range.low == 0 && range.high == kInf) op = PointwiseOp::kRelu;
  if (range.low == 0 && range.high == 6) op = PointwiseOp::kRelu6;
  if (op != PointwiseOp::kClip) return become_unary(rewriter, node, op, range.x);
  return become_unary(rewriter, node, op, range.x, range.low, range.high);
}

// Maximum and Minimum with a number as Clip; Clip of Clip as one.
bool merge_clip(Rewriter& rewriter, Node& node) {
  const std::optional<Range> outer = as_clip(rewriter, &node);
  if (!outer || outer->low > outer->high) return false;
  const std::optional<Range> inner = as_clip(rewriter, rewriter.producer(outer->x));
  if (inner && inner->low <= inner->high) {
    const auto limit = [&](float v) { return std::min(std::max(v, outer->low), outer->high); };
    return become_clip(rewriter, node, {limit(inner->low), limit(inner->high), inner->x});
  }
  const PointwiseOp op = single_instr(&node)->op;
  const bool canonical = op == PointwiseOp::kRelu || op == PointwiseOp::kRelu6 ||
                         (op == PointwiseOp::kClip && !(outer->low == 0 && (outer->high == 6 || outer->high == kInf)) &&
                          !(outer->low == -kInf && outer->high == kInf));
  return !canonical && become_clip(rewriter, node, *outer);
}

// x * x, x + x, x + -y, x - -y.
bool cheaper_binary(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || node.inputs.size() != 2 || !ir::is_floating(rewriter.dtype(node.outputs[0]))) return false;
  const ValueId a = operand(node, 0), b = operand(node, 1);
  if (a == b && instr->op == PointwiseOp::kMul) return become_unary(rewriter, node, PointwiseOp::kSquare, a);
  if (a == b && instr->op == PointwiseOp::kAdd && is_float32(rewriter, node)) {
    return become_unary(rewriter, node, PointwiseOp::kAffine, a, 2, 0);
  }
  if (instr->op != PointwiseOp::kAdd && instr->op != PointwiseOp::kSub) return false;
  const PointwiseOp opposite = instr->op == PointwiseOp::kAdd ? PointwiseOp::kSub : PointwiseOp::kAdd;
  if (const Node* neg = pointwise_producer(rewriter, b, PointwiseOp::kNeg)) {
    return become_binary(rewriter, node, opposite, a, operand(*neg, 0));
  }
  const Node* neg = pointwise_producer(rewriter, a, PointwiseOp::kNeg);
  if (neg == nullptr || instr->op != PointwiseOp::kAdd) return false;
  return become_binary(rewriter, node, PointwiseOp::kSub, b, operand(*neg, 0));
}

bool same_operand_shape(Rewriter& rewriter, const Node& node) {
  return same_shape(rewriter, operand(node, 0), node.outputs[0]);
}

// Powers that have an instruction of their own.
bool cheaper_power(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || instr->op != PointwiseOp::kPow || !is_float32(rewriter, node)) return false;
  const std::optional<float> exponent = float_uniform(rewriter.graph(), operand(node, 1));
  if (!exponent || !same_operand_shape(rewriter, node)) return false;
  const ValueId x = operand(node, 0);
  if (*exponent == 1) return forward(rewriter, node, x);
  if (*exponent == 2) return become_unary(rewriter, node, PointwiseOp::kSquare, x);
  if (*exponent == 0.5f) return become_unary(rewriter, node, PointwiseOp::kSqrt, x);
  if (*exponent == -0.5f) return become_unary(rewriter, node, PointwiseOp::kRsqrt, x);
  if (*exponent == -1) return become_unary(rewriter, node, PointwiseOp::kReciprocal, x);
  if (*exponent != 3) return false;
  const Node& square =
      rewriter.insert(node, Op::kPointwise, {x}, PointwiseAttrs{PointwiseProgram::unary(PointwiseOp::kSquare)},
                      ir::DType::kFloat32, rewriter.shape(node.outputs[0]), "square");
  return become_binary(rewriter, node, PointwiseOp::kMul, square.outputs[0], x);
}

// 1 / sqrt(x), a / sqrt(x) stays.
bool reciprocal_of_root(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || instr->op != PointwiseOp::kReciprocal) return false;
  const Node* root = pointwise_producer(rewriter, operand(node, 0), PointwiseOp::kSqrt);
  return root != nullptr && become_unary(rewriter, node, PointwiseOp::kRsqrt, operand(*root, 0));
}

// The number that a Fill repeats, where it is a constant.
ValueId number_of_fill(Rewriter& rewriter, ValueId value) {
  const Node* fill = rewriter.producer(value, Op::kFill);
  const bool constant = fill != nullptr && rewriter.graph().value(fill->inputs[1]).is_constant();
  return constant ? fill->inputs[1] : ir::kNone;
}

// `node` as `value` in all places of the filled operand.
void become_fill(Rewriter& rewriter, Node& node, ValueId filled, float value) {
  const ValueId dims = rewriter.producer(filled)->inputs[0];
  rewriter.change(node, Op::kFill, {dims, rewriter.add_constant(float_tensor({}, {value}), "")}, ir::EmptyAttrs{});
}

// alpha * ones_like(x) + beta is filled, too.
bool fill_with_affine(Rewriter& rewriter, Node& node) {
  const auto affine = scalar_affine(rewriter, node.outputs[0]);
  const ValueId number = affine ? number_of_fill(rewriter, affine->inner) : ir::kNone;
  const auto filled = number == ir::kNone ? std::nullopt : float_uniform(rewriter.graph(), number);
  if (!filled) return false;
  become_fill(rewriter, node, affine->inner, affine->alpha * *filled + affine->beta);
  return true;
}

// A mask of ones that was bool: what keeps all in a dropout.
bool fill_with_cast(Rewriter& rewriter, Node& node) {
  const ValueId number = number_of_fill(rewriter, node.inputs[0]);
  if (number == ir::kNone || rewriter.dtype(node.outputs[0]) != ir::DType::kFloat32) return false;
  const auto filled = uniform_value(rewriter.graph(), number);
  if (!filled) return false;
  become_fill(rewriter, node, node.inputs[0], static_cast<float>(*filled));
  return true;
}

// A filled operand as a scalar, where another operand has the result's shape.
bool fill_to_scalar(Rewriter& rewriter, Node& node) {
  if (node.inputs.size() < 2) return false;
  std::vector<ValueId> inputs = node.inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ValueId number = number_of_fill(rewriter, inputs[i]);
    if (number == ir::kNone || rewriter.shape(number).rank() != 0) continue;
    for (size_t other = 0; other < inputs.size(); ++other) {
      if (other == i || inputs[other] == inputs[i] || !same_shape(rewriter, inputs[other], node.outputs[0])) continue;
      inputs[i] = number;
      break;
    }
  }
  if (inputs == node.inputs) return false;
  rewriter.set_inputs(node, std::move(inputs));
  return true;
}

// Softmax is the same of numbers that one small number was added to all of.
bool drop_shift(Rewriter& rewriter, Node& node) {
  const auto affine = scalar_affine(rewriter, node.inputs[0]);
  if (!affine || affine->alpha != 1 || !(std::fabs(affine->beta) <= 1)) return false;
  rewriter.set_inputs(node, {affine->inner});
  return true;
}

constexpr Rule kElementwiseRules[] = {
    {Op::kPointwise, drop_neutral},   {Op::kPointwise, merge_clip},         {Op::kPointwise, scalar_to_affine},
    {Op::kPointwise, exact_division}, {Op::kPointwise, merge_affine},       {Op::kPointwise, cheaper_binary},
    {Op::kPointwise, cheaper_power},  {Op::kPointwise, reciprocal_of_root}, {Op::kPointwise, fill_with_affine},
    {Op::kPointwise, fill_to_scalar}, {Op::kPointwise, choose_by_constant}, {Op::kCast, fill_with_cast},
    {Op::kSoftmax, drop_shift},
};

}  // namespace

std::span<const Rule> elementwise_rules() { return kElementwiseRules; }

}  // namespace blade::passes
