// Softmax, layer normalization and reductions over a last axis, a row a warp: rows stay in registers, four elements a
// load.
#include "backends/cuda/kernels/four_elements.cuh"
#include "backends/cuda/kernels/row_warps.h"

namespace blade::backends::cuda {
namespace {

template <class Fold>
__device__ __forceinline__ float across_warp(float value, const Fold& fold) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) value = fold(value, __shfl_xor_sync(~0u, value, d));
  return value;
}
__device__ __forceinline__ float warp_sum(float value) {
  return across_warp(value, [](float a, float b) { return a + b; });
}

// A lane's part of a row of up to 128 * kFours elements.
template <int kFours>
struct Row {
  float4 part[kFours];

  // Behind the end stands `filler`.
  __device__ __forceinline__ void load(const RowParams& p, int64_t first, float filler) {
#pragma unroll
    for (int j = 0; j < kFours; ++j) {
      const int i = at(j);
      part[j] = i < p.columns ? load_four(p.x, first + i, p.type) : make_float4(filler, filler, filler, filler);
    }
  }
  template <ElementType kType>
  __device__ __forceinline__ void load_as(const void* from, int64_t first, int columns, float filler) {
#pragma unroll
    for (int j = 0; j < kFours; ++j) {
      const int i = at(j);
      part[j] = i < columns ? load_four(from, first + i, kType) : make_float4(filler, filler, filler, filler);
    }
  }
  __device__ __forceinline__ void load(const void* from, ElementType type, int columns) {
#pragma unroll
    for (int j = 0; j < kFours; ++j) {
      part[j] = at(j) < columns ? load_four(from, at(j), type) : make_float4(0, 0, 0, 0);
    }
  }
  static __device__ __forceinline__ int at(int j) { return 4 * (static_cast<int>(threadIdx.x % 32) + 32 * j); }
  template <class Visit>
  __device__ __forceinline__ void each(const Visit& visit) {
#pragma unroll
    for (int j = 0; j < kFours; ++j) {
      visit(part[j].x, at(j)), visit(part[j].y, at(j)), visit(part[j].z, at(j)), visit(part[j].w, at(j));
    }
  }
  __device__ __forceinline__ void store(const RowParams& p, int64_t first) const {
#pragma unroll
    for (int j = 0; j < kFours; ++j) {
      if (at(j) < p.columns) store_four(p.y, first + at(j), p.type, part[j]);
    }
  }
};

__device__ __forceinline__ int64_t own_row() { return static_cast<int64_t>(blockIdx.x) * kRowWarps + threadIdx.x / 32; }

template <int kFours>
__global__ void __launch_bounds__(32 * kRowWarps) softmax_warp(const __grid_constant__ RowParams p) {
  start_later();
  wait_for_earlier();
  const int64_t row = own_row();
  if (row >= p.rows) return;
  Row<kFours> values;
  values.load(p, row * p.columns, -INFINITY);
  float largest = -INFINITY;
  values.each([&](float v, int) { largest = fmaxf(largest, v); });
  largest = across_warp(largest, [](float a, float b) { return fmaxf(a, b); });
  float sum = 0;
  if (p.log) {
    values.each([&](float& v, int at) {
      v -= largest;
      sum += at < p.columns ? expf(v) : 0.0f;
    });
    const float shift = logf(warp_sum(sum));
    values.each([&](float& v, int) { v -= shift; });
  } else {
    values.each([&](float& v, int at) {
      v = at < p.columns ? expf(v - largest) : 0.0f;
      sum += v;
    });
    const float scale = 1.0f / warp_sum(sum);
    values.each([&](float& v, int) { v *= scale; });
  }
  values.store(p, row * p.columns);
}

