// The transforms of Winograd's convolution, one tile of all its channels at a time.
#pragma once

#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "base/half.h"

namespace blade::backends::cpu {

inline constexpr int kMaxWinogradPoints = 36;

// V[x][0..channels) = (B^T d B)[x] for the (m + 2)^2 input pixels d; computed in float32, T: as what both are stored.
template <class T>
struct WinogradInputArgs {
  const T* pixels[kMaxWinogradPoints];
  int64_t channels;
  T* out;
  int64_t out_stride;  // elements from point x to x + 1
};

// The m^2 output pixels A^T M A, with the epilogue; pixels with a null `out` lie outside the image.
template <class T>
struct WinogradOutputArgs {
  const float* in;
  int64_t in_stride;
  int64_t channels;
  T* out[16];
  float* wide_out;        // where results go unrounded, instead of to `out`: [m * m][channels]; null: they are rounded
  const T* residual[16];  // all null without a residual
  int64_t residual_channels;
  const float* bias;
  const float* slope;
  float lo, hi;
  Gate gate;
  bool residual_last;
  const float* scale;
  const float* shift;
};

// Null where the instruction set has no kernels for T.
template <class T>
struct WinogradKernels {
  void (*input2)(const WinogradInputArgs<T>&) = nullptr;
  void (*input4)(const WinogradInputArgs<T>&) = nullptr;
  void (*output2)(const WinogradOutputArgs<T>&) = nullptr;
  void (*output4)(const WinogradOutputArgs<T>&) = nullptr;
};

// In bfloat16 there is F(2, 3) alone: the sums of F(4, 3) are too coarse there.
template <class T>
const WinogradKernels<T>& winograd_kernels();

}  // namespace blade::backends::cpu
