// The transposition for each instruction set: 8x8 words in registers.
#include "backends/cpu/matrix/transpose.h"

#include <algorithm>

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/transpose.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

// Rows of a strip: a cache line of each row of the result.
constexpr int64_t kStripRows = 16;

HWY_ATTR void transpose_by_words(const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row, int64_t rows,
                                 int64_t columns) {
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) to[j * to_row + i] = from[i * from_row + j];
  }
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
using Row = hn::FixedTag<uint32_t, 8>;

HWY_ATTR HWY_INLINE void transpose_8x8(const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row) {
  const Row d;
  const hn::Repartition<uint64_t, Row> pairs;
  const auto row = [&](int i) HWY_ATTR { return hn::LoadU(d, from + i * from_row); };
  // Four words of a column of rows [first, first + 4), and of the column four further: for columns 0 to 3.
  const auto quarter = [&](int first, auto&& out) HWY_ATTR {
    const auto a = row(first), b = row(first + 1), c = row(first + 2), e = row(first + 3);
    const auto ab = hn::BitCast(pairs, hn::InterleaveLower(d, a, b));
    const auto ce = hn::BitCast(pairs, hn::InterleaveLower(d, c, e));
    const auto ab_high = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
    const auto ce_high = hn::BitCast(pairs, hn::InterleaveUpper(d, c, e));
    out(hn::InterleaveLower(pairs, ab, ce), hn::InterleaveUpper(pairs, ab, ce),
        hn::InterleaveLower(pairs, ab_high, ce_high), hn::InterleaveUpper(pairs, ab_high, ce_high));
  };
  const auto store = [&](int column, auto upper, auto lower) HWY_ATTR {
    hn::StoreU(hn::BitCast(d, hn::ConcatLowerLower(pairs, lower, upper)), d, to + column * to_row);
    hn::StoreU(hn::BitCast(d, hn::ConcatUpperUpper(pairs, lower, upper)), d, to + (column + 4) * to_row);
  };
  quarter(0, [&](auto u0, auto u1, auto u2, auto u3) HWY_ATTR {
    quarter(4, [&](auto l0, auto l1, auto l2, auto l3) HWY_ATTR {
      store(0, u0, l0);
      store(1, u1, l1);
      store(2, u2, l2);
      store(3, u3, l3);
    });
  });
}

HWY_ATTR void transpose_by_blocks(const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row, int64_t rows,
                                  int64_t columns) {
  const int64_t whole_columns = columns / 8 * 8;
  for (int64_t strip = 0; strip < rows; strip += kStripRows) {
    const int64_t end = std::min(rows, strip + kStripRows);
    const int64_t whole_end = strip + (end - strip) / 8 * 8;
    for (int64_t j = 0; j < whole_columns; j += 8) {
      for (int64_t i = strip; i < whole_end; i += 8) {
        transpose_8x8(from + i * from_row + j, from_row, to + j * to_row + i, to_row);
      }
    }
    transpose_by_words(from + strip * from_row + whole_columns, from_row, to + whole_columns * to_row + strip, to_row,
                       whole_end - strip, columns - whole_columns);
    transpose_by_words(from + whole_end * from_row, from_row, to + whole_end, to_row, end - whole_end, columns);
  }
}
#else
HWY_ATTR void transpose_by_blocks(const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row, int64_t rows,
                                  int64_t columns) {
  for (int64_t i = 0; i < rows; i += kStripRows) {
    transpose_by_words(from + i * from_row, from_row, to + i, to_row, std::min(kStripRows, rows - i), columns);
  }
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
HWY_EXPORT(transpose_by_blocks);
void transpose_words(const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row, int64_t rows,
                     int64_t columns) {
  HWY_DYNAMIC_DISPATCH(transpose_by_blocks)(from, from_row, to, to_row, rows, columns);
}
}  // namespace blade::backends::cpu
#endif
