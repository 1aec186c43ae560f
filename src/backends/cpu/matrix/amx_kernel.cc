// AMX over Highway's AVX-512: tile registers make the sums, vectors finish them.
#include "backends/cpu/matrix/amx_kernel.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <span>

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/amx_kernel.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/amx_finish_inl.h"
#include "backends/cpu/matrix/amx_plain_inl.h"
#include "backends/cpu/matrix/amx_tiles_inl.h"
#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3

using Bf16Args = TileArgs<BFloat16>;

constexpr int64_t kLanes = 16, kLaneBytes = kLanes * sizeof(float);

// Rows that wait and are plain. Between the products of a tile all that they need stays in registers.
template <bool kResidual, bool kUpper>
struct PlainRows {
  PlainFinish<kResidual, kUpper> finish_row;
  const uint8_t* row;
  const float* sums;
  BFloat16* out;
  const BFloat16* residual;
  int64_t out_stride, residual_stride, left;

  HWY_ATTR HWY_INLINE explicit PlainRows(AmxPending& p)
      : finish_row(p.lo, p.hi, p.residual_last),
        row(p.rows + p.done),
        sums(p.sums),
        out(p.out + p.done * p.out_stride),
        residual(kResidual ? p.residual + p.done * p.residual_stride : nullptr),
        out_stride(p.out_stride),
        residual_stride(p.residual_stride),
        left(p.count - p.done) {
    finish_row.set_bias(p.bias);
    p.done = p.count;
  }
  // Those of a tile are next.
  HWY_ATTR HWY_INLINE void begin(const Bf16Args& args, const AmxTile& tile) {
    row = tile.kept;
    out = args.out + tile.first * out_stride;
    if constexpr (kResidual) residual = args.residual + tile.first * residual_stride;
    left = tile.num_kept;
    if (args.bias != nullptr) finish_row.set_bias(args.bias);
  }
  HWY_ATTR HWY_INLINE void finish(int64_t rows) {
    for (rows = std::min(rows, left), left -= rows; rows > 0; --rows, out += out_stride) {
      finish_row.row(sums + *row++ * 2 * kLanes, residual, out);
      if constexpr (kResidual) residual += residual_stride;
    }
  }
};

// Rows of any other kind.
struct AnyRows {
  AmxPending& p;
  HWY_ATTR HWY_INLINE void finish(int64_t rows) {
    if (p.done < p.count) finish_any(p, p.done + std::min(p.count - p.done, std::max(kFewestRows, rows)));
  }
};

// Calls fn(rows that wait).
template <class Fn>
HWY_ATTR HWY_INLINE void with_waiting_rows(AmxPending& p, const Fn& fn) {
  const bool upper = p.hi < std::numeric_limits<float>::infinity();
  if (p.done == p.count || !p.is_plain) {
    fn(AnyRows{p});
  } else if (p.residual != nullptr) {
    upper ? fn(PlainRows<true, true>(p)) : fn(PlainRows<true, false>(p));
  } else {
    upper ? fn(PlainRows<false, true>(p)) : fn(PlainRows<false, false>(p));
  }
}

template <int kUnits, int kVectors>
HWY_INLINE void store_held(AmxPending& p) {
  store_sums<kUnits, kVectors>(p.sums, kVectors * kLaneBytes);
}

// Whatever the shape of the sums.
HWY_ATTR HWY_NOINLINE void store_any_held(AmxPending& p) {
  const int shape = p.vectors_held == 2 ? kMaxAmxUnits + p.units_held : p.units_held;
  p.units_held = 0;
  switch (shape) {
    case 0:
      return;
    case 1:
      return store_held<1, 1>(p);
    case 2:
      return store_held<2, 1>(p);
    case 3:
      return store_held<3, 1>(p);
    case kMaxAmxUnits:
      return store_held<kMaxAmxUnits, 1>(p);
    case kMaxAmxUnits + 1:
      return store_held<1, 2>(p);
    default:
      return store_held<2, 2>(p);
  }
}

HWY_ATTR void finish_pending(AmxPending& p) {
  if (p.units_held > 0) store_any_held(p);
  if (p.done < p.count) with_waiting_rows(p, [&](auto rows) HWY_ATTR { rows.finish(p.count); });
}

