// Keeps the workers of a pool off the CPU of the thread that wakes them. A virtual machine's kernel takes idle CPUs for
// taken (their host has put them aside) and wakes threads on the waker's own CPU, behind the waker: they began 1.8 ms
// later there, and 0.08 on the other CPU.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <vector>

namespace blade {

class WorkerPlacement {
 public:
  explicit WorkerPlacement(int workers) : workers_(workers) {}

  // By the worker itself, before it first sleeps.
  void enlist(int worker);
  // Before a wake-up: no worker may run on the CPU of the calling thread, unless it may run nowhere else. System calls
  // only where that CPU is another one than last time, and not for callers on several CPUs that take turns at once.
  void keep_off_this_cpu();

 private:
  struct Worker {
    std::atomic<pid_t> thread{0};
    cpu_set_t allowed{}, given{};  // by the user; by us
  };
  static void keep_off(Worker& worker, int cpu);

  std::vector<Worker> workers_;
  std::atomic<bool> changing_{false};
  std::atomic<int> kept_off_{-1};
  std::atomic<std::chrono::steady_clock::rep> changed_{0};
};

}  // namespace blade
