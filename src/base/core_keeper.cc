#include "base/core_keeper.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <optional>
#include <system_error>
#include <utility>

#include "base/fork.h"
#include "base/futex.h"

namespace blade {

CoreKeeper::~CoreKeeper() {
  if (!thread_.joinable()) return;
  closing_.store(true);
  word_.fetch_add(1);
  futex_wake_all(word_);
  // A child of fork() has no such thread.
  if (getpid() == owner_) {
    thread_.join();
  } else {
    leave_to_parent(std::move(thread_));
  }
}

void CoreKeeper::call_begins() {
  const int cpu = sched_getcpu();
  // Callers that take turns on several CPUs would have the thread move for each call.
  const int last = last_cpu_.load(std::memory_order_relaxed);
  if (cpu != last) {
    last_cpu_.store(cpu, std::memory_order_relaxed);
  } else if (cpu != caller_cpu_.load(std::memory_order_relaxed)) {
    caller_cpu_.store(cpu, std::memory_order_relaxed);
  }
}

void CoreKeeper::start() {
  if (owner_ == 0) {
    owner_ = getpid();
    try {
      thread_ = std::thread([this] { loop(); });
    } catch (const std::system_error&) {
      // Calls only find a colder core.
    }
  } else if (asleep_.load(std::memory_order_acquire)) {
    word_.fetch_add(1, std::memory_order_seq_cst);
    futex_wake_all(word_);
  }
}

void CoreKeeper::loop() {
  (void)prctl(PR_SET_NAME, "blade-awake");
  // Never before the caller itself, nor anybody else who has work for that CPU.
  const sched_param none{};
  (void)sched_setscheduler(0, SCHED_BATCH, &none);
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 19);
  while (true) {
    const uint32_t word = word_.load();  // before `closing_`, which is set before the word changes
    if (closing_.load()) return;
    const auto expected = rhythm_.next();
    if (expected && CallRhythm::Clock::now() < expected->until) {
      follow_caller();
      futex_wait(word_, word, kLightSleep);
    } else {
      asleep_.store(true, std::memory_order_release);
      futex_wait(word_, word, std::nullopt);
      asleep_.store(false, std::memory_order_relaxed);
    }
  }
}

void CoreKeeper::follow_caller() {
  const int cpu = caller_cpu_.load(std::memory_order_relaxed);
  if (cpu == kept_cpu_ || cpu < 0 || cpu >= CPU_SETSIZE) return;
  kept_cpu_ = cpu;
  cpu_set_t there;
  CPU_ZERO(&there);
  CPU_SET(cpu, &there);
  (void)sched_setaffinity(0, sizeof there, &there);
}

}  // namespace blade