// Sums of all units of a tile for kVectors vectors of a panel whose rows have `panel_row` floats, left in the tile
// registers. Where others were held, they leave for `start`; `waiting` rows are finished meanwhile, some after each
// block of K.
template <int kUnits, int kVectors, class Rows>
HWY_ATTR HWY_NOINLINE void multiply_blocks(const Bf16Args& args, const AmxTile& tile, const float* panel,
                                           int64_t panel_row, const char* prefetch, const StartSums<kVectors>& start,
                                           int64_t rows_a_block, Rows waiting) {
  const AmxBlocks blocks(args.run_length, args.padded);
  const int64_t depth = blocks.depth, a_bytes = tile.pitch * int64_t{sizeof(BFloat16)};
  const int64_t b_bytes = panel_row * int64_t{sizeof(float)};
  const int64_t prefetch_lines = prefetch != nullptr ? (args.prefetch_lines * depth + 3) / 4 : 0;
  bool first = true;
  const auto block = [&](const BFloat16* const(&a)[kUnits], int64_t row_bytes, const float* b) HWY_ATTR {
    if (first) {
      multiply_block<kUnits, kVectors>(a, row_bytes, b, b_bytes, kLaneBytes, start);
      first = false;
    } else {
      multiply_block<kUnits, kVectors>(a, row_bytes, b, b_bytes, kLaneBytes);
    }
    for (int64_t i = 0; i < prefetch_lines; ++i, prefetch += 64) __builtin_prefetch(prefetch, 0, 2);
    waiting.finish(rows_a_block);
  };
  for (int64_t r = 0; r < args.runs; ++r) {
    const int64_t offset = args.run_offsets != nullptr ? args.run_offsets[r] : 0;
    const float* b = panel + r * blocks.steps * panel_row;
    const BFloat16* a[kUnits];
#pragma GCC unroll 4
    for (int u = 0; u < kUnits; ++u) a[u] = tile.units[u].base + offset;
    for (int64_t k = 1; k < blocks.count; ++k) {
      block(a, a_bytes, b);
      b += depth * panel_row;
#pragma GCC unroll 4
      for (int u = 0; u < kUnits; ++u) a[u] += 2 * depth;
    }
    int64_t last_bytes = a_bytes;
    if (tile.units[0].last != nullptr) {
      last_bytes = kAmxElements * int64_t{sizeof(BFloat16)};
#pragma GCC unroll 4
      for (int u = 0; u < kUnits; ++u) a[u] = tile.units[u].last + r * kAmxRows * kAmxElements;
    }
    block(a, last_bytes, b - blocks.overlap() * panel_row);
  }
  waiting.finish(std::numeric_limits<int64_t>::max());
}

// The first half of the blocks finishes what is pending, where there are many.
HWY_INLINE int64_t rows_a_block(int64_t rows, int64_t blocks) {
  return std::max(ceil_div(rows, blocks), std::min(kFewestRows, ceil_div(2 * rows, blocks)));
}

// What is pending is finished meanwhile.
template <int kUnits, int kVectors>
HWY_ATTR void multiply(const Bf16Args& args, const AmxTile& tile, const float* panel, int64_t panel_row,
                       const char* prefetch, AmxPending& pending) {
  const int64_t all_blocks = args.runs * AmxBlocks(args.run_length, args.padded).count;
  if (all_blocks == 0) {
    finish_pending(pending);
    clear_sums<kUnits, kVectors>();
  } else {
    const bool same_shape = pending.units_held == kUnits && pending.vectors_held == kVectors;
    if (!same_shape && pending.units_held > 0) store_any_held(pending);
    const StartSums<kVectors> start{same_shape ? pending.sums : nullptr, nullptr, kVectors * kLaneBytes};
    const int64_t at_once = rows_a_block(pending.count - pending.done, all_blocks);
    with_waiting_rows(pending, [&](auto rows) HWY_ATTR {
      multiply_blocks<kUnits, kVectors>(args, tile, panel, panel_row, prefetch, start, at_once, rows);
    });
  }
  pending.units_held = kUnits;
  pending.vectors_held = kVectors;
}

