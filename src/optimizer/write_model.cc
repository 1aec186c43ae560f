// Writes an optimized model in the form that its original had.
#include <filesystem>

#include "base/mapped_file.h"
#include "frontends/tensorflow/proto/graph_def.h"
#include "frontends/tensorflow/proto/saved_model.h"
#include "optimizer/optimize.h"
#include "optimizer/output_place.h"

namespace blade::optimizer {

Status write_model(const OptimizeResult& result, const std::string& path) {
  const bool from_saved_model = !result.source_path.empty() && std::filesystem::is_directory(result.source_path);
  if (!from_saved_model && !path.ends_with(".pbtxt")) {
    return write_file_atomically(path, std::as_bytes(std::span(result.graph_def)));
  }
  BLADE_ASSIGN_OR_RETURN(
      const tensorflow::GraphDef graph,
      tensorflow::parse_graph_def(tensorflow::SharedBytes::borrow(result.graph_def), "the optimized graph"));
  if (!from_saved_model) return tensorflow::save_graph_def(graph, path);
  BLADE_ASSIGN_OR_RETURN(const tensorflow::SavedModel source, tensorflow::SavedModel::load(result.source_path));
  return write_directory_atomically(path, [&](const std::string& directory) {
    return source.save_with(graph, directory, result.source_path, result.offered);
  });
}

}  // namespace blade::optimizer
