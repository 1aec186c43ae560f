// Timing: what runs in which order, and that a verdict needs a difference outside the noise. No test depends
// on the machine's speed: where one side must be slower it sleeps a hundred times longer than the other.
#include "optimizer/timing.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

namespace blade::optimizer {
namespace {

Runnable sleeping(int microseconds) {
  return [microseconds]() -> Status {
    std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
    return {};
  };
}

TimingOptions few_runs() {
  TimingOptions options;
  options.rounds = 4;
  options.block_s = 0;
  options.min_runs_in_block = 3;
  return options;
}

TEST(TimingTest, BlocksAlternateAndWarmUp) {
  std::string order;
  const auto noting = [&order](char side) -> Runnable {
    return [&order, side]() -> Status {
      order += side;
      return {};
    };
  };
  TimingOptions options = few_runs();
  options.rounds = 2;
  ASSERT_TRUE(compare(noting('a'), noting('b'), options).ok());
  EXPECT_EQ(order, "aaaaabbbbbaaaaabbbbb");  // two to warm up, three timed
}

TEST(TimingTest, ManyTimesSlowerIsSlower) {
  const auto result = compare(sleeping(50), sleeping(20000), few_runs());
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->slower);
  EXPECT_FALSE(result->faster);
  EXPECT_LT(result->speedup(), 1);
  EXPECT_GE(result->after_ms, 20);
}

TEST(TimingTest, ManyTimesFasterIsFaster) {
  const auto result = compare(sleeping(20000), sleeping(50), few_runs());
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->faster);
  EXPECT_FALSE(result->slower);
  EXPECT_GT(result->speedup(), 1);
}

// Each side is the slower one in every other block: no verdict, however the sleeps are cut up.
TEST(TimingTest, BlocksThatDisagreeGiveNoVerdict) {
  int blocks = 0, runs = 0;
  const Runnable changing = [&]() -> Status {
    const bool slow = blocks % 2 == 0;
    if (++runs % 5 == 0) ++blocks;
    std::this_thread::sleep_for(std::chrono::milliseconds(slow ? 20 : 1));
    return {};
  };
  const auto result = compare(changing, sleeping(5000), few_runs());
  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->faster);
  EXPECT_FALSE(result->slower);
}

TEST(TimingTest, TheFirstFailureIsReturned) {
  int runs = 0;
  const Runnable failing = [&runs]() -> Status {
    return ++runs < 4 ? Status() : invalid_argument("run " + std::to_string(runs));
  };
  EXPECT_EQ(compare(sleeping(0), failing, few_runs()).status().message(), "run 4");
  runs = 0;
  EXPECT_EQ(measure(failing, few_runs()).status().message(), "run 4");
}

TEST(TimingTest, TheTimeLimitStillLeavesTwoRounds) {
  int runs = 0;
  const Runnable counting = [&runs]() -> Status {
    ++runs;
    return {};
  };
  TimingOptions options = few_runs();
  options.rounds = 100;
  options.time_limit_s = 0;
  ASSERT_TRUE(compare(counting, sleeping(0), options).ok());
  EXPECT_EQ(runs, 2 * 5);
  runs = 0;
  ASSERT_TRUE(measure(counting, options).ok());
  EXPECT_EQ(runs, 5);
}

TEST(TimingTest, BlocksAreBounded) {
  int runs = 0;
  const Runnable counting = [&runs]() -> Status {
    ++runs;
    return {};
  };
  TimingOptions options;
  options.rounds = 1;
  options.block_s = 1e9;
  options.max_runs_in_block = 20;
  const auto time = measure(counting, options);
  ASSERT_TRUE(time.ok());
  EXPECT_EQ(runs, 22);
  EXPECT_GE(*time, 0);
}

}  // namespace
}  // namespace blade::optimizer
