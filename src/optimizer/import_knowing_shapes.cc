// The second import of a model, with TensorFlow's word on the results of what stays in it.
#include "optimizer/import_knowing_shapes.h"

namespace blade::optimizer {
namespace {

// Names of nodes that stay and give something that an engine could read.
std::vector<std::string> foreign_nodes(const tensorflow::ImportedModel& model) {
  std::vector<std::string> names;
  for (size_t i = 0; i < model.foreign.size(); ++i) {
    if (model.foreign[i] != 0) names.push_back(model.source->nodes[i]->name);
  }
  return names;
}

tensorflow::KnownTensor known_tensor(const InferredTensor& inferred) {
  tensorflow::KnownTensor known{static_cast<tensorflow::DataType>(inferred.dtype), {}};
  known.shape.unknown_rank = !inferred.dims.has_value();
  if (inferred.dims) known.shape.dims.assign(inferred.dims->begin(), inferred.dims->end());
  return known;
}

}  // namespace

Result<tensorflow::ImportedModel> import_knowing_shapes(const TensorFlowApi& api, const tensorflow::GraphDef& graph,
                                                        tensorflow::ImportOptions options,
                                                        tensorflow::ImportedModel model) {
  const std::vector<std::string> nodes = foreign_nodes(model);
  if (nodes.empty()) return model;
  const auto infer = [&]() -> Result<std::vector<InferredTensor>> {
    BLADE_ASSIGN_OR_RETURN(const std::string wire, tensorflow::serialize(model.source));
    return infer_tensors(api, wire, nodes);
  };
  const auto inferred = infer();
  if (!inferred.ok()) return model;  // an op that this TensorFlow does not have: running the baseline will say so
  model = {};                        // its constants would stand beside those of the next one
  for (const InferredTensor& tensor : *inferred) options.known_tensors.emplace(tensor.name, known_tensor(tensor));
  return tensorflow::import_graph(graph, options);
}

}  // namespace blade::optimizer
