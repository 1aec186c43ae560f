// Finds cells by what they compute: each gate is followed to the products and biases that it adds up, however they are
// joined, split and sliced.
#include "passes/recurrent_layers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::PointwiseOp;
using ir::RecurrentCell;
using ir::ValueId;

// Columns [first, first + ...) of a value of rank 2.
struct Slice {
  ValueId value = ir::kNone;
  int64_t first = 0;
};

// clip(slope * of + 0.5, 0, 1)
struct HardSigmoid {
  ValueId of = ir::kNone;
  float slope = 0;
};

// Follows a value through clips and additions and multiplications of one number: it is clip(scale * x + offset, ...).
class HardSigmoidFinder {
 public:
  explicit HardSigmoidFinder(const TimeLoop& loop) : loop_(loop) {}

  std::optional<HardSigmoid> find(ValueId v) {
    v = loop_.same(v);
    for (const Node* node = loop_.producer(v, Op::kPointwise); node != nullptr && follow(*node);
         node = loop_.producer(v, Op::kPointwise)) {
      v = loop_.same(next_);
    }
    // Constants that float32 rounds: 3 * (1 / 6) is not 0.5, and 6 * (1 / 6) not 1.
    const auto near = [](double value, double wanted) { return std::abs(value - wanted) < 1e-6; };
    const bool found = near(low_, 0) && near(high_, 1) && near(offset_, 0.5) && scale_ > 0;
    return found ? std::optional(HardSigmoid{v, static_cast<float>(scale_)}) : std::nullopt;
  }

 private:
  // Whether `node` is such an operation; then next_ is what it is of.
  bool follow(const Node& node) {
    const ir::PointwiseInstr* instr = single_instr(&node);
    if (instr == nullptr) return false;
    next_ = operand(node, 0);
    const double alpha = instr->alpha, beta = instr->beta;
    switch (instr->op) {
      case PointwiseOp::kRelu:
        return clip(0, kInfinity);
      case PointwiseOp::kRelu6:
        return clip(0, 6);
      case PointwiseOp::kClip:
        return clip(alpha, beta);
      case PointwiseOp::kAffine:
        return line(alpha, beta);
      case PointwiseOp::kHardSigmoid:
        return clip(0, 1) && line(alpha, beta);
      default:
        return follow_binary(node, instr->op);
    }
  }

  bool follow_binary(const Node& node, PointwiseOp op) {
    if (node.inputs.size() != 2) return false;
    auto number = number_of(operand(node, 1));
    const bool swapped = !number && op != PointwiseOp::kSub && op != PointwiseOp::kDiv;
    if (swapped) {
      number = number_of(operand(node, 0));
      next_ = operand(node, 1);
    }
    if (!number) return false;
    switch (op) {
      case PointwiseOp::kMaximum:
        return clip(*number, kInfinity);
      case PointwiseOp::kMinimum:
        return clip(-kInfinity, *number);
      case PointwiseOp::kAdd:
        return line(1, *number);
      case PointwiseOp::kSub:
        return line(1, -*number);
      case PointwiseOp::kMul:
        return line(*number, 0);
      case PointwiseOp::kDiv:
        return line(1 / *number, 0);
      default:
        return false;
    }
  }

  std::optional<double> number_of(ValueId v) const {
    const ir::TensorPtr& constant = loop_.body().value(loop_.same(v)).constant;
    return constant != nullptr && constant->element_count() == 1 ? uniform_value(loop_.body(), v) : std::nullopt;
  }

  bool clip(double low, double high) {
    low_ = std::max(low_, scale_ * low + offset_);
    high_ = std::min(high_, scale_ * high + offset_);
    return true;
  }
  bool line(double scale, double offset) {
    offset_ += scale_ * offset;
    scale_ *= scale;
    return scale > 0;
  }

  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const TimeLoop& loop_;
  ValueId next_ = ir::kNone;
  double scale_ = 1, offset_ = 0, low_ = -kInfinity, high_ = kInfinity;
};

