// AMX over Highway's AVX-512: tile registers make the sums, vectors finish them.
#include "backends/cpu/matrix/amx_kernel.h"

#include <bit>
#include <cstring>

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/amx_kernel.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/amx_tiles_inl.h"
#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3

using Bf16Args = TileArgs<BFloat16>;

// Tile registers: four of sums, two of A, two of B.
constexpr int kA = 4, kB = 6;
constexpr int64_t kLanes = 16;
constexpr int64_t kMaxSums = kAmxRows * kLanes * kMaxAmxUnits * 2;  // of a tile of C: 32 rows of 64 floats

// One block of kUnits units times kVectors vectors: at 2 x 2 a load for each product, at 4 x 1 five for four.
template <int kUnits, int kVectors>
HWY_INLINE void multiply_block(const BFloat16* const (&a)[kUnits], int64_t a_bytes, const float* b, int64_t b_bytes) {
  tile_load<kB>(b, b_bytes);
  tile_load<kA>(a[0], a_bytes);
  tile_dot<0, kA, kB>();
  if constexpr (kVectors == 2) {
    tile_load<kB + 1>(b + kLanes, b_bytes);
    tile_dot<1, kA, kB + 1>();
    if constexpr (kUnits == 2) {
      tile_load<kA + 1>(a[1], a_bytes);
      tile_dot<2, kA + 1, kB>();
      tile_dot<3, kA + 1, kB + 1>();
    }
  } else {
    if constexpr (kUnits > 1) {
      tile_load<kA + 1>(a[1], a_bytes);
      tile_dot<1, kA + 1, kB>();
    }
    if constexpr (kUnits > 2) {
      tile_load<kA>(a[2], a_bytes);
      tile_dot<2, kA, kB>();
    }
    if constexpr (kUnits > 3) {
      tile_load<kA + 1>(a[3], a_bytes);
      tile_dot<3, kA + 1, kB>();
    }
  }
}

template <int kTile, int kUnits, int kVectors>
HWY_INLINE void clear_sums() {
  if constexpr (kTile < kUnits * kVectors) {
    tile_zero<kTile>();
    clear_sums<kTile + 1, kUnits, kVectors>();
  }
}
template <int kTile, int kUnits, int kVectors>
HWY_INLINE void store_sums(float* to, int64_t pitch) {
  if constexpr (kTile < kUnits * kVectors) {
    tile_store<kTile>(to + kTile / kVectors * kAmxRows * pitch + kTile % kVectors * kLanes,
                      pitch * int64_t{sizeof(float)});
    store_sums<kTile + 1, kUnits, kVectors>(to, pitch);
  }
}

// Sums of all units of a tile for kVectors vectors of a panel whose rows have `panel_row` floats.
template <int kUnits, int kVectors>
HWY_ATTR void multiply(const Bf16Args& args, const AmxTile& tile, const float* panel, int64_t panel_row,
                       const char* prefetch, float* sums) {
  const AmxBlocks blocks(args.run_length);
  const int64_t depth = blocks.depth, a_bytes = tile.pitch * int64_t{sizeof(BFloat16)};
  const int64_t b_bytes = panel_row * int64_t{sizeof(float)};
  const int64_t prefetch_lines = prefetch != nullptr ? (args.prefetch_lines * depth + 3) / 4 : 0;
  clear_sums<0, kUnits, kVectors>();
  for (int64_t r = 0; r < args.runs && blocks.count > 0; ++r) {
    const int64_t offset = args.run_offsets != nullptr ? args.run_offsets[r] : 0;
    const float* b = panel + r * blocks.steps * panel_row;
    const BFloat16* a[kUnits];
#pragma GCC unroll 4
    for (int u = 0; u < kUnits; ++u) a[u] = tile.units[u].base + offset;
    for (int64_t k = 1; k < blocks.count; ++k) {
      for (int64_t i = 0; i < prefetch_lines; ++i, prefetch += 64) __builtin_prefetch(prefetch, 0, 2);
      multiply_block<kUnits, kVectors>(a, a_bytes, b, b_bytes);
      b += depth * panel_row;
#pragma GCC unroll 4
      for (int u = 0; u < kUnits; ++u) a[u] += 2 * depth;
    }
    for (int64_t i = 0; i < prefetch_lines; ++i, prefetch += 64) __builtin_prefetch(prefetch, 0, 2);
    int64_t last_bytes = a_bytes;
    if (tile.units[0].last != nullptr) {
      last_bytes = kAmxElements * int64_t{sizeof(BFloat16)};
#pragma GCC unroll 4
      for (int u = 0; u < kUnits; ++u) a[u] = tile.units[u].last + r * kAmxRows * kAmxElements;
    }
    multiply_block<kUnits, kVectors>(a, last_bytes, b - blocks.overlap() * panel_row, b_bytes);
  }
  store_sums<0, kUnits, kVectors>(sums, panel_row);
}

