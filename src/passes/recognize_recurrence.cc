// RecognizeRecurrence: a loop over time whose body is recurrent layers becomes one Recurrence node a layer.
#include <algorithm>
#include <set>

#include "passes/passes_internal.h"
#include "passes/recurrent_layers.h"

namespace blade::passes {
namespace {

using ir::Dim;
using ir::DType;
using ir::Node;
using ir::Op;
using ir::PointwiseOp;
using ir::ValueId;

// What says which samples count in a step: an operand with a row of conditions for each step, or the samples' lengths.
struct MaskSource {
  int operand = -1;
  bool lengths = false;
  bool counts_where_true = true;  // for conditions
};

std::optional<MaskSource> source_of(const TimeLoop& loop, const StepMask& mask) {
  const ValueId v = mask.condition;
  MaskSource source{loop.sequence_of(v), false, mask.when_true};
  if (source.operand >= 0) return source;
  const Node* compare = loop.producer(v, Op::kPointwise);
  const ir::PointwiseInstr* instr = single_instr(compare);
  if (instr == nullptr) return std::nullopt;
  source.lengths = source.counts_where_true = true;
  const bool below = instr->op == PointwiseOp::kLess || instr->op == PointwiseOp::kGreater;  // lengths, if true
  const bool step_first = instr->op == PointwiseOp::kLess || instr->op == PointwiseOp::kGreaterEqual;
  if (!below && instr->op != PointwiseOp::kGreaterEqual && instr->op != PointwiseOp::kLessEqual) return std::nullopt;
  source.operand = loop.operand_number(operand(*compare, step_first ? 1 : 0));
  const bool steps = loop.counts_steps(loop.operand_number(operand(*compare, step_first ? 0 : 1)));
  return steps && loop.stays(source.operand) && below == mask.when_true ? std::optional(source) : std::nullopt;
}

// What a variable of the loop is for the layers.
enum class Role : uint8_t {
  kCounter,
  kHidden,
  kCell,
  kSequence,  // all h, those that do not count as the h before them
  kZeroed,    // all h, those that do not count as zeros
  kLastRow,   // a list of the last h
  kSame,      // the last h
};
struct Variable {
  Role role = Role::kCounter;
  size_t layer = 0;
};

class RecurrenceWriter {
 public:
  RecurrenceWriter(Rewriter& rewriter, const ir::Contents& contents, Node& node)
      : rewriter_(rewriter), loop_node_(node), loop_(rewriter, contents, node) {}

  bool run() {
    find_layers();
    if (layers_.empty() || !order_layers() || !read_mask() || !read_sizes() || !mask_fits()) return false;
    if (!read_variables() || !all_steps_or_zeros()) return false;
    if (mask_.operand >= 0) write_mask();
    for (size_t i = 0; i < layers_.size(); ++i) write(i);
    for (int i = 0; i < loop_.variables(); ++i) replace(i);
    return true;
  }

 private:
  void find_layers() {
    for (int i = 0; i < loop_.variables(); ++i) {
      const ir::Shape& state = loop_.shape_outside(i);
      if (!state.has_rank() || state.rank() != 2 || !state.dim(1).is_known() || state.dim(1).value() < 1) continue;
      if (auto layer = match_layer(loop_, i, state.dim(1).value())) layers_.push_back(std::move(*layer));
    }
  }

  // Each layer behind the one whose h it reads; the first reads a row of a sequence.
  bool order_layers() {
    std::vector<RecurrentLayer> ordered;
    while (!layers_.empty()) {
      const auto next = std::find_if(layers_.begin(), layers_.end(), [&](const RecurrentLayer& layer) {
        return loop_.sequence_of(layer.input()) >= 0 || layer_that_makes(layer.input(), ordered) < ordered.size();
      });
      if (next == layers_.end()) return false;
      ordered.push_back(std::move(*next));
      layers_.erase(next);
    }
    layers_ = std::move(ordered);
    return std::all_of(layers_.begin(), layers_.end(), [&](const auto& l) { return l.mask == layers_[0].mask; });
  }
  size_t layer_that_makes(ValueId h, const std::vector<RecurrentLayer>& layers) const {
    const auto made =
        std::find_if(layers.begin(), layers.end(), [&](const RecurrentLayer& l) { return l.next == loop_.same(h); });
    return static_cast<size_t>(made - layers.begin());
  }
  size_t layer_that_makes(ValueId h) const { return layer_that_makes(h, layers_); }

