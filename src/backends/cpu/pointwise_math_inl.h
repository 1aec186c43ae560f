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

#include "backends/cpu/matrix/activation_inl.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_ATTR HWY_INLINE V infinity() { return constant(std::numeric_limits<float>::infinity()); }
HWY_ATTR HWY_INLINE V keep_nan(V x, V result) { return hn::IfThenElse(hn::IsNaN(x), x, result); }

// NaN in either operand wins.
HWY_ATTR HWY_INLINE V max_of(V a, V b) { return hn::IfThenElse(hn::IsNaN(a), a, hn::IfThenElse(hn::Gt(a, b), a, b)); }
HWY_ATTR HWY_INLINE V min_of(V a, V b) { return hn::IfThenElse(hn::IsNaN(a), a, hn::IfThenElse(hn::Lt(a, b), a, b)); }

#if HWY_TARGET == HWY_AVX3
// e^x = 2^n e^r, where |r| <= ln 2 / 2.
HWY_ATTR HWY_INLINE V without_powers_of_two(V x, V n) {
  return hn::NegMulAdd(n, constant(-2.12194440e-4f), hn::NegMulAdd(n, constant(0.693359375f), x));
}
HWY_ATTR HWY_INLINE V log2_of_exp(V x) { return hn::Mul(x, constant(1.44269502f)); }
// e^r - 1 within 2e-8 of itself (least-squares fit at Chebyshev nodes).
HWY_ATTR HWY_INLINE V exp_less_one(V r) {
  V p = constant(0.0013942162040621042f);
  p = hn::MulAdd(p, r, constant(0.00836743414402008f));
  p = hn::MulAdd(p, r, constant(0.041666340082883835f));
  p = hn::MulAdd(p, r, constant(0.16666536033153534f));
  p = hn::MulAdd(p, r, constant(0.5f));
  return hn::MulAdd(hn::Mul(p, r), r, r);
}

// The instructions give their second operand for NaN, and scale to zero, denormals and infinity.
HWY_ATTR HWY_INLINE V exp_of(V x) {
  const V bounded{_mm512_min_ps(constant(104).raw, _mm512_max_ps(constant(-104).raw, x.raw))};
  const V n = hn::Round(log2_of_exp(bounded));
  return V{_mm512_scalef_ps(hn::Add(exp_less_one(without_powers_of_two(bounded, n)), constant(1)).raw, n.raw)};
}
#else
HWY_ATTR HWY_INLINE V exp_of(V x) {
  const V result = hn::Exp(D(), hn::Min(x, constant(104)));
  return keep_nan(x, hn::IfThenElse(hn::Gt(x, constant(88.722839f)), infinity(), result));
}
#endif

// exp of x <= 0 that is not NaN, as softmax needs it.
HWY_ATTR HWY_INLINE V exp_nonpositive(V x) { return hn::Exp(D(), x); }

HWY_ATTR HWY_INLINE V expm1_of(V x) {
  const V result = hn::Expm1(D(), hn::Min(hn::Max(x, constant(-104)), constant(104)));
  const V small = hn::IfThenElse(hn::Lt(hn::Abs(x), constant(1e-5f)), x, result);
  return keep_nan(x, hn::IfThenElse(hn::Gt(x, constant(88.722839f)), infinity(), small));
}

HWY_ATTR HWY_INLINE V atan_of(V x) { return keep_nan(x, hn::Atan(D(), x)); }

// The angle of (x, y): of the shorter over the longer side, mirrored to its octant.
HWY_ATTR HWY_INLINE V atan2_of(V y, V x) {
  const V across = hn::Abs(x), up = hn::Abs(y);
  const V longer = hn::Max(across, up), shorter = hn::Min(across, up);
  V ratio = hn::IfThenElse(hn::Eq(longer, constant(0)), constant(0), hn::Div(shorter, longer));
  ratio = hn::IfThenElse(hn::Eq(shorter, infinity()), constant(1), ratio);
  const V angle = hn::Atan(D(), ratio);
  const V right = hn::IfThenElse(hn::Gt(up, across), hn::Sub(constant(1.57079632679f), angle), angle);
  const D d;
  const hn::RebindToSigned<D> di;
  const auto is_left = hn::MaskFromVec(hn::BitCast(d, hn::BroadcastSignBit(hn::BitCast(di, x))));
  const V half_turn = hn::CopySign(hn::IfThenElse(is_left, hn::Sub(constant(3.14159265359f), right), right), y);
  return keep_nan(x, keep_nan(y, half_turn));
}

