// Each tile of weights meets up to four tiles of pixels, which are in L1; the weights behind it are on their way to L2.
#include "backends/cpu/matrix/streamed_kernel.h"

#include <algorithm>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/simd_targets.h"
#include "base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/streamed_kernel.cc"
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

constexpr int64_t kPairColumns = 2 * kStreamedColumns, kSumPitch = kPairColumns * sizeof(float);  // bytes
constexpr int64_t kTileBytes = 1024, kBlockElements = kAmxElements;
constexpr int64_t kLineStep = 128;  // bytes: the prefetcher of L2 brings every other line
constexpr int64_t kAheadBytes = 64 << 10;
constexpr int kMostUnits = static_cast<int>(kMaxAmxUnits);

// Asks for weights in the order in which they are read, some way ahead of that.
class WeightRequests {
 public:
  explicit WeightRequests(const StreamedPart& part)
      : part_(part), at_(reinterpret_cast<const char*>(part.weights)), end_(at_ + bytes()) {
    more(kAheadBytes / kLineStep);
  }
  HWY_INLINE void more(int64_t count) {
    for (; count > 0 && at_ != nullptr; --count) {
      __builtin_prefetch(at_, 0, 2);
      at_ += kLineStep;
      if (at_ == end_) next_piece();
    }
  }

 private:
  int64_t bytes() const { return part_.pairs * 2 * part_.panel_bytes(); }
  HWY_NOINLINE void next_piece() {
    ++piece_;
    at_ = piece_ < part_.pieces ? reinterpret_cast<const char*>(part_.weights) + piece_ * part_.piece_bytes : nullptr;
    end_ = at_ + bytes();
  }

  const StreamedPart& part_;
  int64_t piece_ = 0;
  const char *at_, *end_;
};

// Sums of some places and a pair of panels that are complete.
struct FinishedSums {
  const float* sums = nullptr;
  int64_t column = 0;
  const uint8_t* places = nullptr;  // of results
  int64_t first_place = 0;          // of the sums
  int64_t row = 0, last = 0;        // results
  int64_t passes = 1;               // over which they are written
};

template <class Out, bool kResidual>
HWY_ATTR void finish_rows(const StreamedPart& part, FinishedSums& f, Out* out, int64_t count) {
  const Epilogue<BFloat16>& e = *part.epilogue;
  PlainFinish<kResidual, /*kUpper=*/true> finish(e.clamp_lo, e.clamp_hi, e.residual_last);
  if (e.bias != nullptr) finish.set_bias(e.bias + f.column);
  const BFloat16* residual = kResidual ? e.residual + f.row * e.residual_row_stride + f.column : nullptr;
  Out* to = out + f.row * part.out_stride + f.column;
  for (const int64_t end = std::min(f.last, f.row + count); f.row < end; ++f.row, to += part.out_stride) {
    finish.row(f.sums + (f.places[f.row] - f.first_place) * kPairColumns, residual, to);
    if constexpr (kResidual) residual += e.residual_row_stride;
  }
}

// Before the first products of each unit: its old sums leave, and its new ones begin with what lies at `from`, or with
// zeros.
struct SumsOfUnits {
  float* to;
  const float* from;
  int64_t unit_bytes;

  template <int kTile>
  HWY_INLINE void leave() const {
    tile_store<kTile>(reinterpret_cast<char*>(to) + kTile * unit_bytes, kSumPitch);
  }
  template <int kTile>
  HWY_INLINE void at() const {
    if (to != nullptr) leave<kTile>();
    if (from != nullptr) {
      tile_load<kTile>(reinterpret_cast<const char*>(from) + kTile * unit_bytes, kSumPitch);
    } else {
      tile_zero<kTile>();
    }
  }
};

struct StreamedWalk {
  const StreamedPart& part;
  WeightRequests requests{part};
  FinishedSums finished;
  float* held = nullptr;  // where the sums in tile registers go when those are used again
  int held_units = 0;

  HWY_ATTR HWY_NOINLINE void finish(int64_t count) {
    const bool adds = part.epilogue->residual != nullptr;
    if (part.wide_out != nullptr) {
      adds ? finish_rows<float, true>(part, finished, part.wide_out, count)
           : finish_rows<float, false>(part, finished, part.wide_out, count);
    } else {
      adds ? finish_rows<BFloat16, true>(part, finished, part.out, count)
           : finish_rows<BFloat16, false>(part, finished, part.out, count);
    }
  }

  template <int kTile = 0>
  void store_held() {
    if (kTile < held_units) SumsOfUnits{held, nullptr, unit_bytes()}.template leave<kTile>();
    if constexpr (kTile + 1 < kMostUnits) store_held<kTile + 1>();
  }
  int64_t unit_bytes() const { return part.unit_places * kSumPitch; }