  bool read_mask() {
    if (layers_[0].mask.condition == ir::kNone) return true;
    const auto source = source_of(loop_, layers_[0].mask);
    if (!source) return false;
    mask_ = *source;
    const ir::Shape& shape = loop_.shape_outside(mask_.operand);
    const DType dtype = rewriter_.dtype(loop_.outside(mask_.operand));
    if (!shape.has_rank()) return false;
    if (mask_.lengths) return shape.rank() == 1 && dtype == DType::kInt32;
    return dtype == DType::kBool && (shape.rank() == 2 || (shape.rank() == 3 && shape.dim(2) == Dim(1)));
  }

  bool read_sizes() {
    int sequence = -1;
    for (const RecurrentLayer& layer : layers_) {
      const int read = loop_.sequence_of(layer.input());
      if (read < 0) continue;
      const ir::Shape& x = loop_.shape_outside(read);
      if (!x.has_rank() || x.rank() != 3 || !x.dim(2).is_known()) return false;
      if (rewriter_.dtype(loop_.outside(read)) != DType::kFloat32) return false;
      if (sequence >= 0 && (x.dim(0) != steps_ || x.dim(1) != batch_)) return false;
      sequence = read;
      steps_ = x.dim(0);
      batch_ = x.dim(1);
    }
    return sequence >= 0 && std::all_of(layers_.begin(), layers_.end(), [&](const auto& l) { return fits(l); });
  }

  // Whether a mask can be made [steps, batch]: rows may be left over, and a single sample's is repeated.
  bool mask_fits() const {
    if (mask_.operand < 0) return true;
    const Dim samples = mask_dim(mask_.lengths ? 0 : 1), rows = mask_.lengths ? steps_ : mask_dim(0);
    if (rows.is_known() && steps_.is_known() && rows.value() < steps_.value()) return false;
    if (samples == batch_ || samples == Dim(1)) return true;
    // What a loop makes of one sample and a mask of more has more samples than x.
    return batch_ != Dim(1) && !(samples.is_known() && batch_.is_known());
  }
  Dim mask_dim(int axis) const { return loop_.shape_outside(mask_.operand).dim(axis); }

  bool fits(const RecurrentLayer& layer) const {
    const int read = loop_.sequence_of(layer.input());
    const Dim inputs = read >= 0 ? loop_.shape_outside(read).dim(2) : cells(layers_[layer_that_makes(layer.input())]);
    const ir::Shape state({batch_, cells(layer)});
    const bool states = loop_.shape_outside(layer.hidden) == state &&
                        (layer.cell_state < 0 || loop_.shape_outside(layer.cell_state) == state);
    return states && inputs == Dim(layer.gates[0].from_input.rows);
  }
  Dim cells(const RecurrentLayer& layer) const { return loop_.shape_outside(layer.hidden).dim(1); }

  bool read_variables() {
    for (int i = 0; i < loop_.variables(); ++i) {
      const auto variable = variable_of(i);
      if (!variable) return false;
      variables_.push_back(*variable);
      const ValueId out = loop_node_.outputs[i];
      if (variable->role == Role::kCounter && rewriter_.uses(out) > 0) return false;
    }
    return true;
  }

