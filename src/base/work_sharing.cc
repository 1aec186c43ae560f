#include "base/work_sharing.h"

#include <algorithm>

namespace blade {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(3);
constexpr double kLeastNs = 300;
// In hand-over times. Halves of what is computed cross between the cores, which takes longer the farther apart they
// are. Measured on two cores of a Zen 5 whose hand-over takes 0.13 us in one place and 0.55 us in another.
constexpr double kLeastShared = 1.7, kLeastAlone = 12;  // least work to share, among shared work and among what is not
constexpr double kShareFrom = 5.5, kShareUpTo = 4.5;    // average work, where that changes
constexpr double kMostCounted = 16;                     // towards the average
constexpr double kCounted = 32;                         // pieces of work that make it

}  // namespace

void WorkSharing::run_begins(Clock::time_point now) {
  const Clock::rep time = now.time_since_epoch().count();
  if (time < next_.load(std::memory_order_relaxed)) return;
  next_.store(time + Clock::duration(kInterval).count(), std::memory_order_relaxed);
  due_.store(true, std::memory_order_relaxed);
}

bool WorkSharing::take_turn() {
  return due_.load(std::memory_order_relaxed) && due_.exchange(false, std::memory_order_relaxed);
}

// One that something else has held up does not count.
void WorkSharing::learn(Clock::duration hand_over) {
  const std::chrono::duration<double, std::nano> shorter = std::min(hand_over, last_);
  hand_over_ns_.store(shorter.count(), std::memory_order_relaxed);
  last_ = hand_over;
}

bool WorkSharing::pays(double work_ns) {
  const double hand_over = hand_over_ns_.load(std::memory_order_relaxed);
  double average = average_ns_.load(std::memory_order_relaxed);
  average += (std::min(work_ns, kMostCounted * hand_over) - average) / kCounted;
  average_ns_.store(average, std::memory_order_relaxed);
  const bool shared = shares_.load(std::memory_order_relaxed);
  const bool shares = average >= (shared ? kShareUpTo : kShareFrom) * hand_over;
  if (shares != shared) shares_.store(shares, std::memory_order_relaxed);
  return work_ns >= (shares ? kLeastNs + kLeastShared * hand_over : kLeastAlone * hand_over);
}

}  // namespace blade
