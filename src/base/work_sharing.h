// Whether work is done earlier if other threads take a part of it. That depends on how long a pool's caller takes to
// hand tasks over and to see that they are done: the cores of virtual machines move, within seconds, between places
// where that takes several times as long, so it is measured again and again.
#pragma once

#include <atomic>
#include <chrono>

namespace blade {

class WorkSharing {
 public:
  using Clock = std::chrono::steady_clock;

  void run_begins(Clock::time_point now);
  // Whether to measure: once in each interval, for one thread.
  bool take_turn();
  void learn(Clock::duration hand_over);

  // Of work that takes one thread so long. What came before counts, too: among little work that one thread does, data
  // is in that thread's cache.
  bool pays(double work_ns);

 private:
  std::atomic<bool> due_{true}, shares_{true};
  std::atomic<Clock::rep> next_{0};
  Clock::duration last_{Clock::duration::max()};  // its turn's thread's
  std::atomic<double> hand_over_ns_{500};
  std::atomic<double> average_ns_{0};  // of the work of late
};

}  // namespace blade
