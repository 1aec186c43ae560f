// Cuts a graph into what can be planned now and the rest.
#include "engine/stage.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "engine/specialized_graph.h"
#include "ir/infer.h"
#include "ir/text.h"

namespace blade::engine {
namespace {

// What idle runs leave behind for the next ones; more runs at once than this allocate again.
constexpr size_t kMaxIdle = 16;
// Stages of one program that are kept; the least recently used goes first.
constexpr size_t kMaxStages = 64;

class Cutter {
 public:
  Cutter(const ir::Graph& graph, const Planner& planner) : graph_(graph), planner_(planner) {}

  Result<std::shared_ptr<const Stage>> run() {
    BLADE_ASSIGN_OR_RETURN(order_, graph_.topological_order());
    BLADE_RETURN_IF_ERROR(sort_nodes());
    find_needs();
    BLADE_RETURN_IF_ERROR(make_plan());
    make_controls();
    BLADE_RETURN_IF_ERROR(make_rest());
    for (ir::ValueId v : graph_.outputs()) stage_->output_shapes.push_back(graph_.value(v).shape);
    return std::shared_ptr<const Stage>(std::move(stage_));
  }

 private:
  // Into `now_` and `later_`; what is made now is ready for others.
  Status sort_nodes() {
    ready_.assign(graph_.num_values(), 0);
    for (ir::ValueId v = 0; v < graph_.num_values(); ++v) ready_[v] = graph_.value(v).is_constant() ? 1 : 0;
    for (ir::ValueId v : graph_.inputs()) ready_[v] = 1;
    for (ir::NodeId id : order_) {
      const ir::Node& node = graph_.node(id);
      const bool has_inputs =
          std::all_of(node.inputs.begin(), node.inputs.end(), [&](ir::ValueId v) { return ready_[v] != 0; });
      if (!has_inputs) {
        later_.push_back(id);
      } else if (is_control(node)) {
        controls_.push_back(id);
      } else if (finds_all_sizes(node) && has_known_ranks(node)) {
        now_.push_back(id);
        for (ir::ValueId v : node.outputs) {
          if (graph_.value(v).shape.is_static()) {
            ready_[v] = 1;
          } else {
            found_.push_back(v);
          }
        }
      } else {
        later_.push_back(id);
        BLADE_RETURN_IF_ERROR(ask_for_elements(node));
      }
    }
    return {};
  }

  static bool is_control(const ir::Node& node) { return std::holds_alternative<ir::SubGraphsAttrs>(node.attrs); }

  // Of its outputs whose shapes are not known, if there are any.
  bool finds_all_sizes(const ir::Node& node) const {
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const bool known = graph_.value(node.outputs[i]).shape.is_static();
      if (!known && !ir::finds_size_of(node, static_cast<int>(i))) return false;
    }
    return true;
  }

  bool has_known_ranks(const ir::Node& node) const {
    return std::all_of(node.outputs.begin(), node.outputs.end(),
                       [&](ir::ValueId v) { return graph_.value(v).shape.has_rank(); });
  }

  // The next stage is planned for the elements of the operands that decide the node's shape.
  Status ask_for_elements(const ir::Node& node) {
    bool asked = false;
    for (int operand : ir::shape_operands(node)) {
      if (operand >= static_cast<int>(node.inputs.size())) continue;
      const ir::Value& value = graph_.value(node.inputs[operand]);
      if (value.is_constant()) continue;
      const auto count = value.shape.element_count();
      if (!count || *count > ir::kMaxContentElements) {
        return unimplemented("Node '" + node.name + "' (" + ir::op_name(node.op) +
                             "): the shape of its result depends on the elements of a large tensor.");
      }
      by_value_[value.id] = true;
      asked = true;
    }
    if (asked) return {};
    return unimplemented("Node '" + node.name + "' (" + ir::op_name(node.op) +
                         "): the shape of its result depends on data in a way that Blade does not follow.");
  }

