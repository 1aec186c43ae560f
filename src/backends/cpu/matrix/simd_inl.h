// Loads and stores of part of a vector that never touch memory outside it, once for each Highway target.
#if defined(BLADE_MATRIX_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_SIMD_INL_H_
#undef BLADE_MATRIX_SIMD_INL_H_
#else
#define BLADE_MATRIX_SIMD_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

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

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
