// Greedy-by-size arena planning.
#include "engine/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"

namespace blade::engine {
namespace {

struct Placed {
  size_t offset, end;
  int first, last;
};

// The start of the smallest gap of at least `bytes` among what lives at the same time; `placed` is sorted by offset.
size_t best_fit(const std::vector<Placed>& placed, const Interval& interval, size_t bytes) {
  size_t best = 0, best_gap = SIZE_MAX, end = 0;
  bool found = false;
  for (const Placed& other : placed) {
    if (other.last < interval.first || interval.last < other.first) continue;
    if (other.offset >= end + bytes && other.offset - end < best_gap) {
      best = end;
      best_gap = other.offset - end;
      found = true;
    }
    end = std::max(end, other.end);
  }
  return found ? best : end;
}

}  // namespace

MemoryPlan plan_memory(std::span<const Interval> intervals) {
  std::vector<size_t> order(intervals.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return intervals[a].bytes > intervals[b].bytes; });
  MemoryPlan plan;
  plan.offsets.resize(intervals.size(), 0);
  std::vector<Placed> placed;
  placed.reserve(intervals.size());
  for (size_t i : order) {
    const Interval& interval = intervals[i];
    if (interval.bytes == 0) continue;
    const size_t bytes = align_up(interval.bytes, kBufferAlignment);
    const Placed mine = {best_fit(placed, interval, bytes), 0, interval.first, interval.last};
    const auto at = std::upper_bound(placed.begin(), placed.end(), mine.offset,
                                     [](size_t offset, const Placed& p) { return offset < p.offset; });
    const auto it = placed.insert(at, mine);
    it->end = mine.offset + bytes;
    plan.offsets[i] = mine.offset;
    plan.bytes = std::max(plan.bytes, it->end);
  }
  return plan;
}

}  // namespace blade::engine
