// The model that optimize() is asked about, in IR: loaded, imported as its signature, the user's data and its own
// switches have it.
#pragma once

#include <string>
#include <vector>

#include "frontends/tensorflow/importer.h"
#include "frontends/tensorflow/model_loader.h"
#include "optimizer/optimize.h"

namespace blade::optimizer {

struct ModelToOptimize {
  tensorflow::LoadedModel loaded;
  std::vector<Feed> test_data;               // the user's, named by tensors
  tensorflow::ImportOptions import_options;  // to import it once more
  tensorflow::ImportedModel imported;
  std::vector<std::string> messages;  // for the report
};

// In `options` tensors take the place of the signature's keys, and what the model itself rounds widens the tolerances.
Result<ModelToOptimize> import_model(const OptimizeRequest& request, OptimizeOptions& options);

}  // namespace blade::optimizer
