// The row functions for each instruction set; tails are done with the scalar tag, so nothing outside a row is touched.
#include "backends/cpu/row_functions.h"

#include <algorithm>
#include <limits>

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/row_functions.cc"
#include "hwy/foreach_target.h"
// After foreach_target, which decides what highway.h compiles for.
#include "backends/cpu/matrix/simd_inl.h"
#include "backends/cpu/pointwise_math_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {
namespace {

HWY_ATTR int64_t lanes() { return static_cast<int64_t>(hn::Lanes(D())); }

// Elements [0, count) of `v`, `fill` after them.
HWY_ATTR HWY_INLINE V keep_first(V v, int64_t count, V fill) {
  return hn::IfThenElse(hn::FirstN(D(), static_cast<size_t>(count)), v, fill);
}

struct SumFold {
  static HWY_ATTR HWY_INLINE V identity() { return hn::Zero(D()); }
  static HWY_ATTR HWY_INLINE V combine(V acc, V x, V) { return hn::Add(acc, x); }
  static HWY_ATTR HWY_INLINE V join(V a, V b) { return hn::Add(a, b); }
  static HWY_ATTR HWY_INLINE float finish(V acc) { return hn::GetLane(hn::SumOfLanes(D(), acc)); }
};
struct SquaresFold : SumFold {
  static HWY_ATTR HWY_INLINE V combine(V acc, V x, V mean) {
    const V d = hn::Sub(x, mean);
    return hn::MulAdd(d, d, acc);
  }
};
struct MaxFold {
  static HWY_ATTR HWY_INLINE V identity() { return hn::Neg(infinity()); }
  static HWY_ATTR HWY_INLINE V combine(V acc, V x, V) { return max_of(acc, x); }
  static HWY_ATTR HWY_INLINE V join(V a, V b) { return max_of(a, b); }
  static HWY_ATTR HWY_INLINE float finish(V acc) {
    if (!hn::AllFalse(D(), hn::IsNaN(acc))) return std::numeric_limits<float>::quiet_NaN();
    return hn::GetLane(hn::MaxOfLanes(D(), acc));
  }
};
struct MinFold {
  static HWY_ATTR HWY_INLINE V identity() { return infinity(); }
  static HWY_ATTR HWY_INLINE V combine(V acc, V x, V) { return min_of(acc, x); }
  static HWY_ATTR HWY_INLINE V join(V a, V b) { return min_of(a, b); }
  static HWY_ATTR HWY_INLINE float finish(V acc) {
    if (!hn::AllFalse(D(), hn::IsNaN(acc))) return std::numeric_limits<float>::quiet_NaN();
    return hn::GetLane(hn::MinOfLanes(D(), acc));
  }
};

// Four accumulators hide the latency and keep rounding errors of long sums small.
template <class Fold>
HWY_ATTR float fold(const float* x, float parameter, int64_t n) {
  const D d;
  const int64_t step = lanes();
  const V p = constant(parameter);
  V a0 = Fold::identity(), a1 = a0, a2 = a0, a3 = a0;
  int64_t i = 0;
  for (; i + 4 * step <= n; i += 4 * step) {
    a0 = Fold::combine(a0, hn::LoadU(d, x + i), p);
    a1 = Fold::combine(a1, hn::LoadU(d, x + i + step), p);
    a2 = Fold::combine(a2, hn::LoadU(d, x + i + 2 * step), p);
    a3 = Fold::combine(a3, hn::LoadU(d, x + i + 3 * step), p);
  }
  for (; i + step <= n; i += step) a0 = Fold::combine(a0, hn::LoadU(d, x + i), p);
  if (i < n) a1 = keep_first(Fold::combine(a1, load_some(d, x + i, n - i), p), n - i, a1);
  return Fold::finish(Fold::join(Fold::join(a0, a1), Fold::join(a2, a3)));
}

HWY_ATTR float row_sum(const float* x, int64_t n) { return fold<SumFold>(x, 0, n); }
HWY_ATTR float row_squares(const float* x, float mean, int64_t n) { return fold<SquaresFold>(x, mean, n); }
HWY_ATTR float row_max(const float* x, int64_t n) { return fold<MaxFold>(x, 0, n); }
HWY_ATTR float row_min(const float* x, int64_t n) { return fold<MinFold>(x, 0, n); }

HWY_ATTR float row_exp_sum(const float* x, float max, float* out, int64_t n) {
  const D d;
  const int64_t step = lanes();
  const V m = constant(max);
  V sum0 = hn::Zero(d), sum1 = sum0;
  int64_t i = 0;
  for (; i + 2 * step <= n; i += 2 * step) {
    const V e0 = exp_of(hn::Sub(hn::LoadU(d, x + i), m)), e1 = exp_of(hn::Sub(hn::LoadU(d, x + i + step), m));
    hn::StoreU(e0, d, out + i);
    hn::StoreU(e1, d, out + i + step);
    sum0 = hn::Add(sum0, e0);
    sum1 = hn::Add(sum1, e1);
  }
  for (; i < n; i += step) {
    const int64_t count = std::min(step, n - i);
    const V e = keep_first(exp_of(hn::Sub(load_some(d, x + i, count), m)), count, hn::Zero(d));
    store_some(e, d, out + i, count);
    sum0 = hn::Add(sum0, e);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
}

constexpr int64_t kRowVectors = 4;  // a row that is held in registers has at most so many

// Rows that fit into kVectors registers. Each is loaded before the one ahead of it is stored: in place, a load that
// touches a part of a vector that was just stored waits for it.
template <int kVectors, bool kLog>
HWY_ATTR void softmax_in_registers(const float* x, int64_t rows, int64_t length, float* out) {
  const D d;
  const int64_t last = (kVectors - 1) * lanes(), tail = length - last;
  V next[kVectors];
  const auto load_next = [&](const float* row) HWY_ATTR {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors - 1; ++i) next[i] = hn::LoadU(d, row + i * lanes());
    next[kVectors - 1] = keep_first(load_some(d, row + last, tail), tail, hn::Neg(infinity()));
  };
  load_next(x);
  for (int64_t r = 0; r < rows; ++r, out += length) {
    V v[kVectors], e[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) v[i] = next[i];
    if (r + 1 < rows) load_next(x += length);
    V max = v[0];
#pragma GCC unroll 4
    for (int i = 1; i < kVectors; ++i) max = hn::Max(max, v[i]);
    max = hn::MaxOfLanes(d, max);  // any number where one is NaN: its own exponential makes the sum NaN
    V sum = hn::Zero(d);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      v[i] = hn::Sub(v[i], max);
      e[i] = exp_of(v[i]);
      sum = hn::Add(sum, e[i]);
    }
    sum = hn::SumOfLanes(d, sum);
    const V factor = kLog ? log_of(sum) : hn::Div(constant(1), sum);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      store_some(kLog ? hn::Sub(v[i], factor) : hn::Mul(e[i], factor), d, out + i * lanes(), length - i * lanes());
    }
  }
}

