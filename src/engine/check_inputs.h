// What callers hand over is checked before anything is computed from it.
#pragma once

#include <span>
#include <string>

#include "base/status.h"
#include "engine/engine.h"

namespace blade::engine {

// Number, dtypes, addresses and alignment; shapes are the planner's.
Status check_inputs(std::span<const TensorRef> given, std::span<const TensorInfo> inputs);

// `what` opens the sentence: "Input 'x'".
Status check_device_address(const std::string& what, const void* data);

}  // namespace blade::engine
