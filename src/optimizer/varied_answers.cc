#include "optimizer/varied_answers.h"

#include "optimizer/accuracy.h"
#include "optimizer/precision_search.h"
#include "optimizer/runners.h"

namespace blade::optimizer {
namespace {

constexpr uint64_t kMostVariedFeeds = 8;

Result<bool> holds_on(const SearchInput& input, Runner& runner, const Feed& feed,
                      const std::vector<ir::TensorPtr>& expected) {
  BLADE_ASSIGN_OR_RETURN(const std::vector<ir::TensorPtr> got, runner.outputs(feed));
  return check_accuracy(answer_names(input, got.size()), expected, got, accuracy_in("bf16", input.options)).holds;
}

}  // namespace

Result<VariedAnswers> VariedAnswers::make(const SearchInput& input, const engine::Decisions& narrow,
                                          std::chrono::steady_clock::time_point deadline) {
  engine::Decisions wide = narrow;
  wide.precision = "fp32";
  BLADE_ASSIGN_OR_RETURN(auto wide_engine, region_engine(input, std::move(wide)));
  BLADE_ASSIGN_OR_RETURN(auto narrow_engine, region_engine(input, narrow));
  const auto in_float32 = make_engine_runner(std::move(wide_engine)),
             in_bfloat16 = make_engine_runner(std::move(narrow_engine));
  VariedAnswers made;
  for (uint64_t i = 0; i < kMostVariedFeeds && (i == 0 || std::chrono::steady_clock::now() < deadline); ++i) {
    BLADE_ASSIGN_OR_RETURN(Feed feed, vary_feed(input.feeds[i % input.feeds.size()], i));
    BLADE_ASSIGN_OR_RETURN(std::vector<ir::TensorPtr> expected, in_float32->outputs(feed));
    BLADE_ASSIGN_OR_RETURN(const bool holds, holds_on(input, *in_bfloat16, feed, expected));
    if (!holds) continue;
    made.feeds_.push_back(std::move(feed));
    made.expected_.push_back(std::move(expected));
  }
  return made;
}

Result<bool> VariedAnswers::hold(const SearchInput& input, const engine::Decisions& decisions) const {
  BLADE_ASSIGN_OR_RETURN(auto engine, region_engine(input, decisions));
  const auto runner = make_engine_runner(std::move(engine));
  for (size_t i = 0; i < feeds_.size(); ++i) {
    BLADE_ASSIGN_OR_RETURN(const bool holds, holds_on(input, *runner, feeds_[i], expected_[i]));
    if (!holds) return false;
  }
  return !feeds_.empty();
}

}  // namespace blade::optimizer