std::optional<HardSigmoid> hard_sigmoid_in(const TimeLoop& loop, ValueId v) { return HardSigmoidFinder(loop).find(v); }

class LayerMatcher {
 public:
  LayerMatcher(const TimeLoop& loop, int hidden, int64_t cells) : loop_(loop), body_(loop.body()), cells_(cells) {
    layer_.hidden = hidden;
  }

  std::optional<RecurrentLayer> match() {
    for (const MaskedValue& value : unmasked(loop_, loop_.result(layer_.hidden))) {
      layer_.next = value.fresh;
      layer_.mask = value.mask;
      if (value.kept != ir::kNone && !is_state(value.kept)) continue;
      if (body_.value(value.fresh).dtype != ir::DType::kFloat32) continue;
      for (auto cell : {&LayerMatcher::plain, &LayerMatcher::lstm, &LayerMatcher::gru}) {
        layer_.gates.clear();
        if ((this->*cell)() && gates_agree()) return layer_;
      }
    }
    return std::nullopt;
  }

 private:
  bool is_state(ValueId v) const { return v != ir::kNone && loop_.operand_number(behind_ones(v)) == layer_.hidden; }

  bool plain() {
    layer_.cell = RecurrentCell::kPlain;
    layer_.gates.resize(1);
    return gate({layer_.next, 0}, PointwiseOp::kTanh, layer_.gates[0]);
  }

  // h' = sigmoid(o) * tanh(c'); c' = sigmoid(f) * c + sigmoid(i) * tanh(g).
  bool lstm() {
    layer_.cell = RecurrentCell::kLstm;
    layer_.gates.resize(4);
    const Node* out = loop_.pointwise(layer_.next, PointwiseOp::kMul);
    for (int i = 0; out != nullptr && i < 2; ++i) {
      const Node* active = loop_.pointwise(operand(*out, i), PointwiseOp::kTanh);
      if (active == nullptr || !gate({operand(*out, 1 - i), 0}, PointwiseOp::kSigmoid, layer_.gates[3])) continue;
      return next_cell(loop_.same(operand(*active, 0)));
    }
    return false;
  }

  bool next_cell(ValueId c) {
    const Node* add = loop_.pointwise(c, PointwiseOp::kAdd);
    if (add == nullptr) return false;
    layer_.cell_state = -1;
    for (int i = 0; i < loop_.variables(); ++i) {
      for (const MaskedValue& value : unmasked(loop_, loop_.result(i))) {
        const bool keeps = value.kept == ir::kNone || loop_.operand_number(value.kept) == i;
        if (value.fresh == c && keeps && value.mask == layer_.mask) layer_.cell_state = i;
      }
    }
    for (int i = 0; i < 2 && layer_.cell_state >= 0; ++i) {
      const Node* kept = loop_.pointwise(operand(*add, i), PointwiseOp::kMul);
      const Node* added = loop_.pointwise(operand(*add, 1 - i), PointwiseOp::kMul);
      if (kept != nullptr && added != nullptr && keeps_cell(*kept) && adds(*added)) return true;
    }
    return false;
  }

  bool keeps_cell(const Node& mul) {
    for (int i = 0; i < 2; ++i) {
      if (loop_.operand_number(operand(mul, i)) == layer_.cell_state) {
        return gate({operand(mul, 1 - i), 0}, PointwiseOp::kSigmoid, layer_.gates[1]);
      }
    }
    return false;
  }

  bool adds(const Node& mul) {
    for (int i = 0; i < 2; ++i) {
      if (gate({operand(mul, i), 0}, PointwiseOp::kSigmoid, layer_.gates[0])) {
        return gate({operand(mul, 1 - i), 0}, PointwiseOp::kTanh, layer_.gates[2]);
      }
    }
    return false;
  }

