// Lanes are queries: then keys and values are read as numbers, one for all lanes, wherever they lie, and maxima and
// sums of a query never cross lanes. Only queries, masks and results are transposed.
#include "backends/cpu/attention_block.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "backends/cpu/matrix/simd_targets.h"
#include "base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/attention_block.cc"
#include "hwy/foreach_target.h"
// After foreach_target, which decides what highway.h compiles for.
#include "backends/cpu/matrix/activation_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
#include "backends/cpu/square_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_AVX3  // 32 registers
constexpr int kTallestTile = 14;
#else  // 16 registers
constexpr int kTallestTile = 6;
#endif
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
constexpr int64_t kKeysOfChunk = 256;  // their scores stay in L1

// C[i][lane] = sum over k < steps of a[i * row + k * step] * panel[k][lane], added to what C holds or not.
struct ProductTile {
  const float* a = nullptr;
  int64_t row = 0, step = 0;
  const float* panel = nullptr;
  int64_t steps = 0;
  float* out = nullptr;
  bool accumulate = false;
  float* most = nullptr;  // the largest number of each lane so far, or null
};

// Bytes from a to the rows of a tile: odd multiples of the pitch are kept in registers, the others are addressed by
// scaling them.
struct RowOffsets {
  int64_t odd[(kTallestTile + 1) / 2];
  explicit HWY_INLINE RowOffsets(int64_t pitch) {
#pragma GCC unroll 7
    for (int i = 0; i < (kTallestTile + 1) / 2; ++i) odd[i] = (2 * i + 1) * pitch;
  }
  HWY_INLINE int64_t operator[](int i) const {
    if (i == 0) return 0;
    const int twos = __builtin_ctz(static_cast<unsigned>(i));
    return odd[(i >> twos) / 2] * (int64_t{1} << twos);
  }
  // Else the compiler computes all before the loop and spills them.
  HWY_INLINE void keep_in_registers() {
#pragma GCC unroll 7
    for (int64_t& multiple : odd) asm("" : "+r"(multiple));
  }
};

template <int kRows, int kVectors>
HWY_ATTR HWY_INLINE void finish_tile(const ProductTile& t, V (&acc)[kRows][kVectors]) {
  const D d;
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    float* const out = t.out + v * kLanes;
    if (t.accumulate) {
#pragma GCC unroll 14
      for (int i = 0; i < kRows; ++i) acc[i][v] = hn::Add(acc[i][v], hn::Load(d, out + i * kVectors * kLanes));
    }
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i) hn::Store(acc[i][v], d, out + i * kVectors * kLanes);
    if (t.most == nullptr) continue;
    V most = hn::Load(d, t.most + v * kLanes);
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i) most = hn::Max(acc[i][v], most);
    hn::Store(most, d, t.most + v * kLanes);
  }
}

template <int kRows, int kVectors>
HWY_ATTR void product_tile(const ProductTile& t) {
  const D d;
  V acc[kRows][kVectors];
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::Zero(d);
  }
  RowOffsets offsets(t.row * int64_t{sizeof(float)});
  const auto* a = reinterpret_cast<const char*>(t.a);
  const float* panel = t.panel;
  const int64_t step = t.step * int64_t{sizeof(float)};
  for (int64_t k = 0; k < t.steps; ++k, a += step, panel += kVectors * kLanes) {
    offsets.keep_in_registers();
    V b[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) b[v] = hn::Load(d, panel + v * kLanes);
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i) {
      const V x = hn::Set(d, *reinterpret_cast<const float*>(a + offsets[i]));
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) acc[i][v] = add_product(acc[i][v], x, b[v]);
    }
  }
  finish_tile<kRows, kVectors>(t, acc);
}

using ProductTileFunction = void (*)(const ProductTile&);

template <int kVectors, int... kRows>
constexpr std::array<ProductTileFunction, sizeof...(kRows)> tiles_of(std::integer_sequence<int, kRows...>) {
  return {&product_tile<kRows + 1, kVectors>...};
}