// Types are known when it is compiled, so that all loads of a row are under way at once; with blocks of fewer warps
// where rows are few. Scale and offset are there before the row where they are constants.
template <int kFours, ElementType kFrom, ElementType kTo>
__global__ void __launch_bounds__(32 * kRowWarps) layer_norm_warp(const __grid_constant__ RowParams p) {
  start_later();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  const void* x = p.x;
  void* y = p.y;
  const int columns = kept(p.columns);
  const bool is_inside = row < p.rows, early = p.has_constant_scale;
  float epsilon = p.epsilon;
  keep(x), keep(y), keep(epsilon);
  Row<kFours> scale, offset, values;
  const auto load_channels = [&] {
    if (p.scale_type == ElementType::kFloat32) {
      scale.template load_as<ElementType::kFloat32>(p.scale, 0, columns, 0.0f);
      offset.template load_as<ElementType::kFloat32>(p.offset, 0, columns, 0.0f);
    } else {
      scale.load(p.scale, p.scale_type, columns);
      offset.load(p.offset, p.scale_type, columns);
    }
  };
  if (early) load_channels();
  wait_for_earlier();
  if (!is_inside) return;
  values.template load_as<kFrom>(x, row * columns, columns, 0.0f);
  if (!early) load_channels();
  float sum = 0, squares = 0;
  values.each([&](float v, int) { sum += v; });
  const float mean = warp_sum(sum) / static_cast<float>(columns);
  values.each([&](float& v, int at) {
    v -= mean;
    squares += at < columns ? v * v : 0.0f;
  });
  const float factor = rsqrtf(warp_sum(squares) / static_cast<float>(columns) + epsilon);
#pragma unroll
  for (int j = 0; j < kFours; ++j) {
    const int at = Row<kFours>::at(j);
    if (at >= columns) break;
    const float4 v = values.part[j], s = scale.part[j], o = offset.part[j];
    store_four(y, row * columns + at, kTo,
               make_float4(v.x * factor * s.x + o.x, v.y * factor * s.y + o.y, v.z * factor * s.z + o.z,
                           v.w * factor * s.w + o.w));
  }
}

// A row of any length, four loads under way.
template <ElementType kType>
__global__ void __launch_bounds__(32 * kRowWarps) reduce_warp(const __grid_constant__ RowReduceParams p) {
  constexpr int kAhead = 4;
  start_later();
  wait_for_earlier();
  const int64_t row = own_row();
  if (row >= p.rows) return;
  const float identity = identity_of(p.op);
  float4 sums = make_float4(identity, identity, identity, identity);
  for (int i = 4 * static_cast<int>(threadIdx.x % 32); i < p.columns; i += 128 * kAhead) {
    float4 four[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int at = i + 128 * j;
      four[j] = at < p.columns ? load_four(p.x, row * p.columns + at, kType)
                               : make_float4(identity, identity, identity, identity);
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      sums.x = fold(p.op, sums.x, four[j].x), sums.y = fold(p.op, sums.y, four[j].y);
      sums.z = fold(p.op, sums.z, four[j].z), sums.w = fold(p.op, sums.w, four[j].w);
    }
  }
  const float all = across_warp(fold(p.op, fold(p.op, sums.x, sums.y), fold(p.op, sums.z, sums.w)),
                                [&](float a, float b) { return fold(p.op, a, b); });
  if (threadIdx.x % 32 == 0) store_element(p.y, row, p.result_type, all * p.scale);
}

// Over the rows of [outer, reduced, inner]: four neighbouring columns a thread, the reduced dim divided among the warps
// of a block and gridDim.y blocks.
template <ElementType kType>
__global__ void __launch_bounds__(32 * kRowWarps) reduce_columns(const __grid_constant__ ColumnReduceParams p) {
  constexpr int kAhead = 8;
  __shared__ float4 parts[kRowWarps][32];
  start_later();
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int64_t outer = divide(static_cast<int>(blockIdx.x), p.inner_blocks);
  const int column = 4 * (static_cast<int>(blockIdx.x - outer * p.inner_blocks.divisor) * 32 + lane);
  const int begin = static_cast<int>(static_cast<int64_t>(p.reduced) * blockIdx.y / gridDim.y);
  const int end = static_cast<int>(static_cast<int64_t>(p.reduced) * (blockIdx.y + 1) / gridDim.y);
  const float identity = identity_of(p.op);
  const float4 none = make_float4(identity, identity, identity, identity);
  float4 sums = none;
  const auto add = [&](const float4& four) {
    sums.x = fold(p.op, sums.x, four.x), sums.y = fold(p.op, sums.y, four.y);
    sums.z = fold(p.op, sums.z, four.z), sums.w = fold(p.op, sums.w, four.w);
  };
  if (column < p.inner) {
    for (int r = begin + warp; r < end; r += kRowWarps * kAhead) {
      float4 four[kAhead];
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        const int at = r + j * kRowWarps;
        four[j] = at < end ? load_four(p.x, (outer * p.reduced + at) * p.inner + column, kType) : none;
      }
#pragma unroll
      for (int j = 0; j < kAhead; ++j) add(four[j]);
    }
  }
  parts[warp][lane] = sums;
  __syncthreads();
  if (warp != 0 || column >= p.inner) return;
  for (int w = 1; w < kRowWarps; ++w) add(parts[w][lane]);
  sums.x *= p.scale, sums.y *= p.scale, sums.z *= p.scale, sums.w *= p.scale;
  store_four(p.y, (outer * gridDim.y + blockIdx.y) * p.inner + column, p.result_type, sums);
}

