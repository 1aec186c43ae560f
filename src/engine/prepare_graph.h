// What happens to a graph before the engine plans it.
#pragma once

#include "engine/engine.h"

namespace blade::engine {

// The passes that `decisions` leave on.
Status run_region_passes(ir::Graph& graph, const Decisions& decisions, const EngineOptions& options);

// The passes, then checks that the engine can run what is left, in the decisions' profile.
Status prepare_graph(ir::Graph& graph, const Decisions& decisions, const EngineOptions& options);

}  // namespace blade::engine