// `tile` for `rows` rows, in tiles of nearly the same height.
template <int kVectors>
void product(ProductTile tile, int64_t rows) {
  static constexpr auto kTiles = tiles_of<kVectors>(std::make_integer_sequence<int, kTallestTile>());
  const int64_t tiles = ceil_div(rows, int64_t{kTallestTile});
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t count = rows * (t + 1) / tiles - rows * t / tiles;
    kTiles[static_cast<size_t>(count - 1)](tile);
    tile.a += count * tile.row;
    tile.out += count * kVectors * kLanes;
  }
}

// Rows of numbers that are transposed.
struct Rows {
  const float* from;
  int64_t from_pitch;
  float* to;
  int64_t to_pitch;
  Rows at(int64_t row, int64_t column) const {
    return {from + row * from_pitch + column, from_pitch, to + column * to_pitch + row, to_pitch};
  }
};

// to[j][i] = from[i][j] * factors[j]
HWY_ATTR HWY_INLINE void transpose_4x4(const Rows& rows, const float* factors) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) rows.to[j * rows.to_pitch + i] = rows.from[i * rows.from_pitch + j] * factors[j];
  }
#else
  const hn::FixedTag<float, 4> d;
  hn::Vec<decltype(d)> r[4];
  for (int i = 0; i < 4; ++i) r[i] = hn::Mul(hn::LoadU(d, rows.from + i * rows.from_pitch), hn::LoadU(d, factors));
  transpose_blocks(d, r);
  for (int j = 0; j < 4; ++j) hn::StoreU(r[j], d, rows.to + j * rows.to_pitch);
#endif
}

#if HWY_TARGET == HWY_AVX3
constexpr int64_t kSquare = 16;

HWY_ATTR HWY_INLINE void transpose_square(const Rows& rows, const float* factors) {
  const D d;
  const V f = hn::LoadU(d, factors);
  const auto row = [&](int i) HWY_ATTR { return hn::Mul(hn::LoadU(d, rows.from + i * rows.from_pitch), f); };
  transpose_16_rows(row, rows.to, rows.to_pitch);
}
#else
constexpr int64_t kSquare = 4;

HWY_ATTR HWY_INLINE void transpose_square(const Rows& rows, const float* factors) { transpose_4x4(rows, factors); }
#endif

// to[j][i] = from[i][j] * factors[j * factor_step], for counts that are multiples of 4; without a step there are
// kSquare equal factors.
HWY_ATTR void transpose(const Rows& rows, int64_t count, int64_t columns, const float* factors, int64_t factor_step) {
  const int64_t in_squares = count / kSquare * kSquare, columns_in_squares = columns / kSquare * kSquare;
  for (int64_t c = 0; c < columns_in_squares; c += kSquare) {
    for (int64_t r = 0; r < in_squares; r += kSquare) transpose_square(rows.at(r, c), factors + c * factor_step);
  }
  for (int64_t c = 0; c < columns; c += 4) {
    for (int64_t r = c < columns_in_squares ? in_squares : 0; r < count; r += 4)
      transpose_4x4(rows.at(r, c), factors + c * factor_step);
  }
}

// lanes[column][row] = from[row][column] * factor; zeros in the lanes of a vector beyond `rows`.
HWY_ATTR void to_lanes(const StridedMatrix<>& from, int64_t rows, int64_t columns, float factor, float* lanes,
                       int64_t pitch) {
  float factors[kSquare];
  std::fill(factors, factors + kSquare, factor);
  const int64_t whole_rows = rows / 4 * 4, whole_columns = from.column == 1 ? columns / 4 * 4 : 0;
  transpose({from.data, from.row, lanes, pitch}, whole_rows, whole_columns, factors, 0);
  for (int64_t c = whole_rows == pitch ? whole_columns : 0; c < columns; ++c) {
    float* const to = lanes + c * pitch;
    for (int64_t r = c < whole_columns ? whole_rows : 0; r < rows; ++r)
      to[r] = from.data[r * from.row + c * from.column] * factor;
    std::fill(to + rows, to + pitch, 0.0f);
  }
}

// out[row][column] = lanes[column][row] * factors[row]
HWY_ATTR void from_lanes(const float* lanes, int64_t pitch, const float* factors, int64_t rows, int64_t columns,
                         float* out, int64_t out_row) {
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  transpose({lanes, pitch, out, out_row}, whole_columns, whole_rows, factors, 1);
  for (int64_t r = whole_columns == columns ? whole_rows : 0; r < rows; ++r) {
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      out[r * out_row + c] = lanes[c * pitch + r] * factors[r];
  }
}

