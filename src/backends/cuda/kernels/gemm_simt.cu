// Matrix products of any type and layout on the ordinary arithmetic units: what has no tensor-core kernel. The same
// tile serves convolutions, whose rows of `a` are gathered from the image.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

constexpr int kTile = kGemmTile, kDepth = 16, kEach = 4;

// Not inlined: it would stand there once for each of a thread's sums, and the code of a kernel is fetched at its start.
__device__ __noinline__ float finish_apart(const EpilogueParams& e, float value, int channel, int64_t at) {
  return finish_element(e, value, channel, at);
}

// Adds bias and residual, then the rest; element types as T.
template <class T>
__device__ float epilogue_of(const EpilogueParams& e, float value, int channel, int64_t at) {
  if (e.bias != nullptr) value += e.bias[channel];
  if (e.residual != nullptr) value += to_float(static_cast<const T*>(e.residual)[at]);
  const bool is_plain = e.activation == EpilogueParams::Activation::kNone && !e.has_clamp && !e.has_program;
  return is_plain ? value : finish_apart(e, value, channel, at);
}

// c[64x64] of one block; element(row, k) of a and (k, column) of b, zero outside.
template <class LoadA, class LoadB, class Store>
__device__ void multiply_tile(int k_count, const LoadA& load_a, const LoadB& load_b, const Store& store) {
  __shared__ float a[kDepth][kTile + 4], b[kDepth][kTile + 4];
  const int thread = static_cast<int>(threadIdx.x), row = thread / 16 * kEach, column = thread % 16 * kEach;
  float sums[kEach][kEach] = {};
  for (int k0 = 0; k0 < k_count; k0 += kDepth) {
#pragma unroll
    for (int i = 0; i < kTile * kDepth / kSimpleThreads; ++i) {
      const int at = thread + i * kSimpleThreads;
      a[at % kDepth][at / kDepth] = load_a(at / kDepth, k0 + at % kDepth);
      b[at / kTile][at % kTile] = load_b(k0 + at / kTile, at % kTile);
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      const float4 x = *reinterpret_cast<const float4*>(&a[k][row]),
                   y = *reinterpret_cast<const float4*>(&b[k][column]);
      const float u[kEach] = {x.x, x.y, x.z, x.w}, v[kEach] = {y.x, y.y, y.z, y.w};
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) sums[i][j] += u[i] * v[j];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) store(row + i, column + j, sums[i][j]);
  }
}

template <class T>
__global__ void __launch_bounds__(kSimpleThreads, 3) gemm(const __grid_constant__ GemmParams p) {
  start_later();
  wait_for_earlier();
  int64_t a_offset = 0, b_offset = 0;
  int rest = static_cast<int>(blockIdx.z);
  for (int d = p.batch_rank - 1; d >= 0; --d) {
    const int next = divide(rest, p.batch_dims[d]), index = rest - next * static_cast<int>(p.batch_dims[d].divisor);
    a_offset += index * p.a_batch[d];
    b_offset += index * p.b_batch[d];
    rest = next;
  }
  const T* a = static_cast<const T*>(p.a) + a_offset;
  const T* b = static_cast<const T*>(p.b) + b_offset;
  T* y = static_cast<T*>(p.y);
  const int first_row = static_cast<int>(blockIdx.y) * kTile, first_column = static_cast<int>(blockIdx.x) * kTile;
  multiply_tile(
      p.k,
      [&](int row, int k) {
        return first_row + row < p.m && k < p.k ? to_float(a[(first_row + row) * p.a_row + k * p.a_column]) : 0.0f;
      },
      [&](int k, int column) {
        return first_column + column < p.n && k < p.k ? to_float(b[k * p.b_row + (first_column + column) * p.b_column])
                                                      : 0.0f;
      },
      [&](int row, int column, float value) {
        if (first_row + row >= p.m || first_column + column >= p.n) return;
        const int64_t at = (static_cast<int64_t>(blockIdx.z) * p.m + first_row + row) * p.n + first_column + column;
        y[at] = from_float<T>(epilogue_of<T>(p.epilogue, value, first_column + column, at));
      });
}

// Output pixels are the rows, taps times input channels the depth.
template <class T>
__global__ void __launch_bounds__(kSimpleThreads, 3) implicit_gemm(const __grid_constant__ DirectConvParams p) {
  start_later();
  wait_for_earlier();
  const T* x = static_cast<const T*>(p.x);
  const T* w = static_cast<const T*>(p.w);
  T* y = static_cast<T*>(p.y);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kTile, rows = p.count / p.channels;
  const int first_column = static_cast<int>(blockIdx.y) * kTile;
  const int depth = p.size[1] * p.size[2] * p.in_channels;
  // A thread loads always the same rows, and one k of each piece of the depth.
  constexpr int kRowsEach = kTile * kDepth / kSimpleThreads, kRowStep = kSimpleThreads / kDepth;
  int top[kRowsEach], left[kRowsEach];
  int64_t image_at[kRowsEach];
  for (int i = 0; i < kRowsEach; ++i) {
    const int64_t pixel = first_row + static_cast<int>(threadIdx.x) / kDepth + i * kRowStep;
    const int64_t line = pixel / p.out[2], image = line / p.out[1];
    top[i] = pixel < rows ? static_cast<int>(line - image * p.out[1]) * p.stride[1] - p.pad[1] : -(1 << 28);
    left[i] = static_cast<int>(pixel - line * p.out[2]) * p.stride[2] - p.pad[2];
    image_at[i] = image * p.in[1] * p.in[2] * p.in_channels;
  }
  int loaded_k = -1, dy = 0, dx = 0, c = 0;
  multiply_tile(
      depth,
      [&](int row, int k) {
        if (k >= depth) return 0.0f;
        if (k != loaded_k) {
          const int tap = k / p.in_channels, tap_y = tap / p.size[2];
          loaded_k = k;
          c = k - tap * p.in_channels;
          dy = tap_y * p.dilation[1];
          dx = (tap - tap_y * p.size[2]) * p.dilation[2];
        }
        const int i = row / kRowStep, in_y = top[i] + dy, in_x = left[i] + dx;
        if (in_y < 0 || in_y >= p.in[1] || in_x < 0 || in_x >= p.in[2]) return 0.0f;
        return to_float(x[image_at[i] + (static_cast<int64_t>(in_y) * p.in[2] + in_x) * p.in_channels + c]);
      },
      [&](int k, int column) {
        return first_column + column < p.channels && k < depth
                   ? to_float(w[static_cast<int64_t>(k) * p.channels + first_column + column])
                   : 0.0f;
      },
      [&](int row, int column, float value) {
        const int channel = first_column + column;
        if (first_row + row >= rows || channel >= p.channels) return;
        const int64_t at = (first_row + row) * p.channels + channel;
        y[at] = from_float<T>(epilogue_of<T>(p.epilogue, value, channel, at));
      });
}

}  // namespace

const void* gemm_kernel(ElementType type) {
  return all_forms([&]<class T>() { return reinterpret_cast<const void*>(&gemm<T>); }).of(type);
}
const void* implicit_gemm_kernel(ElementType type) {
  return all_forms([&]<class T>() { return reinterpret_cast<const void*>(&implicit_gemm<T>); }).of(type);
}

}  // namespace blade::backends::cuda