HWY_ATTR HWY_INLINE V not_a_number() { return constant(std::numeric_limits<float>::quiet_NaN()); }
HWY_ATTR HWY_INLINE V asin_of(V x) {
  return hn::IfThenElse(hn::Le(hn::Abs(x), constant(1)), hn::Asin(D(), x), not_a_number());
}
HWY_ATTR HWY_INLINE V acos_of(V x) {
  return hn::IfThenElse(hn::Le(hn::Abs(x), constant(1)), hn::Acos(D(), x), not_a_number());
}
HWY_ATTR HWY_INLINE V atanh_of(V x) {
  const V size = hn::Abs(x);
  const V pole = hn::IfThenElse(hn::Eq(size, constant(1)), hn::CopySignToAbs(infinity(), x), not_a_number());
  return hn::IfThenElse(hn::Lt(size, constant(1)), hn::Atanh(D(), x), pole);
}

// From 1 on exp(-x^2) / x * P(1 / x), within 4e-7 of itself (least-squares fit at Chebyshev nodes); what the square
// loses in rounding is given back behind the exponential.
HWY_ATTR HWY_INLINE V erfc_of(V x) {
  const V t = hn::Min(hn::Max(hn::Abs(x), constant(1)), constant(10.1f));  // beyond, denormals
  const V s = hn::Div(constant(1), t);
  V p = constant(-0.03061593882739544f);
  p = hn::MulAdd(p, s, constant(0.23275545239448547f));
  p = hn::MulAdd(p, s, constant(-0.7640775442123413f));
  p = hn::MulAdd(p, s, constant(1.412143349647522f));
  p = hn::MulAdd(p, s, constant(-1.5708975791931152f));
  p = hn::MulAdd(p, s, constant(0.9677024483680725f));
  p = hn::MulAdd(p, s, constant(-0.11525077372789383f));
  p = hn::MulAdd(p, s, constant(-0.2673596739768982f));
  p = hn::MulAdd(p, s, constant(-0.0010361821623519063f));
  p = hn::MulAdd(p, s, constant(0.5642200112342834f));
  const V square = hn::Mul(t, t), lost = hn::MulSub(t, t, square);
  const V e = exp_of(hn::Neg(square));
  const V tail = hn::Mul(hn::NegMulAdd(e, lost, e), hn::Mul(s, p));
  const V far = hn::IfThenElse(hn::Lt(x, constant(0)), hn::Sub(constant(2), tail), tail);
  return hn::IfThenElse(hn::Ge(hn::Abs(x), constant(1)), far, hn::Sub(constant(1), erf_of(x)));
}

HWY_ATTR HWY_INLINE V log_of(V x) {
  V result = hn::Log(D(), x);
  result = hn::IfThenElse(hn::Eq(x, infinity()), infinity(), result);
  result = hn::IfThenElse(hn::Eq(x, constant(0)), hn::Neg(infinity()), result);
  return hn::IfThenElse(hn::Lt(x, constant(0)), constant(std::numeric_limits<float>::quiet_NaN()), keep_nan(x, result));
}

HWY_ATTR HWY_INLINE V log1p_of(V x) {
  const V result = hn::Log1p(D(), x);
  const V checked = hn::IfThenElse(hn::Eq(x, infinity()), infinity(), result);
  const V at_pole = hn::IfThenElse(hn::Eq(x, constant(-1)), hn::Neg(infinity()), checked);
  return hn::IfThenElse(hn::Lt(x, constant(-1)), constant(std::numeric_limits<float>::quiet_NaN()),
                        keep_nan(x, at_pole));
}

// The vector functions know angles up to 39000 and exceed 1 by a rounding error; larger angles take `exact`.
template <class Exact>
HWY_ATTR HWY_INLINE V of_angle(V x, V result, Exact exact) {
  const D d;
  const auto known = hn::Le(hn::Abs(x), constant(39000));
  result = hn::Min(hn::Max(result, constant(-1)), constant(1));
  if (HWY_LIKELY(hn::AllTrue(d, known))) return result;
  HWY_ALIGN float lanes[hn::MaxLanes(D())];
  hn::Store(x, d, lanes);
  for (size_t i = 0; i < hn::Lanes(d); ++i) lanes[i] = exact(lanes[i]);
  return hn::IfThenElse(known, result, hn::Load(d, lanes));
}
HWY_ATTR HWY_INLINE V sin_of(V x) {
  return of_angle(x, hn::Sin(D(), x), [](float v) { return std::sin(v); });
}
HWY_ATTR HWY_INLINE V cos_of(V x) {
  return of_angle(x, hn::Cos(D(), x), [](float v) { return std::cos(v); });
}

HWY_ATTR HWY_INLINE V softplus_of(V x) {
  const V tail = hn::Log1p(D(), exp_nonpositive(hn::Neg(hn::Abs(x))));
  const V e = exp_nonpositive(hn::Neg(hn::Abs(x)));
  // log1p of less than one unit in the last place is its argument.
  return keep_nan(x, hn::Add(hn::Max(x, constant(0)), hn::IfThenElse(hn::Lt(e, constant(1e-4f)), e, tail)));
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
