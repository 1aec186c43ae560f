// Keeps the CPU that regular calls come from out of deep sleep. A core that sleeps for milliseconds loses its caches,
// and the call that wakes it waits for code, weights and page tables from memory: a tick every millisecond or two keeps
// its sleep light, for half a hundredth of its time.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "base/call_rhythm.h"

namespace blade {

class CoreKeeper {
 public:
  // The longest sleep of a core that is needed soon.
  static constexpr std::chrono::microseconds kLightSleep{1500};

  explicit CoreKeeper(const CallRhythm& rhythm) : rhythm_(rhythm) {}
  ~CoreKeeper();
  CoreKeeper(const CoreKeeper&) = delete;
  CoreKeeper& operator=(const CoreKeeper&) = delete;

  // By the caller, as a call begins.
  void call_begins();
  // By one thread that is not the caller, when `rhythm` has come to expect calls. Ends by itself when none comes.
  void start();

 private:
  void loop();
  void follow_caller();

  const CallRhythm& rhythm_;
  std::atomic<int> last_cpu_{-1};    // of the last call
  std::atomic<int> caller_cpu_{-1};  // of the last two calls in a row from one CPU
  std::atomic<uint32_t> word_{0};
  std::atomic<bool> asleep_{false}, closing_{false};
  int kept_cpu_ = -1;  // the thread's own
  pid_t owner_ = 0;
  std::thread thread_;  // made at the first start()
};

}  // namespace blade
