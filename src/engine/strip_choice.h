// Depth-first execution: which steps run strip by strip, by a model of what that saves.
#pragma once

#include <span>
#include <vector>

#include "engine/strip_kernel.h"

namespace blade::engine {

// Strips are worth it where what is between steps leaves the last cache and would come back from memory, and cost
// calls, and copies of the rows that two strips need. Steps that are chosen become one of `fusion`.
void choose_strips(const ir::Graph& graph, std::span<const ir::NodeId> order, const Decisions& decisions,
                   const PlanOptions& options, Fusion& fusion);

// The key of a chain's stored choice (its steps, and which of them each one reads), the choice that it follows, and
// what else that may be.
std::string strips_signature(const StripChain& chain);
std::string strips_choice(const StripChain& chain);
std::vector<std::string> strips_alternatives(const StripChain& chain);

}  // namespace blade::engine
