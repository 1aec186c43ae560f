// What optimizing did and what it brought, as the user reads it: JSON with the names and units of docs/report.md, and
// HTML.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/coverage.h"
#include "optimizer/accuracy.h"

namespace blade::optimizer {

enum class StepStatus { kEffective, kPassed, kFailed, kRolledBack };

// One entry of "optimizations".
struct OptimizationStep {
  std::string name;
  StepStatus status = StepStatus::kPassed;
  std::optional<double> pre_run_ms, post_run_ms;  // both or none; none prints "na"
  std::string message;                            // why it failed, was rolled back or changed nothing
  int changes = 0;
};

std::string to_string(const OptimizationStep& step);  // one line, for the log

struct Report {
  std::vector<std::pair<std::string, std::string>> software;  // name, version
  std::string device_type = "cpu", microarchitecture;
  std::string user_config;
  std::string model, test_data_source, shape_variation, test_data_info;
  std::vector<std::string> messages;
  std::vector<OptimizationStep> optimizations;
  std::optional<double> baseline_ms, optimized_ms;
  std::string baseline_note;  // why the baseline is "na"
  std::string input_format = "frozen_pb";
  AccuracyResult accuracy;
  std::string accuracy_reference;  // "TensorFlow, graph as written" or "Blade's reference kernels"
  int nodes_total = 0, nodes_in_engines = 0, nodes_folded = 0, regions = 0;
  std::vector<engine::LeftBehind> left_behind;
  engine::Coverage cost;  // of what stays behind, at the shapes of the test data
  std::vector<std::string> inputs, outputs;
  std::vector<std::string> inferred;  // what was inferred, in words
  std::string profile_json;           // "" without a profile
  size_t original_bytes = 0, optimized_bytes = 0;

  std::string to_json() const;
  std::string to_html() const;  // one self-contained page
};

}  // namespace blade::optimizer
