// Scores are queries times keys, a row a query: vectors of a row's scores become weights, which lie as the second
// product reads its left operand. Right operands are whole tiles one behind the other, padded with zeros.
#include "backends/cpu/attention_tiles.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "backends/cpu/matrix/simd_targets.h"
#include "base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/attention_tiles.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/activation_inl.h"
#include "backends/cpu/matrix/amx_tiles_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
#include "backends/cpu/square_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3

namespace {

using Matrix = StridedMatrix<BFloat16>;
using Words = hn::ScalableTag<uint16_t>;                                  // 32 bfloat16
constexpr int64_t kRows = 16, kElements = 32, kTile = kRows * kElements;  // of a tile register in bfloat16
constexpr int64_t kLanes = 16;
constexpr int64_t kStepKeys = kElements;  // keys of a step of the second product, and of two tiles of the first
constexpr int64_t kKeysOfChunk = 256;     // their scores and weights stay in L1
constexpr int64_t kPad = 64;              // bytes behind a row, so that rows of a tile lie in different sets of L1

// The parts of the scratch, in bytes.
struct Layout {
  int64_t depth_steps, key_steps, width_tiles, chunk;  // chunk: keys, whole steps
  int64_t query_row, score_row, weight_row, result_row, mask_row;
  int64_t keys_at, values_at, queries_at, scores_at, weights_at, results_at, masks_at, end;

  explicit Layout(const TiledHead& head)
      : depth_steps(ceil_div(head.depth, kElements)),
        key_steps(ceil_div(head.keys, kStepKeys)),
        width_tiles(ceil_div(head.width, kLanes)),
        chunk(std::min(kKeysOfChunk, key_steps * kStepKeys)) {
    constexpr int64_t kHalf = sizeof(BFloat16), kFloat = sizeof(float);
    query_row = depth_steps * kElements * kHalf;
    score_row = chunk * kFloat + kPad;
    weight_row = chunk * kHalf + kPad;
    result_row = width_tiles * kLanes * kFloat + kPad;
    mask_row = chunk * kFloat;
    keys_at = 0;
    values_at = keys_at + key_steps * depth_steps * 2 * kTile * kHalf;
    queries_at = values_at + key_steps * width_tiles * kTile * kHalf;
    scores_at = queries_at + kTileQueries * query_row;
    weights_at = scores_at + kTileQueries * score_row;
    results_at = weights_at + kTileQueries * weight_row;
    masks_at = results_at + kTileQueries * result_row;
    end = masks_at + 2 * mask_row;
  }
};

HWY_ATTR HWY_INLINE hn::Vec<Words> elements_at(const BFloat16* from, int64_t count) {
  const auto first = hn::FirstN(Words(), static_cast<size_t>(std::clamp<int64_t>(count, 0, kElements)));
  return hn::MaskedLoad(first, Words(), reinterpret_cast<const uint16_t*>(from));
}

// Rows and columns of a matrix, zeros beyond them.
struct Bounded {
  Matrix of;
  int64_t rows, columns;

