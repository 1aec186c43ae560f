// libFuzzer: any bytes as a GraphDef. They are refused with a sentence or survive reading, writing and printing.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "frontends/tensorflow/proto/graph_def.h"
#include "frontends/tensorflow/proto/pbtxt.h"
#include "frontends/tensorflow/proto/saved_model.h"

namespace {

using namespace blade::tensorflow;

void check(bool holds) {
  if (!holds) std::abort();
}

void exercise(GraphDef graph, std::string_view wire) {
  check(*serialize(graph) == wire);
  for (const NodeDef& node : graph->nodes) {
    for (const auto& [name, attr] : node->attrs) {
      if (attr.as_tensor() != nullptr) (void)attr.as_tensor()->decode(1 << 16);
    }
  }
  (void)variable_nodes(graph);
  auto text = print_graph_pbtxt(graph);
  if (text.ok()) (void)parse_graph_pbtxt(*text, "fuzz");
  for (NodeDef& node : graph.edit().nodes) node.edit();
  auto again = serialize(graph);
  check(again.ok() && parse_graph_def(SharedBytes::borrow(*again), "fuzz").ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto graph = parse_graph_def(SharedBytes::borrow(bytes), "fuzz");
  if (graph.ok()) exercise(std::move(graph).value(), bytes);
  auto text = parse_graph_pbtxt(bytes, "fuzz");
  if (text.ok()) (void)print_graph_pbtxt(*text);
  auto model = SavedModel::parse(SharedBytes::borrow(bytes), "fuzz");
  if (model.ok()) (void)model->serialize_with({});
  return 0;
}