template <bool kLog>
HWY_ATTR void softmax_of_rows(const float* x, int64_t rows, int64_t length, float* out) {
  using Softmax = void (*)(const float*, int64_t, int64_t, float*);
  static constexpr Softmax kByVectors[kRowVectors] = {softmax_in_registers<1, kLog>, softmax_in_registers<2, kLog>,
                                                      softmax_in_registers<3, kLog>, softmax_in_registers<4, kLog>};
  kByVectors[(length - 1) / lanes()](x, rows, length, out);
}
HWY_ATTR void softmax_rows(const float* x, int64_t rows, int64_t length, bool log, float* out) {
  log ? softmax_of_rows<true>(x, rows, length, out) : softmax_of_rows<false>(x, rows, length, out);
}

HWY_ATTR void row_affine(const float* x, float scale, float shift, float* out, int64_t n) {
  const D d;
  const V s = constant(scale), t = constant(shift);
  for (int64_t i = 0; i < n; i += lanes()) store_some(hn::MulAdd(load_some(d, x + i, n - i), s, t), d, out + i, n - i);
}

HWY_ATTR void row_affine_rows(const float* x, const float* scale, const float* shift, float* out, int64_t n) {
  const D d;
  for (int64_t i = 0; i < n; i += lanes()) {
    const V y = hn::MulAdd(load_some(d, x + i, n - i), load_some(d, scale + i, n - i), load_some(d, shift + i, n - i));
    store_some(y, d, out + i, n - i);
  }
}

