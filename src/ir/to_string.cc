// Prints graphs, one line a node, for people and tests.
#include "ir/graph.h"
#include "ir/ops/attrs_visit.h"
#include "ir/text.h"

namespace blade::ir {
namespace {

std::string describe(const Graph& graph, const Value& value) {
  return concat(dtype_name(value.dtype), graph.symbols().to_string(value.shape));
}

// The graphs that a node holds, indented.
void print_inside(const Node& node, std::ostringstream& out) {
  const auto* attrs = std::get_if<SubGraphsAttrs>(&node.attrs);
  if (attrs == nullptr) return;
  for (const SubGraph& graph : attrs->graphs) {
    if (graph == nullptr) continue;
    std::istringstream lines(to_string(*graph));
    out << "  {\n";
    for (std::string line; std::getline(lines, line);) out << "    " << line << '\n';
    out << "  }\n";
  }
}

void print_node(const Graph& graph, const Node& node, std::ostringstream& out) {
  for (size_t i = 0; i < node.outputs.size(); ++i) out << (i ? ", %" : "%") << node.outputs[i];
  out << (node.outputs.empty() ? "" : " = ") << op_name(node.op) << '(';
  for (size_t i = 0; i < node.inputs.size(); ++i) out << (i ? ", %" : "%") << node.inputs[i];
  out << ')';
  const std::string attrs = to_string(node.attrs);
  if (!attrs.empty()) out << ' ' << attrs;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    out << (i ? ", " : " : ") << describe(graph, graph.value(node.outputs[i]));
  }
  out << "  // " << node.name;
  for (NodeId control : node.control_inputs) {
    out << " ^" << (graph.is_live(control) ? graph.node(control).name : "?");
  }
  out << '\n';
  print_inside(node, out);
}

}  // namespace

std::string to_string(const Graph& graph) {
  std::ostringstream out;
  for (ValueId id : graph.inputs()) {
    out << "input %" << id << " : " << describe(graph, graph.value(id)) << "  // " << graph.value(id).name << '\n';
  }
  for (ValueId id = 0; id < graph.num_values(); ++id) {
    const Value& value = graph.value(id);
    if (value.is_constant()) out << "const %" << id << " : " << describe(graph, value) << "  // " << value.name << '\n';
  }
  const auto order = graph.topological_order();
  if (order.ok()) {
    for (NodeId id : *order) print_node(graph, graph.node(id), out);
  } else {
    out << order.status().message() << '\n';
  }
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    out << "output %" << graph.outputs()[i];
    if (i < graph.output_names().size()) out << "  // " << graph.output_names()[i];
    out << '\n';
  }
  return out.str();
}

}  // namespace blade::ir
