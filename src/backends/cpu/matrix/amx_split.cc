// Some tiles of rows, split into pieces in L2, meet panel after panel of B.
#include "backends/cpu/matrix/amx_split.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/simd_targets.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "backends/machine.h"
#include "base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/amx_split.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/amx_tiles_inl.h"
#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

#ifndef BLADE_MATRIX_AMX_SPLIT_LAYOUT_
#define BLADE_MATRIX_AMX_SPLIT_LAYOUT_
namespace blade::backends::cpu {
namespace {

// A tile has 32 rows and 32 columns, or 16: two units, or one, of a tile register. Both operands lie in blocks of 32
// elements of K, and in a block first piece, then unit: [3][units][16 rows of 64 bytes].
constexpr int64_t kSplitTile = 2 * kAmxRows, kSplitSums = kSplitTile * kSplitTile;
constexpr int64_t kPieces = 3, kUnitBytes = kAmxRows * 64, kSplitBlock = kAmxElements;
constexpr int64_t kMostSplitTiles = 8;  // of rows, for which each panel comes into L2 once
constexpr int64_t kHeaderBytes =
    64;  // of a panel of B, whose first word tells whether all its pieces can be counted on

// Numbers from 2^127 on, infinite ones and NaN are no sums of pieces, and what is below 2^-100 has pieces that tile
// registers take for zero: rows with the former, and those of nothing but the latter, are multiplied as they are.
constexpr uint32_t kUnsplit = 0x7f000000, kMagnitude = 0x7fffffff, kTiny = 0x0d800000;

int64_t split_blocks(int64_t k) { return ceil_div(k, kSplitBlock); }
int64_t split_panels(int64_t n) { return ceil_div(n, kSplitTile); }
int64_t units_of_panel(int64_t n, int64_t panel) { return n - panel * kSplitTile > kAmxRows ? 2 : 1; }
int64_t split_tile_bytes(int64_t k) { return split_blocks(k) * kPieces * 2 * kUnitBytes; }
int64_t split_panel_bytes(int64_t k) { return kHeaderBytes + split_tile_bytes(k); }

int64_t split_tiles(int64_t m) { return ceil_div(m, 2 * even_unit_rows(m)); }

int64_t split_tiles_of_block(int64_t m, int64_t k) {
  const auto l2_bytes = static_cast<int64_t>(Machine::host().l2_bytes);
  const int64_t most = std::clamp<int64_t>(l2_bytes * 5 / 8 / split_tile_bytes(k), 1, kMostSplitTiles);
  return std::min(most, split_tiles(m));
}

}  // namespace
}  // namespace blade::backends::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3

namespace {

// To the nearest bfloat16, away from zero between two.
HWY_ATTR HWY_INLINE V nearest_piece(V x) {
  const hn::RebindToUnsigned<D> du;
  return hn::BitCast(D(), hn::And(hn::Add(hn::BitCast(du, x), hn::Set(du, 0x8000)), hn::Set(du, 0xffff0000)));
}

// A row, or a run of one, into its places in the blocks of a tile; gives the largest magnitude's bits.
HWY_ATTR uint32_t split_row(const float* row, int64_t k, char* to) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  constexpr int64_t kHalf = kSplitBlock / 2;
  auto largest = hn::Zero(du);
  for (int64_t i = 0; i < k; i += kSplitBlock, to += kPieces * 2 * kUnitBytes) {
    V low = load_some(d, row + i, k - i), high = load_some(d, row + i + kHalf, k - i - kHalf);
    for (const V x : {low, high}) largest = hn::Max(largest, hn::And(hn::BitCast(du, x), hn::Set(du, kMagnitude)));
    for (int64_t piece = 0; piece < kPieces; ++piece) {
      const V low_piece = nearest_piece(low), high_piece = nearest_piece(high);
      hn::StoreU(narrowed_pair(low_piece, high_piece), DPair(),
                 reinterpret_cast<uint16_t*>(to + piece * 2 * kUnitBytes));
      low = hn::Sub(low, low_piece);
      high = hn::Sub(high, high_piece);
    }
  }
  return hn::GetLane(hn::MaxOfLanes(du, largest));
}

