// The CUDA backend of this process, loaded from libblade_cuda.so at first use.
#pragma once

#include "backends/device.h"

namespace blade::backends {

// The first GPU that can be used, or one sentence that says why there is none (not in this build, no driver, no card,
// a card or driver that is too old). The same answer for the life of the process; thread-safe.
const Result<Device*>& cuda_device();

}  // namespace blade::backends
