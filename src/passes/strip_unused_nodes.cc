// TfStripUnusedNodes: what no output needs goes, side effects included, as a session that fetches the outputs would not
// run it either.
#include "passes/passes_internal.h"

namespace blade::passes {
Result<PassResult> strip_unused_nodes(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  const std::vector<bool> needed = ir::nodes_that_outputs_need(graph);
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
