// Finishing of pending sums that are not two whole vectors of columns with bias, residual and clamp alone: partial
// vectors, slopes, gates and curves. For files that are compiled for each target; only HWY_AVX3 has it.
#if defined(BLADE_MATRIX_AMX_FINISH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_AMX_FINISH_INL_H_
#undef BLADE_MATRIX_AMX_FINISH_INL_H_
#else
#define BLADE_MATRIX_AMX_FINISH_INL_H_
#endif

#include <algorithm>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/half_math_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3

using DWord = DHalves;

// The columns of a pending row: kVectors of float32, the last one in part.
template <int kVectors, bool kHalf>
struct PendingColumns {
  FirstLanes first[2], residual[2];
  hn::Mask<DWord> words;
  V bias[2];

  HWY_ATTR HWY_INLINE explicit PendingColumns(const AmxPending& p)
      : first{FirstLanes(p.columns), FirstLanes(p.columns - kAmxRows)},
        residual{FirstLanes(p.residual_columns), FirstLanes(p.residual_columns - kAmxRows)},
        words(hn::FirstN(DWord(), static_cast<size_t>(p.columns))) {
    for (int v = 0; v < kVectors; ++v) bias[v] = load_first(first[v], p.bias + v * kAmxRows);
  }
  static HWY_ATTR HWY_INLINE VHalves joined(const V (&x)[kVectors]) {
    if constexpr (kVectors == 2) return halves_from(x[0], x[1]);
    return VHalves{_mm512_castsi256_si512(halves_of(x[0]))};
  }
  HWY_ATTR HWY_INLINE void store(VHalves x, BFloat16* to) const {
    hn::BlendedStore(x, words, DWord(), reinterpret_cast<uint16_t*>(to));
  }
  HWY_ATTR HWY_INLINE void store(const V (&x)[kVectors], BFloat16* to) const {
    if constexpr (kHalf) {
      store(joined(x), to);
    } else if constexpr (kVectors == 1) {
      store_first(x[0], first[0], to);
    } else {
      hn::BlendedStore(narrowed_pair(x[0], x[1]), words, DWord(), reinterpret_cast<uint16_t*>(to));
    }
  }
};

// activation(x, v): of vector v of a row. Calls put(row of results, its vectors) for rows [p.done, end).
template <int kVectors, bool kResidual, class Columns, class Activation, class Put>
HWY_ATTR HWY_INLINE void finish_columns_of(const AmxPending& p, int64_t end, const Columns& columns,
                                           const Activation& activation, const Put& put) {
  const float* const sums = p.sums;
  for (int64_t i = p.done; i < end; ++i) {
    const float* sum = sums + p.rows[i] * kVectors * kAmxRows;
    V x[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      x[v] = hn::Add(hn::Load(D(), sum + v * kAmxRows), columns.bias[v]);
      if constexpr (kResidual) {
        const V r = load_first(columns.residual[v], p.residual + i * p.residual_stride + v * kAmxRows);
        x[v] = p.residual_last ? hn::Add(activation(x[v], v), r) : activation(hn::Add(x[v], r), v);
      } else {
        x[v] = activation(x[v], v);
      }
    }
    put(i, x);
  }
}

// Curves over all rows at once, whose sums stand in L1 meanwhile.
template <int kVectors, class Columns>
HWY_ATTR void finish_curve(AmxPending& p, int64_t end, const Columns& columns) {
  alignas(64) float some[AmxPending::kMaxSums];
  constexpr int64_t kRow = kVectors * kAmxRows;
  const int64_t first = p.done;
  const auto sum_alone = [](V x, int) HWY_ATTR { return x; };
  const auto keep = [&](int64_t i, const V(&x)[kVectors]) HWY_ATTR {
    for (int v = 0; v < kVectors; ++v) hn::Store(x[v], D(), some + (i - first) * kRow + v * kAmxRows);
  };
  const bool adds_before = p.residual != nullptr && !p.residual_last;
  if (adds_before) {
    finish_columns_of<kVectors, true>(p, end, columns, sum_alone, keep);
  } else {
    finish_columns_of<kVectors, false>(p, end, columns, sum_alone, keep);
  }
  curve_block(p.gate, some, (end - first) * kRow);
  for (int64_t i = first; i < end; ++i) {
    V x[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      x[v] = hn::Load(D(), some + (i - first) * kRow + v * kAmxRows);
      if (p.residual == nullptr || adds_before) continue;
      x[v] = hn::Add(x[v], load_first(columns.residual[v], p.residual + i * p.residual_stride + v * kAmxRows));
    }
    columns.store(x, p.out + i * p.out_stride);
  }
}