HWY_ATTR HWY_INLINE V residual_at(const Bf16Args& a, int64_t row, int64_t column) {
  if (a.residual == nullptr) return hn::Zero(D());
  return load_some(D(), a.residual + row * a.residual_stride + column, a.residual_columns - column);
}

// A vector of columns from `column` on, of all rows; `sums`: of the first row, rows `pitch` floats apart.
HWY_ATTR void finish_columns(const Bf16Args& a, const AmxTile& tile, const float* sums, int64_t pitch, int64_t column) {
  const D d;
  const int64_t left = a.columns - column;
  const EpilogueVectors<Bf16Args> epilogue(a, column, left);
  const V bias = a.bias != nullptr ? load_some(d, a.bias + column, left) : hn::Zero(d);
  for (int64_t i = 0; i < tile.num_kept; ++i) {
    const V sum = hn::Add(hn::Load(d, sums + tile.kept[i] * pitch), bias);
    const V x = epilogue.finish(sum, residual_at(a, i, column));
    const int64_t at = i * a.out_stride + column;
    if (a.wide_out != nullptr) {
      store_some(x, d, a.wide_out + at, left);
    } else {
      store_some_natively(x, a.out + at, left);
    }
  }
}

bool may_wait(const Bf16Args& a) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (a.wide_out != nullptr || a.scale != nullptr) return false;
  const int kinds = static_cast<int>(a.lo > -kInfinity || a.hi < kInfinity) + static_cast<int>(a.slope != nullptr) +
                    static_cast<int>(a.gate.used());
  return kinds <= 1;
}

// `vectors` of columns from `column` on wait, of a tile whose results begin `tile.first` rows behind those of `a`.
HWY_ATTR void wait(const Bf16Args& a, const AmxTile& tile, int64_t column, int vectors, AmxPending& p) {
  alignas(64) static constexpr float kNoBias[2 * kLanes] = {};
  const D d;
  hn::Store(hn::Load(d, reinterpret_cast<const float*>(tile.kept)), d, reinterpret_cast<float*>(p.rows));
  p.count = tile.num_kept;
  p.done = 0;
  p.out = a.out + tile.first * a.out_stride + column;
  p.out_stride = a.out_stride;
  p.residual = a.residual != nullptr ? a.residual + tile.first * a.residual_stride + column : nullptr;
  p.residual_stride = a.residual_stride;
  p.residual_columns = a.residual_columns - column;
  p.residual_last = a.residual_last;
  p.bias = a.bias != nullptr ? a.bias + column : kNoBias;
  p.slope = a.slope != nullptr ? a.slope + column : nullptr;
  p.lo = a.lo;
  p.hi = a.hi;
  p.gate = a.gate;
  p.vectors = vectors;
  p.columns = std::min<int64_t>(a.columns - column, vectors * kLanes);
  p.to_half = a.to_half;
  p.is_plain = !p.to_half && p.columns == 2 * kLanes && is_plain(a) &&
               (p.residual == nullptr || p.residual_columns >= p.columns);
}

HWY_ATTR void tile_by_amx(const Bf16Args& args, const AmxTile& tile, int vectors, AmxPending& pending) {
  const int64_t panel_row = vectors * kLanes;
  for (int v = 0; v < vectors; v += 2) {
    const float* panel = args.panel + v * kLanes;
    const char* prefetch = v == 0 ? args.prefetch : nullptr;
    const int wide = vectors - v > 1 ? 2 : 1;
    switch (2 * tile.num_units + wide) {
      case 3:
        multiply<1, 1>(args, tile, panel, panel_row, prefetch, pending);
        break;
      case 4:
        multiply<1, 2>(args, tile, panel, panel_row, prefetch, pending);
        break;
      case 5:
        multiply<2, 1>(args, tile, panel, panel_row, prefetch, pending);
        break;
      case 6:
        multiply<2, 2>(args, tile, panel, panel_row, prefetch, pending);
        break;
      case 7:
        multiply<3, 1>(args, tile, panel, panel_row, prefetch, pending);
        break;
      default:
        multiply<4, 1>(args, tile, panel, panel_row, prefetch, pending);
        break;
    }
    const int64_t column = v * kLanes;
    if (may_wait(args)) {
      wait(args, tile, column, wide, pending);
      continue;
    }
    assert(!args.to_half);
    store_any_held(pending);
    for (int i = 0; i < wide && column + i * kLanes < args.columns; ++i)
      finish_columns(args, tile, pending.sums + i * kLanes, wide * kLanes, column + i * kLanes);
  }
}

