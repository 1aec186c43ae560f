// Vector versions of the common instructions for each instruction set; rare ones call the C library element by element.
#include "backends/cpu/pointwise_blocks.h"

#include <cmath>

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/pointwise_blocks.cc"
#include "hwy/foreach_target.h"
// After foreach_target, which decides what highway.h compiles for.
#include "backends/cpu/pointwise_math_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {
namespace {

using ir::PointwiseOp;

template <class Fn>
HWY_ATTR void unary(const BlockArgs& args) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < args.count; i += lanes)
    hn::StoreU(Fn::apply(hn::LoadU(d, args.a + i), args), d, args.out + i);
}

template <class Fn>
HWY_ATTR void binary(const BlockArgs& args) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < args.count; i += lanes) {
    hn::StoreU(Fn::apply(hn::LoadU(d, args.a + i), hn::LoadU(d, args.b + i)), d, args.out + i);
  }
}

HWY_ATTR void select(const BlockArgs& args) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < args.count; i += lanes) {
    const auto mask = hn::Ne(hn::LoadU(d, args.a + i), hn::Zero(d));
    hn::StoreU(hn::IfThenElse(mask, hn::LoadU(d, args.b + i), hn::LoadU(d, args.c + i)), d, args.out + i);
  }
}

template <class M>
HWY_ATTR HWY_INLINE V truth(M mask) {
  return hn::IfThenElseZero(mask, constant(1));
}

#define BLADE_UNARY(name, expression)                                \
  struct name {                                                      \
    static HWY_ATTR HWY_INLINE V apply(V x, const BlockArgs& args) { \
      (void)args;                                                    \
      return expression;                                             \
    }                                                                \
  };
BLADE_UNARY(Neg, hn::Neg(x))
BLADE_UNARY(Abs, hn::Abs(x))
BLADE_UNARY(Square, hn::Mul(x, x))
BLADE_UNARY(Sqrt, hn::Sqrt(x))
BLADE_UNARY(Rsqrt, hn::Div(constant(1), hn::Sqrt(x)))
BLADE_UNARY(Reciprocal, hn::Div(constant(1), x))
BLADE_UNARY(Exp, exp_of(x))
BLADE_UNARY(Expm1, expm1_of(x))
BLADE_UNARY(Log, log_of(x))
BLADE_UNARY(Log1p, log1p_of(x))
BLADE_UNARY(Sin, sin_of(x))
BLADE_UNARY(Cos, cos_of(x))
BLADE_UNARY(Atan, atan_of(x))
BLADE_UNARY(Tanh, tanh_of(x))
BLADE_UNARY(Sigmoid, sigmoid_of(x))
BLADE_UNARY(Asin, asin_of(x))
BLADE_UNARY(Acos, acos_of(x))
BLADE_UNARY(Atanh, atanh_of(x))
BLADE_UNARY(Erf, erf_of(x))
BLADE_UNARY(Erfc, erfc_of(x))
BLADE_UNARY(Floor, hn::Floor(x))
BLADE_UNARY(Ceil, hn::Ceil(x))
BLADE_UNARY(Rint, hn::Round(x))
BLADE_UNARY(Sign, keep_nan(x, hn::Sub(truth(hn::Gt(x, constant(0))), truth(hn::Lt(x, constant(0))))))
// Operand order: x86's maximum returns its second operand when the first is NaN or both are zero.
BLADE_UNARY(Relu, hn::IfThenElse(hn::Lt(x, constant(0)), constant(0), x))
BLADE_UNARY(Relu6, min_of(hn::IfThenElse(hn::Lt(x, constant(0)), constant(0), x), constant(6)))
BLADE_UNARY(Elu, hn::IfThenElse(hn::Lt(x, constant(0)), expm1_of(x), x))
BLADE_UNARY(Selu, hn::IfThenElse(hn::Lt(x, constant(0)), hn::Mul(constant(1.7580993408473768f), expm1_of(x)),
                                 hn::Mul(constant(1.0507009873554805f), x)))
BLADE_UNARY(Softplus, softplus_of(x))
BLADE_UNARY(Softsign, hn::Div(x, hn::Add(constant(1), hn::Abs(x))))
BLADE_UNARY(LeakyRelu, hn::IfThenElse(hn::Gt(x, constant(0)), x, hn::Mul(constant(args.alpha), x)))
BLADE_UNARY(Clip, min_of(max_of(x, constant(args.alpha)), constant(args.beta)))
BLADE_UNARY(HardSigmoid,
            min_of(max_of(hn::MulAdd(constant(args.alpha), x, constant(args.beta)), constant(0)), constant(1)))
BLADE_UNARY(HardSwish, hn::Mul(hn::Mul(x, min_of(max_of(hn::Add(x, constant(3)), constant(0)), constant(6))),
                               constant(args.alpha)))