// Which row of the sums each row of the output has.
struct KeptRows {
  uint8_t row[kAmxRows * kMaxAmxUnits];
  int64_t count = 0;

  explicit KeptRows(const AmxTile& tile) {
    for (int64_t u = 0; u < tile.num_units; ++u) {
      for (uint32_t keep = tile.units[u].keep; keep != 0; keep &= keep - 1) {
        row[count++] = static_cast<uint8_t>(u * kAmxRows + std::countr_zero(keep));
      }
    }
  }
};

HWY_ATTR HWY_INLINE V residual_at(const Bf16Args& a, int64_t row, int64_t column) {
  if (a.residual == nullptr) return hn::Zero(D());
  return load_some(D(), a.residual + row * a.residual_stride + column, a.residual_columns - column);
}

// One vector of columns of all rows.
HWY_ATTR void finish_columns(const Bf16Args& a, const float* sums, int64_t pitch, const KeptRows& rows,
                             int64_t column) {
  const D d;
  const int64_t left = a.columns - column;
  const EpilogueVectors<Bf16Args> epilogue(a, column, left);
  const V bias = a.bias != nullptr ? load_some(d, a.bias + column, left) : hn::Zero(d);
  for (int64_t i = 0; i < rows.count; ++i) {
    const V sum = hn::Add(hn::Load(d, sums + rows.row[i] * pitch + column), bias);
    const V x = epilogue.finish(sum, residual_at(a, i, column));
    const int64_t at = i * a.out_stride + column;
    if (a.wide_out != nullptr) {
      store_some(x, d, a.wide_out + at, left);
    } else {
      store_some_natively(x, a.out + at, left);
    }
  }
}

// Two whole vectors of columns where the epilogue has bias, residual and clamp alone: what most layers have.
HWY_ATTR void finish_plainly(const Bf16Args& a, const float* sums, int64_t pitch, const KeptRows& rows,
                             int64_t column) {
  const D d;
  const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi);
  const V bias0 = a.bias != nullptr ? hn::LoadU(d, a.bias + column) : hn::Zero(d);
  const V bias1 = a.bias != nullptr ? hn::LoadU(d, a.bias + column + kLanes) : hn::Zero(d);
  for (int64_t i = 0; i < rows.count; ++i) {
    const float* sum = sums + rows.row[i] * pitch + column;
    V x0 = hn::Add(hn::Load(d, sum), bias0), x1 = hn::Add(hn::Load(d, sum + kLanes), bias1);
    if (a.residual != nullptr) {
      const V r0 = residual_at(a, i, column), r1 = residual_at(a, i, column + kLanes);
      x0 = a.residual_last ? hn::Add(clamped(x0, lo, hi), r0) : clamped(hn::Add(x0, r0), lo, hi);
      x1 = a.residual_last ? hn::Add(clamped(x1, lo, hi), r1) : clamped(hn::Add(x1, r1), lo, hi);
    } else {
      x0 = clamped(x0, lo, hi);
      x1 = clamped(x1, lo, hi);
    }
    V both;
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both.raw) : "v"(x0.raw), "v"(x1.raw));
    hn::StoreU(both, d, reinterpret_cast<float*>(a.out + i * a.out_stride + column));
  }
}

HWY_ATTR void finish(const Bf16Args& a, const AmxTile& tile, const float* sums, int64_t pitch) {
  const KeptRows rows(tile);
  const bool plain = a.wide_out == nullptr && a.slope == nullptr && a.scale == nullptr && !a.gate.used();
  int64_t column = 0;
  if (plain) {
    for (; column + 2 * kLanes <= a.columns; column += 2 * kLanes) finish_plainly(a, sums, pitch, rows, column);
  }
  for (; column < a.columns; column += kLanes) finish_columns(a, sums, pitch, rows, column);
}

// The lines that the epilogue reads and writes arrive while the sums are made.
HWY_INLINE void prefetch_results(const Bf16Args& a, const AmxTile& tile) {
  const int64_t rows = tile.num_units * kAmxRows;
  for (int64_t i = 0; i < rows; ++i) {
    if (a.residual != nullptr) __builtin_prefetch(a.residual + i * a.residual_stride, 0, 3);
    if (a.wide_out == nullptr) __builtin_prefetch(a.out + i * a.out_stride, 1, 3);
  }
}