// What the tiles of a panel share. Its fields are few, so that all of them stay in registers.
struct PanelWalk {
  const int64_t* run_offsets;
  int64_t runs, blocks_a_run;
  const char* panel;
  int64_t a_bytes;     // from one row of A to the next
  int64_t unit_bytes;  // from the first unit of a tile to the second
  const char* fetch;   // null: nothing is fetched
  int64_t fetched_a_block, rows_a_block;

  // Sums of a tile, left in tile registers, as multiply_blocks() makes them.
  template <int kUnits, class Rows>
  HWY_ATTR HWY_INLINE void multiply(const AmxTile& tile, const StartSums<2>& start, Rows& waiting) {
    constexpr int64_t kRowBytes = 2 * kLaneBytes;
    const char* b = panel;
    const auto block = [&](const char* a, const auto& before) HWY_ATTR {
      if constexpr (kUnits == 2) {
        const char* const both[] = {a, a + unit_bytes};
        multiply_block<2, 2>(both, a_bytes, b, kRowBytes, kLaneBytes, before);
      } else {
        const char* const one[] = {a};
        multiply_block<1, 2>(one, a_bytes, b, kRowBytes, kLaneBytes, before);
      }
      b += kAmxElements / kStepDepth<BFloat16> * kRowBytes;
      if (fetch != nullptr) {
        for (const char* const end = fetch + fetched_a_block; fetch < end; fetch += 64) __builtin_prefetch(fetch, 0, 2);
      }
      waiting.finish(rows_a_block);
    };
    const auto* const base = reinterpret_cast<const char*>(tile.units[0].base);
    block(base + run_offsets[0] * int64_t{sizeof(BFloat16)}, start);
    for (int64_t r = 0, k = 1; r < runs; ++r, k = 0) {
      const char* a = base + run_offsets[r] * int64_t{sizeof(BFloat16)} + k * kLaneBytes;
      for (; k < blocks_a_run; ++k, a += kLaneBytes) block(a, NothingBefore());
    }
    waiting.finish(kMaxAmxUnits * kAmxRows);
  }
};

// The tiles of tiles_by_amx(): no calls, arguments and choices of an epilogue between them.
template <bool kResidual, bool kUpper>
HWY_ATTR HWY_NOINLINE void plain_tiles(const Bf16Args& args, std::span<const AmxTile* const> tiles, AmxPending& p) {
  const int64_t blocks_a_run = args.run_length / kAmxElements;
  const AmxUnit* const units = tiles[0]->units;
  PanelWalk walk{args.run_offsets,
                 args.runs,
                 blocks_a_run,
                 reinterpret_cast<const char*>(args.panel),
                 tiles[0]->pitch * int64_t{sizeof(BFloat16)},
                 tiles[0]->num_units > 1 ? (units[1].base - units[0].base) * int64_t{sizeof(BFloat16)} : 0,
                 args.prefetch,
                 args.prefetch_lines * (kAmxElements / kStepDepth<BFloat16> / 4) * 64,
                 rows_a_block(2 * kAmxRows, args.runs * blocks_a_run)};
  PlainRows<kResidual, kUpper> waiting(p);
  for (const AmxTile* tile : tiles) {
    const auto count = static_cast<int>(tile->num_units);
    if (p.units_held != count || p.vectors_held != 2) store_any_held(p);
    const StartSums<2> start{p.units_held > 0 ? p.sums : nullptr, nullptr, 2 * kLaneBytes};
    if (count == 2) {
      walk.multiply<2>(*tile, start, waiting);
    } else {
      walk.multiply<1>(*tile, start, waiting);
    }
    p.units_held = count;
    p.vectors_held = 2;
    waiting.begin(args, *tile);
  }
}