  // One panel of a piece of channels for some places; `lines` are asked for in each block of K.
  template <int kUnits>
  HWY_ATTR HWY_NOINLINE void pass(const BFloat16* places, const char* b, float* sums, bool begins, int64_t lines) {
    const bool same = held_units == kUnits;
    if (!same) store_held();
    const SumsOfUnits start{same ? held : nullptr, begins ? nullptr : sums, unit_bytes()};
    const int64_t blocks = part.channels / kBlockElements, pitch = part.channels * int64_t{sizeof(BFloat16)};
    const int64_t rows_a_pass = ceil_div(finished.last - finished.row, finished.passes);
    const int64_t rows = ceil_div(rows_a_pass, part.num_taps * blocks);
    bool first = true;
    for (int64_t t = 0; t < part.num_taps; ++t) {
      const BFloat16* a[kUnits];
#pragma GCC unroll 4
      for (int u = 0; u < kUnits; ++u) a[u] = places + part.taps[t] + u * part.unit_places * part.channels;
      for (int64_t k = 0; k < blocks; ++k, b += kTileBytes) {
        if (first) {
          multiply_block<kUnits, 1>(a, pitch, b, kTileBytes / kAmxRows, 0, start);
          first = false;
        } else {
          multiply_block<kUnits, 1>(a, pitch, b, kTileBytes / kAmxRows, 0);
        }
#pragma GCC unroll 4
        for (int u = 0; u < kUnits; ++u) a[u] += kBlockElements;
        requests.more(lines);
        if (finished.row < finished.last) finish(rows);
      }
    }
    finished.passes = std::max<int64_t>(1, finished.passes - 1);
    held = sums;
    held_units = kUnits;
  }

  void pass_of(int64_t units, const BFloat16* places, const char* b, float* sums, bool begins, int64_t lines) {
    switch (units) {
      case 1:
        return pass<1>(places, b, sums, begins, lines);
      case 2:
        return pass<2>(places, b, sums, begins, lines);
      case 3:
        return pass<3>(places, b, sums, begins, lines);
      default:
        return pass<kMostUnits>(places, b, sums, begins, lines);
    }
  }

  // Sums of a group of units are complete: its results from `first` on wait. Returns the one behind them.
  int64_t complete_group(float* sums, int64_t pair, int64_t first_unit, int64_t first, int64_t passes) {
    const int64_t end_place = (first_unit + kMostUnits) * part.unit_places;
    int64_t end = first;
    while (end < part.results && part.result_places[end] < end_place) ++end;
    finished = {sums, pair * kPairColumns, part.result_places, first_unit * part.unit_places, first, end, passes};
    return end;
  }

  // A pair of panels of a piece of channels.
  void run_pair(int64_t pair, const char* weights, float* pair_sums, bool begins, bool ends) {
    const int64_t groups = ceil_div(part.units, int64_t{kMostUnits}), lines = kTileBytes / kLineStep / groups;
    for (int64_t panel = 0; panel < 2; ++panel, weights += part.panel_bytes()) {
      int64_t result = 0;
      for (int64_t first_unit = 0; first_unit < part.units; first_unit += kMostUnits) {
        const int64_t units = std::min<int64_t>(kMostUnits, part.units - first_unit);
        float* const sums = pair_sums + first_unit * part.unit_places * kPairColumns;
        pass_of(units, part.planes + first_unit * part.unit_places * part.channels, weights,
                sums + panel * kStreamedColumns, begins, lines);
        if (ends && panel == 1) result = complete_group(sums, pair, first_unit, result, groups == 1 ? 2 : 1);
      }
    }
  }

  void run(FunctionRef<void(int64_t piece)> fill) {
    const int64_t slots = part.pieces == 1 ? 2 : part.pairs;
    for (int64_t piece = 0; piece < part.pieces; ++piece) {
      fill(piece);
      const char* weights = reinterpret_cast<const char*>(part.weights) + piece * part.piece_bytes;
      for (int64_t pair = 0; pair < part.pairs; ++pair, weights += 2 * part.panel_bytes()) {
        float* const pair_sums = part.sums + pair % slots * part.units * part.unit_places * kPairColumns;
        run_pair(pair, weights, pair_sums, piece == 0, piece + 1 == part.pieces);
      }
    }
    store_held();
    finish(finished.last);
  }
};

}  // namespace

bool streamed_kernel_fits() { return rounds_natively(); }
void run_streamed(const StreamedPart& part, FunctionRef<void(int64_t piece)> fill) { StreamedWalk{part}.run(fill); }

#else

bool streamed_kernel_fits() { return false; }
void run_streamed(const StreamedPart&, FunctionRef<void(int64_t piece)>) {}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {

HWY_EXPORT(streamed_kernel_fits);
HWY_EXPORT(run_streamed);

bool has_streamed_kernel() { return HWY_DYNAMIC_DISPATCH(streamed_kernel_fits)(); }
void run_streamed_part(const StreamedPart& part, FunctionRef<void(int64_t piece)> fill) {
  HWY_DYNAMIC_DISPATCH(run_streamed)(part, fill);
}

}  // namespace blade::backends::cpu
#endif  // HWY_ONCE
