// The pool runs every task once, gives concurrent tasks distinct slots and never hangs on sleeping workers.
#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/cgroup_limits.h"

namespace blade {
namespace {

void check_every_task_once(ThreadPool& pool, int tasks) {
  std::vector<std::atomic<int>> calls(tasks);
  std::vector<std::atomic<int>> in_slot(pool.num_threads());
  std::atomic<bool> slots_ok{true};
  pool.parallel_for(tasks, [&](int task, int slot) {
    if (in_slot[slot].fetch_add(1) != 0) slots_ok = false;
    calls[task].fetch_add(1);
    in_slot[slot].fetch_sub(1);
  });
  EXPECT_TRUE(slots_ok);
  for (int t = 0; t < tasks; ++t) ASSERT_EQ(calls[t].load(), 1) << "task " << t << " of " << tasks;
}

TEST(ThreadPool, RunsEachTaskOnce) {
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    for (int tasks : {0, 1, 2, 3, 7, 64, 1000}) check_every_task_once(pool, tasks);
  }
}

TEST(ThreadPool, ManyShortJobsInARun) {
  ThreadPool pool(3);
  ThreadPool::RunScope run(pool);
  std::atomic<int64_t> sum{0};
  for (int i = 0; i < 20000; ++i) pool.parallel_for(3, [&](int task, int) { sum.fetch_add(task + 1); });
  EXPECT_EQ(sum.load(), 20000 * 6);
}

TEST(ThreadPool, LittleWorkIsTheCallers) {
  ThreadPool pool(3);
  for (int i = 0; i < 2000; ++i) {
    ThreadPool::RunScope run(pool);
    std::atomic<int> calls{0}, of_caller{0};
    const std::thread::id caller = std::this_thread::get_id();
    pool.parallel_for(4, i % 2 == 0 ? 1.0 : 1e9, [&](int, int slot) {
      calls.fetch_add(1);
      if (slot == 0 && std::this_thread::get_id() == caller) of_caller.fetch_add(1);
    });
    ASSERT_EQ(calls.load(), 4);
    if (i % 2 == 0) {
      ASSERT_EQ(of_caller.load(), 4);
    }
  }
}

TEST(ThreadPool, WorksAfterWorkersWentToSleep) {
  ThreadPool pool(2);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    check_every_task_once(pool, 4);
    ThreadPool::RunScope run(pool);
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // longer than the spin inside a run
    check_every_task_once(pool, 4);
  }
}

TEST(ThreadPool, ConcurrentCallersAllFinish) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      ThreadPool::RunScope run(pool);
      for (int i = 0; i < 2000; ++i) pool.parallel_for(2, [&](int, int) { sum.fetch_add(1); });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 4 * 2000 * 2);
}

TEST(ThreadPool, FirstOfferFollowsTheSlot) {
  ThreadPool pool(2);
  // With one thread busy in task 0 the other slot can only have begun with the second half.
  for (int i = 0; i < 50; ++i) {
    std::atomic<int> first_of_slot_1{-1};
    pool.parallel_for(8, [&](int task, int slot) {
      if (slot == 1) {
        int expected = -1;
        first_of_slot_1.compare_exchange_strong(expected, task);
      }
    });
    if (first_of_slot_1.load() == 4) return;  // seen once is enough: slot 1 may also wake too late
  }
}

TEST(ThreadPool, SharedPoolsAreShared) {
  auto a = ThreadPool::shared(2);
  EXPECT_EQ(a, ThreadPool::shared(2));
  EXPECT_NE(a, ThreadPool::shared(3));
  EXPECT_GE(ThreadPool::usable_cpus(), 1);
  EXPECT_EQ(ThreadPool::shared(0)->num_threads(), ThreadPool::usable_cpus());
}

