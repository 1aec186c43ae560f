// What rounds coarsely must hold on more than the test data, which are few.
#pragma once

#include <chrono>
#include <vector>

#include "optimizer/search.h"

namespace blade::optimizer {

// Data like the test data on which bfloat16 holds as the static rows round, and whether it does as others do.
class VariedAnswers {
 public:
  // `narrow`: in bfloat16 that was asked for, with the static rows. Data on which these break the answers are left out,
  // and there are fewer where runs take long.
  static Result<VariedAnswers> make(const SearchInput& input, const engine::Decisions& narrow,
                                    std::chrono::steady_clock::time_point deadline);
  // False where there are no such data.
  Result<bool> hold(const SearchInput& input, const engine::Decisions& decisions) const;

 private:
  std::vector<Feed> feeds_;
  std::vector<std::vector<ir::TensorPtr>> expected_;  // in float32
};

}  // namespace blade::optimizer
