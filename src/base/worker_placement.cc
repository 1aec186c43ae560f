#include "base/worker_placement.h"

#include <unistd.h>

namespace blade {
namespace {

constexpr std::chrono::steady_clock::duration kBetweenChanges = std::chrono::milliseconds(1);

}  // namespace

void WorkerPlacement::enlist(int worker) {
  workers_[worker].thread.store(gettid(), std::memory_order_release);
  kept_off_.store(-1, std::memory_order_release);  // the next wake-up places it as well
}

void WorkerPlacement::keep_off_this_cpu() {
  const int cpu = sched_getcpu();
  if (cpu < 0 || cpu >= CPU_SETSIZE || cpu == kept_off_.load(std::memory_order_acquire)) return;
  const std::chrono::steady_clock::rep now = std::chrono::steady_clock::now().time_since_epoch().count();
  const bool waits = kept_off_.load(std::memory_order_relaxed) >= 0 &&
                     now - changed_.load(std::memory_order_relaxed) < kBetweenChanges.count();
  if (waits || changing_.exchange(true, std::memory_order_acquire)) return;
  changed_.store(now, std::memory_order_relaxed);
  kept_off_.store(cpu, std::memory_order_release);
  for (Worker& worker : workers_) keep_off(worker, cpu);
  changing_.store(false, std::memory_order_release);
}

void WorkerPlacement::keep_off(Worker& worker, int cpu) {
  const pid_t thread = worker.thread.load(std::memory_order_acquire);
  cpu_set_t now;
  if (thread == 0 || sched_getaffinity(thread, sizeof now, &now) != 0) return;
  if (!CPU_EQUAL(&now, &worker.given)) worker.allowed = now;  // first time, or somebody else has placed it
  worker.given = worker.allowed;
  CPU_CLR(cpu, &worker.given);
  if (CPU_COUNT(&worker.given) == 0) worker.given = worker.allowed;
  if (!CPU_EQUAL(&now, &worker.given)) (void)sched_setaffinity(thread, sizeof worker.given, &worker.given);
}

}  // namespace blade
