// The inner loops of depthwise convolution: a few neighbouring outputs of one row, over all channels.
#pragma once

#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "base/half.h"

namespace blade::backends::cpu {

inline constexpr int kDepthwiseOutputs = 8;  // outputs a call, at most

// T: what pixels are stored as. Weights, sums and the epilogue are float32.
template <class T>
struct DepthwiseArgs {
  // The input pixel of output x under tap (i, j) is pixels[i * row_step + j * column_step + x * stride]; the fixed
  // kernels have column_step 1, and their kh, kw and stride are their own.
  const T* const* pixels = nullptr;
  int64_t row_step = 0, column_step = 1, stride = 1;
  int64_t kh = 0, kw = 0;
  const float* weights = nullptr;   // [kh * kw][channels]
  const BFloat16* pairs = nullptr;  // the same for depthwise_pair_kernels()
  const float* split = nullptr;     // and for depthwise_split_kernels()
  const uint16_t* half = nullptr;   // and for depthwise_half_kernels()
  const float* grouped = nullptr;   // those of pack_grouped_weights(), for groups of so many channels
  int64_t group = 1;
  bool* not_finite = nullptr;  // becomes true where one of their sums is not finite; null: none can be
  int64_t channels = 0;
  int64_t first = 0, last = 0;  // those that the call computes
  T* out = nullptr;             // [outputs][channels]
  // Of kernels for two rows, from the first to the second: elements of the output and of the residual.
  int64_t out_row_step = 0, residual_row_step = 0;
  float* wide_out = nullptr;  // where results go unrounded, instead of to `out`
  const T* residual = nullptr;
  int64_t residual_stride = 0;
  int64_t residual_channels = 0;
  const float* bias = nullptr;
  const float* slope = nullptr;
  float lo = 0, hi = 0;
  Gate gate;
  bool residual_last = false;
  const float* scale = nullptr;
  const float* shift = nullptr;
};

template <class T>
using DepthwiseKernel = void (*)(const DepthwiseArgs<T>&);

// Empty where there are no tile_kernels<T>().
template <class T>
struct DepthwiseKernels {
  // By outputs; kernel sizes 3x3 and 5x5 at strides 1 and 2 share loads between neighbours.
  DepthwiseKernel<T> fixed[2][2][kDepthwiseOutputs + 1] = {};  // [3x3, 5x5][stride - 1]
  DepthwiseKernel<T> general[kDepthwiseOutputs + 1] = {};
  // The same outputs of two neighbouring rows, which share most of their pixels: stride 1; null where registers are
  // few.
  DepthwiseKernel<T> two_rows[2][kDepthwiseOutputs + 1] = {};  // [3x3, 5x5]
};

// Of convolutions with some channels a group, 3x3; null where vectors are short or registers few.
struct GroupedKernels {
  int64_t lanes = 0;                                               // of a vector
  DepthwiseKernel<float> fixed[2][2][kDepthwiseOutputs + 1] = {};  // [groups of whole vectors][stride - 1]
  DepthwiseKernel<float> two_rows[2][kDepthwiseOutputs + 1] = {};  // [groups of whole vectors]
};
const GroupedKernels& grouped_kernels();

template <class T>
const DepthwiseKernels<T>& depthwise_kernels();

}  // namespace blade::backends::cpu
