// Loads, stores and the interpreter of pointwise programs, shared by all kernels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "backends/cuda/kernel_params.h"
#include "ir/ops/pointwise.h"

namespace blade::backends::cuda {

__device__ __forceinline__ int divide(int n, const FastDivisor& d) {
  return static_cast<int>((__umulhi(static_cast<uint32_t>(n), d.multiplier) + static_cast<uint32_t>(n)) >> d.shift);
}

// Programmatic dependent launch: everything a kernel reads that an earlier one wrote, and everything it writes, comes
// after wait_for_earlier(); constants may be read before. start_later() lets the next kernel's blocks begin.
__device__ __forceinline__ void wait_for_earlier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void start_later() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Keeps a launch's parameter, or what follows from it, in a register: read again behind the wait, it may come from far
// away.
__device__ __forceinline__ void keep(int& value) { asm volatile("" : "+r"(value)); }
__device__ __forceinline__ void keep(float& value) { asm volatile("" : "+f"(value)); }
template <class T>
__device__ __forceinline__ void keep(T*& value) {
  asm volatile("" : "+l"(value));
}

__device__ __forceinline__ int kept(int value) {
  keep(value);
  return value;
}

// The same of a value that all lanes have, in a register before the next volatile instruction. keep() stops the
// compiler, not the assembler, from reading a parameter again where it is used: that one sees through copies, and
// through a shuffle of what it knows to be uniform. It does not know that no lane's mask of the lanes before it has its
// upper bit, and a value that something could be done with now (nobody counts this event) is made now.
__device__ __forceinline__ uint32_t hidden_zero() {
  uint32_t mask;
  asm("mov.u32 %0, %%lanemask_lt;" : "=r"(mask));
  return mask >> 31;
}
__device__ __forceinline__ uint32_t pinned(uint32_t value) {
  value = __shfl_sync(~0u, value + hidden_zero(), 0);
  asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, %0, 0x7f3b91d5;\n@p pmevent 0;\n}" ::"r"(value));
  return value;
}
__device__ __forceinline__ int pinned(int value) { return static_cast<int>(pinned(static_cast<uint32_t>(value))); }
__device__ __forceinline__ float pinned(float value) { return __uint_as_float(pinned(__float_as_uint(value))); }
template <class T>
__device__ __forceinline__ T pinned_pair(T value) {
  const uint32_t bits = pinned(reinterpret_cast<const uint32_t&>(value));
  return reinterpret_cast<const T&>(bits);
}
__device__ __forceinline__ __half2 pinned(__half2 value) { return pinned_pair(value); }
__device__ __forceinline__ __nv_bfloat162 pinned(__nv_bfloat162 value) { return pinned_pair(value); }
template <class T>
__device__ __forceinline__ T* pinned(T* value) {
  const auto bits = reinterpret_cast<uint64_t>(value);
  const uint64_t upper = pinned(static_cast<uint32_t>(bits >> 32)), lower = pinned(static_cast<uint32_t>(bits));
  return reinterpret_cast<T*>(upper << 32 | lower);
}

// A launch's parameters, all alike.
template <class Params>
__device__ __forceinline__ Params pinned_parameters(const Params& p) {
  static_assert(sizeof(Params) % 4 == 0);
  Params own;
  const int* from = reinterpret_cast<const int*>(&p);
  int* to = reinterpret_cast<int*>(&own);
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(Params) / 4); ++i) to[i] = pinned(from[i]);
  return own;
}

// Reads a launch's parameters once, all lines of them at the same time, for kernels that wait for nothing else.
template <class Params>
__device__ __forceinline__ void fetch_parameters(const Params& p) {
  const int* words = reinterpret_cast<const int*>(&p);
  int all = 0;
#pragma unroll
  for (int line = 0; line < static_cast<int>(sizeof(Params) / 64); ++line) all ^= words[line * 16];
  keep(all);
}

