// A block of rows meets panel after panel. Finished sums of a tile become results between the products of the next one.
#include "backends/cpu/matrix/amx_gemm.h"

#include <algorithm>
#include <limits>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/simd_targets.h"
#include "backends/machine.h"
#include "base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/amx_gemm.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/amx_plain_inl.h"
#include "backends/cpu/matrix/amx_tiles_inl.h"
#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3

namespace {

// A tile: two units of rows, or one, by two vectors of columns.
constexpr int64_t kMostRows = 2 * kAmxRows, kColumns = 32, kSumsOfTile = kMostRows * kColumns;  // of C
constexpr int64_t kHalfTile = kColumns / 2, kDepth = kAmxElements;  // columns of a tile register; of K in it
constexpr int64_t kPieceSteps = 8;                                  // of K in tile registers: 16 KiB of B
constexpr int64_t kShortSteps = 3;            // with so few, rows are finished between all products
constexpr int64_t kMostTiles = 8;             // of a block
constexpr int64_t kFewTiles = 2;              // the same where B stays in L2, at most
constexpr int64_t kFewTilesBytes = 16 << 10;  // of their rows, which are to stay in L1
constexpr int64_t kWordBytes = sizeof(float);
constexpr int64_t kSumRow = kColumns * sizeof(float);  // bytes

// Sums of a tile that are complete.
struct FinishedTile {
  float* sums = nullptr;
  int64_t row = 0, column = 0;  // in C, of the first of the sums
  int64_t next = 0, rows = 0;   // the first row that is not written yet, and behind the last
  int64_t columns = 0;
};

// What the epilogue of a product needs for two vectors of columns.
template <class Out>
struct ProductFinish {
  const AmxProduct& product;
  const Epilogue<BFloat16>& e;
  Out* out;
  V bias[2];
  FirstLanes first[2];
  bool whole;
  V lo, hi;
  int64_t column;

  HWY_ATTR ProductFinish(const AmxProduct& p, Out* to, const FinishedTile& f)
      : product(p),
        e(*p.epilogue),
        out(to + f.column),
        bias{hn::Zero(D()), hn::Zero(D())},
        first{FirstLanes(f.columns), FirstLanes(f.columns - kHalfTile)},
        whole(f.columns >= kColumns),
        lo(constant(p.epilogue->clamp_lo)),
        hi(constant(p.epilogue->clamp_hi)),
        column(f.column) {
    if (e.bias == nullptr) return;
    for (int v = 0; v < 2; ++v) bias[v] = load_first(first[v], e.bias + column + v * kHalfTile);
  }

  HWY_ATTR HWY_INLINE void store(V x0, V x1, int64_t row) const {
    Out* const to = out + row * product.c_row;
    if constexpr (sizeof(Out) < sizeof(float)) {
      if (whole) {
        hn::StoreU(narrowed_pair(x0, x1), DPair(), reinterpret_cast<uint16_t*>(to));
        return;
      }
    }
    store_first(x0, first[0], to);
    store_first(x1, first[1], to + kHalfTile);
  }

  // Rows [begin, end) of the sums; `row`: of C, where the first row of the sums goes.
  template <bool kResidual, bool kGate>
  HWY_ATTR void rows(float* sums, int64_t row, int64_t begin, int64_t end) const {
    const D d;
    const auto residual = [&](int64_t r, int v) HWY_ATTR {
      return load_first(first[v], e.residual + (row + r) * e.residual_row_stride + column + v * kHalfTile);
    };
    const bool residual_first = kResidual && !e.residual_last;
    const auto value = [&](int64_t r, int v) HWY_ATTR {
      V x = hn::Add(hn::Load(d, sums + r * kColumns + v * kHalfTile), bias[v]);
      if (residual_first) x = hn::Add(x, residual(r, v));
      return clamped(x, lo, hi);
    };
    if constexpr (kGate) {
      if (e.gate.curve != Curve::kNone) {
        for (int64_t r = begin; r < end; ++r) {
          for (int v = 0; v < 2; ++v) hn::Store(value(r, v), d, sums + r * kColumns + v * kHalfTile);
        }
        curve_block(e.gate, sums + begin * kColumns, (end - begin) * kColumns);
      }
    }
    const GateVectors gate = gate_vectors(e.gate);
    for (int64_t r = begin; r < end; ++r) {
      V x[2];
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        if (kGate && e.gate.curve != Curve::kNone) {
          x[v] = hn::Load(d, sums + r * kColumns + v * kHalfTile);
        } else {
          x[v] = value(r, v);
          if (kGate) x[v] = gated(gate, x[v]);
        }
        if (kResidual && !residual_first) x[v] = hn::Add(x[v], residual(r, v));
      }
      store(x[0], x[1], row + r);
    }
  }

