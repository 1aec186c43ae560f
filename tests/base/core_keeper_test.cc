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
#include <vector>

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

void run_on(int cpu) {
  cpu_set_t there;
  CPU_ZERO(&there);
  CPU_SET(cpu, &there);
  ASSERT_EQ(sched_setaffinity(0, sizeof there, &there), 0);
}

// The first two CPUs that this process may run on, which it does again at the end.
class TwoCpus {
 public:
  TwoCpus() {
    CPU_ZERO(&before_);
    if (sched_getaffinity(0, sizeof before_, &before_) != 0) return;
    for (int cpu = 0; cpu < CPU_SETSIZE && cpus.size() < 2; ++cpu) {
      if (CPU_ISSET(cpu, &before_) != 0) cpus.push_back(cpu);
    }
  }
  ~TwoCpus() { EXPECT_EQ(sched_setaffinity(0, sizeof before_, &before_), 0); }
  TwoCpus(const TwoCpus&) = delete;
  TwoCpus& operator=(const TwoCpus&) = delete;

  std::vector<int> cpus;

 private:
  cpu_set_t before_;
};

void expect_call(CallRhythm& rhythm, CoreKeeper& keeper) {
  for (int i = 5; i >= 0; --i) rhythm.call_begins(Clock::now() - i * milliseconds(100));
  keeper.call_begins();
  keeper.start();
}

// Calls at 100 ms, the last one now, until `found()` or for 5 seconds.
template <class Found>
bool call_until(CallRhythm& rhythm, CoreKeeper& keeper, const Found& found) {
  const Clock::time_point give_up = Clock::now() + std::chrono::seconds(5);
  while (!found() && Clock::now() < give_up) {
    expect_call(rhythm, keeper);
    std::this_thread::sleep_for(milliseconds(5));
  }
  return found();
}

bool keeps(int cpu) {
  const auto thread = keeper_thread();
  return thread && runs_only_on(*thread, cpu);
}

TEST(CoreKeeper, FollowsTheCaller) {
  const TwoCpus machine;
  {
    CallRhythm rhythm;
    CoreKeeper keeper(rhythm);
    EXPECT_FALSE(keeper_thread());
    for (const int cpu : machine.cpus) {
      run_on(cpu);
      EXPECT_TRUE(call_until(rhythm, keeper, [&] { return keeps(cpu); }));
    }
  }
  EXPECT_FALSE(keeper_thread());
}

TEST(CoreKeeper, StaysWhereCallersTakeTurns) {
  const TwoCpus machine;
  if (machine.cpus.size() < 2) GTEST_SKIP() << "one CPU";
  CallRhythm rhythm;
  CoreKeeper keeper(rhythm);
  run_on(machine.cpus[0]);
  ASSERT_TRUE(call_until(rhythm, keeper, [&] { return keeps(machine.cpus[0]); }));
  for (int i = 0; i < 20; ++i) {
    run_on(machine.cpus[(i + 1) % 2]);
    expect_call(rhythm, keeper);
    std::this_thread::sleep_for(milliseconds(3));
    EXPECT_TRUE(keeps(machine.cpus[0]));
  }
}

TEST(CoreKeeper, SleepsWithoutCallsAndEnds) {
  const CallRhythm nothing_expected;
  {
    CoreKeeper keeper(nothing_expected);
    keeper.call_begins();
    keeper.start();
    std::this_thread::sleep_for(milliseconds(10));
    keeper.start();
    EXPECT_TRUE(keeper_thread());
  }
  EXPECT_FALSE(keeper_thread());
}

}  // namespace
}  // namespace blade
