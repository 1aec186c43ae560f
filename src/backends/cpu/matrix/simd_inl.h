// Loads and stores of floats and of bfloat16, whole vectors and parts that never touch memory outside them, and sums of
// products, once for each Highway target.
#if defined(BLADE_MATRIX_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_SIMD_INL_H_
#undef BLADE_MATRIX_SIMD_INL_H_
#else
#define BLADE_MATRIX_SIMD_INL_H_
#endif

#include <cstddef>

#include "base/half.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// sum + a * b, into the register of the sum: the compiler's own choice of forms moves the many sums of a tile about and
// spills some of them.
HWY_ATTR HWY_INLINE V add_product(V sum, V a, V b) {
#if HWY_TARGET == HWY_AVX3
  asm("vfmadd231ps %2, %1, %0" : "+v"(sum.raw) : "v"(b.raw), "v"(a.raw));
  return sum;
#else
  return hn::MulAdd(a, b, sum);
#endif
}

// The first `count` floats (none if negative, all if more than a vector), zeros after them.
HWY_ATTR HWY_INLINE V load_some(D d, const float* from, int64_t count) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  if (count >= lanes) return hn::LoadU(d, from);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count < 0 ? 0 : count)), d, from);
#else
  HWY_ALIGN float lane[HWY_MAX_BYTES / sizeof(float)] = {};
  for (int64_t i = 0; i < count; ++i) lane[i] = from[i];
  return hn::Load(d, lane);
#endif
}

HWY_ATTR HWY_INLINE void store_some(V v, D d, float* to, int64_t count) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  if (count >= lanes) {
    hn::StoreU(v, d, to);
    return;
  }
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(count < 0 ? 0 : count)), d, to);
#else
  HWY_ALIGN float lane[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(v, d, lane);
  for (int64_t i = 0; i < count; ++i) to[i] = lane[i];
#endif
}

// bfloat16 as storage: half a vector in memory is a vector of floats.
using DHalf = hn::Rebind<uint16_t, D>;

HWY_ATTR HWY_INLINE V widened(hn::Vec<DHalf> bits) {
  const hn::RebindToUnsigned<D> du;
  return hn::BitCast(D(), hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
}

// Rounds to nearest even; NaN stays NaN. Denormals become zeros, as the instruction of AVX512-BF16 has it.
HWY_ATTR HWY_INLINE hn::Vec<DHalf> narrowed(V v) {
  const hn::RebindToUnsigned<D> du;
  const auto all = hn::BitCast(du, v);
  const auto exponent = hn::And(all, hn::Set(du, 0x7f800000));
  const auto sign = hn::And(all, hn::Set(du, 0x80000000));
  const auto bits = hn::IfThenElse(hn::Eq(exponent, hn::Zero(du)), sign, all);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::Add(hn::Add(bits, hn::Set(du, 0x7fff)), odd);
  const auto quiet = hn::Or(bits, hn::Set(du, 0x400000));
  const auto kept = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), quiet, rounded);
  const hn::RebindToSigned<D> di;
  return hn::DemoteTo(DHalf(), hn::BitCast(di, hn::ShiftRight<16>(kept)));
}

#if HWY_TARGET == HWY_AVX3
// The same by an instruction of AVX512-BF16, which is not part of
// Highway's AVX3: only for code that runs where the processor has it.
HWY_ATTR HWY_INLINE hn::Vec<DHalf> narrowed_natively(V v) {
  hn::Vec<DHalf> half;
  asm("vcvtneps2bf16 %1, %0" : "=v"(half.raw) : "v"(v.raw));
  return half;
}
// Two vectors side by side, by the instruction of AVX512-BF16.
using DPair = hn::Repartition<uint16_t, D>;
HWY_ATTR HWY_INLINE hn::Vec<DPair> narrowed_pair(V low, V high) {
  hn::Vec<DPair> both;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both.raw) : "v"(low.raw), "v"(high.raw));
  return both;
}
HWY_ATTR HWY_INLINE void store_natively(V v, BFloat16* to) {
  hn::StoreU(narrowed_natively(v), DHalf(), reinterpret_cast<uint16_t*>(to));
}
HWY_ATTR HWY_INLINE void store_some_natively(V v, BFloat16* to, int64_t count) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  const int64_t first = count < 0 ? 0 : count > lanes ? lanes : count;
  hn::BlendedStore(narrowed_natively(v), hn::FirstN(DHalf(), static_cast<size_t>(first)), DHalf(),
                   reinterpret_cast<uint16_t*>(to));
}
HWY_ATTR HWY_INLINE void store_natively(V v, float* to) { hn::StoreU(v, D(), to); }
HWY_ATTR HWY_INLINE void store_some_natively(V v, float* to, int64_t count) { store_some(v, D(), to, count); }
inline bool rounds_natively() { return __builtin_cpu_supports("avx512bf16") != 0; }
#endif