  HWY_ATTR void run(float* sums, int64_t row, int64_t begin, int64_t end) const {
    if (e.gate.used()) {
      e.residual != nullptr ? rows<true, true>(sums, row, begin, end) : rows<false, true>(sums, row, begin, end);
    } else {
      e.residual != nullptr ? rows<true, false>(sums, row, begin, end) : rows<false, false>(sums, row, begin, end);
    }
  }
};

// The next `count` rows.
HWY_ATTR HWY_NOINLINE void finish_some(const AmxProduct& p, FinishedTile& f, int64_t count) {
  const int64_t end = std::min(f.rows, f.next + count);
  if (p.wide_c != nullptr) {
    ProductFinish<float>(p, p.wide_c, f).run(f.sums, f.row, f.next, end);
  } else {
    ProductFinish<BFloat16>(p, p.c, f).run(f.sums, f.row, f.next, end);
  }
  f.next = end;
}

// Rows of finished sums, some between products. `kPlain`: whole pairs of vectors with a plain epilogue.
struct AnyProductRows {
  static constexpr bool kPlain = false;
  const AmxProduct& product;
  FinishedTile tile;

  HWY_ATTR HWY_INLINE explicit AnyProductRows(const AmxProduct& p) : product(p) {}
  HWY_ATTR HWY_INLINE void begin(const FinishedTile& finished) { tile = finished; }
  HWY_ATTR HWY_INLINE void finish(int64_t rows) {
    if (tile.next < tile.rows) finish_some(product, tile, rows);
  }
};

template <bool kResidual, bool kUpper>
struct PlainProductRows {
  static constexpr bool kPlain = true;
  PlainFinish<kResidual, kUpper> finish_row;
  BFloat16* c;
  const BFloat16* added;
  const float* bias;
  int64_t out_stride, residual_stride;
  const float* sums = nullptr;
  BFloat16* out = nullptr;
  const BFloat16* residual = nullptr;
  int64_t left = 0;

  HWY_ATTR HWY_INLINE explicit PlainProductRows(const AmxProduct& p)
      : finish_row(p.epilogue->clamp_lo, p.epilogue->clamp_hi, p.epilogue->residual_last),
        c(p.c),
        added(p.epilogue->residual),
        bias(p.epilogue->bias),
        out_stride(p.c_row),
        residual_stride(p.epilogue->residual_row_stride) {}
  HWY_ATTR HWY_INLINE void begin(const FinishedTile& f) {
    left = f.rows - f.next;
    sums = f.sums + f.next * kColumns;
    const int64_t row = f.row + f.next;
    out = c + row * out_stride + f.column;
    if constexpr (kResidual) residual = added + row * residual_stride + f.column;
    if (bias != nullptr) finish_row.set_bias(bias + f.column);
  }
  HWY_ATTR HWY_INLINE void finish(int64_t rows) {
    for (rows = std::min(rows, left), left -= rows; rows > 0; --rows, out += out_stride, sums += kColumns) {
      finish_row.row(sums, residual, out);
      if constexpr (kResidual) residual += residual_stride;
    }
  }
};

// Before the products of a tile of sums: see StartSums; and `rows` of finished ones become results, from the third
// product on. What those were made of left before the second and, half of them, the fourth.
template <class Start, class Rows>
struct StartAndFinish {
  const Start& start;
  Rows& rows;
  int64_t count;

  template <int kTile>
  HWY_ATTR HWY_INLINE void at() const {
    if constexpr (Rows::kPlain && kTile >= 2) rows.finish(count);
    start.template at<kTile>();
  }
};
template <class Rows>
struct FinishBetween {
  Rows& rows;
  int64_t count;

