// A graph made ready for planning: concrete shapes wherever they do not depend on data, and everything computed that
// does not depend on inputs.
#pragma once

#include <span>

#include "ir/graph.h"

namespace blade::engine {

// `input_values`: see ir::specialize(). Shapes that depend on data stay unknown.
Result<ir::Graph> specialized_graph(const ir::Graph& graph, std::span<const ir::Dims> input_dims,
                                    const std::vector<ir::TensorPtr>& input_values = {});

}  // namespace blade::engine
