// Depthwise convolution over 2 spatial dims: a thread computes neighbouring channels of one pixel. Filters are loaded
// before the wait for the layer before, and all taps of a pixel at once.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

template <class T>
struct alignas(sizeof(T) * kDepthwiseWidth) Channels {
  T v[kDepthwiseWidth];
};

using Sums = float[kDepthwiseWidth];

template <class T>
__device__ __forceinline__ void add_product(Sums& sums, const Channels<T>& x, const Channels<T>& w) {
#pragma unroll
  for (int i = 0; i < kDepthwiseWidth; ++i) sums[i] += to_float(x.v[i]) * to_float(w.v[i]);
}

// Residual, activation and the rest of all channels of a thread.
template <class T>
__device__ __forceinline__ void finish(const DepthwiseParams& p, Sums& sums, int channel, int64_t at) {
  const EpilogueParams& e = p.epilogue;
  if (e.residual != nullptr) {
    const auto residual = *reinterpret_cast<const Channels<T>*>(static_cast<const T*>(e.residual) + at);
#pragma unroll
    for (int i = 0; i < kDepthwiseWidth; ++i) sums[i] += to_float(residual.v[i]);
  }
  Channels<T> out;
#pragma unroll
  for (int i = 0; i < kDepthwiseWidth; ++i) {
    out.v[i] = from_float<T>(finish_element(e, sums[i], channel + i, at + i));
  }
  *reinterpret_cast<Channels<T>*>(static_cast<T*>(p.y) + at) = out;
}

// kWindow: the size of a square kernel, or 0 for any.
template <class T, int kWindow>
__global__ void __launch_bounds__(kDepthwiseThreads) depthwise(const __grid_constant__ DepthwiseParams p) {
  start_later();
  const int unit = static_cast<int>(blockIdx.x * kDepthwiseThreads + threadIdx.x);
  const bool valid = unit < p.units;
  const int pixel = divide(unit, p.channel_units);
  const int channel = (unit - pixel * static_cast<int>(p.channel_units.divisor)) * kDepthwiseWidth;
  const int row = divide(pixel, p.out_width), image = divide(row, p.out_height);
  const int x = (pixel - row * static_cast<int>(p.out_width.divisor)) * p.stride_w - p.pad_left;
  const int y = (row - image * static_cast<int>(p.out_height.divisor)) * p.stride_h - p.pad_top;
  const T* w = static_cast<const T*>(p.w) + channel;
  const T* from = static_cast<const T*>(p.x) + static_cast<int64_t>(image) * p.height * p.width * p.channels + channel;
  const auto inside = [&](int tap_y, int tap_x) {
    return static_cast<unsigned>(tap_y) < static_cast<unsigned>(p.height) &&
           static_cast<unsigned>(tap_x) < static_cast<unsigned>(p.width);
  };
  if (valid && p.epilogue.slopes != nullptr) touch(p.epilogue.slopes + channel);
  Sums sums = {};
  if (valid && p.epilogue.bias != nullptr) {
    const float4 bias = __ldg(reinterpret_cast<const float4*>(p.epilogue.bias + channel));
    sums[0] = bias.x, sums[1] = bias.y, sums[2] = bias.z, sums[3] = bias.w;
  }
  if constexpr (kWindow > 0) {
    constexpr int kTaps = kWindow * kWindow;
    Channels<T> filter[kTaps], taps[kTaps];
#pragma unroll
    for (int i = 0; i < kTaps; ++i) {
      filter[i] = valid ? *reinterpret_cast<const Channels<T>*>(w + i * p.channels) : Channels<T>();
    }
    wait_for_earlier();
#pragma unroll
    for (int i = 0; i < kTaps; ++i) {
      const int tap_y = y + i / kWindow * p.dilation_h, tap_x = x + i % kWindow * p.dilation_w;
      taps[i] = valid && inside(tap_y, tap_x)
                    ? *reinterpret_cast<const Channels<T>*>(from + (tap_y * p.width + tap_x) * p.channels)
                    : Channels<T>();
    }
#pragma unroll
    for (int i = 0; i < kTaps; ++i) add_product(sums, taps[i], filter[i]);
  } else {
    wait_for_earlier();
    for (int i = 0; valid && i < p.kernel_h; ++i) {
      for (int j = 0; j < p.kernel_w; ++j) {
        const int tap_y = y + i * p.dilation_h, tap_x = x + j * p.dilation_w;
        if (!inside(tap_y, tap_x)) continue;
        add_product(sums, *reinterpret_cast<const Channels<T>*>(from + (tap_y * p.width + tap_x) * p.channels),
                    *reinterpret_cast<const Channels<T>*>(w + (i * p.kernel_w + j) * p.channels));
      }
    }
  }
  if (valid) finish<T>(p, sums, channel, static_cast<int64_t>(pixel) * p.channels + channel);
}

template <class T>
const void* kernel_of(int window) {
  switch (window) {
    case 3:
      return reinterpret_cast<const void*>(&depthwise<T, 3>);
    case 5:
      return reinterpret_cast<const void*>(&depthwise<T, 5>);
    default:
      return reinterpret_cast<const void*>(&depthwise<T, 0>);
  }
}

}  // namespace

const void* depthwise_kernel(ElementType type, int window) {
  return all_forms([&]<class T>() { return kernel_of<T>(window); }).of(type);
}

}  // namespace blade::backends::cuda
