// TakeSingleTurns: a loop whose condition allows exactly one turn, as those of recurrent layers that are called step by
// step, is no loop: its body stands in its place. After RecognizeRecurrence, whose nodes are faster than these pieces.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "backends/reference/evaluate.h"
#include "passes/inline_graph.h"
#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::NodeId;
using ir::Op;
using ir::TensorPtr;
using ir::ValueId;

constexpr size_t kCounterBytes = 256;  // of what conditions are computed from; larger values are not looked at

bool is_small(const TensorPtr& tensor) {
  return tensor != nullptr && tensor->bytes <= kCounterBytes && tensor->dtype != ir::DType::kOpaque;
}

// Before it is computed.
bool is_small(const ir::Value& value) {
  const auto count = value.shape.element_count();
  return count && value.dtype != ir::DType::kOpaque &&
         static_cast<size_t>(*count) <= kCounterBytes / std::max<size_t>(1, ir::dtype_size(value.dtype));
}

// What can be said of values of a graph whose inputs are known in part. Unknown ones are null.
class KnownValues {
 public:
  KnownValues(const Graph& graph, const std::vector<TensorPtr>& inputs) : graph_(graph) {
    for (size_t i = 0; i < graph.inputs().size(); ++i)
      known_[graph.inputs()[i]] = i < inputs.size() ? inputs[i] : nullptr;
  }

  TensorPtr of(ValueId v, int depth = 0) {
    if (const auto found = known_.find(v); found != known_.end()) return found->second;
    TensorPtr& result = known_[v];  // stays valid while others are added
    const ir::Value& value = graph_.value(v);
    if (value.producer == ir::kNone) return result = is_small(value.constant) ? value.constant : nullptr;
    const Node& node = graph_.node(value.producer);
    if (depth > kDeepest || !is_small(value) || node.op == Op::kForeign || node.outputs.size() != 1 ||
        !node.control_inputs.empty() || std::holds_alternative<ir::SubGraphsAttrs>(node.attrs))
      return nullptr;
    std::vector<TensorPtr> inputs;
    for (ValueId input : node.inputs) {
      inputs.push_back(of(input, depth + 1));
      if (inputs.back() == nullptr) return nullptr;
    }
    auto made = backends::evaluate_reference(graph_, node, std::move(inputs));
    if (made.ok()) result = made->front();
    return result;
  }

 private:
  static constexpr int kDeepest = 32;
  const Graph& graph_;
  std::unordered_map<ValueId, TensorPtr> known_;
};

// Whether a loop goes on with these values of its operands; nullopt where nobody can tell.
std::optional<bool> goes_on(const Graph& condition, const std::vector<TensorPtr>& operands) {
  const TensorPtr result = KnownValues(condition, operands).of(condition.outputs()[0]);
  if (result == nullptr || result->dtype != ir::DType::kBool || result->bytes != 1) return std::nullopt;
  return *result->data != std::byte{0};
}

bool turns_once(const Graph& graph, const Node& loop) {
  const auto& graphs = loop.get<ir::SubGraphsAttrs>().graphs;
  if (graphs.size() != 2) return false;
  std::vector<TensorPtr> operands;
  for (ValueId v : loop.inputs) {
    const TensorPtr& constant = graph.value(v).constant;
    operands.push_back(is_small(constant) ? constant : nullptr);
  }
  if (goes_on(*graphs[0], operands) != true) return false;
  KnownValues after(*graphs[1], operands);
  for (size_t i = 0; i < loop.outputs.size(); ++i) operands[i] = after.of(graphs[1]->outputs()[i]);
  return goes_on(*graphs[0], operands) == false;
}

bool stays_in_tensorflow(const Graph& graph) {
  for (NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id)) continue;
    const Node& node = graph.node(id);
    if (node.op == Op::kForeign) return true;
    const auto* inner = std::get_if<ir::SubGraphsAttrs>(&node.attrs);
    if (inner != nullptr && std::any_of(inner->graphs.begin(), inner->graphs.end(),
                                        [](const ir::SubGraph& g) { return stays_in_tensorflow(*g); }))
      return true;
  }
  return false;
}

// Whether each output of the graph that the loop gives would be the result of a node, and of it alone: not so what the
// body only passes on, or gives twice.
bool outputs_stay_apart(const Graph& graph, const Node& loop, const Graph& body) {
  std::unordered_set<ValueId> given;
  for (size_t i = 0; i < loop.outputs.size(); ++i) {
    if (!graph.is_output(loop.outputs[i])) continue;
    const ValueId value = body.outputs()[i];
    if (body.value(value).producer == ir::kNone || !given.insert(value).second) return false;
  }
  return true;
}

Status take_turn(Graph& graph, NodeId id) {
  const Node loop = graph.node(id);
  const Graph& body = *loop.get<ir::SubGraphsAttrs>().graphs[1];
  BLADE_ASSIGN_OR_RETURN(const std::vector<ValueId> results, inline_graph(graph, body, loop.inputs, loop.origin));
  for (size_t i = 0; i < loop.outputs.size(); ++i) {
    ir::Value& to = graph.value(results[i]);
    if (to.producer != ir::kNone && to.name.empty()) to.name = graph.value(loop.outputs[i]).name;
    graph.replace_uses(loop.outputs[i], results[i]);
  }
  graph.remove_node(id);
  return {};
}

}  // namespace

Result<PassResult> take_single_turns(Graph& graph, const PassOptions&) {
  PassResult result;
  BLADE_ASSIGN_OR_RETURN(const std::vector<NodeId> order, graph.topological_order());
  for (NodeId id : order) {
    const Node& node = graph.node(id);
    if (node.op != Op::kWhile || !node.control_inputs.empty() || !turns_once(graph, node)) continue;
    const Graph& body = *node.get<ir::SubGraphsAttrs>().graphs[1];
    if (stays_in_tensorflow(body) || !outputs_stay_apart(graph, node, body)) continue;
    BLADE_RETURN_IF_ERROR(take_turn(graph, id));
    ++result.changes;
  }
  if (result.changes == 0) return result;
  graph.remove_dead_nodes();
  result.run_again = true;
  return result;
}

}  // namespace blade::passes
