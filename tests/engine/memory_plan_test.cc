// Arena planning: buffers that live at the same time never overlap, and the arena stays near the lower bound.
#include "engine/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/checked_math.h"

namespace blade::engine {
namespace {

void expect_valid(const std::vector<Interval>& intervals, const MemoryPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), intervals.size());
  for (size_t i = 0; i < intervals.size(); ++i) {
    EXPECT_EQ(plan.offsets[i] % 64, 0u);
    EXPECT_LE(plan.offsets[i] + intervals[i].bytes, plan.bytes);
    for (size_t j = 0; j < i; ++j) {
      const bool together = intervals[i].first <= intervals[j].last && intervals[j].first <= intervals[i].last;
      if (!together || intervals[i].bytes == 0 || intervals[j].bytes == 0) continue;
      EXPECT_TRUE(plan.offsets[i] + intervals[i].bytes <= plan.offsets[j] ||
                  plan.offsets[j] + intervals[j].bytes <= plan.offsets[i])
          << i << " and " << j << " overlap";
    }
  }
}

size_t largest_live_sum(const std::vector<Interval>& intervals, int steps) {
  size_t largest = 0;
  for (int s = 0; s < steps; ++s) {
    size_t sum = 0;
    for (const Interval& i : intervals) sum += i.first <= s && s <= i.last ? align_up(i.bytes, 64) : 0;
    largest = std::max(largest, sum);
  }
  return largest;
}

TEST(MemoryPlan, RandomLivesNeverOverlap) {
  std::mt19937 rng(7);
  for (int round = 0; round < 300; ++round) {
    const int steps = 1 + static_cast<int>(rng() % 40);
    std::vector<Interval> intervals(rng() % 60);
    for (Interval& i : intervals) {
      i.first = static_cast<int>(rng() % steps);
      i.last = std::min(steps - 1, i.first + static_cast<int>(rng() % 6));
      i.bytes = rng() % 10 == 0 ? 0 : rng() % 5000;
    }
    const MemoryPlan plan = plan_memory(intervals);
    expect_valid(intervals, plan);
    EXPECT_LE(plan.bytes, 2 * largest_live_sum(intervals, steps));
  }
}

TEST(MemoryPlan, AChainNeedsTwoBuffers) {
  std::vector<Interval> chain;
  for (int i = 0; i < 50; ++i) chain.push_back({i, i + 1, 1000});
  EXPECT_EQ(plan_memory(chain).bytes, 2 * 1024u);
}

TEST(MemoryPlan, BuffersThatFollowShareAMiddle) {
  // A chain whose buffers shrink: each lies around the middle of the one before the last, which it replaces.
  std::vector<Interval> chain;
  for (int i = 0; i < 6; ++i) chain.push_back({i, i + 1, size_t{65536} >> i});
  const MemoryPlan plan = plan_memory(chain);
  expect_valid(chain, plan);
  const auto middle = [&](int i) { return plan.offsets[i] + chain[i].bytes / 2; };
  for (int i = 2; i < 4; ++i) EXPECT_EQ(middle(i), middle(i - 2)) << i;
  EXPECT_EQ(plan.bytes, chain[0].bytes + chain[1].bytes);
}

TEST(MemoryPlan, NothingNeedsNothing) {
  EXPECT_EQ(plan_memory({}).bytes, 0u);
  const std::vector<Interval> empty = {{0, 3, 0}, {1, 2, 0}};
  EXPECT_EQ(plan_memory(empty).bytes, 0u);
}

TEST(MemoryPlan, TakesTheSmallestGapThatFits) {
  // After step 1 there are holes of 512 and 192 bytes between buffers that live throughout.
  const std::vector<Interval> intervals = {{0, 9, 1024}, {0, 1, 512}, {0, 9, 448},
                                           {0, 1, 192},  {0, 9, 191}, {2, 3, 190}};
  const MemoryPlan plan = plan_memory(intervals);
  expect_valid(intervals, plan);
  EXPECT_EQ(plan.offsets[5], plan.offsets[3]);
}

TEST(MemoryPlan, TakesTheSmallestGapWhereALargerOneLiesBehindIt) {
  // From step 2 on there are holes of 384 bytes behind the third buffer and of 512 where the fourth was.
  const std::vector<Interval> intervals = {{0, 1, 1024}, {0, 9, 960}, {2, 9, 640},
                                           {0, 1, 512},  {0, 9, 448}, {2, 3, 320}};
  const MemoryPlan plan = plan_memory(intervals);
  expect_valid(intervals, plan);
  EXPECT_EQ(plan.offsets[5], plan.offsets[2] + 640);
}

}  // namespace
}  // namespace blade::engine
