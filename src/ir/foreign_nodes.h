// The nodes that only the source framework runs.
#pragma once

#include <vector>

#include "base/status.h"
#include "ir/graph.h"

namespace blade::ir {

// Those that are live, in the order of the nodes.
std::vector<NodeId> foreign_nodes(const Graph& graph);

// An error that names the first of them with their reasons, where there are any.
Status refuse_foreign(const Graph& graph);

}  // namespace blade::ir
