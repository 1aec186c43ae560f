// What a division into regions costs: the work that stays behind, and what is handed over at the borders.
#pragma once

#include <optional>
#include <vector>

#include "engine/partition.h"

namespace blade::engine {

// The graph at concrete input shapes, only to estimate work; where `input_dims` is empty, a likely number stands for
// each unknown dim. nullopt where that contradicts the graph or a rank is not known.
std::optional<ir::Graph> likely_graph(const ir::Graph& graph, const std::vector<ir::Dims>& input_dims);

// Of a node of `graph`, at the shapes of likely_graph(); nullopt for what has no estimate: nodes of the source
// framework, and shapes that depend on data.
std::optional<double> likely_flops(const std::optional<ir::Graph>& likely, ir::NodeId id);

struct Coverage {
  double flops = 0, flops_left = 0;  // in all, and in nodes that stay behind
  double boundary_bytes = 0;         // handed over a run between regions and what stays, beside the model's own
                                     // inputs and outputs
  std::vector<std::optional<double>> left_flops;  // for each entry of left_behind
};

Coverage measure_coverage(const ir::Graph& graph, const Partition& partition, const std::vector<ir::Dims>& input_dims);

}  // namespace blade::engine
