// exp, sigmoid, erf and the activations made of them on vectors, for use inside kernels, once for each Highway target.
#if defined(BLADE_MATRIX_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_ACTIVATION_INL_H_
#undef BLADE_MATRIX_ACTIVATION_INL_H_
#else
#define BLADE_MATRIX_ACTIVATION_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_ATTR HWY_INLINE V constant(float value) { return hn::Set(D(), value); }

// exp of numbers from -87 to 88 that are not NaN: 2^n * P(f), where n is x * log2(e) rounded to an integer. Adding a
// large number rounds, and leaves n in the low bits.
HWY_ATTR HWY_INLINE V exp_bounded(V x) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  const V rounder = hn::Set(d, 12582912.0f);
  const V log2e = hn::Set(d, 1.44269502f), log2e_low = hn::Set(d, 1.92596303e-8f);
  const V shifted = hn::MulAdd(x, log2e, rounder);
  const V n = hn::Sub(shifted, rounder);
  const V f = hn::MulAdd(x, log2e_low, hn::MulSub(x, log2e, n));
  V p = hn::Set(d, 0.00015353361959569156f);  // of 2^f, |f| <= 0.5: 2e-9
  p = hn::MulAdd(p, f, hn::Set(d, 0.0013398875016719103f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.00961843691766262f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.055503323674201965f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.24022647738456726f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6931471824645996f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  return hn::BitCast(d, hn::Add(hn::BitCast(du, p), hn::ShiftLeft<23>(hn::BitCast(du, shifted))));
}

// Beyond the bounds of exp_bounded() sigmoid is 1 or, to float32 without denormals, 0. A number for NaN.
HWY_ATTR HWY_INLINE V sigmoid_of_number(V x) {
  const D d;
  const V one = hn::Set(d, 1), most = hn::Set(d, 88);
  const V e = exp_bounded(hn::Max(hn::Min(hn::Neg(x), most), hn::Set(d, -87)));
  return hn::IfThenElseZero(hn::Gt(x, hn::Neg(most)), hn::Div(one, hn::Add(one, e)));
}

// NaN stays.
HWY_ATTR HWY_INLINE V sigmoid_of(V x) { return hn::IfThenElse(hn::IsNaN(x), x, sigmoid_of_number(x)); }

// A product with NaN or -inf is NaN in any case.
HWY_ATTR HWY_INLINE V swish_of(V x) { return hn::Mul(x, sigmoid_of_number(x)); }

// x * P(x^2) / Q(x^2), as TensorFlow has it: within 4e-7 of itself, 1 from the bound on, which is where this is 1 as it
// is rounded. NaN stays.
HWY_ATTR HWY_INLINE V tanh_of(V x) {
#if HWY_NATIVE_FMA
  const V most = constant(7.99881172180175781f);
#else
  const V most = constant(7.90531110763549805f);
#endif
  const V t = hn::Max(hn::Min(x, most), hn::Neg(most)), s = hn::Mul(t, t);
  V p = constant(-2.76076847742355e-16f);
  p = hn::MulAdd(p, s, constant(2.00018790482477e-13f));
  p = hn::MulAdd(p, s, constant(-8.60467152213735e-11f));
  p = hn::MulAdd(p, s, constant(5.12229709037114e-08f));
  p = hn::MulAdd(p, s, constant(1.48572235717979e-05f));
  p = hn::MulAdd(p, s, constant(6.37261928875436e-04f));
  p = hn::MulAdd(p, s, constant(4.89352455891786e-03f));
  V q = constant(1.19825839466702e-06f);
  q = hn::MulAdd(q, s, constant(1.18534705686654e-04f));
  q = hn::MulAdd(q, s, constant(2.26843463243900e-03f));
  q = hn::MulAdd(q, s, constant(4.89352518554385e-03f));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Mul(t, hn::Div(p, q)));
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
  const V far = hn::Sub(constant(1), exp_bounded(hn::Min(q, constant(0))));
  const V magnitude = hn::IfThenElse(hn::Lt(t, constant(1)), hn::Mul(t, p), far);
  return hn::IfThenElse(hn::IsNaN(x), x, hn::CopySignToAbs(magnitude, x));
}

HWY_ATTR HWY_INLINE V gelu_tanh_of(V x) {
  const V cubic = hn::Mul(hn::Mul(x, x), hn::Mul(x, constant(0.044715f)));
  const V inner = hn::Mul(constant(0.79788456080286535588f), hn::Add(x, cubic));
  // 0.5 * (1 + tanh(u)) is sigmoid(2u), without the cancellation at negative u.
  return hn::Mul(x, sigmoid_of_number(hn::Add(inner, inner)));
}

