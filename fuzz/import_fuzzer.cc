// libFuzzer: any bytes as a model, imported and put through the whole-graph passes. Whatever is accepted stays a valid
// graph.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "frontends/tensorflow/importer.h"
#include "frontends/tensorflow/proto/graph_def.h"
#include "frontends/tensorflow/proto/pbtxt.h"
#include "passes/pass.h"

using namespace blade;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto graph = tensorflow::parse_graph_def(tensorflow::SharedBytes::borrow(bytes), "fuzz");
  if (!graph.ok()) graph = tensorflow::parse_graph_pbtxt(bytes, "fuzz");
  if (!graph.ok()) return 0;
  auto model = tensorflow::import_graph(*graph);
  if (!model.ok()) {
    if (model.status().message().empty()) std::abort();
    return 0;
  }
  if (!ir::verify(model->graph).ok()) std::abort();
  if (!passes::run_pipeline(model->graph, /*whole_graph=*/true, {}).ok()) return 0;
  if (!ir::verify(model->graph).ok()) std::abort();
  return 0;
}
