#include "base/call_rhythm.h"

#include <algorithm>

namespace blade {
namespace {

using std::chrono::microseconds;
constexpr CallRhythm::Clock::duration kShortest = microseconds(500), kLongest = microseconds(200'000);
constexpr CallRhythm::Clock::duration kLeastSlack = microseconds(150);
constexpr int kSlackShare = 16;  // at most this part of an interval is spent waiting before and after the expected time
constexpr int kFitShare = 8;     // intervals that differ by no more than this part are regular
constexpr int kRegular = 2, kMostRegular = 4;  // one call out of step among regular ones changes nothing

}  // namespace

void CallRhythm::call_begins(Clock::time_point now) {
  if (learning_.exchange(true, std::memory_order_acquire)) return;
  learn(now - last_);
  last_ = now;
  if (regular_ >= kRegular) {
    const Clock::duration slack = std::min(kLeastSlack + 2 * spread_, interval_ / kSlackShare);
    const Clock::time_point expected = now + interval_;
    from_.store((expected - slack).time_since_epoch().count(), std::memory_order_relaxed);
    until_.store((expected + slack).time_since_epoch().count(), std::memory_order_relaxed);
  } else {
    until_.store(0, std::memory_order_relaxed);
  }
  learning_.store(false, std::memory_order_release);
}

void CallRhythm::learn(Clock::duration gap) {
  const Clock::duration off = gap > interval_ ? gap - interval_ : interval_ - gap;
  if (gap >= kShortest && gap <= kLongest && off <= interval_ / kFitShare) {
    regular_ = std::min(regular_ + 1, kMostRegular);
    interval_ += (gap - interval_) / 4;
    spread_ += (off - spread_) / 4;
    return;
  }
  regular_ = std::max(regular_ - kRegular, 0);
  if (regular_ > 0) return;
  interval_ = gap;
  spread_ = gap / (4 * kSlackShare);
}

std::optional<CallRhythm::Expected> CallRhythm::next() const {
  const Clock::rep until = until_.load(std::memory_order_relaxed);
  if (until == 0) return std::nullopt;
  return Expected{Clock::time_point(Clock::duration(from_.load(std::memory_order_relaxed))),
                  Clock::time_point(Clock::duration(until))};
}

}  // namespace blade
