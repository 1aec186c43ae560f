// RecognizeRecurrence: a loop over time whose body is an LSTM cell becomes one product of all inputs with their weights
// and one Lstm node.
#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Op;
using ir::PointwiseOp;
using ir::ValueId;

// A loop's graphs, seen through the Identity nodes in them. Operands of the loop are known by number.
class TimeLoop {
 public:
  TimeLoop(Rewriter& rewriter, const Node& node)
      : rewriter_(rewriter),
        node_(node),
        condition_(*node.get<ir::SubGraphsAttrs>().graphs[0]),
        body_(*node.get<ir::SubGraphsAttrs>().graphs[1]) {}

  const Node& node() const { return node_; }
  const Graph& body() const { return body_; }
  int variables() const { return static_cast<int>(node_.outputs.size()); }
  ValueId result(int variable) const { return ir::behind_identities(body_, body_.outputs()[variable]); }
  ValueId outside(int operand) const { return node_.inputs[operand]; }
  const ir::Shape& shape_outside(int operand) const { return rewriter_.shape(node_.inputs[operand]); }

  const Node* producer(ValueId v, Op op) const { return producer_in(body_, v, op); }
  const Node* pointwise(ValueId v, PointwiseOp op) const {
    const Node* node = producer(v, Op::kPointwise);
    const ir::PointwiseInstr* instr = single_instr(node);
    return instr != nullptr && instr->op == op ? node : nullptr;
  }
  // Which operand of the loop a value of the body is; -1: none.
  int operand_number(ValueId v) const { return number_in(body_, v); }

  // A variable that says which step this is.
  bool counts_steps(int variable) const {
    if (variable < 0 || variable >= variables() || uniform_value(rewriter_.graph(), outside(variable)) != 0.0) {
      return false;
    }
    const Node* next = pointwise(result(variable), PointwiseOp::kAdd);
    if (next == nullptr || body_.value(next->outputs[0]).dtype != ir::DType::kInt32) return false;
    for (int i = 0; i < 2; ++i) {
      if (operand_number(operand(*next, i)) == variable && uniform_value(body_, operand(*next, 1 - i)) == 1.0) {
        return true;
      }
    }
    return false;
  }

  // The loop ends after `steps`, no sooner and no later.
  bool runs(Dim steps) const {
    bool ends = false;
    return condition_holds(ir::behind_identities(condition_, condition_.outputs()[0]), steps, ends) && ends;
  }

 private:
  static const Node* producer_in(const Graph& graph, ValueId v, Op op) {
    const ir::NodeId producer = graph.value(ir::behind_identities(graph, v)).producer;
    return producer != ir::kNone && graph.node(producer).op == op ? &graph.node(producer) : nullptr;
  }
  static int number_in(const Graph& graph, ValueId v) {
    const auto found = std::find(graph.inputs().begin(), graph.inputs().end(), ir::behind_identities(graph, v));
    return found == graph.inputs().end() ? -1 : static_cast<int>(found - graph.inputs().begin());
  }

  // Step numbers below limits that are no less than `steps`; `ends`: one of them is just that.
  bool condition_holds(ValueId v, Dim steps, bool& ends) const {
    const Node* node = producer_in(condition_, v, Op::kPointwise);
    const ir::PointwiseInstr* instr = single_instr(node);
    if (instr == nullptr) return false;
    if (instr->op == PointwiseOp::kLogicalAnd) {
      return condition_holds(operand(*node, 0), steps, ends) && condition_holds(operand(*node, 1), steps, ends);
    }
    if (instr->op != PointwiseOp::kLess || !counts_steps(number_in(condition_, operand(*node, 0)))) return false;
    const ValueId limit = ir::behind_identities(condition_, operand(*node, 1));
    const int number = number_in(condition_, limit);
    const auto value =
        number < 0 ? uniform_value(condition_, limit) : uniform_value(rewriter_.graph(), outside(number));
    if (value) {
      ends = ends || (steps.is_known() && *value == static_cast<double>(steps.value()));
      return steps.is_known() && *value >= static_cast<double>(steps.value());
    }
    ends = true;
    return number >= variables() && is_size(outside(number), steps);
  }

  // An element of a shape that is `dim`.
  bool is_size(ValueId value, Dim dim) const {
    const Node* slice = rewriter_.producer(value, Op::kStridedSlice);
    if (slice == nullptr || slice->get<ir::StridedSliceAttrs>().shrink_axis_mask != 1) return false;
    const Node* shape_of = rewriter_.producer(slice->inputs[0], Op::kShapeOf);
    const auto begin = integers(rewriter_.graph(), slice->inputs[1]);
    if (shape_of == nullptr || !begin || begin->size() != 1) return false;
    const ir::Shape& shape = rewriter_.shape(shape_of->inputs[0]);
    const int64_t at = (*begin)[0];
    return shape.has_rank() && at >= 0 && at < shape.rank() && shape.dim(static_cast<int>(at)) == dim;
  }

