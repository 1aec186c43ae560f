// Depthwise kernels for bfloat16 that multiply in float32, where dot products of pairs are slow: a load of 32 channels
// becomes its even channels by a shift and its odd ones by a mask.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/depthwise.h"
#include "backends/cpu/matrix/depthwise_kernel.h"

namespace blade::backends::cpu {

inline constexpr int64_t kSplitChannels = 32;  // of a block

struct DepthwiseSplitKernels {
  DepthwiseKernel<BFloat16> fixed[2][2][kDepthwiseOutputs + 1] = {};  // as in DepthwiseKernels
  DepthwiseKernel<BFloat16> two_rows[2][kDepthwiseOutputs + 1] = {};
};
// Empty where the processor does not round to bfloat16.
const DepthwiseSplitKernels& depthwise_split_kernels();

// Channels that the kernels take, from the first on; the others, fewer than half a block, are left to
// depthwise_kernels(). 0 where the shape is none for them.
int64_t split_channels(const DepthwiseShape& shape);

// DepthwiseArgs::split of `weights` [kh][kw][channels]: for each block of channels and tap the even ones, then the odd.
size_t depthwise_split_bytes(const DepthwiseShape& shape);
void pack_depthwise_split(const DepthwiseShape& shape, const BFloat16* weights, float* to);

}  // namespace blade::backends::cpu