HWY_ATTR void tiles_by_amx(const Bf16Args& args, std::span<const AmxTile* const> tiles, AmxPending& p) {
  const bool upper = args.hi < std::numeric_limits<float>::infinity();
  if (p.done == p.count) {  // what holds for all tiles, but no rows
    wait(args, *tiles[0], 0, 2, p);
    p.count = 0;
  }
  if (args.residual != nullptr) {
    (upper ? plain_tiles<true, true> : plain_tiles<true, false>)(args, tiles, p);
  } else {
    (upper ? plain_tiles<false, true> : plain_tiles<false, false>)(args, tiles, p);
  }
  wait(args, *tiles.back(), 0, 2, p);
}

HWY_ATTR HWY_INLINE hn::Vec<DWord> first_elements(const BFloat16* from, int64_t count) {
  const auto first = hn::FirstN(DWord(), static_cast<size_t>(count));
  return hn::MaskedLoad(first, DWord(), reinterpret_cast<const uint16_t*>(from));
}

HWY_ATTR void gather_row(const BFloat16* row, int64_t run_length, const AmxBlocks& blocks, BFloat16* to) {
  auto* at = reinterpret_cast<uint16_t*>(to);
  const int64_t whole = run_length / kAmxElements * kAmxElements;
  for (int64_t k = 0; k < whole; k += kAmxElements)
    hn::StoreU(hn::LoadU(DWord(), reinterpret_cast<const uint16_t*>(row + k)), DWord(), at + k);
  if (whole < run_length) hn::StoreU(first_elements(row + whole, run_length - whole), DWord(), at + whole);
  if (blocks.overlap() == 0) return;
  at += (blocks.count - 1) * kAmxElements;
  const auto last = hn::LoadU(DWord(), at);
  const auto moved = static_cast<size_t>(2 * blocks.overlap());
  hn::StoreU(last, DWord(), at + moved);
  hn::BlendedStore(hn::Zero(DWord()), hn::FirstN(DWord(), moved), DWord(), at);
}

// The first `count` of 32 elements.
HWY_ATTR HWY_INLINE hn::Vec<DWord> first_elements(const float* from, int64_t count) {
  const V first = load_some(D(), from, count), last = load_some(D(), from + kLanes, count - kLanes);
  return narrowed_pair(first, last);
}

template <class In>
HWY_ATTR void pad_pixels(const In* from, int64_t pixels, int64_t channels, BFloat16* to) {
  const int64_t padded = channels + 1, at_once = kAmxElements / padded;
  alignas(64) uint16_t places[kAmxElements] = {};
  uint32_t used = 0;
  uint16_t place = 0;
  for (int64_t p = 0; p < at_once; ++p) {
    for (int64_t c = 0; c < channels; ++c) places[p * padded + c] = place++;
    used |= ((1u << channels) - 1) << p * padded;
  }
  const auto indices = hn::Load(DWord(), places);
  const auto elements = hn::LoadMaskBits(DWord(), reinterpret_cast<const uint8_t*>(&used));
  for (; pixels > 0; pixels -= at_once, from += at_once * channels, to += at_once * padded) {
    const int64_t count = std::min(pixels, at_once);
    const auto some = first_elements(from, count * channels);
    hn::Vec<DWord> apart;
    asm("vpermw %1, %2, %0%{%3%}%{z%}" : "=v"(apart.raw) : "v"(some.raw), "v"(indices.raw), "Yk"(elements.raw));
    const auto written = hn::FirstN(DWord(), static_cast<size_t>(count * padded));
    hn::BlendedStore(apart, written, DWord(), reinterpret_cast<uint16_t*>(to));
  }
}

HWY_ATTR void pad_channels(const BFloat16* from, int64_t pixels, int64_t channels, BFloat16* to) {
  pad_pixels(from, pixels, channels, to);
}
HWY_ATTR void pad_and_narrow(const float* from, int64_t pixels, int64_t channels, BFloat16* to) {
  pad_pixels(from, pixels, channels, to);
}

