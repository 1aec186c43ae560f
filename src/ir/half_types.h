// The floating types of 16 bits.
#pragma once

#include "ir/types.h"

namespace blade::ir {

inline bool is_half(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kBFloat16; }

}  // namespace blade::ir