  Rewriter& rewriter_;
  const Node& node_;
  const Graph &condition_, &body_;
};

constexpr int kGates = 4;  // i, f, c, o

// c' = sigmoid(f) * c + sigmoid(i) * tanh(g); h' = sigmoid(o) * tanh(c'), all gates parts of one sum
// x * input_weights + h * state_weights + biases.
struct LstmCell {
  int hidden = -1, cell = -1;  // variables
  const Node* split = nullptr;
  std::array<int, kGates> part = {};      // where each gate is in the sum
  std::array<double, kGates> shift = {};  // added to it
  int input = -1;                         // the operand whose row of this step is x
  ValueId input_weights = ir::kNone, state_weights = ir::kNone;
  ValueId both_weights = ir::kNone;  // the rows of one above the other's, where x and h are joined
  std::vector<ValueId> biases;
};

class LstmMatcher {
 public:
  explicit LstmMatcher(const TimeLoop& loop) : loop_(loop) {}

  bool match(int hidden, LstmCell& cell) const {
    cell.hidden = hidden;
    const Node* out = loop_.pointwise(loop_.result(hidden), PointwiseOp::kMul);
    if (out == nullptr || loop_.body().value(out->outputs[0]).dtype != ir::DType::kFloat32) return false;
    for (int i = 0; i < 2; ++i) {
      const Node* activated = loop_.pointwise(operand(*out, i), PointwiseOp::kTanh);
      if (activated == nullptr || !gate(operand(*out, 1 - i), PointwiseOp::kSigmoid, 3, cell)) continue;
      return next_cell(operand(*activated, 0), cell) && gates_are_parts(cell) && sum(cell.split->inputs[0], cell);
    }
    return false;
  }

 private:
  bool next_cell(ValueId v, LstmCell& cell) const {
    const Node* add = loop_.pointwise(v, PointwiseOp::kAdd);
    if (add == nullptr) return false;
    for (int i = 0; i < loop_.variables(); ++i) {
      const Node* same = loop_.pointwise(loop_.result(i), PointwiseOp::kAdd);
      if (same == add) cell.cell = i;
    }
    for (int i = 0; i < 2 && cell.cell >= 0; ++i) {
      const Node* kept = loop_.pointwise(operand(*add, i), PointwiseOp::kMul);
      const Node* added = loop_.pointwise(operand(*add, 1 - i), PointwiseOp::kMul);
      if (kept != nullptr && added != nullptr && keeps(*kept, cell) && adds(*added, cell)) return true;
    }
    return false;
  }

  bool keeps(const Node& mul, LstmCell& cell) const {
    for (int i = 0; i < 2; ++i) {
      if (loop_.operand_number(operand(mul, i)) == cell.cell) {
        return gate(operand(mul, 1 - i), PointwiseOp::kSigmoid, 1, cell);
      }
    }
    return false;
  }

  bool adds(const Node& mul, LstmCell& cell) const {
    for (int i = 0; i < 2; ++i) {
      if (gate(operand(mul, i), PointwiseOp::kSigmoid, 0, cell)) {
        return gate(operand(mul, 1 - i), PointwiseOp::kTanh, 2, cell);
      }
    }
    return false;
  }

  // activation(a part of the sum, perhaps with a number added).
  bool gate(ValueId v, PointwiseOp activation, size_t which, LstmCell& cell) const {
    const Node* node = loop_.pointwise(v, activation);
    if (node == nullptr) return false;
    ValueId part = operand(*node, 0);
    if (const Node* add = loop_.pointwise(part, PointwiseOp::kAdd)) {
      for (int i = 0; i < 2; ++i) {
        const auto shift = float_scalar(loop_.body(), operand(*add, i));
        if (!shift) continue;
        cell.shift[which] = static_cast<double>(*shift);
        part = operand(*add, 1 - i);
        break;
      }
    }
    const Node* split = loop_.producer(part, Op::kSplit);
    if (split == nullptr || (cell.split != nullptr && cell.split != split)) return false;
    cell.split = split;
    for (size_t i = 0; i < split->outputs.size(); ++i) {
      if (is_value(part, split->outputs[i])) cell.part[which] = static_cast<int>(i);
    }
    return true;
  }

