// Choice of a loop by element type, for kernels that are templates over it.
#pragma once

#include <cstdint>
#include <type_traits>

#include "backends/kernel.h"
#include "backends/plain_type.h"

namespace blade::backends::cpu {

// 16-bit floats are widened before they get here.
inline Support needs_plain_type(const KernelRequest& request) {
  for (const TensorDesc* desc : {&request.inputs[0], &request.outputs[0]}) {
    if (!is_plain_type(desc->dtype)) return Support::no(std::string("has no loop for ") + ir::dtype_name(desc->dtype));
  }
  return Support::yes();
}

// What sums and products of T are computed in: unsigned for integers, because overflow wraps around.
template <class T>
using Accumulator =
    std::conditional_t<std::is_floating_point_v<T>, T, std::conditional_t<(sizeof(T) > 4), uint64_t, uint32_t>>;

}  // namespace blade::backends::cpu