HWY_ATTR void tile_by_amx(const Bf16Args& args, const AmxTile& tile, int vectors) {
  alignas(64) float sums[kMaxSums];
  const int64_t panel_row = vectors * kLanes;
  prefetch_results(args, tile);
  for (int v = 0; v < vectors; v += 2) {
    const float* panel = args.panel + v * kLanes;
    const char* prefetch = v == 0 ? args.prefetch : nullptr;
    float* to = sums + v * kLanes;
    const int64_t shape = 2 * tile.num_units + (vectors - v > 1 ? 1 : 0);
    switch (shape) {
      case 2:
        multiply<1, 1>(args, tile, panel, panel_row, prefetch, to);
        break;
      case 3:
        multiply<1, 2>(args, tile, panel, panel_row, prefetch, to);
        break;
      case 4:
        multiply<2, 1>(args, tile, panel, panel_row, prefetch, to);
        break;
      case 5:
        multiply<2, 2>(args, tile, panel, panel_row, prefetch, to);
        break;
      case 6:
        multiply<3, 1>(args, tile, panel, panel_row, prefetch, to);
        break;
      default:
        multiply<4, 1>(args, tile, panel, panel_row, prefetch, to);
        break;
    }
  }
  finish(args, tile, sums, panel_row);
}

using DWord = hn::ScalableTag<uint16_t>;

HWY_ATTR HWY_INLINE hn::Vec<DWord> first_elements(const BFloat16* from, int64_t count) {
  const auto first = hn::FirstN(DWord(), static_cast<size_t>(count));
  return hn::MaskedLoad(first, DWord(), reinterpret_cast<const uint16_t*>(from));
}

HWY_ATTR void gather_row(const BFloat16* from, const int64_t* offsets, int64_t runs, int64_t run_length, BFloat16* to) {
  const AmxBlocks blocks(runs * run_length);
  auto* at = reinterpret_cast<uint16_t*>(to);
  for (int64_t r = 0; r < runs; ++r) {
    const BFloat16* run = from + (offsets != nullptr ? offsets[r] : 0);
    // Zeros behind a run are overwritten by the next one.
    for (int64_t k = 0; k < run_length; k += kAmxElements) {
      hn::StoreU(first_elements(run + k, std::min(kAmxElements, run_length - k)), DWord(), at + k);
    }
    at += run_length;
  }
  if (blocks.overlap() == 0) return;
  at = reinterpret_cast<uint16_t*>(to) + (blocks.count - 1) * kAmxElements;
  const auto last = hn::LoadU(DWord(), at);
  const auto moved = static_cast<size_t>(2 * blocks.overlap());
  hn::StoreU(last, DWord(), at + moved);
  hn::BlendedStore(hn::Zero(DWord()), hn::FirstN(DWord(), moved), DWord(), at);
}

HWY_ATTR void gather_last(const BFloat16* run, int64_t pitch, int64_t run_length, BFloat16* to) {
  const AmxBlocks blocks(run_length);
  const int64_t first = (blocks.count - 1) * blocks.depth * 2, count = run_length - first;
  for (int64_t i = 0; i < kAmxRows; ++i, to += kAmxElements) {
    auto* at = reinterpret_cast<uint16_t*>(to);
    const auto elements = first_elements(run + i * pitch + first, count);
    hn::StoreU(hn::Zero(DWord()), DWord(), at);
    hn::BlendedStore(elements, hn::FirstN(DWord(), static_cast<size_t>(count)), DWord(), at + 2 * blocks.overlap());
  }
}

const AmxKernels& get_amx_kernels() {
  static const AmxKernels table =
      rounds_natively() ? AmxKernels{&tile_by_amx, &gather_row, &gather_last} : AmxKernels();
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

AmxScope::AmxScope(int64_t depth) {
  TileConfiguration c;
  for (int t = 0; t < 8; ++t) {
    const bool of_a = t == 4 || t == 5, of_b = t > 5;
    c.row_bytes[t] = static_cast<uint16_t>(of_a ? 4 * depth : 64);
    c.rows[t] = static_cast<uint8_t>(of_b ? depth : kAmxRows);
  }
  asm volatile("ldtilecfg %0" ::"m"(c));
}

AmxScope::~AmxScope() { asm volatile("tilerelease"); }

}  // namespace blade::backends::cpu
#endif
