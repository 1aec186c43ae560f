// Makes a graph of some nodes of another: regions, and the parts that a run is cut into.
#include <unordered_map>

#include "ir/graph.h"

namespace blade::ir {

Result<Graph> extract(const Graph& graph, const std::vector<NodeId>& nodes, const std::vector<ValueId>& inputs,
                      const std::vector<ValueId>& outputs, std::vector<std::string> output_names) {
  Graph out;
  out.symbols() = graph.symbols();
  std::unordered_map<ValueId, ValueId> mapped;
  for (ValueId v : inputs) {
    const Value& value = graph.value(v);
    mapped[v] = out.add_input(value.name, value.dtype, value.shape);
  }
  for (NodeId id : nodes) {
    const Node& node = graph.node(id);
    std::vector<ValueId> operands;
    for (ValueId v : node.inputs) {
      const Value& value = graph.value(v);
      if (!mapped.contains(v)) {
        if (!value.is_constant()) {
          return internal_error("Node '" + node.name + "' reads a value from outside the part of the graph it is in.");
        }
        mapped[v] = out.add_constant(value.constant, value.name);
      }
      operands.push_back(mapped[v]);
    }
    Node& copy =
        out.add_node(node.op, node.name, std::move(operands), static_cast<int>(node.outputs.size()), node.attrs);
    copy.origin = node.origin;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const Value& from = graph.value(node.outputs[i]);
      Value& to = out.value(copy.outputs[i]);
      to.name = from.name;
      to.dtype = from.dtype;
      to.shape = from.shape;
      mapped[from.id] = to.id;
    }
  }
  std::vector<ValueId> results;
  for (ValueId v : outputs) {
    const auto it = mapped.find(v);
    if (it == mapped.end()) return internal_error("An output of a part of a graph is not made inside it.");
    results.push_back(it->second);
  }
  out.set_outputs(std::move(results), std::move(output_names));
  return out;
}

size_t chosen_branch(DType dtype, const void* condition, size_t branches) {
  int64_t number = 0;
  switch (dtype) {
    case DType::kInt32:
      number = *static_cast<const int32_t*>(condition);
      break;
    case DType::kInt64:
      number = *static_cast<const int64_t*>(condition);
      break;
    default:
      number = *static_cast<const uint8_t*>(condition) != 0 ? 1 : 0;
  }
  return number >= 0 && number < static_cast<int64_t>(branches) ? static_cast<size_t>(number) : branches - 1;
}

}  // namespace blade::ir
