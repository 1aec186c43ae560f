// What rounds coarsely, or by the test data, must hold on more than these, which are few.
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
  // Of the same ranges, and the test data with noise. `wide`: in float32.
  static Result<VariedAnswers> make(const SearchInput& input, const engine::Decisions& wide);
  // Those on which `narrow` holds: bfloat16 that was asked for, with the static rows. There are fewer where runs take
  // long.
  static Result<VariedAnswers> make(const SearchInput& input, const engine::Decisions& narrow,
                                    std::chrono::steady_clock::time_point deadline);
  // Every output on every one of them, within what bfloat16 may lose.
  Result<AccuracyResult> check(const SearchInput& input, Runner& narrow) const;
  // Whether all holds; false where there are no such data.
  Result<bool> hold(const SearchInput& input, const engine::Decisions& decisions) const;

 private:
  std::vector<Feed> feeds_;
  std::vector<std::vector<ir::TensorPtr>> expected_;  // in float32
};

}  // namespace blade::optimizer
