// Micro-kernels over Highway vectors: accumulators stay in registers, A is broadcast from memory, B comes packed.
#include "backends/cpu/matrix/tile_kernel.h"

#include <cstring>
#include <limits>

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/tile_kernel.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/few_columns_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

// One step along K: some elements of a row of A times as many rows of a panel. A step of another depth or a register
// that is not a vector of sums (an AMX tile) is another table of kernels over the same panels.
template <class T>
struct Step;

template <>
struct Step<float> {
  static HWY_ATTR HWY_INLINE V splat(const float* a) { return hn::Set(D(), *a); }
  static HWY_ATTR HWY_INLINE V multiply_add(V a, V w, V sum) { return add_product(sum, a, w); }
  static HWY_ATTR HWY_INLINE void store(V v, float* to) { hn::StoreU(v, D(), to); }
};

#if HWY_TARGET == HWY_AVX3
// Written as instructions: AVX512-BF16 is not part of Highway's AVX3, and nothing else here may depend on it.
template <>
struct Step<BFloat16> {
  static HWY_ATTR HWY_INLINE V splat(const BFloat16* a) {
    int32_t pair;
    std::memcpy(&pair, a, sizeof(pair));
    return hn::BitCast(D(), hn::Set(hn::RebindToSigned<D>(), pair));
  }
  // The last element of a run of odd length: its partner counts as zero, whatever lies behind it.
  static HWY_ATTR HWY_INLINE V splat_last(const BFloat16* a) {
    V pairs;
    asm("vpbroadcastw %1, %0 %{%2%}%{z%}" : "=v"(pairs.raw) : "m"(a->bits), "Yk"(__mmask32{0x55555555}));
    return pairs;
  }
  static HWY_ATTR HWY_INLINE V multiply_add(V a, V w, V sum) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(a.raw));
    return sum;
  }
  static HWY_ATTR HWY_INLINE void store(V v, BFloat16* to) { store_natively(v, to); }
};
#endif

constexpr int kRowsThatStream = 8;  // tiles of so few rows mostly wait for the panel's memory

// Several k steps in flight where one tile alone has too few independent sums to hide the latency of the FMA.
template <int kRows, int kVectors>
constexpr int chains() {
  const int sums = kRows * kVectors;
  return sums <= 2 ? 4 : sums <= 4 ? 2 : 1;
}

// What differs between the tiles of a call.
template <class T>
struct Place {
  const T* first_row;
  T* out;
  float* wide_out;
  const T* residual;
  const char* prefetch;
  explicit Place(const TileArgs<T>& a)
      : first_row(a.rows[0]), out(a.out), wide_out(a.wide_out), residual(a.residual), prefetch(a.prefetch) {}
};

// What a.columns, a.residual_columns leave of the v-th vector.
HWY_ATTR HWY_INLINE FirstLanes lanes_of(int64_t columns, int v) {
  return FirstLanes(columns - v * static_cast<int64_t>(hn::MaxLanes(D())));
}

// The same column of the next row. In steps: else the compiler computes the addresses of all rows first and spills
// them.
template <class T>
HWY_INLINE T* next_row(T* row, int64_t stride) {
  row += stride;
  asm("" : "+r"(row));
  return row;
}

template <class T, int kRows, int kVectors>
HWY_ATTR HWY_INLINE void add_residual(const TileArgs<T>& a, const T* first, V (&acc)[kRows][kVectors]) {
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  const int64_t stride = a.residual_stride;
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const FirstLanes lanes = lanes_of(a.residual_columns, v);
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i) acc[i][v] = hn::Add(acc[i][v], load_first(lanes, first + i * stride + v * kLanes));
  }
}

template <class T, int kRows, int kVectors>
HWY_ATTR HWY_INLINE void apply_slope(const TileArgs<T>& a, V (&acc)[kRows][kVectors]) {
  const D d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const V slope = load_some(d, a.slope + v * kLanes, a.columns - v * kLanes);
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i) {
      const V x = acc[i][v];
      acc[i][v] = hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x, hn::Mul(x, slope));
    }
  }
}

template <class T, int kRows, int kVectors>
HWY_ATTR HWY_INLINE void apply_scale(const TileArgs<T>& a, V (&acc)[kRows][kVectors]) {
  const D d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const V scale = load_some(d, a.scale + v * kLanes, a.columns - v * kLanes);
    const V shift = load_some(d, a.shift + v * kLanes, a.columns - v * kLanes);
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i) acc[i][v] = hn::MulAdd(acc[i][v], scale, shift);
  }
}

