// RecognizeAttention: softmax(scale * q k^T + mask) v, with the transposes that split and join heads, as one node.
#include <algorithm>
#include <cmath>
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

// One of the operations between the product of queries and keys and the softmax.
struct Layer {
  enum Kind { kTimes, kAdd, kSubtract, kReplace };
  Kind kind = kTimes;
  float number = 1;           // the factor; what stands in the place of scores
  ValueId value = ir::kNone;  // what is added or subtracted; the condition
  bool keeps = true;          // the condition is of the scores that stay, not of those that go
  bool is_number = false;     // the condition is 1 or 0 in float32
};

struct Scores {
  Node* product = nullptr;
  bool transposed = false;    // the product's columns are queries
  std::vector<Layer> layers;  // the innermost last
  bool in_order = false;      // two of them are added one after the other, not their sum
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

// What numbers alone change: factor * inner, inner / number.
std::optional<Layer> as_times(Rewriter& rewriter, ValueId value, ValueId& inner) {
  const auto affine = scalar_affine(rewriter, value);
  if (affine && affine->beta == 0 && affine->alpha != 0) {
    inner = affine->inner;
    return Layer{Layer::kTimes, affine->alpha};
  }
  const Node* quotient = pointwise_producer(rewriter, value, PointwiseOp::kDiv);
  const auto divisor = quotient == nullptr ? std::nullopt : float_scalar(rewriter.graph(), operand(*quotient, 1));
  if (!divisor || *divisor == 0) return std::nullopt;
  inner = operand(*quotient, 0);
  return Layer{Layer::kTimes, 1 / *divisor};
}

ir::Shape broadcast(Rewriter& rewriter, const ir::Shape& a, const ir::Shape& b) {
  std::vector<ir::Dim> dims;
  for (int d = std::max(a.rank(), b.rank()); d >= 1; --d) {
    dims.push_back(rewriter.graph().symbols().broadcast(d <= a.rank() ? a.dim(-d) : ir::Dim(1),
                                                        d <= b.rank() ? b.dim(-d) : ir::Dim(1)));
  }
  return ir::Shape(std::move(dims));
}

// A constant with an infinite element or one that is not a number.
bool is_boundless(const ir::Graph& graph, ValueId value) {
  const std::vector<float> values = float_values(graph, value);
  return !std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

// x * b - c * (1 - b) is no replacement of an infinite x, or by an infinite c: 0 times it is not a number.
bool multiplies_infinity(const ir::Graph& graph, const std::vector<Layer>& layers) {
  bool infinite = false;
  float most = 0;  // of what stands in the place of scores
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    if (layer->is_number && (infinite || !std::isfinite(layer->number))) return true;
    if (layer->kind == Layer::kReplace) most = std::max(most, std::fabs(layer->number));
    if (layer->kind == Layer::kTimes) most *= std::fabs(layer->number);
    const bool sums = layer->kind == Layer::kAdd || layer->kind == Layer::kSubtract;
    infinite = infinite || !std::isfinite(layer->number) || !std::isfinite(most) ||
               (sums && is_boundless(graph, layer->value));
  }
  return false;
}

// Finds the layers from a softmax's operand down to the product, each read by nothing else.
class ScoreFinder {
 public:
  explicit ScoreFinder(Rewriter& rewriter) : rewriter_(rewriter) {}

  std::optional<Scores> find(ValueId value) {
    if (!descend(value) || multiplies_infinity(rewriter_.graph(), scores_.layers)) return std::nullopt;
    const auto count = [&](auto... kinds) {
      return std::count_if(scores_.layers.begin(), scores_.layers.end(),
                           [&](const Layer& layer) { return ((layer.kind == kinds) || ...); });
    };
    // What is subtracted may be what was added before, with all that such a number left of the scores: the order stays.
    const auto sums = count(Layer::kAdd, Layer::kSubtract);
    scores_.in_order = sums > 1 && count(Layer::kSubtract) > 0;
    if (scores_.in_order && (sums > 2 || count(Layer::kReplace) > 0)) return std::nullopt;
    return scores_;
  }

 private:
  static constexpr size_t kMostLayers = 8;

  bool descend(ValueId value) {
    if (!rewriter_.has_one_use(value) || scores_.layers.size() > kMostLayers) return false;
    ValueId inner = ir::kNone;
    if (const auto times = as_times(rewriter_, value, inner)) return below(*times, value, inner);
    return is_product(value) || is_sum(value) || is_difference(value) || is_selection(value);
  }