HWY_ATTR void row_normalize(const float* x, float mean, float factor, const float* scale, const float* shift,
                            float* out, int64_t n) {
  const D d;
  const V m = constant(mean), f = constant(factor);
  for (int64_t i = 0; i < n; i += lanes()) {
    const V centred = hn::Mul(hn::Sub(load_some(d, x + i, n - i), m), f);
    store_some(hn::MulAdd(centred, load_some(d, scale + i, n - i), load_some(d, shift + i, n - i)), d, out + i, n - i);
  }
}

// The loops below have `kCount` steps over rows or taps, a constant so that they are unrolled; 0: as many as given.
template <int kCount, class Fold, class Load>
HWY_ATTR HWY_INLINE V fold_loaded(int64_t count, Load load) {
  V a = kCount == 0 ? Fold::identity() : load(0);
#pragma GCC unroll 4
  for (int64_t i = kCount == 0 ? 0 : 1; i < (kCount == 0 ? count : kCount); ++i)
    a = Fold::combine(a, load(i), hn::Zero(D()));
  return a;
}

// Elementwise, four vectors of columns at a time.
template <int kCount, class Fold, class T>
HWY_ATTR void fold_rows_of(const T* const* given, int64_t count, float factor, float* out, int64_t n) {
  const D d;
  const int64_t step = lanes();
  const V f = constant(factor);
  const T* own[kCount + 1] = {};  // a copy that no store to `out` can change
  for (int r = 0; r < kCount; ++r) own[r] = given[r];
  const T* const* rows = kCount == 0 ? given : own;
  int64_t i = 0;
  for (; i + 4 * step <= n; i += 4 * step) {
    V a[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v)
      a[v] = fold_loaded<kCount, Fold>(count, [&](int64_t r) HWY_ATTR { return load_all(rows[r] + i + v * step); });
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) hn::StoreU(hn::Mul(a[v], f), d, out + i + v * step);
  }
  for (; i < n; i += step) {
    const V a = fold_loaded<kCount, Fold>(count, [&](int64_t r) HWY_ATTR { return load_some(d, rows[r] + i, n - i); });
    store_some(hn::Mul(a, f), d, out + i, n - i);
  }
}

template <class Fold, class T>
HWY_ATTR void fold_rows(const T* const* rows, int64_t count, float factor, float* out, int64_t n) {
  if (count == 2) return fold_rows_of<2, Fold>(rows, count, factor, out, n);
  if (count == 3) return fold_rows_of<3, Fold>(rows, count, factor, out, n);
  fold_rows_of<0, Fold>(rows, count, factor, out, n);
}

HWY_ATTR void rows_sum(const float* const* rows, int64_t count, float factor, float* out, int64_t n) {
  fold_rows<SumFold>(rows, count, factor, out, n);
}
HWY_ATTR void rows_squares(const float* const* rows, int64_t count, const float* mean, float* out, int64_t n) {
  const D d;
  for (int64_t i = 0; i < n; i += lanes()) {
    const V m = load_some(d, mean + i, n - i);
    V a = hn::Zero(d);
    for (int64_t r = 0; r < count; ++r) a = SquaresFold::combine(a, load_some(d, rows[r] + i, n - i), m);
    store_some(a, d, out + i, n - i);
  }
}
HWY_ATTR void rows_max(const float* const* rows, int64_t count, float* out, int64_t n) {
  fold_rows<MaxFold>(rows, count, 1, out, n);
}
HWY_ATTR void rows_min(const float* const* rows, int64_t count, float* out, int64_t n) {
  fold_rows<MinFold>(rows, count, 1, out, n);
}

