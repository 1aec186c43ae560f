// 3-D convolution in fp32 over NDHWC activations and DHWIO weights: a tile product over a copy of the input with its
// padding written out, where a kernel row is one run of floats.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/packed_b.h"
#include "base/thread_pool.h"

namespace blade::backends::cpu {

// Spatial dims: depth, height, width. Padding at the ends follows from `out`.
struct Conv3DShape {
  int64_t n = 1, c = 1, oc = 1;
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1}, kernel[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1}, dilation[3] = {1, 1, 1}, pad_before[3] = {0, 0, 0};

  int64_t k() const { return kernel[0] * kernel[1] * kernel[2] * c; }
  int64_t output_pixels() const { return n * out[0] * out[1] * out[2]; }
};

size_t conv3d_scratch_bytes(const Conv3DShape& shape, int threads);
// `b`: pack_b() of the weights as a matrix [k()][oc]. `out` may be the residual.
void conv3d_f32(const Conv3DShape& shape, const float* in, const PackedB& b, float* out, const EpilogueF32& epilogue,
                ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
