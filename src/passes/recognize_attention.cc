// RecognizeAttention: softmax(scale * q k^T + mask) v, with the transposes that split and join heads, as one node.
#include <algorithm>
#include <numeric>

#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::PointwiseOp;
using ir::ValueId;
using Perm = std::vector<int64_t>;

bool is_plain_product(const Node* node) {
  if (node == nullptr || node->op != Op::kMatMul) return false;
  const auto& attrs = node->get<ir::MatMulAttrs>();
  return !attrs.transpose_a && attrs.epilogue.empty();
}

Perm in_place(int rank) {
  Perm perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  return perm;
}

// A value and how it is to be transposed.
struct Stored {
  ValueId value = ir::kNone;
  Perm perm;
};

// `value`, read through the Transpose that made it. Where `rows_stay`, only if elements of a row stay side by side.
Stored stored(Rewriter& rewriter, ValueId value, bool rows_stay) {
  const Perm same = in_place(rewriter.shape(value).rank());
  const Node* node = rewriter.producer(value, Op::kTranspose);
  if (node == nullptr) return {value, same};
  const Perm& perm = node->get<ir::PermAttrs>().perm;
  if (rows_stay && perm.back() != same.back()) return {value, same};
  return {node->inputs[0], perm};
}

Stored swapped(Stored operand) {
  std::swap(operand.perm.back(), operand.perm[operand.perm.size() - 2]);
  return operand;
}

struct Scores {
  Node* product = nullptr;
  float scale = 1;
  ValueId mask = ir::kNone;        // added; or, with `fill`, a condition: of which scores stay, or which go
  ValueId other_mask = ir::kNone;  // added, too
  std::optional<float> fill;
  bool mask_keeps = true;
  bool mask_is_number = false;  // the condition is 1 or 0 in float32
};

// A bool as a number, perhaps in another shape.
bool is_indicator(Rewriter& rewriter, ValueId value) {
  for (Op op : {Op::kReshape, Op::kExpandDims, Op::kReshape}) {
    if (const Node* node = rewriter.producer(value, op)) value = node->inputs[0];
  }
  const Node* cast = rewriter.producer(value, Op::kCast);
  return cast != nullptr && rewriter.dtype(cast->inputs[0]) == ir::DType::kBool &&
         rewriter.dtype(value) == ir::DType::kFloat32;
}

// -c where constants are c * (1 - b) and b, as folding leaves them.
std::optional<float> constant_replaces_by(const ir::Graph& graph, ValueId value, ValueId b) {
  const std::vector<float> fills = float_values(graph, value), keeps = float_values(graph, b);
  const auto fill = std::find_if(fills.begin(), fills.end(), [](float f) { return f != 0; });
  if (fill == fills.end() || fills.size() != keeps.size()) return std::nullopt;
  for (size_t i = 0; i < fills.size(); ++i) {
    if (!(keeps[i] == 1 && fills[i] == 0) && !(keeps[i] == 0 && fills[i] == *fill)) return std::nullopt;
  }
  return -*fill;
}

// -c where `value` is c * (1 - b) for a b of 1 or 0: so much is x * b - value where b is 0, and x where it is 1.
std::optional<float> replaces_by(Rewriter& rewriter, ValueId value, ValueId b) {
  if (rewriter.graph().value(b).is_constant() && same_shape(rewriter, value, b)) {
    return constant_replaces_by(rewriter.graph(), value, b);
  }
  const auto affine = scalar_affine(rewriter, value);
  const bool is_fill = affine && affine->inner == b && affine->alpha == -affine->beta && affine->beta != 0;
  return is_fill && is_indicator(rewriter, b) ? std::optional(-affine->beta) : std::nullopt;
}

// factor * inner, or inner over a number, which is read by nothing else.
struct TimesNumber {
  float factor = 1;
  ValueId inner = ir::kNone;
};
TimesNumber times_number(Rewriter& rewriter, ValueId value) {
  if (!rewriter.has_one_use(value)) return {1, value};
  const auto affine = scalar_affine(rewriter, value);
  if (affine && affine->beta == 0) return {affine->alpha, affine->inner};
  const Node* quotient = pointwise_producer(rewriter, value, PointwiseOp::kDiv);
  const auto divisor = quotient == nullptr ? std::nullopt : float_scalar(rewriter.graph(), operand(*quotient, 1));
  if (divisor && *divisor != 0) return {1 / *divisor, operand(*quotient, 0)};
  return {1, value};
}

