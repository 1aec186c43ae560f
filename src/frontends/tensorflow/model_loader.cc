// Finds out what a path holds and reads it.
#include "frontends/tensorflow/model_loader.h"

#include <filesystem>

#include "base/mapped_file.h"

namespace blade::tensorflow {
namespace {

Result<LoadedModel> load_saved_model(const std::string& path, const std::string& wanted_signature) {
  LoadedModel model;
  model.format = "saved_model";
  BLADE_ASSIGN_OR_RETURN(SavedModel saved, SavedModel::load(path));
  BLADE_ASSIGN_OR_RETURN(const MetaGraph* meta, saved.serving());
  BLADE_ASSIGN_OR_RETURN(model.signature, choose_signature(*meta, wanted_signature));
  if (auto variables = variable_nodes(meta->graph); !variables.empty()) {
    return failed_precondition(
        "the SavedModel '" + path + "' keeps its weights in variables ('" + variables[0] +
        (variables.size() > 1 ? "' and " + std::to_string(variables.size() - 1) + " more" : "'") +
        "); they must be frozen into the graph first: blade.optimize in Python and the command's "
        "optimize do it where TensorFlow is installed");
  }
  const SignatureDef& signature = meta->signatures.at(model.signature);
  for (const auto& [key, info] : signature.inputs) {
    if (info.name.empty()) return unimplemented("the input '" + key + "' of '" + path + "' is not a dense tensor");
    model.input_keys.push_back(key);
    model.inputs.push_back(info.name);
  }
  for (const auto& [key, info] : signature.outputs) {
    if (info.name.empty()) return unimplemented("the output '" + key + "' of '" + path + "' is not a dense tensor");
    model.output_keys.push_back(key);
    model.outputs.push_back(info.name);
  }
  model.graph = meta->graph;
  model.saved_model = std::move(saved);
  return model;
}

}  // namespace

Result<LoadedModel> load_model(const std::string& path, const std::string& signature) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    return not_found("there is no file or directory '" + path + "'; give a .pb, a .pbtxt or a SavedModel directory");
  }
  if (fs::is_directory(status)) {
    fs::path inside = fs::path(path) / "saved_model.pb";
    if (fs::exists(inside, error)) return load_saved_model(path, signature);
    if (fs::exists(fs::path(path) / "saved_model.pbtxt", error)) {
      return unimplemented("'" + path +
                           "' holds its SavedModel as text (saved_model.pbtxt); write it as saved_model.pb");
    }
    return not_found("the directory '" + path + "' has no saved_model.pb, so it is not a SavedModel");
  }
  if (fs::file_size(path, error) == 0 && !error) {
    return data_loss("the file '" + path + "' is empty, expected a TensorFlow graph");
  }
  if (!signature.empty()) {
    return invalid_argument("the signature '" + signature + "' is asked for, but '" + path +
                            "' is no SavedModel directory: only those have signatures; name outputs instead");
  }
  LoadedModel model;
  model.format = path.ends_with(".pbtxt") ? "pbtxt" : "frozen_pb";
  BLADE_ASSIGN_OR_RETURN(model.graph, load_graph_def(path));
  return model;
}

}  // namespace blade::tensorflow