  bool is_value(ValueId v, ValueId wanted) const {
    while (v != wanted) {
      const Node* identity = nullptr;
      const ir::NodeId producer = loop_.body().value(v).producer;
      if (producer != ir::kNone && loop_.body().node(producer).op == Op::kIdentity) {
        identity = &loop_.body().node(producer);
      }
      if (identity == nullptr) return false;
      v = identity->inputs[0];
    }
    return true;
  }

  bool gates_are_parts(const LstmCell& cell) const {
    const auto& attrs = cell.split->get<ir::SplitAttrs>();
    std::array<int, kGates> sorted = cell.part;
    std::sort(sorted.begin(), sorted.end());
    return attrs.sizes.empty() && attrs.axis == 1 && cell.split->outputs.size() == kGates &&
           sorted == std::array<int, kGates>{0, 1, 2, 3};
  }

  bool sum(ValueId v, LstmCell& cell) const {
    std::vector<ValueId> pending = {v};
    while (!pending.empty()) {
      v = pending.back();
      pending.pop_back();
      if (loop_.body().value(v).is_constant()) {
        cell.biases.push_back(v);
      } else if (const Node* add = loop_.pointwise(v, PointwiseOp::kAdd)) {
        for (int i = 0; i < 2; ++i) pending.push_back(operand(*add, i));
      } else if (!product(v, cell)) {
        return false;
      }
    }
    return cell.input >= 0 && (cell.both_weights != ir::kNone || cell.state_weights != ir::kNone);
  }

  bool product(ValueId v, LstmCell& cell) const {
    const Node* product = loop_.producer(v, Op::kMatMul);
    if (product == nullptr || !loop_.body().value(product->inputs[1]).is_constant()) return false;
    const auto& attrs = product->get<ir::MatMulAttrs>();
    if (attrs.transpose_a || attrs.transpose_b || !attrs.epilogue.empty() || cell.both_weights != ir::kNone) {
      return false;
    }
    const ValueId a = product->inputs[0], weights = product->inputs[1];
    if (const Node* both = loop_.producer(a, Op::kConcat)) {
      cell.both_weights = weights;
      return both->inputs.size() == 2 && both->get<ir::AxisAttrs>().axis == 1 && cell.input < 0 &&
             cell.state_weights == ir::kNone && is_input(both->inputs[0], cell) &&
             loop_.operand_number(both->inputs[1]) == cell.hidden;
    }
    if (loop_.operand_number(a) == cell.hidden) return std::exchange(cell.state_weights, weights) == ir::kNone;
    return cell.input < 0 && is_input(a, cell) && std::exchange(cell.input_weights, weights) == ir::kNone;
  }

  // The row of this step of an operand that stays the same.
  bool is_input(ValueId v, LstmCell& cell) const {
    const Node* row = loop_.producer(v, Op::kGather);
    if (row == nullptr || row->get<ir::GatherAttrs>() != ir::GatherAttrs{}) return false;
    cell.input = loop_.operand_number(row->inputs[0]);
    return cell.input >= loop_.variables() && loop_.counts_steps(loop_.operand_number(row->inputs[1]));
  }

  const TimeLoop& loop_;
};

constexpr double kMostSumsBytes = 256 << 20;  // of the gates' sums of all steps, which are one tensor

// A list of states, or one whose elements had no known shape when it was made: its rows are without elements.
bool holds_states(const ir::Shape& list, const ir::Shape& state) {
  if (!list.has_rank() || list.rank() < 1) return false;
  const auto first = list.dims().begin() + 1, end = list.dims().end();
  return std::find(first, end, Dim(0)) != end || std::equal(first, end, state.dims().begin(), state.dims().end());
}

// What a variable beside the states is.
enum class Role : uint8_t { kOther, kCounter, kSequence, kLastRow };

Role role_of(const TimeLoop& loop, int variable, const LstmCell& cell, Dim steps) {
  if (loop.counts_steps(variable)) return Role::kCounter;
  const Node* set = loop.producer(loop.result(variable), Op::kSetRows);
  const ir::Shape& list = loop.shape_outside(variable);
  if (set == nullptr || !holds_states(list, loop.shape_outside(cell.hidden))) return Role::kOther;
  if (loop.operand_number(set->inputs[0]) != variable) return Role::kOther;
  const Node* row = loop.pointwise(set->inputs[2], PointwiseOp::kMul);
  if (row == nullptr || row != loop.pointwise(loop.result(cell.hidden), PointwiseOp::kMul)) return Role::kOther;
  if (loop.counts_steps(loop.operand_number(set->inputs[1]))) {
    return list.dim(0) == steps ? Role::kSequence : Role::kOther;
  }
  return uniform_value(loop.body(), set->inputs[1]) == 0.0 && list.dim(0) == Dim(1) ? Role::kLastRow : Role::kOther;
}

