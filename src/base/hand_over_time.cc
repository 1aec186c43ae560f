#include "base/hand_over_time.h"

#include <algorithm>

namespace blade {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(3);
// Besides the hand-over itself, halves of what is computed cross between the cores, which takes longer the farther
// apart they are. Measured on two cores of a Zen 5 whose hand-over takes 0.15 us in one place and 0.8 us in another.
constexpr double kWorkOfHandOver = 1.7;
constexpr double kLeastWorkNs = 300;

double worthwhile_ns(HandOverTime::Clock::duration hand_over) {
  return kLeastWorkNs + kWorkOfHandOver * std::chrono::duration<double, std::nano>(hand_over).count();
}

}  // namespace

HandOverTime::HandOverTime() : least_work_ns_(worthwhile_ns(std::chrono::nanoseconds(500))) {}

void HandOverTime::run_begins(Clock::time_point now) {
  const Clock::rep time = now.time_since_epoch().count();
  if (time < next_.load(std::memory_order_relaxed)) return;
  next_.store(time + Clock::duration(kInterval).count(), std::memory_order_relaxed);
  due_.store(true, std::memory_order_relaxed);
}

bool HandOverTime::take_turn() {
  return due_.load(std::memory_order_relaxed) && due_.exchange(false, std::memory_order_relaxed);
}

// One that something else has held up does not count.
void HandOverTime::learn(Clock::duration hand_over) {
  least_work_ns_.store(worthwhile_ns(std::min(hand_over, last_)), std::memory_order_relaxed);
  last_ = hand_over;
}

}  // namespace blade