  // h' = z * h + (1 - z) * g.
  bool gru() {
    layer_.gates.resize(3);
    const Node* add = loop_.pointwise(layer_.next, PointwiseOp::kAdd);
    for (int i = 0; add != nullptr && i < 2; ++i) {
      const Node* kept = loop_.pointwise(operand(*add, i), PointwiseOp::kMul);
      const Node* added = loop_.pointwise(operand(*add, 1 - i), PointwiseOp::kMul);
      for (int j = 0; kept != nullptr && added != nullptr && j < 4; ++j) {
        const ValueId z = loop_.same(operand(*kept, j % 2));
        if (!is_state(operand(*kept, 1 - j % 2)) || complement(operand(*added, j / 2)) != z) continue;
        if (gate({z, 0}, PointwiseOp::kSigmoid, layer_.gates[0]) && candidate(operand(*added, 1 - j / 2))) return true;
      }
    }
    return false;
  }

  // What 1 - x is of; kNone for others.
  ValueId complement(ValueId v) const {
    if (const Node* sub = loop_.pointwise(v, PointwiseOp::kSub)) {
      return uniform_value(body_, operand(*sub, 0)) == 1.0 ? loop_.same(operand(*sub, 1)) : ir::kNone;
    }
    const Node* node = loop_.pointwise(v, PointwiseOp::kAffine);
    const ir::PointwiseInstr* instr = single_instr(node);
    if (instr == nullptr || instr->alpha != -1 || instr->beta != 1) return ir::kNone;
    return loop_.same(operand(*node, 0));
  }

  // g = tanh(from x + r * (from h)), or tanh(from x and r * h).
  bool candidate(ValueId v) {
    const Node* active = loop_.pointwise(v, PointwiseOp::kTanh);
    if (active == nullptr) return false;
    layer_.cell = RecurrentCell::kGru;
    GateSum& g = layer_.gates[2] = empty();
    std::vector<ValueId> pending = {operand(*active, 0)};
    bool scaled = false;
    while (!pending.empty()) {
      const ValueId part = pending.back();
      pending.pop_back();
      if (const Node* add = loop_.pointwise(part, PointwiseOp::kAdd)) {
        pending.insert(pending.end(), {operand(*add, 0), operand(*add, 1)});
      } else if (const Node* mul = loop_.pointwise(part, PointwiseOp::kMul)) {
        if (std::exchange(scaled, true) || !scales_sum(*mul)) return false;
      } else if (!sum({part, 0}, g)) {
        return false;
      }
    }
    if (scaled) return is_state(g.state);
    layer_.cell = RecurrentCell::kGruResetFirst;
    const Node* mul = g.state == ir::kNone ? nullptr : loop_.pointwise(g.state, PointwiseOp::kMul);
    for (int i = 0; mul != nullptr && i < 2; ++i) {
      if (is_state(operand(*mul, i))) return gate({operand(*mul, 1 - i), 0}, PointwiseOp::kSigmoid, layer_.gates[1]);
    }
    return false;
  }

  // r * (a sum of h alone)
  bool scales_sum(const Node& mul) {
    for (int i = 0; i < 2; ++i) {
      if (!gate({operand(mul, i), 0}, PointwiseOp::kSigmoid, layer_.gates[1])) continue;
      GateSum of_state = empty();
      GateSum& g = layer_.gates[2];
      if (!sum({operand(mul, 1 - i), 0}, of_state) || of_state.input != ir::kNone) return false;
      if (!is_state(of_state.state) || g.state != ir::kNone) return false;
      layer_.state_bias = of_state.bias;
      g.state = of_state.state;
      g.from_state = of_state.from_state;
      return true;
    }
    return false;
  }

  GateSum empty() const {
    GateSum made;
    made.bias.assign(static_cast<size_t>(cells_), 0);
    return made;
  }

  // activation(a sum), where the slicing may come before or after.
  bool gate(Slice at, PointwiseOp activation, GateSum& found) const {
    at = behind_slices(at);
    const Node* node = loop_.pointwise(at.value, activation);
    found = empty();
    if (node != nullptr) return sum({operand(*node, 0), at.first}, found);
    if (activation != PointwiseOp::kSigmoid) return false;
    const auto hard = hard_sigmoid_in(loop_, at.value);
    if (!hard) return false;
    found.hard_slope = hard->slope;
    return sum({hard->of, at.first}, found);
  }

