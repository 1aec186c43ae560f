// Depthwise 2-D convolution of float32 or bfloat16 activations (T) over NHWC: output channel c * multiplier + m sees
// input channel c alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/blocking.h"
#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/packed_b.h"
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
  int64_t group = 1;                       // input channels, and output channels, of a group: see has_grouped_kernel()
  MatrixUnit unit = MatrixUnit::kVectors;  // of the 1x1 behind it, in bfloat16
  Blocking blocking = {};                  // whose packed weights depend on its vectors

  // Input rows that so many output rows next to each other read, padding included.
  int64_t read_rows(int64_t rows) const { return (rows - 1) * stride_h + (kh - 1) * dilation_h + 1; }
  // Whether there are kernels for its size and stride.
  bool has_fixed_kernel() const {
    return kh == kw && (kh == 3 || kh == 5) && (stride_w == 1 || stride_w == 2) && dilation_w == 1;
  }
};

// Convolutions of some channels a group go the same way where a vector holds whole groups, or a group whole vectors.
bool has_grouped_kernel(const DepthwiseShape& shape);
// Their weights, from [kh][kw][group][c]: kGroupedChannels of each input of each tap side by side, zeros behind the
// last.
inline constexpr int64_t kGroupedChannels = 16;
size_t grouped_weights_bytes(const DepthwiseShape& shape);
void pack_grouped_weights(const DepthwiseShape& shape, const float* from, float* to);

// [kh][kw][c][multiplier] as TensorFlow stores them, in float32: no packing. For bfloat16 they may be there a second
// time, as pack_depthwise_pairs() or pack_depthwise_split() has them; pairs need nothing else, nor do those of
// pack_depthwise_half(), whose pixels are float16 (a step that may have to do without float16 has others beside them).
struct DepthwiseWeights {
  const float* wide = nullptr;
  const BFloat16* pairs = nullptr;
  const float* split = nullptr;
  const uint16_t* half = nullptr;
  const float* grouped = nullptr;  // of pack_grouped_weights()
  DepthwiseWeights() = default;
  DepthwiseWeights(const float* weights, const BFloat16* packed_pairs = nullptr,  // NOLINT: they are what they are
                   const float* packed_split = nullptr)                           // made of
      : wide(weights), pairs(packed_pairs), split(packed_split) {}
};

inline constexpr int64_t kMaxDepthwiseRows = 8;  // of a block or a strip
template <class T>
size_t depthwise_scratch_bytes(const DepthwiseShape& shape, int threads);
// Output rows that are computed together.
template <class T>
int64_t depthwise_block_rows(const DepthwiseShape& shape);
// `out` overlaps `in` nowhere.
template <class T>
void depthwise_conv2d(const DepthwiseShape& shape, const T* in, const DepthwiseWeights& weights, T* out,
                      const Epilogue<T>& epilogue, ThreadPool& pool, std::byte* scratch);

// A depthwise convolution (with its epilogue `between`) and the 1x1 convolution to `oc` channels that reads it, whose
// weights [c * multiplier][oc] are packed by pack_runs() as one run: what is between the two never leaves the cache.
// Strips that it works in, each of which reads all of the 1x1's weights.
template <class T>
int64_t separable_strip_rows(const DepthwiseShape& shape);
template <class T>
int64_t separable_strips(const DepthwiseShape& shape);
template <class T>
size_t separable_scratch_bytes(const DepthwiseShape& shape, int64_t oc, int threads);
template <class T>
void separable_conv2d(const DepthwiseShape& shape, int64_t oc, const T* in, const DepthwiseWeights& weights,
                      const void* packed, T* out, const Epilogue<T>& between, const Epilogue<T>& epilogue,
                      ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