TEST(ThreadPool, ChildOfForkStillComputes) {
  auto* pool = new ThreadPool(2);
  check_every_task_once(*pool, 4);
  const pid_t child = fork();
  if (child == 0) {
    int count = 0;
    pool->parallel_for(4, [&](int, int) { ++count; });
    std::vector<std::thread> own;  // may get the stacks of the parent's threads
    for (int i = 0; i < 8; ++i) own.emplace_back([] {});
    for (std::thread& thread : own) thread.join();
    delete pool;
    _exit(count == 4 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  delete pool;
}

// It has no workers to wait for: no section takes as long as the wait before their tasks are taken.
TEST(ThreadPool, ChildOfForkDoesNotWait) {
  ThreadPool pool(2);
  ThreadPool::RunScope run(pool);
  check_every_task_once(pool, 4);  // the worker is awake
  const pid_t child = fork();
  if (child == 0) {
    auto least = std::chrono::steady_clock::duration::max();
    for (int batch = 0; batch < 50; ++batch) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < 100; ++i) pool.parallel_for(2, [](int, int) {});
      least = std::min(least, std::chrono::steady_clock::now() - start);
    }
    _exit(least < std::chrono::microseconds(250) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(CgroupLimits, TightestAncestorCounts) {
  namespace fs = std::filesystem;
  const fs::path root = fs::path(testing::TempDir()) / "blade_cgroup";
  fs::create_directories(root / "a/b");
  std::ofstream(root / "proc") << "0::/a/b\n";
  EXPECT_EQ(cgroup_cpu_limit(root / "proc", root), std::nullopt);
  std::ofstream(root / "a/b/cpu.max") << "max 100000\n";
  std::ofstream(root / "a/cpu.max") << "150000 100000\n";
  EXPECT_EQ(cgroup_cpu_limit(root / "proc", root), 1.5);
  for (const char* inner : {"80000 100000\n", "400000 100000\n"}) {  // the least of all levels
    std::ofstream(root / "a/b/cpu.max") << inner;
    EXPECT_EQ(cgroup_cpu_limit(root / "proc", root), inner[0] == '8' ? 0.8 : 1.5);
  }
  std::ofstream(root / "proc") << "5:cpu,cpuacct:/x\n4:memory:/y\n";
  fs::create_directories(root / "cpu/x");
  std::ofstream(root / "cpu/x/cpu.cfs_quota_us") << "50000\n";
  std::ofstream(root / "cpu/x/cpu.cfs_period_us") << "100000\n";
  EXPECT_EQ(cgroup_cpu_limit(root / "proc", root), 0.5);
  fs::remove_all(root);
}

TEST(ThreadPool, RegularCallsAndThoseThatStayAwayAllFinish) {
  ThreadPool pool(2);
  for (int i = 0; i < 30; ++i) {  // two are left out: the worker waits for them in vain
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 10 == 9 ? 15 : 3));
    ThreadPool::RunScope run(pool);
    check_every_task_once(pool, 8);
  }
}

// The CPUs that the calling process's thread may use.
cpu_set_t cpus_of(pid_t thread) {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(thread, sizeof set, &set), 0);
  return set;
}

std::vector<pid_t> threads_of_process() {
  std::vector<pid_t> threads;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
    threads.push_back(std::stoi(entry.path().filename()));
  return threads;
}

TEST(ThreadPool, WorkersAreWokenOnOtherCpusThanTheCallers) {
  const cpu_set_t before = cpus_of(0);
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "this process may use one CPU only";
  const std::vector<pid_t> others = threads_of_process();
  ThreadPool pool(2);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  cpu_set_t here;  // the caller must not move meanwhile
  CPU_ZERO(&here);
  CPU_SET(sched_getcpu(), &here);
  ASSERT_EQ(sched_setaffinity(0, sizeof here, &here), 0);
  {
    ThreadPool::RunScope run(pool);
    check_every_task_once(pool, 4);
  }
  for (pid_t thread : threads_of_process()) {
    if (std::find(others.begin(), others.end(), thread) != others.end()) continue;
    cpu_set_t expected = before;
    CPU_XOR(&expected, &expected, &here);
    const cpu_set_t found = cpus_of(thread);
    EXPECT_TRUE(CPU_EQUAL(&found, &expected));
  }
  EXPECT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(ThreadPool, AWorkerWithOneCpuKeepsIt) {
  const cpu_set_t before = cpus_of(0);
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(sched_getcpu(), &here);
  ASSERT_EQ(sched_setaffinity(0, sizeof here, &here), 0);
  {
    ThreadPool pool(2);  // its worker inherits the affinity
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    check_every_task_once(pool, 4);
  }
  EXPECT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(ThreadPool, WakingForARunThatNeverComesIsHarmless) {
  ThreadPool pool(3);
  for (int i = 0; i < 100; ++i) pool.wake();
  std::atomic<int> done{0};
  pool.parallel_for(7, [&](int, int) { ++done; });
  EXPECT_EQ(done, 7);
}

}  // namespace
}  // namespace blade