template <int kUnits, int kVectors, int kTile = 0>
HWY_INLINE void add_split_products() {
  if constexpr (kTile < kUnits * kVectors) {
    tile_dot<kTile, kTilesOfA + kTile / kVectors, kTilesOfB + kTile % kVectors>();
    add_split_products<kUnits, kVectors, kTile + 1>();
  }
}
template <int kFirst, int kCount>
HWY_INLINE void load_pieces(const char* from) {
  tile_load<kFirst>(from, 64);
  if constexpr (kCount == 2) tile_load<kFirst + 1>(from + kUnitBytes, 64);
}

// Of a tile: how many along K, and what is fetched meanwhile, so many lines a block.
struct SplitBlocks {
  int64_t count;
  int64_t unit_rows;
  const char* fetched;
  int64_t lines;
};

// Sums of a tile, the largest products of a block last. Between two products one operand stays where it is.
template <int kUnits, int kVectors>
HWY_ATTR HWY_NOINLINE void multiply_pieces(const char* a, const char* b, const SplitBlocks& blocks, float* sums) {
  constexpr int64_t kOfA = 2 * kUnitBytes, kOfB = kVectors * kUnitBytes;  // of a piece
  clear_sums<kUnits, kVectors>();
  const char* fetched = blocks.fetched;
  for (int64_t i = 0; i < blocks.count; ++i, a += kPieces * kOfA, b += kPieces * kOfB) {
    keep_vectors_awake();
    for (int64_t line = 0; line < blocks.lines; ++line, fetched += 64) __builtin_prefetch(fetched, 0, 2);
    load_pieces<kTilesOfA, kUnits>(a + 2 * kOfA);
    load_pieces<kTilesOfB, kVectors>(b);
    add_split_products<kUnits, kVectors>();
    load_pieces<kTilesOfA, kUnits>(a + kOfA);
    add_split_products<kUnits, kVectors>();
    load_pieces<kTilesOfB, kVectors>(b + kOfB);
    add_split_products<kUnits, kVectors>();
    load_pieces<kTilesOfA, kUnits>(a);
    add_split_products<kUnits, kVectors>();
    load_pieces<kTilesOfB, kVectors>(b + 2 * kOfB);
    add_split_products<kUnits, kVectors>();
    load_pieces<kTilesOfB, kVectors>(b);
    add_split_products<kUnits, kVectors>();
  }
  constexpr int64_t kRow = kSplitTile * sizeof(float);
  store_sums<kUnits, kVectors>(sums, kRow, blocks.unit_rows * kRow);
}

// Adds those of one row that cannot be split, or of a panel that cannot.
HWY_ATTR void multiply_unsplit(const float* row, int64_t k, const char* b, int64_t vectors, float* sums) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  for (int64_t v = 0; v < vectors; ++v) {
    V sum = hn::Load(d, sums + v * kAmxRows);
    for (int64_t i = 0; i < k; ++i) {
      const char* block = b + i / kSplitBlock * kPieces * vectors * kUnitBytes + v * kUnitBytes;
      V weight = hn::Zero(d);
      for (int64_t piece = kPieces - 1; piece >= 0; --piece) {  // the larger sum might overflow
        const auto* pairs =
            reinterpret_cast<const uint32_t*>(block + piece * vectors * kUnitBytes + i % kSplitBlock / 2 * 64);
        const auto word = hn::Load(du, pairs);
        const auto bits = i % 2 == 0 ? hn::ShiftLeft<16>(word) : hn::And(word, hn::Set(du, 0xffff0000));
        weight = hn::Add(weight, hn::BitCast(d, bits));
      }
      sum = hn::MulAdd(hn::Set(d, row[i]), weight, sum);
    }
    hn::Store(sum, d, sums + v * kAmxRows);
  }
}

// What the epilogue of a product needs for the columns of a panel.
struct SplitFinish {
  const SplitProduct& product;
  const EpilogueF32& e;
  int64_t column;
  FirstLanes first[2], added[2];
  V bias[2], slope[2], scale[2], shift[2];
  V lo, hi;

