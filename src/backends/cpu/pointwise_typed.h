// Loops for single pointwise instructions on integers, bool and float64.
#pragma once

#include <atomic>
#include <cstdint>

#include "ir/ops/pointwise.h"

namespace blade::backends::cpu {

enum class TypedError : uint8_t { kNone, kDivisionByZero };

// Operands of one row; a stride is 1, or 0 where the operand repeats.
struct TypedRow {
  const void* in[3] = {};
  int64_t stride[3] = {};
  void* out = nullptr;
  int64_t count = 0;
  const ir::PointwiseInstr* instr = nullptr;
};
using TypedRowFunction = TypedError (*)(const TypedRow&);

// nullptr where the instruction has no loop for that dtype (the reference kernel then runs). `operand` is the dtype of
// operand a, or of b for Select.
TypedRowFunction typed_row_function(ir::PointwiseOp op, ir::DType operand);

}  // namespace blade::backends::cpu
