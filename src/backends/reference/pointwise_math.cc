// The meaning of every pointwise instruction, as TensorFlow's op of that name defines it.
#include "backends/reference/pointwise_math.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "backends/reference/special_functions.h"

namespace blade::backends::reference {
namespace {

using ir::PointwiseOp;

constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
constexpr double kSeluScale = 1.0507009873554804934193349852946;
constexpr double kSeluScaleAlpha = 1.7580993408473768599402175208123;

// NaN wins, as in TensorFlow's Maximum, Minimum and Relu.
double max_of(double a, double b) { return a > b || std::isnan(a) ? a : b; }
double min_of(double a, double b) { return a < b || std::isnan(a) ? a : b; }
double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
double sign(double x) { return std::isnan(x) ? x : static_cast<double>((x > 0) - (x < 0)); }

double floor_mod(double a, double b) {
  const double r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

double gelu_tanh(double x) { return 0.5 * x * (1 + std::tanh(kSqrtTwoOverPi * (x + 0.044715 * x * x * x))); }

double apply_float_unary(const ir::PointwiseInstr& instr, double x) {
  const double alpha = instr.alpha, beta = instr.beta;
  switch (instr.op) {
    case PointwiseOp::kNeg:
      return -x;
    case PointwiseOp::kAbs:
      return std::fabs(x);
    case PointwiseOp::kSquare:
      return x * x;
    case PointwiseOp::kSqrt:
      return std::sqrt(x);
    case PointwiseOp::kRsqrt:
      return 1 / std::sqrt(x);
    case PointwiseOp::kReciprocal:
      return 1 / x;
    case PointwiseOp::kExp:
      return std::exp(x);
    case PointwiseOp::kExpm1:
      return std::expm1(x);
    case PointwiseOp::kLog:
      return std::log(x);
    case PointwiseOp::kLog1p:
      return std::log1p(x);
    case PointwiseOp::kSin:
      return std::sin(x);
    case PointwiseOp::kCos:
      return std::cos(x);
    case PointwiseOp::kTan:
      return std::tan(x);
    case PointwiseOp::kAsin:
      return std::asin(x);
    case PointwiseOp::kAcos:
      return std::acos(x);
    case PointwiseOp::kAtan:
      return std::atan(x);
    case PointwiseOp::kSinh:
      return std::sinh(x);
    case PointwiseOp::kCosh:
      return std::cosh(x);
    case PointwiseOp::kAsinh:
      return std::asinh(x);
    case PointwiseOp::kAcosh:
      return std::acosh(x);
    case PointwiseOp::kAtanh:
      return std::atanh(x);
    case PointwiseOp::kTanh:
      return std::tanh(x);
    case PointwiseOp::kSigmoid:
      return sigmoid(x);
    case PointwiseOp::kErf:
      return std::erf(x);
    case PointwiseOp::kErfc:
      return std::erfc(x);
    case PointwiseOp::kFloor:
      return std::floor(x);
    case PointwiseOp::kCeil:
      return std::ceil(x);
    case PointwiseOp::kRint:
      return std::nearbyint(x);
    case PointwiseOp::kSign:
      return sign(x);
    case PointwiseOp::kRelu:
      return max_of(x, 0);
    case PointwiseOp::kRelu6:
      return min_of(max_of(x, 0), 6);
    case PointwiseOp::kElu:
      return x < 0 ? std::expm1(x) : x;
    case PointwiseOp::kSelu:
      return x < 0 ? kSeluScaleAlpha * std::expm1(x) : kSeluScale * x;
    case PointwiseOp::kSoftplus:
      return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
    case PointwiseOp::kSoftsign:
      return x / (1 + std::fabs(x));
    case PointwiseOp::kLeakyRelu:
      return x > 0 ? x : alpha * x;
    case PointwiseOp::kClip:
      return min_of(max_of(x, alpha), beta);
    case PointwiseOp::kHardSigmoid:
      return min_of(max_of(alpha * x + beta, 0), 1);
    case PointwiseOp::kHardSwish:
      return x * min_of(max_of(x + 3, 0), 6) * alpha;
    case PointwiseOp::kSwish:
      return x * sigmoid(x);
    case PointwiseOp::kGeluErf:
      return 0.5 * x * std::erfc(-x * kSqrtHalf);
    case PointwiseOp::kGeluTanh:
      return gelu_tanh(x);
    case PointwiseOp::kLogicalNot:
      return x == 0;
    case PointwiseOp::kIsNan:
      return std::isnan(x);
    case PointwiseOp::kIsInf:
      return std::isinf(x);
    case PointwiseOp::kIsFinite:
      return std::isfinite(x);
    case PointwiseOp::kAffine:
      return alpha * x + beta;
    case PointwiseOp::kLgamma:
      return std::lgamma(x);
    case PointwiseOp::kDigamma:
      return digamma(x);
    case PointwiseOp::kErfinv:
      return erf_inverse(x);
    case PointwiseOp::kNdtri:
      return normal_quantile(x);
    default:
      return std::numeric_limits<double>::quiet_NaN();
  }
}

// What comparisons and logic say of any two numbers; nothing for other instructions.
template <class W>
std::optional<bool> truth_of(PointwiseOp op, W a, W b) {
  switch (op) {
    case PointwiseOp::kEqual:
      return a == b;
    case PointwiseOp::kNotEqual:
      return a != b;
    case PointwiseOp::kLess:
      return a < b;
    case PointwiseOp::kLessEqual:
      return a <= b;
    case PointwiseOp::kGreater:
      return a > b;
    case PointwiseOp::kGreaterEqual:
      return a >= b;
    case PointwiseOp::kLogicalAnd:
      return a != 0 && b != 0;
    case PointwiseOp::kLogicalOr:
      return a != 0 || b != 0;
    default:
      return std::nullopt;
  }
}

double apply_float_binary(PointwiseOp op, double a, double b, ir::DType dtype) {
  switch (op) {
    case PointwiseOp::kAdd:
      return a + b;
    case PointwiseOp::kSub:
      return a - b;
    case PointwiseOp::kMul:
      return a * b;
    case PointwiseOp::kDiv:
      return a / b;
    case PointwiseOp::kDivNoNan:
      return b == 0 ? 0 : a / b;
    case PointwiseOp::kMulNoNan:
      return b == 0 ? 0 : a * b;
    case PointwiseOp::kXdivy:
      return a == 0 ? 0 : a / b;
    case PointwiseOp::kXlogy:
      return a == 0 ? 0 : a * std::log(b);
    case PointwiseOp::kXlog1py:
      return a == 0 ? 0 : a * std::log1p(b);
    case PointwiseOp::kNextAfter:
      if (dtype == ir::DType::kFloat64) return std::nextafter(a, b);
      return std::nextafter(static_cast<float>(a), static_cast<float>(b));
    case PointwiseOp::kFloorDiv:
      return std::floor(rounded(a / b, dtype));  // the quotient is rounded first
    case PointwiseOp::kTruncDiv:
      return std::trunc(rounded(a / b, dtype));
    case PointwiseOp::kFloorMod:
      return floor_mod(a, b);
    case PointwiseOp::kTruncMod:
      return std::fmod(a, b);
    case PointwiseOp::kPow:
      return std::pow(a, b);
    case PointwiseOp::kMaximum:
      return max_of(a, b);
    case PointwiseOp::kMinimum:
      return min_of(a, b);
    case PointwiseOp::kSquaredDifference:
      return rounded(a - b, dtype) * rounded(a - b, dtype);
    case PointwiseOp::kAtan2:
      return std::atan2(a, b);
    case PointwiseOp::kPRelu:
      return a > 0 ? a : b * a;
    default:
      if (const std::optional<bool> truth = truth_of(op, a, b)) return *truth;
      return std::numeric_limits<double>::quiet_NaN();
  }
}

template <class W>
W wrapping(PointwiseOp op, W a, W b) {
  const auto x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
  switch (op) {
    case PointwiseOp::kAdd:
      return static_cast<W>(x + y);
    case PointwiseOp::kSub:
      return static_cast<W>(x - y);
    default:
      return static_cast<W>(x * y);
  }
}

template <class W>
W trunc_div(W a, W b) {
  if constexpr (std::is_signed_v<W>) {
    if (b == -1) return wrapping(PointwiseOp::kSub, W(0), a);  // also where the machine would trap
  }
  return a / b;
}

template <class W>
W trunc_mod(W a, W b) {
  if constexpr (std::is_signed_v<W>) {
    if (b == -1) return 0;
  }
  return a % b;
}

template <class W>
W int_power(W base, W exponent, MathError& error) {
  if constexpr (std::is_signed_v<W>) {
    if (exponent < 0) {
      error = MathError::kNegativePower;
      return 0;
    }
  }
  W result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0) result = wrapping(PointwiseOp::kMul, result, base);
    base = wrapping(PointwiseOp::kMul, base, base);
  }
  return result;
}

template <class W>
W int_divide(PointwiseOp op, W a, W b, MathError& error) {
  if (b == 0) {
    if (op == PointwiseOp::kDivNoNan) return 0;
    error = MathError::kDivisionByZero;
    return 0;
  }
  const W mod = trunc_mod(a, b);
  const bool signs_differ = mod != 0 && (mod < 0) != (b < 0);
  switch (op) {
    case PointwiseOp::kFloorDiv:
      return trunc_div(a, b) - static_cast<W>(signs_differ);
    case PointwiseOp::kFloorMod:
      return signs_differ ? mod + b : mod;
    case PointwiseOp::kTruncMod:
      return mod;
    default:
      return trunc_div(a, b);
  }
}

// Shift counts are clamped to the type's width, as TensorFlow's bitwise shifts do.
template <class W>
W shift(PointwiseOp op, W a, W b, ir::DType dtype) {
  const auto bits = static_cast<int64_t>(8 * ir::dtype_size(dtype));
  const auto count = static_cast<int>(std::clamp<int64_t>(static_cast<int64_t>(b), 0, bits - 1));
  if (op == PointwiseOp::kRightShift) return a >> count;
  return static_cast<W>(static_cast<uint64_t>(a) << count);
}

template <class W>
W apply_int(const ir::PointwiseInstr& instr, W a, W b, W c, ir::DType dtype, MathError& error) {
  switch (instr.op) {
    case PointwiseOp::kNeg:
      return wrapping(PointwiseOp::kSub, W(0), a);
    case PointwiseOp::kAbs:
      return a < 0 ? wrapping(PointwiseOp::kSub, W(0), a) : a;
    case PointwiseOp::kSquare:
      return wrapping(PointwiseOp::kMul, a, a);
    case PointwiseOp::kSign:
      return static_cast<W>((a > 0) - (a < 0));
    case PointwiseOp::kFloor:
    case PointwiseOp::kCeil:
    case PointwiseOp::kRint:
      return a;
    case PointwiseOp::kRelu:
      return a > 0 ? a : 0;
    case PointwiseOp::kRelu6:
      return std::clamp<W>(a, 0, 6);
    case PointwiseOp::kLogicalNot:
      return a == 0;
    case PointwiseOp::kBitwiseNot:
      return ~a;
    case PointwiseOp::kPopulationCount: {
      const size_t unused = 64 - 8 * ir::dtype_size(dtype);
      return static_cast<W>(std::popcount(static_cast<uint64_t>(a) << unused));
    }
    case PointwiseOp::kIsFinite:
      return 1;
    case PointwiseOp::kIsNan:
    case PointwiseOp::kIsInf:
      return 0;
    case PointwiseOp::kAdd:
    case PointwiseOp::kSub:
    case PointwiseOp::kMul:
      return wrapping(instr.op, a, b);
    case PointwiseOp::kDiv:
    case PointwiseOp::kDivNoNan:
    case PointwiseOp::kFloorDiv:
    case PointwiseOp::kTruncDiv:
    case PointwiseOp::kFloorMod:
    case PointwiseOp::kTruncMod:
      return int_divide(instr.op, a, b, error);
    case PointwiseOp::kPow:
      return int_power(a, b, error);
    case PointwiseOp::kMaximum:
      return std::max(a, b);
    case PointwiseOp::kMinimum:
      return std::min(a, b);
    case PointwiseOp::kSquaredDifference: {
      const W difference = wrapping(PointwiseOp::kSub, a, b);
      return wrapping(PointwiseOp::kMul, difference, difference);
    }
    case PointwiseOp::kBitwiseAnd:
      return a & b;
    case PointwiseOp::kBitwiseOr:
      return a | b;
    case PointwiseOp::kBitwiseXor:
      return a ^ b;
    case PointwiseOp::kLeftShift:
    case PointwiseOp::kRightShift:
      return shift(instr.op, a, b, dtype);
    case PointwiseOp::kSelect:
      return a != 0 ? b : c;
    default:
      if (const std::optional<bool> truth = truth_of(instr.op, a, b)) return *truth;
      error = MathError::kNotForIntegers;
      return 0;
  }
}

}  // namespace

