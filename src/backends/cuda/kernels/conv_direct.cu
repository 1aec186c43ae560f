// Convolutions with groups and transposed ones, by their definition.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

template <class T>
__device__ void finish(const DirectConvParams& p, float value, int channel, int64_t at) {
  if (p.epilogue.bias != nullptr) value += p.epilogue.bias[channel];
  if (p.epilogue.residual != nullptr) value += to_float(static_cast<const T*>(p.epilogue.residual)[at]);
  static_cast<T*>(p.y)[at] = from_float<T>(finish_element(p.epilogue, value, channel, at));
}

struct Position {
  int at[3], channel;
  int64_t image;
  __device__ Position(const DirectConvParams& p, int element) {
    channel = element % p.channels;
    int rest = element / p.channels;
    for (int d = 2; d >= 0; --d) {
      at[d] = rest % p.out[d];
      rest /= p.out[d];
    }
    image = rest;
  }
};

// One output element a thread; weights [size..., group_in, channels].
template <class T>
__global__ void __launch_bounds__(kSimpleThreads) direct_conv(const __grid_constant__ DirectConvParams p) {
  start_later();
  wait_for_earlier();
  const int element = static_cast<int>(blockIdx.x * kSimpleThreads + threadIdx.x);
  if (element >= p.count) return;
  const Position o(p, element);
  const int first_in = o.channel / p.group_out * p.group_in;
  const T* x = static_cast<const T*>(p.x) + o.image * p.in[0] * p.in[1] * p.in[2] * p.in_channels + first_in;
  const T* w = static_cast<const T*>(p.w) + o.channel;
  float sum = 0;
  for (int z = 0; z < p.size[0]; ++z) {
    const int in_z = o.at[0] * p.stride[0] - p.pad[0] + z * p.dilation[0];
    if (in_z < 0 || in_z >= p.in[0]) continue;
    for (int y = 0; y < p.size[1]; ++y) {
      const int in_y = o.at[1] * p.stride[1] - p.pad[1] + y * p.dilation[1];
      if (in_y < 0 || in_y >= p.in[1]) continue;
      for (int i = 0; i < p.size[2]; ++i) {
        const int in_x = o.at[2] * p.stride[2] - p.pad[2] + i * p.dilation[2];
        if (in_x < 0 || in_x >= p.in[2]) continue;
        const T* pixel = x + ((static_cast<int64_t>(in_z) * p.in[1] + in_y) * p.in[2] + in_x) * p.in_channels;
        const T* tap = w + static_cast<int64_t>((z * p.size[1] + y) * p.size[2] + i) * p.group_in * p.channels;
        for (int c = 0; c < p.group_in; ++c)
          sum += to_float(pixel[c]) * to_float(tap[static_cast<int64_t>(c) * p.channels]);
      }
    }
  }
  finish<T>(p, sum, o.channel, element);
}

// The gradient of a convolution: x [out of it...], weights [size..., channels, in_channels]. `in` is x, `out` is y.
template <class T>
__global__ void __launch_bounds__(kSimpleThreads) direct_transpose(const __grid_constant__ DirectConvParams p) {
  start_later();
  wait_for_earlier();
  const int element = static_cast<int>(blockIdx.x * kSimpleThreads + threadIdx.x);
  if (element >= p.count) return;
  const Position o(p, element);
  const T* x = static_cast<const T*>(p.x) + o.image * p.in[0] * p.in[1] * p.in[2] * p.in_channels;
  const T* w = static_cast<const T*>(p.w) + static_cast<int64_t>(o.channel) * p.in_channels;
  float sum = 0;
  for (int tap = 0; tap < p.size[0] * p.size[1] * p.size[2]; ++tap) {
    const int t[3] = {tap / p.size[2] / p.size[1], tap / p.size[2] % p.size[1], tap % p.size[2]};
    int at[3];
    bool inside = true;
    for (int d = 0; d < 3; ++d) {
      const int scaled = o.at[d] + p.pad[d] - t[d] * p.dilation[d];
      at[d] = scaled / p.stride[d];
      inside = inside && scaled >= 0 && scaled % p.stride[d] == 0 && at[d] < p.in[d];
    }
    if (!inside) continue;
    const T* pixel = x + ((static_cast<int64_t>(at[0]) * p.in[1] + at[1]) * p.in[2] + at[2]) * p.in_channels;
    const T* weights = w + static_cast<int64_t>(tap) * p.channels * p.in_channels;
    for (int c = 0; c < p.in_channels; ++c) sum += to_float(pixel[c]) * to_float(weights[c]);
  }
  finish<T>(p, sum, o.channel, element);
}

}  // namespace

const void* direct_conv_kernel(ElementType type, bool transposed) {
  const auto form = [&]<class T>() {
    return transposed ? reinterpret_cast<const void*>(&direct_transpose<T>)
                      : reinterpret_cast<const void*>(&direct_conv<T>);
  };
  return all_forms(form).of(type);
}
}  // namespace blade::backends::cuda
