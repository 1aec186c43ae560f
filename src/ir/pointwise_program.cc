// Elementwise programs: the table of their ops, composition, checks and printing.
#include <iterator>

#include "ir/ops/pointwise.h"
#include "ir/text.h"

namespace blade::ir {
namespace {

struct Row {
  PointwiseOp op;
  const char* name;
  int arity;
  bool gives_bool = false;
  bool uses_alpha = false, uses_beta = false;
  bool gives_uint8 = false;
};
using P = PointwiseOp;

constexpr Row kRows[] = {
    {P::kNeg, "neg", 1},
    {P::kAbs, "abs", 1},
    {P::kSquare, "square", 1},
    {P::kSqrt, "sqrt", 1},
    {P::kRsqrt, "rsqrt", 1},
    {P::kReciprocal, "reciprocal", 1},
    {P::kExp, "exp", 1},
    {P::kExpm1, "expm1", 1},
    {P::kLog, "log", 1},
    {P::kLog1p, "log1p", 1},
    {P::kSin, "sin", 1},
    {P::kCos, "cos", 1},
    {P::kTan, "tan", 1},
    {P::kAsin, "asin", 1},
    {P::kAcos, "acos", 1},
    {P::kAtan, "atan", 1},
    {P::kSinh, "sinh", 1},
    {P::kCosh, "cosh", 1},
    {P::kAsinh, "asinh", 1},
    {P::kAcosh, "acosh", 1},
    {P::kAtanh, "atanh", 1},
    {P::kTanh, "tanh", 1},
    {P::kSigmoid, "sigmoid", 1},
    {P::kErf, "erf", 1},
    {P::kErfc, "erfc", 1},
    {P::kFloor, "floor", 1},
    {P::kCeil, "ceil", 1},
    {P::kRint, "rint", 1},
    {P::kSign, "sign", 1},
    {P::kRelu, "relu", 1},
    {P::kRelu6, "relu6", 1},
    {P::kElu, "elu", 1},
    {P::kSelu, "selu", 1},
    {P::kSoftplus, "softplus", 1},
    {P::kSoftsign, "softsign", 1},
    {P::kLeakyRelu, "leaky_relu", 1, false, true},
    {P::kClip, "clip", 1, false, true, true},
    {P::kHardSigmoid, "hard_sigmoid", 1, false, true, true},
    {P::kHardSwish, "hard_swish", 1},
    {P::kSwish, "swish", 1},
    {P::kGeluErf, "gelu_erf", 1},
    {P::kGeluTanh, "gelu_tanh", 1},
    {P::kLogicalNot, "logical_not", 1, true},
    {P::kBitwiseNot, "bitwise_not", 1},
    {P::kIsNan, "is_nan", 1, true},
    {P::kIsInf, "is_inf", 1, true},
    {P::kIsFinite, "is_finite", 1, true},
    {P::kAffine, "affine", 1, false, true, true},
    {P::kAdd, "add", 2},
    {P::kSub, "sub", 2},
    {P::kMul, "mul", 2},
    {P::kDiv, "div", 2},
    {P::kDivNoNan, "div_no_nan", 2},
    {P::kMulNoNan, "mul_no_nan", 2},
    {P::kXdivy, "xdivy", 2},
    {P::kXlogy, "xlogy", 2},
    {P::kFloorDiv, "floor_div", 2},
    {P::kTruncDiv, "trunc_div", 2},
    {P::kFloorMod, "floor_mod", 2},
    {P::kTruncMod, "trunc_mod", 2},
    {P::kPow, "pow", 2},
    {P::kMaximum, "maximum", 2},
    {P::kMinimum, "minimum", 2},
    {P::kSquaredDifference, "squared_difference", 2},
    {P::kAtan2, "atan2", 2},
    {P::kPRelu, "prelu", 2},
    {P::kEqual, "equal", 2, true},
    {P::kNotEqual, "not_equal", 2, true},
    {P::kLess, "less", 2, true},
    {P::kLessEqual, "less_equal", 2, true},
    {P::kGreater, "greater", 2, true},
    {P::kGreaterEqual, "greater_equal", 2, true},
    {P::kLogicalAnd, "logical_and", 2, true},
    {P::kLogicalOr, "logical_or", 2, true},
    {P::kBitwiseAnd, "bitwise_and", 2},
    {P::kBitwiseOr, "bitwise_or", 2},
    {P::kBitwiseXor, "bitwise_xor", 2},
    {P::kLeftShift, "left_shift", 2},
    {P::kRightShift, "right_shift", 2},
    {P::kSelect, "select", 3},
    {P::kLgamma, "lgamma", 1},
    {P::kDigamma, "digamma", 1},
    {P::kErfinv, "erfinv", 1},
    {P::kNdtri, "ndtri", 1},
    {P::kPopulationCount, "population_count", 1, false, false, false, true},
    {P::kXlog1py, "xlog1py", 2},
    {P::kNextAfter, "next_after", 2},
};

constexpr bool rows_are_in_enum_order() {
  if (std::size(kRows) != static_cast<size_t>(P::kNumOps)) return false;
  for (size_t i = 0; i < std::size(kRows); ++i) {
    if (static_cast<size_t>(kRows[i].op) != i) return false;
  }
  return true;
}
static_assert(rows_are_in_enum_order());

const Row& row(PointwiseOp op) { return kRows[static_cast<size_t>(op)]; }

std::string operand_name(const PointwiseProgram& program, int operand) {
  return operand < program.num_inputs ? concat("in", operand) : concat("t", operand);
}

}  // namespace

int pointwise_arity(PointwiseOp op) { return row(op).arity; }
const char* pointwise_name(PointwiseOp op) { return row(op).name; }
DType pointwise_result_dtype(PointwiseOp op, DType operand) {
  if (row(op).gives_uint8) return DType::kUInt8;
  return row(op).gives_bool ? DType::kBool : operand;
}

PointwiseProgram PointwiseProgram::unary(PointwiseOp op, float alpha, float beta) {
  return {1, {{op, 0, -1, -1, alpha, beta}}};
}
PointwiseProgram PointwiseProgram::binary(PointwiseOp op) { return {2, {{op, 0, 1, -1, 0, 0}}}; }
PointwiseProgram PointwiseProgram::ternary(PointwiseOp op) { return {3, {{op, 0, 1, 2, 0, 0}}}; }

PointwiseProgram compose(const PointwiseProgram& first, const PointwiseProgram& next, int slot) {
  if (first.empty()) return next;
  if (next.empty()) return first;
  const auto first_size = static_cast<int16_t>(first.code.size());
  PointwiseProgram out;
  out.num_inputs = static_cast<int16_t>(first.num_inputs + next.num_inputs - 1);
  const auto added = static_cast<int16_t>(next.num_inputs - 1);
  for (PointwiseInstr instr : first.code) {
    for (int16_t* operand : {&instr.a, &instr.b, &instr.c}) {
      if (*operand >= first.num_inputs) *operand = static_cast<int16_t>(*operand + added);
    }
    out.code.push_back(instr);
  }
  for (PointwiseInstr instr : next.code) {
    for (int16_t* operand : {&instr.a, &instr.b, &instr.c}) {
      if (*operand < 0) continue;
      int value = *operand;
      if (value >= next.num_inputs) {
        value = out.num_inputs + first_size + (value - next.num_inputs);
      } else if (value == slot) {
        value = out.num_inputs + first_size - 1;
      } else {
        value = first.num_inputs + value - (value > slot ? 1 : 0);
      }
      *operand = static_cast<int16_t>(value);
    }
    out.code.push_back(instr);
  }
  return out;
}

Status verify(const PointwiseProgram& program) {
  if (program.num_inputs < 0 || program.code.size() + static_cast<size_t>(program.num_inputs) > 4096) {
    return invalid_argument(concat("An elementwise program has ", program.num_inputs, " inputs and ",
                                   program.code.size(), " instructions; at most 4096 operands are allowed."));
  }
  for (size_t i = 0; i < program.code.size(); ++i) {
    const PointwiseInstr& instr = program.code[i];
    if (instr.op >= PointwiseOp::kNumOps) {
      return invalid_argument(concat("Instruction ", i, " of an elementwise program has no known op."));
    }
    const int16_t operands[] = {instr.a, instr.b, instr.c};
    for (int k = 0; k < 3; ++k) {
      const bool used = k < pointwise_arity(instr.op);
      const int limit = program.num_inputs + static_cast<int>(i);
      if (used ? operands[k] < 0 || operands[k] >= limit : operands[k] > 0) {
        return invalid_argument(concat("Instruction ", i, " (", pointwise_name(instr.op),
                                       ") of an elementwise program reads operand ", operands[k],
                                       "; expected one of the ", limit, " computed before it."));
      }
    }
  }
  return Status();
}

std::string to_string(const PointwiseProgram& program) {
  std::ostringstream out;
  for (size_t i = 0; i < program.code.size(); ++i) {
    const PointwiseInstr& instr = program.code[i];
    if (i > 0) out << "; ";
    out << operand_name(program, program.num_inputs + static_cast<int>(i)) << " = " << pointwise_name(instr.op) << '(';
    const int16_t operands[] = {instr.a, instr.b, instr.c};
    for (int k = 0; k < pointwise_arity(instr.op); ++k) {
      out << (k ? ", " : "") << operand_name(program, operands[k]);
    }
    if (row(instr.op).uses_alpha) out << ", alpha=" << instr.alpha;
    if (row(instr.op).uses_beta) out << ", beta=" << instr.beta;
    out << ')';
  }
  return out.str();
}

}  // namespace blade::ir