double apply_instr(const ir::PointwiseInstr& instr, double a, double b, double c, ir::DType dtype, MathError&) {
  if (instr.op == PointwiseOp::kSelect) return a != 0 ? b : c;
  return ir::pointwise_arity(instr.op) == 1 ? apply_float_unary(instr, a) : apply_float_binary(instr.op, a, b, dtype);
}

int64_t apply_instr(const ir::PointwiseInstr& instr, int64_t a, int64_t b, int64_t c, ir::DType dtype,
                    MathError& error) {
  return apply_int(instr, a, b, c, dtype, error);
}

uint64_t apply_instr(const ir::PointwiseInstr& instr, uint64_t a, uint64_t b, uint64_t c, ir::DType dtype,
                     MathError& error) {
  return apply_int(instr, a, b, c, dtype, error);
}

template <class W>
ProgramEvaluator<W>::ProgramEvaluator(const ir::PointwiseProgram& program, std::span<const ir::DType> input_dtypes)
    : program_(program), dtypes_(input_dtypes.begin(), input_dtypes.end()) {
  dtypes_.resize(static_cast<size_t>(program.num_inputs), ir::DType::kFloat32);
  for (const ir::PointwiseInstr& instr : program.code) {
    const ir::DType operand = dtypes_[instr.op == PointwiseOp::kSelect ? instr.b : instr.a];
    dtypes_.push_back(ir::pointwise_result_dtype(instr.op, operand));
  }
  values_.resize(dtypes_.size());
}

