// The main job: try, check, time, keep or roll back; an optimized GraphDef and the report that proves it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/saved_model.h"
#include "optimizer/options.h"
#include "optimizer/report.h"
#include "optimizer/test_data.h"

namespace blade::optimizer {

struct OptimizeRequest {
  std::string model_path;        // or:
  std::string_view model_bytes;  // a serialized GraphDef
  OptimizeOptions options;
  std::vector<Feed> test_data;  // as given; checked against the model
  // Called with percent and phase; true asks to stop with the best so far.
  std::function<bool(int percent, const char* phase)> progress;
};

struct OptimizeResult {
  std::string graph_def;  // serialized; the original's bytes where nothing was kept
  Report report;
  std::string source_path;      // of the request, for writing a SavedModel back
  tensorflow::Offered offered;  // of that SavedModel: the signature that was taken, and the outputs
};

// The original is given back where the optimized model's answers to the test data do not hold, or there are none since
// a run fails, or it is not faster. Whatever else fails is an error: passes, making engines, memory, files.
Result<OptimizeResult> optimize(const OptimizeRequest& request);

// As the request's model came: .pb, .pbtxt (by the path's end) or a SavedModel directory.
Status write_model(const OptimizeResult& result, const std::string& path);

}  // namespace blade::optimizer
