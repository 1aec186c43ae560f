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
  static constexpr size_t kMostBytes = size_t{256} << 20;
  // The test data with noise, and others of the same ranges: those that the model takes. `wide`: in float32. There are
  // fewer, but for two, where runs take long or where feeds and answers are large.
  static Result<VariedAnswers> of_float32(const SearchInput& input, const engine::Decisions& wide,
                                          Clock::time_point deadline, size_t most_bytes = kMostBytes);
  // Others of the same ranges on which `narrow` holds: bfloat16 that was asked for, with the static rows.
  static Result<VariedAnswers> of_bfloat16(const SearchInput& input, const engine::Decisions& narrow,
                                           Clock::time_point deadline, size_t most_bytes = kMostBytes);
  size_t size() const { return feeds_.size(); }
  // Every output on every one of them, within what bfloat16 may lose.
  AccuracyResult check(const SearchInput& input, Runner& narrow) const;
  // Whether all of that holds.
  bool hold(const SearchInput& input, Runner& narrow) const;

 private:
  void add(Feed feed, std::vector<ir::TensorPtr> expected);
  bool may_grow(Clock::time_point deadline, size_t most_bytes) const;  // by one more of their size

  size_t bytes_ = 0;
  std::vector<Feed> feeds_;
  std::vector<std::vector<ir::TensorPtr>> expected_;  // in float32
};

}  // namespace blade::optimizer
