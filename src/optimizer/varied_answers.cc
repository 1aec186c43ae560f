#include "optimizer/varied_answers.h"

#include "optimizer/accuracy.h"
#include "optimizer/precision_search.h"
#include "optimizer/runners.h"

namespace blade::optimizer {
namespace {

constexpr uint64_t kMostVariedFeeds = 8;

AccuracyResult check_on(const SearchInput& input, Runner& narrow, const Feed& feed,
                        const std::vector<ir::TensorPtr>& expected) {
  return check_run(narrow, feed, answer_names(input, expected.size()), expected, accuracy_in("bf16", input.options));
}

}  // namespace

Result<VariedAnswers> VariedAnswers::of_float32(const SearchInput& input, const engine::Decisions& wide,
                                                Clock::time_point deadline, size_t most_bytes) {
  BLADE_ASSIGN_OR_RETURN(auto engine, region_engine(input, wide));
  const auto in_float32 = make_engine_runner(std::move(engine));
  VariedAnswers made;
  for (uint64_t i = 0; i < 2 * kMostVariedFeeds && (i < 2 || made.may_grow(deadline, most_bytes)); ++i) {
    const Feed& given = input.feeds[i / 2 % input.feeds.size()];
    BLADE_ASSIGN_OR_RETURN(Feed feed, i % 2 == 0 ? disturb_feed(given, i / 2) : vary_feed(given, i / 2));
    auto expected = in_float32->outputs(feed);
    if (!expected.ok()) continue;  // places or sizes in an order that the model does not take
    made.add(std::move(feed), *std::move(expected));
  }
  return made;
}

Result<VariedAnswers> VariedAnswers::of_bfloat16(const SearchInput& input, const engine::Decisions& narrow,
                                                 Clock::time_point deadline, size_t most_bytes) {
  engine::Decisions wide = narrow;
  wide.precision = "fp32";
  BLADE_ASSIGN_OR_RETURN(auto wide_engine, region_engine(input, std::move(wide)));
  BLADE_ASSIGN_OR_RETURN(auto narrow_engine, region_engine(input, narrow));
  const auto in_float32 = make_engine_runner(std::move(wide_engine)),
             in_bfloat16 = make_engine_runner(std::move(narrow_engine));
  VariedAnswers made;
  for (uint64_t i = 0; i < kMostVariedFeeds && (i == 0 || made.may_grow(deadline, most_bytes)); ++i) {
    BLADE_ASSIGN_OR_RETURN(Feed feed, vary_feed(input.feeds[i % input.feeds.size()], i));
    auto expected = in_float32->outputs(feed);
    if (!expected.ok() || !check_on(input, *in_bfloat16, feed, *expected).holds) continue;
    made.add(std::move(feed), *std::move(expected));
  }
  return made;
}

void VariedAnswers::add(Feed feed, std::vector<ir::TensorPtr> expected) {
  for (const NamedTensor& one : feed) bytes_ += one.tensor->bytes;
  for (const ir::TensorPtr& tensor : expected) bytes_ += tensor->bytes;
  feeds_.push_back(std::move(feed));
  expected_.push_back(std::move(expected));
}

bool VariedAnswers::may_grow(Clock::time_point deadline, size_t most_bytes) const {
  const bool fits = size() < 2 || bytes_ + bytes_ / size() <= most_bytes;
  return fits && Clock::now() < deadline;
}

AccuracyResult VariedAnswers::check(const SearchInput& input, Runner& narrow) const {
  AccuracyResult all;
  for (size_t i = 0; i < feeds_.size(); ++i) {
    const AccuracyResult one = check_on(input, narrow, feeds_[i], expected_[i]);
    all.holds = all.holds && one.holds;
    all.outputs.insert(all.outputs.end(), one.outputs.begin(), one.outputs.end());
  }
  return all;
}

bool VariedAnswers::hold(const SearchInput& input, Runner& narrow) const {
  for (size_t i = 0; i < feeds_.size(); ++i) {
    if (!check_on(input, narrow, feeds_[i], expected_[i]).holds) return false;
  }
  return true;
}

}  // namespace blade::optimizer