  // What the rest and the outputs read of what is there after the plan.
  void find_needs() {
    for (ir::NodeId id : controls_) {
      const auto& outputs = graph_.node(id).outputs;
      given_.insert(given_.end(), outputs.begin(), outputs.end());
    }
    std::vector<char> seen(graph_.num_values(), 0);
    for (ir::NodeId id : later_) {
      for (ir::ValueId v : graph_.node(id).inputs) {
        const ir::Value& value = graph_.value(v);
        if (value.is_constant() || seen[v] || (!is_made_now(v) && !is_given(v))) continue;
        seen[v] = 1;
        rest_reads_.push_back(v);
      }
    }
  }

  // By a control step.
  bool is_given(ir::ValueId v) const { return std::find(given_.begin(), given_.end(), v) != given_.end(); }

  // An input or something that this stage gives (also with a size that it finds).
  bool is_made_now(ir::ValueId v) const {
    return ready_[v] != 0 || std::find(found_.begin(), found_.end(), v) != found_.end();
  }

  Status make_plan() {
    std::vector<ir::ValueId> made = found_;
    const auto want = [&](ir::ValueId v) {
      const ir::Value& value = graph_.value(v);
      if (value.producer == ir::kNone || is_given(v)) return;
      if (std::find(made.begin(), made.end(), v) == made.end()) made.push_back(v);
    };
    for (ir::ValueId v : graph_.outputs()) {
      if (is_made_now(v)) want(v);
    }
    for (ir::ValueId v : rest_reads_) want(v);
    for (ir::NodeId id : controls_) {
      for (ir::ValueId v : graph_.node(id).inputs) want(v);
    }
    BLADE_ASSIGN_OR_RETURN(ir::Graph now,
                           ir::extract(graph_, now_, graph_.inputs(), made, std::vector<std::string>(made.size())));
    now.remove_dead_nodes();
    BLADE_ASSIGN_OR_RETURN(stage_->plan, build_plan(now, planner_.decisions, planner_.packs, planner_.options));
    for (size_t i = 0; i < graph_.inputs().size(); ++i) slots_[graph_.inputs()[i]] = static_cast<int>(i);
    for (size_t i = 0; i < made.size(); ++i) slots_[made[i]] = stage_->plan_output_slot(static_cast<int>(i));
    const auto place_constant = [&](ir::ValueId v) -> Status {
      if (!graph_.value(v).is_constant() || slots_.contains(v)) return {};
      BLADE_ASSIGN_OR_RETURN(ir::TensorPtr constant, ir::aligned(graph_.value(v).constant));
      stage_->constants.push_back(std::move(constant));
      slots_[v] = stage_->constant_slot(static_cast<int>(stage_->constants.size()) - 1);
      return {};
    };
    for (ir::ValueId v : graph_.outputs()) BLADE_RETURN_IF_ERROR(place_constant(v));
    for (ir::NodeId id : controls_) {
      for (ir::ValueId v : graph_.node(id).inputs) BLADE_RETURN_IF_ERROR(place_constant(v));
    }
    for (ir::ValueId v : given_) slots_[v] = stage_->control_slot(stage_->num_control_outputs++);
    for (ir::ValueId v : graph_.outputs()) {
      const auto slot = slots_.find(v);
      stage_->outputs.push_back(slot == slots_.end() ? -1 : slot->second);
    }
    for (size_t i = 0; i < made.size(); ++i) {
      const auto first = std::find(graph_.outputs().begin(), graph_.outputs().end(), made[i]);
      stage_->direct.push_back(first == graph_.outputs().end() ? -1
                                                               : static_cast<int>(first - graph_.outputs().begin()));
    }
    return {};
  }

  void make_controls() {
    for (ir::NodeId id : controls_) {
      const ir::Node& node = graph_.node(id);
      ControlStep step;
      step.op = node.op;
      step.node_name = node.name;
      for (ir::ValueId v : node.inputs) step.inputs.push_back(slots_.at(v));
      for (ir::ValueId v : node.outputs) step.outputs.push_back(slots_.at(v));
      for (const ir::SubGraph& graph : node.get<ir::SubGraphsAttrs>().graphs) {
        step.programs.push_back(std::make_unique<Program>(graph->clone(), std::vector<char>(graph->inputs().size(), 0),
                                                          planner_.on_host()));
      }
      stage_->controls.push_back(std::move(step));
    }
  }

