// float16 in vectors, by instructions of AVX512-FP16, which are part of no Highway target: for kernels that run only
// where Machine::avx512_fp16 says so. Once for each Highway target; only HWY_AVX3 has it.
#if defined(BLADE_MATRIX_HALF_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_HALF_MATH_INL_H_
#undef BLADE_MATRIX_HALF_MATH_INL_H_
#else
#define BLADE_MATRIX_HALF_MATH_INL_H_
#endif

#include "backends/cpu/matrix/epilogue_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
using DHalves = hn::Repartition<uint16_t, D>;
using VHalves = hn::Vec<DHalves>;

HWY_ATTR HWY_INLINE VHalves half_mul_add(VHalves x, VHalves y, VHalves sum) {
  asm("vfmadd231ph %2, %1, %0" : "+v"(sum.raw) : "v"(x.raw), "v"(y.raw));
  return sum;
}
HWY_ATTR HWY_INLINE VHalves half_mul(VHalves x, VHalves y) {
  asm("vmulph %1, %0, %0" : "+v"(x.raw) : "v"(y.raw));
  return x;
}
// NaN stays, as in clamped().
HWY_ATTR HWY_INLINE VHalves half_clamped(VHalves x, VHalves lo, VHalves hi) {
  asm("vmaxph %0, %1, %0" : "+v"(x.raw) : "v"(lo.raw));
  asm("vminph %0, %1, %0" : "+v"(x.raw) : "v"(hi.raw));
  return x;
}
HWY_ATTR HWY_INLINE __m256i halves_of(V x) {
  return _mm512_cvtps_ph(x.raw, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
HWY_ATTR HWY_INLINE VHalves halves_from(V first, V last) {
  return VHalves{_mm512_inserti64x4(_mm512_castsi256_si512(halves_of(first)), halves_of(last), 1)};
}
HWY_ATTR HWY_INLINE V from_halves(const uint16_t* from) {
  return V{_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
}
HWY_ATTR HWY_INLINE VHalves in_all_halves(float x) {
  const V wide = hn::Set(D(), x);
  return halves_from(wide, wide);
}

// x / (1 + 2^t) with t = -x * log2(e) in two parts, of which the fraction is multiplied out exactly. All of it is
// scaled by 2^-6, so that 1 + 2^t overflows, and gives 0, only where x < -15.2 and the result is under 4e-6. Within
// 1.3e-3 of itself for x > -9.5, a third of what rounding to bfloat16 loses. Below, 1 / (1 + 2^t) is subnormal: 6e-7
// are lost at most, a tenth of the result at -15. (x scaled and not that would lose as much where x is about 0.)
// Infinite x and NaN stay no numbers.
struct HalfSwish {
  VHalves most, least, log2e, log2e_low, one, c3, c2, c1;

  HWY_ATTR HWY_INLINE HalfSwish()
      : most(bits(0x4c00)),  // 16
        least(bits(0xcc00)),
        log2e(bits(0x3dc5)),
        log2e_low(bits(0x0d1e)),
        one(bits(0x2400)),  // and the constant term of 2^f, |f| <= 0.5: 1.5e-4
        c3(bits(0x1310)),
        c2(bits(0x1bc3)),
        c1(bits(0x218c)) {}

  HWY_ATTR HWY_INLINE VHalves operator()(VHalves x) const {
    const VHalves y = half_clamped(x, least, most);
    VHalves n = half_mul(y, log2e), f = y, p = c3;
    asm("vrndscaleph $8, %0, %0" : "+v"(n.raw));
    asm("vfnmadd213ph %2, %1, %0" : "+v"(f.raw) : "v"(log2e.raw), "v"(n.raw));
    asm("vfnmadd231ph %2, %1, %0" : "+v"(f.raw) : "v"(y.raw), "v"(log2e_low.raw));
    for (const VHalves& c : {c2, c1, one}) asm("vfmadd213ph %2, %1, %0" : "+v"(p.raw) : "v"(f.raw), "v"(c.raw));
    n = hn::Xor(n, bits(0x8000));
    asm("vscalefph %1, %0, %0" : "+v"(p.raw) : "v"(n.raw));
    asm("vaddph %1, %0, %0" : "+v"(p.raw) : "v"(one.raw));
    asm("vrcpph %0, %0" : "+v"(p.raw));
    return half_mul(x, half_mul(p, one));
  }

 private:
  static HWY_ATTR HWY_INLINE VHalves bits(uint16_t of_half) { return hn::Set(DHalves(), of_half); }
};
#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