  HWY_ATTR SplitFinish(const SplitProduct& p, int64_t at, int64_t columns)
      : product(p),
        e(*p.epilogue),
        column(at),
        first{FirstLanes(columns), FirstLanes(columns - kAmxRows)},
        added{FirstLanes(std::min(columns, e.residual_channels - at)),
              FirstLanes(std::min(columns, e.residual_channels - at) - kAmxRows)},
        lo(constant(e.clamp_lo)),
        hi(constant(e.clamp_hi)) {
    const auto load = [&](const float* from, V(&to)[2]) HWY_ATTR {
      for (int v = 0; v < 2; ++v)
        to[v] = from != nullptr ? load_first(first[v], from + column + v * kAmxRows) : hn::Zero(D());
    };
    load(e.bias, bias);
    load(e.slope, slope);
    load(e.scale, scale);
    load(e.shift, shift);
  }

  // Rows of C from `row` on. `kPlain`: bias, residual and clamp alone.
  template <bool kPlain>
  HWY_ATTR void rows(float* sums, int64_t row, int64_t count) const {
    const D d;
    const bool is_added = e.residual != nullptr, adds_first = is_added && !e.residual_last;
    const auto residual = [&](int64_t r, int v) HWY_ATTR {
      return load_first(added[v], e.residual + (row + r) * e.residual_row_stride + column + v * kAmxRows);
    };
    const auto bounded = [&](int64_t r, int v) HWY_ATTR {
      V x = hn::Add(hn::Load(d, sums + r * kSplitTile + v * kAmxRows), bias[v]);
      if (adds_first) x = hn::Add(x, residual(r, v));
      if (!kPlain && e.slope != nullptr) x = hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x, hn::Mul(x, slope[v]));
      return clamped(x, lo, hi);
    };
    const bool curved = !kPlain && e.gate.curve != Curve::kNone;
    if (curved) {
      for (int64_t r = 0; r < count; ++r) {
        for (int v = 0; v < 2; ++v) hn::Store(bounded(r, v), d, sums + r * kSplitTile + v * kAmxRows);
      }
      curve_block(e.gate, sums, count * kSplitTile);
    }
    const GateVectors gate = gate_vectors(e.gate);
    float* out = product.c + row * product.c_row + column;
    for (int64_t r = 0; r < count; ++r, out += product.c_row) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        V x = curved ? hn::Load(d, sums + r * kSplitTile + v * kAmxRows) : bounded(r, v);
        if (!kPlain && !curved && e.gate.used()) x = gated(gate, x);
        if (!kPlain && e.scale != nullptr) x = hn::MulAdd(x, scale[v], shift[v]);
        if (is_added && !adds_first) x = hn::Add(x, residual(r, v));
        store_first(x, first[v], out + v * kAmxRows);
      }
    }
  }

  HWY_ATTR void run(float* sums, int64_t row, int64_t count, int64_t columns) const {
    is_plain(e) ? rows<true>(sums, row, count) : rows<false>(sums, row, count);
    if (e.generic == nullptr) return;
    e.generic(e.context, {product.c + row * product.c_row + column, product.c_row, row, 1, count, column, columns});
  }
};

// A thread's part.
struct SplitWalk {
  const SplitProduct& p;
  char* pieces;  // of the rows of a block
  int64_t blocks = split_blocks(p.k), tile_bytes = split_tile_bytes(p.k);
  int64_t unit_rows = even_unit_rows(p.m), tile_rows = 2 * unit_rows;
  bool unsplit[kMostSplitTiles * kSplitTile];
  HWY_ALIGN float sums[kSplitSums];

  SplitWalk(const SplitProduct& product, std::byte* scratch) : p(product), pieces(reinterpret_cast<char*>(scratch)) {}

  int64_t rows_of(int64_t tile) const { return std::min(tile_rows, p.m - tile * tile_rows); }
  const char* header_of(int64_t panel) const {
    return reinterpret_cast<const char*>(p.b) + panel * split_panel_bytes(p.packed_k > 0 ? p.packed_k : p.k);
  }
  bool is_whole(int64_t panel) const { return *reinterpret_cast<const uint32_t*>(header_of(panel)) != 0; }
  const char* panel_at(int64_t panel) const {
    return header_of(panel) + kHeaderBytes + p.first_block * kPieces * units_of_panel(p.n, panel) * kUnitBytes;
  }

