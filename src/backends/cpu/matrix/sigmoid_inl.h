// exp and sigmoid on vectors for activations inside kernels, once for each Highway target.
#if defined(BLADE_MATRIX_SIGMOID_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_SIGMOID_INL_H_
#undef BLADE_MATRIX_SIGMOID_INL_H_
#else
#define BLADE_MATRIX_SIGMOID_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

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

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
