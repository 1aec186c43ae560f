// Choice of a loop by element type, for kernels that are templates over it.
#pragma once

#include <cstdint>
#include <type_traits>

#include "backends/kernel.h"

namespace blade::backends::cpu {

// float32, float64 and the integers; 16-bit floats are widened before they get here.
inline bool is_plain_type(ir::DType dtype) {
  return ir::is_integer(dtype) || dtype == ir::DType::kFloat32 || dtype == ir::DType::kFloat64;
}

inline Support needs_plain_type(const KernelRequest& request) {
  for (const TensorDesc* desc : {&request.inputs[0], &request.outputs[0]}) {
    if (!is_plain_type(desc->dtype)) return Support::no(std::string("has no loop for ") + ir::dtype_name(desc->dtype));
  }
  return Support::yes();
}

// Calls fn(T{}) for a plain type.
template <class Fn>
auto with_plain_type(ir::DType dtype, Fn&& fn) {
  switch (dtype) {
    case ir::DType::kFloat32:
      return fn(float{});
    case ir::DType::kFloat64:
      return fn(double{});
    case ir::DType::kInt8:
      return fn(int8_t{});
    case ir::DType::kInt16:
      return fn(int16_t{});
    case ir::DType::kInt32:
      return fn(int32_t{});
    case ir::DType::kInt64:
      return fn(int64_t{});
    case ir::DType::kUInt16:
      return fn(uint16_t{});
    case ir::DType::kUInt32:
      return fn(uint32_t{});
    case ir::DType::kUInt64:
      return fn(uint64_t{});
    default:
      return fn(uint8_t{});
  }
}

// What sums and products of T are computed in: unsigned for integers, because overflow wraps around.
template <class T>
using Accumulator =
    std::conditional_t<std::is_floating_point_v<T>, T, std::conditional_t<(sizeof(T) > 4), uint64_t, uint32_t>>;

}  // namespace blade::backends::cpu