  template <int kTile>
  HWY_ATTR HWY_INLINE void at() const {
    if constexpr (Rows::kPlain && kTile >= 1) rows.finish(count);
  }
};

// A part of the sums of a tile.
struct ProductPiece {
  const BFloat16* a;
  int64_t a_bytes;  // of a row
  int64_t unit_rows;
  const float* b;
  int64_t b_bytes;  // of a row of the panel
  int64_t steps;
  bool begins;
  const char* prefetch;
  int64_t lines;  // to prefetch in each step
};

// Sums that tile registers still have: stored when those are used again.
struct HeldSums {
  float* to = nullptr;
  int units = 0, vectors = 0;
  int64_t unit_bytes = 0;

  void store() {
    if (to == nullptr) return;
    if (units == 2) {
      vectors == 2 ? store_sums<2, 2>(to, kSumRow, unit_bytes) : store_sums<2, 1>(to, kSumRow, unit_bytes);
    } else {
      vectors == 2 ? store_sums<1, 2>(to, kSumRow) : store_sums<1, 1>(to, kSumRow);
    }
    to = nullptr;
  }
};

template <int kUnits, int kVectors, class Rows>
HWY_ATTR HWY_INLINE void add_products(const ProductPiece& p, float* sums, HeldSums& held, Rows& rows,
                                      bool all_finished_wait) {
  constexpr int64_t kVectorBytes = kHalfTile * sizeof(float);
  if (held.units != kUnits || held.vectors != kVectors) held.store();
  const int64_t unit_bytes = p.unit_rows * kSumRow;
  const StartSums<kVectors> start{held.to, p.begins ? nullptr : sums, kSumRow, unit_bytes};
  // Short sums: rows between all products.
  const bool between =
      Rows::kPlain && kUnits == 2 && kVectors == 2 && all_finished_wait && p.steps > 1 && p.steps <= kShortSteps;
  const int64_t rows_of_product = between ? ceil_div(2 * p.unit_rows, 4 * p.steps - 1) : 0;
  const int64_t rows_of_step = between ? rows_of_product : std::max(kFewestRows, ceil_div(2 * p.unit_rows, p.steps));
  const int64_t lower_a = p.unit_rows * p.a_bytes, b_step = kDepth / 2 * p.b_bytes;
  const auto* a = reinterpret_cast<const char*>(p.a);
  const auto* b = reinterpret_cast<const char*>(p.b);
  const char* prefetch = p.prefetch;
  for (int64_t s = 0; s < p.steps; ++s, a += kDepth * sizeof(BFloat16), b += b_step) {
    const char* units[kUnits] = {a};
    if constexpr (kUnits == 2) units[1] = a + lower_a;
    if (s == 0) {
      const StartAndFinish<StartSums<kVectors>, Rows> before{start, rows, rows_of_product};
      multiply_block<kUnits, kVectors>(units, p.a_bytes, b, p.b_bytes, kVectorBytes, before);
    } else {
      const FinishBetween<Rows> before{rows, rows_of_product};
      multiply_block<kUnits, kVectors>(units, p.a_bytes, b, p.b_bytes, kVectorBytes, before);
    }
    for (int64_t i = 0; i < p.lines; ++i, prefetch += 64) __builtin_prefetch(prefetch, 0, 2);
    rows.finish(rows_of_step);
  }
  rows.finish(kMostRows);
  held = {sums, kUnits, kVectors, unit_bytes};
}

// Some tiles of a thread's part, which share each panel, or each piece of it, while it is in L1.
struct TileBlock {
  int64_t first;  // unit
  int64_t count;  // tiles
  bool fetches;   // panels, for those after it
};

// A thread's part.
struct ProductWalk {
  const AmxProduct& product;
  const TileRange& part;
  int64_t steps = product.k / kDepth;
  bool stays;         // in L2: what the thread reads of B
  bool rows_are_far;  // beyond L2, one behind the other
  int64_t pieces;
  HeldSums held;
  FinishedTile finished;
  HWY_ALIGN float sums[kMostTiles * kSumsOfTile];

