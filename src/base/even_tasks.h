// How many tasks work becomes.
#pragma once

#include <algorithm>
#include <cstdint>

namespace blade {

// About `wanted` tasks, at most `most`: as wanted where that is less than one a thread, else as many for each. Shares
// that are equal from layer to layer stay in the caches of their cores; what crosses costs more than a thread that
// waits.
inline int64_t even_tasks(int64_t wanted, int threads, int64_t most) {
  if (wanted <= 1 || threads <= 1 || most <= 1) return 1;
  if (std::min(wanted, most) < threads) return std::min(wanted, most);
  const int64_t rounds = (wanted + threads - 1) / threads, most_rounds = most / threads;
  return std::min(rounds, most_rounds) * threads;
}

}  // namespace blade
