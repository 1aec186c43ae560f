// Reductions over the middle of [outer, reduced, inner], and the position of the largest or smallest.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

constexpr int kLanes = 64, kParts = kSimpleThreads / kLanes, kAhead = 8;

__device__ float identity_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::kProd:
      return 1.0f;
    case ReduceOp::kMax:
      return -INFINITY;
    case ReduceOp::kMin:
      return INFINITY;
    default:
      return 0.0f;
  }
}
__device__ float fold(ReduceOp op, float a, float b) {
  switch (op) {
    case ReduceOp::kProd:
      return a * b;
    case ReduceOp::kMax:
      return a != a || b != b ? a + b : fmaxf(a, b);
    case ReduceOp::kMin:
      return a != a || b != b ? a + b : fminf(a, b);
    default:
      return a + b;
  }
}
__device__ float finished(const ReduceParams& p, float value) {
  return p.op == ReduceOp::kMean ? value / static_cast<float>(p.reduced) : value;
}

// 64 neighbouring outputs a block, the reduced dim in kParts pieces; a thread has kAhead loads under way.
template <ElementType kType>
__global__ void __launch_bounds__(kSimpleThreads) reduce_columns(const __grid_constant__ ReduceParams p) {
  __shared__ float parts[kParts][kLanes];
  start_later();
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x) % kLanes, part = static_cast<int>(threadIdx.x) / kLanes;
  const int blocks = (p.inner + kLanes - 1) / kLanes;
  const int64_t outer = blockIdx.x / blocks;
  const int inner = static_cast<int>(blockIdx.x % blocks) * kLanes + lane;
  float value = identity_of(p.op);
  if (inner < p.inner) {
    for (int r = part; r < p.reduced; r += kParts * kAhead) {
      float loaded[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int at = r + i * kParts;
        loaded[i] = at < p.reduced ? load_element(p.x, (outer * p.reduced + at) * p.inner + inner, kType)
                                   : identity_of(p.op);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) value = fold(p.op, value, loaded[i]);
    }
  }
  parts[part][lane] = value;
  __syncthreads();
  if (part != 0 || inner >= p.inner) return;
  for (int i = 1; i < kParts; ++i) value = fold(p.op, value, parts[i][lane]);
  store_element(p.y, outer * p.inner + inner, kType, finished(p, value));
}

// One output a block.
__global__ void __launch_bounds__(kSimpleThreads) reduce_rows(const __grid_constant__ ReduceParams p) {
  __shared__ float parts[kSimpleThreads / 32];
  start_later();
  wait_for_earlier();
  const int64_t outer = blockIdx.x / p.inner, inner = blockIdx.x % p.inner;
  float value = identity_of(p.op);
  for (int r = static_cast<int>(threadIdx.x); r < p.reduced; r += kSimpleThreads) {
    value = fold(p.op, value, load_element(p.x, (outer * p.reduced + r) * p.inner + inner, p.type));
  }
  for (int d = 16; d > 0; d >>= 1) value = fold(p.op, value, __shfl_xor_sync(~0u, value, d));
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kSimpleThreads / 32; ++i) value = fold(p.op, value, parts[i]);
  store_element(p.y, blockIdx.x, p.type, finished(p, value));
}

struct Best {
  float value;
  int at;  // kNothing: no element yet
};
constexpr int kNothing = 0x7fffffff;

// Of equals the first.
__device__ Best better(Best a, Best b) {
  const bool b_wins =
      b.at != kNothing && (a.at == kNothing || b.value > a.value || (b.value == a.value && b.at < a.at));
  return b_wins ? b : a;
}

// One output a block.
__global__ void __launch_bounds__(kSimpleThreads) arg_reduce(const __grid_constant__ ArgReduceParams p) {
  __shared__ Best parts[kSimpleThreads / 32];
  start_later();
  wait_for_earlier();
  const int64_t outer = blockIdx.x / p.inner, inner = blockIdx.x % p.inner;
  Best best{0, kNothing};
  for (int r = static_cast<int>(threadIdx.x); r < p.reduced; r += kSimpleThreads) {
    const float value = load_element(p.x, (outer * p.reduced + r) * p.inner + inner, p.type);
    best = better(best, {p.is_max ? value : -value, r});
  }
  for (int d = 16; d > 0; d >>= 1) {
    best = better(best, {__shfl_xor_sync(~0u, best.value, d), __shfl_xor_sync(~0u, best.at, d)});
  }
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kSimpleThreads / 32; ++i) best = better(best, parts[i]);
  if (p.index_is_64) {
    static_cast<int64_t*>(p.y)[blockIdx.x] = best.at;
  } else {
    static_cast<int32_t*>(p.y)[blockIdx.x] = best.at;
  }
}

}  // namespace

const void* reduce_kernel(ElementType type, bool few_inner) {
  if (few_inner) return reinterpret_cast<const void*>(&reduce_rows);
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
const void* arg_reduce_kernel() { return reinterpret_cast<const void*>(&arg_reduce); }

}  // namespace blade::backends::cuda
