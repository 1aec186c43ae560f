// Elementwise programs, one element a thread, and casts.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/integer_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

// Where an element's operands stand.
template <bool kFlat>
__device__ __forceinline__ void find_operands(const PointwiseParams& p, int64_t element,
                                              int64_t (&at)[kMaxProgramInputs]) {
  if constexpr (kFlat) {
    for (int i = 0; i < p.program.num_inputs; ++i) at[i] = element * p.strides[i][0];
  } else {
    int rest = static_cast<int>(element);
    for (int d = p.rank - 1; d >= 0; --d) {
      const int next = divide(rest, p.dims[d]);
      const int index = rest - next * static_cast<int>(p.dims[d].divisor);
      for (int i = 0; i < p.program.num_inputs; ++i) at[i] += index * p.strides[i][d];
      rest = next;
    }
  }
}

template <bool kFlat>
__global__ void __launch_bounds__(kSimpleThreads) pointwise(const __grid_constant__ PointwiseParams p) {
  start_later();
  wait_for_earlier();
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kSimpleThreads + threadIdx.x;
  if (element >= p.count) return;
  int64_t at[kMaxProgramInputs] = {};
  find_operands<kFlat>(p, element, at);
  float values[kMaxProgramInputs + kMaxProgramCode];
  for (int i = 0; i < p.program.num_inputs; ++i) values[i] = load_element(p.inputs[i], at[i], p.input_types[i]);
  store_element(p.output, element, p.output_type, run_program(p.program, values));
}

// The same in 64 bits, for programs on int32, int64 and bool; `narrow`: what is no comparison wraps to 32 bits.
__global__ void __launch_bounds__(kSimpleThreads) pointwise_integers(const __grid_constant__ PointwiseParams p) {
  start_later();
  wait_for_earlier();
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kSimpleThreads + threadIdx.x;
  if (element >= p.count) return;
  int64_t at[kMaxProgramInputs] = {};
  find_operands<false>(p, element, at);
  int64_t values[kMaxProgramInputs + kMaxProgramCode];
  for (int i = 0; i < p.program.num_inputs; ++i) values[i] = load_whole(p.inputs[i], at[i], p.input_types[i]);
  store_whole(p.output, element, p.output_type,
              run_integers(p.program.code, p.program.num_code, p.program.num_inputs, p.narrow, values));
}

__global__ void __launch_bounds__(kSimpleThreads)
    cast(const void* from, void* to, int64_t count, int from_type, int to_type) {
  start_later();
  wait_for_earlier();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kSimpleThreads + threadIdx.x;
  if (i >= count) return;
  cast_element(from, i, from_type, to, i, to_type);
}

}  // namespace

const void* pointwise_kernel(bool flat) {
  return flat ? reinterpret_cast<const void*>(&pointwise<true>) : reinterpret_cast<const void*>(&pointwise<false>);
}
const void* pointwise_integers_kernel() { return reinterpret_cast<const void*>(&pointwise_integers); }
const void* cast_kernel() { return reinterpret_cast<const void*>(&cast); }

}  // namespace blade::backends::cuda
