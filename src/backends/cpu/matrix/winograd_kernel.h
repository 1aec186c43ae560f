// The transforms of Winograd's convolution, one tile of all its channels at a time.
#pragma once

#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/winograd_points.h"
#include "base/half.h"

namespace blade::backends::cpu {

inline constexpr int kMaxWinogradPoints = 36;
inline constexpr int kMaxAxisOutputs = 4;

// V[x][0..channels) = (B^T d B)[x], or (B^T d)[x] in one dim, for the input pixels d of a tile, as many as points;
// computed in float32, T: as what both are stored.
template <class T>
struct WinogradInputArgs {
  const T* pixels[kMaxWinogradPoints];
  int64_t channels;
  T* out;
  int64_t out_stride;  // elements from point x to x + 1
};

// The output pixels A^T M A, or A^T M, with the epilogue; pixels with a null `out` lie outside the image.
template <class T>
struct WinogradOutputArgs {
  const float* in;
  int64_t in_stride;
  int64_t channels;
  T* out[kMaxAxisOutputs * kMaxAxisOutputs];
  float* wide_out;  // where results go unrounded, instead of to `out`: [pixel][channels]; null: they are rounded
  const T* residual[kMaxAxisOutputs * kMaxAxisOutputs];  // all null without a residual
  int64_t residual_channels;
  const float* bias;
  const float* slope;
  float lo, hi;
  Gate gate;
  bool residual_last;
  const float* scale;
  const float* shift;
};

// By the number of transformed dims (1 or 2), points and outputs along each; null where there is none for T.
template <class T>
struct WinogradKernels {
  void (*input[3][kMaxAxisPoints + 1])(const WinogradInputArgs<T>&) = {};
  void (*output[3][kMaxAxisPoints + 1][kMaxAxisOutputs + 1])(const WinogradOutputArgs<T>&) = {};
};

// In bfloat16 there is nothing of eight points and four outputs, and of ten points: their sums are too coarse there.
template <class T>
const WinogradKernels<T>& winograd_kernels();

}  // namespace blade::backends::cpu