HWY_ATTR void rows_sum_bf16(const BFloat16* const* rows, int64_t count, float factor, float* out, int64_t n) {
  fold_rows<SumFold>(rows, count, factor, out, n);
}
HWY_ATTR void rows_max_bf16(const BFloat16* const* rows, int64_t count, float* out, int64_t n) {
  fold_rows<MaxFold>(rows, count, 1, out, n);
}

template <int kCount, class T>
HWY_ATTR void weigh_rows_of(const T* const* given, const float* weights, int64_t count, float* out, int64_t n) {
  const D d;
  const T* own[kCount + 1] = {};
  V factors[kCount + 1];
  for (int r = 0; r < kCount; ++r) {
    own[r] = given[r];
    factors[r] = constant(weights[r]);
  }
  const T* const* rows = kCount == 0 ? given : own;
  int64_t i = 0;
  for (; i + lanes() <= n; i += lanes()) {
    V a = hn::Zero(d);
#pragma GCC unroll 4
    for (int64_t r = 0; r < (kCount == 0 ? count : kCount); ++r)
      a = hn::MulAdd(kCount == 0 ? constant(weights[r]) : factors[kCount == 0 ? 0 : r], load_all(rows[r] + i), a);
    hn::StoreU(a, d, out + i);
  }
  if (i == n) return;
  V a = hn::Zero(d);
  for (int64_t r = 0; r < count; ++r) a = hn::MulAdd(constant(weights[r]), load_some(d, rows[r] + i, n - i), a);
  store_some(a, d, out + i, n - i);
}

template <class T>
HWY_ATTR void weigh_rows(const T* const* rows, const float* weights, int64_t count, float* out, int64_t n) {
  if (count == 2) return weigh_rows_of<2>(rows, weights, count, out, n);
  weigh_rows_of<0>(rows, weights, count, out, n);
}

HWY_ATTR void rows_weighted(const float* const* rows, const float* weights, int64_t count, float* out, int64_t n) {
  weigh_rows(rows, weights, count, out, n);
}
HWY_ATTR void rows_weighted_bf16(const BFloat16* const* rows, const float* weights, int64_t count, float* out,
                                 int64_t n) {
  weigh_rows(rows, weights, count, out, n);
}

template <int kTaps, class Fold>
HWY_ATTR void fold_windows_of(const float* row, int64_t step, int64_t taps, float factor, float* out, int64_t outputs,
                              int64_t channels) {
  const D d;
  const V f = constant(factor);
  for (int64_t x = 0; x < outputs; ++x, row += step, out += channels) {
    int64_t c = 0;
    for (; c + lanes() <= channels; c += lanes()) {
      const V a =
          fold_loaded<kTaps, Fold>(taps, [&](int64_t t) HWY_ATTR { return hn::LoadU(d, row + t * channels + c); });
      hn::StoreU(hn::Mul(a, f), d, out + c);
    }
    if (c == channels) continue;
    const V a = fold_loaded<kTaps, Fold>(
        taps, [&](int64_t t) HWY_ATTR { return load_some(d, row + t * channels + c, channels - c); });
    store_some(hn::Mul(a, f), d, out + c, channels - c);
  }
}

template <class Fold>
HWY_ATTR void fold_windows(const float* row, int64_t step, int64_t taps, float factor, float* out, int64_t outputs,
                           int64_t channels) {
  if (taps == 2) return fold_windows_of<2, Fold>(row, step, taps, factor, out, outputs, channels);
  if (taps == 3) return fold_windows_of<3, Fold>(row, step, taps, factor, out, outputs, channels);
  fold_windows_of<0, Fold>(row, step, taps, factor, out, outputs, channels);
}

HWY_ATTR void windows_sum(const float* row, int64_t step, int64_t taps, float factor, float* out, int64_t outputs,
                          int64_t channels) {
  fold_windows<SumFold>(row, step, taps, factor, out, outputs, channels);
}
HWY_ATTR void windows_max(const float* row, int64_t step, int64_t taps, float* out, int64_t outputs, int64_t channels) {
  fold_windows<MaxFold>(row, step, taps, 1, out, outputs, channels);
}