  // Calls fn(elements, how many, the first of them as an element of K) for the runs of a row.
  template <class Fn>
  HWY_ATTR void for_each_run(int64_t row, const Fn& fn) const {
    if (p.find_rows == nullptr) return fn(p.a + row * p.a_row, p.k, 0);
    const float* found[kMostSplitRuns];
    const bool by_offsets = (*p.find_rows)(row, 1, found);
    const int64_t begin = p.first_block * kSplitBlock;
    for (int64_t k = 0, length; k < p.k; k += length) {
      const int64_t run = (begin + k) / p.run_length, at = (begin + k) % p.run_length;
      length = std::min(p.k - k, p.run_length - at);
      fn((by_offsets ? found[0] + p.run_offsets[run] : found[run]) + at, length, k);
    }
  }

  HWY_ATTR void split(int64_t tile, int64_t index) {
    const int64_t rows = rows_of(tile);
    char* const to = pieces + index * tile_bytes;
    for (int64_t r = 0; r < rows; ++r) {
      uint32_t largest = 0;
      char* const place = to + r / unit_rows * kUnitBytes + r % unit_rows * 64;
      for_each_run(tile * tile_rows + r, [&](const float* run, int64_t length, int64_t k) HWY_ATTR {
        largest = std::max(largest, split_row(run, length, place + k / kSplitBlock * kPieces * 2 * kUnitBytes));
      });
      unsplit[index * kSplitTile + r] = largest >= kUnsplit || (largest != 0 && largest < kTiny);
    }
  }

  // `next`: the panel after this one, or null; `lines` of it are fetched in each block.
  HWY_ATTR void multiply(int64_t tile, int64_t index, int64_t panel, const char* next, int64_t lines) {
    const char* const a = pieces + index * tile_bytes;
    const char* const b = panel_at(panel);
    const SplitBlocks along{blocks, unit_rows, lines > 0 ? next + index * blocks * lines * 64 : nullptr, lines};
    const int64_t units = rows_of(tile) > unit_rows ? 2 : 1, vectors = units_of_panel(p.n, panel);
    const bool* const as_they_are = unsplit + index * kSplitTile;
    const bool b_splits = is_whole(panel);
    if (!b_splits || std::all_of(as_they_are, as_they_are + rows_of(tile), [](bool is) { return is; })) {
      // Nothing to multiply by pieces.
    } else if (units == 2) {
      vectors == 2 ? multiply_pieces<2, 2>(a, b, along, sums) : multiply_pieces<2, 1>(a, b, along, sums);
    } else {
      vectors == 2 ? multiply_pieces<1, 2>(a, b, along, sums) : multiply_pieces<1, 1>(a, b, along, sums);
    }
    for (int64_t r = 0; r < rows_of(tile); ++r) {
      if (b_splits && !as_they_are[r]) continue;
      std::memset(sums + r * kSplitTile, 0, kSplitTile * sizeof(float));
      for_each_run(tile * tile_rows + r, [&](const float* run, int64_t length, int64_t k) HWY_ATTR {
        multiply_unsplit(run, length, b + k / kSplitBlock * kPieces * vectors * kUnitBytes, vectors,
                         sums + r * kSplitTile);
      });
    }
  }