  std::optional<Variable> variable_of(int i) const {
    if (loop_.counts_steps(i)) return Variable{};
    for (size_t k = 0; k < layers_.size(); ++k) {
      if (layers_[k].hidden == i) return Variable{Role::kHidden, k};
      if (layers_[k].cell_state == i) return Variable{Role::kCell, k};
    }
    if (const auto row = row_of(loop_.result(i)); row && row->role == Role::kSequence) {
      // Where this is no state of its own, it is another's from the same start.
      if (keeps_itself(i, row->layer) && same_start(i, row->layer)) return Variable{Role::kSame, row->layer};
    }
    const Node* set = loop_.producer(loop_.result(i), Op::kSetRows);
    if (set == nullptr || loop_.operand_number(set->inputs[0]) != i) return std::nullopt;
    auto row = row_of(set->inputs[2]);
    if (!row || !holds(loop_.shape_outside(i), row->layer)) return std::nullopt;
    const Dim rows = loop_.shape_outside(i).dim(0);
    if (loop_.counts_steps(loop_.operand_number(set->inputs[1]))) return rows == steps_ ? row : std::nullopt;
    const bool last = uniform_value(loop_.body(), set->inputs[1]) == 0.0 && rows == Dim(1);
    if (!last || row->role != Role::kSequence || !last_row_is_state(i, row->layer)) return std::nullopt;
    return Variable{Role::kLastRow, row->layer};
  }

  // A list of states, or one whose elements had no known shape when it was made: its rows are without elements.
  bool holds(const ir::Shape& list, size_t layer) const {
    const ir::Shape& state = loop_.shape_outside(layers_[layer].hidden);
    if (!list.has_rank() || list.rank() < 1) return false;
    const auto first = list.dims().begin() + 1, end = list.dims().end();
    return std::find(first, end, Dim(0)) != end || std::equal(first, end, state.dims().begin(), state.dims().end());
  }

  // What a row that a step writes is: kSequence or kZeroed.
  std::optional<Variable> row_of(ValueId v) const {
    for (const MaskedValue& value : unmasked(loop_, v)) {
      const size_t layer = layer_that_makes(value.fresh);
      if (layer >= layers_.size() || !(value.mask == layers_[layer].mask)) continue;
      if (value.kept == ir::kNone) return Variable{Role::kSequence, layer};
      const int kept = loop_.operand_number(value.kept);
      if (kept >= 0 && !loop_.stays(kept)) {
        const bool state = kept == layers_[layer].hidden || (keeps_itself(kept, layer) && same_start(kept, layer));
        return state ? std::optional(Variable{Role::kSequence, layer}) : std::nullopt;
      }
      const bool zeros =
          kept >= 0 ? loop_.element_outside(kept) == 0.0f : uniform_value(loop_.body(), filled_with(value.kept)) == 0.0;
      return zeros ? std::optional(Variable{Role::kZeroed, layer}) : std::nullopt;
    }
    return std::nullopt;
  }
  ValueId filled_with(ValueId v) const {
    const Node* fill = loop_.producer(v, Op::kFill);
    return fill == nullptr ? v : fill->inputs[1];
  }

  // A variable that is what the layer makes, where samples count, and else what it was.
  bool keeps_itself(int variable, size_t layer) const {
    const auto parts = unmasked(loop_, loop_.result(variable));
    return std::any_of(parts.begin(), parts.end(), [&](const MaskedValue& value) {
      return value.kept != ir::kNone && loop_.operand_number(value.kept) == variable &&
             value.fresh == layers_[layer].next && value.mask == layers_[layer].mask;
    });
  }
  bool same_start(int variable, size_t layer) const {
    const auto value = loop_.element_outside(variable), h = loop_.element_outside(layers_[layer].hidden);
    return value && h && *value == *h;
  }

  // Without a step the list keeps its first row, and h is what it was: they must be the same. A list without elements
  // has no row then, and TensorFlow fails.
  bool last_row_is_state(int variable, size_t layer) const {
    if ((steps_.is_known() && steps_.value() > 0) || rewriter_.uses(loop_node_.outputs[variable]) == 0) return true;
    const auto& dims = loop_.shape_outside(variable).dims();
    return std::find(dims.begin(), dims.end(), Dim(0)) != dims.end() || same_start(variable, layer);
  }

