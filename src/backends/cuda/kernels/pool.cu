// Max and average pooling; averages count only elements inside the input.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T v[kWidth];
};

// A thread folds the window of kWidth neighbouring channels, with some loads of a line under way at once.
template <class T, int kWidth>
__global__ void __launch_bounds__(kSimpleThreads) pool(const __grid_constant__ PoolParams p) {
  using Vector = Pack<T, kWidth>;
  constexpr int kAhead = 4;
  start_later();
  wait_for_earlier();
  const int unit = static_cast<int>(blockIdx.x * kSimpleThreads + threadIdx.x);
  if (static_cast<int64_t>(unit) * kWidth >= p.count) return;
  int rest = divide(unit, p.units);
  const int c = (unit - rest * static_cast<int>(p.units.divisor)) * kWidth;
  int first[3], last[3];
  for (int d = 2; d >= 0; --d) {
    const int outer = divide(rest, p.out[d]);
    const int start = (rest - outer * static_cast<int>(p.out[d].divisor)) * p.stride[d] - p.pad[d];
    rest = outer;
    first[d] = max(0, start);
    last[d] = min(p.in[d], start + p.size[d]);
  }
  const T* image =
      static_cast<const T*>(p.x) + static_cast<int64_t>(rest) * p.in[0] * p.in[1] * p.in[2] * p.channels + c;
  float folded[kWidth];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) folded[i] = p.is_max ? -INFINITY : 0.0f;
  for (int z = first[0]; z < last[0]; ++z) {
    for (int y = first[1]; y < last[1]; ++y) {
      const T* line = image + (static_cast<int64_t>(z) * p.in[1] + y) * p.in[2] * p.channels;
      for (int x = first[2]; x < last[2]; x += kAhead) {
        Vector in[kAhead];
#pragma unroll
        for (int ahead = 0; ahead < kAhead; ++ahead) {
          if (x + ahead < last[2]) in[ahead] = *reinterpret_cast<const Vector*>(line + (x + ahead) * p.channels);
        }
#pragma unroll
        for (int ahead = 0; ahead < kAhead; ++ahead) {
          if (x + ahead >= last[2]) continue;
#pragma unroll
          for (int i = 0; i < kWidth; ++i) {
            const float value = to_float(in[ahead].v[i]);
            folded[i] = p.is_max
                            ? (value != value || folded[i] != folded[i] ? value + folded[i] : fmaxf(folded[i], value))
                            : folded[i] + value;
          }
        }
      }
    }
  }
  const int count = max(0, last[0] - first[0]) * max(0, last[1] - first[1]) * max(0, last[2] - first[2]);
  const float scale = p.is_max ? 1.0f : count == 0 ? 0.0f : 1.0f / static_cast<float>(count);
  Vector out;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) out.v[i] = from_float<T>(folded[i] * scale);
  reinterpret_cast<Vector*>(p.y)[unit] = out;
}

}  // namespace

const void* pool_kernel(ElementType type, bool vectors) {
  if (vectors) return half_forms([&]<class T>() { return reinterpret_cast<const void*>(&pool<T, 8>); }).of(type);
  return all_forms([&]<class T>() { return reinterpret_cast<const void*>(&pool<T, 1>); }).of(type);
}

}  // namespace blade::backends::cuda
