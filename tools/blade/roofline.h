// What bounds each step's time: judges the steps of blade_engine_profile() by what the machine can do.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "blade/blade.hpp"
#include "machine_limits.h"

namespace blade::command {

// Adds floor_us, roofline (floor over time) and bound_by ("arithmetic", "memory" or "overhead") to each step, by the
// limits of the processor at the engine's thread count, which it returns; nothing where they are not known, or steps
// run on a GPU. Limits kept from earlier that a step exceeds were measured on a busy machine: they are measured again.
std::optional<MachineLimits> add_roofline(const Engine& engine, nlohmann::ordered_json& steps, bool measure_again);

// A step can be no faster than its arithmetic at the machine's peak, which this returns in microseconds, and its bytes
// at the bandwidth of its working set. One of several steps does the arithmetic of each on that one's unit, and moves
// only bytes of its own: what lies between its steps stays in cache.
double judge_step(nlohmann::ordered_json& step, const MachineLimits& limits);

// Whether a step is faster than the limits that it was judged by allow.
bool exceeds_limits(const nlohmann::ordered_json& steps);

// The share of the time of the steps that each bounds: {"arithmetic": 0.8, "memory": 0.15, "overhead": 0.05}.
nlohmann::ordered_json bound_shares(const nlohmann::ordered_json& steps);

}  // namespace blade::command