  // `value` is `inner` with the layer on it.
  bool below(const Layer& layer, ValueId value, ValueId inner) {
    if (!has_shape_of(value, inner, layer.value)) return false;
    scores_.layers.push_back(layer);
    if (descend(inner)) return true;
    scores_.layers.pop_back();
    return false;
  }

  // Nothing but what the layer keeps makes `value` larger than `inner`: numbers that are dropped do not.
  bool has_shape_of(ValueId value, ValueId inner, ValueId kept) {
    const ir::Shape& shape = rewriter_.shape(inner);
    const ir::Shape& with = kept == ir::kNone ? shape : rewriter_.shape(kept);
    return shape.has_rank() && with.has_rank() && rewriter_.shape(value) == broadcast(rewriter_, shape, with);
  }

  bool is_product(ValueId value) {
    const Node* transpose = rewriter_.producer(value, Op::kTranspose);
    if (transpose != nullptr) {
      const Perm& perm = transpose->get<ir::PermAttrs>().perm;
      Perm swaps = in_place(static_cast<int>(perm.size()));
      if (swaps.size() < 2) return false;
      std::swap(swaps.back(), swaps[swaps.size() - 2]);
      value = transpose->inputs[0];
      if (perm != swaps || !rewriter_.has_one_use(value)) return false;
    }
    scores_.product = rewriter_.producer(value, Op::kMatMul);
    scores_.transposed = transpose != nullptr;
    return is_plain_product(scores_.product);
  }

  bool is_sum(ValueId value) {
    const Node* sum = pointwise_producer(rewriter_, value, PointwiseOp::kAdd);
    for (int i = 0; sum != nullptr && i < 2; ++i) {
      if (below({Layer::kAdd, 1, operand(*sum, 1 - i)}, value, operand(*sum, i))) return true;
    }
    return false;
  }

  // x - mask, or x * b - c * (1 - b) for a b of 1 or 0.
  bool is_difference(ValueId value) {
    const Node* difference = pointwise_producer(rewriter_, value, PointwiseOp::kSub);
    if (difference == nullptr) return false;
    const ValueId from = operand(*difference, 0), what = operand(*difference, 1);
    const Node* kept = pointwise_producer(rewriter_, from, PointwiseOp::kMul);
    for (int i = 0; kept != nullptr && rewriter_.has_one_use(from) && i < 2; ++i) {
      const ValueId b = operand(*kept, i);
      const auto fill = replaces_by(rewriter_, what, b);
      if (fill && below({Layer::kReplace, *fill, b, true, true}, value, operand(*kept, 1 - i))) return true;
    }
    return below({Layer::kSubtract, 1, what}, value, from);
  }

  bool is_selection(ValueId value) {
    const Node* select = pointwise_producer(rewriter_, value, PointwiseOp::kSelect);
    for (int i = 1; select != nullptr && i < 3; ++i) {
      const auto fill = float_uniform(rewriter_.graph(), operand(*select, 3 - i));
      if (!fill || *fill == 0) continue;
      if (below({Layer::kReplace, *fill, operand(*select, 0), i == 1}, value, operand(*select, i))) return true;
    }
    return false;
  }

  Rewriter& rewriter_;
  Scores scores_;
};

// The layers as the node takes them: score = (replacing != 0 ? replacing : scale * product) + added + added_last.
class Masks {
 public:
  Masks(Rewriter& rewriter, const Node& made_for, const Scores& scores) : rewriter_(rewriter), made_for_(made_for) {
    one_slot_ = std::any_of(scores.layers.begin(), scores.layers.end(),
                            [](const Layer& layer) { return layer.kind == Layer::kReplace; });
    for (auto layer = scores.layers.rbegin(); layer != scores.layers.rend(); ++layer) apply(*layer, scores);
  }

  float scale = 1;
  ValueId replacing = ir::kNone, added = ir::kNone, added_last = ir::kNone;

 private:
  void apply(const Layer& layer, const Scores& scores) {
    switch (layer.kind) {
      case Layer::kTimes:
        scale *= layer.number;
        if (replacing != ir::kNone) replacing = times(layer.number, replacing);
        if (added != ir::kNone) added = times(layer.number, added);
        if (added_last != ir::kNone) added_last = times(layer.number, added_last);
        return;
      case Layer::kAdd:
        return add(layer.value, scores.in_order);
      case Layer::kSubtract:
        return add(times(-1, layer.value), scores.in_order);
      case Layer::kReplace:
        return replace(layer, scores);
    }
  }