// Each dim of one is that of the other, or one of them is 1.
std::optional<ir::Shape> broadcast(const ir::Shape& a, const ir::Shape& b) {
  if (!a.has_rank() || !b.has_rank()) return std::nullopt;
  std::vector<ir::Dim> dims;
  for (int d = std::max(a.rank(), b.rank()); d >= 1; --d) {
    const ir::Dim one(1), of_a = d <= a.rank() ? a.dim(-d) : one, of_b = d <= b.rank() ? b.dim(-d) : one;
    if (of_a != of_b && of_a != one && of_b != one) return std::nullopt;
    dims.push_back(of_a == one ? of_b : of_a);
  }
  return ir::Shape(dims);
}

// What softmax reads as scale * (q k^T) + mask, each part read by nothing else.
std::optional<Scores> as_scores(Rewriter& rewriter, ValueId value) {
  Scores scores;
  const auto product_under = [&](ValueId v) {
    const TimesNumber part = times_number(rewriter, v);
    scores.scale = part.factor;
    scores.product = rewriter.has_one_use(part.inner) ? rewriter.producer(part.inner, Op::kMatMul) : nullptr;
    return is_plain_product(scores.product);
  };
  if (product_under(value)) return scores;
  if (!rewriter.has_one_use(value)) return std::nullopt;
  const auto keeps_shape = [&] { return same_shape(rewriter, scores.product->outputs[0], value); };
  const Node* add = pointwise_producer(rewriter, value, PointwiseOp::kAdd);
  for (int i = 0; add != nullptr && i < 2; ++i) {
    scores.mask = operand(*add, 1 - i);
    if (product_under(operand(*add, i)) && keeps_shape()) return scores;
  }
  for (int i = 0; add != nullptr && i < 4; ++i) {
    const Node* inner = pointwise_producer(rewriter, operand(*add, i / 2), PointwiseOp::kAdd);
    if (inner == nullptr || !rewriter.has_one_use(inner->outputs[0])) continue;
    scores.mask = operand(*add, 1 - i / 2);
    scores.other_mask = operand(*inner, 1 - i % 2);
    const bool one = broadcast(rewriter.shape(scores.mask), rewriter.shape(scores.other_mask)).has_value();
    if (one && product_under(operand(*inner, i % 2)) && keeps_shape()) return scores;
  }
  scores.other_mask = ir::kNone;
  const Node* select = pointwise_producer(rewriter, value, PointwiseOp::kSelect);
  for (int i = 1; select != nullptr && i < 3; ++i) {
    scores.mask = operand(*select, 0);
    scores.mask_keeps = i == 1;
    scores.fill = float_uniform(rewriter.graph(), operand(*select, 3 - i));
    const bool known = scores.fill && *scores.fill != 0 && rewriter.shape(scores.mask).has_rank();
    if (known && product_under(operand(*select, i)) && keeps_shape()) return scores;
  }
  const Node* difference = pointwise_producer(rewriter, value, PointwiseOp::kSub);
  const Node* kept =
      difference == nullptr ? nullptr : pointwise_producer(rewriter, operand(*difference, 0), PointwiseOp::kMul);
  if (kept == nullptr || !rewriter.has_one_use(operand(*difference, 0))) return std::nullopt;
  for (int i = 0; i < 2; ++i) {
    scores.mask = operand(*kept, i);
    scores.fill = replaces_by(rewriter, operand(*difference, 1), scores.mask);
    scores.mask_is_number = scores.mask_keeps = true;
    if (scores.fill && product_under(operand(*kept, 1 - i)) && keeps_shape()) return scores;
  }
  return std::nullopt;
}