  // The loop takes all steps; or those that it leaves out are of no sample, and lists have zeros there.
  bool all_steps_or_zeros() const {
    const TimeLoop::Steps taken = loop_.steps(steps_, mask_.lengths ? mask_.operand : -1);
    if (!taken.at_most || taken.at_least) return taken.at_most;
    if (!mask_.lengths || !taken.all_lengths) return false;
    for (int i = 0; i < loop_.variables(); ++i) {
      const Role role = variables_[static_cast<size_t>(i)].role;
      if (role == Role::kSequence || role == Role::kLastRow) return false;
      const auto& dims = loop_.shape_outside(i).dims();
      const bool empty = std::find(dims.begin(), dims.end(), Dim(0)) != dims.end();
      if (role == Role::kZeroed && !empty && loop_.element_outside(i) != 0.0f) return false;
    }
    return true;
  }

  ValueId insert(Op op, std::vector<ValueId> inputs, ir::Attrs attrs, DType dtype, ir::Shape shape,
                 const char* suffix) {
    return rewriter_.insert(loop_node_, op, std::move(inputs), std::move(attrs), dtype, std::move(shape), suffix)
        .outputs[0];
  }
  ValueId pointwise(ir::PointwiseProgram program, std::vector<ValueId> inputs, DType dtype, ir::Shape shape,
                    const char* suffix) {
    return insert(Op::kPointwise, std::move(inputs), ir::PointwiseAttrs{std::move(program)}, dtype, std::move(shape),
                  suffix);
  }

  void write_mask() {
    mask_value_ = loop_.outside(mask_.operand);
    const Dim samples = mask_dim(mask_.lengths ? 0 : 1);
    const ir::Shape shape({mask_.lengths ? steps_ : mask_dim(0), samples});
    if (mask_.lengths) {
      const ValueId steps = insert(Op::kExpandDims, {step_numbers()}, ir::AxisAttrs{1}, DType::kInt32,
                                   ir::Shape({steps_, Dim(1)}), "step");
      mask_value_ = pointwise(ir::PointwiseProgram::binary(PointwiseOp::kLess), {steps, mask_value_}, DType::kBool,
                              shape, "counts");
    } else if (rewriter_.shape(mask_value_).rank() == 3) {
      mask_value_ = insert(Op::kSqueeze, {mask_value_}, ir::AxesAttrs{{2}}, DType::kBool, shape, "mask");
    }
    if (shape != ir::Shape({steps_, batch_})) fit_mask(samples);
    if (!mask_.counts_where_true) {
      mask_value_ = pointwise(ir::PointwiseProgram::unary(PointwiseOp::kLogicalNot), {mask_value_}, DType::kBool,
                              rewriter_.shape(mask_value_), "counts");
    }
  }

  // A Slice fails in a run where there are too few rows, as reading one would.
  void fit_mask(Dim samples) {
    const ValueId all = rewriter_.add_constant(int32_tensor({-1}), "");
    const ValueId size =
        insert(Op::kConcat, {sizes_of_x({0}), all}, ir::AxisAttrs{0}, DType::kInt32, ir::Shape({Dim(2)}), "mask_size");
    mask_value_ = insert(Op::kSlice, {mask_value_, rewriter_.add_constant(int32_tensor({0, 0}), ""), size},
                         ir::EmptyAttrs{}, DType::kBool, ir::Shape({steps_, samples}), "mask_rows");
    mask_value_ = insert(Op::kBroadcastTo, {mask_value_, sizes_of_x({0, 1})}, ir::EmptyAttrs{}, DType::kBool,
                         ir::Shape({steps_, batch_}), "mask_of_samples");
  }

