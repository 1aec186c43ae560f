// What first layers of image networks share: patches of few channels, padded to 4, sums that become lines of 64
// channels in shared memory, and the max pool that reads these.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/cuda/kernels/tensor_core.cuh"

namespace blade::backends::cuda {

template <class T>
inline constexpr uint32_t kMinusInfinity = std::is_same_v<T, __nv_bfloat16> ? 0xff80ff80u : 0xfc00fc00u;  // two of T

// A pixel of an image of X as four of T, zeros outside.
template <class T, class X>
__device__ __forceinline__ uint2 stem_pixel(const StemParams& p, const X* image, int y, int x, bool exists) {
  const bool inside = exists && y >= 0 && y < p.height && x >= 0 && x < p.width;
  const X* pixel = image + (y * p.width + x) * p.in_channels;
  T values[4];
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    values[c] = from_float<T>(inside && c < p.in_channels ? to_float(pixel[c]) : 0.0f);
  }
  return *reinterpret_cast<const uint2*>(values);
}
template <class T>
__device__ __forceinline__ const T* image_of(const StemParams& p, int image) {
  return static_cast<const T*>(p.x) + static_cast<int64_t>(image) * p.height * p.width * p.in_channels;
}

using StemSums = float[kStemColumns / 8][4];

__device__ __forceinline__ void start_with_bias(const StemParams& p, StemSums& sums, int first_channel) {
#pragma unroll
  for (int j = 0; j < kStemColumns / 8; ++j) {
    float2 bias = make_float2(0, 0);
    if (p.epilogue.bias != nullptr) {
      const int channel = first_channel + j * 8 + (static_cast<int>(threadIdx.x) & 3) * 2;
      bias = __ldg(reinterpret_cast<const float2*>(p.epilogue.bias + channel));
    }
    sums[j][0] = sums[j][2] = bias.x;
    sums[j][1] = sums[j][3] = bias.y;
  }
}

// A warp's 16 pixels by 64 channels, clamped, as lines of 128 bytes in shared memory. A lane holds channels of two
// pixels; those that are not valid become minus infinity.
template <class T>
__device__ __forceinline__ void put_lines(const StemParams& p, const StemSums& sums, uint32_t lines, bool first_valid,
                                          bool second_valid) {
  const int lane = static_cast<int>(threadIdx.x) & 31, row = lane & 15;
  const Pair<T> lo = to_pair<T>(p.epilogue.lo, p.epilogue.lo), hi = to_pair<T>(p.epilogue.hi, p.epilogue.hi);
#pragma unroll
  for (int j = 0; j < kStemColumns / 8; j += 2) {
    uint32_t bits[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float* pair = &sums[j + k / 2][k % 2 * 2];
      Pair<T> both = to_pair<T>(pair[0], pair[1]);
      if (p.epilogue.has_clamp) both = __hmin2_nan(__hmax2_nan(both, lo), hi);
      bits[k] = (k % 2 == 0 ? first_valid : second_valid) ? reinterpret_cast<const uint32_t&>(both) : kMinusInfinity<T>;
    }
    const uint32_t at = lines + row * 128 + (((j + (lane >> 4)) ^ (row & 7)) << 4);
#if __CUDA_ARCH__ >= 900
    store_matrices(at, bits);
#else
    (void)at;
    // Of the four matrices, lane i holds row i / 4, pair i % 4.
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int own = (lane >> 2) + k % 2 * 8;
      const uint32_t to = lines + own * 128 + (((j + k / 2) ^ (own & 7)) << 4) + (lane & 3) * 4;
      asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(bits[k]) : "memory");
    }
#endif
  }
}

template <class T>
__device__ __forceinline__ void max_of(uint4& folded, const uint4& other) {
  Pair<T>* a = reinterpret_cast<Pair<T>*>(&folded);
  const Pair<T>* b = reinterpret_cast<const Pair<T>*>(&other);
#pragma unroll
  for (int i = 0; i < 4; ++i) a[i] = __hmax2_nan(a[i], b[i]);
}

// Folds the windows of a tile whose convolution stands in lines.
template <class T>
__device__ __forceinline__ void pool_lines(const PooledStemParams& p, const uint8_t* lines, int image, int first_y,
                                           int first_x, int first_channel) {
  const int width = static_cast<int>(p.tile_width.divisor), conv_width = static_cast<int>(p.conv_width.divisor);
  const int piece = static_cast<int>(threadIdx.x) & 7, channel = first_channel + piece * 8;
  if (channel >= p.conv.channels) return;
  for (int i = static_cast<int>(threadIdx.x) >> 3; i < p.tile_height * width; i += kStemThreads / 8) {
    const int tile_y = divide(i, p.tile_width), tile_x = i - tile_y * width;
    const int y = first_y + tile_y, x = first_x + tile_x;
    if (y >= p.height || x >= p.width) continue;
    const int corner = tile_y * p.stride_h * conv_width + tile_x * p.stride_w;
    constexpr uint32_t kLeast = kMinusInfinity<T>;
    uint4 folded = make_uint4(kLeast, kLeast, kLeast, kLeast);
    const auto fold = [&](int dy, int dx) {
      const int pixel = corner + dy * conv_width + dx;
      max_of<T>(folded, *reinterpret_cast<const uint4*>(lines + pixel * 128 + ((piece ^ (pixel & 7)) << 4)));
    };
    if (p.window_h == 3 && p.window_w == 3) {  // most are: all loads under way at once
#pragma unroll
      for (int k = 0; k < 9; ++k) fold(k / 3, k % 3);
    } else {
      for (int dy = 0; dy < p.window_h; ++dy) {
        for (int dx = 0; dx < p.window_w; ++dx) fold(dy, dx);
      }
    }
    const int64_t at = static_cast<int64_t>((image * p.height + y) * p.width + x) * p.conv.channels + channel;
    *reinterpret_cast<uint4*>(static_cast<T*>(p.conv.y) + at) = folded;
  }
}

}  // namespace blade::backends::cuda
