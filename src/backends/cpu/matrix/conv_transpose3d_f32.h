// Transposed 3-D convolution (TensorFlow's Conv3DBackpropInput) in fp32 over NDHWC.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "base/thread_pool.h"

namespace blade::backends::cpu {

// As ConvTransposeShape, with depth, height and width.
struct ConvTranspose3DShape {
  int64_t n = 1, c = 1, oc = 1;
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1}, kernel[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1}, pad_before[3] = {0, 0, 0};
};

// Weights [kd][kh][kw][oc][c] as TensorFlow stores them; packed for this kernel, stride and padding.
size_t packed_conv_transpose3d_bytes(const ConvTranspose3DShape& shape);
void pack_conv_transpose3d_weights(const ConvTranspose3DShape& shape, const float* weights, void* to);
size_t conv_transpose3d_scratch_bytes(const ConvTranspose3DShape& shape, int threads);
// `out` may be the residual.
void conv_transpose3d_f32(const ConvTranspose3DShape& shape, const float* in, const void* packed, float* out,
                          const EpilogueF32& epilogue, ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
