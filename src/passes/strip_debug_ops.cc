// TfStripDebugOps: removes Identity-like nodes (Identity, StopGradient, Snapshot, CheckNumerics,
// PlaceholderWithDefault) and the nodes that only watch (Assert, Print). EnsureShape stays: it is a promise about data,
// not a debugging aid. An Identity that is itself a graph output or a place for control edges stays too, so that names
// and order survive.
#include <algorithm>
#include <array>
#include <string_view>

#include "ir/watchers.h"
#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::NodeId;
using ir::ValueId;

// The TensorFlow op that a node stays; empty for what has become an op of the IR.
std::string_view foreign_op(const Node& node) {
  return node.op == ir::Op::kForeign ? std::string_view(node.get<ir::ForeignAttrs>().source_op) : std::string_view();
}

bool is_debug_identity(const Node& node) {
  static constexpr std::array<std::string_view, 4> kPassThrough = {"Print", "CheckNumericsV2", "DebugIdentity",
                                                                   "DebugIdentityV2"};
  if (std::find(kPassThrough.begin(), kPassThrough.end(), foreign_op(node)) != kPassThrough.end())
    return !node.inputs.empty() && node.outputs.size() == 1;
  return node.op == ir::Op::kIdentity;
}

class Stripper {
 public:
  explicit Stripper(ir::Graph& graph) : graph_(graph) {}

  Result<PassResult> run() {
    BLADE_RETURN_IF_ERROR(remove_watchers());
    BLADE_ASSIGN_OR_RETURN(const std::vector<NodeId> order, graph_.topological_order());
    std::vector<bool> controls(graph_.num_node_slots(), false);
    for (NodeId id : order) {
      for (NodeId control : graph_.node(id).control_inputs) controls[control] = true;
    }
    std::vector<ValueId> source(graph_.num_values());
    for (ValueId v = 0; v < graph_.num_values(); ++v) source[v] = v;
    feeds_foreign_.assign(graph_.num_values(), false);
    for (NodeId id : order) {
      if (graph_.node(id).op != ir::Op::kForeign) continue;
      for (ValueId input : graph_.node(id).inputs) feeds_foreign_[input] = true;
    }
    for (NodeId id : order) {
      Node& node = graph_.node(id);
      for (ValueId& input : node.inputs) input = source[input];
      if (!is_debug_identity(node) || !may_go(node, controls[id])) continue;
      source[node.outputs[0]] = node.inputs[0];
      gone_.push_back(id);
    }
    for (auto it = gone_.rbegin(); it != gone_.rend(); ++it) graph_.remove_node(*it);
    result_.changes += static_cast<int>(gone_.size());
    if (result_.changes > 0) graph_.remove_dead_nodes();  // what only an Assert looked at
    return std::move(result_);
  }

 private:
  // Nodes without outputs: their control edges go with them. A NoOp that then waits for nothing orders nothing.
  Status remove_watchers() {
    BLADE_ASSIGN_OR_RETURN(const std::vector<NodeId> order, graph_.topological_order());
    std::vector<bool> removed(graph_.num_node_slots(), false);
    for (NodeId id : order) {
      Node& node = graph_.node(id);
      std::erase_if(node.control_inputs, [&](NodeId control) { return removed[control]; });
      const bool orders_nothing = foreign_op(node) == "NoOp" && node.control_inputs.empty();
      removed[id] = node.outputs.empty() && (ir::only_watches(foreign_op(node)) || orders_nothing);
    }
    for (NodeId id : order) {
      if (!removed[id]) continue;
      result_.notes.push_back("removed '" + graph_.node(id).name + "'");
      graph_.remove_node(id);
      ++result_.changes;
    }
    return {};
  }

  bool may_go(const Node& node, bool is_control_input) {
    const ValueId out = node.outputs[0];
    if (graph_.is_output(out)) return false;
    if (is_control_input || !node.control_inputs.empty()) {
      result_.notes.push_back("kept '" + node.name + "': control edges hang on it");
      return false;
    }
    // A Foreign reader must find its operand by a name of the source graph; what has none is of another type there (a
    // list, a complex number), so that the node which makes it is more than an Identity.
    const bool named = !graph_.value(node.inputs[0]).name.empty() && !graph_.value(out).name.empty();
    return !feeds_foreign_[out] || named;
  }

  ir::Graph& graph_;
  std::vector<bool> feeds_foreign_;
  std::vector<NodeId> gone_;
  PassResult result_;
};

}  // namespace

Result<PassResult> strip_debug_ops(ir::Graph& graph, const PassOptions&) { return Stripper(graph).run(); }

}  // namespace blade::passes