  Slice behind_slices(Slice at) const {
    for (;;) {
      const ValueId v = loop_.same(at.value);
      if (!has_columns(v, at.first)) return {v, at.first};
      if (const Node* split = loop_.producer(v, Op::kSplit)) {
        const auto first = first_of_part(*split, v);
        if (!first) return {v, at.first};
        at = {split->inputs[0], at.first + *first};
      } else if (const Node* slice = loop_.producer(v, Op::kStridedSlice)) {
        const auto first = first_of_slice(*slice, 1);
        if (!first) return {v, at.first};
        at = {slice->inputs[0], at.first + *first};
      } else {
        return {v, at.first};
      }
    }
  }

  std::optional<int64_t> width(ValueId v) const {
    const ir::Shape& shape = body_.value(v).shape;
    if (!shape.has_rank() || shape.rank() < 1 || !shape.dim(-1).is_known()) return std::nullopt;
    return shape.dim(-1).value();
  }

  // One for each cell: fewer would be repeated for them.
  bool has_columns(ValueId v, int64_t first) const {
    const auto columns = width(v);
    return columns && *columns >= first + cells_;
  }

  std::optional<int64_t> first_of_part(const Node& split, ValueId part) const {
    int64_t first = 0;
    if (split.get<ir::SplitAttrs>().axis != 1) return std::nullopt;
    for (ValueId output : split.outputs) {
      const auto columns = width(output);
      if (!columns) return std::nullopt;
      if (output == part) return first;
      first += *columns;
    }
    return std::nullopt;
  }

  // Where a slice of a matrix along `axis` alone, without gaps, begins.
  std::optional<int64_t> first_of_slice(const Node& slice, int axis) const {
    const auto& attrs = slice.get<ir::StridedSliceAttrs>();
    const auto begin = integers(body_, slice.inputs[1]), stride = integers(body_, slice.inputs[3]);
    const ir::Shape& shape = body_.value(slice.inputs[0]).shape;
    if (!begin || !stride || begin->size() != 2 || !shape.has_rank() || shape.rank() != 2) return std::nullopt;
    if (attrs.ellipsis_mask != 0 || attrs.new_axis_mask != 0 || attrs.shrink_axis_mask != 0) return std::nullopt;
    const int64_t whole = int64_t{1} << (1 - axis);
    const bool one_axis = (attrs.begin_mask & whole) != 0 && (attrs.end_mask & whole) != 0;
    if (!one_axis || *stride != std::vector<int64_t>{1, 1} || !shape.dim(axis).is_known()) return std::nullopt;
    if ((attrs.begin_mask & (int64_t{1} << axis)) != 0) return 0;
    const int64_t first = (*begin)[static_cast<size_t>(axis)], size = shape.dim(axis).value();
    return std::clamp<int64_t>(first < 0 ? first + size : first, 0, size);
  }

  // Adds what columns [at.first, at.first + cells) of a value are to `found`.
  bool sum(Slice at, GateSum& found) const {
    std::vector<Slice> pending = {at};
    while (!pending.empty()) {
      at = behind_slices(pending.back());
      pending.pop_back();
      if (body_.value(at.value).is_constant()) {
        if (!add_bias(at, found)) return false;
      } else if (const Node* add = loop_.pointwise(at.value, PointwiseOp::kAdd)) {
        for (int i = 0; i < 2; ++i) pending.push_back({operand(*add, i), at.first});
      } else if (const Node* affine = loop_.pointwise(at.value, PointwiseOp::kAffine)) {
        if (single_instr(affine)->alpha != 1) return false;
        for (double& bias : found.bias) bias += static_cast<double>(single_instr(affine)->beta);
        pending.push_back({operand(*affine, 0), at.first});
      } else if (!add_product(at, found)) {
        return false;
      }
    }
    return true;
  }