template <int kRows, int kVectors>
HWY_ATTR HWY_INLINE void apply_curve(const Gate& gate, V (&acc)[kRows][kVectors]) {
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  HWY_ALIGN float block[kRows * kVectors * kLanes];
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) hn::Store(acc[i][v], D(), block + (i * kVectors + v) * kLanes);
  }
  curve_block(gate, block, kRows * kVectors * kLanes);
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::Load(D(), block + (i * kVectors + v) * kLanes);
  }
}

template <class T, int kRows, int kVectors>
HWY_ATTR HWY_INLINE void apply_gate(const TileArgs<T>& a, V (&acc)[kRows][kVectors]) {
  if (a.gate.curve != Curve::kNone) {
    apply_curve<kRows, kVectors>(a.gate, acc);
    return;
  }
  const GateVectors gate = gate_vectors(a.gate);
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[i][v] = gated(gate, acc[i][v]);
  }
}

template <class T, int kRows, int kVectors>
HWY_ATTR HWY_INLINE void clamp(const TileArgs<T>& a, V (&acc)[kRows][kVectors]) {
  const D d;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (a.lo == -kInfinity && a.hi == kInfinity) return;
  const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi);
  if (HWY_TARGET == HWY_AVX3 && a.hi == kInfinity) {
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::Max(lo, acc[i][v]);  // NaN stays: see clamped()
    }
    return;
  }
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[i][v] = clamped(acc[i][v], lo, hi);
  }
}

enum class StoreAs : uint8_t { kWhole, kPart, kWide };

template <StoreAs kAs, class T, int kRows, int kVectors>
HWY_ATTR HWY_INLINE void store_tile(const TileArgs<T>& a, const Place<T>& place, const V (&acc)[kRows][kVectors]) {
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  const FirstLanes last = lanes_of(a.columns, kVectors - 1);  // the others are whole
  T* out = place.out;
  float* wide_out = place.wide_out;
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const bool whole = v + 1 < kVectors || kAs == StoreAs::kWhole;
      if (kAs == StoreAs::kWide) {
        if (whole) {
          store_all(acc[i][v], wide_out + v * kLanes);
        } else {
          store_first(acc[i][v], last, wide_out + v * kLanes);
        }
      } else if (whole) {
        Step<T>::store(acc[i][v], out + v * kLanes);
      } else {
        store_first(acc[i][v], last, out + v * kLanes);
      }
    }
    if (kAs == StoreAs::kWide) {
      wide_out = next_row(wide_out, a.out_stride);
    } else {
      out = next_row(out, a.out_stride);
    }
  }
}

template <class T, int kRows, int kVectors>
HWY_ATTR HWY_INLINE void store_some_tile(const TileArgs<T>& a, const Place<T>& place, const V (&acc)[kRows][kVectors]) {
  if (sizeof(T) != sizeof(float) && place.wide_out != nullptr) {
    store_tile<StoreAs::kWide>(a, place, acc);
  } else if (a.columns == kVectors * static_cast<int>(hn::MaxLanes(D()))) {
    store_tile<StoreAs::kWhole>(a, place, acc);
  } else {
    store_tile<StoreAs::kPart>(a, place, acc);
  }
}

// The rows of A that a run reads, from their current element on: row<i>(n) points n elements further.
template <class T>
struct RowPointers {
  const T* const* rows;
  int64_t at;
  HWY_INLINE RowPointers(const TileArgs<T>& a, const T*, int64_t run)
      : rows(a.rows + run * a.row_step), at(a.run_offsets != nullptr ? a.run_offsets[run] : 0) {}
  HWY_INLINE const T* row(int i, int64_t ahead) const { return rows[i] + at + ahead; }
  HWY_INLINE void advance(int64_t elements) { at += elements; }
  HWY_INLINE void keep_in_registers() {}
};

