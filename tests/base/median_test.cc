#include "base/median.h"

#include <gtest/gtest.h>

namespace blade {
namespace {

TEST(MedianTest, OfOddEvenAndNone) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({7}), 7);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(median({2, 2, 2, 100}), 2);
}

}  // namespace
}  // namespace blade
