// Depthwise kernels for pixels in float16, which a step keeps between its convolutions: the processor multiplies 32 of
// them at once, where bfloat16 would be widened to two vectors of floats.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/depthwise.h"
#include "backends/cpu/matrix/depthwise_kernel.h"

namespace blade::backends::cpu {

inline constexpr int64_t kHalfChannels = 32;  // of a block
inline constexpr float kMostHalf = 65504;

// Sums are float16, too; results are bfloat16. DepthwiseArgs::pixels point to the bits of float16.
struct DepthwiseHalfKernels {
  DepthwiseKernel<BFloat16> fixed[2][2][kDepthwiseOutputs + 1] = {};  // as in DepthwiseKernels
  DepthwiseKernel<BFloat16> two_rows[2][kDepthwiseOutputs + 1] = {};
};
// Empty where the processor has no AVX512-FP16.
const DepthwiseHalfKernels& depthwise_half_kernels();

bool multiplies_halves(const DepthwiseShape& shape);

// What pixels may be at most, so that no sum of theirs with `weights` [kh][kw][channels] overflows.
float most_half_pixel(const DepthwiseShape& shape, const BFloat16* weights);

// DepthwiseArgs::half of them: for each block of channels and tap its channels, in float16.
size_t depthwise_half_bytes(const DepthwiseShape& shape);
void pack_depthwise_half(const DepthwiseShape& shape, const BFloat16* weights, uint16_t* to);

}  // namespace blade::backends::cpu