template <class W>
W ProgramEvaluator<W>::evaluate(std::span<const W> inputs) {
  std::copy(inputs.begin(), inputs.end(), values_.begin());
  size_t next = inputs.size();
  for (const ir::PointwiseInstr& instr : program_.code) {
    const W b = instr.b >= 0 ? values_[instr.b] : W(0);
    const W c = instr.c >= 0 ? values_[instr.c] : W(0);
    const ir::DType operand = dtypes_[instr.op == PointwiseOp::kSelect ? instr.b : instr.a];
    const W result = apply_instr(instr, values_[instr.a], b, c, operand, error_);
    values_[next] = rounded(result, dtypes_[next]);
    ++next;
  }
  return values_[next - 1];
}

template class ProgramEvaluator<double>;
template class ProgramEvaluator<int64_t>;
template class ProgramEvaluator<uint64_t>;

Status math_error_status(const std::string& where, MathError error) {
  switch (error) {
    case MathError::kNone:
      return Status::ok_status();
    case MathError::kDivisionByZero:
      return invalid_argument(where + "integer division by zero; the divisor must not contain 0.");
    case MathError::kNegativePower:
      return invalid_argument(where +
                              "an integer is raised to a negative power; exponents must be 0 or more, or use floats.");
    case MathError::kNotForIntegers:
      return unimplemented(where + "this function is defined for floating types, but its operands are integers.");
  }
  return internal_error("unknown math error");
}

}  // namespace blade::backends::reference
