// RecognizeActivations: PReLU, leaky ReLU, hard swish, hard sigmoid, swish, GELU, softplus, softsign and sigmoid from
// the pieces that exporters write them in. A pattern counts only where its constants are exactly those of the function:
// a nearly-1/6 stays the number it is (hard swish carries its factor).
#include <algorithm>
#include <cmath>
#include <limits>

#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::PointwiseAttrs;
using ir::PointwiseOp;
using ir::PointwiseProgram;
using ir::ValueId;

constexpr int kMaxDepth = 6;
constexpr float kInf = std::numeric_limits<float>::infinity();

bool about(double value, double exact) { return std::fabs(value - exact) <= 2.5e-7 * std::fabs(exact); }

bool become(Rewriter& rewriter, Node& node, PointwiseOp op, ValueId x, float alpha = 0, float beta = 0) {
  if (!same_shape(rewriter, x, node.outputs[0])) return false;
  rewriter.change(node, Op::kPointwise, {x}, PointwiseAttrs{PointwiseProgram::unary(op, alpha, beta)});
  return true;
}

// scalar * factor * factor * ..., through Mul, Affine without offset, Neg, Square and Div by a number; only through
// nodes that nobody else reads.
struct Product {
  double scalar = 1;
  std::vector<ValueId> factors;
};

void collect(Rewriter& rewriter, ValueId value, bool is_root, int depth, Product& product) {
  Node* node = rewriter.producer(value);
  const ir::PointwiseInstr* instr = single_instr(node);
  if (instr == nullptr || depth == 0 || (!is_root && !rewriter.has_one_use(value))) {
    product.factors.push_back(value);
    return;
  }
  const ValueId a = operand(*node, 0);
  if (instr->op == PointwiseOp::kMul) {
    collect(rewriter, a, false, depth - 1, product);
    collect(rewriter, operand(*node, 1), false, depth - 1, product);
  } else if (instr->op == PointwiseOp::kSquare) {
    collect(rewriter, a, false, 0, product);
    collect(rewriter, a, false, 0, product);
  } else if ((instr->op == PointwiseOp::kAffine && instr->beta == 0) || instr->op == PointwiseOp::kNeg) {
    product.scalar *= instr->op == PointwiseOp::kNeg ? -1.0 : instr->alpha;
    collect(rewriter, a, false, depth - 1, product);
  } else if (instr->op == PointwiseOp::kDiv && float_uniform(rewriter.graph(), operand(*node, 1))) {
    product.scalar /= *float_uniform(rewriter.graph(), operand(*node, 1));
    collect(rewriter, a, false, depth - 1, product);
  } else {
    product.factors.push_back(value);
  }
}

Product as_product(Rewriter& rewriter, ValueId value) {
  Product product;
  collect(rewriter, value, true, kMaxDepth, product);
  return product;
}

// x where `value` is op(x) and nobody else reads it.
std::optional<ValueId> inside(Rewriter& rewriter, ValueId value, PointwiseOp op) {
  const Node* node = pointwise_producer(rewriter, value, op);
  if (node == nullptr || !rewriter.has_one_use(value)) return std::nullopt;
  return operand(*node, 0);
}

// alpha * x + beta, made by Affine, Neg and Div by a number, one after another, that nobody else reads; at most one of
// them adds something. x is the value itself where there is none.
struct Line {
  double alpha = 1, beta = 0;
  ValueId x = ir::kNone;
};

Line line_of(Rewriter& rewriter, ValueId value) {
  Line line{1, 0, value};
  for (int depth = 0; depth < kMaxDepth && rewriter.has_one_use(line.x); ++depth) {
    if (const auto affine = scalar_affine(rewriter, line.x)) {
      if (line.beta != 0 && affine->beta != 0) break;
      line = {line.alpha * affine->alpha, line.beta + line.alpha * affine->beta, affine->inner};
      continue;
    }
    const Node* node = pointwise_producer(rewriter, line.x, PointwiseOp::kDiv);
    const auto divisor = node != nullptr ? float_uniform(rewriter.graph(), operand(*node, 1)) : std::nullopt;
    if (!divisor || *divisor == 0 || !same_shape(rewriter, operand(*node, 0), line.x)) break;
    line = {line.alpha / *divisor, line.beta, operand(*node, 0)};
  }
  return line;
}