// Rows at one pitch: fourteen addresses from eight registers, where fourteen pointers would come from memory at every
// step.
template <class T>
struct RowPitch {
  const char* first;
  int64_t pitch1, pitch3, pitch5, pitch7, pitch9, pitch11, pitch13;  // bytes, odd multiples
  HWY_INLINE RowPitch(const TileArgs<T>& a, const T* first_row, int64_t run) {
    first = reinterpret_cast<const char*>(first_row + (a.run_offsets != nullptr ? a.run_offsets[run] : 0));
    pitch1 = a.row_pitch * int64_t{sizeof(T)};
    const int64_t pitch2 = 2 * pitch1;
    pitch3 = pitch1 + pitch2;
    pitch5 = pitch3 + pitch2;
    pitch7 = pitch5 + pitch2;
    pitch9 = pitch7 + pitch2;
    pitch11 = pitch9 + pitch2;
    pitch13 = pitch11 + pitch2;
  }
  HWY_INLINE int64_t offset(int i) const {
    switch (i) {
      case 0:
        return 0;
      case 1:
        return pitch1;
      case 2:
        return pitch1 * 2;
      case 3:
        return pitch3;
      case 4:
        return pitch1 * 4;
      case 5:
        return pitch5;
      case 6:
        return pitch3 * 2;
      case 7:
        return pitch7;
      case 8:
        return pitch1 * 8;
      case 9:
        return pitch9;
      case 10:
        return pitch5 * 2;
      case 11:
        return pitch11;
      case 12:
        return pitch3 * 4;
      default:
        return pitch13;
    }
  }
  HWY_INLINE const T* row(int i, int64_t ahead) const { return reinterpret_cast<const T*>(first + offset(i)) + ahead; }
  HWY_INLINE void advance(int64_t elements) { first += elements * int64_t{sizeof(T)}; }
  // Else the compiler computes all fourteen before the loop and spills them.
  HWY_INLINE void keep_in_registers() {
    asm(""
        : "+r"(first), "+r"(pitch1), "+r"(pitch3), "+r"(pitch5), "+r"(pitch7), "+r"(pitch9), "+r"(pitch11),
          "+r"(pitch13));
  }
};

// Where the last vector of a panel has columns in one half alone, two rows share one: its sums are those of a row in
// the lower half and of the next row in the upper one. Three multiplications for two rows of 24 columns, not four.
template <int kRows, int kVectors>
constexpr bool may_share() {
  return HWY_TARGET == HWY_AVX3 && kRows > 1 && (kVectors == 2 || kVectors == 3);
}

template <bool kShare, int kVectors>
HWY_ATTR HWY_INLINE void load_weights(const float* b, V (&w)[kVectors]) {
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    if constexpr (kShare) {
      w[v] = v + 1 < kVectors ? hn::Load(D(), b + v * kLanes) : both_halves(b + v * kLanes);
    } else {
      w[v] = hn::Load(D(), b + v * kLanes);
    }
  }
}

// One step for all rows; `splat(i)`: what row i multiplies.
template <bool kShare, class T, int kRows, int kVectors, class Splat>
HWY_ATTR HWY_INLINE void add_step(const V (&w)[kVectors], V (&acc)[kRows][kVectors], Splat splat) {
  V before = hn::Zero(D());
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
    const V x = splat(i);
    constexpr int kOwn = kShare ? kVectors - 1 : kVectors;
#pragma GCC unroll 4
    for (int v = 0; v < kOwn; ++v) acc[i][v] = Step<T>::multiply_add(x, w[v], acc[i][v]);
    if constexpr (kShare) {
      const bool last = i + 1 == kRows;
      if (i % 2 == 1) {
        acc[i - 1][kOwn] = Step<T>::multiply_add(halves_of(before, x), w[kOwn], acc[i - 1][kOwn]);
      } else if (last) {
        acc[i][kOwn] = Step<T>::multiply_add(x, w[kOwn], acc[i][kOwn]);
      }
      before = x;
    }
  }
}

// The last steps of a run, one by one; `kLast`: the last element of a run of odd length.
template <bool kLast, bool kShare, class T, class Rows, int kRows, int kVectors>
HWY_ATTR HWY_INLINE void one_step(const Rows& rows, const float* b, V (&acc)[kRows][kVectors]) {
  V w[kVectors];
  load_weights<kShare>(b, w);
  add_step<kShare, T>(w, acc, [&](int i) HWY_ATTR {
    if constexpr (kLast) {
      return Step<T>::splat_last(rows.row(i, 0));
    } else {
      return Step<T>::splat(rows.row(i, 0));
    }
  });
}

