// Sums of AMX to results, two whole vectors of columns with bias, residual and clamp alone: what most layers have. For
// files that are compiled for each target; only HWY_AVX3 has it.
#if defined(BLADE_MATRIX_AMX_PLAIN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_AMX_PLAIN_INL_H_
#undef BLADE_MATRIX_AMX_PLAIN_INL_H_
#else
#define BLADE_MATRIX_AMX_PLAIN_INL_H_
#endif

#include <cstdint>

#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
#include "base/half.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3

constexpr int64_t kFewestRows = 4;  // finished at once: what is read for each call costs as much as two

// Widens 32 elements: an instruction a vector where shifts would take two.
struct WideLanes {
  using DWords = hn::Repartition<uint16_t, D>;
  hn::Vec<DWords> first, second;
  hn::Mask<DWords> upper_halves;
  HWY_ATTR HWY_INLINE WideLanes() {
    const DWords d;
    const auto places = hn::ShiftRight<1>(hn::Iota(d, 0));
    first = places;
    second = hn::Add(places, hn::Set(d, uint16_t{16}));
    upper_halves = hn::Ne(hn::And(hn::Iota(d, 0), hn::Set(d, 1)), hn::Zero(d));
  }
  HWY_ATTR HWY_INLINE V widened(hn::Vec<DWords> from, hn::Vec<DWords> places) const {
    V to;
    asm("vpermw %1, %2, %0%{%3%}%{z%}" : "=v"(to.raw) : "v"(from.raw), "v"(places.raw), "Yk"(upper_halves.raw));
    return to;
  }
};

// Kept in registers between products.
template <bool kResidual, bool kUpper>
struct PlainFinish {
  V bias0, bias1, lo, hi;
  WideLanes wide;
  bool residual_last;

  HWY_ATTR HWY_INLINE PlainFinish(float lowest, float highest, bool last)
      : bias0(hn::Zero(D())),
        bias1(hn::Zero(D())),
        lo(hn::Set(D(), lowest)),
        hi(hn::Set(D(), highest)),
        residual_last(last) {}
  HWY_ATTR HWY_INLINE void set_bias(const float* bias) {
    bias0 = hn::LoadU(D(), bias);
    bias1 = hn::LoadU(D(), bias + 16);
  }
  HWY_ATTR HWY_INLINE V clamp(V x) const { return kUpper ? clamped(x, lo, hi) : hn::Max(lo, x); }
  template <class Out>
  HWY_ATTR HWY_INLINE void row(const float* sum, const BFloat16* residual, Out* out) const {
    const D d;
    V x0 = hn::Add(hn::Load(d, sum), bias0), x1 = hn::Add(hn::Load(d, sum + 16), bias1);
    if constexpr (kResidual) {
      const auto both = hn::LoadU(WideLanes::DWords(), reinterpret_cast<const uint16_t*>(residual));
      const V r0 = wide.widened(both, wide.first), r1 = wide.widened(both, wide.second);
      x0 = residual_last ? hn::Add(clamp(x0), r0) : clamp(hn::Add(x0, r0));
      x1 = residual_last ? hn::Add(clamp(x1), r1) : clamp(hn::Add(x1, r1));
    } else {
      x0 = clamp(x0);
      x1 = clamp(x1);
    }
    if constexpr (sizeof(Out) < sizeof(float)) {
      hn::StoreU(narrowed_pair(x0, x1), DPair(), reinterpret_cast<uint16_t*>(out));
    } else {
      hn::StoreU(x0, d, out);
      hn::StoreU(x1, d, out + 16);
    }
  }
};

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