// x where `value` is clip(x + 3, 0, 6).
std::optional<ValueId> inside_hard_gate(Rewriter& rewriter, ValueId value) {
  const auto shifted = inside(rewriter, value, PointwiseOp::kRelu6);
  const auto affine = shifted ? scalar_affine(rewriter, *shifted) : std::nullopt;
  if (!affine || affine->alpha != 1 || affine->beta != 3 || !rewriter.has_one_use(*shifted)) return std::nullopt;
  return affine->inner;
}

// The argument of erf or tanh where `value` is scale * (1 + f(argument)).
std::optional<ValueId> inside_one_plus(Rewriter& rewriter, ValueId value, PointwiseOp f, float scale) {
  const auto affine = scalar_affine(rewriter, value);
  if (!affine || affine->alpha != scale || affine->beta != scale || !rewriter.has_one_use(value)) return std::nullopt;
  return inside(rewriter, affine->inner, f);
}

// True where `value` is sign * x / sqrt(2).
bool is_erf_argument(Rewriter& rewriter, ValueId value, ValueId x, double sign = 1) {
  const Product product = as_product(rewriter, value);
  return product.factors == std::vector<ValueId>{x} && about(sign * product.scalar, M_SQRT1_2);
}

// True where `value` is sqrt(2 / pi) * (x + 0.044715 x^3), also as sqrt(2 / pi) * x * (1 + 0.044715 x^2).
bool is_tanh_argument(Rewriter& rewriter, ValueId value, ValueId x) {
  constexpr double kCubic = 0.044715;
  const Product outer = as_product(rewriter, value);
  if (!about(outer.scalar, std::sqrt(2 / M_PI))) return false;
  if (outer.factors.size() == 2) {
    const ValueId other = outer.factors[0] == x ? outer.factors[1] : outer.factors[0];
    if (outer.factors[0] != x && outer.factors[1] != x) return false;
    const auto affine = scalar_affine(rewriter, other);
    if (!affine || affine->beta != 1 || !about(affine->alpha, kCubic)) return false;
    return as_product(rewriter, affine->inner).factors == std::vector<ValueId>{x, x};
  }
  const Node* sum =
      outer.factors.size() == 1 ? pointwise_producer(rewriter, outer.factors[0], PointwiseOp::kAdd) : nullptr;
  if (sum == nullptr) return false;
  for (int i = 0; i < 2; ++i) {
    if (operand(*sum, i) != x) continue;
    const Product cube = as_product(rewriter, operand(*sum, 1 - i));
    if (about(cube.scalar, kCubic) && cube.factors == std::vector<ValueId>{x, x, x}) return true;
  }
  return false;
}

// Functions of the form x * gate(x), possibly with a number before them.
bool gated(Rewriter& rewriter, Node& node) {
  const Product product = as_product(rewriter, node.outputs[0]);
  const double s = product.scalar;
  if (product.factors.size() == 1 && s > 0 && s != 1) {  // its gate was met before the number
    const auto x = inside(rewriter, product.factors[0], PointwiseOp::kHardSwish);
    if (!x) return false;
    const double alpha = single_instr(rewriter.producer(product.factors[0]))->alpha;
    return become(rewriter, node, PointwiseOp::kHardSwish, *x, static_cast<float>(alpha * s));
  }
  if (product.factors.size() != 2) return false;
  for (int i = 0; i < 2; ++i) {
    const ValueId x = product.factors[i], gate = product.factors[1 - i];
    if (s == 1 && inside(rewriter, gate, PointwiseOp::kSigmoid) == x) {
      return become(rewriter, node, PointwiseOp::kSwish, x);
    }
    if (s > 0 && inside_hard_gate(rewriter, gate) == x) {
      return become(rewriter, node, PointwiseOp::kHardSwish, x, static_cast<float>(s));
    }
    if (s > 0 && inside(rewriter, gate, PointwiseOp::kHardSigmoid) == x) {
      const ir::PointwiseInstr& instr = *single_instr(rewriter.producer(gate));
      if (about(instr.alpha, 1.0 / 6) && instr.beta == 0.5f) {
        return become(rewriter, node, PointwiseOp::kHardSwish, x, static_cast<float>(s / 6));
      }
    }
    if (s != 1 && s != 0.5) continue;
    const auto erfc = s == 0.5 ? inside(rewriter, gate, PointwiseOp::kErfc) : std::nullopt;
    if (erfc && is_erf_argument(rewriter, *erfc, x, -1)) return become(rewriter, node, PointwiseOp::kGeluErf, x);
    const float scale = s == 1 ? 0.5f : 1.0f;
    const auto erf = inside_one_plus(rewriter, gate, PointwiseOp::kErf, scale);
    if (erf && is_erf_argument(rewriter, *erf, x)) return become(rewriter, node, PointwiseOp::kGeluErf, x);
    const auto tanh = inside_one_plus(rewriter, gate, PointwiseOp::kTanh, scale);
    if (tanh && is_tanh_argument(rewriter, *tanh, x)) return become(rewriter, node, PointwiseOp::kGeluTanh, x);
  }
  return false;
}

