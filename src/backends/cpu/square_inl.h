// Transposition of blocks of 32-bit words in registers, once for each Highway target.
#if defined(BLADE_CPU_SQUARE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_CPU_SQUARE_INL_H_
#undef BLADE_CPU_SQUARE_INL_H_
#else
#define BLADE_CPU_SQUARE_INL_H_
#endif

#include <cstdint>

#include "backends/cpu/matrix/simd_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
// Each block of four lanes of r[0..4) is a row of four numbers: transposes the matrix of four rows that each place has.
template <class DX>
HWY_ATTR HWY_INLINE void transpose_blocks(DX d, hn::Vec<DX> (&r)[4]) {
  const hn::RepartitionToWide<DX> pairs;
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r[0], r[1]));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r[0], r[1]));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r[2], r[3]));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r[2], r[3]));
  r[0] = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
  r[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
  r[2] = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
  r[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
}
#endif

#if HWY_TARGET == HWY_AVX3
// to[j * pitch + i] = lane j of row(i), for 16 rows.
template <class Row>
HWY_ATTR HWY_INLINE void transpose_16_rows(Row row, float* to, int64_t pitch) {
  const D d;
  V r[4][4];
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) r[g][i] = row(4 * g + i);
    transpose_blocks(d, r[g]);
  }
  // Then the blocks: of r[0..4)[j], each has a quarter of columns j, 4 + j, 8 + j and 12 + j.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const V even01 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(r[1][j]), r[0][j]);
    const V odd01 = hn::OddEvenBlocks(r[1][j], hn::SwapAdjacentBlocks(r[0][j]));
    const V even23 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(r[3][j]), r[2][j]);
    const V odd23 = hn::OddEvenBlocks(r[3][j], hn::SwapAdjacentBlocks(r[2][j]));
    float* const column = to + j * pitch;
    hn::StoreU(hn::ConcatLowerLower(d, even23, even01), d, column);
    hn::StoreU(hn::ConcatLowerLower(d, odd23, odd01), d, column + 4 * pitch);
    hn::StoreU(hn::ConcatUpperUpper(d, even23, even01), d, column + 8 * pitch);
    hn::StoreU(hn::ConcatUpperUpper(d, odd23, odd01), d, column + 12 * pitch);
  }
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
