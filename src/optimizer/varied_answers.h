// What rounds must hold on more than the test data, which are few.
#pragma once

#include <chrono>
#include <vector>

#include "optimizer/accuracy.h"
#include "optimizer/runners.h"
#include "optimizer/search.h"

namespace blade::optimizer {

// Data like the test data, with answers in float32: whether those in bfloat16 hold.
class VariedAnswers {
 public:
  using Clock = std::chrono::steady_clock;
  // The test data with noise, and others of the same ranges: those that the model takes. `wide`: in float32. There are
  // fewer where runs take long.
  static Result<VariedAnswers> of_float32(const SearchInput& input, const engine::Decisions& wide,
                                          Clock::time_point deadline);
  // Others of the same ranges on which `narrow` holds: bfloat16 that was asked for, with the static rows.
  static Result<VariedAnswers> of_bfloat16(const SearchInput& input, const engine::Decisions& narrow,
                                           Clock::time_point deadline);
  size_t size() const { return feeds_.size(); }
  // Every output on every one of them, within what bfloat16 may lose.
  Result<AccuracyResult> check(const SearchInput& input, Runner& narrow) const;
  // Whether all of that holds.
  Result<bool> hold(const SearchInput& input, Runner& narrow) const;

 private:
  std::vector<Feed> feeds_;
  std::vector<std::vector<ir::TensorPtr>> expected_;  // in float32
};

}  // namespace blade::optimizer