// scale * slope * min(x, 0), slope kNone where there is none.
struct NegativePart {
  double scale = 1;
  ValueId slope = ir::kNone, x = ir::kNone;
};

std::optional<NegativePart> negative_part(Rewriter& rewriter, ValueId value, int depth) {
  Node* node = rewriter.producer(value);
  const ir::PointwiseInstr* instr = single_instr(node);
  if (instr == nullptr || depth == 0) return std::nullopt;
  const ValueId a = operand(*node, 0);
  if (instr->op == PointwiseOp::kClip && instr->alpha == -kInf && instr->beta == 0)
    return NegativePart{1, ir::kNone, a};
  if (instr->op == PointwiseOp::kRelu) {  // relu(-x) = -min(x, 0)
    const auto negated = scalar_affine(rewriter, a);
    if (!negated || negated->alpha != -1 || negated->beta != 0) return std::nullopt;
    return NegativePart{-1, ir::kNone, negated->inner};
  }
  if (instr->op == PointwiseOp::kSub) {  // x - |x| = 2 min(x, 0)
    const Node* abs = pointwise_producer(rewriter, operand(*node, 1), PointwiseOp::kAbs);
    return abs != nullptr && operand(*abs, 0) == a ? std::optional(NegativePart{2, ir::kNone, a}) : std::nullopt;
  }
  if (instr->op == PointwiseOp::kNeg || (instr->op == PointwiseOp::kAffine && instr->beta == 0)) {
    auto part = negative_part(rewriter, a, depth - 1);
    if (part) part->scale *= instr->op == PointwiseOp::kNeg ? -1.0 : instr->alpha;
    return part;
  }
  if (instr->op != PointwiseOp::kMul) return std::nullopt;
  for (int i = 0; i < 2; ++i) {
    auto part = negative_part(rewriter, operand(*node, i), depth - 1);
    if (!part || part->slope != ir::kNone) continue;
    part->slope = operand(*node, 1 - i);
    return part;
  }
  return std::nullopt;
}

// max(x, 0) + scale * slope * min(x, 0) as PReLU or leaky ReLU.
bool become_prelu(Rewriter& rewriter, Node& node, const NegativePart& part) {
  if (!same_shape(rewriter, part.x, node.outputs[0])) return false;
  const float scale = static_cast<float>(part.scale);
  if (part.slope == ir::kNone) return become(rewriter, node, PointwiseOp::kLeakyRelu, part.x, scale);
  if (const auto slope = float_scalar(rewriter.graph(), part.slope)) {
    return become(rewriter, node, PointwiseOp::kLeakyRelu, part.x, static_cast<float>(part.scale * *slope));
  }
  ValueId slope = part.slope;
  const auto inner = scalar_affine(rewriter, slope);
  if (scale != 1 && inner && inner->beta == 0 && inner->alpha * scale == 1) {
    slope = inner->inner;
  } else if (scale != 1 && rewriter.graph().value(slope).is_constant()) {
    std::vector<float> values = float_values(rewriter.graph(), slope);
    for (float& v : values) v *= scale;
    ir::TensorPtr tensor = float_tensor(rewriter.graph().value(slope).constant->dims, values);
    if (tensor == nullptr) return false;
    slope = rewriter.add_constant(std::move(tensor), "");
  } else if (scale != 1) {
    const PointwiseAttrs attrs{scale == -1 ? PointwiseProgram::unary(PointwiseOp::kNeg)
                                           : PointwiseProgram::unary(PointwiseOp::kAffine, scale, 0)};
    slope = rewriter.insert(node, Op::kPointwise, {slope}, attrs, ir::DType::kFloat32, rewriter.shape(slope), "slope")
                .outputs[0];
  }
  rewriter.change(node, Op::kPointwise, {part.x, slope}, PointwiseAttrs{PointwiseProgram::binary(PointwiseOp::kPRelu)});
  return true;
}

