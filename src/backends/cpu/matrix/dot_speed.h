// Whether dot products of pairs of bfloat16 are worth their instruction.
#pragma once

#include "backends/machine.h"

namespace blade::backends::cpu {

// On Intel's processors such a product takes more than twice the time of a multiply-add in float32, on AMD's the same.
inline bool has_fast_bf16_dots(const Machine& machine) { return machine.vendor != "GenuineIntel"; }

}  // namespace blade::backends::cpu
