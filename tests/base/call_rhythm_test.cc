// Regular calls are foreseen within bounds, others are not.
#include "base/call_rhythm.h"

#include <gtest/gtest.h>

namespace blade {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using Time = CallRhythm::Clock::time_point;

class Rhythm : public ::testing::Test {
 protected:
  void call_after(CallRhythm::Clock::duration gap) { rhythm_.call_begins(now_ += gap); }
  bool expects(CallRhythm::Clock::duration gap) const {
    const auto next = rhythm_.next();
    return next && next->from <= now_ + gap && now_ + gap <= next->until;
  }

  CallRhythm rhythm_;
  Time now_{milliseconds(123456)};
};

TEST_F(Rhythm, ExpectsNothingBeforeItKnows) {
  EXPECT_FALSE(rhythm_.next());
  call_after(milliseconds(10));
  EXPECT_FALSE(rhythm_.next());
  call_after(milliseconds(10));
  EXPECT_FALSE(rhythm_.next());
}

TEST_F(Rhythm, ForeseesRegularCalls) {
  for (const milliseconds gap : {milliseconds(2), milliseconds(10), milliseconds(33), milliseconds(100)}) {
    for (int i = 0; i < 6; ++i) call_after(gap + microseconds(i % 2 == 0 ? 20 : -20));
    EXPECT_TRUE(expects(gap)) << gap.count();
    const auto next = rhythm_.next();
    EXPECT_LE(next->until - next->from, microseconds(gap) / 7) << gap.count();
  }
}

TEST_F(Rhythm, OneCallOutOfStepChangesNothing) {
  for (int i = 0; i < 8; ++i) call_after(milliseconds(10));
  call_after(milliseconds(20));
  EXPECT_TRUE(expects(milliseconds(10)));
}

TEST_F(Rhythm, LearnsAnotherInterval) {
  for (int i = 0; i < 8; ++i) call_after(milliseconds(10));
  for (int i = 0; i < 6; ++i) call_after(milliseconds(20));
  EXPECT_TRUE(expects(milliseconds(20)));
}

TEST_F(Rhythm, IrregularOrExtremeCallsAreNotForeseen) {
  for (int i = 0; i < 30; ++i) {
    call_after(milliseconds(i % 3 == 0 ? 3 : i % 3 == 1 ? 40 : 11));
    EXPECT_FALSE(rhythm_.next()) << i;
  }
  for (int i = 0; i < 10; ++i) call_after(microseconds(50));
  EXPECT_FALSE(rhythm_.next());
  for (int i = 0; i < 10; ++i) call_after(milliseconds(5000));
  EXPECT_FALSE(rhythm_.next());
}

}  // namespace
}  // namespace blade
