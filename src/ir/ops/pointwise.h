// Elementwise computation as a tiny straight-line program: a single op, a fused chain and a matrix kernel's epilogue
// are all the same thing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/types.h"

namespace blade::ir {

enum class PointwiseOp : uint8_t {
  // unary
  kNeg,
  kAbs,
  kSquare,
  kSqrt,
  kRsqrt,
  kReciprocal,
  kExp,
  kExpm1,
  kLog,
  kLog1p,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
  kTanh,
  kSigmoid,
  kErf,
  kErfc,
  kFloor,
  kCeil,
  kRint,
  kSign,
  kRelu,
  kRelu6,
  kElu,
  kSelu,
  kSoftplus,
  kSoftsign,
  kLeakyRelu,    // x > 0 ? x : alpha * x
  kClip,         // min(max(x, alpha), beta)
  kHardSigmoid,  // clip(alpha * x + beta, 0, 1)
  kHardSwish,    // x * clip(x + 3, 0, 6) * alpha
  kSwish,        // x * sigmoid(x)
  kGeluErf,      // 0.5 * x * (1 + erf(x / sqrt(2)))
  kGeluTanh,     // 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
  kLogicalNot,
  kBitwiseNot,
  kIsNan,
  kIsInf,
  kIsFinite,
  kAffine,  // alpha * x + beta
  // binary
  kAdd,
  kSub,
  kMul,
  kDiv,
  kDivNoNan,
  kMulNoNan,
  kXdivy,
  kXlogy,
  kFloorDiv,
  kTruncDiv,
  kFloorMod,
  kTruncMod,
  kPow,
  kMaximum,
  kMinimum,
  kSquaredDifference,
  kAtan2,
  kPRelu,  // a > 0 ? a : b * a
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kLogicalAnd,
  kLogicalOr,
  kBitwiseAnd,
  kBitwiseOr,
  kBitwiseXor,
  kLeftShift,
  kRightShift,
  // ternary
  kSelect,  // a ? b : c
  // special functions and bits
  kLgamma,
  kDigamma,
  kErfinv,
  kNdtri,  // inverse of the normal distribution function
  kPopulationCount,
  kXlog1py,
  kNextAfter,
  kNumOps,
};

int pointwise_arity(PointwiseOp op);         // 1, 2 or 3
const char* pointwise_name(PointwiseOp op);  // "add"
// dtype of the result for operands of `operand` (comparisons and predicates give bool; Select gives its b's dtype).
DType pointwise_result_dtype(PointwiseOp op, DType operand);

// Operands are program inputs (< num_inputs) or results of earlier instructions (num_inputs + their index).
struct PointwiseInstr {
  PointwiseOp op = PointwiseOp::kAdd;
  int16_t a = 0, b = -1, c = -1;
  float alpha = 0, beta = 0;
  bool operator==(const PointwiseInstr&) const = default;
};

// The result is the last instruction's. A program of several instructions works in one floating dtype (masks between
// compare and select are internal); a single instruction may have any dtypes its op allows.
struct PointwiseProgram {
  int16_t num_inputs = 0;
  std::vector<PointwiseInstr> code;

  bool empty() const { return code.empty(); }
  bool is_single(PointwiseOp op) const { return code.size() == 1 && code[0].op == op; }
  static PointwiseProgram unary(PointwiseOp op, float alpha = 0, float beta = 0);
  static PointwiseProgram binary(PointwiseOp op);
  static PointwiseProgram ternary(PointwiseOp op);
  bool operator==(const PointwiseProgram&) const = default;
};

// Runs `next` after `first`: next's input `slot` becomes first's result; next's other inputs are appended after
// first's, in order. The appended inputs' numbers are first.num_inputs, first.num_inputs + 1, ...
PointwiseProgram compose(const PointwiseProgram& first, const PointwiseProgram& next, int slot);
Status verify(const PointwiseProgram& program);
std::string to_string(const PointwiseProgram& program);  // "t3 = add(in0, in1); t4 = relu(t3)"

}  // namespace blade::ir