  // Elements [column, column + 32) of a row.
  HWY_ATTR HWY_INLINE hn::Vec<Words> elements(int64_t row, int64_t column) const {
    if (row >= rows) return hn::Zero(Words());
    const BFloat16* from = of.data + row * of.row + column * of.column;
    const int64_t count = std::min(kElements, columns - column);
    if (of.column == 1) return elements_at(from, count);
    HWY_ALIGN BFloat16 copy[kElements] = {};
    for (int64_t i = 0; i < count; ++i) copy[i] = from[i * of.column];
    return hn::Load(Words(), reinterpret_cast<const uint16_t*>(copy));
  }
};

// Tiles [key step][depth step][2]: row p of a tile has elements 2p and 2p + 1 of 16 keys.
HWY_ATTR void arrange_keys(const Layout& layout, const Bounded& k, BFloat16* to) {
  for (int64_t s = 0; s < layout.key_steps; ++s) {
    for (int64_t d = 0; d < layout.depth_steps; ++d) {
      for (int64_t first = s * kStepKeys; first < (s + 1) * kStepKeys; first += kRows, to += kTile) {
        const auto row = [&](int i) HWY_ATTR { return hn::BitCast(D(), k.elements(first + i, d * kElements)); };
        transpose_16_rows(row, reinterpret_cast<float*>(to), kLanes);
      }
    }
  }
}

// Tiles [key step][16 elements of a value]: row p of a tile has those of keys 2p and 2p + 1 by turns.
HWY_ATTR void arrange_values(const Layout& layout, const Bounded& v, BFloat16* to) {
  const Words d;
  HWY_ALIGN uint16_t order[2 * kElements];
  for (int i = 0; i < 2 * kElements; ++i) order[i] = static_cast<uint16_t>(i / 2 + i % 2 * kElements);
  const auto low = hn::Load(d, order), high = hn::Load(d, order + kElements);
  for (int64_t s = 0; s < layout.key_steps; ++s, to += layout.width_tiles * kTile) {
    for (int64_t p = 0; p < kRows; ++p) {
      const int64_t key = s * kStepKeys + 2 * p;
      for (int64_t t = 0; t < layout.width_tiles; t += 2) {
        const auto a = v.elements(key, t * kLanes), b = v.elements(key + 1, t * kLanes);
        auto* const row = reinterpret_cast<uint16_t*>(to + t * kTile + p * kElements);
        hn::Store({_mm512_permutex2var_epi16(a.raw, low.raw, b.raw)}, d, row);
        if (t + 1 < layout.width_tiles) hn::Store({_mm512_permutex2var_epi16(a.raw, high.raw, b.raw)}, d, row + kTile);
      }
    }
  }
}

void arrange(const TiledHead& head, const Matrix& k, const Matrix& v, std::byte* scratch) {
  const Layout layout(head);
  arrange_keys(layout, {k, head.keys, head.depth}, reinterpret_cast<BFloat16*>(scratch + layout.keys_at));
  arrange_values(layout, {v, head.keys, head.width}, reinterpret_cast<BFloat16*>(scratch + layout.values_at));
}

// C = A * B, or C + A * B, of kUnits x kVectors tiles and `steps` tiles along the sum; rows in bytes.
struct TileProduct {
  const std::byte* a;
  int64_t a_row;
  const BFloat16* b;  // tiles of a step one behind the other
  int64_t b_step;     // elements from step to step
  int64_t steps;
  std::byte* c;
  int64_t c_row;
  bool accumulate;
};

template <int kUnits, int kVectors>
void tile_product(const TileProduct& p) {
  if (p.accumulate) {
    load_sums<kUnits, kVectors>(p.c, p.c_row);
  } else {
    clear_sums<kUnits, kVectors>();
  }
  constexpr int64_t kTileRow = kElements * sizeof(BFloat16), kTileBytes = kRows * kTileRow;
  const std::byte* a[kUnits];
  for (int u = 0; u < kUnits; ++u) a[u] = p.a + u * kRows * p.a_row;
  const BFloat16* b = p.b;
  for (int64_t s = 0; s < p.steps; ++s, b += p.b_step) {
    multiply_block<kUnits, kVectors>(a, p.a_row, b, kTileRow, kTileBytes);
    for (int u = 0; u < kUnits; ++u) a[u] += kTileRow;
  }
  store_sums<kUnits, kVectors>(p.c, p.c_row);
}

void multiply_tiles(const TileProduct& p, int64_t units, int64_t vectors) {
  if (units == 1) return vectors == 1 ? tile_product<1, 1>(p) : tile_product<1, 2>(p);
  return vectors == 1 ? tile_product<2, 1>(p) : tile_product<2, 2>(p);
}

// exp of x * factor, which is not positive, for weights that are rounded next: within 3e-6 of itself. NaN stays.
HWY_ATTR HWY_INLINE V weight_of(V x, V factor) { return coarse_exp2(hn::Mul(x, factor)); }

constexpr float kLog2e = 1.44269502f;

// One block of queries, chunk of keys by chunk of keys.
struct TileWalk {
  const TiledHead& head;
  const TiledBlock& block;
  std::byte* scratch;
  Layout layout{head};
  int64_t units = ceil_div(block.queries, kRows);
  // Without masks scores are scaled where they become weights.
  bool plain = block.mask.data == nullptr && block.added.data == nullptr && block.scale > 0;
  float most[kTileQueries], sum[kTileQueries];

