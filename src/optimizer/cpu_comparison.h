// Whether a model that was optimized for a GPU would be faster on the CPU of the same machine.
#pragma once

#include <string>

#include "ir/graph.h"
#include "optimizer/test_data.h"

namespace blade::optimizer {

// A sentence where the CPU engine, with rewriting but without tuning, takes less than `gpu_ms` for the feed; else
// empty.
Result<std::string> faster_on_cpu(const ir::Graph& graph, const Feed& feed, int num_threads, double gpu_ms);

}  // namespace blade::optimizer
