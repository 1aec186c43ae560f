// A graph made ready for planning: concrete shapes everywhere, and everything computed that does not depend on inputs.
#pragma once

#include <span>

#include "ir/graph.h"

namespace blade::engine {

// Error, naming the node, where a shape depends on data.
Result<ir::Graph> specialized_graph(const ir::Graph& graph, std::span<const ir::Dims> input_dims);

}  // namespace blade::engine