  // Slots that something after the plan reads.
  Status make_rest() {
    std::vector<char> needed(static_cast<size_t>(stage_->num_slots()), 0);
    for (int slot : stage_->outputs) {
      if (slot >= 0) needed[static_cast<size_t>(slot)] = 1;
    }
    for (ir::ValueId v : rest_reads_) needed[static_cast<size_t>(slots_.at(v))] = 1;
    for (size_t i = stage_->controls.size(); i-- > 0;) {
      ControlStep& step = stage_->controls[i];
      for (int slot : step.inputs) {
        const bool once = std::count(step.inputs.begin(), step.inputs.end(), slot) == 1;
        step.dies.push_back(once && !needed[static_cast<size_t>(slot)] ? 1 : 0);
      }
      for (int slot : step.inputs) needed[static_cast<size_t>(slot)] = 1;
    }
    for (const auto& [input, output] : stage_->plan->reuses) {
      if (!needed[static_cast<size_t>(input)]) stage_->reuses.emplace_back(input, output);
    }
    std::vector<ir::ValueId> outputs;
    std::vector<std::string> names;
    for (size_t i = 0; i < stage_->outputs.size(); ++i) {
      if (stage_->outputs[i] >= 0) continue;
      stage_->rest_outputs.push_back(static_cast<int>(i));
      outputs.push_back(graph_.outputs()[i]);
      names.push_back(graph_.output_names()[i]);
    }
    if (outputs.empty()) return {};
    std::vector<char> by_value;
    for (ir::ValueId v : rest_reads_) {
      stage_->rest_inputs.push_back(slots_.at(v));
      by_value.push_back(by_value_.contains(v) ? 1 : 0);
    }
    BLADE_ASSIGN_OR_RETURN(ir::Graph rest, ir::extract(graph_, later_, rest_reads_, outputs, std::move(names)));
    stage_->rest = std::make_unique<Program>(std::move(rest), std::move(by_value), planner_.on_host());
    return {};
  }

  const ir::Graph& graph_;
  const Planner& planner_;
  std::vector<ir::NodeId> order_, now_, controls_, later_;
  std::vector<ir::ValueId> given_;  // by control steps
  std::vector<char> ready_;
  std::vector<ir::ValueId> found_;  // made now, with a size that is found by running
  std::vector<ir::ValueId> rest_reads_;
  std::unordered_map<ir::ValueId, bool> by_value_;
  std::unordered_map<ir::ValueId, int> slots_;
  std::shared_ptr<Stage> stage_ = std::make_shared<Stage>();
};

bool is_static(const ir::Graph& graph) {
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id)) continue;
    if (std::holds_alternative<ir::SubGraphsAttrs>(graph.node(id).attrs)) return false;
    for (ir::ValueId v : graph.node(id).outputs) {
      if (!graph.value(v).shape.is_static()) return false;
    }
  }
  return true;
}

Result<ir::TensorPtr> copy_of(const RunValue& value) {
  const auto dims = value.dims.view();
  BLADE_ASSIGN_OR_RETURN(ir::NewTensor made, ir::allocate_tensor(value.dtype, {dims.begin(), dims.end()}));
  if (made.tensor->bytes > 0) std::memcpy(made.data, value.data, made.tensor->bytes);
  return ir::TensorPtr(std::move(made.tensor));
}

}  // namespace

Stage::Stage() { idle_.reserve(kMaxIdle); }
Stage::~Stage() = default;

std::unique_ptr<RunContext> Stage::take_context() const {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      auto context = std::move(idle_.back());
      idle_.pop_back();
      return context;
    }
  }
  return plan->device == nullptr ? std::make_unique<HostRunContext>(plan) : nullptr;
}

void Stage::give_back(std::unique_ptr<RunContext> context) const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(context));
}