  float* scores(int64_t row) const {
    return reinterpret_cast<float*>(scratch + layout.scores_at + row * layout.score_row);
  }
  float* results(int64_t row) const {
    return reinterpret_cast<float*>(scratch + layout.results_at + row * layout.result_row);
  }

  HWY_ATTR void take_queries() {
    auto* to = reinterpret_cast<uint16_t*>(scratch + layout.queries_at);
    const Bounded q{block.q, block.queries, head.depth};
    for (int64_t r = 0; r < units * kRows; ++r) {
      for (int64_t d = 0; d < layout.depth_steps; ++d, to += kElements)
        hn::Store(q.elements(r, d * kElements), Words(), to);
    }
  }

  void score(int64_t first_step, int64_t steps) const {
    TileProduct p{scratch + layout.queries_at, layout.query_row, nullptr,          2 * kTile,
                  layout.depth_steps,          nullptr,          layout.score_row, false};
    const auto* tiles = reinterpret_cast<const BFloat16*>(scratch + layout.keys_at);
    for (int64_t s = 0; s < steps; ++s) {
      p.b = tiles + (first_step + s) * layout.depth_steps * 2 * kTile;
      p.c = scratch + layout.scores_at + s * kStepKeys * int64_t{sizeof(float)};
      multiply_tiles(p, units, 2);
    }
  }

  // Row `row` of a mask for keys [first, first + count), side by side.
  const float* mask_row(const StridedMatrix<>& mask, int64_t row, int64_t first, int64_t count, int index) const {
    const float* from = mask.data + row * mask.row + first * mask.column;
    if (mask.column == 1) return from;
    auto* to = reinterpret_cast<float*>(scratch + layout.masks_at + index * layout.mask_row);
    if (mask.row == 0 && row > 0) return to;  // as the first row found it
    for (int64_t i = 0; i < count; ++i) to[i] = from[i * mask.column];
    return to;
  }

  // The largest score of a row, after scaling and masks, which are written back. Places beyond the keys get -inf.
  HWY_ATTR float finish_scores(int64_t row, int64_t first, int64_t count, int64_t padded) const {
    const D d;
    float* const x = scores(row);
    const V lowest = constant(-std::numeric_limits<float>::infinity());
    V largest = constant(std::numeric_limits<float>::lowest());
    if (plain) {
      for (int64_t i = count / kLanes * kLanes; i < padded; i += kLanes) {
        const auto left = static_cast<size_t>(std::max<int64_t>(0, count - i));
        hn::Store(hn::IfThenElse(hn::FirstN(d, left), hn::Load(d, x + i), lowest), d, x + i);
      }
      for (int64_t i = 0; i < padded; i += kLanes) largest = hn::Max(hn::Load(d, x + i), largest);
      return hn::GetLane(hn::MaxOfLanes(d, largest));
    }
    const float* mask = block.mask.data != nullptr ? mask_row(block.mask, row, first, count, 0) : nullptr;
    const float* added = block.added.data != nullptr ? mask_row(block.added, row, first, count, 1) : nullptr;
    const V scale = constant(block.scale);
    for (int64_t i = 0; i < padded; i += kLanes) {
      V score = hn::Load(d, x + i);
      const V of_mask = mask != nullptr ? load_some(d, mask + i, count - i) : hn::Zero(d);
      if (block.mask_replaces) {
        score = hn::IfThenElse(hn::Ne(of_mask, hn::Zero(d)), of_mask, hn::Mul(score, scale));
      } else {
        score = hn::MulAdd(score, scale, of_mask);
      }
      if (added != nullptr) score = hn::Add(score, load_some(d, added + i, count - i));
      if (i + kLanes > count) {
        const auto left = static_cast<size_t>(std::max<int64_t>(0, count - i));
        score = hn::IfThenElse(hn::FirstN(d, left), score, lowest);
      }
      hn::Store(score, d, x + i);
      largest = hn::Max(score, largest);
    }
    return hn::GetLane(hn::MaxOfLanes(d, largest));
  }