  void add(ValueId mask, bool in_order) {
    if (added == ir::kNone) {
      added = mask;
    } else if (in_order || (!one_slot_ && added_last == ir::kNone && !sums_cheaply(mask, added))) {
      added_last = mask;
    } else {
      ValueId& slot = added_last != ir::kNone && sums_cheaply(mask, added_last) ? added_last : added;
      slot = insert(ir::PointwiseProgram::binary(PointwiseOp::kAdd), {mask, slot});
    }
  }

  // Their sum is made once, or is no larger than each of them.
  bool sums_cheaply(ValueId a, ValueId b) const {
    const ir::Graph& graph = rewriter_.graph();
    return (graph.value(a).is_constant() && graph.value(b).is_constant()) || same_shape(rewriter_, a, b);
  }

  void replace(const Layer& layer, const Scores& scores) {
    if (layer.is_number && replacing == ir::kNone && added == ir::kNone) {
      replacing = affine(-layer.number, layer.number, layer.value);
      return;
    }
    const ValueId condition = layer.is_number ? as_bool(layer.value) : of_some(layer.value, scores);
    const ValueId zero = number(0);
    replacing = select(layer.keeps, condition, replacing == ir::kNone ? zero : replacing, number(layer.number));
    if (added != ir::kNone) added = select(layer.keeps, condition, added, zero);
  }

  // A condition without a part that always holds and makes it no larger than the product.
  ValueId of_some(ValueId condition, const Scores& scores) {
    const Node* both = pointwise_producer(rewriter_, condition, PointwiseOp::kLogicalAnd);
    for (int i = 0; both != nullptr && i < 2; ++i) {
      const Node* all = rewriter_.producer(operand(*both, i), Op::kFill);
      if (all == nullptr || uniform_bool(all->inputs[1]) != true || !repeats_in(all->outputs[0], scores)) continue;
      return operand(*both, 1 - i);
    }
    return condition;
  }

  std::optional<bool> uniform_bool(ValueId value) const {
    const ir::TensorPtr& tensor = rewriter_.graph().value(value).constant;
    if (tensor == nullptr || tensor->dtype != ir::DType::kBool || tensor->element_count() != 1) return std::nullopt;
    return *reinterpret_cast<const uint8_t*>(tensor->data) != 0;
  }

  bool repeats_in(ValueId value, const Scores& scores) const {
    const ir::Shape &shape = rewriter_.shape(value), &product = rewriter_.shape(scores.product->outputs[0]);
    if (scores.transposed || !shape.has_rank() || !product.has_rank() || shape.rank() > product.rank()) return false;
    for (int d = 1; d <= shape.rank(); ++d) {
      if (shape.dim(-d) != ir::Dim(1) && shape.dim(-d) != product.dim(-d)) return false;
    }
    return true;
  }

  ValueId number(float value) { return rewriter_.add_constant(float_tensor({}, {value}), ""); }

  ValueId times(float factor, ValueId value) { return affine(factor, 0, value); }

  ValueId affine(float alpha, float beta, ValueId value) {
    ir::PointwiseProgram program = ir::PointwiseProgram::unary(PointwiseOp::kAffine);
    program.code[0].alpha = alpha;
    program.code[0].beta = beta;
    return insert(std::move(program), {value});
  }

  ValueId as_bool(ValueId value) {
    return rewriter_
        .insert(made_for_, Op::kCast, {value}, ir::CastAttrs{ir::DType::kBool}, ir::DType::kBool,
                rewriter_.shape(value), "mask")
        .outputs[0];
  }

  ValueId select(bool keeps, ValueId condition, ValueId kept, ValueId other) {
    if (!keeps) std::swap(kept, other);
    return insert(ir::PointwiseProgram::ternary(PointwiseOp::kSelect), {condition, kept, other});
  }

  ValueId insert(ir::PointwiseProgram program, std::vector<ValueId> inputs) {
    ir::Shape shape = rewriter_.shape(inputs[0]);
    for (size_t i = 1; i < inputs.size(); ++i) shape = broadcast(rewriter_, shape, rewriter_.shape(inputs[i]));
    return rewriter_
        .insert(made_for_, Op::kPointwise, std::move(inputs), ir::PointwiseAttrs{std::move(program)},
                ir::DType::kFloat32, shape, "mask")
        .outputs[0];
  }

