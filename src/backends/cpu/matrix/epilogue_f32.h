// What a matrix kernel does to a finished tile before it leaves the registers.
#pragma once

#include <cstdint>
#include <limits>

namespace blade::backends::cpu {

// out = clamp(product + bias[channel] + residual[pixel][channel], lo, hi), then `generic` if set.
struct EpilogueF32 {
  using RowFunction = void (*)(void* context, float* row, int64_t pixel, int64_t first_channel, int channels);

  const float* bias = nullptr;      // one value an output channel, or null
  const float* residual = nullptr;  // shape of the output, or null; may be the output itself
  int64_t residual_row_stride = 0;  // floats from one pixel (row) of `residual` to the next
  float clamp_lo = -std::numeric_limits<float>::infinity();
  float clamp_hi = std::numeric_limits<float>::infinity();
  // Called for each row segment of a tile that is still hot in L1, from any thread: any element-wise activation.
  RowFunction generic = nullptr;
  void* context = nullptr;

  // The same epilogue for channels [channel, ...) of every pixel: for groups and concatenated outputs.
  EpilogueF32 from_channel(int64_t channel) const {
    EpilogueF32 e = *this;
    if (bias != nullptr) e.bias += channel;
    if (residual != nullptr) e.residual += channel;
    return e;
  }
};

}  // namespace blade::backends::cpu