BLADE_UNARY(Swish, swish_of(x))
BLADE_UNARY(GeluErf, gelu_erf_of(x))
BLADE_UNARY(GeluTanh, gelu_tanh_of(x))
BLADE_UNARY(LogicalNot, truth(hn::Eq(x, constant(0))))
BLADE_UNARY(IsNan, truth(hn::IsNaN(x)))
BLADE_UNARY(IsInf, truth(hn::Eq(hn::Abs(x), infinity())))
BLADE_UNARY(IsFinite, truth(hn::Lt(hn::Abs(x), infinity())))
BLADE_UNARY(Affine, hn::MulAdd(constant(args.alpha), x, constant(args.beta)))
#undef BLADE_UNARY

#define BLADE_BINARY(name, expression)                                  \
  struct name {                                                         \
    static HWY_ATTR HWY_INLINE V apply(V a, V b) { return expression; } \
  };
BLADE_BINARY(Add, hn::Add(a, b))
BLADE_BINARY(Sub, hn::Sub(a, b))
BLADE_BINARY(Mul, hn::Mul(a, b))
BLADE_BINARY(Div, hn::Div(a, b))
BLADE_BINARY(DivNoNan, hn::IfThenElse(hn::Eq(b, constant(0)), constant(0), hn::Div(a, b)))
BLADE_BINARY(MulNoNan, hn::IfThenElse(hn::Eq(b, constant(0)), constant(0), hn::Mul(a, b)))
BLADE_BINARY(Xdivy, hn::IfThenElse(hn::Eq(a, constant(0)), constant(0), hn::Div(a, b)))
BLADE_BINARY(Xlogy, hn::IfThenElse(hn::Eq(a, constant(0)), constant(0), hn::Mul(a, log_of(b))))
BLADE_BINARY(Atan2, atan2_of(a, b))
BLADE_BINARY(FloorDiv, hn::Floor(hn::Div(a, b)))
BLADE_BINARY(TruncDiv, hn::Trunc(hn::Div(a, b)))
BLADE_BINARY(Maximum, max_of(a, b))
BLADE_BINARY(Minimum, min_of(a, b))
BLADE_BINARY(SquaredDifference, hn::Mul(hn::Sub(a, b), hn::Sub(a, b)))
BLADE_BINARY(PRelu, hn::IfThenElse(hn::Gt(a, constant(0)), a, hn::Mul(b, a)))
BLADE_BINARY(Equal, truth(hn::Eq(a, b)))
BLADE_BINARY(NotEqual, hn::Sub(constant(1), truth(hn::Eq(a, b))))
BLADE_BINARY(Less, truth(hn::Lt(a, b)))
BLADE_BINARY(LessEqual, truth(hn::Le(a, b)))
BLADE_BINARY(Greater, truth(hn::Gt(a, b)))
BLADE_BINARY(GreaterEqual, truth(hn::Ge(a, b)))
BLADE_BINARY(LogicalAnd, hn::Mul(a, b))
BLADE_BINARY(LogicalOr, hn::Max(a, b))
#undef BLADE_BINARY

