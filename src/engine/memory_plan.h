// Where each buffer of a run stands in one arena: buffers whose lives overlap never overlap in memory.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace blade::engine {

// A buffer that is in use from step `first` to step `last`, both included.
struct Interval {
  int first = 0, last = 0;
  size_t bytes = 0;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  // one an interval, multiples of 64; 0 where bytes is 0
  size_t bytes = 0;             // of the arena
};

// Greedy by size: the largest first, each around the middle of a buffer that it shares no time with, so that the halves
// stay in the caches of their cores, else into the smallest gap that its neighbours in time leave. Pure.
MemoryPlan plan_memory(std::span<const Interval> intervals);

}  // namespace blade::engine
