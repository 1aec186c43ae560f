// The conversions for each instruction set.
#include "backends/cpu/matrix/convert.h"

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/convert.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

template <class From, class To>
HWY_ATTR void convert_rows(const From* from, To* to, int64_t count) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store_all(load_all(from + i), to + i);
  if (i < count) store_some(load_some(d, from + i, count - i), d, to + i, count - i);
}

HWY_ATTR void widen_row(const BFloat16* from, float* to, int64_t count) { convert_rows(from, to, count); }
HWY_ATTR void narrow_row(const float* from, BFloat16* to, int64_t count) {
#if HWY_TARGET == HWY_AVX3
  static const bool native = rounds_natively();
  if (native) {
    const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store_natively(load_all(from + i), to + i);
    if (i < count) store_some_natively(load_some(D(), from + i, count - i), to + i, count - i);
    return;
  }
#endif
  convert_rows(from, to, count);
}

namespace {

// Numbers of the channels of a vector, or of the last `left` of a row.
struct WholeVector {
  int64_t c;
  HWY_ATTR HWY_INLINE V operator()(const float* numbers) const { return hn::LoadU(D(), numbers + c); }
};
struct RowEnd {
  int64_t c, left;
  HWY_ATTR HWY_INLINE V operator()(const float* numbers) const { return load_some(D(), numbers + c, left); }
};

struct Scaled {
  const float* factors;
  template <class Numbers>
  HWY_ATTR HWY_INLINE V operator()(V x, const Numbers& numbers) const {
    return hn::Mul(x, numbers(factors));
  }
};

// NaN stays.
struct Affine {
  const ChannelAffine& a;
  template <class Numbers>
  HWY_ATTR HWY_INLINE V operator()(V x, const Numbers& numbers) const {
    const D d;
    const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi), y = hn::MulAdd(x, numbers(a.scale), numbers(a.shift));
    const V above = hn::IfThenElse(hn::Lt(y, lo), lo, y);
    return hn::IfThenElse(hn::Gt(above, hi), hi, above);
  }
};

// kNatively: see rounds_natively().
template <bool kNatively>
HWY_ATTR HWY_INLINE void store_rounded(V x, BFloat16* to) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kNatively) return store_natively(x, to);
#endif
  store_all(x, to);
}
template <bool kNatively>
HWY_ATTR HWY_INLINE void store_some_rounded(V x, BFloat16* to, int64_t count) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kNatively) return store_some_natively(x, to, count);
#endif
  store_some(x, D(), to, count);
}

template <bool kNatively, class Change>
HWY_ATTR void change_rows_by(const BFloat16* from, const Change& change, BFloat16* to, int64_t rows, int64_t channels) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < rows; ++row, from += channels, to += channels) {
    int64_t c = 0;
    for (; c + lanes <= channels; c += lanes)
      store_rounded<kNatively>(change(load_all(from + c), WholeVector{c}), to + c);
    if (c == channels) continue;
    const int64_t left = channels - c;
    store_some_rounded<kNatively>(change(load_some(d, from + c, left), RowEnd{c, left}), to + c, left);
  }
}

template <class Change>
HWY_ATTR void change_rows(const BFloat16* from, const Change& change, BFloat16* to, int64_t rows, int64_t channels) {
#if HWY_TARGET == HWY_AVX3
  static const bool native = rounds_natively();
  if (native) return change_rows_by<true>(from, change, to, rows, channels);
#endif
  change_rows_by<false>(from, change, to, rows, channels);
}

}  // namespace

HWY_ATTR void scale_all_rows(const BFloat16* from, const float* factors, BFloat16* to, int64_t rows, int64_t channels) {
  change_rows(from, Scaled{factors}, to, rows, channels);
}
HWY_ATTR void affine_all_rows(const BFloat16* from, const ChannelAffine& a, BFloat16* to, int64_t rows,
                              int64_t channels) {
  change_rows(from, Affine{a}, to, rows, channels);
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
HWY_EXPORT(widen_row);
HWY_EXPORT(narrow_row);
HWY_EXPORT(scale_all_rows);
HWY_EXPORT(affine_all_rows);
void widen(const BFloat16* from, float* to, int64_t count) { HWY_DYNAMIC_DISPATCH(widen_row)(from, to, count); }
void narrow(const float* from, BFloat16* to, int64_t count) { HWY_DYNAMIC_DISPATCH(narrow_row)(from, to, count); }
void scale_rows(const BFloat16* from, const float* factors, BFloat16* to, int64_t rows, int64_t channels) {
  HWY_DYNAMIC_DISPATCH(scale_all_rows)(from, factors, to, rows, channels);
}
void affine_rows(const BFloat16* from, const ChannelAffine& affine, BFloat16* to, int64_t rows, int64_t channels) {
  HWY_DYNAMIC_DISPATCH(affine_all_rows)(from, affine, to, rows, channels);
}
}  // namespace blade::backends::cpu
#endif