// ---- Maxima of bfloat16 as integers: twice as many to a vector, and no rounding.
using DOrdered = hn::ScalableTag<int16_t>;
using VOrdered = hn::Vec<DOrdered>;
constexpr int16_t kNegativeNaNs = 0x7f;  // so many integers lie below that of -infinity

// Integers in the order of the numbers, any NaN behind infinity so that it wins: those with a sign wrap around.
HWY_ATTR HWY_INLINE VOrdered ordered(VOrdered bits) {
  const DOrdered d;
  const VOrdered magnitude = hn::And(hn::BroadcastSignBit(bits), hn::Set(d, 0x7fff));
  return hn::Sub(hn::Xor(bits, magnitude), hn::Set(d, kNegativeNaNs));
}
HWY_ATTR HWY_INLINE VOrdered from_ordered(VOrdered order) {
  const DOrdered d;
  const VOrdered bits = hn::Add(order, hn::Set(d, kNegativeNaNs));
  return hn::Xor(bits, hn::And(hn::BroadcastSignBit(bits), hn::Set(d, 0x7fff)));
}

// The first `count` of a vector, zeros after them.
HWY_ATTR HWY_INLINE VOrdered load_first(const int16_t* from, int64_t count) {
  const DOrdered d;
#if HWY_TARGET == HWY_AVX3
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count)), d, from);
#else
  HWY_ALIGN int16_t lane[HWY_MAX_BYTES / sizeof(int16_t)] = {};
  std::copy_n(from, count, lane);
  return hn::Load(d, lane);
#endif
}
HWY_ATTR HWY_INLINE void store_first(VOrdered v, int16_t* to, int64_t count) {
  const DOrdered d;
#if HWY_TARGET == HWY_AVX3
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(count)), d, to);
#else
  HWY_ALIGN int16_t lane[HWY_MAX_BYTES / sizeof(int16_t)];
  hn::Store(v, d, lane);
  std::copy_n(lane, count, to);
#endif
}

HWY_ATTR HWY_INLINE const int16_t* bits_of(const BFloat16* x) { return reinterpret_cast<const int16_t*>(x); }

HWY_ATTR void rows_max_ordered(const BFloat16* const* rows, int64_t count, int16_t* out, int64_t n) {
  const DOrdered d;
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + step <= n; i += step) {
    VOrdered a = ordered(hn::LoadU(d, bits_of(rows[0] + i)));
    for (int64_t r = 1; r < count; ++r) a = hn::Max(a, ordered(hn::LoadU(d, bits_of(rows[r] + i))));
    hn::StoreU(a, d, out + i);
  }
  if (i == n) return;
  VOrdered a = ordered(load_first(bits_of(rows[0] + i), n - i));
  for (int64_t r = 1; r < count; ++r) a = hn::Max(a, ordered(load_first(bits_of(rows[r] + i), n - i)));
  store_first(a, out + i, n - i);
}

HWY_ATTR void windows_max_ordered(const int16_t* row, int64_t step, int64_t taps, BFloat16* out, int64_t outputs,
                                  int64_t channels) {
  const DOrdered d;
  const auto lanes_of_16 = static_cast<int64_t>(hn::Lanes(d));
  auto* to = reinterpret_cast<int16_t*>(out);
  for (int64_t x = 0; x < outputs; ++x, row += step, to += channels) {
    int64_t c = 0;
    for (; c + lanes_of_16 <= channels; c += lanes_of_16) {
      VOrdered a = hn::LoadU(d, row + c);
      for (int64_t t = 1; t < taps; ++t) a = hn::Max(a, hn::LoadU(d, row + t * channels + c));
      hn::StoreU(from_ordered(a), d, to + c);
    }
    if (c == channels) continue;
    const int64_t left = channels - c;
    VOrdered a = load_first(row + c, left);
    for (int64_t t = 1; t < taps; ++t) a = hn::Max(a, load_first(row + t * channels + c, left));
    store_first(from_ordered(a), to + c, left);
  }
}

