// Reads a model from whatever users have: a frozen .pb, a .pbtxt or a SavedModel directory.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/graph_def.h"
#include "frontends/tensorflow/proto/saved_model.h"

namespace blade::tensorflow {

struct LoadedModel {
  GraphDef graph;
  std::string format;  // "frozen_pb", "pbtxt" or "saved_model"
  // Tensor names, from the SavedModel's signature in the order of its keys; empty where the file does not say.
  std::vector<std::string> inputs, outputs;
  // The signature's own keys, in the same order.
  std::vector<std::string> input_keys, output_keys;
  std::string signature;  // of a SavedModel: the one that was chosen
  std::optional<SavedModel> saved_model;
};

// Missing and empty files, directories without a model and damaged files are errors; a SavedModel whose variables are
// not frozen is kFailedPrecondition. `signature` chooses one of a SavedModel's; empty: as choose_signature() says.
Result<LoadedModel> load_model(const std::string& path, const std::string& signature = "");

}  // namespace blade::tensorflow
