// Runs one node on constants with its reference kernel: constant folding and tests use it.
#pragma once

#include <vector>

#include "base/status.h"
#include "ir/graph.h"

namespace blade::backends {

// Infers the output shapes from the concrete inputs, then computes. `inputs` has one tensor an input of the node.
Result<std::vector<ir::TensorPtr>> evaluate_reference(const ir::Graph& graph, const ir::Node& node,
                                                      std::vector<ir::TensorPtr> inputs);

}  // namespace blade::backends
