// The instructions of AMX on tile registers, written as such (they are part of no Highway target), and the products of
// a few tiles made of them. For files that are compiled for each target; only HWY_AVX3 has them.
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

// Tile registers of kUnits x kVectors sums, up to 16 rows of 64 bytes each: four of sums, a row of kVectors behind the
// other, two of A, two of B. In memory a unit of sums lies `unit_bytes` behind the one above it.
constexpr int kTilesOfA = 4, kTilesOfB = 6;
template <int kTile, int kVectors>
constexpr int64_t sum_offset(int64_t unit_bytes) {
  return kTile / kVectors * unit_bytes + kTile % kVectors * 64;
}

template <int kUnits, int kVectors, int kTile = 0>
HWY_INLINE void clear_sums() {
  if constexpr (kTile < kUnits * kVectors) {
    tile_zero<kTile>();
    clear_sums<kUnits, kVectors, kTile + 1>();
  }
}
template <int kUnits, int kVectors, int kTile = 0>
HWY_INLINE void load_sums(const void* from, int64_t row_bytes) {
  if constexpr (kTile < kUnits * kVectors) {
    tile_load<kTile>(static_cast<const char*>(from) + sum_offset<kTile, kVectors>(16 * row_bytes), row_bytes);
    load_sums<kUnits, kVectors, kTile + 1>(from, row_bytes);
  }
}
template <int kUnits, int kVectors, int kTile = 0>
HWY_INLINE void store_sums(void* to, int64_t row_bytes, int64_t unit_bytes) {
  if constexpr (kTile < kUnits * kVectors) {
    tile_store<kTile>(static_cast<char*>(to) + sum_offset<kTile, kVectors>(unit_bytes), row_bytes);
    store_sums<kUnits, kVectors, kTile + 1>(to, row_bytes, unit_bytes);
  }
}
template <int kUnits, int kVectors>
HWY_INLINE void store_sums(void* to, int64_t row_bytes) {
  store_sums<kUnits, kVectors>(to, row_bytes, 16 * row_bytes);
}

struct NothingBefore {
  template <int kTile>
  HWY_INLINE void at() const {}
};

// Before the first products of each tile of sums: what it holds leaves for `to` (null: nothing), and it begins with
// what lies at `from` (null: zeros), while products of the other tiles run. Four stores in a row cost as much as four
// products, these nothing.
template <int kVectors>
struct StartSums {
  void* to;
  const void* from;
  int64_t row_bytes;
  int64_t unit_bytes = 16 * row_bytes;

  template <int kTile>
  HWY_INLINE void at() const {
    const int64_t offset = sum_offset<kTile, kVectors>(unit_bytes);
    if (to != nullptr) tile_store<kTile>(static_cast<char*>(to) + offset, row_bytes);
    if (from != nullptr) {
      tile_load<kTile>(static_cast<const char*>(from) + offset, row_bytes);
    } else {
      tile_zero<kTile>();
    }
  }
};

// Tile registers are stored by the floating-point unit of vectors, which sleeps after some 2000 cycles without work: 32
// blocks of four products. To wake it takes as long as 45 products.
HWY_INLINE void keep_vectors_awake() { asm volatile("vmaxps %%zmm31, %%zmm31, %%zmm31" ::: "xmm31"); }

// Adds the products of one tile of A a unit and one of B a vector, the second of which lies `b_next` bytes behind the
// first: at 2 x 2 a load for each product, at 4 x 1 five for four. Calls before.at<tile of sums>() before each product.
template <int kUnits, int kVectors, class T, class Before = NothingBefore>
HWY_INLINE void multiply_block(const T* const (&a)[kUnits], int64_t a_bytes, const void* b, int64_t b_bytes,
                               int64_t b_next, const Before& before = Before()) {
  constexpr int kA = kTilesOfA, kB = kTilesOfB;
  keep_vectors_awake();
  before.template at<0>();
  tile_load<kB>(b, b_bytes);
  tile_load<kA>(a[0], a_bytes);
  tile_dot<0, kA, kB>();
  if constexpr (kVectors == 2) {
    before.template at<1>();
    tile_load<kB + 1>(static_cast<const char*>(b) + b_next, b_bytes);
    tile_dot<1, kA, kB + 1>();
    if constexpr (kUnits == 2) {
      before.template at<2>();
      tile_load<kA + 1>(a[1], a_bytes);
      tile_dot<2, kA + 1, kB>();
      before.template at<3>();
      tile_dot<3, kA + 1, kB + 1>();
    }
  } else {
    if constexpr (kUnits > 1) {
      before.template at<1>();
      tile_load<kA + 1>(a[1], a_bytes);
      tile_dot<1, kA + 1, kB>();
    }
    if constexpr (kUnits > 2) {
      before.template at<2>();
      tile_load<kA>(a[2], a_bytes);
      tile_dot<2, kA, kB>();
    }
    if constexpr (kUnits > 3) {
      before.template at<3>();
      tile_load<kA + 1>(a[3], a_bytes);
      tile_dot<3, kA + 1, kB>();
    }
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
