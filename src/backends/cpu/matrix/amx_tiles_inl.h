// The instructions of AMX on tile registers, written as such: they are part of no Highway target. For files that are
// compiled for each target; only HWY_AVX3 has them.
#if defined(BLADE_MATRIX_AMX_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_AMX_TILES_INL_H_
#undef BLADE_MATRIX_AMX_TILES_INL_H_
#else
#define BLADE_MATRIX_AMX_TILES_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3

template <int kTile>
HWY_INLINE void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
HWY_INLINE void tile_load(const void* from, int64_t stride_bytes) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(kTile), "r"(from), "r"(stride_bytes) : "memory");
}
template <int kTile>
HWY_INLINE void tile_store(void* to, int64_t stride_bytes) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(kTile), "r"(to), "r"(stride_bytes) : "memory");
}
template <int kC, int kOfA, int kOfB>
HWY_INLINE void tile_dot() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kOfA), "i"(kOfB));
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