// fn<T>() for the types of 16 bits, each the address of a kernel; without bfloat16 where !kBFloat16.
template <bool kBFloat16 = true, class Fn>
KernelForms half_forms(const Fn& fn) {
  KernelForms forms;
  forms.float16 = fn.template operator()<__half>();
  if constexpr (kBFloat16) forms.bfloat16 = fn.template operator()<__nv_bfloat16>();
  return forms;
}
template <class Fn>
KernelForms all_forms(const Fn& fn) {
  KernelForms forms = half_forms(fn);
  forms.float32 = fn.template operator()<float>();
  return forms;
}

// Two neighbours of a type of 16 bits, float16 or bfloat16.
template <class T>
using Pair = std::conditional_t<std::is_same_v<T, __nv_bfloat16>, __nv_bfloat162, __half2>;

template <class T>
__device__ __forceinline__ Pair<T> to_pair(float u, float v) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __floats2bfloat162_rn(u, v);
  } else {
    return __floats2half2_rn(u, v);
  }
}
template <class T>
__device__ __forceinline__ uint32_t to_pair_bits(float u, float v) {
  const Pair<T> pair = to_pair<T>(u, v);
  return reinterpret_cast<const uint32_t&>(pair);
}
__device__ __forceinline__ float2 to_floats(__half2 pair) { return __half22float2(pair); }
__device__ __forceinline__ float2 to_floats(__nv_bfloat162 pair) { return __bfloat1622float2(pair); }
template <class T>
__device__ __forceinline__ float2 pair_at(const uint32_t& bits) {
  return to_floats(reinterpret_cast<const Pair<T>&>(bits));
}

// Two results, clamped where the epilogue says so.
template <class T>
struct PairClamp {
  Pair<T> lo, hi;
  __device__ __forceinline__ explicit PairClamp(const EpilogueParams& e)
      : lo(pinned(both(e.has_clamp ? e.lo : -INFINITY))), hi(pinned(both(e.has_clamp ? e.hi : INFINITY))) {}
  __device__ __forceinline__ Pair<T> operator()(float u, float v) const {
    return __hmin2_nan(__hmax2_nan(to_pair<T>(u, v), lo), hi);
  }
  static __device__ __forceinline__ Pair<T> both(float value) { return to_pair<T>(value, value); }
};

template <class T>
__device__ __forceinline__ float to_float(T value) {
  return static_cast<float>(value);
}
template <>
__device__ __forceinline__ float to_float(__half value) {
  return __half2float(value);
}
template <>
__device__ __forceinline__ float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
template <class T>
__device__ __forceinline__ T from_float(float value) {
  return static_cast<T>(value);
}
template <>
__device__ __forceinline__ __half from_float(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float(float value) {
  return __float2bfloat16_rn(value);
}

__device__ __forceinline__ float load_element(const void* data, int64_t i, ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return static_cast<const float*>(data)[i];
    case ElementType::kFloat16:
      return __half2float(static_cast<const __half*>(data)[i]);
    case ElementType::kBFloat16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
    default:
      return static_cast<const uint8_t*>(data)[i] != 0 ? 1.0f : 0.0f;
  }
}

__device__ __forceinline__ void store_element(void* data, int64_t i, ElementType type, float value) {
  switch (type) {
    case ElementType::kFloat32:
      static_cast<float*>(data)[i] = value;
      break;
    case ElementType::kFloat16:
      static_cast<__half*>(data)[i] = __float2half_rn(value);
      break;
    case ElementType::kBFloat16:
      static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(value);
      break;
    default:
      static_cast<uint8_t*>(data)[i] = value != 0.0f ? 1 : 0;
  }
}

