// Softmax and layer normalization over the last axis, one row a block; the position of the largest or smallest, one a
// block.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

constexpr int kWarps = kSimpleThreads / 32;
constexpr int kHeld = 4;

// The sum (or largest) of one value a thread, to all threads.
template <bool kMax>
__device__ float across_block(float value, float* parts) {
  for (int d = 16; d > 0; d >>= 1) {
    const float other = __shfl_xor_sync(~0u, value, d);
    value = kMax ? fmaxf(value, other) : value + other;
  }
  __syncthreads();  // parts may still be read from the last time
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  float all = parts[0];
  for (int i = 1; i < kWarps; ++i) all = kMax ? fmaxf(all, parts[i]) : all + parts[i];
  return all;
}

__device__ void softmax_of(const RowParams& p, int row) {
  __shared__ float parts[kWarps];
  const int64_t first = static_cast<int64_t>(row) * p.columns;
  const int thread = static_cast<int>(threadIdx.x);
  // A row's beginning stays in registers.
  float held[kHeld];
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int i = thread + j * kSimpleThreads;
    held[j] = i < p.columns ? load_element(p.x, first + i, p.type) : -INFINITY;
  }
  const auto for_the_rest = [&](auto&& visit) {
    for (int i = thread + kHeld * kSimpleThreads; i < p.columns; i += kSimpleThreads) {
      visit(i, load_element(p.x, first + i, p.type));
    }
  };
  float largest = -INFINITY;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) largest = fmaxf(largest, held[j]);
  for_the_rest([&](int, float value) { largest = fmaxf(largest, value); });
  largest = across_block<true>(largest, parts);
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) sum += thread + j * kSimpleThreads < p.columns ? expf(held[j] - largest) : 0.0f;
  for_the_rest([&](int, float value) { sum += expf(value - largest); });
  sum = across_block<false>(sum, parts);
  const float scale = p.log ? logf(sum) : 1.0f / sum;
  const auto store = [&](int i, float value) {
    const float shifted = value - largest;
    store_element(p.y, first + i, p.type, p.log ? shifted - scale : expf(shifted) * scale);
  };
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    if (thread + j * kSimpleThreads < p.columns) store(thread + j * kSimpleThreads, held[j]);
  }
  for_the_rest(store);
}

struct Best {
  float value;
  int at;
};

// Of equals the first; NaN never wins.
__device__ Best better(Best a, Best b) { return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a; }

// The answer is 0 where nothing is above it, as TensorFlow has it.
__device__ float lowest_number(ElementType type) {
  switch (type) {
    case ElementType::kFloat16:
      return -65504.0f;
    case ElementType::kBFloat16:
      return -0x1.fep127f;
    default:
      return -0x1.fffffep127f;
  }
}

__device__ void arg_reduce_to(const ArgReduceParams& p, int output) {
  __shared__ Best parts[kWarps];
  const int64_t outer = output / p.inner, inner = output % p.inner;
  Best best{lowest_number(p.type), 0};
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
  for (int i = 1; i < kWarps; ++i) best = better(best, parts[i]);
  if (p.index_is_64) {
    static_cast<int64_t*>(p.y)[output] = best.at;
  } else {
    static_cast<int32_t*>(p.y)[output] = best.at;
  }
}

__global__ void __launch_bounds__(kSimpleThreads) softmax(const __grid_constant__ RowParams p) {
  start_later();
  const RowParams own = pinned_parameters(p);
  wait_for_earlier();
  softmax_of(own, static_cast<int>(blockIdx.x));
}

__global__ void __launch_bounds__(kSimpleThreads) arg_reduce(const __grid_constant__ ArgReduceParams p) {
  start_later();
  const ArgReduceParams own = pinned_parameters(p);
  wait_for_earlier();
  arg_reduce_to(own, static_cast<int>(blockIdx.x));
}

__global__ void __launch_bounds__(kSimpleThreads) rows_beside(const __grid_constant__ RowsBesideParams p) {
  start_later();
  const int block = static_cast<int>(blockIdx.x);
  int part = 0;
  while (part + 1 < p.count && block >= p.first_block[part + 1]) ++part;
  const int row = pinned(block - p.first_block[part]);
  if (p.parts[part].is_arg_reduce) {
    const ArgReduceParams own = pinned_parameters(p.parts[part].arg_reduce);
    wait_for_earlier();
    arg_reduce_to(own, row);
  } else {
    const RowParams own = pinned_parameters(p.parts[part].softmax);
    wait_for_earlier();
    softmax_of(own, row);
  }
}

__global__ void __launch_bounds__(kSimpleThreads) layer_norm(const __grid_constant__ RowParams p) {
  __shared__ float parts[kWarps];
  start_later();
  wait_for_earlier();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * p.columns;
  const int thread = static_cast<int>(threadIdx.x);
  float sum = 0;
  for (int i = thread; i < p.columns; i += kSimpleThreads) sum += load_element(p.x, first + i, p.type);
  const float mean = across_block<false>(sum, parts) / static_cast<float>(p.columns);
  float squares = 0;
  for (int i = thread; i < p.columns; i += kSimpleThreads) {
    const float d = load_element(p.x, first + i, p.type) - mean;
    squares += d * d;
  }
  const float variance = across_block<false>(squares, parts) / static_cast<float>(p.columns);
  const float scale = rsqrtf(variance + p.epsilon);
  for (int i = thread; i < p.columns; i += kSimpleThreads) {
    const float value = (load_element(p.x, first + i, p.type) - mean) * scale;
    store_element(p.y, first + i, p.type,
                  value * load_element(p.scale, i, p.scale_type) + load_element(p.offset, i, p.scale_type));
  }
}

}  // namespace

const void* softmax_kernel() { return reinterpret_cast<const void*>(&softmax); }
const void* arg_reduce_kernel() { return reinterpret_cast<const void*>(&arg_reduce); }
const void* rows_beside_kernel() { return reinterpret_cast<const void*>(&rows_beside); }
const void* layer_norm_kernel() { return reinterpret_cast<const void*>(&layer_norm); }

}  // namespace blade::backends::cuda
