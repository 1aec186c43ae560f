// float32 functions on vectors with the edge cases (NaN, infinities, overflow) that TensorFlow's users expect, once for
// each Highway target. Accuracy: about 4 units in the last place; tests compare with double.
#if defined(BLADE_POINTWISE_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_POINTWISE_MATH_INL_H_
#undef BLADE_POINTWISE_MATH_INL_H_
#else
#define BLADE_POINTWISE_MATH_INL_H_
#endif

#include <cmath>
#include <limits>

#include "backends/cpu/matrix/sigmoid_inl.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_ATTR HWY_INLINE V constant(float value) { return hn::Set(D(), value); }
HWY_ATTR HWY_INLINE V infinity() { return constant(std::numeric_limits<float>::infinity()); }
HWY_ATTR HWY_INLINE V keep_nan(V x, V result) { return hn::IfThenElse(hn::IsNaN(x), x, result); }

// NaN in either operand wins.
HWY_ATTR HWY_INLINE V max_of(V a, V b) { return hn::IfThenElse(hn::IsNaN(a), a, hn::IfThenElse(hn::Gt(a, b), a, b)); }
HWY_ATTR HWY_INLINE V min_of(V a, V b) { return hn::IfThenElse(hn::IsNaN(a), a, hn::IfThenElse(hn::Lt(a, b), a, b)); }

HWY_ATTR HWY_INLINE V exp_of(V x) {
  const V result = hn::Exp(D(), hn::Min(x, constant(104)));
  return keep_nan(x, hn::IfThenElse(hn::Gt(x, constant(88.722839f)), infinity(), result));
}

// exp of x <= 0 that is not NaN, as softmax needs it.
HWY_ATTR HWY_INLINE V exp_nonpositive(V x) { return hn::Exp(D(), x); }

HWY_ATTR HWY_INLINE V expm1_of(V x) {
  const V result = hn::Expm1(D(), hn::Min(hn::Max(x, constant(-104)), constant(104)));
  const V small = hn::IfThenElse(hn::Lt(hn::Abs(x), constant(1e-5f)), x, result);
  return keep_nan(x, hn::IfThenElse(hn::Gt(x, constant(88.722839f)), infinity(), small));
}

HWY_ATTR HWY_INLINE V log_of(V x) {
  V result = hn::Log(D(), x);
  result = hn::IfThenElse(hn::Eq(x, infinity()), infinity(), result);
  result = hn::IfThenElse(hn::Eq(x, constant(0)), hn::Neg(infinity()), result);
  return hn::IfThenElse(hn::Lt(x, constant(0)), constant(std::numeric_limits<float>::quiet_NaN()), keep_nan(x, result));
}

HWY_ATTR HWY_INLINE V log1p_of(V x) {
  const V result = hn::Log1p(D(), x);
  const V small = hn::IfThenElse(hn::Lt(hn::Abs(x), constant(1e-5f)), x, result);
  const V checked = hn::IfThenElse(hn::Eq(x, infinity()), infinity(), small);
  const V at_pole = hn::IfThenElse(hn::Eq(x, constant(-1)), hn::Neg(infinity()), checked);
  return hn::IfThenElse(hn::Lt(x, constant(-1)), constant(std::numeric_limits<float>::quiet_NaN()),
                        keep_nan(x, at_pole));
}

// The vector functions know angles up to 39000; where one is larger, `exact` is called for all of them.
template <class Exact>
HWY_ATTR HWY_INLINE V of_angle(V x, V result, Exact exact) {
  const D d;
  if (HWY_LIKELY(hn::AllTrue(d, hn::Le(hn::Abs(x), constant(39000))))) return result;
  HWY_ALIGN float lanes[hn::MaxLanes(D())];
  hn::Store(x, d, lanes);
  for (size_t i = 0; i < hn::Lanes(d); ++i) lanes[i] = exact(lanes[i]);
  return hn::Load(d, lanes);
}
HWY_ATTR HWY_INLINE V sin_of(V x) {
  return of_angle(x, hn::Sin(D(), x), [](float v) { return std::sin(v); });
}
HWY_ATTR HWY_INLINE V cos_of(V x) {
  return of_angle(x, hn::Cos(D(), x), [](float v) { return std::cos(v); });
}

HWY_ATTR HWY_INLINE V tanh_of(V x) {
  const V bounded = hn::Min(hn::Max(x, constant(-20)), constant(20));
  const V result = hn::Tanh(D(), bounded);
  const V small = hn::IfThenElse(hn::Lt(hn::Abs(x), constant(1e-4f)), x, result);
  return keep_nan(x, small);
}

// x * P(x^2) near 0; beyond 1, 1 - exp(Q(x)) where Q approximates log(erfc(x)) (least-squares fits at Chebyshev nodes).
HWY_ATTR HWY_INLINE V erf_of(V x) {
  const V t = hn::Min(hn::Abs(x), constant(4));
  const V s = hn::Mul(t, t);
  V p = constant(-9.673590284364764e-06f);
  p = hn::MulAdd(p, s, constant(0.00011268253729213029f));
  p = hn::MulAdd(p, s, constant(-0.0008484396385028958f));
  p = hn::MulAdd(p, s, constant(0.005221053492277861f));
  p = hn::MulAdd(p, s, constant(-0.026865437626838684f));
  p = hn::MulAdd(p, s, constant(0.11283782869577408f));
  p = hn::MulAdd(p, s, constant(-0.37612637877464294f));
  p = hn::MulAdd(p, s, constant(1.128379225730896f));
  V q = constant(1.6150449937413214e-06f);
  q = hn::MulAdd(q, t, constant(-4.561102105071768e-05f));
  q = hn::MulAdd(q, t, constant(0.0005929505568929017f));
  q = hn::MulAdd(q, t, constant(-0.00474111782386899f));
  q = hn::MulAdd(q, t, constant(0.026367414742708206f));
  q = hn::MulAdd(q, t, constant(-0.10998330265283585f));
  q = hn::MulAdd(q, t, constant(-0.6319313645362854f));
  q = hn::MulAdd(q, t, constant(-1.1301703453063965f));
  q = hn::MulAdd(q, t, constant(0.00030417676316574216f));
  const V far = hn::Sub(constant(1), exp_nonpositive(hn::Min(q, constant(0))));
  const V magnitude = hn::IfThenElse(hn::Lt(t, constant(1)), hn::Mul(t, p), far);
  return keep_nan(x, hn::CopySignToAbs(magnitude, x));
}

HWY_ATTR HWY_INLINE V softplus_of(V x) {
  const V tail = hn::Log1p(D(), exp_nonpositive(hn::Neg(hn::Abs(x))));
  const V e = exp_nonpositive(hn::Neg(hn::Abs(x)));
  // log1p of less than one unit in the last place is its argument.
  return keep_nan(x, hn::Add(hn::Max(x, constant(0)), hn::IfThenElse(hn::Lt(e, constant(1e-4f)), e, tail)));
}

HWY_ATTR HWY_INLINE V gelu_tanh_of(V x) {
  const V cubic = hn::Mul(hn::Mul(x, x), hn::Mul(x, constant(0.044715f)));
  const V inner = hn::Mul(constant(0.79788456080286535588f), hn::Add(x, cubic));
  // 0.5 * (1 + tanh(u)) is sigmoid(2u), without the cancellation at negative u.
  return hn::Mul(x, sigmoid_of(hn::Add(inner, inner)));
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