  bool add_bias(const Slice& at, GateSum& found) const {
    const int64_t elements = body_.value(at.value).constant->element_count();
    const auto values = channel_values(body_, at.value, elements == 1 ? at.first + cells_ : elements);
    if (!values || static_cast<int64_t>(values->size()) < at.first + cells_) return false;
    for (size_t i = 0; i < found.bias.size(); ++i) found.bias[i] += (*values)[static_cast<size_t>(at.first) + i];
    return true;
  }

  bool add_product(const Slice& at, GateSum& found) const {
    const Node* product = loop_.producer(at.value, Op::kMatMul);
    if (product == nullptr) return false;
    const auto& attrs = product->get<ir::MatMulAttrs>();
    if (attrs.transpose_a || attrs.transpose_b || !attrs.epilogue.empty()) return false;
    auto weights = columns_of(product->inputs[1], at.first);
    if (!weights) return false;
    const Node* joined = loop_.producer(product->inputs[0], Op::kConcat);
    if (joined == nullptr) return add_term(product->inputs[0], *weights, found);
    int64_t first_row = weights->first_row;
    for (ValueId part : joined->inputs) {
      const auto rows = width(part);
      if (!rows || joined->get<ir::AxisAttrs>().axis != 1) return false;
      if (!add_term(part, {weights->weights, first_row, *rows, weights->first_column}, found)) return false;
      first_row += *rows;
    }
    return first_row == weights->first_row + weights->rows;
  }

  // A constant matrix, or the columns or rows that a slice takes of one.
  std::optional<WeightColumns> columns_of(ValueId v, int64_t first) const {
    WeightColumns found{loop_.same(v), 0, 0, first};
    if (!has_columns(v, first)) return std::nullopt;
    if (const Node* slice = loop_.producer(v, Op::kStridedSlice)) {
      const auto column = first_of_slice(*slice, 1), row = first_of_slice(*slice, 0);
      if (!column && !row) return std::nullopt;
      found = {loop_.same(slice->inputs[0]), row.value_or(0), 0, first + column.value_or(0)};
    }
    const ir::TensorPtr& constant = body_.value(found.weights).constant;
    const ir::Shape& shape = body_.value(v).shape;
    if (constant == nullptr || constant->dtype != ir::DType::kFloat32 || constant->dims.size() != 2)
      return std::nullopt;
    if (!shape.has_rank() || shape.rank() != 2 || !shape.dim(0).is_known()) return std::nullopt;
    found.rows = shape.dim(0).value();
    const bool inside =
        found.first_row + found.rows <= constant->dims[0] && found.first_column + cells_ <= constant->dims[1];
    return inside ? std::optional(found) : std::nullopt;
  }

  // The masks of dropout are ones where nothing is trained.
  ValueId behind_ones(ValueId v) const {
    v = loop_.same(v);
    const Node* mul = loop_.pointwise(v, PointwiseOp::kMul);
    for (int i = 0; mul != nullptr && i < 2; ++i) {
      const ValueId other = loop_.same(operand(*mul, 1 - i));
      if (is_ones(operand(*mul, i)) && body_.value(other).shape == body_.value(v).shape) return other;
    }
    return v;
  }
  bool is_ones(ValueId v) const {
    if (const int number = loop_.operand_number(v); number >= 0)
      return loop_.stays(number) && loop_.element_outside(number) == 1.0F;
    const Node* fill = loop_.producer(v, Op::kFill);
    return uniform_value(body_, fill == nullptr ? v : fill->inputs[1]) == 1.0;
  }

  bool add_term(ValueId v, const WeightColumns& weights, GateSum& found) const {
    v = behind_ones(v);
    const Node* mul = loop_.pointwise(v, PointwiseOp::kMul);
    const bool scaled = mul != nullptr && (is_state(operand(*mul, 0)) || is_state(operand(*mul, 1)));
    const bool state = is_state(v) || (scaled && weights.rows == cells_);
    ValueId& term = state ? found.state : found.input;
    if (term != ir::kNone) return false;
    term = v;
    (state ? found.from_state : found.from_input) = weights;
    return true;
  }

