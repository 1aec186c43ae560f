// Placeholders that switch parts of a model on, of which Blade may not have all ops: dropout while training, and its
// rate.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "optimizer/test_data.h"

namespace blade::optimizer {

// The inputs of `graph` that are one boolean or float32 number, the same in all test data, with that value, by node
// name; none where no node that the outputs need stays in TensorFlow.
std::map<std::string, ir::TensorPtr> constant_switches(const ir::Graph& graph, const std::vector<Feed>& test_data);

// Nodes that the outputs need and that stay in TensorFlow.
int nodes_left(const ir::Graph& graph);

// What the report says where the engines are built for one value of a switch.
std::string about_switch(const std::string& name, const ir::Tensor& value);

}  // namespace blade::optimizer
