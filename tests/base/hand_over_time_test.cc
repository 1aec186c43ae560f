// Hand-over times are taken once in an interval, the last disturbed one does not count, and they decide what is shared.
#include "base/hand_over_time.h"

#include <gtest/gtest.h>

namespace blade {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

TEST(HandOverTime, OneTurnInAnInterval) {
  HandOverTime time;
  EXPECT_TRUE(time.take_turn());
  EXPECT_FALSE(time.take_turn());
  HandOverTime::Clock::time_point now{milliseconds(1000)};
  time.run_begins(now);
  EXPECT_TRUE(time.take_turn());
  time.run_begins(now + nanoseconds(1000));
  EXPECT_FALSE(time.take_turn());
  time.run_begins(now + milliseconds(20));
  EXPECT_TRUE(time.take_turn());
}

TEST(HandOverTime, FollowsTheShorterOfTwo) {
  HandOverTime time;
  time.learn(nanoseconds(150));
  const double near = time.least_work_ns();
  time.learn(milliseconds(2));  // the worker was put aside
  EXPECT_EQ(time.least_work_ns(), near);
  time.learn(nanoseconds(150));
  EXPECT_EQ(time.least_work_ns(), near);
  time.learn(nanoseconds(900));
  time.learn(nanoseconds(800));
  const double far = time.least_work_ns();
  EXPECT_GT(far, near);
  time.learn(nanoseconds(900));
  EXPECT_EQ(time.least_work_ns(), far);
  time.learn(nanoseconds(140));
  EXPECT_LT(time.least_work_ns(), near);
}

}  // namespace
}  // namespace blade
