// The transforms of Winograd's convolution, one tile of all its channels at a time.
#pragma once

#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"

namespace blade::backends::cpu {

inline constexpr int kMaxWinogradPoints = 36;

// V[x][0..channels) = (B^T d B)[x] for the (m + 2)^2 input pixels d.
struct WinogradInputArgs {
  const float* pixels[kMaxWinogradPoints];
  int64_t channels;
  float* out;
  int64_t out_stride;  // floats from point x to x + 1
};

// The m^2 output pixels A^T M A, with the epilogue; pixels with a null `out` lie outside the image.
struct WinogradOutputArgs {
  const float* in;
  int64_t in_stride;
  int64_t channels;
  float* out[16];
  const float* residual[16];  // all null without a residual
  int64_t residual_channels;
  const float* bias;
  const float* slope;
  float lo, hi;
  HardGate gate;
  bool residual_last;
  const float* scale;
  const float* shift;
};

struct WinogradKernels {
  void (*input2)(const WinogradInputArgs&);
  void (*input4)(const WinogradInputArgs&);
  void (*output2)(const WinogradOutputArgs&);
  void (*output4)(const WinogradOutputArgs&);
};

const WinogradKernels& winograd_kernels();

}  // namespace blade::backends::cpu