// x * P(x), where P is the normal distribution function: for negative x the eighth power of a polynomial of |x|, in a
// third of erf's instructions. Within 1e-6 of itself from -2 on, 4e-6 at -3.5, 1.6e-4 at -5, 3e-4 at -5.7; below, 0
// for -3.5e-8 and less. NaN for -infinity, as 0.5 * x * (1 + erf(x / sqrt(2))) gives.
HWY_ATTR HWY_INLINE V gelu_erf_of(V x) {
  const D d;
  const V most = constant(5.7f), size = hn::Abs(x), t = hn::Min(most, size);
  V p = constant(-2.131203657995684e-09f);
  p = hn::MulAdd(p, t, constant(-2.627780304464977e-07f));
  p = hn::MulAdd(p, t, constant(7.263167390192393e-06f));
  p = hn::MulAdd(p, t, constant(-5.947738463873975e-05f));
  p = hn::MulAdd(p, t, constant(3.258720607846044e-05f));
  p = hn::MulAdd(p, t, constant(0.0015067080967128277f));
  p = hn::MulAdd(p, t, constant(-0.0006739628734067082f));
  p = hn::MulAdd(p, t, constant(-0.03192706033587456f));
  p = hn::MulAdd(p, t, constant(-0.09145767986774445f));
  p = hn::MulAdd(p, t, constant(0.9170040488243103f));
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) p = hn::Mul(p, p);
  p = hn::IfThenElseZero(hn::Lt(size, most), p);
  return hn::Mul(x, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), p, hn::Sub(constant(1), p)));
}

#if HWY_TARGET == HWY_AVX3
// 2^t for what is rounded to bfloat16 next: within 2.6e-6 of itself. Infinite t lead to 0 and infinity; NaN stays.
HWY_ATTR HWY_INLINE V coarse_exp2(V t) {
  const V f{_mm512_reduce_ps(t.raw, _MM_FROUND_TO_NEG_INF)};
  V p = constant(0.013534147292375565f);  // of 2^f, 0 <= f < 1
  p = hn::MulAdd(p, f, constant(0.05201150104403496f));
  p = hn::MulAdd(p, f, constant(0.2414427399635315f));
  p = hn::MulAdd(p, f, constant(0.6930038332939148f));
  p = hn::MulAdd(p, f, constant(1.0000026226043701f));
  return V{_mm512_scalef_ps(p.raw, t.raw)};
}
// x times the sigmoid of y, for results that are rounded to bfloat16 next: within 6e-6 of itself, in half the
// instructions. (Errors of 1e-4 have one sign over many x, so that sums do not lose them as they lose those of
// rounding.) Infinite steps lead to 0 and 1 as they should; NaN stays.
HWY_ATTR HWY_INLINE V coarse_gate(V x, V y) {
  return hn::Div(x, hn::Add(coarse_exp2(hn::Mul(y, constant(-1.44269502f))), constant(1)));
}
HWY_ATTR HWY_INLINE V coarse_swish_of(V x) { return coarse_gate(x, x); }
HWY_ATTR HWY_INLINE V coarse_sigmoid_of(V x) { return coarse_gate(constant(1), x); }
HWY_ATTR HWY_INLINE V coarse_gelu_tanh_of(V x) {
  const V twice = hn::MulAdd(hn::Mul(x, x), constant(0.0713548162726f), constant(1.5957691216057308f));
  return coarse_gate(x, hn::Mul(x, twice));
}
// max(x, 0) - |x| * P(-|x|), where P is the normal distribution function: the 32nd power of a polynomial (a fit of its
// relative error on [0, 5.5]): no division, no exponential, and within 1.1e-5 of itself in the tail of negative x, too;
// -1e-7 below -5.5. NaN stays.
HWY_ATTR HWY_INLINE V coarse_gelu_erf_of(V x) {
  const V t = hn::Min(constant(5.5f), hn::Abs(x));
  V p = constant(3.0632287462140084e-07f);
  p = hn::MulAdd(p, t, constant(-1.6036874512792565e-05f));
  p = hn::MulAdd(p, t, constant(0.00026041295495815575f));
  p = hn::MulAdd(p, t, constant(-0.0009145928197540343f));
  p = hn::MulAdd(p, t, constant(-0.009405521675944328f));
  p = hn::MulAdd(p, t, constant(-0.024404997006058693f));
  p = hn::MulAdd(p, t, constant(0.9785722494125366f));
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) p = hn::Mul(p, p);
  return hn::NegMulAdd(t, p, hn::Max(constant(0), x));
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
