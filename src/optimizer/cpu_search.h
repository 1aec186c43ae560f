// What is decided by measuring on a CPU: the kernel of each piece of work, how it cuts that work, and which nodes are
// computed in one step.
#pragma once

#include "optimizer/busy_probe.h"
#include "optimizer/search.h"

namespace blade::optimizer {

// Times the alternatives of every distinct piece of work in whole runs, for each feed; those that beat the static
// choice outside the noise go to decisions.kernels. Takes what the cache of earlier runs knows without measuring.
// Bounded by a share of config.tuning.time_limit_s. Once `is_busy` finds other processes, nothing more is measured: the
// choices of earlier feeds and of the cache stay, the rest is predicted.
Status tune_on_cpu(const SearchInput& input, engine::Decisions& decisions, OptimizationStep& step,
                   const BusyProbe& is_busy = blade::optimizer::is_busy);

}  // namespace blade::optimizer