  // All gates read the same input and state (a reset state excepted).
  bool gates_agree() const {
    const bool plain = layer_.cell == RecurrentCell::kPlain;
    for (const GateSum& gate : layer_.gates) {
      const bool reset = &gate == &layer_.gates.back() && layer_.cell == RecurrentCell::kGruResetFirst;
      if (gate.input == ir::kNone || gate.input != layer_.input()) return false;
      if (gate.state == ir::kNone || (!is_state(gate.state) && !reset)) return false;
      const bool is_candidate = !plain && &gate == &layer_.gates[2];
      if (!is_candidate && gate.hard_slope != layer_.gates[0].hard_slope) return false;
      if (gate.from_state.rows != cells_ || gate.from_input.rows != layer_.gates[0].from_input.rows) return false;
    }
    return true;
  }

  const TimeLoop& loop_;
  const ir::Graph& body_;
  int64_t cells_;
  RecurrentLayer layer_;
};

bool is_column(const ir::Shape& shape) { return shape.has_rank() && shape.rank() == 2 && shape.dim(1) == ir::Dim(1); }

// A slice that takes all of a vector as a column: v[:, None].
bool makes_column(const TimeLoop& loop, const Node& slice) {
  const auto& attrs = slice.get<ir::StridedSliceAttrs>();
  const auto stride = integers(loop.body(), slice.inputs[3]);
  return stride && stride->size() == 2 && stride->front() == 1 && (attrs.begin_mask & 1) != 0 &&
         (attrs.end_mask & 1) != 0 && attrs.new_axis_mask == 2 && attrs.shrink_axis_mask == 0 &&
         attrs.ellipsis_mask == 0;
}

// What `v` repeats for each cell, or what it is a column of; kNone for others.
ValueId repeated_or_column_of(const TimeLoop& loop, ValueId v) {
  const auto shape = [&](ValueId value) -> const ir::Shape& { return loop.body().value(value).shape; };
  for (Op op : {Op::kTile, Op::kBroadcastTo, Op::kReshape, Op::kExpandDims, Op::kStridedSlice}) {
    const Node* node = loop.producer(v, op);
    if (node == nullptr || (op == Op::kStridedSlice && !makes_column(loop, *node))) continue;
    const ValueId from = loop.same(node->inputs[0]);
    const bool repeats = op == Op::kTile || op == Op::kBroadcastTo;
    const bool vector = !repeats && shape(from).has_rank() && shape(from).rank() == 1;
    if (!(repeats || is_column(shape(v))) || !(vector || is_column(shape(from)))) return ir::kNone;
    return shape(from).dim(0) == shape(v).dim(0) ? from : ir::kNone;
  }
  return ir::kNone;
}

// What a condition [batch, 1], or one repeated for each cell, is made from, which has an element for each sample;
// kNone for others.
ValueId condition_of_samples(const TimeLoop& loop, ValueId v) {
  const ir::Shape& shape = loop.body().value(v).shape;
  if (!shape.has_rank() || shape.rank() != 2) return ir::kNone;
  v = loop.same(v);
  for (ValueId from = v; from != ir::kNone; from = repeated_or_column_of(loop, v)) v = from;
  const ir::Shape& made_from = loop.body().value(v).shape;
  return made_from.rank() == 1 || is_column(made_from) ? v : ir::kNone;
}

}  // namespace

std::vector<MaskedValue> unmasked(const TimeLoop& loop, ValueId value) {
  value = loop.same(value);
  const Node* select = loop.pointwise(value, PointwiseOp::kSelect);
  const ValueId condition = select == nullptr ? ir::kNone : condition_of_samples(loop, operand(*select, 0));
  if (condition == ir::kNone) return {{value, ir::kNone, {}}};
  const ValueId if_true = loop.same(operand(*select, 1)), if_false = loop.same(operand(*select, 2));
  return {{if_true, if_false, {condition, true}}, {if_false, if_true, {condition, false}}};
}

std::optional<RecurrentLayer> match_layer(const TimeLoop& loop, int hidden, int64_t cells) {
  return LayerMatcher(loop, hidden, cells).match();
}

}  // namespace blade::passes
