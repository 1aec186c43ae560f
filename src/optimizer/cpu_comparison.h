// Whether a model that was optimized for a GPU would be faster on the CPU of the same machine.
#pragma once

#include <string>

#include "engine/engine.h"
#include "optimizer/test_data.h"

namespace blade::optimizer {

// A sentence where an engine of the whole graph on the CPU, rewritten but not tuned, takes clearly less time for the
// feed than the engine of these decisions and options; empty where it does not, or where one of them cannot be run.
std::string faster_on_cpu(const ir::Graph& graph, const Feed& feed, const engine::Decisions& decisions,
                          const engine::EngineOptions& options);

}  // namespace blade::optimizer