// The mask as the node takes it: numbers to add, or 0 where a score stays and the fill where it goes.
ValueId mask_of(Rewriter& rewriter, const Node& made_for, const Scores& scores) {
  if (scores.other_mask != ir::kNone) {
    const ir::PointwiseAttrs add{ir::PointwiseProgram::binary(PointwiseOp::kAdd)};
    const ir::Shape shape = *broadcast(rewriter.shape(scores.mask), rewriter.shape(scores.other_mask));
    return rewriter
        .insert(made_for, Op::kPointwise, {scores.mask, scores.other_mask}, add, ir::DType::kFloat32, shape, "masks")
        .outputs[0];
  }
  if (!scores.fill) return scores.mask;
  if (scores.mask_is_number) {
    ir::PointwiseProgram fill = ir::PointwiseProgram::unary(PointwiseOp::kAffine);
    fill.code[0].alpha = -*scores.fill;
    fill.code[0].beta = *scores.fill;
    return rewriter
        .insert(made_for, Op::kPointwise, {scores.mask}, ir::PointwiseAttrs{fill}, ir::DType::kFloat32,
                rewriter.shape(scores.mask), "mask")
        .outputs[0];
  }
  const ValueId zero = rewriter.add_constant(float_tensor({}, {0}), ""),
                fill = rewriter.add_constant(float_tensor({}, {*scores.fill}), "");
  const ir::Shape shape = rewriter.shape(scores.mask);
  const std::vector<ValueId> inputs =
      scores.mask_keeps ? std::vector<ValueId>{scores.mask, zero, fill} : std::vector<ValueId>{scores.mask, fill, zero};
  const ir::PointwiseAttrs attrs{ir::PointwiseProgram::ternary(PointwiseOp::kSelect)};
  return rewriter.insert(made_for, Op::kPointwise, inputs, attrs, ir::DType::kFloat32, shape, "mask").outputs[0];
}

// Known ranks, at least 3, and equal batch dims.
bool same_batches(const Rewriter& rewriter, std::initializer_list<ValueId> values) {
  const ir::Shape& first = rewriter.shape(*values.begin());
  for (ValueId value : values) {
    const ir::Shape& shape = rewriter.shape(value);
    if (!shape.has_rank() || shape.rank() < 3 || shape.rank() != first.rank()) return false;
    for (int d = 0; d < shape.rank() - 2; ++d) {
      if (shape.dim(d) != first.dim(d)) return false;
    }
  }
  return true;
}

// `last` multiplies the weights with the values.
bool become_attention(Rewriter& rewriter, Node& last) {
  if (!is_plain_product(&last) || !is_float32(rewriter, last) || !rewriter.has_one_use(last.inputs[0])) return false;
  const Node* softmax = rewriter.producer(last.inputs[0], Op::kSoftmax);
  if (softmax == nullptr || softmax->get<ir::SoftmaxAttrs>().log) return false;
  const auto scores = as_scores(rewriter, softmax->inputs[0]);
  if (!scores) return false;
  const ValueId q = scores->product->inputs[0], k = scores->product->inputs[1], v = last.inputs[1];
  if (!same_batches(rewriter, {q, k, v, last.outputs[0]})) return false;
  const Stored query = stored(rewriter, q, true);
  Stored key = stored(rewriter, k, false), value = stored(rewriter, v, false);
  if (!scores->product->get<ir::MatMulAttrs>().transpose_b) key = swapped(key);
  if (last.get<ir::MatMulAttrs>().transpose_b) value = swapped(value);
  ir::AttentionAttrs attrs{
      scores->scale, query.perm, key.perm, value.perm, in_place(rewriter.shape(q).rank()), scores->fill.has_value()};
  std::vector<ValueId> inputs = {query.value, key.value, value.value};
  if (scores->mask != ir::kNone) inputs.push_back(mask_of(rewriter, last, *scores));
  Node* result = &last;
  if (rewriter.has_one_use(last.outputs[0]) && !rewriter.is_output(last.outputs[0])) {
    Node& reader = rewriter.graph().node(rewriter.readers(last.outputs[0])[0]);
    const auto* perm = reader.op == Op::kTranspose ? &reader.get<ir::PermAttrs>().perm : nullptr;
    if (perm != nullptr && perm->back() == attrs.output_perm.back()) {
      attrs.output_perm = *perm;
      result = &reader;
    }
  }
  rewriter.change(*result, Op::kAttention, std::move(inputs), std::move(attrs));
  return true;
}

}  // namespace

Result<PassResult> recognize_attention(ir::Graph& graph, const PassOptions& options) {
  PassResult result;
  // Kernels exist for the CPU, in float32: where the products around it are bfloat16, too, as its softmax in float32
  // costs more by itself than the products gain.
  if (options.on_device) return result;
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  for (ir::NodeId id : rewriter.order()) {
    if (!rewriter.is_dead(id) && become_attention(rewriter, graph.node(id))) ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
