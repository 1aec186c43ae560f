// libFuzzer: any bytes as a GraphDef in text. They are refused with a sentence that says where, or print to text that
// reads back to the same print.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "frontends/tensorflow/proto/pbtxt.h"

using blade::tensorflow::parse_graph_pbtxt;
using blade::tensorflow::print_graph_pbtxt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto graph = parse_graph_pbtxt({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!graph.ok()) {
    if (graph.status().message().empty()) std::abort();
    return 0;
  }
  const auto text = print_graph_pbtxt(*graph);
  if (!text.ok()) return 0;
  const auto again = parse_graph_pbtxt(*text, "printed");
  if (!again.ok()) std::abort();
  const auto text_again = print_graph_pbtxt(*again);
  if (!text_again.ok() || *text_again != *text) std::abort();
  return 0;
}