template <int kFours>
const void* layer_norm_of(ElementType from, ElementType to) {
  using enum ElementType;
  if (from == kFloat32 && to == kFloat32)
    return reinterpret_cast<const void*>(&layer_norm_warp<kFours, kFloat32, kFloat32>);
  const auto form = [&]<class T>() {
    constexpr ElementType kHalf = std::is_same_v<T, __half> ? kFloat16 : kBFloat16;
    if (from == kFloat32) return reinterpret_cast<const void*>(&layer_norm_warp<kFours, kFloat32, kHalf>);
    return to == kFloat32 ? reinterpret_cast<const void*>(&layer_norm_warp<kFours, kHalf, kFloat32>)
                          : reinterpret_cast<const void*>(&layer_norm_warp<kFours, kHalf, kHalf>);
  };
  return half_forms(form).of(from == kFloat32 ? to : from);
}

__device__ __forceinline__ int strided_offset(int position, int rank, const FastDivisor* dims, const int* strides) {
  int at = 0;
  for (int d = rank - 1; d > 0; --d) {
    const int next = divide(position, dims[d]);
    at += (position - next * static_cast<int>(dims[d].divisor)) * strides[d];
    position = next;
  }
  return at + position * strides[0];
}

__global__ void __launch_bounds__(32 * kRowWarps) reduce_strided(const __grid_constant__ StridedReduceParams p) {
  constexpr int kAhead = 4, kThreads = 32 * kRowWarps;
  __shared__ float parts[kRowWarps];
  start_later();
  wait_for_earlier();
  const int result = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const int first = strided_offset(result, p.kept_rank, p.kept_dims, p.kept_strides);
  const float identity = identity_of(p.op);
  float value = identity;
  for (int i = thread; i < p.reduced; i += kThreads * kAhead) {
    float loaded[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int at = i + j * kThreads;
      loaded[j] = identity;
      if (at < p.reduced) {
        loaded[j] =
            load_element(p.x, first + strided_offset(at, p.reduced_rank, p.reduced_dims, p.reduced_strides), p.type);
      }
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) value = fold(p.op, value, loaded[j]);
  }
  const auto both = [&](float a, float b) { return fold(p.op, a, b); };
  value = across_warp(value, both);
  if (thread % 32 == 0) parts[thread / 32] = value;
  __syncthreads();
  if (thread >= 32) return;
  value = across_warp(thread < kRowWarps ? parts[thread] : identity, both);
  if (thread == 0) store_element(p.y, result, p.result_type, value * p.scale);
}

}  // namespace

const void* reduce_strided_kernel() { return reinterpret_cast<const void*>(&reduce_strided); }
const void* softmax_warp_kernel(int fours) {
  switch (fours) {
    case 1:
      return reinterpret_cast<const void*>(&softmax_warp<1>);
    case 2:
      return reinterpret_cast<const void*>(&softmax_warp<2>);
    case 4:
      return reinterpret_cast<const void*>(&softmax_warp<4>);
    default:
      return reinterpret_cast<const void*>(&softmax_warp<8>);
  }
}
const void* layer_norm_warp_kernel(int fours, ElementType from, ElementType to) {
  switch (fours) {
    case 1:
      return layer_norm_of<1>(from, to);
    case 2:
      return layer_norm_of<2>(from, to);
    case 4:
      return layer_norm_of<4>(from, to);
    default:
      return layer_norm_of<8>(from, to);
  }
}
const void* reduce_warp_kernel(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return reinterpret_cast<const void*>(&reduce_warp<ElementType::kFloat32>);
    case ElementType::kFloat16:
      return reinterpret_cast<const void*>(&reduce_warp<ElementType::kFloat16>);
    case ElementType::kBFloat16:
      return reinterpret_cast<const void*>(&reduce_warp<ElementType::kBFloat16>);
    default:
      return reinterpret_cast<const void*>(&reduce_warp<ElementType::kBool>);
  }
}
const void* reduce_columns_kernel(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return reinterpret_cast<const void*>(&reduce_columns<ElementType::kFloat32>);
    case ElementType::kFloat16:
      return reinterpret_cast<const void*>(&reduce_columns<ElementType::kFloat16>);
    case ElementType::kBFloat16:
      return reinterpret_cast<const void*>(&reduce_columns<ElementType::kBFloat16>);
    default:
      return reinterpret_cast<const void*>(&reduce_columns<ElementType::kBool>);
  }
}

}  // namespace blade::backends::cuda
