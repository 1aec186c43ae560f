// How long the caller of a pool takes to hand workers their tasks and to see that they are done. The cores of virtual
// machines move, within seconds, between places where that takes several times as long, so it is measured again and
// again.
#pragma once

#include <atomic>
#include <chrono>

namespace blade {

class HandOverTime {
 public:
  using Clock = std::chrono::steady_clock;

  HandOverTime();
  void run_begins(Clock::time_point now);
  // Once in each interval, for one thread.
  bool take_turn();
  void learn(Clock::duration hand_over);
  // Shorter work than this, on one thread, is done earlier if nobody else is told of it.
  double least_work_ns() const { return least_work_ns_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> due_{true};
  std::atomic<Clock::rep> next_{0};
  Clock::duration last_{Clock::duration::max()};  // its turn's thread's
  std::atomic<double> least_work_ns_;
};

}  // namespace blade
