// TfStripUnusedNodes: what no output needs goes, side effects included, as a session that fetches the outputs would not
// run it either.
#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

std::vector<bool> nodes_that_outputs_need(const ir::Graph& graph) {
  std::vector<bool> needed(graph.num_node_slots(), false);
  std::vector<ir::NodeId> work;
  const auto need = [&](ir::NodeId id) {
    if (!graph.is_live(id) || needed[id]) return;
    needed[id] = true;
    work.push_back(id);
  };
  for (ir::ValueId output : graph.outputs()) need(graph.value(output).producer);
  while (!work.empty()) {
    const ir::Node& node = graph.node(work.back());
    work.pop_back();
    for (ir::ValueId input : node.inputs) need(graph.value(input).producer);
    for (ir::NodeId control : node.control_inputs) need(control);
  }
  return needed;
}

}  // namespace

Result<PassResult> strip_unused_nodes(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  const std::vector<bool> needed = nodes_that_outputs_need(graph);
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id) || needed[id]) continue;
    const ir::Node& node = graph.node(id);
    if (node.op != ir::Op::kForeign || !node.get<ir::ForeignAttrs>().side_effects)
      continue;  // remove_dead_nodes() does it
    result.notes.push_back("'" + node.name + "' (" + node.get<ir::ForeignAttrs>().source_op +
                           ") is not needed by any output");
    graph.remove_node(id);
    ++result.changes;
  }
  result.changes += graph.remove_dead_nodes();
  return result;
}

}  // namespace blade::passes