  HWY_ATTR void run(const TileRange& part) {
    std::memset(sums, 0, sizeof(sums));  // columns that a narrow panel does not have are computed, too
    const int64_t most = split_tiles_of_block(p.m, p.k);
    const bool stays = (part.last_panel - part.first_panel) * tile_bytes <=
                       static_cast<int64_t>(Machine::host().l2_bytes) / 4;  // what is read of B, in L2
    for (int64_t t = part.first_tile; t < part.last_tile; t += most) {
      const int64_t count = std::min(most, part.last_tile - t);
      for (int64_t i = 0; i < count; ++i) split(t + i, i);
      for (int64_t panel = part.first_panel; panel < part.last_panel; ++panel) {
        const int64_t column = panel * kSplitTile, columns = std::min(kSplitTile, p.n - column);
        const SplitFinish finish(p, column, columns);
        const bool fetches = panel + 1 < part.last_panel && (t == part.first_tile || !stays);
        const int64_t lines = fetches ? ceil_div(kPieces * 2 * kUnitBytes / 64, count) : 0;
        for (int64_t i = 0; i < count; ++i) {
          multiply(t + i, i, panel, fetches ? panel_at(panel + 1) : nullptr, lines);
          finish.run(sums, (t + i) * tile_rows, rows_of(t + i), columns);
        }
      }
    }
  }
};

}  // namespace

bool split_has_kernel() { return rounds_natively(); }
void split_run_part(const SplitProduct& product, const TileRange& part, std::byte* scratch) {
  const AmxScope tile_registers(kAmxElements / 2, even_unit_rows(product.m));
  SplitWalk(product, scratch).run(part);
}

#else

bool split_has_kernel() { return false; }
void split_run_part(const SplitProduct&, const TileRange&, std::byte*) {}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
namespace {

HWY_EXPORT(split_has_kernel);
HWY_EXPORT(split_run_part);

// One thread, three quarters of what was measured: conv_cost_us() takes vectors to be as much faster than they are.
constexpr double kSplitBlockNs = 150, kSplitFinishNs = 110, kSplitRowNs = 8;
constexpr double kCyclesPerNs = 3;

// Cut by rows where B is less to read than all rows are, by columns else, where each part splits all rows.
TileSplit split_parts(int64_t m, int64_t k, int64_t n, int threads) {
  constexpr int64_t kTaskTiles = 2 * kMostSplitTiles, kMostTasks = 4;  // tasks even out what other processes take
  const int64_t tiles = split_tiles(m), panels = split_panels(n);
  const bool by_rows = kPieces * 2 * k * n <= int64_t{sizeof(float)} * m * (k + n);
  TileSplit split;
  split.tile_parts = static_cast<int>(std::min<int64_t>(by_rows ? threads : 1, tiles));
  split.panel_parts = static_cast<int>(std::min<int64_t>(threads / split.tile_parts, panels));
  if (!by_rows) split.tile_parts = static_cast<int>(std::min<int64_t>(threads / split.panel_parts, tiles));
  if (split.panel_parts == 1 && threads > 1)
    split.tile_parts *= static_cast<int>(std::clamp<int64_t>(tiles / (split.tile_parts * kTaskTiles), 1, kMostTasks));
  const auto blocks = static_cast<double>(split_blocks(k)), rows = static_cast<double>(m);
  const double tile = static_cast<double>(even_unit_rows(m)) / kAmxRows * (blocks * kSplitBlockNs + kSplitFinishNs);
  split.cycles = kCyclesPerNs * (static_cast<double>(tiles * panels) * tile +
                                 rows * blocks * kSplitRowNs * static_cast<double>(split.panel_parts));
  return split;
}

// Longer sums are made in pieces, whose rows of A and panel of B stay in L2.
constexpr int64_t kPieceBlocks = 32;

int64_t split_slot_bytes(int64_t m, int64_t k) { return split_tiles_of_block(m, k) * split_tile_bytes(k); }

void split_piece(const SplitProduct& p, ThreadPool& pool, std::byte* scratch) {
  const int64_t slot_bytes = split_slot_bytes(p.m, p.k);
  run_parts(split_parts(p.m, p.k, p.n, pool.num_threads()), split_tiles(p.m), split_panels(p.n), pool,
            [&](const TileRange& part, int slot) {
              HWY_DYNAMIC_DISPATCH(split_run_part)(p, part, scratch + slot * slot_bytes);
            });
}

// What bfloat16 x is nearest to, or begins with where it cannot be split: its upper half.
uint16_t piece_bits(float x) {
  auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & kMagnitude) < kUnsplit) return static_cast<uint16_t>((bits + 0x8000) >> 16);
  if ((bits & kMagnitude) > 0x7f800000) bits |= 0x400000;  // NaN stays one
  return static_cast<uint16_t>(bits >> 16);
}

}  // namespace

