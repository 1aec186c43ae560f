// Products with so few columns that they would leave most of a vector empty: lanes are rows of A instead, of which
// blocks of 16 x 16 are turned in registers. Once for each Highway target; for AVX-512 alone.
#if defined(BLADE_MATRIX_FEW_COLUMNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_FEW_COLUMNS_INL_H_
#undef BLADE_MATRIX_FEW_COLUMNS_INL_H_
#else
#define BLADE_MATRIX_FEW_COLUMNS_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
#include "backends/cpu/matrix/tile_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
constexpr int kTurned = 16;  // rows and elements of a block
constexpr int kFewColumns = 4;

HWY_INLINE bool has_few_columns(const TileArgs<float>& a) {
  return a.columns <= kFewColumns && a.out_stride == a.columns && a.runs == 1 && a.run_length % kTurned == 0 &&
         a.residual == nullptr && !a.gate.used();
}

// Rows become columns: within quarters of the vectors, then quarter by quarter.
HWY_ATTR HWY_INLINE void turn(V (&x)[kTurned]) {
  const hn::Repartition<double, D> pairs;
  V t[kTurned], u[kTurned];
#pragma GCC unroll 8
  for (int i = 0; i < kTurned; i += 2) {
    t[i] = hn::InterleaveLower(D(), x[i], x[i + 1]);
    t[i + 1] = hn::InterleaveUpper(D(), x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kTurned; i += 4) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const auto first = hn::BitCast(pairs, t[i + half]), last = hn::BitCast(pairs, t[i + half + 2]);
      u[i + 2 * half] = hn::BitCast(D(), hn::InterleaveLower(pairs, first, last));
      u[i + 2 * half + 1] = hn::BitCast(D(), hn::InterleaveUpper(pairs, first, last));
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const auto first = _mm512_shuffle_f32x4(u[i].raw, u[i + 4].raw, 0x44);
    const auto second = _mm512_shuffle_f32x4(u[i].raw, u[i + 4].raw, 0xee);
    const auto third = _mm512_shuffle_f32x4(u[i + 8].raw, u[i + 12].raw, 0x44);
    const auto last = _mm512_shuffle_f32x4(u[i + 8].raw, u[i + 12].raw, 0xee);
    x[i] = V{_mm512_shuffle_f32x4(first, third, 0x88)};
    x[i + 4] = V{_mm512_shuffle_f32x4(first, third, 0xdd)};
    x[i + 8] = V{_mm512_shuffle_f32x4(second, last, 0x88)};
    x[i + 12] = V{_mm512_shuffle_f32x4(second, last, 0xdd)};
  }
}

// A vector a column, as rows of `kColumns` floats.
template <int kColumns>
HWY_ATTR HWY_INLINE void store_columns(const V (&sums)[kColumns], float* to) {
  if constexpr (kColumns == 1) hn::StoreU(sums[0], D(), to);
  if constexpr (kColumns == 2) hn::StoreInterleaved2(sums[0], sums[1], D(), to);
  if constexpr (kColumns == 3) hn::StoreInterleaved3(sums[0], sums[1], sums[2], D(), to);
  if constexpr (kColumns == 4) hn::StoreInterleaved4(sums[0], sums[1], sums[2], sums[3], D(), to);
}

template <int kColumns>
HWY_ATTR void multiply_columns(const TileArgs<float>& a, int64_t rows) {
  const D d;
  const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi);
  const float* row = a.rows[0] + (a.run_offsets != nullptr ? a.run_offsets[0] : 0);
  for (int64_t r = 0; r < rows; r += kTurned, row += kTurned * a.row_pitch) {
    const int64_t left = std::min<int64_t>(kTurned, rows - r);
    V even[kColumns], odd[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      even[c] = a.bias != nullptr ? hn::Set(d, a.bias[c]) : hn::Zero(d);
      odd[c] = hn::Zero(d);
    }
    for (int64_t k = 0; k < a.run_length; k += kTurned) {
      V x[kTurned];
#pragma GCC unroll 16
      for (int i = 0; i < kTurned; ++i) x[i] = hn::LoadU(d, row + std::min<int64_t>(i, left - 1) * a.row_pitch + k);
      turn(x);
      const float* weights = a.panel + k * kTurned;  // rows of one vector
#pragma GCC unroll 8
      for (int i = 0; i < kTurned; i += 2) {
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) {
          even[c] = hn::MulAdd(x[i], hn::Set(d, weights[i * kTurned + c]), even[c]);
          odd[c] = hn::MulAdd(x[i + 1], hn::Set(d, weights[(i + 1) * kTurned + c]), odd[c]);
        }
      }
    }
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      V sum = hn::Add(even[c], odd[c]);
      if (a.slope != nullptr) sum = hn::IfThenElse(hn::Gt(sum, hn::Zero(d)), sum, hn::Mul(sum, hn::Set(d, a.slope[c])));
      sum = clamped(sum, lo, hi);
      if (a.scale != nullptr) sum = hn::MulAdd(sum, hn::Set(d, a.scale[c]), hn::Set(d, a.shift[c]));
      even[c] = sum;
    }
    if (left == kTurned) {
      store_columns(even, a.out + r * kColumns);
      continue;
    }
    HWY_ALIGN float last[kTurned * kColumns];
    store_columns(even, last);
    std::memcpy(a.out + r * kColumns, last, static_cast<size_t>(left * kColumns) * sizeof(float));
  }
}

// Rows at one pitch, where has_few_columns(a).
HWY_ATTR HWY_NOINLINE inline void multiply_few_columns(const TileArgs<float>& a, int64_t rows) {
  static_assert(kFewColumns == 4);
  if (a.columns == 1) return multiply_columns<1>(a, rows);
  if (a.columns == 2) return multiply_columns<2>(a, rows);
  if (a.columns == 3) return multiply_columns<3>(a, rows);
  multiply_columns<4>(a, rows);
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