  ProductWalk(const AmxProduct& p, const TileRange& range)
      : product(p),
        part(range),
        stays((part.last_panel - part.first_panel) * p.b.k * p.b.width() * kWordBytes <=
              static_cast<int64_t>(Machine::host().l2_bytes) / 2),
        rows_are_far(p.a_row == p.k &&
                     p.m * p.k * int64_t{sizeof(BFloat16)} > static_cast<int64_t>(Machine::host().l2_bytes)),
        pieces(steps <= (stays ? 2 : 1) * kPieceSteps ? 1 : ceil_div(steps, kPieceSteps)) {}

  // The lines that the results of a tile go to, and what is added to them, arrive while its last sums are made.
  void prefetch_results(int64_t row, int64_t rows, int64_t column) const {
    const Epilogue<BFloat16>& e = *product.epilogue;
    for (int64_t r = row; r < row + rows; ++r) {
      if (e.residual != nullptr) __builtin_prefetch(e.residual + r * e.residual_row_stride + column, 0, 3);
      if (product.wide_c == nullptr) __builtin_prefetch(product.c + r * product.c_row + column, 1, 3);
    }
  }
  // Of the tile that begins with a unit.
  int64_t units_of(int64_t unit) const { return std::min<int64_t>(2, part.last_tile - unit); }
  int64_t first_row(int64_t unit) const {
    return std::min(unit * product.unit_rows, product.m - units_of(unit) * product.unit_rows);
  }
  int64_t tile_bytes() const { return 2 * product.unit_rows * product.k * int64_t{sizeof(BFloat16)}; }

