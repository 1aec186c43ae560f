// Depthwise kernels for bfloat16 that multiply pairs: the pixels of two kernel rows lie in one register, so that a dot
// product of pairs takes two taps of a channel at once and nothing is widened.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/depthwise.h"
#include "backends/cpu/matrix/depthwise_kernel.h"

namespace blade::backends::cpu {

inline constexpr int64_t kPairChannels = 32;  // of a block: twice the lanes of a vector of sums

struct DepthwisePairKernels {
  DepthwiseKernel<BFloat16> fixed[2][2][kDepthwiseOutputs + 1] = {};  // [3x3, 5x5][stride - 1][outputs]
};
// Empty where the processor has no dot products of bfloat16.
const DepthwisePairKernels& depthwise_pair_kernels();

// Whether the kernels take the shape; they do where blocks of channels are not mostly empty.
bool multiplies_pairs(const DepthwiseShape& shape);

// DepthwiseArgs::pairs of `weights` [kh][kw][channels]: for each block of channels, pair of kernel rows (the last one
// may be half empty) and tap of a row the weights of its lower and its upper sums.
size_t depthwise_pair_bytes(const DepthwiseShape& shape);
void pack_depthwise_pairs(const DepthwiseShape& shape, const BFloat16* weights, BFloat16* to);

}  // namespace blade::backends::cpu