bool has_split_products() { return HWY_DYNAMIC_DISPATCH(split_has_kernel)(); }

size_t packed_split_bytes(int64_t k, int64_t n) { return static_cast<size_t>(split_panels(n) * split_panel_bytes(k)); }

void pack_split_b(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t col_stride, void* to) {
  auto* const bytes = static_cast<char*>(to);
  std::memset(bytes, 0, packed_split_bytes(k, n));
  for (int64_t column = 0; column < n; ++column) {
    const int64_t panel = column / kSplitTile, vectors = units_of_panel(n, panel);
    char* const header = bytes + panel * split_panel_bytes(k);
    char* const panel_at = header + kHeaderBytes + column % kSplitTile / kAmxRows * kUnitBytes;
    auto whole = static_cast<uint32_t>(column % kSplitTile == 0 || *reinterpret_cast<const uint32_t*>(header) != 0);
    for (int64_t i = 0; i < k; ++i) {
      float x = b[i * row_stride + column * col_stride];
      if ((std::bit_cast<uint32_t>(x) & kMagnitude) >= kUnsplit) whole = 0;
      char* at = panel_at + i / kSplitBlock * kPieces * vectors * kUnitBytes + i % kSplitBlock / 2 * 64 +
                 column % kAmxRows * 4 + i % 2 * 2;
      for (int64_t piece = 0; piece < kPieces; ++piece, at += vectors * kUnitBytes) {
        const uint16_t bits = piece_bits(x);
        std::memcpy(at, &bits, sizeof(bits));
        x = std::isfinite(x) ? x - std::bit_cast<float>(uint32_t{bits} << 16) : 0;
      }
    }
    std::memcpy(header, &whole, sizeof(whole));
  }
}

size_t split_product_scratch_bytes(int64_t m, int64_t k, int threads) {
  const int64_t blocks = split_blocks(k), pieces = std::max<int64_t>(1, ceil_div(blocks, kPieceBlocks));
  int64_t slot = split_slot_bytes(m, k);
  for (const int64_t piece : {blocks / pieces, ceil_div(blocks, pieces)})  // fewer blocks may be more bytes: more tiles
    slot = std::max(slot, split_slot_bytes(m, piece * kSplitBlock));
  return static_cast<size_t>(threads) * static_cast<size_t>(slot);
}

void split_product(const SplitProduct& p, ThreadPool& pool, std::byte* scratch) {
  if (p.m <= 0 || p.n <= 0) return;
  const int64_t blocks = split_blocks(p.k), pieces = ceil_div(blocks, kPieceBlocks);
  if (pieces == 1 || (p.epilogue->residual != nullptr && p.epilogue->residual_last))
    return split_piece(p, pool, scratch);
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t last = (i + 1) * blocks / pieces;
    SplitProduct part = p;
    part.packed_k = p.k;
    part.first_block = i * blocks / pieces;
    if (part.find_rows == nullptr) part.a += part.first_block * kSplitBlock;
    part.k = std::min(p.k, last * kSplitBlock) - part.first_block * kSplitBlock;
    const EpilogueF32 epilogue = piece_epilogue(*p.epilogue, i == 0, i + 1 == pieces, p.c, p.c_row);
    part.epilogue = &epilogue;
    split_piece(part, pool, scratch);
  }
}

double split_product_us(int64_t m, int64_t k, int64_t n, int threads) {
  constexpr double kNsPerUs = 1e3;
  const Machine& machine = Machine::host();
  const double compute = split_parts(m, k, n, threads).cycles / kCyclesPerNs / threads / kNsPerUs;
  constexpr double kNotHidden = 0.6;  // of the time that cold weights take
  const double weights = static_cast<double>(packed_split_bytes(k, n)) /
                         std::min(machine.far_bytes_per_us, machine.core_far_bytes_per_us * threads);
  return std::max(compute + kNotHidden * weights, weights);
}

}  // namespace blade::backends::cpu
#endif  // HWY_ONCE
