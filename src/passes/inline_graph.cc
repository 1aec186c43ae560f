#include "passes/inline_graph.h"

#include <unordered_map>

namespace blade::passes {

Result<std::vector<ir::ValueId>> inline_graph(ir::Graph& graph, const ir::Graph& inner,
                                              const std::vector<ir::ValueId>& operands, int32_t origin) {
  BLADE_ASSIGN_OR_RETURN(const std::vector<ir::NodeId> order, inner.topological_order());
  std::unordered_map<ir::ValueId, ir::ValueId> mapped;
  for (size_t i = 0; i < operands.size(); ++i) mapped[inner.inputs()[i]] = operands[i];
  const auto here = [&](ir::ValueId v) {
    const auto it = mapped.find(v);
    if (it != mapped.end()) return it->second;
    return mapped[v] = graph.add_constant(inner.value(v).constant);
  };
  for (ir::NodeId id : order) {
    const ir::Node& from = inner.node(id);
    std::vector<ir::ValueId> inputs;
    for (ir::ValueId v : from.inputs) inputs.push_back(here(v));
    ir::Node& to = graph.add_node(from.op, graph.unique_name(from.name), std::move(inputs),
                                  static_cast<int>(from.outputs.size()), from.attrs);
    to.origin = origin;
    for (size_t i = 0; i < from.outputs.size(); ++i) {
      mapped[from.outputs[i]] = to.outputs[i];
      graph.value(to.outputs[i]).dtype = inner.value(from.outputs[i]).dtype;
    }
  }
  std::vector<ir::ValueId> outputs;
  for (ir::ValueId v : inner.outputs()) outputs.push_back(here(v));
  return outputs;
}

}  // namespace blade::passes
