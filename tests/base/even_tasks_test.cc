// Work is cut as finely as wanted, and evenly among the threads where it is enough for all.
#include "base/even_tasks.h"

#include <gtest/gtest.h>

namespace blade {
namespace {

TEST(EvenTasks, LittleWorkStaysInFewTasks) {
  for (const int threads : {3, 32, 64}) {
    EXPECT_EQ(even_tasks(0, threads, 1000), 1);
    EXPECT_EQ(even_tasks(1, threads, 1000), 1);
    EXPECT_EQ(even_tasks(2, threads, 1000), 2);
    EXPECT_EQ(even_tasks(threads - 1, threads, 1000), threads - 1);
  }
}

TEST(EvenTasks, MuchIsTheSameForAllThreads) {
  EXPECT_EQ(even_tasks(32, 32, 1000), 32);
  EXPECT_EQ(even_tasks(33, 32, 1000), 64);
  EXPECT_EQ(even_tasks(33, 32, 50), 32);
  EXPECT_EQ(even_tasks(3, 2, 1000), 4);
}

TEST(EvenTasks, NeverMoreThanThereIs) {
  for (int64_t wanted = 0; wanted < 40; ++wanted) {
    for (const int threads : {1, 2, 7, 16}) {
      for (int64_t most = 1; most < 20; ++most) {
        const int64_t tasks = even_tasks(wanted, threads, most);
        EXPECT_GE(tasks, 1);
        EXPECT_LE(tasks, most);
        EXPECT_TRUE(tasks < threads || tasks % threads == 0) << wanted << " " << threads << " " << most;
      }
    }
  }
}

}  // namespace
}  // namespace blade