// The lines that the epilogue reads and writes arrive while the sums are made.
template <int kRows, int kVectors, class T>
HWY_ATTR HWY_INLINE void prefetch_results(const TileArgs<T>& a, const Place<T>& place) {
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  if (a.results_stay) return;
  const auto prefetch = [](auto* row, int64_t stride) HWY_ATTR {
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i, row = next_row(row, stride)) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) __builtin_prefetch(row + v * kLanes, 0, 3);
    }
  };
  if (place.residual != nullptr) prefetch(place.residual, a.residual_stride);
  if (sizeof(T) < sizeof(float) && place.wide_out != nullptr) {
    prefetch(place.wide_out, a.out_stride);
  } else {
    prefetch(place.out, a.out_stride);
  }
}

// How often a tile prefetches `prefetch_lines`.
template <class T>
int64_t prefetches(const TileArgs<T>& a) {
  return a.runs * (a.run_length / kStepDepth<T> / 4);
}

template <class Rows, int kRows, int kVectors, bool kShare, class T>
HWY_ATTR HWY_INLINE void one_tile(const TileArgs<T>& a, const Place<T>& place) {
  const D d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  constexpr int kChains = chains<kRows, kVectors>();
  constexpr int kPanelRow = kVectors * kLanes;
  V acc[kChains][kRows][kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    V init = hn::Zero(d);
    if (a.bias != nullptr) init = load_some(d, a.bias + v * kLanes, a.columns - v * kLanes);
    if (kShare && v + 1 == kVectors) init = lower_twice(init);
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) {
#pragma GCC unroll 14
      for (int i = 0; i < kRows; ++i) acc[c][i][v] = c == 0 ? init : hn::Zero(d);
    }
  }

  constexpr int64_t kDepth = kStepDepth<T>;
  const float* HWY_RESTRICT b = a.panel;
  const char* prefetch = place.prefetch;
  const int prefetch_lines = a.prefetch_lines;
  const int64_t steps = a.run_length / kDepth;
  for (int64_t r = 0; r < a.runs; ++r) {
    Rows rows(a, place.first_row, r);
    int64_t k = 0;
    for (; k + 4 <= steps; k += 4) {
      rows.keep_in_registers();
      for (int i = 0; i < prefetch_lines; ++i, prefetch += 64)
        __builtin_prefetch(prefetch, 0, kRows <= kRowsThatStream ? 3 : 2);
#pragma GCC unroll 4
      for (int kk = 0; kk < 4; ++kk) {
        // Which comes fastest where its lines are read in their order.
        if constexpr (kRows <= kRowsThatStream) asm volatile("" ::: "memory");
        V w[kVectors];
        load_weights<kShare>(b + kk * kPanelRow, w);
        add_step<kShare, T>(w, acc[kk % kChains],
                            [&](int i) HWY_ATTR { return Step<T>::splat(rows.row(i, kk * kDepth)); });
      }
      b += 4 * kPanelRow;
      rows.advance(4 * kDepth);
    }
    for (; k < steps; ++k, b += kPanelRow, rows.advance(kDepth)) {
      rows.keep_in_registers();
      one_step<false, kShare, T>(rows, b, acc[0]);
    }
    if constexpr (kDepth > 1) {
      if (a.run_length % kDepth != 0) {
        one_step<true, kShare, T>(rows, b, acc[0]);
        b += kPanelRow;
      }
    }
  }

#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 4
      for (int c = 1; c < kChains; ++c) acc[0][i][v] = hn::Add(acc[0][i][v], acc[c][i][v]);
    }
  }
  if constexpr (kShare) {
#pragma GCC unroll 14
    for (int i = 1; i < kRows; i += 2) acc[0][i][kVectors - 1] = upper_twice(acc[0][i - 1][kVectors - 1]);
  }
  // Apart from the others, so that the sums of most layers stay in registers.
  if (HWY_LIKELY(a.adds_first)) {
    if (place.residual != nullptr) add_residual<T, kRows, kVectors>(a, place.residual, acc[0]);
    clamp<T, kRows, kVectors>(a, acc[0]);
    store_some_tile(a, place, acc[0]);
    return;
  }
  if (place.residual != nullptr && !a.residual_last) add_residual<T, kRows, kVectors>(a, place.residual, acc[0]);
  if (a.slope != nullptr) apply_slope<T, kRows, kVectors>(a, acc[0]);
  clamp<T, kRows, kVectors>(a, acc[0]);
  if (a.gate.used()) apply_gate<T, kRows, kVectors>(a, acc[0]);
  if (a.scale != nullptr) apply_scale<T, kRows, kVectors>(a, acc[0]);
  if (place.residual != nullptr && a.residual_last) add_residual<T, kRows, kVectors>(a, place.residual, acc[0]);
  store_some_tile(a, place, acc[0]);
}

