#include "ir/foreign_nodes.h"

#include <algorithm>
#include <string>

namespace blade::ir {

std::vector<NodeId> foreign_nodes(const Graph& graph) {
  std::vector<NodeId> found;
  for (NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (graph.is_live(id) && graph.node(id).op == Op::kForeign) found.push_back(id);
  }
  return found;
}

Status refuse_foreign(const Graph& graph) {
  constexpr size_t kMostNamed = 5;
  const std::vector<NodeId> nodes = foreign_nodes(graph);
  if (nodes.empty()) return {};
  std::string list;
  for (size_t i = 0; i < std::min(nodes.size(), kMostNamed); ++i) {
    const auto& attrs = graph.node(nodes[i]).get<ForeignAttrs>();
    list += (i == 0 ? "'" : "; '") + graph.node(nodes[i]).name + "' (" + attrs.source_op +
            "): " + (attrs.reason.empty() ? "the op is not supported" : attrs.reason);
  }
  return unimplemented(std::to_string(nodes.size()) + (nodes.size() == 1 ? " node needs" : " nodes need") +
                       " TensorFlow: " + list + (nodes.size() > kMostNamed ? "; and more" : "") +
                       "; run the graph in a TensorFlow session instead");
}

}  // namespace blade::ir