// Rows [first, first + count) of weights or a bias with the gates in the order i, f, c, o.
ir::TensorPtr reordered(const std::vector<float>& from, int64_t first, int64_t count, int64_t cells,
                        const std::array<int, kGates>& part) {
  std::vector<float> to;
  to.reserve(static_cast<size_t>(count * kGates * cells));
  for (int64_t row = first; row < first + count; ++row) {
    for (int gate : part) {
      const auto at = from.begin() + (row * kGates + gate) * cells;
      to.insert(to.end(), at, at + cells);
    }
  }
  return float_tensor({count, kGates * cells}, to);
}

class LstmWriter {
 public:
  LstmWriter(Rewriter& rewriter, Node& node) : rewriter_(rewriter), loop_node_(node), loop_(rewriter, node) {}

  bool run() {
    LstmCell cell;
    bool found = false;
    for (int i = 0; i < loop_.variables() && !found; ++i) {
      cell = LstmCell();
      found = LstmMatcher(loop_).match(i, cell);
    }
    if (!found || !read_sizes(cell) || !read_roles(cell) || !read_bias(cell)) return false;
    return write(cell);
  }

 private:
  bool read_sizes(const LstmCell& cell) {
    x_ = loop_.shape_outside(cell.input);
    const ir::Shape& state = loop_.shape_outside(cell.cell);
    if (!x_.has_rank() || x_.rank() != 3 || !x_.dim(2).is_known() || !state.has_rank() || state.rank() != 2)
      return false;
    if (state.dim(0) != x_.dim(1) || loop_.shape_outside(cell.hidden) != state) return false;
    if (!state.dim(1).is_known() || rewriter_.dtype(loop_.outside(cell.input)) != ir::DType::kFloat32) return false;
    cells_ = state.dim(1).value();
    return cells_ > 0 && x_.dim(2).value() > 0 && sums_bytes() <= kMostSumsBytes && loop_.runs(x_.dim(0));
  }

  // 0 where only the run knows.
  double sums_bytes() const {
    if (!x_.dim(0).is_known() || !x_.dim(1).is_known()) return 0;
    return static_cast<double>(x_.dim(0).value()) * static_cast<double>(x_.dim(1).value()) *
           static_cast<double>(cells_) * kGates * sizeof(float);
  }

  bool read_roles(const LstmCell& cell) {
    for (int i = 0; i < loop_.variables(); ++i) {
      const bool state = i == cell.hidden || i == cell.cell;
      roles_.push_back(state ? Role::kOther : role_of(loop_, i, cell, x_.dim(0)));
      if (!state && roles_.back() == Role::kOther) return false;
      if (roles_.back() == Role::kLastRow && !last_row_is_state(i, cell)) return false;
      const ValueId out = loop_node_.outputs[i];
      if (rewriter_.is_output(out) || (roles_.back() == Role::kCounter && rewriter_.uses(out) > 0)) return false;
    }
    return true;
  }

  // Without a step the list keeps its first row, and h is what it was: they must be the same. A list without elements
  // has no row then, and TensorFlow fails.
  bool last_row_is_state(int variable, const LstmCell& cell) {
    const Dim steps = x_.dim(0);
    if ((steps.is_known() && steps.value() > 0) || rewriter_.uses(loop_node_.outputs[variable]) == 0) return true;
    const auto& dims = loop_.shape_outside(variable).dims();
    if (std::find(dims.begin(), dims.end(), Dim(0)) != dims.end()) return true;
    const auto row = shared_element(loop_.outside(variable)), h = shared_element(loop_.outside(cell.hidden));
    return row && h && *row == *h;
  }

  // What all elements of a constant of any size, or of a Fill, are.
  std::optional<float> shared_element(ValueId v) {
    if (const Node* fill = rewriter_.producer(v, Op::kFill)) v = fill->inputs[1];
    const std::vector<float> values = float_values(rewriter_.graph(), v);
    const bool same = std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
    return !values.empty() && same ? std::optional(values.front()) : std::nullopt;
  }

  bool read_bias(const LstmCell& cell) {
    bias_.assign(static_cast<size_t>(kGates * cells_), 0);
    for (ValueId v : cell.biases) {
      const auto values = channel_values(loop_.body(), v, kGates * cells_);
      if (!values) return false;
      for (size_t i = 0; i < bias_.size(); ++i) bias_[i] += (*values)[i];
    }
    for (size_t gate = 0; gate < kGates; ++gate) {
      for (int64_t i = 0; i < cells_; ++i) bias_[static_cast<size_t>(cell.part[gate] * cells_ + i)] += cell.shift[gate];
    }
    return true;
  }