Result<std::shared_ptr<const Stage>> make_stage(const ir::Graph& graph, std::span<const ir::Dims> input_dims,
                                                const std::vector<ir::TensorPtr>& input_values,
                                                const Planner& planner) {
  BLADE_ASSIGN_OR_RETURN(const ir::Graph concrete, specialized_graph(graph, input_dims, input_values));
  return Cutter(concrete, planner).run();
}

Result<std::shared_ptr<const Stage>> make_first_stage(const ir::Graph& graph, std::span<const ir::Dims> input_dims,
                                                      const Planner& planner) {
  BLADE_ASSIGN_OR_RETURN(const ir::Graph concrete, specialized_graph(graph, input_dims));
  if (!is_static(concrete)) return Cutter(concrete, planner).run();
  auto stage = std::make_shared<Stage>();
  stage->is_whole = true;
  BLADE_ASSIGN_OR_RETURN(stage->plan, build_plan(concrete, planner.decisions, planner.packs, planner.options));
  for (ir::ValueId v : concrete.outputs()) stage->output_shapes.push_back(concrete.value(v).shape);
  return std::shared_ptr<const Stage>(std::move(stage));
}

Program::Program(ir::Graph graph, std::vector<char> by_value, const Planner& planner)
    : graph_(std::move(graph)), by_value_(std::move(by_value)), planner_(planner) {}

bool Program::matches(const Entry& entry, std::span<const RunValue> inputs) const {
  size_t at = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!(entry.dims[i] == inputs[i].dims)) return false;
    if (!by_value_[i]) continue;
    const size_t bytes = inputs[i].bytes();
    if (bytes > 0 && std::memcmp(entry.values.data() + at, inputs[i].data, bytes) != 0) return false;
    at += bytes;
  }
  return true;
}

std::shared_ptr<const Stage> Program::find(std::span<const RunValue> inputs) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto hit = [&](size_t i) {
    entries_[i].last_used = ++clock_;
    last_hit_ = i;
    return entries_[i].stage;
  };
  if (last_hit_ < entries_.size() && matches(entries_[last_hit_], inputs)) return hit(last_hit_);
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (matches(entries_[i], inputs)) return hit(i);
  }
  return nullptr;
}

Result<std::shared_ptr<const Stage>> Program::make(std::span<const RunValue> inputs) {
  std::vector<ir::Dims> dims;
  std::vector<ir::TensorPtr> values(inputs.size());
  Entry entry;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto view = inputs[i].dims.view();
    dims.emplace_back(view.begin(), view.end());
    entry.dims.push_back(inputs[i].dims);
    if (!by_value_[i]) continue;
    BLADE_ASSIGN_OR_RETURN(values[i], copy_of(inputs[i]));
    entry.values.insert(entry.values.end(), values[i]->data, values[i]->data + values[i]->bytes);
  }
  BLADE_ASSIGN_OR_RETURN(entry.stage, make_stage(graph_, dims, values, planner_));
  std::shared_ptr<const Stage> stage = entry.stage;
  Entry evicted;  // destroyed after the lock is gone
  std::lock_guard<std::mutex> lock(mutex_);
  entry.last_used = ++clock_;
  if (entries_.size() < kMaxStages) {
    entries_.push_back(std::move(entry));
  } else {
    const auto oldest = std::min_element(entries_.begin(), entries_.end(),
                                         [](const Entry& a, const Entry& b) { return a.last_used < b.last_used; });
    evicted = std::exchange(*oldest, std::move(entry));
  }
  return stage;
}

Result<std::shared_ptr<const Stage>> Program::stage_for(std::span<const RunValue> inputs) {
  if (auto stage = find(inputs)) return stage;
  std::lock_guard<std::mutex> lock(making_);
  if (auto stage = find(inputs)) return stage;  // another thread has made it meanwhile
  return make(inputs);
}

std::vector<std::shared_ptr<const Stage>> Program::stages() const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::shared_ptr<const Stage>> out;
  for (const Entry& entry : entries_) out.push_back(entry.stage);
  return out;
}

}  // namespace blade::engine