// exp of x <= 0, to 1.6e-7 of it; NaN stays. As exp_bounded(), shorter: weights smaller than 2^-24 of the largest need
// no digits.
HWY_ATTR HWY_INLINE V weight_of(V x) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  const V log2e = constant(1.44269502f), rounder = constant(12582912.0f);
  const V shifted = hn::MulAdd(x, log2e, rounder);
  const V f = hn::MulSub(x, log2e, hn::Sub(shifted, rounder));
  V p = constant(0.0013264723820611835f);
  p = hn::MulAdd(p, f, constant(0.009671512991189957f));
  p = hn::MulAdd(p, f, constant(0.05550733581185341f));
  p = hn::MulAdd(p, f, constant(0.24022242426872253f));
  p = hn::MulAdd(p, f, constant(0.6931470036506653f));
  p = hn::MulAdd(p, f, constant(1));
  const V power = hn::BitCast(d, hn::Add(hn::BitCast(du, p), hn::ShiftLeft<23>(hn::BitCast(du, shifted))));
  return hn::IfThenZeroElse(hn::Lt(x, constant(-87)), power);
}

// What a block keeps from chunk to chunk of its keys, a number for each query.
struct RowState {
  HWY_ALIGN float most[kAttentionVectors * kLanes];
  HWY_ALIGN float sum[kAttentionVectors * kLanes];
  HWY_ALIGN float earlier[kAttentionVectors * kLanes];  // `most` before the chunk
};

// Scores to weights, `sum` and `most` of which the rows then are.
template <int kVectors>
HWY_ATTR void weigh(float* scores, int64_t keys, RowState& state) {
  const D d;
  V most[kVectors], sum[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    most[v] = hn::Load(d, state.most + v * kLanes);
    sum[v] = hn::Load(d, state.sum + v * kLanes);
  }
  for (int64_t s = 0; s < keys; ++s, scores += kVectors * kLanes) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const V weight = weight_of(hn::Sub(hn::Load(d, scores + v * kLanes), most[v]));
      hn::Store(weight, d, scores + v * kLanes);
      sum[v] = hn::Add(sum[v], weight);
    }
  }
  for (int v = 0; v < kVectors; ++v) hn::Store(sum[v], d, state.sum + v * kLanes);
}

// Sums and results of earlier chunks, relative to the new maximum.
template <int kVectors>
HWY_ATTR void rescale(RowState& state, float* results, int64_t width) {
  const D d;
  for (int v = 0; v < kVectors; ++v) {
    const int at = v * kLanes;
    const V factor = weight_of(hn::Sub(hn::Load(d, state.earlier + at), hn::Load(d, state.most + at)));
    hn::Store(hn::Mul(hn::Load(d, state.sum + at), factor), d, state.sum + at);
    for (int64_t e = 0; e < width; ++e) {
      float* const result = results + e * kVectors * kLanes + at;
      hn::Store(hn::Mul(hn::Load(d, result), factor), d, result);
    }
  }
}

// Numbers of a mask other than zero in place of scores, then `added` to all; either may be null.
template <int kVectors>
HWY_ATTR void apply_masks(const float* mask, const float* added, float* scores, int64_t keys, RowState& state) {
  const D d;
  for (int v = 0; v < kVectors; ++v) {
    V most = hn::Load(d, state.most + v * kLanes);
    for (int64_t s = 0; s < keys; ++s) {
      const int64_t at = s * kVectors * kLanes + v * kLanes;
      V score = hn::Load(d, scores + at);
      if (mask != nullptr) {
        const V of_mask = hn::Load(d, mask + at);
        score = hn::IfThenElse(hn::Ne(of_mask, hn::Zero(d)), of_mask, score);
      }
      if (added != nullptr) score = hn::Add(score, hn::Load(d, added + at));
      hn::Store(score, d, scores + at);
      most = hn::Max(score, most);
    }
    hn::Store(most, d, state.most + v * kLanes);
  }
}

