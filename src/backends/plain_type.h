// Choice of a loop by element type, for kernels that are templates over it.
#pragma once

#include <cstdint>

#include "ir/types.h"

namespace blade::backends {

// float32, float64 and the integers.
inline bool is_plain_type(ir::DType dtype) {
  return ir::is_integer(dtype) || dtype == ir::DType::kFloat32 || dtype == ir::DType::kFloat64;
}

// Calls fn(T{}) for a plain type, and fn(uint8_t{}) for bool.
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

}  // namespace blade::backends
