// A device of whose memory an engine may hold only so much.
#pragma once

#include <memory>

#include "backends/kernel.h"

namespace blade::engine {

// Forwards to `device`, which has to outlive it, and counts what its buffers hold against the limit.
std::unique_ptr<backends::Device> limited_device(backends::Device& device, size_t limit_bytes);

}  // namespace blade::engine
