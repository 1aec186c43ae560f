// Comparing two ways of doing the same work on a noisy machine: alternating blocks, medians, and a verdict only outside
// the noise.
#pragma once

#include <functional>
#include <vector>

#include "base/status.h"

namespace blade::optimizer {

struct TimingOptions {
  int rounds = 6;             // blocks of each side
  double block_s = 0.15;      // a block runs at least this long ...
  int min_runs_in_block = 5;  // ... and this often, after a warm-up of its own
  int max_runs_in_block = 200;
  double time_limit_s = 20;  // for the whole comparison; at least two rounds are done
};

struct Comparison {
  double before_ms = 0, after_ms = 0;  // medians over all timed runs
  bool faster = false;                 // outside the noise: the median is at least 1 % lower and most block pairs agree
  bool slower = false;
  double speedup() const { return after_ms > 0 ? before_ms / after_ms : 0; }
};

using Runnable = std::function<Status()>;

// Runs before, after, before, after, ... in blocks. The first failing run's error is returned.
Result<Comparison> compare(const Runnable& before, const Runnable& after, const TimingOptions& options);
// Median milliseconds of one side alone.
Result<double> measure(const Runnable& run, const TimingOptions& options);

}  // namespace blade::optimizer
