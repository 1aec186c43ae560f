// Finds the switches of a model that its test data never turns.
#include "optimizer/switches.h"

#include <algorithm>
#include <cstdio>

#include "ir/foreign_nodes.h"

namespace blade::optimizer {
namespace {

bool may_switch(ir::DType dtype) { return dtype == ir::DType::kBool || dtype == ir::DType::kFloat32; }

// The value of the input in the feed; null where it has none, or more than one element.
ir::TensorPtr one_element(const Feed& feed, const std::string& node) {
  const auto found =
      std::find_if(feed.begin(), feed.end(), [&](const NamedTensor& one) { return node_name(one.name) == node; });
  if (found == feed.end() || !may_switch(found->tensor->dtype) || !found->tensor->dims.empty()) return nullptr;
  return found->tensor;
}

double number(const ir::Tensor& value) {
  if (value.dtype == ir::DType::kBool) return value.as<uint8_t>()[0] != 0 ? 1 : 0;
  return value.as<float>()[0];
}

std::string text(const ir::Tensor& value) {
  if (value.dtype == ir::DType::kBool) return number(value) != 0 ? "True" : "False";
  char text[32] = "";
  std::snprintf(text, sizeof(text), "%g", number(value));
  return text;
}

}  // namespace

std::map<std::string, ir::TensorPtr> constant_switches(const ir::Graph& graph, const std::vector<Feed>& test_data) {
  std::map<std::string, ir::TensorPtr> switches;
  if (test_data.empty() || nodes_left(graph) == 0) return switches;
  for (const ir::ValueId id : graph.inputs()) {
    if (!may_switch(graph.value(id).dtype)) continue;
    const std::string node = node_name(graph.value(id).name);
    const ir::TensorPtr first = one_element(test_data[0], node);
    const bool same = first != nullptr && std::all_of(test_data.begin(), test_data.end(), [&](const Feed& feed) {
                        const ir::TensorPtr value = one_element(feed, node);
                        return value != nullptr && number(*value) == number(*first);
                      });
    if (same) switches.emplace(node, first);
  }
  return switches;
}

int nodes_left(const ir::Graph& graph) {
  const std::vector<bool> needed = ir::nodes_that_outputs_need(graph);
  const std::vector<ir::NodeId> foreign = ir::foreign_nodes(graph);
  return static_cast<int>(std::count_if(foreign.begin(), foreign.end(), [&](ir::NodeId id) { return needed[id]; }));
}

std::string about_switch(const std::string& name, const ir::Tensor& value) {
  return "'" + name + "' is " + text(value) +
         " in all test data, and what another value needs stays in TensorFlow: the engines are built for it, and a run "
         "that feeds another takes the original graph";
}

}  // namespace blade::optimizer