// Two neighbours a pixel, as bilinear resizing has it.
HWY_ATTR void pixels_between(const float* row, const int64_t* positions, const float* weights, float* out,
                             int64_t outputs, int64_t channels) {
  const D d;
  for (int64_t x = 0; x < outputs; ++x, positions += 2, weights += 2, out += channels) {
    const V first = constant(weights[0]), second = constant(weights[1]);
    const float *a = row + positions[0] * channels, *b = row + positions[1] * channels;
    int64_t c = 0;
    for (; c + lanes() <= channels; c += lanes())
      hn::StoreU(hn::MulAdd(second, hn::LoadU(d, b + c), hn::Mul(first, hn::LoadU(d, a + c))), d, out + c);
    if (c == channels) continue;
    const int64_t left = channels - c;
    store_some(hn::MulAdd(second, load_some(d, b + c, left), hn::Mul(first, load_some(d, a + c, left))), d, out + c,
               left);
  }
}

HWY_ATTR void pixels_weighted(const float* row, const int64_t* positions, const float* weights, int64_t taps,
                              float* out, int64_t outputs, int64_t channels) {
  if (taps == 2) return pixels_between(row, positions, weights, out, outputs, channels);
  const D d;
  for (int64_t x = 0; x < outputs; ++x, positions += taps, weights += taps, out += channels) {
    int64_t c = 0;
    for (; c + lanes() <= channels; c += lanes()) {
      V a = hn::Zero(d);
      for (int64_t t = 0; t < taps; ++t) {
        a = hn::MulAdd(constant(weights[t]), hn::LoadU(d, row + positions[t] * channels + c), a);
      }
      hn::StoreU(a, d, out + c);
    }
    if (c == channels) continue;
    V a = hn::Zero(d);
    for (int64_t t = 0; t < taps; ++t) {
      a = hn::MulAdd(constant(weights[t]), load_some(d, row + positions[t] * channels + c, channels - c), a);
    }
    store_some(a, d, out + c, channels - c);
  }
}

template <int kRows>
HWY_ATTR HWY_INLINE void some_dots(const float* x, const float* rows, int64_t pitch, float* out, int64_t n) {
  const D d;
  V sum[kRows];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) sum[i] = hn::Zero(d);
  for (int64_t k = 0; k < n; k += lanes()) {
    const V of_x = load_some(d, x + k, n - k);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) sum[i] = hn::MulAdd(of_x, load_some(d, rows + i * pitch + k, n - k), sum[i]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) out[i] = hn::GetLane(hn::SumOfLanes(d, sum[i]));
}

HWY_ATTR void dots(const float* x, const float* rows, int64_t pitch, int64_t count, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) some_dots<4>(x, rows + i * pitch, pitch, out + i, n);
  for (; i < count; ++i) some_dots<1>(x, rows + i * pitch, pitch, out + i, n);
}

// Columns of combine(): several sums of each where there are few.
template <int kVectors>
HWY_ATTR void combine_columns(const float* weights, const float* rows, int64_t pitch, int64_t count, float factor,
                              float* out, int64_t n) {
  constexpr int kChains = 4 / kVectors;
  const D d;
  V sum[kChains][kVectors];
#pragma GCC unroll 4
  for (auto& chain : sum) {
#pragma GCC unroll 4
    for (V& part : chain) part = hn::Zero(d);
  }
  const auto add = [&](V(&chain)[kVectors], int64_t i) HWY_ATTR {
    const V weight = constant(weights[i]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = v * lanes();
      chain[v] = hn::MulAdd(weight, load_some(d, rows + i * pitch + at, n - at), chain[v]);
    }
  };
  int64_t i = 0;
  for (; i + kChains <= count; i += kChains) {
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) add(sum[c], i + c);
  }
  for (; i < count; ++i) add(sum[0], i);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 4
    for (int c = 1; c < kChains; ++c) sum[0][v] = hn::Add(sum[0][v], sum[c][v]);
    store_some(hn::Mul(sum[0][v], constant(factor)), d, out + v * lanes(), n - v * lanes());
  }
}