// One instruction.
static __device__ float pointwise_value(ir::PointwiseOp op, float a, float b, float c, float alpha, float beta) {
  switch (op) {
#define BLADE_FLOAT_OP(name, ...) \
  case ir::PointwiseOp::name:     \
    return __VA_ARGS__;
#define BLADE_LONG_FLOAT_OP(name, ...) BLADE_FLOAT_OP(name, __VA_ARGS__)
#include "backends/cuda/kernels/float_ops.inc"
    default:
      return NAN;  // the host side sends no others here
  }
}

// values[0, num_inputs) are set; the result is the last instruction's.
static __device__ __noinline__ float run_code(const ProgramInstr* code, int num_code, int num_inputs, float* values) {
  float result = 0.0f;
  for (int i = 0; i < num_code; ++i) {
    const ProgramInstr& instr = code[i];
    result =
        pointwise_value(static_cast<ir::PointwiseOp>(instr.op), values[instr.a], instr.b >= 0 ? values[instr.b] : 0.0f,
                        instr.c >= 0 ? values[instr.c] : 0.0f, instr.alpha, instr.beta);
    values[num_inputs + i] = result;
  }
  return result;
}
__device__ __forceinline__ float run_program(const Program& program, float* values) {
  return run_code(program.code, program.num_code, program.num_inputs, values);
}

// The program of an epilogue on one element.
static __device__ __noinline__ float run_epilogue_program(const EpilogueParams& e, float value, int channel,
                                                          int64_t element) {
  float values[kMaxProgramInputs + kMaxProgramCode];
  values[0] = value;
  for (int i = 1; i < e.program.num_inputs; ++i) {
    const EpilogueParams::Operand& operand = e.operands[i - 1];
    const int64_t at = operand.kind == EpilogueParams::Kind::kScalar     ? 0
                       : operand.kind == EpilogueParams::Kind::kChannels ? channel
                                                                         : element;
    values[i] = load_element(operand.data, at, operand.type);
  }
  return run_program(e.program, values);
}

