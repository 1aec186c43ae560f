// Greedy-by-size arena planning that keeps the halves of buffers with their cores.
#include "engine/memory_plan.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"

namespace blade::engine {
namespace {

struct Placed {
  size_t offset, end;
  int first, last;
};

// Buffers below this are not worth keeping with a core.
constexpr size_t kCentredBytes = 4096;
constexpr size_t kMaxMiddles = 32;

// Threads share a buffer by its rows, so what lies before its middle is in one core's cache and the rest in another's.
// Buffers that follow one another in memory around one middle stay with their cores. `middles`: of earlier buffers,
// none of which is smaller, those of the most similar size last. The start of a place that keeps a middle, or nothing.
std::optional<size_t> around_a_middle(const std::vector<Placed>& placed, const Interval& interval, size_t bytes,
                                      std::vector<size_t>& middles) {
  for (size_t i = middles.size(); i-- > 0;) {
    const size_t middle = middles[i];
    const size_t offset = (middle - bytes / 2) / kBufferAlignment * kBufferAlignment;
    const bool taken = std::any_of(placed.begin(), placed.end(), [&](const Placed& other) {
      const bool together = other.first <= interval.last && interval.first <= other.last;
      return together && other.offset < offset + bytes && offset < other.end;
    });
    if (taken) continue;
    middles.erase(middles.begin() + static_cast<ptrdiff_t>(i));
    middles.push_back(middle);
    return offset;
  }
  return std::nullopt;
}

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
  std::vector<size_t> middles;
  placed.reserve(intervals.size());
  for (size_t i : order) {
    const Interval& interval = intervals[i];
    if (interval.bytes == 0) continue;
    const size_t bytes = align_up(interval.bytes, kBufferAlignment);
    std::optional<size_t> offset;
    if (bytes >= kCentredBytes) offset = around_a_middle(placed, interval, bytes, middles);
    if (!offset) {
      offset = best_fit(placed, interval, bytes);
      if (bytes >= kCentredBytes) middles.push_back(*offset + bytes / 2);
      if (middles.size() > kMaxMiddles) middles.erase(middles.begin());
    }
    const Placed mine = {*offset, *offset + bytes, interval.first, interval.last};
    const auto at = std::upper_bound(placed.begin(), placed.end(), mine.offset,
                                     [](size_t offset, const Placed& p) { return offset < p.offset; });
    placed.insert(at, mine);
    plan.offsets[i] = mine.offset;
    plan.bytes = std::max(plan.bytes, mine.end);
  }
  return plan;
}

}  // namespace blade::engine
