// Latencies of engine runs, for the verbs that time.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "blade/blade.hpp"

namespace blade::command {

// Milliseconds of `runs` runs after `warmup` untimed ones, appended to `all`.
inline void time_runs(Engine& engine, const std::vector<blade_tensor>& inputs, int warmup, int runs,
                      std::vector<double>& all) {
  for (int i = -warmup; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    engine.run(inputs);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    if (i >= 0) all.push_back(took.count());
  }
}

// values must be sorted and not empty.
inline double percentile(const std::vector<double>& values, double percent) {
  const double at = percent / 100 * static_cast<double>(values.size() - 1);
  return values[static_cast<size_t>(at + 0.5)];
}

}  // namespace blade::command
