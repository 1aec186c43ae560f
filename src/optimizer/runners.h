// Ways to run a model on feeds: inside a TensorFlow session, or in an engine; one interface for checking and timing.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "optimizer/accuracy.h"
#include "optimizer/tensorflow_library.h"
#include "optimizer/test_data.h"
#include "optimizer/timing.h"

namespace blade::optimizer {

class Runner {
 public:
  virtual ~Runner() = default;
  // Answers to a feed, in the order of the outputs asked for.
  virtual Result<std::vector<ir::TensorPtr>> outputs(const Feed& feed) = 0;
  // One run on the feed, prepared so that timing it times nothing else. Valid while the runner lives.
  virtual Result<Runnable> runnable(const Feed& feed) = 0;
};

Result<std::unique_ptr<Runner>> make_tensorflow_runner(const TensorFlowApi& api, std::string_view graph_def,
                                                       const SessionConfig& config, std::vector<std::string> outputs);
std::unique_ptr<Runner> make_engine_runner(std::shared_ptr<engine::Engine> engine);

// The answers to a feed against those expected. Where the run fails they do not hold, and the reason is said.
AccuracyResult check_run(Runner& runner, const Feed& feed, const std::vector<std::string>& names,
                         const std::vector<ir::TensorPtr>& expected, const AccuracyOptions& options);

}  // namespace blade::optimizer
