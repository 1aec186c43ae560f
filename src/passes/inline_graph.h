// Nodes of a graph that a node holds, put among those of the graph around it.
#pragma once

#include "ir/graph.h"

namespace blade::passes {

// Copies the nodes of `inner` for these operands, one an input of `inner`. Returns what its outputs are called here;
// shapes are left to inference. An error names a node on a cycle.
Result<std::vector<ir::ValueId>> inline_graph(ir::Graph& graph, const ir::Graph& inner,
                                              const std::vector<ir::ValueId>& operands, int32_t origin);

}  // namespace blade::passes
