// Whether two sets of answers agree, and by how much they differ.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "ir/types.h"
#include "optimizer/options.h"

namespace blade::optimizer {

struct OutputDifference {
  std::string output;
  double max_difference = 0;  // largest |got - expected|
  double max_expected = 0;    // largest |expected|
  double allowed = 0;         // the bound that max_difference was held to
  int64_t compared = 0;       // elements, but for those that are not finite
  int64_t unequal = 0;        // of them, in outputs of integers or strings
  bool holds = true;
  std::string message;  // why not, or what differs although it holds, in words
};

struct AccuracyResult {
  bool holds = true;
  bool run_failed = false;  // there are no answers
  std::vector<OutputDifference> outputs;
  std::string message() const;  // of the first output that does not hold
  std::string nothing_compared()
      const;  // the outputs without an element to compare, in words; empty where there are none
};

// For answers that cannot be compared.
AccuracyResult does_not_hold(const std::string& output, std::string why);

// Compares output by output; NaN and infinities must stand at the same places. dtypes and shapes must be equal.
AccuracyResult check_accuracy(const std::vector<std::string>& names, const std::vector<ir::TensorPtr>& expected,
                              const std::vector<ir::TensorPtr>& got, const AccuracyOptions& options);

}  // namespace blade::optimizer