  // Scores of a row to rounded weights, `padded` of them; returns their sum.
  HWY_ATTR float weigh(int64_t row, int64_t padded, V factor) const {
    const D d;
    const float* const x = scores(row);
    auto* to = reinterpret_cast<uint16_t*>(scratch + layout.weights_at + row * layout.weight_row);
    const V largest = constant(most[row]);
    V sum0 = hn::Zero(d), sum1 = hn::Zero(d);
    for (int64_t i = 0; i < padded; i += 2 * kLanes, to += kElements) {
      const V w0 = weight_of(hn::Sub(hn::Load(d, x + i), largest), factor);
      const V w1 = weight_of(hn::Sub(hn::Load(d, x + i + kLanes), largest), factor);
      sum0 = hn::Add(sum0, w0);
      sum1 = hn::Add(sum1, w1);
      hn::Store(narrowed_pair(w0, w1), Words(), to);
    }
    return hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  }

  // Results of earlier chunks, relative to the new maximum.
  HWY_ATTR void rescale(int64_t row, float factor) const {
    const D d;
    float* const x = results(row);
    const V f = constant(factor);
    for (int64_t i = 0; i < layout.width_tiles * kLanes; i += kLanes)
      hn::Store(hn::Mul(hn::Load(d, x + i), f), d, x + i);
  }

  HWY_ATTR void weigh_chunk(int64_t first, int64_t count, int64_t padded) {
    const V factor = constant(plain ? block.scale * kLog2e : kLog2e);
    for (int64_t r = 0; r < block.queries; ++r) {
      const float largest = std::max(most[r], finish_scores(r, first, count, padded));
      const bool rises = first > 0 && largest > most[r];
      if (rises) {
        const float down = hn::GetLane(weight_of(hn::Sub(constant(most[r]), constant(largest)), factor));
        rescale(r, down);
        sum[r] *= down;
      }
      most[r] = largest;
      sum[r] += weigh(r, padded, factor);
    }
  }

  void combine(int64_t first_step, int64_t steps) const {
    TileProduct p{scratch + layout.weights_at, layout.weight_row, nullptr, layout.width_tiles * kTile, steps, nullptr,
                  layout.result_row,           first_step > 0};
    const auto* tiles = reinterpret_cast<const BFloat16*>(scratch + layout.values_at);
    for (int64_t t = 0; t < layout.width_tiles; t += 2) {
      p.b = tiles + (first_step * layout.width_tiles + t) * kTile;
      p.c = scratch + layout.results_at + t * kLanes * int64_t{sizeof(float)};
      multiply_tiles(p, units, std::min<int64_t>(2, layout.width_tiles - t));
    }
  }

  HWY_ATTR void write() const {
    const D d;
    for (int64_t r = 0; r < block.queries; ++r) {
      const V factor = constant(1 / sum[r]);
      for (int64_t e = 0; e < head.width; e += kLanes) {
        const V result = hn::Mul(hn::Load(d, results(r) + e), factor);
        store_some_natively(result, block.out + r * block.out_row + e, head.width - e);
      }
    }
  }

  void run() {
    // Not -inf: rows of which a chunk has nothing but -inf must not become NaN.
    std::fill(most, most + kTileQueries, std::numeric_limits<float>::lowest());
    std::fill(sum, sum + kTileQueries, 0.0f);
    take_queries();
    const int64_t chunk_steps = layout.chunk / kStepKeys;
    for (int64_t step = 0; step < layout.key_steps; step += chunk_steps) {
      const int64_t steps = std::min(chunk_steps, layout.key_steps - step);
      const int64_t first = step * kStepKeys, padded = steps * kStepKeys;
      score(step, steps);
      weigh_chunk(first, std::min(padded, head.keys - first), padded);
      combine(step, steps);
    }
    write();
  }
};

void attend_tiles(const TiledHead& head, const TiledBlock& block, std::byte* scratch) {
  TileWalk{head, block, scratch}.run();
}

size_t tile_scratch_bytes(const TiledHead& head) { return align_up(static_cast<size_t>(Layout(head).end), 64); }

}  // namespace

const AttentionTileFunctions& get_attention_tiles() {
  static constexpr AttentionTileFunctions kFunctions = {tile_scratch_bytes, arrange, attend_tiles};
  return kFunctions;
}

#else

const AttentionTileFunctions& get_attention_tiles() {
  static constexpr AttentionTileFunctions kNone;
  return kNone;
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {

HWY_EXPORT(get_attention_tiles);
const AttentionTileFunctions& attention_tile_functions() { return HWY_DYNAMIC_DISPATCH(get_attention_tiles)(); }

}  // namespace blade::backends::cpu
#endif  // HWY_ONCE
