// Depthwise 2-D convolution in fp32 over NHWC: output channel c * multiplier + m sees input channel c alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/epilogue_f32.h"
#include "base/thread_pool.h"

namespace blade::backends::cpu {

// Names as in Conv2DShape; the output has c * multiplier channels. Activations are dense.
struct DepthwiseShape {
  int64_t n = 1, h = 1, w = 1, c = 1;
  int64_t kh = 1, kw = 1, multiplier = 1;
  int64_t oh = 1, ow = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
};

size_t depthwise_scratch_bytes(const DepthwiseShape& shape, int threads);
// `weights` are [kh][kw][c][multiplier] as TensorFlow stores them: no packing. `out` overlaps `in` nowhere.
void depthwise_conv2d_f32(const DepthwiseShape& shape, const float* in, const float* weights, float* out,
                          const EpilogueF32& epilogue, ThreadPool& pool, std::byte* scratch);

// A depthwise convolution (with its epilogue `between`) and the 1x1 convolution to `oc` channels that reads it, whose
// weights [c * multiplier][oc] are packed by pack_b(): what is between the two never leaves the cache.
// Strips that it works in, each of which reads all of the 1x1's weights.
int64_t separable_strips(const DepthwiseShape& shape);
size_t separable_scratch_bytes(const DepthwiseShape& shape, int64_t oc, int threads);
void separable_conv2d_f32(const DepthwiseShape& shape, int64_t oc, const float* in, const float* weights,
                          const void* packed, float* out, const EpilogueF32& between, const EpilogueF32& epilogue,
                          ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