  // Some of [steps, batch], in a run.
  ValueId sizes_of_x(const std::vector<int64_t>& axes) {
    ValueId x = ir::kNone;
    for (const RecurrentLayer& layer : layers_) {
      if (const int read = loop_.sequence_of(layer.input()); read >= 0) x = loop_.outside(read);
    }
    const ValueId dims = insert(Op::kShapeOf, {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, DType::kInt32},
                                DType::kInt32, ir::Shape({Dim(3)}), "shape");
    const ir::Shape shape({Dim(static_cast<int64_t>(axes.size()))});
    return insert(Op::kGather, {dims, rewriter_.add_constant(int32_tensor(axes), "")}, ir::GatherAttrs{}, DType::kInt32,
                  shape, "sizes");
  }

  // 0, 1, ...
  ValueId step_numbers() {
    const ValueId zero = rewriter_.add_constant(int32_scalar(0), ""), one = rewriter_.add_constant(int32_scalar(1), "");
    const ValueId size =
        insert(Op::kSqueeze, {sizes_of_x({0})}, ir::AxesAttrs{{0}}, DType::kInt32, ir::Shape::scalar(), "steps");
    return insert(Op::kRange, {zero, size, one}, ir::EmptyAttrs{}, DType::kInt32, ir::Shape({steps_}), "range");
  }
  static ir::TensorPtr int32_scalar(int64_t value) { return with_dims(int32_tensor({value}), {}); }

  // The columns of all gates side by side; the body's constant itself where that is just it.
  ValueId weights(const RecurrentLayer& layer, WeightColumns GateSum::*columns) {
    const WeightColumns& first = layer.gates[0].*columns;
    const int64_t cells = this->cells(layer).value(), gates = static_cast<int64_t>(layer.gates.size());
    const ir::TensorPtr& whole = loop_.body().value(first.weights).constant;
    bool as_it_is = whole->dims == ir::Dims{first.rows, gates * cells};
    for (int64_t g = 0; g < gates; ++g) {
      const WeightColumns& gate = layer.gates[static_cast<size_t>(g)].*columns;
      as_it_is = as_it_is && gate.weights == first.weights && gate.first_column == g * cells;
    }
    if (as_it_is) return rewriter_.add_constant(whole, "");
    std::vector<float> joined(static_cast<size_t>(first.rows * gates * cells));
    for (int64_t g = 0; g < gates; ++g) {
      const WeightColumns& gate = layer.gates[static_cast<size_t>(g)].*columns;
      const std::vector<float> from = float_values(loop_.body(), gate.weights);
      const int64_t width = loop_.body().value(gate.weights).constant->dims[1];
      for (int64_t row = 0; row < first.rows; ++row) {
        std::copy_n(from.begin() + (gate.first_row + row) * width + gate.first_column, cells,
                    joined.begin() + (row * gates + g) * cells);
      }
    }
    return rewriter_.add_constant(float_tensor({first.rows, gates * cells}, joined), "");
  }

  ValueId biases(const RecurrentLayer& layer) {
    std::vector<float> joined;
    for (const GateSum& gate : layer.gates) joined.insert(joined.end(), gate.bias.begin(), gate.bias.end());
    if (layer.cell == ir::RecurrentCell::kGru) {
      joined.insert(joined.end(), layer.state_bias.begin(), layer.state_bias.end());
    }
    return rewriter_.add_constant(float_tensor({static_cast<int64_t>(joined.size())}, joined), "");
  }

  void write(size_t index) {
    const RecurrentLayer& layer = layers_[index];
    const int read = loop_.sequence_of(layer.input());
    const ValueId x = read >= 0 ? loop_.outside(read) : made_[layer_that_makes(layer.input())][0];
    std::vector<ValueId> inputs = {x, weights(layer, &GateSum::from_input), biases(layer),
                                   weights(layer, &GateSum::from_state), loop_.outside(layer.hidden)};
    if (layer.cell_state >= 0) inputs.push_back(loop_.outside(layer.cell_state));
    if (mask_.operand >= 0) inputs.push_back(mask_value_);
    const ir::RecurrenceAttrs attrs{layer.cell, mask_.operand >= 0, layer.gates[0].hard_slope};
    const ir::Shape all({steps_, batch_, cells(layer)}), state({batch_, cells(layer)});
    made_.push_back(rewriter_
                        .insert(loop_node_, Op::kRecurrence, std::move(inputs), attrs, DType::kFloat32, all,
                                "recurrence", 1 + attrs.states())
                        .outputs);
    for (size_t i = 1; i < made_.back().size(); ++i) rewriter_.graph().value(made_.back()[i]).shape = state;
  }