  Rewriter& rewriter_;
  const Node& made_for_;
  bool one_slot_ = false;  // for what is added: the other is for what replaces
};

// Operands of known, equal ranks, at least 3, and masks of no more dims.
bool ranks_fit(const Rewriter& rewriter, const Scores& scores, ValueId values) {
  const ir::Shape& first = rewriter.shape(values);
  const auto has_rank = [&](ValueId value) {
    return rewriter.shape(value).has_rank() && rewriter.shape(value).rank() == first.rank();
  };
  const auto fits = [&](const Layer& layer) {
    return layer.value == ir::kNone ||
           (rewriter.shape(layer.value).has_rank() && rewriter.shape(layer.value).rank() <= first.rank());
  };
  return first.has_rank() && first.rank() >= 3 && has_rank(scores.product->inputs[0]) &&
         has_rank(scores.product->inputs[1]) && std::all_of(scores.layers.begin(), scores.layers.end(), fits);
}

// Whether the values alone repeat over a batch dim: then the weights are computed once for all that it has.
bool values_repeat(const Rewriter& rewriter, const Scores& scores, ValueId values) {
  const int rank = rewriter.shape(values).rank();
  for (int d = 3; d <= rank; ++d) {
    const auto is_one = [&](ValueId value) {
      const ir::Shape& shape = rewriter.shape(value);
      return shape.rank() < d || shape.dim(-d) == ir::Dim(1);
    };
    const bool once = is_one(scores.product->inputs[0]) && is_one(scores.product->inputs[1]) &&
                      std::all_of(scores.layers.begin(), scores.layers.end(),
                                  [&](const Layer& layer) { return layer.value == ir::kNone || is_one(layer.value); });
    if (once && !is_one(values)) return true;
  }
  return false;
}

// A device's kernels keep a row of queries and of values in registers.
bool fits_device(const Rewriter& rewriter, const Stored& query, const Node& last) {
  constexpr int64_t kMost = 128;  // as the rows say: tested
  const auto is_short = [](const ir::Dim& dim) { return dim.is_known() && dim.value() > 0 && dim.value() <= kMost; };
  return is_short(rewriter.shape(query.value).dim(-1)) && is_short(rewriter.shape(last.outputs[0]).dim(-1));
}

// Queries and keys of a product, or of its transpose.
std::pair<Stored, Stored> queries_and_keys(Rewriter& rewriter, const Scores& scores) {
  const ValueId a = scores.product->inputs[0], b = scores.product->inputs[1];
  const bool by_rows = scores.product->get<ir::MatMulAttrs>().transpose_b;
  if (!scores.transposed)
    return {stored(rewriter, a, true), by_rows ? stored(rewriter, b, false) : swapped(stored(rewriter, b, false))};
  return {by_rows ? stored(rewriter, b, true) : swapped(stored(rewriter, b, false)), stored(rewriter, a, false)};
}

// `last` multiplies the weights with the values.
bool become_attention(Rewriter& rewriter, Node& last, bool on_device) {
  if (!is_plain_product(&last) || !is_float32(rewriter, last) || !rewriter.has_one_use(last.inputs[0])) return false;
  const Node* softmax = rewriter.producer(last.inputs[0], Op::kSoftmax);
  if (softmax == nullptr || softmax->get<ir::SoftmaxAttrs>().log) return false;
  const auto scores = ScoreFinder(rewriter).find(softmax->inputs[0]);
  const ValueId v = last.inputs[1];
  if (!scores || !ranks_fit(rewriter, *scores, v) || values_repeat(rewriter, *scores, v)) return false;
  const auto [query, key] = queries_and_keys(rewriter, *scores);
  if (query.perm.back() != in_place(static_cast<int>(query.perm.size())).back()) return false;
  if (on_device && !fits_device(rewriter, query, last)) return false;
  Stored value = stored(rewriter, v, false);
  if (last.get<ir::MatMulAttrs>().transpose_b) value = swapped(value);
  const Masks masks(rewriter, last, *scores);
  const bool replaces = masks.replacing != ir::kNone;
  ir::AttentionAttrs attrs{masks.scale, query.perm, key.perm, value.perm, in_place(rewriter.shape(v).rank()), replaces};
  std::vector<ValueId> inputs = {query.value, key.value, value.value};
  if (replaces) inputs.push_back(masks.replacing);
  if (masks.added != ir::kNone) inputs.push_back(masks.added);
  if (masks.added_last != ir::kNone) inputs.push_back(masks.added_last);
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
  // On a CPU, too: softmax in a step of its own costs more than products in bfloat16 gain.
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  for (ir::NodeId id : rewriter.order()) {
    if (!rewriter.is_dead(id) && become_attention(rewriter, graph.node(id), options.on_device)) ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
