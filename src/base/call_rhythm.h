// When the next call of a program that calls at regular intervals (frames of a camera) is to be expected, so that
// threads that serve it can be awake by then.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>

namespace blade {

class CallRhythm {
 public:
  using Clock = std::chrono::steady_clock;
  struct Expected {
    Clock::time_point from, until;
  };

  // Any thread; of calls that begin at once one counts.
  void call_begins(Clock::time_point now);
  // Of the call after the last one; nothing where the last intervals were irregular, or too short or long to count.
  std::optional<Expected> next() const;

 private:
  void learn(Clock::duration gap);

  std::atomic<bool> learning_{false};
  Clock::time_point last_{};  // these are the learning caller's
  Clock::duration interval_{0}, spread_{0};
  int regular_ = 0;
  std::atomic<Clock::rep> from_{0}, until_{0};  // 0: nothing is expected
};

}  // namespace blade