BlockFunction vector_function(PointwiseOp op) {
  switch (op) {
#define BLADE_CASE(kind, name) \
  case PointwiseOp::k##name:   \
    return kind<name>;
    BLADE_CASE(unary, Neg)
    BLADE_CASE(unary, Abs)
    BLADE_CASE(unary, Square)
    BLADE_CASE(unary, Sqrt)
    BLADE_CASE(unary, Rsqrt)
    BLADE_CASE(unary, Reciprocal)
    BLADE_CASE(unary, Exp)
    BLADE_CASE(unary, Expm1)
    BLADE_CASE(unary, Log)
    BLADE_CASE(unary, Log1p)
    BLADE_CASE(unary, Sin)
    BLADE_CASE(unary, Cos)
    BLADE_CASE(unary, Atan)
    BLADE_CASE(unary, Tanh)
    BLADE_CASE(unary, Sigmoid)
    BLADE_CASE(unary, Asin)
    BLADE_CASE(unary, Acos)
    BLADE_CASE(unary, Atanh)
    BLADE_CASE(unary, Erf)
    BLADE_CASE(unary, Erfc)
    BLADE_CASE(unary, Floor)
    BLADE_CASE(unary, Ceil)
    BLADE_CASE(unary, Rint)
    BLADE_CASE(unary, Sign)
    BLADE_CASE(unary, Relu)
    BLADE_CASE(unary, Relu6)
    BLADE_CASE(unary, Elu)
    BLADE_CASE(unary, Selu)
    BLADE_CASE(unary, Softplus)
    BLADE_CASE(unary, Softsign)
    BLADE_CASE(unary, LeakyRelu)
    BLADE_CASE(unary, Clip)
    BLADE_CASE(unary, HardSigmoid)
    BLADE_CASE(unary, HardSwish)
    BLADE_CASE(unary, Swish)
    BLADE_CASE(unary, GeluErf)
    BLADE_CASE(unary, GeluTanh)
    BLADE_CASE(unary, LogicalNot)
    BLADE_CASE(unary, IsNan)
    BLADE_CASE(unary, IsInf)
    BLADE_CASE(unary, IsFinite)
    BLADE_CASE(unary, Affine)
    BLADE_CASE(binary, Add)
    BLADE_CASE(binary, Sub)
    BLADE_CASE(binary, Mul)
    BLADE_CASE(binary, Div)
    BLADE_CASE(binary, DivNoNan)
    BLADE_CASE(binary, MulNoNan)
    BLADE_CASE(binary, Xdivy)
    BLADE_CASE(binary, Xlogy)
    BLADE_CASE(binary, Atan2)
    BLADE_CASE(binary, FloorDiv)
    BLADE_CASE(binary, TruncDiv)
    BLADE_CASE(binary, Maximum)
    BLADE_CASE(binary, Minimum)
    BLADE_CASE(binary, SquaredDifference)
    BLADE_CASE(binary, PRelu)
    BLADE_CASE(binary, Equal)
    BLADE_CASE(binary, NotEqual)
    BLADE_CASE(binary, Less)
    BLADE_CASE(binary, LessEqual)
    BLADE_CASE(binary, Greater)
    BLADE_CASE(binary, GreaterEqual)
    BLADE_CASE(binary, LogicalAnd)
    BLADE_CASE(binary, LogicalOr)
#undef BLADE_CASE
    case PointwiseOp::kSelect:
      return select;
    default:
      return nullptr;
  }
}

}  // namespace

BlockFunction find_vector_function(PointwiseOp op) { return vector_function(op); }

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
namespace {

HWY_EXPORT(find_vector_function);

using ir::PointwiseOp;

template <float (*kFn)(float)>
void scalar_unary(const BlockArgs& args) {
  for (int64_t i = 0; i < args.count; ++i) args.out[i] = kFn(args.a[i]);
}

template <float (*kFn)(float, float)>
void scalar_binary(const BlockArgs& args) {
  for (int64_t i = 0; i < args.count; ++i) args.out[i] = kFn(args.a[i], args.b[i]);
}

float floor_mod(float a, float b) {
  const float r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

BlockFunction scalar_function(PointwiseOp op) {
  switch (op) {
    case PointwiseOp::kTan:
      return scalar_unary<std::tan>;
    case PointwiseOp::kSinh:
      return scalar_unary<std::sinh>;
    case PointwiseOp::kCosh:
      return scalar_unary<std::cosh>;
    case PointwiseOp::kAsinh:
      return scalar_unary<std::asinh>;
    case PointwiseOp::kAcosh:
      return scalar_unary<std::acosh>;
    case PointwiseOp::kFloorMod:
      return scalar_binary<floor_mod>;
    case PointwiseOp::kTruncMod:
      return scalar_binary<std::fmod>;
    case PointwiseOp::kPow:
      return scalar_binary<std::pow>;
    default:
      return nullptr;
  }
}

}  // namespace

BlockFunction block_function(PointwiseOp op) {
  if (const BlockFunction scalar = scalar_function(op)) return scalar;
  return HWY_DYNAMIC_DISPATCH(find_vector_function)(op);
}

double block_cost(PointwiseOp op) {
  if (scalar_function(op) != nullptr) return 50;
  switch (op) {
    case PointwiseOp::kExp:
    case PointwiseOp::kExpm1:
    case PointwiseOp::kLog:
    case PointwiseOp::kLog1p:
    case PointwiseOp::kSin:
    case PointwiseOp::kCos:
    case PointwiseOp::kTanh:
    case PointwiseOp::kSigmoid:
    case PointwiseOp::kAsin:
    case PointwiseOp::kAcos:
    case PointwiseOp::kAtanh:
    case PointwiseOp::kErf:
    case PointwiseOp::kErfc:
    case PointwiseOp::kElu:
    case PointwiseOp::kSelu:
    case PointwiseOp::kSoftplus:
    case PointwiseOp::kSwish:
    case PointwiseOp::kGeluErf:
    case PointwiseOp::kGeluTanh:
    case PointwiseOp::kXlogy:
    case PointwiseOp::kAtan:
    case PointwiseOp::kAtan2:
      return 8;
    default:
      return 1;
  }
}

}  // namespace blade::backends::cpu
#endif  // HWY_ONCE