static __device__ float identity_of(ReduceOp op) {
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
static __device__ float fold(ReduceOp op, float a, float b) {
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

// `unit` bytes, at numbers of units.
template <class T>
__device__ __forceinline__ void copy_unit(const void* from, int64_t i, void* to, int64_t j) {
  static_cast<T*>(to)[j] = static_cast<const T*>(from)[i];
}
__device__ __forceinline__ void copy_units(int unit, const void* from, int64_t i, void* to, int64_t j) {
  switch (unit) {
    case 1:
      return copy_unit<uint8_t>(from, i, to, j);
    case 2:
      return copy_unit<uint16_t>(from, i, to, j);
    case 4:
      return copy_unit<uint32_t>(from, i, to, j);
    case 8:
      return copy_unit<uint2>(from, i, to, j);
    default:
      return copy_unit<uint4>(from, i, to, j);
  }
}
// Starts bringing a constant to the SM's cache, for a later load.
__device__ __forceinline__ void touch(const float* constant) {
  asm volatile("prefetch.global.L1 [%0];" ::"l"(constant));
}

// x times the normal distribution, by Abramowitz and Stegun's 7.1.26 for erfc: within 2e-7 * |x|, without a branch.
__device__ __forceinline__ float gelu_erf_inline(float x) {
  const float z = fabsf(x) * 0.70710678118654752f;
  const float t = __fdividef(1.0f, fmaf(0.3275911f, z, 1.0f));
  const float series =
      fmaf(fmaf(fmaf(fmaf(1.061405429f, t, -1.453152027f), t, 1.421413741f), t, -0.284496736f), t, 0.254829592f);
  const float erfc = series * t * __expf(-z * z);
  return 0.5f * x * (x < 0 ? erfc : 2.0f - erfc);
}
// 1 + tanh(y) is 2 * sigmoid(2 * y).
__device__ __forceinline__ float gelu_tanh_inline(float x) {
  return x / (1.0f + __expf(-1.5957691216057308f * fmaf(0.044715f * x * x, x, x)));
}
// Not inlined: they would stand there once an element, and kernels that have no such epilogue would be fetched more
// slowly.
static __device__ __noinline__ float gelu_erf(float x) { return gelu_erf_inline(x); }
static __device__ __noinline__ float gelu_tanh(float x) { return gelu_tanh_inline(x); }

__device__ __forceinline__ float activated(const EpilogueParams& e, float value, int channel) {
  switch (e.activation) {
    case EpilogueParams::Activation::kLeakyRelu:
      return value > 0 ? value : e.slope * value;
    case EpilogueParams::Activation::kPRelu:
      return value > 0 ? value : __ldg(e.slopes + channel) * value;
    case EpilogueParams::Activation::kSigmoid:
      return 1.0f / (1.0f + __expf(-value));
    case EpilogueParams::Activation::kSwish:
      return value / (1.0f + __expf(-value));
    case EpilogueParams::Activation::kHardSwish:
      return value * fminf(fmaxf(value + 3.0f, 0.0f), 6.0f) * e.slope;
    case EpilogueParams::Activation::kGeluErf:
      return gelu_erf(value);
    case EpilogueParams::Activation::kGeluTanh:
      return gelu_tanh(value);
    default:
      return value;
  }
}

// The whole epilogue of one element whose bias and residual the caller has added.
__device__ __forceinline__ float finish_element(const EpilogueParams& e, float value, int channel, int64_t element) {
  if (e.activation != EpilogueParams::Activation::kNone) value = activated(e, value, channel);
  if (e.has_clamp) value = value != value ? value : fminf(fmaxf(value, e.lo), e.hi);
  if (e.has_program) value = run_epilogue_program(e, value, channel, element);
  return value;
}

// Two neighbouring channels of the residual, of 16 bits each; zeros where there is none.
__device__ __forceinline__ uint32_t load_pair(const EpilogueParams& e, int channels, int row, int channel, int rows) {
  if (e.residual == nullptr || row >= rows || channel >= channels) return 0;
  const auto* bits = static_cast<const unsigned short*>(e.residual) + static_cast<int64_t>(row) * channels + channel;
  if ((channels & 1) == 0) return __ldcg(reinterpret_cast<const unsigned*>(bits));
  return bits[0] | (channel + 1 < channels ? static_cast<uint32_t>(bits[1]) << 16 : 0u);
}

// Two neighbouring results of a matrix kernel: bias, residual, the rest, and the store.
template <class T>
__device__ __forceinline__ void finish_pair(const EpilogueParams& e, void* output, int channels, float u, float v,
                                            float2 bias, uint32_t residual_bits, int row, int channel,
                                            bool y_is_float = false) {
  const int64_t at = static_cast<int64_t>(row) * channels + channel;
  const bool both = channel + 1 < channels;
  const float2 residual = pair_at<T>(residual_bits);
  u = finish_element(e, u + bias.x + residual.x, channel, at);
  if (both) v = finish_element(e, v + bias.y + residual.y, channel + 1, at + 1);
  if (y_is_float) {
    static_cast<float*>(output)[at] = u;
    if (both) static_cast<float*>(output)[at + 1] = v;
    return;
  }
  T* y = static_cast<T*>(output);
  if ((channels & 1) == 0) {
    *reinterpret_cast<Pair<T>*>(y + at) = to_pair<T>(u, v);
  } else {
    y[at] = from_float<T>(u);
    if (both) y[at + 1] = from_float<T>(v);
  }
}

// The same where bias and residual were not fetched ahead; the row is inside.
template <class T>
__device__ __forceinline__ void finish_pair(const EpilogueParams& e, void* output, int channels, float u, float v,
                                            int row, int channel) {
  const float2 bias = e.bias == nullptr ? make_float2(0, 0) : __ldg(reinterpret_cast<const float2*>(e.bias + channel));
  finish_pair<T>(e, output, channels, u, v, bias, load_pair(e, channels, row, channel, row + 1), row, channel);
}

}  // namespace blade::backends::cuda
