// The limit of the kernel that convolves volumes in bfloat16, for the pass that decides which volumes are bfloat16.
#pragma once

#include <cstdint>

namespace blade::backends {

inline constexpr int64_t kMostDepthTaps = 16;

}  // namespace blade::backends
