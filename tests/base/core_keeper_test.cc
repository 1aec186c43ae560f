// A thread follows the CPU that regular calls come from, sleeps when they stay away, and ends with its keeper.
#include "base/core_keeper.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

namespace blade {
namespace {

using Clock = CallRhythm::Clock;
using std::chrono::milliseconds;

std::optional<pid_t> keeper_thread() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(entry.path() / "comm"), name);
    if (name == "blade-awake") return std::stoi(entry.path().filename());
  }
  return std::nullopt;
}

bool runs_only_on(pid_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(thread, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1 && CPU_ISSET(cpu, &set) != 0;
}

// Calls at 100 ms, the last one now, until `found()` or for 5 seconds.
template <class Found>
bool call_until(CallRhythm& rhythm, CoreKeeper& keeper, const Found& found) {
  const Clock::time_point give_up = Clock::now() + std::chrono::seconds(5);
  while (!found() && Clock::now() < give_up) {
    for (int i = 5; i >= 0; --i) rhythm.call_begins(Clock::now() - i * milliseconds(100));
    keeper.call_begins();
    keeper.start();
    std::this_thread::sleep_for(milliseconds(5));
  }
  return found();
}

TEST(CoreKeeper, FollowsTheCaller) {
  cpu_set_t before;
  CPU_ZERO(&before);
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  {
    CallRhythm rhythm;
    CoreKeeper keeper(rhythm);
    EXPECT_FALSE(keeper_thread());
    for (int cpu = 0, moves = 0; cpu < CPU_SETSIZE && moves < 2; ++cpu) {
      if (CPU_ISSET(cpu, &before) == 0) continue;
      ++moves;
      cpu_set_t here;
      CPU_ZERO(&here);
      CPU_SET(cpu, &here);
      ASSERT_EQ(sched_setaffinity(0, sizeof here, &here), 0);
      EXPECT_TRUE(call_until(rhythm, keeper, [&] {
        const auto thread = keeper_thread();
        return thread && runs_only_on(*thread, cpu);
      }));
    }
  }
  EXPECT_FALSE(keeper_thread());
  EXPECT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(CoreKeeper, SleepsWithoutCallsAndEnds) {
  const CallRhythm nothing_expected;
  CoreKeeper keeper(nothing_expected);
  keeper.call_begins();
  keeper.start();
  std::this_thread::sleep_for(milliseconds(10));
  keeper.start();
}

}  // namespace
}  // namespace blade
