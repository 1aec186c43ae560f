// One pointwise instruction on one element, in double or 64-bit integers.
#pragma once

#include "backends/reference/common.h"

namespace blade::backends::reference {

// Why an element has no value; the kernel turns it into a sentence.
enum class MathError : uint8_t { kNone, kDivisionByZero, kNegativePower, kNotForIntegers };

// Operands of `instr` in the wide type; `dtype` is that of operand a (b for Select): its width decides shifts and its
// precision the intermediate roundings.
double apply_instr(const ir::PointwiseInstr& instr, double a, double b, double c, ir::DType dtype, MathError& error);
int64_t apply_instr(const ir::PointwiseInstr& instr, int64_t a, int64_t b, int64_t c, ir::DType dtype,
                    MathError& error);
uint64_t apply_instr(const ir::PointwiseInstr& instr, uint64_t a, uint64_t b, uint64_t c, ir::DType dtype,
                     MathError& error);

// A whole program on one element.
template <class W>
class ProgramEvaluator {
 public:
  ProgramEvaluator(const ir::PointwiseProgram& program, std::span<const ir::DType> input_dtypes);
  W evaluate(std::span<const W> inputs);
  MathError error() const { return error_; }

 private:
  const ir::PointwiseProgram& program_;
  std::vector<ir::DType> dtypes_;  // of inputs, then of each instruction's result
  std::vector<W> values_;
  MathError error_ = MathError::kNone;
};

Status math_error_status(const std::string& where, MathError error);

}  // namespace blade::backends::reference
