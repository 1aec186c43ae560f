// The CUDA backend of this process, loaded from libblade_cuda.so at first use.
#pragma once

#include <string>

#include "backends/device.h"

namespace blade::backends {

// The first GPU that can be used, or one sentence that says why there is none (not in this build, no driver, no card,
// a card or driver that is too old). The same answer for the life of the process; thread-safe.
const Result<Device*>& cuda_device();

// The newest CUDA that the driver runs, as "13.0"; "" where there is none.
std::string cuda_version();

}  // namespace blade::backends
