// Elementwise programs, interpreted for several elements a thread, and casts.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/four_elements.cuh"
#include "backends/cuda/kernels/integer_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/cuda/vector_program.h"

namespace blade::backends::cuda {
namespace {

using Values = float[kVectorElements];

__device__ __forceinline__ int offset_of(const VectorProgramParams& p, int input, int unit) {
  int at = 0;
  for (int d = p.rank - 1; d > 0; --d) {
    const int next = divide(unit, p.dims[d]);
    at += (unit - next * static_cast<int>(p.dims[d].divisor)) * p.strides[input][d];
    unit = next;
  }
  return at + unit * p.strides[input][0];
}

// A block's units stand a block apart for each thread, so that a warp's stand together. Behind the end the last one is
// read again.
template <int kWidth>
__device__ __forceinline__ int unit_of(const VectorProgramParams& p, int group) {
  constexpr int kGroups = kVectorElements / kWidth;
  return (static_cast<int>(blockIdx.x) * kGroups + group) * kSimpleThreads + static_cast<int>(threadIdx.x);
}

template <int kWidth>
__device__ __forceinline__ void load_input(const VectorProgramParams& p, int input, Values& to) {
  const ElementType type = p.input_types[input];
  const bool moves = (p.vectors >> input & 1) != 0;
#pragma unroll
  for (int g = 0; g < kVectorElements / kWidth; ++g) {
    const int at = offset_of(p, input, min(unit_of<kWidth>(p, g), p.units - 1));
    if constexpr (kWidth == 4) {
      float4 four;
      if (moves) {
        four = load_four(p.inputs[input], at, type);
      } else {
        four.x = four.y = four.z = four.w = load_element(p.inputs[input], at, type);
      }
      to[4 * g] = four.x, to[4 * g + 1] = four.y, to[4 * g + 2] = four.z, to[4 * g + 3] = four.w;
    } else {
      to[g] = load_element(p.inputs[input], at, type);
    }
  }
}

// A thread's part of a kept value.
__device__ __forceinline__ float4* kept_place(int number) {
  extern __shared__ float4 all[];
  return all + number * (kVectorElements / 4 * kSimpleThreads) + threadIdx.x;
}
__device__ __forceinline__ void keep_value(int number, const Values& from) {
#pragma unroll
  for (int h = 0; h < kVectorElements / 4; ++h) {
    kept_place(number)[h * kSimpleThreads] =
        make_float4(from[4 * h], from[4 * h + 1], from[4 * h + 2], from[4 * h + 3]);
  }
}

template <int kWidth>
__device__ __forceinline__ void fetch(const VectorProgramParams& p, int operand, const Values& last, Values& to) {
  if (operand == kLastResult) {
#pragma unroll
    for (int k = 0; k < kVectorElements; ++k) to[k] = last[k];
  } else if (operand >= kFirstKept) {
#pragma unroll
    for (int h = 0; h < kVectorElements / 4; ++h) {
      const float4 four = kept_place(operand - kFirstKept)[h * kSimpleThreads];
      to[4 * h] = four.x, to[4 * h + 1] = four.y, to[4 * h + 2] = four.z, to[4 * h + 3] = four.w;
    }
  } else {
    load_input<kWidth>(p, operand, to);
  }
}

static __device__ __noinline__ float long_value(ir::PointwiseOp op, float a, float b, float alpha) {
  const float c = 0;
  (void)alpha, (void)c;
  switch (op) {
#define BLADE_FLOAT_OP(name, ...)
#define BLADE_LONG_FLOAT_OP(name, ...) \
  case ir::PointwiseOp::name:          \
    return __VA_ARGS__;
#include "backends/cuda/kernels/float_ops.inc"
    default:
      return NAN;
  }
}

__device__ __forceinline__ void apply(const VectorInstr& instr, const Values& as, const Values& bs, const Values& cs,
                                      Values& results) {
  const float alpha = instr.alpha, beta = instr.beta;
  const auto op = static_cast<ir::PointwiseOp>(instr.op);
  switch (op) {
#define BLADE_FLOAT_OP(name, ...)                                 \
  case ir::PointwiseOp::name: {                                   \
    _Pragma("unroll") for (int k = 0; k < kVectorElements; ++k) { \
      const float a = as[k], b = bs[k], c = cs[k];                \
      (void)a, (void)b, (void)c, (void)alpha, (void)beta;         \
      results[k] = __VA_ARGS__;                                   \
    }                                                             \
    break;                                                        \
  }
#define BLADE_LONG_FLOAT_OP(name, ...)
#include "backends/cuda/kernels/float_ops.inc"
    default:
#pragma unroll
      for (int k = 0; k < kVectorElements; ++k) results[k] = long_value(op, as[k], bs[k], alpha);
  }
}

template <int kWidth>
__global__ void __launch_bounds__(kSimpleThreads, 4) vector_program(const __grid_constant__ VectorProgramParams p) {
  start_later();
  wait_for_earlier();
  if (unit_of<kWidth>(p, 0) >= p.units) return;
  Values last = {}, a, b = {}, c = {};
  for (int i = 0; i < p.num_inputs; ++i) {
    if (p.keep_input[i] < 0) continue;
    load_input<kWidth>(p, i, a);
    keep_value(p.keep_input[i], a);
  }
  for (int i = 0; i < p.num_code; ++i) {
    const VectorInstr& instr = p.code[i];
    fetch<kWidth>(p, instr.a, last, a);
    if (instr.b >= 0) fetch<kWidth>(p, instr.b, last, b);
    if (instr.c >= 0) fetch<kWidth>(p, instr.c, last, c);
    apply(instr, a, b, c, last);
    if (instr.keep >= 0) keep_value(instr.keep, last);
  }
#pragma unroll
  for (int g = 0; g < kVectorElements / kWidth; ++g) {
    const int unit = unit_of<kWidth>(p, g);
    if (unit >= p.units) return;
    if constexpr (kWidth == 4) {
      store_four(p.output, int64_t{4} * unit, p.output_type,
                 make_float4(last[4 * g], last[4 * g + 1], last[4 * g + 2], last[4 * g + 3]));
    } else {
      store_element(p.output, unit, p.output_type, last[g]);
    }
  }
}

// Where an element of the result stands in each input.
__device__ __forceinline__ void offsets_of(const PointwiseParams& p, int64_t element,
                                           int64_t (&at)[kMaxProgramInputs]) {
  int rest = static_cast<int>(element);
  for (int d = p.rank - 1; d >= 0; --d) {
    const int next = divide(rest, p.dims[d]);
    const int index = rest - next * static_cast<int>(p.dims[d].divisor);
    for (int i = 0; i < p.program.num_inputs; ++i) at[i] += index * p.strides[i][d];
    rest = next;
  }
}

// An element a thread, all values in local memory: for programs that keep more than shared memory holds.
__global__ void __launch_bounds__(kSimpleThreads) pointwise_elements(const __grid_constant__ PointwiseParams p) {
  start_later();
  wait_for_earlier();
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kSimpleThreads + threadIdx.x;
  if (element >= p.count) return;
  int64_t at[kMaxProgramInputs] = {};
  offsets_of(p, element, at);
  float values[kMaxProgramInputs + kMaxProgramCode];
  for (int i = 0; i < p.program.num_inputs; ++i) values[i] = load_element(p.inputs[i], at[i], p.input_types[i]);
  store_element(p.output, element, p.output_type, run_program(p.program, values));
}

// In 64 bits, for programs on integers and bool.
__global__ void __launch_bounds__(kSimpleThreads) pointwise_integers(const __grid_constant__ PointwiseParams p) {
  start_later();
  wait_for_earlier();
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kSimpleThreads + threadIdx.x;
  if (element >= p.count) return;
  int64_t at[kMaxProgramInputs] = {};
  offsets_of(p, element, at);
  int64_t values[kMaxProgramInputs + kMaxProgramCode];
  for (int i = 0; i < p.program.num_inputs; ++i) values[i] = load_whole(p.inputs[i], at[i], p.input_types[i]);
  store_whole(p.output, element, p.output_type,
              run_integers(p.program.code, p.program.num_code, p.program.num_inputs, p.whole, values));
}

__global__ void __launch_bounds__(kSimpleThreads)
    cast(const void* from, void* to, int64_t count, int from_type, int to_type) {
  start_later();
  wait_for_earlier();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kSimpleThreads + threadIdx.x;
  if (i >= count) return;
  cast_element(from, i, from_type, to, i, to_type);
}

template <ElementType kFrom, ElementType kTo>
__global__ void __launch_bounds__(kSimpleThreads) vector_cast(const void* from, void* to, int64_t count) {
  start_later();
  wait_for_earlier();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * 2 * kSimpleThreads + threadIdx.x;
  float4 four[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t at = 4 * (first + h * kSimpleThreads);
    if (at + 4 <= count) four[h] = load_four(from, at, kFrom);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t at = 4 * (first + h * kSimpleThreads);
    if (at + 4 <= count) store_four(to, at, kTo, four[h]);
    for (int64_t i = at; i < count && at + 4 > count; ++i) store_element(to, i, kTo, load_element(from, i, kFrom));
  }
}

template <ElementType kFrom>
const void* vector_cast_to(ElementType to) {
  switch (to) {
    case ElementType::kFloat32:
      return reinterpret_cast<const void*>(&vector_cast<kFrom, ElementType::kFloat32>);
    case ElementType::kFloat16:
      return reinterpret_cast<const void*>(&vector_cast<kFrom, ElementType::kFloat16>);
    case ElementType::kBFloat16:
      return reinterpret_cast<const void*>(&vector_cast<kFrom, ElementType::kBFloat16>);
    default:
      return nullptr;
  }
}

}  // namespace

const void* vector_program_kernel(int width) {
  return width == 4 ? reinterpret_cast<const void*>(&vector_program<4>)
                    : reinterpret_cast<const void*>(&vector_program<1>);
}
const void* pointwise_elements_kernel() { return reinterpret_cast<const void*>(&pointwise_elements); }
const void* pointwise_integers_kernel() { return reinterpret_cast<const void*>(&pointwise_integers); }
const void* cast_kernel() { return reinterpret_cast<const void*>(&cast); }
const void* vector_cast_kernel(ElementType from, ElementType to) {
  switch (from) {
    case ElementType::kFloat32:
      return vector_cast_to<ElementType::kFloat32>(to);
    case ElementType::kFloat16:
      return vector_cast_to<ElementType::kFloat16>(to);
    case ElementType::kBFloat16:
      return vector_cast_to<ElementType::kBFloat16>(to);
    default:
      return nullptr;
  }
}

}  // namespace blade::backends::cuda
