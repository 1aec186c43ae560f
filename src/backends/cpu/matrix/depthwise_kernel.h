// The inner loops of depthwise convolution: a few neighbouring outputs of one row, over all channels.
#pragma once

#include <cstdint>

namespace blade::backends::cpu {

inline constexpr int kDepthwiseOutputs = 8;  // outputs a call, at most

struct DepthwiseArgs {
  // Input pixels: [kh][columns] for the fixed kernels, columns = (outputs - 1) * stride + kw; [kh * kw][outputs] for
  // the general one.
  const float* const* pixels = nullptr;
  const float* weights = nullptr;  // [kh * kw][channels]
  int64_t channels = 0;
  int64_t taps = 0;      // general kernel only
  float* out = nullptr;  // [outputs][channels]
  const float* residual = nullptr;
  int64_t residual_stride = 0;
  const float* bias = nullptr;
  float lo = 0, hi = 0;
};

using DepthwiseKernel = void (*)(const DepthwiseArgs&);

struct DepthwiseKernels {
  // By outputs; kernel sizes 3x3 and 5x5 at strides 1 and 2 share loads between neighbours.
  DepthwiseKernel fixed[2][2][kDepthwiseOutputs + 1] = {};  // [3x3, 5x5][stride - 1]
  DepthwiseKernel general[kDepthwiseOutputs + 1] = {};
};

const DepthwiseKernels& depthwise_kernels();

}  // namespace blade::backends::cpu