// A swish whose results are float16 next. Sums that only float16 has not are small results of it, and no reason for a
// strip to be made again; infinite ones, of which float32 makes NaN and not 0 where they are negative, stay no numbers.
template <int kVectors>
HWY_ATTR void finish_half_swish(AmxPending& p, int64_t end, const PendingColumns<kVectors, true>& columns) {
  const HalfSwish swish;
  const V least = hn::Set(D(), -60000), zero = hn::Zero(D());
  const auto bounded = [&](V x, int) HWY_ATTR { return hn::MulAdd(x, zero, hn::Max(least, x)); };
  const auto put = [&](int64_t i, const V(&x)[kVectors])
                       HWY_ATTR { columns.store(swish(columns.joined(x)), p.out + i * p.out_stride); };
  finish_columns_of<kVectors, false>(p, end, columns, bounded, put);
}

template <int kVectors, bool kResidual, class Columns>
HWY_ATTR void finish_clamped(AmxPending& p, int64_t end, const Columns& columns) {
  const V lo = hn::Set(D(), p.lo), hi = hn::Set(D(), p.hi);
  const auto bounded = [&](V x, int) HWY_ATTR { return clamped(x, lo, hi); };
  const auto put = [&](int64_t i, const V(&x)[kVectors]) HWY_ATTR { columns.store(x, p.out + i * p.out_stride); };
  finish_columns_of<kVectors, kResidual>(p, end, columns, bounded, put);
}

template <int kVectors, bool kResidual, class Columns>
HWY_ATTR void finish_part(AmxPending& p, int64_t end, const Columns& columns) {
  const D d;
  const auto put = [&](int64_t i, const V(&x)[kVectors]) HWY_ATTR { columns.store(x, p.out + i * p.out_stride); };
  if (p.slope != nullptr) {
    V slope[kVectors];
    for (int v = 0; v < kVectors; ++v) slope[v] = load_first(columns.first[v], p.slope + v * kAmxRows);
    const auto bent = [&](V x, int v)
                          HWY_ATTR { return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x, hn::Mul(x, slope[v])); };
    return finish_columns_of<kVectors, kResidual>(p, end, columns, bent, put);
  }
  if (p.gate.used()) {
    const GateVectors gate = gate_vectors(p.gate);
    const auto opened = [&](V x, int) HWY_ATTR {
      return hn::Mul(x, hn::Min(hn::Max(hn::MulAdd(x, gate.scale, gate.shift), hn::Zero(d)), gate.hi));
    };
    return finish_columns_of<kVectors, kResidual>(p, end, columns, opened, put);
  }
  finish_clamped<kVectors, kResidual>(p, end, columns);
}

template <int kVectors, bool kHalf>
HWY_ATTR void finish_vectors(AmxPending& p, int64_t end) {
  const PendingColumns<kVectors, kHalf> columns(p);
  if constexpr (kHalf) {  // such results have no residual
    if (p.gate.curve == Curve::kSwish && p.gate.coarse) return finish_half_swish<kVectors>(p, end, columns);
  }
  if (p.gate.curve != Curve::kNone) return finish_curve<kVectors>(p, end, columns);
  if constexpr (!kHalf) {
    if (p.residual != nullptr) return finish_part<kVectors, true>(p, end, columns);
  }
  finish_part<kVectors, false>(p, end, columns);
}

// Rows up to `end` of results.
HWY_ATTR HWY_NOINLINE inline void finish_any(AmxPending& p, int64_t end) {
  if (p.to_half) {
    p.vectors == 1 ? finish_vectors<1, true>(p, end) : finish_vectors<2, true>(p, end);
  } else {
    p.vectors == 1 ? finish_vectors<1, false>(p, end) : finish_vectors<2, false>(p, end);
  }
  p.done = end;
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