bool prelu_from_sum(Rewriter& rewriter, Node& node) {
  const PointwiseOp op = single_instr(&node)->op;
  if (op != PointwiseOp::kAdd && op != PointwiseOp::kSub) return false;
  for (int i = 0; i < (op == PointwiseOp::kAdd ? 2 : 1); ++i) {
    const Node* positive = pointwise_producer(rewriter, operand(node, i), PointwiseOp::kRelu);
    if (positive == nullptr) continue;
    auto part = negative_part(rewriter, operand(node, 1 - i), kMaxDepth);
    if (!part || part->x != operand(*positive, 0)) continue;
    if (op == PointwiseOp::kSub) part->scale = -part->scale;
    return become_prelu(rewriter, node, *part);
  }
  return false;
}

// alpha where `value` is alpha * x.
std::optional<float> multiple_of(Rewriter& rewriter, ValueId value, ValueId x) {
  const auto affine = scalar_affine(rewriter, value);
  return affine && affine->inner == x && affine->beta == 0 ? std::optional(affine->alpha) : std::nullopt;
}

// relu(x - alpha x) + alpha x for alpha in [0, 1], and alpha x + beta |x| where the two numbers add up to one.
bool leaky_relu_from_sum(Rewriter& rewriter, Node& node) {
  if (single_instr(&node)->op != PointwiseOp::kAdd) return false;
  for (int i = 0; i < 2; ++i) {
    const ValueId first = operand(node, i), second = operand(node, 1 - i);
    const Node* relu = pointwise_producer(rewriter, first, PointwiseOp::kRelu);
    const Node* rest = relu != nullptr ? pointwise_producer(rewriter, operand(*relu, 0), PointwiseOp::kSub) : nullptr;
    if (rest != nullptr && operand(*rest, 1) == second) {
      const ValueId x = operand(*rest, 0);
      const auto alpha = multiple_of(rewriter, second, x);
      return alpha && *alpha >= 0 && *alpha <= 1 && become(rewriter, node, PointwiseOp::kLeakyRelu, x, *alpha);
    }
    const auto whole = scalar_affine(rewriter, first), size = scalar_affine(rewriter, second);
    if (!whole || !size || whole->beta != 0 || size->beta != 0) continue;
    const Node* abs = pointwise_producer(rewriter, size->inner, PointwiseOp::kAbs);
    if (abs == nullptr || operand(*abs, 0) != whole->inner) continue;
    return about(static_cast<double>(whole->alpha) + size->alpha, 1) &&
           become(rewriter, node, PointwiseOp::kLeakyRelu, whole->inner, whole->alpha - size->alpha);
  }
  return false;
}

// max(x, alpha x) for alpha in [0, 1], x > 0 ? x : alpha x, and x < 0 ? alpha x : x.
bool leaky_relu(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr& instr = *single_instr(&node);
  if (instr.op == PointwiseOp::kMaximum) {
    for (int i = 0; i < 2; ++i) {
      const auto alpha = multiple_of(rewriter, operand(node, 1 - i), operand(node, i));
      if (alpha && *alpha >= 0 && *alpha <= 1)
        return become(rewriter, node, PointwiseOp::kLeakyRelu, operand(node, i), *alpha);
    }
  }
  if (instr.op != PointwiseOp::kSelect) return false;
  const Node* test = pointwise_producer(rewriter, operand(node, 0), PointwiseOp::kGreater);
  const bool is_above = test != nullptr;
  if (!is_above) test = pointwise_producer(rewriter, operand(node, 0), PointwiseOp::kLess);
  const ValueId x = operand(node, is_above ? 1 : 2);
  const auto alpha = multiple_of(rewriter, operand(node, is_above ? 2 : 1), x);
  if (!alpha || test == nullptr || operand(*test, 0) != x) return false;
  return float_uniform(rewriter.graph(), operand(*test, 1)) == 0.0f &&
         become(rewriter, node, PointwiseOp::kLeakyRelu, x, *alpha);
}