// kRows: of the rows, if they are so many, else 0.
template <int kRows>
HWY_ATTR void weave(const BFloat16* const* rows, int64_t count, int64_t channels, int64_t columns, BFloat16* to) {
  const int64_t column = count * channels + count * channels % 2, at_once = kAmxElements / column;
  alignas(64) uint16_t places[kAmxElements][kAmxElements];
  uint32_t used[kAmxElements];
  for (int64_t r = 0; r < count; ++r) {
    uint16_t from = 0;
    used[r] = 0;
    for (int64_t p = 0; p < at_once; ++p) {
      for (int64_t c = 0; c < channels; ++c) places[r][p * column + r * channels + c] = from++;
      used[r] |= ((1u << channels) - 1) << (p * column + r * channels);
    }
  }
  const int64_t many = kRows > 0 ? kRows : count;
  for (int64_t x = 0; x < columns; x += at_once, to += at_once * column) {
    auto woven = hn::Zero(DWord());
#pragma GCC unroll 3
    for (int64_t r = 0; r < many; ++r) {
      const auto some = hn::LoadU(DWord(), reinterpret_cast<const uint16_t*>(rows[r] + x * channels));
      const auto indices = hn::Load(DWord(), places[r]);
      const auto elements = hn::LoadMaskBits(DWord(), reinterpret_cast<const uint8_t*>(&used[r]));
      asm("vpermw %1, %2, %0%{%3%}" : "+v"(woven.raw) : "v"(some.raw), "v"(indices.raw), "Yk"(elements.raw));
    }
    hn::StoreU(woven, DWord(), reinterpret_cast<uint16_t*>(to));
  }
}
HWY_ATTR void weave_rows(const BFloat16* const* rows, int64_t count, int64_t channels, int64_t columns, BFloat16* to) {
  count == 3 ? weave<3>(rows, count, channels, columns, to) : weave<0>(rows, count, channels, columns, to);
}

HWY_ATTR void gather_last(const BFloat16* run, int64_t pitch, int64_t run_length, const AmxBlocks& blocks,
                          BFloat16* to) {
  const int64_t first = (blocks.count - 1) * blocks.depth * 2, count = run_length - first;
  for (int64_t i = 0; i < kAmxRows; ++i, to += kAmxElements) {
    auto* at = reinterpret_cast<uint16_t*>(to);
    const auto elements = first_elements(run + i * pitch + first, count);
    hn::StoreU(hn::Zero(DWord()), DWord(), at);
    hn::BlendedStore(elements, hn::FirstN(DWord(), static_cast<size_t>(count)), DWord(), at + 2 * blocks.overlap());
  }
}

const AmxKernels& get_amx_kernels() {
  static const AmxKernels table = rounds_natively()
                                      ? AmxKernels{&tile_by_amx, &tiles_by_amx, &finish_pending, &gather_row,
                                                   &gather_last, &pad_channels, &pad_and_narrow, &weave_rows}
                                      : AmxKernels();
  return table;
}

#else

const AmxKernels& get_amx_kernels() {
  static const AmxKernels table;
  return table;
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
namespace {

// What LDTILECFG reads: 64 bytes, of which the first 8 of the 16 tiles exist.
struct alignas(64) TileConfiguration {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfiguration) == 64);

}  // namespace

HWY_EXPORT(get_amx_kernels);
const AmxKernels& amx_kernels() { return HWY_DYNAMIC_DISPATCH(get_amx_kernels)(); }

AmxScope::AmxScope(int64_t depth, int64_t rows) {
  TileConfiguration c;
  for (int t = 0; t < 8; ++t) {
    const bool of_a = t == 4 || t == 5, of_b = t > 5;
    c.row_bytes[t] = static_cast<uint16_t>(of_a ? 4 * depth : 64);
    c.rows[t] = static_cast<uint8_t>(of_b ? depth : rows);
  }
  asm volatile("ldtilecfg %0" ::"m"(c));
}

AmxScope::~AmxScope() {
  amx_kernels().finish(pending);
  asm volatile("tilerelease");
}

}  // namespace blade::backends::cpu
#endif
