// Two units of 16 pixels and a panel of two vectors are a tile; its rows become results between the products of the
// next one.
#include "backends/cpu/matrix/amx_band.h"

#include <algorithm>
#include <limits>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/simd_targets.h"
#include "base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/amx_band.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/amx_plain_inl.h"
#include "backends/cpu/matrix/amx_tiles_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3

namespace {

constexpr int64_t kBandVectors = 2, kBandColumns = kBandVectors * 16;  // of a panel
constexpr int64_t kBandRowBytes = kBandColumns * sizeof(float);        // of sums, and of a panel
constexpr int64_t kBandUnitSums = kAmxRows * kBandColumns;

// Pixels of a row, neighbours in the results, too.
struct BandUnit {
  const char* a = nullptr;
  int64_t pixels = 0;
};

// The units of a band, row by row.
struct BandUnits {
  const AmxBand& band;
  int64_t y = 0, x = 0;

  HWY_INLINE BandUnit next() {
    if (y == band.rows) return {};
    const BandUnit unit{reinterpret_cast<const char*>(band.a + y * band.row_step + x * band.job.pitch),
                        std::min(kAmxRows, band.pixels - x)};
    x += kAmxRows;
    if (x >= band.pixels) {
      x = 0;
      ++y;
    }
    return unit;
  }
};

// The pixels of a tile that become results, which lie one behind the other.
template <bool kUpper>
struct BandRows {
  PlainFinish<false, kUpper> finish_row;
  const float* bias;
  int64_t c_pitch;
  const float* sums = nullptr;
  const float* of_second = nullptr;  // sums of the second unit
  BFloat16* c = nullptr;
  int64_t left = 0, left_of_second = 0;

  HWY_ATTR HWY_INLINE explicit BandRows(const AmxBand& band)
      : finish_row(band.job.epilogue->clamp_lo, band.job.epilogue->clamp_hi, false),
        bias(band.job.epilogue->bias),
        c_pitch(band.job.out_stride) {}
  HWY_ATTR HWY_INLINE void begin(const BandUnit (&units)[2], const float* from, int64_t column, BFloat16* to) {
    sums = from;
    of_second = from + kBandUnitSums;
    c = to;
    left = units[0].pixels;
    left_of_second = units[1].pixels;
    if (bias != nullptr) finish_row.set_bias(bias + column);
  }
  HWY_ATTR HWY_INLINE void finish(int64_t rows) {
    const int64_t before = left;
    of_unit(rows);
    if (left > 0 || left_of_second == 0) return;
    sums = of_second;
    left = left_of_second;
    left_of_second = 0;
    of_unit(rows - before);
  }

 private:
  HWY_ATTR HWY_INLINE void of_unit(int64_t rows) {
    for (rows = std::min(rows, left), left -= rows; rows > 0; --rows, sums += kBandColumns, c += c_pitch)
      finish_row.row(sums, static_cast<const BFloat16*>(nullptr), c);
  }
};

struct BandWalk {
  const AmxBand& band;
  const TileJob<BFloat16>& job = band.job;
  AmxBlocks blocks{job.run_length};
  const int64_t* offsets = job.run_offsets;
  int64_t runs = job.runs;
  int64_t a_bytes = job.pitch * int64_t{sizeof(BFloat16)};
  int64_t block_bytes = blocks.depth * int64_t{sizeof(float)};  // of a row of A
  int64_t panel_bytes = blocks.depth * kBandRowBytes;           // of a block of B
  int64_t all_blocks = runs * blocks.count;
  int64_t rows_a_block = std::max(ceil_div(2 * kAmxRows, all_blocks), kFewestRows);
  const char* fetch = reinterpret_cast<const char*>(job.next_input.data());
  int64_t to_fetch = static_cast<int64_t>(job.next_input.size()) / 64 * 64;      // bytes
  int64_t fetched_a_block = 64 * ceil_div(to_fetch, 64 * all_blocks * tiles());  // at most
  HWY_ALIGN float sums[2 * kBandUnitSums];

  // Of all panels.
  int64_t tiles() const { return ceil_div(band.rows * ceil_div(band.pixels, kAmxRows), int64_t{2}) * job.b.panels(); }

  // Leaves the sums in the tile registers.
  template <class Rows>
  HWY_ATTR HWY_INLINE void multiply(const BandUnit (&units)[2], const char* b, const StartSums<2>& start, Rows& rows) {
    const auto block = [&](int64_t offset, const auto& before) HWY_ATTR {
      const char* const a[] = {units[0].a + offset, units[1].a + offset};
      multiply_block<2, 2>(a, a_bytes, b, kBandRowBytes, kBandRowBytes / kBandVectors, before);
      b += panel_bytes;
      for (int64_t left = std::min(to_fetch, fetched_a_block); left > 0; left -= 64, to_fetch -= 64, fetch += 64)
        __builtin_prefetch(fetch, 0, 2);
      rows.finish(rows_a_block);
    };
    block(offsets[0] * int64_t{sizeof(BFloat16)}, start);
    for (int64_t r = 0, k = 1; r < runs; ++r, k = 0) {
      for (int64_t at = offsets[r] * int64_t{sizeof(BFloat16)} + k * block_bytes; k < blocks.count;
           ++k, at += block_bytes)
        block(at, NothingBefore());
    }
    rows.finish(2 * kAmxRows);
  }

  template <class Rows>
  HWY_ATTR HWY_NOINLINE void run() {
    Rows rows(band);
    BandUnits all{band};
    BFloat16* c = job.out;
    bool holds = false;  // sums in the tile registers
    for (;;) {
      BandUnit units[] = {all.next(), all.next()};
      if (units[0].pixels == 0) break;
      if (units[1].pixels == 0) units[1].a = units[0].a;  // sums that nobody wants
      for (int64_t p = 0; p < job.b.panels(); ++p) {
        const StartSums<2> start{holds ? sums : nullptr, nullptr, kBandRowBytes};
        multiply(units, reinterpret_cast<const char*>(job.b.panel(p)), start, rows);
        holds = true;
        rows.begin(units, sums, p * kBandColumns, c + p * kBandColumns);
      }
      c += (units[0].pixels + units[1].pixels) * job.out_stride;
    }
    if (holds) store_sums<2, 2>(sums, kBandRowBytes);
    rows.finish(2 * kAmxRows);
  }
};

}  // namespace

bool amx_has_bands() { return rounds_natively(); }
void amx_run_band(const AmxBand& band) {
  BandWalk walk{band};
  if (band.job.epilogue->clamp_hi < std::numeric_limits<float>::infinity()) {
    walk.run<BandRows<true>>();
  } else {
    walk.run<BandRows<false>>();
  }
}

#else

bool amx_has_bands() { return false; }
void amx_run_band(const AmxBand&) {}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {

HWY_EXPORT(amx_has_bands);
HWY_EXPORT(amx_run_band);

bool amx_band_fits(int64_t run_length, const PackedB& b, const Epilogue<BFloat16>& epilogue) {
  const AmxBlocks blocks(run_length, b.padded);
  const bool whole = blocks.count > 0 && blocks.elements() == run_length;
  return whole && b.packed_k == 0 && takes_whole_panels(b, epilogue) && epilogue.residual == nullptr &&
         HWY_DYNAMIC_DISPATCH(amx_has_bands)();
}

void amx_band(const AmxBand& band) {
  const AmxScope tile_registers(AmxBlocks(band.job.run_length).depth);
  HWY_DYNAMIC_DISPATCH(amx_run_band)(band);
}

}  // namespace blade::backends::cpu
#endif  // HWY_ONCE