// clip(a x + b, 0, 1), also as c * clip(a x + b, 0, 1 / c) where the constants multiply to exactly one.
bool hard_sigmoid(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr& root = *single_instr(&node);
  float scale = 1;
  const Node* clip = &node;
  const auto divisor = root.op == PointwiseOp::kDiv ? float_uniform(rewriter.graph(), operand(node, 1)) : std::nullopt;
  if ((root.op == PointwiseOp::kAffine && root.beta == 0 && root.alpha > 0) || (divisor && *divisor > 0)) {
    scale = divisor ? static_cast<float>(1 / *divisor) : root.alpha;
    if (!rewriter.has_one_use(operand(node, 0))) return false;
    clip = rewriter.producer(operand(node, 0));
  }
  const ir::PointwiseInstr* instr = single_instr(clip);
  if (instr == nullptr) return false;
  const bool relu6 = instr->op == PointwiseOp::kRelu6;
  if (!relu6 && (instr->op != PointwiseOp::kClip || instr->alpha != 0)) return false;
  if ((relu6 ? 6.0f : instr->beta) * scale != 1.0f) return false;
  const ValueId argument = operand(*clip, 0);
  const Line line = line_of(rewriter, argument);
  return line.x != argument && become(rewriter, node, PointwiseOp::kHardSigmoid, line.x,
                                      static_cast<float>(line.alpha * scale), static_cast<float>(line.beta * scale));
}

// 1 + exp(x) and its kin.
std::optional<ValueId> inside_one_plus_of(Rewriter& rewriter, ValueId value, PointwiseOp f) {
  return inside_one_plus(rewriter, value, f, 1);
}

bool exponential_family(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr& instr = *single_instr(&node);
  const ValueId a = operand(node, 0);
  if (instr.op == PointwiseOp::kLog1p) {
    const auto x = inside(rewriter, a, PointwiseOp::kExp);
    return x && become(rewriter, node, PointwiseOp::kSoftplus, *x);
  }
  if (instr.op == PointwiseOp::kLog) {
    const auto x = inside_one_plus_of(rewriter, a, PointwiseOp::kExp);
    return x && become(rewriter, node, PointwiseOp::kSoftplus, *x);
  }
  if (instr.op == PointwiseOp::kReciprocal) {  // 1 / (1 + exp(-x))
    const auto negated = inside_one_plus_of(rewriter, a, PointwiseOp::kExp);
    const auto affine = negated ? scalar_affine(rewriter, *negated) : std::nullopt;
    if (!affine || affine->alpha != -1 || affine->beta != 0) return false;
    return become(rewriter, node, PointwiseOp::kSigmoid, affine->inner);
  }
  if (instr.op == PointwiseOp::kDiv) {  // x / (1 + exp(-x)) and x / (1 + |x|)
    const auto negated = inside_one_plus_of(rewriter, operand(node, 1), PointwiseOp::kExp);
    const auto affine = negated ? scalar_affine(rewriter, *negated) : std::nullopt;
    if (affine && affine->alpha == -1 && affine->beta == 0 && affine->inner == a) {
      return become(rewriter, node, PointwiseOp::kSwish, a);
    }
    const auto x = inside_one_plus_of(rewriter, operand(node, 1), PointwiseOp::kAbs);
    return x == a && become(rewriter, node, PointwiseOp::kSoftsign, a);
  }
  return false;
}

using Pattern = bool (*)(Rewriter&, Node&);
constexpr Pattern kPatterns[] = {prelu_from_sum, leaky_relu_from_sum, gated,
                                 leaky_relu,     hard_sigmoid,        exponential_family};

}  // namespace

Result<PassResult> recognize_activations(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  for (int sweep = 0; sweep < 4; ++sweep) {  // one function may be a piece of the next
    const int before = result.changes;
    BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
    const std::vector<ir::NodeId> order = rewriter.order();
    for (ir::NodeId id : order) {
      Node& node = graph.node(id);
      if (rewriter.is_dead(id) || single_instr(&node) == nullptr || !ir::is_floating(rewriter.dtype(node.outputs[0])))
        continue;
      if (rewriter.dtype(node.outputs[0]) != ir::DType::kFloat32) continue;
      for (Pattern pattern : kPatterns) {
        if (!pattern(rewriter, node)) continue;
        ++result.changes;
        break;
      }
    }
    rewriter.finish();
    if (result.changes == before) break;
  }
  return result;
}

}  // namespace blade::passes