HWY_ATTR void combine(const float* weights, const float* rows, int64_t pitch, int64_t count, float factor, float* out,
                      int64_t n) {
  for (int64_t k = 0; k < n; k += 4 * lanes()) {
    const int64_t columns = std::min(n - k, 4 * lanes());
    const auto take = columns > 2 * lanes() ? combine_columns<4>
                      : columns > lanes()   ? combine_columns<2>
                                            : combine_columns<1>;
    take(weights, rows + k, pitch, count, factor, out + k, columns);
  }
}

HWY_ATTR void add_to(const float* x, float* acc, int64_t n) {
  const D d;
  for (int64_t i = 0; i < n; i += lanes()) {
    store_some(hn::Add(load_some(d, acc + i, n - i), load_some(d, x + i, n - i)), d, acc + i, n - i);
  }
}

HWY_ATTR HWY_INLINE V lrn_factor(V base, float beta) {
  if (beta == 0.5f) return hn::Div(constant(1), hn::Sqrt(base));
  if (beta == 1) return hn::Div(constant(1), base);
  const V root = hn::Sqrt(base);
  if (beta == 0.75f) return hn::Div(constant(1), hn::Mul(root, hn::Sqrt(root)));
  return exp_of(hn::Mul(constant(-beta), log_of(base)));
}

HWY_ATTR void row_lrn(const float* x, const LrnRow& attrs, float* out, int64_t n) {
  constexpr int64_t kChunk = 512;
  const D d;
  const int64_t step = lanes(), taps = 2 * attrs.radius + 1;
  // Of the chunk and what lies up to a radius before and behind it; zeros outside of the row.
  HWY_ALIGN float squares[kChunk + 2 * kMostLrnRadius + HWY_MAX_BYTES / sizeof(float)] = {};
  for (int64_t first = 0; first < n; first += kChunk) {
    const int64_t count = std::min(kChunk, n - first), origin = first - attrs.radius;
    const int64_t from = std::max<int64_t>(0, origin), to = std::min(n, first + count + attrs.radius);
    std::fill(squares, squares + (from - origin), 0.0f);
    for (int64_t c = from; c < to; ++c) squares[c - origin] = x[c] * x[c];
    std::fill(squares + (to - origin), squares + count + 2 * attrs.radius, 0.0f);
    for (int64_t c = 0; c < count; c += step) {
      V sum = hn::Zero(d);
      for (int64_t k = 0; k < taps; ++k) sum = hn::Add(sum, hn::LoadU(d, squares + c + k));
      const V factor = lrn_factor(hn::MulAdd(constant(attrs.alpha), sum, constant(attrs.bias)), attrs.beta);
      if (c + step <= count) {
        hn::StoreU(hn::Mul(hn::LoadU(d, x + first + c), factor), d, out + first + c);
        continue;
      }
      HWY_ALIGN float lane[HWY_MAX_BYTES / sizeof(float)];
      hn::Store(factor, d, lane);
      for (int64_t i = 0; i < count - c; ++i) out[first + c + i] = x[first + c + i] * lane[i];
    }
  }
}

}  // namespace

const RowFunctions& functions_of_target() {
  static constexpr RowFunctions kFunctions = {row_sum,
                                              row_squares,
                                              row_max,
                                              row_min,
                                              row_exp_sum,
                                              row_affine,
                                              row_affine_rows,
                                              row_normalize,
                                              rows_sum,
                                              rows_squares,
                                              rows_max,
                                              rows_min,
                                              rows_weighted,
                                              rows_sum_bf16,
                                              rows_max_bf16,
                                              rows_weighted_bf16,
                                              windows_sum,
                                              windows_max,
                                              rows_max_ordered,
                                              windows_max_ordered,
                                              pixels_weighted,
                                              dots,
                                              combine,
                                              row_lrn,
                                              add_to,
                                              softmax_rows,
                                              kRowVectors * HWY_MAX_BYTES / sizeof(float)};
  return kFunctions;
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
namespace {
HWY_EXPORT(functions_of_target);
}  // namespace

const RowFunctions& row_functions() { return HWY_DYNAMIC_DISPATCH(functions_of_target)(); }

}  // namespace blade::backends::cpu
#endif  // HWY_ONCE
