// What bounds each step's time: judges the steps of blade_engine_profile() by what the machine can do.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "blade/blade.hpp"
#include "machine_limits.h"

namespace blade::command {

// The limits of the processor at the engine's thread count; nullopt where they are not known, or steps run on a GPU.
std::optional<MachineLimits> limits_for(const Engine& engine, const nlohmann::ordered_json& steps, bool measure_again);

// Adds floor_us, roofline (floor over time) and bound_by ("arithmetic", "memory" or "overhead") to each step.
void add_roofline(nlohmann::ordered_json& steps, const MachineLimits& limits);

// The share of the time of the steps that each bounds: {"arithmetic": 0.8, "memory": 0.15, "overhead": 0.05}.
nlohmann::ordered_json bound_shares(const nlohmann::ordered_json& steps);

}  // namespace blade::command