template <int kVectors, class T>
bool shares_last(const TileArgs<T>& a) {
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  return a.columns <= kVectors * kLanes - kLanes / 2;
}

template <class T, int kRows, int kVectors>
HWY_ATTR void tile(const TileArgs<T>& a) {
  const Place<T> place(a);
  prefetch_results<kRows, kVectors>(a, place);
  if constexpr (may_share<kRows, kVectors>()) {
    if (shares_last<kVectors>(a)) return one_tile<RowPointers<T>, kRows, kVectors, true>(a, place);
  }
  one_tile<RowPointers<T>, kRows, kVectors, false>(a, place);
}

template <bool kShare, class T, int kRows, int kVectors>
HWY_ATTR HWY_INLINE void all_tiles(const TileArgs<T>& a) {
  Place<T> place(a);
  prefetch_results<kRows, kVectors>(a, place);
  for (int64_t t = 1;; ++t) {
    Place<T> next = place;
    next.first_row += kRows * a.row_pitch;
    if (next.out != nullptr) next.out += kRows * a.out_stride;
    if (next.wide_out != nullptr) next.wide_out += kRows * a.out_stride;
    if (next.residual != nullptr) next.residual += kRows * a.residual_stride;
    if (next.prefetch != nullptr) next.prefetch += a.prefetch_lines * prefetches(a) * 64;
    if (t < a.tiles) prefetch_results<kRows, kVectors>(a, next);
    one_tile<RowPitch<T>, kRows, kVectors, kShare>(a, place);
    if (t >= a.tiles) return;
    place = next;
  }
}

template <class T, int kRows, int kVectors>
HWY_ATTR void pitched_tiles(const TileArgs<T>& a) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kVectors == 1 && sizeof(T) == sizeof(float)) {
    if (has_few_columns(a)) return multiply_few_columns(a, kRows * a.tiles);
  }
#endif
  if constexpr (may_share<kRows, kVectors>()) {
    if (shares_last<kVectors>(a)) return all_tiles<true, T, kRows, kVectors>(a);
  }
  all_tiles<false, T, kRows, kVectors>(a);
}

template <int kVectors, int kRows, class T>
void fill(TileKernels<T>& t) {
  if constexpr (kRows > 0) {
    t.kernel[kVectors][kRows] = &tile<T, kRows, kVectors>;
    t.pitched[kVectors][kRows] = &pitched_tiles<T, kRows, kVectors>;
    fill<kVectors, kRows - 1>(t);
  }
}

template <int kVectors, int kRows, class T>
void add_shape(TileKernels<T>& t, float efficiency) {
  t.max_vectors = kVectors;
  t.max_rows[kVectors] = kRows;
  t.efficiency[kVectors] = efficiency;
  fill<kVectors, kRows>(t);
}

template <class T>
TileKernels<T> make_tile_kernels() {
  TileKernels<T> t;
  t.lanes = static_cast<int>(hn::MaxLanes(D()));
#if HWY_TARGET == HWY_AVX3  // 32 registers
  add_shape<1, 14>(t, 0.85f);
  add_shape<2, 14>(t, 1.0f);
  add_shape<3, 9>(t, 0.98f);
  add_shape<4, 6>(t, 0.96f);
#else  // 16 registers
  add_shape<1, 10>(t, 0.72f);
  add_shape<2, 6>(t, 0.91f);
  add_shape<3, 4>(t, 1.0f);
#endif
  return t;
}

const TileKernels<float>& get_tile_kernels() {
  static const TileKernels<float> table = make_tile_kernels<float>();
  return table;
}

const TileKernels<BFloat16>& get_bf16_tile_kernels() {
#if HWY_TARGET == HWY_AVX3
  static const TileKernels<BFloat16> table =
      rounds_natively() ? make_tile_kernels<BFloat16>() : TileKernels<BFloat16>();
#else
  static const TileKernels<BFloat16> table;
#endif
  return table;
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
HWY_EXPORT(get_tile_kernels);
HWY_EXPORT(get_bf16_tile_kernels);
template <>
const TileKernels<float>& tile_kernels<float>() {
  return HWY_DYNAMIC_DISPATCH(get_tile_kernels)();
}
template <>
const TileKernels<BFloat16>& tile_kernels<BFloat16>() {
  return HWY_DYNAMIC_DISPATCH(get_bf16_tile_kernels)();
}
}  // namespace blade::backends::cpu
#endif