HWY_ATTR HWY_INLINE V load_all(const float* from) { return hn::LoadU(D(), from); }
HWY_ATTR HWY_INLINE V load_all(const BFloat16* from) {
  return widened(hn::LoadU(DHalf(), reinterpret_cast<const uint16_t*>(from)));
}
HWY_ATTR HWY_INLINE void store_all(V v, float* to) { hn::StoreU(v, D(), to); }
HWY_ATTR HWY_INLINE void store_all(V v, BFloat16* to) {
  hn::StoreU(narrowed(v), DHalf(), reinterpret_cast<uint16_t*>(to));
}

HWY_ATTR HWY_INLINE V load_some(D d, const BFloat16* from, int64_t count) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  if (count >= lanes) return load_all(from);
#if HWY_TARGET == HWY_AVX3
  const auto first = hn::FirstN(DHalf(), static_cast<size_t>(count < 0 ? 0 : count));
  return widened(hn::MaskedLoad(first, DHalf(), reinterpret_cast<const uint16_t*>(from)));
#else
  HWY_ALIGN float lane[HWY_MAX_BYTES / sizeof(float)] = {};
  for (int64_t i = 0; i < count; ++i) lane[i] = static_cast<float>(from[i]);
  return hn::Load(d, lane);
#endif
}

HWY_ATTR HWY_INLINE void store_some(V v, D d, BFloat16* to, int64_t count) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  if (count >= lanes) {
    store_all(v, to);
    return;
  }
#if HWY_TARGET == HWY_AVX3
  const auto first = hn::FirstN(DHalf(), static_cast<size_t>(count < 0 ? 0 : count));
  hn::BlendedStore(narrowed(v), first, DHalf(), reinterpret_cast<uint16_t*>(to));
#else
  HWY_ALIGN uint16_t lane[HWY_MAX_BYTES / sizeof(float)];
  hn::StoreU(narrowed(v), DHalf(), lane);
  for (int64_t i = 0; i < count; ++i) to[i].bits = lane[i];
#endif
}

// So many lanes of a vector, from the first on (none if negative, all if more than it has): found once for the loads
// and stores of many rows, of which each would find its mask again.
struct FirstLanes {
#if HWY_TARGET == HWY_AVX3
  hn::Mask<D> floats;
  hn::Mask<DHalf> halves;
  HWY_ATTR HWY_INLINE explicit FirstLanes(int64_t count) {
    const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
    const auto first = static_cast<size_t>(count < 0 ? 0 : count > lanes ? lanes : count);
    floats = hn::FirstN(D(), first);
    halves = hn::FirstN(DHalf(), first);
  }
#else
  int64_t count;
  HWY_ATTR HWY_INLINE explicit FirstLanes(int64_t lanes) : count(lanes) {}
#endif
};

#if HWY_TARGET == HWY_AVX3
HWY_ATTR HWY_INLINE V load_first(const FirstLanes& first, const float* from) {
  return hn::MaskedLoad(first.floats, D(), from);
}
HWY_ATTR HWY_INLINE V load_first(const FirstLanes& first, const BFloat16* from) {
  return widened(hn::MaskedLoad(first.halves, DHalf(), reinterpret_cast<const uint16_t*>(from)));
}
HWY_ATTR HWY_INLINE void store_first(V v, const FirstLanes& first, float* to) {
  hn::BlendedStore(v, first.floats, D(), to);
}
// Natively: where the processor has the instruction.
HWY_ATTR HWY_INLINE void store_first(V v, const FirstLanes& first, BFloat16* to) {
  hn::BlendedStore(narrowed_natively(v), first.halves, DHalf(), reinterpret_cast<uint16_t*>(to));
}
#else
template <class T>
HWY_ATTR HWY_INLINE V load_first(const FirstLanes& first, const T* from) {
  return load_some(D(), from, first.count);
}
template <class T>
HWY_ATTR HWY_INLINE void store_first(V v, const FirstLanes& first, T* to) {
  store_some(v, D(), to, first.count);
}
#endif

// Halves of vectors of AVX-512; for other targets names alone, in code that they never run.
#if HWY_TARGET == HWY_AVX3
HWY_ATTR HWY_INLINE V both_halves(const float* half) {
  return V{_mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_loadu_pd(reinterpret_cast<const double*>(half))))};
}
HWY_ATTR HWY_INLINE V lower_twice(V v) { return V{_mm512_shuffle_f32x4(v.raw, v.raw, 0x44)}; }
HWY_ATTR HWY_INLINE V upper_twice(V v) { return V{_mm512_shuffle_f32x4(v.raw, v.raw, 0xee)}; }
HWY_ATTR HWY_INLINE V halves_of(V lower, V upper) { return V{_mm512_mask_blend_ps(0xff00, lower.raw, upper.raw)}; }
#else
inline V both_halves(const float*) { return V(); }
inline V lower_twice(V v) { return v; }
inline V upper_twice(V v) { return v; }
inline V halves_of(V lower, V) { return lower; }
#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