  void replace(int variable) {
    const auto [role, layer] = variables_[static_cast<size_t>(variable)];
    const ValueId out = loop_node_.outputs[variable];
    if (rewriter_.uses(out) == 0) return;
    const Dim cells = this->cells(layers_[layer]);
    ValueId value = made_[layer][role == Role::kSequence || role == Role::kZeroed ? 0 : role == Role::kCell ? 2 : 1];
    if (role == Role::kLastRow) {
      value = insert(Op::kExpandDims, {value}, ir::AxisAttrs{0}, DType::kFloat32, ir::Shape({Dim(1), batch_, cells}),
                     "last");
    } else if (role == Role::kZeroed) {
      const ValueId counts = insert(Op::kExpandDims, {mask_value_}, ir::AxisAttrs{2}, DType::kBool,
                                    ir::Shape({steps_, batch_, Dim(1)}), "counts");
      value = pointwise(ir::PointwiseProgram::ternary(PointwiseOp::kSelect),
                        {counts, value, rewriter_.add_constant(float_tensor({}, {0}), "")}, DType::kFloat32,
                        ir::Shape({steps_, batch_, cells}), "zeroed");
    }
    if (rewriter_.replace(out, value)) return;
    // Already an output by another name.
    const ir::Shape shape = rewriter_.shape(value);
    rewriter_.replace(out, insert(Op::kIdentity, {value}, ir::IdentityAttrs{}, DType::kFloat32, shape, "again"));
  }

  Rewriter& rewriter_;
  Node& loop_node_;
  TimeLoop loop_;
  std::vector<RecurrentLayer> layers_;  // each behind the one that it reads
  MaskSource mask_;
  ValueId mask_value_ = ir::kNone;  // [steps, batch]
  Dim steps_, batch_;
  std::vector<Variable> variables_;
  std::vector<std::vector<ValueId>> made_;  // what each layer's node makes
};

// Whether there was a loop to try. Those whose nodes have no shapes stay, and are `refused` from then on.
Result<bool> recognize_loop(ir::Graph& graph, std::set<ir::NodeId>& refused, int& changes) {
  BLADE_ASSIGN_OR_RETURN(const ir::Contents contents, ir::infer_contents(graph, {}));
  ir::Graph trial = graph.clone();
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(trial));
  for (ir::NodeId id : rewriter.order()) {
    ir::Node& node = trial.node(id);
    if (node.op != Op::kWhile || refused.contains(id)) continue;
    if (node.get<ir::SubGraphsAttrs>().graphs.size() != 2) continue;  // has a preamble
    if (!RecurrenceWriter(rewriter, contents, node).run()) continue;
    rewriter.finish();
    const bool has_shapes = ir::infer_shapes(trial).ok();
    if (has_shapes) {
      graph = std::move(trial);
      ++changes;
    } else {
      refused.insert(id);
    }
    return true;
  }
  return false;
}

}  // namespace

Result<PassResult> recognize_recurrence(ir::Graph& graph, const PassOptions& options) {
  PassResult result;
  if (options.on_device) return result;  // whose backends have no kernel for it
  // Biases that are unstacked before a loop are constants by now.
  BLADE_ASSIGN_OR_RETURN(result.changes, move_constants_inside(graph));
  std::set<ir::NodeId> refused;
  // One at a time: what a loop leaves unsaid of its results' shape, for layers on it, is known once it is a node.
  for (bool tried = true; tried;) {
    BLADE_ASSIGN_OR_RETURN(tried, recognize_loop(graph, refused, result.changes));
  }
  return result;
}

}  // namespace blade::passes
