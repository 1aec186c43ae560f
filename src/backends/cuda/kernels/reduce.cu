// Reductions over the middle of [outer, reduced, inner].
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

constexpr int kAhead = 8;

// `lanes` neighbouring outputs a block, the reduced dim divided among the rest of the threads and gridDim.y blocks; a
// thread has kAhead loads under way.
template <ElementType kType>
__global__ void __launch_bounds__(kSimpleThreads) reduce_block(const __grid_constant__ ReduceParams p) {
  __shared__ float sums[kSimpleThreads];
  start_later();
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread & ((1 << p.lanes_log2) - 1), part = thread >> p.lanes_log2;
  const int parts = kSimpleThreads >> p.lanes_log2;
  const int64_t outer = divide(static_cast<int>(blockIdx.x), p.inner_blocks);
  const int inner_block = static_cast<int>(blockIdx.x - outer * p.inner_blocks.divisor);
  const int inner = (inner_block << p.lanes_log2) + lane;
  const int begin = static_cast<int>(static_cast<int64_t>(p.reduced) * blockIdx.y / gridDim.y);
  const int end = static_cast<int>(static_cast<int64_t>(p.reduced) * (blockIdx.y + 1) / gridDim.y);
  float value = identity_of(p.op);
  wait_for_earlier();
  if (inner < p.inner) {
    for (int r = begin + part; r < end; r += parts * kAhead) {
      float loaded[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int at = r + i * parts;
        loaded[i] = at < end ? load_element(p.x, (outer * p.reduced + at) * p.inner + inner, kType) : identity_of(p.op);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) value = fold(p.op, value, loaded[i]);
    }
  }
  sums[thread] = value;
  for (int half = parts / 2; half > 0; half /= 2) {
    __syncthreads();
    if (part < half) sums[thread] = fold(p.op, sums[thread], sums[thread + (half << p.lanes_log2)]);
  }
  if (part != 0 || inner >= p.inner) return;
  const int64_t at = (outer * gridDim.y + blockIdx.y) * p.inner + inner;
  store_element(p.y, at, p.result_type, sums[thread] * p.scale);
}

}  // namespace

const void* reduce_kernel(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return reinterpret_cast<const void*>(&reduce_block<ElementType::kFloat32>);
    case ElementType::kFloat16:
      return reinterpret_cast<const void*>(&reduce_block<ElementType::kFloat16>);
    case ElementType::kBFloat16:
      return reinterpret_cast<const void*>(&reduce_block<ElementType::kBFloat16>);
    default:
      return reinterpret_cast<const void*>(&reduce_block<ElementType::kBool>);
  }
}

}  // namespace blade::backends::cuda