  // Rows of the body's constant; the constant itself where that is all of it.
  ValueId weights(ValueId v, int64_t first, int64_t count, const LstmCell& cell, const char* name) {
    const ir::TensorPtr& tensor = loop_.body().value(v).constant;
    const bool as_it_is = tensor->dims[0] == count && cell.part == std::array<int, kGates>{0, 1, 2, 3};
    return rewriter_.add_constant(
        as_it_is ? tensor : reordered(float_values(loop_.body(), v), first, count, cells_, cell.part), name);
  }

  bool write(const LstmCell& cell) {
    const int64_t inputs = x_.dim(2).value();
    const bool both = cell.both_weights != ir::kNone;
    const ValueId wx = both ? cell.both_weights : cell.input_weights, wh = both ? wx : cell.state_weights;
    const ir::Dims &x_dims = loop_.body().value(wx).constant->dims, &h_dims = loop_.body().value(wh).constant->dims;
    if (x_dims != ir::Dims{both ? inputs + cells_ : inputs, kGates * cells_}) return false;
    if (!both && h_dims != ir::Dims{cells_, kGates * cells_}) return false;
    const ir::Shape gates({x_.dim(0), x_.dim(1), Dim(kGates * cells_)}), all({x_.dim(0), x_.dim(1), Dim(cells_)});
    constexpr ir::DType kFloat = ir::DType::kFloat32;

    ValueId sums = rewriter_
                       .insert(loop_node_, Op::kMatMul, {loop_.outside(cell.input), weights(wx, 0, inputs, cell, "")},
                               ir::MatMulAttrs{}, kFloat, gates, "inputs")
                       .outputs[0];
    if (std::any_of(bias_.begin(), bias_.end(), [](double b) { return b != 0; })) {
      const std::vector<float> bias(bias_.begin(), bias_.end());
      const ir::TensorPtr row = with_dims(reordered(bias, 0, 1, cells_, cell.part), {kGates * cells_});
      sums = rewriter_
                 .insert(loop_node_, Op::kPointwise, {sums, rewriter_.add_constant(row, "")},
                         ir::PointwiseAttrs{ir::PointwiseProgram::binary(PointwiseOp::kAdd)}, kFloat, gates, "bias")
                 .outputs[0];
    }
    const std::vector<ValueId> made = rewriter_
                                          .insert(loop_node_, Op::kLstm,
                                                  {sums, weights(wh, both ? inputs : 0, cells_, cell, ""),
                                                   loop_.outside(cell.hidden), loop_.outside(cell.cell)},
                                                  ir::EmptyAttrs{}, kFloat, all, "lstm", 3)
                                          .outputs;
    const ir::Shape state({x_.dim(1), Dim(cells_)});
    for (size_t i : {1, 2}) rewriter_.graph().value(made[i]).shape = state;
    for (int i = 0; i < loop_.variables(); ++i) replace(i, cell, made);
    return true;
  }

  void replace(int variable, const LstmCell& cell, const std::vector<ValueId>& made) {
    const ValueId out = loop_node_.outputs[variable];
    if (variable == cell.hidden) rewriter_.replace(out, made[1]);
    if (variable == cell.cell) rewriter_.replace(out, made[2]);
    if (roles_[variable] == Role::kSequence) rewriter_.replace(out, made[0]);
    if (roles_[variable] != Role::kLastRow || rewriter_.uses(out) == 0) return;
    const ir::Shape shape({Dim(1), x_.dim(1), Dim(cells_)});
    const Node& row =
        rewriter_.insert(loop_node_, Op::kExpandDims, {made[1]}, ir::AxisAttrs{0}, ir::DType::kFloat32, shape, "last");
    rewriter_.replace(out, row.outputs[0]);
  }

  Rewriter& rewriter_;
  Node& loop_node_;
  TimeLoop loop_;
  ir::Shape x_;  // [steps, batch, inputs]
  int64_t cells_ = 0;
  std::vector<Role> roles_;
  std::vector<double> bias_;
};

}  // namespace

Result<PassResult> recognize_recurrence(ir::Graph& graph, const PassOptions& options) {
  PassResult result;
  if (options.on_device) return result;  // whose backends have no kernel for it
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  for (ir::NodeId id : rewriter.order()) {
    if (rewriter.is_dead(id) || graph.node(id).op != Op::kWhile) continue;
    if (graph.node(id).get<ir::SubGraphsAttrs>().graphs.size() != 2) continue;  // has a preamble
    if (LstmWriter(rewriter, graph.node(id)).run()) ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
