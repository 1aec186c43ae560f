// The transposition for each instruction set: 8x8 words in registers, a few rows or columns woven.
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

// Rows that become neighbours, and the reverse: as many words as fit into vectors of D, from word `begin` on.
template <class Tag>
HWY_ATTR int64_t weave(Tag d, const uint32_t* from, int64_t from_row, uint32_t* to, int64_t rows, int64_t begin,
                       int64_t end) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t j = begin;
  for (; j + lanes <= end; j += lanes) {
    const auto row = [&](int64_t i) HWY_ATTR { return hn::LoadU(d, from + i * from_row + j); };
    if (rows == 2) hn::StoreInterleaved2(row(0), row(1), d, to + 2 * j);
    if (rows == 3) hn::StoreInterleaved3(row(0), row(1), row(2), d, to + 3 * j);
    if (rows == 4) hn::StoreInterleaved4(row(0), row(1), row(2), row(3), d, to + 4 * j);
  }
  return j;
}
template <class Tag>
HWY_ATTR int64_t unweave(Tag d, const uint32_t* from, uint32_t* to, int64_t to_row, int64_t columns, int64_t begin,
                         int64_t end) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) {
    hn::Vec<Tag> v[4];
    if (columns == 2) hn::LoadInterleaved2(d, from + 2 * i, v[0], v[1]);
    if (columns == 3) hn::LoadInterleaved3(d, from + 3 * i, v[0], v[1], v[2]);
    if (columns == 4) hn::LoadInterleaved4(d, from + 4 * i, v[0], v[1], v[2], v[3]);
    for (int64_t j = 0; j < columns; ++j) hn::StoreU(v[j], d, to + j * to_row + i);
  }
  return i;
}

constexpr hn::ScalableTag<uint32_t> kWords;
constexpr hn::CappedTag<uint32_t, 4> kFewWords;

HWY_ATTR void weave_rows(const uint32_t* from, int64_t from_row, uint32_t* to, int64_t rows, int64_t columns) {
  int64_t j = weave(kWords, from, from_row, to, rows, 0, columns);
  j = weave(kFewWords, from, from_row, to, rows, j, columns);
  transpose_by_words(from + j, from_row, to + j * rows, rows, rows, columns - j);
}
HWY_ATTR void unweave_columns(const uint32_t* from, uint32_t* to, int64_t to_row, int64_t rows, int64_t columns) {
  int64_t i = unweave(kWords, from, to, to_row, columns, 0, rows);
  i = unweave(kFewWords, from, to, to_row, columns, i, rows);
  transpose_by_words(from + i * columns, columns, to + i, to_row, rows - i, columns);
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

HWY_ATTR void transpose(const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row, int64_t rows,
                        int64_t columns) {
  if (rows > 1 && rows <= kMostWoven && to_row == rows) return weave_rows(from, from_row, to, rows, columns);
  if (columns > 1 && columns <= kMostWoven && from_row == columns) {
    return unweave_columns(from, to, to_row, rows, columns);
  }
  transpose_by_blocks(from, from_row, to, to_row, rows, columns);
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
HWY_EXPORT(transpose);
void transpose_words(const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row, int64_t rows,
                     int64_t columns) {
  HWY_DYNAMIC_DISPATCH(transpose)(from, from_row, to, to_row, rows, columns);
}
}  // namespace blade::backends::cpu
#endif