// One block of queries, chunk of keys by chunk of keys.
template <int kVectors>
struct BlockWalk {
  static constexpr int64_t kPitch = kVectors * kLanes;

  const AttentionBlock& block;
  float *queries, *scores, *results, *mask, *added;
  RowState state;

  BlockWalk(const AttentionBlock& b, float* scratch)
      : block(b),
        queries(scratch),
        scores(queries + b.depth * kPitch),
        results(scores + std::min(b.keys, kKeysOfChunk) * kPitch),
        mask(results + b.width * kPitch),
        added(mask + std::min(b.keys, kKeysOfChunk) * kPitch) {
    // Not -inf: rows of which a chunk has nothing but -inf must not become NaN.
    std::fill(state.most, state.most + kPitch, std::numeric_limits<float>::lowest());
    std::fill(state.sum, state.sum + kPitch, 0.0f);
  }

  // A mask of keys [first, first + count), with queries in lanes.
  HWY_ATTR void spread_mask(const StridedMatrix<>& of, int64_t first, int64_t count, float* to) const {
    const float* from = of.data + first * of.column;
    if (of.row != 0) {
      to_lanes({from, of.row, of.column}, block.queries, count, 1, to, kPitch);
      return;
    }
    for (int64_t s = 0; s < count; ++s) {
      const V number = constant(from[s * of.column]);
      for (int v = 0; v < kVectors; ++v) hn::Store(number, D(), to + s * kPitch + v * kLanes);
    }
  }

  void score(int64_t first, int64_t count) {
    const bool masked = block.mask.data != nullptr, replaces = masked && block.mask_replaces;
    const bool adds = block.added.data != nullptr;
    if (masked) spread_mask(block.mask, first, count, replaces ? mask : scores);
    product<kVectors>({block.k.data + first * block.k.row, block.k.row, block.k.column, queries, block.depth, scores,
                       masked && !replaces, replaces || adds ? nullptr : state.most},
                      count);
    if (!replaces && !adds) return;
    if (adds) spread_mask(block.added, first, count, added);
    apply_masks<kVectors>(replaces ? mask : nullptr, adds ? added : nullptr, scores, count, state);
  }

  HWY_ATTR void run() {
    to_lanes(block.q, block.queries, block.depth, block.scale, queries, kPitch);
    const int64_t chunks = ceil_div(block.keys, kKeysOfChunk);
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t first = block.keys * c / chunks, count = block.keys * (c + 1) / chunks - first;
      std::copy(state.most, state.most + kPitch, state.earlier);
      score(first, count);
      if (c > 0) rescale<kVectors>(state, results, block.width);
      weigh<kVectors>(scores, count, state);
      product<kVectors>(
          {block.v.data + first * block.v.row, block.v.column, block.v.row, scores, count, results, c > 0, nullptr},
          block.width);
    }
    for (int v = 0; v < kVectors; ++v) {
      const V sum = hn::Load(D(), state.sum + v * kLanes);
      hn::Store(hn::Div(constant(1), sum), D(), state.sum + v * kLanes);
    }
    from_lanes(results, kPitch, state.sum, block.queries, block.width, block.out, block.out_row);
  }
};

void attend_block(const AttentionBlock& block, std::byte* scratch) {
  auto* const floats = reinterpret_cast<float*>(scratch);
  if (block.queries <= kLanes) {
    BlockWalk<1>(block, floats).run();
  } else {
    BlockWalk<2>(block, floats).run();
  }
}

size_t block_scratch_bytes(int64_t keys, int64_t depth, int64_t width) {
  return static_cast<size_t>((depth + width + 3 * std::min(keys, kKeysOfChunk)) * kAttentionVectors * kLanes) *
         sizeof(float);
}

}  // namespace

const AttentionFunctions& attention_functions_of_target() {
  static constexpr AttentionFunctions kFunctions = {kLanes, block_scratch_bytes, attend_block};
  return kFunctions;
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
namespace {
HWY_EXPORT(attention_functions_of_target);
}  // namespace

const AttentionFunctions& attention_functions() { return HWY_DYNAMIC_DISPATCH(attention_functions_of_target)(); }

}  // namespace blade::backends::cpu
#endif  // HWY_ONCE
