// Hand-over times are taken once in an interval, a disturbed one does not count, and they decide what is shared.
#include "base/work_sharing.h"

#include <gtest/gtest.h>

namespace blade {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// The least of the work that is shared when a long series of `common_ns` has come before.
double least_shared_ns(WorkSharing& sharing, double common_ns) {
  for (double work_ns = 10;; work_ns *= 1.05) {
    for (int i = 0; i < 300; ++i) (void)sharing.pays(common_ns);
    if (sharing.pays(work_ns)) return work_ns;
  }
}

TEST(WorkSharing, OneTurnInAnInterval) {
  WorkSharing sharing;
  EXPECT_TRUE(sharing.take_turn());
  EXPECT_FALSE(sharing.take_turn());
  const WorkSharing::Clock::time_point now{milliseconds(1000)};
  sharing.run_begins(now);
  EXPECT_TRUE(sharing.take_turn());
  sharing.run_begins(now + nanoseconds(1000));
  EXPECT_FALSE(sharing.take_turn());
  sharing.run_begins(now + milliseconds(20));
  EXPECT_TRUE(sharing.take_turn());
}

TEST(WorkSharing, FollowsTheShorterOfTwoHandOvers) {
  const auto least = [](auto... hand_overs) {
    WorkSharing sharing;
    (sharing.learn(hand_overs), ...);
    return least_shared_ns(sharing, 100e3);
  };
  const double close = least(nanoseconds(150));
  EXPECT_EQ(least(nanoseconds(150), milliseconds(2)), close);  // the worker was put aside
  EXPECT_EQ(least(nanoseconds(150), milliseconds(2), nanoseconds(150)), close);
  const double apart = least(nanoseconds(150), nanoseconds(900), nanoseconds(800));
  EXPECT_GT(apart, 2 * close);
  EXPECT_EQ(least(nanoseconds(800), nanoseconds(150)), close);
}

TEST(WorkSharing, AmongLittleWorkMoreStaysAlone) {
  WorkSharing sharing;
  sharing.learn(nanoseconds(500));
  const double among_much = least_shared_ns(sharing, 20e3), among_little = least_shared_ns(sharing, 500);
  EXPECT_GT(among_little, 3 * among_much);
  EXPECT_TRUE(sharing.pays(50e3));
  EXPECT_EQ(least_shared_ns(sharing, 20e3), among_much);
}

}  // namespace
}  // namespace blade