  // Vectors v and, if there is one, v + 1 of a panel. `next`: what is read after that, or null.
  template <class Rows>
  HWY_ATTR HWY_INLINE void columns(const TileBlock& block, int64_t panel, int64_t v, const char* next, int64_t lines,
                                   Rows& rows) {
    const PackedB& b = product.b;
    const int64_t vectors = b.panel_vectors(panel), row_floats = vectors * kHalfTile;
    const int64_t column = panel * b.width() + v * kHalfTile;
    const int64_t count = std::min(b.columns(panel) - v * kHalfTile, kColumns);
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t first = steps * i / pieces, last = steps * (i + 1) / pieces;
      for (int64_t t = 0; t < block.count; ++t) {
        const int64_t unit = block.first + 2 * t, units = units_of(unit), row = first_row(unit);
        const ProductPiece piece{product.a + row * product.a_row + first * kDepth,
                                 product.a_row * int64_t{sizeof(BFloat16)},
                                 product.unit_rows,
                                 b.panel(panel) + first * (kDepth / 2) * row_floats + v * kHalfTile,
                                 row_floats * int64_t{sizeof(float)},
                                 last - first,
                                 i == 0,
                                 next,
                                 next != nullptr ? lines : 0};
        if ((!Rows::kPlain || !stays) && i + 1 == pieces) prefetch_results(row, units * product.unit_rows, column);
        rows.begin(finished);
        const bool all_wait = finished.next == 0;
        finished.next = finished.rows;
        float* const to = pieces == 1 ? sums : sums + t * kSumsOfTile;
        const bool both = Rows::kPlain || v + 1 < vectors;
        if (units == 2) {
          both ? add_products<2, 2>(piece, to, held, rows, all_wait)
               : add_products<2, 1>(piece, to, held, rows, all_wait);
        } else {
          both ? add_products<1, 2>(piece, to, held, rows, all_wait)
               : add_products<1, 1>(piece, to, held, rows, all_wait);
        }
        if (next != nullptr) next += piece.lines * piece.steps * 64;
        if (i + 1 == pieces)
          finished = {to, row, column, unit * product.unit_rows - row, units * product.unit_rows, count};
      }
    }
  }

  template <class Rows>
  HWY_ATTR HWY_INLINE void panels(const TileBlock& block, Rows& rows) {
    const PackedB& b = product.b;
    const int64_t pairs = ceil_div(int64_t{b.vectors}, int64_t{2}), after = block.first + 2 * block.count;
    const char* next = nullptr;
    int64_t lines = 0;
    // Far rows of the block behind this one come while panels pass that need not.
    if (rows_are_far && !block.fetches && after < part.last_tile) {
      const int64_t bytes = tile_bytes() * std::min(block.count, ceil_div(part.last_tile - after, int64_t{2}));
      next = reinterpret_cast<const char*>(product.a + first_row(after) * product.a_row);
      lines = ceil_div(bytes, 64 * block.count * steps * pairs * (part.last_panel - part.first_panel));
    }
    for (int64_t p = part.first_panel; p < part.last_panel; ++p) {
      if (block.fetches) {
        const int64_t next_panel = p + 1 < part.last_panel ? p + 1 : part.first_panel;
        const bool more = p + 1 < part.last_panel || after < part.last_tile;
        const int64_t bytes = b.k * b.panel_vectors(next_panel) * kHalfTile * int64_t{sizeof(float)};
        next = more ? reinterpret_cast<const char*>(b.panel(next_panel)) : nullptr;
        lines = ceil_div(bytes, 64 * block.count * steps * ceil_div(int64_t{b.panel_vectors(p)}, int64_t{2}));
      }
      for (int64_t v = 0; v < b.panel_vectors(p); v += 2) {
        columns(block, p, v, next, lines, rows);
        if (next != nullptr) next += block.count * steps * lines * 64;
      }
    }
  }

  // Where panels stay in L2, few tiles meet all of them: their rows stay in L1, and results are written in whole rows.
  int64_t tiles_of_block(int64_t tiles) const {
    if (stays && pieces == 1) {
      return tiles <= 2 * kFewTiles ? tiles : std::clamp<int64_t>(kFewTilesBytes / tile_bytes(), 1, kFewTiles);
    }
    const int64_t l2_bytes = static_cast<int64_t>(Machine::host().l2_bytes);
    const int64_t most = std::clamp<int64_t>(l2_bytes * 5 / 8 / tile_bytes(), 1, kMostTiles);
    return ceil_div(tiles, ceil_div(tiles, most));
  }

  template <class Rows>
  HWY_ATTR HWY_NOINLINE void run() {
    Rows rows(product);
    const int64_t tiles = ceil_div(part.last_tile - part.first_tile, int64_t{2}), most = tiles_of_block(tiles);
    for (int64_t t = 0; t < tiles; t += most)
      panels({part.first_tile + 2 * t, std::min(most, tiles - t), !stays || t == 0}, rows);
    held.store();
    rows.begin(finished);
    rows.finish(kMostRows);
  }

  void run_any() {
    const Epilogue<BFloat16>& e = *product.epilogue;
    const bool plain =
        product.wide_c == nullptr && is_plain(e) && product.b.n % kColumns == 0 && product.b.vectors % 2 == 0;
    const bool upper = e.clamp_hi < std::numeric_limits<float>::infinity();
    if (!plain) {
      run<AnyProductRows>();
    } else if (e.residual != nullptr) {
      upper ? run<PlainProductRows<true, true>>() : run<PlainProductRows<true, false>>();
    } else {
      upper ? run<PlainProductRows<false, true>>() : run<PlainProductRows<false, false>>();
    }
  }
};

}  // namespace

bool amx_has_products() { return rounds_natively(); }
void amx_run_part(const AmxProduct& product, const TileRange& part) { ProductWalk(product, part).run_any(); }

#else

bool amx_has_products() { return false; }
void amx_run_part(const AmxProduct&, const TileRange&) {}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {

HWY_EXPORT(amx_has_products);
HWY_EXPORT(amx_run_part);

bool amx_product_fits(int64_t m, int64_t k, const PackedB& b, const Epilogue<BFloat16>& e) {
  const bool simple = e.slope == nullptr && e.scale == nullptr && e.generic == nullptr &&
                      (e.residual == nullptr || e.residual_channels >= b.n);
  return b.unit == MatrixUnit::kTiles && b.packed_k == 0 && simple && m >= 2 * kAmxRows && k > 0 &&
         k % kAmxElements == 0 && HWY_DYNAMIC_DISPATCH(amx_has_products)();
}

void amx_product_part(const AmxProduct& product, const TileRange& part) {
  HWY_DYNAMIC_DISPATCH(amx_run_part)(product, part);
}

}  // namespace blade::backends::cpu
#endif  // HWY_ONCE
