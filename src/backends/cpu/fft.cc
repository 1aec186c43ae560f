// The passes of Stockham's algorithm, which sorts as it goes, and what turns halves of real transforms into whole ones.
#include "backends/cpu/fft.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/fft.cc"
#include "hwy/foreach_target.h"
// After foreach_target, which decides what highway.h compiles for.
#include "backends/cpu/matrix/simd_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kMostRadix = 61;

HWY_ATTR int64_t fft_lanes() { return static_cast<int64_t>(hn::Lanes(D())); }

// A complex number a lane.
struct Complex {
  V re, im;
};
HWY_ATTR HWY_INLINE Complex operator+(Complex a, Complex b) { return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)}; }
HWY_ATTR HWY_INLINE Complex operator-(Complex a, Complex b) { return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)}; }
HWY_ATTR HWY_INLINE Complex conj(Complex a) { return {a.re, hn::Neg(a.im)}; }
HWY_ATTR HWY_INLINE Complex times(Complex a, float re, float im) {
  const V c = hn::Set(D(), re), s = hn::Set(D(), im);
  return {hn::NegMulAdd(a.im, s, hn::Mul(a.re, c)), hn::MulAdd(a.re, s, hn::Mul(a.im, c))};
}
HWY_ATTR HWY_INLINE Complex scaled(Complex a, float factor) { return times(a, factor, 0); }

// Vectors of real and of imaginary parts.
struct Buffer {
  float *re, *im;
  HWY_ATTR HWY_INLINE Complex load(int64_t k) const {
    return {hn::Load(D(), re + k * fft_lanes()), hn::Load(D(), im + k * fft_lanes())};
  }
  HWY_ATTR HWY_INLINE void store(int64_t k, Complex v) const {
    hn::Store(v.re, D(), re + k * fft_lanes());
    hn::Store(v.im, D(), im + k * fft_lanes());
  }
};

// The sums of a[j] * exp(-2 pi i j k / radix), over the first entries of `a`.
HWY_ATTR HWY_INLINE void butterfly_2(Complex* a) {
  const Complex sum = a[0] + a[1];
  a[1] = a[0] - a[1];
  a[0] = sum;
}
HWY_ATTR HWY_INLINE void butterfly_4(Complex* a) {
  const Complex even = a[0] + a[2], even_difference = a[0] - a[2];
  const Complex odd = a[1] + a[3], difference = a[1] - a[3];
  const Complex turned = {difference.im, hn::Neg(difference.re)};
  a[0] = even + odd;
  a[2] = even - odd;
  a[1] = even_difference + turned;
  a[3] = even_difference - turned;
}
// Any odd radix: entries j and radix - j meet cosines that are equal and sines that are opposite.
HWY_ATTR HWY_INLINE void butterfly_odd(Complex* a, int64_t radix, const float* cosines, const float* sines) {
  Complex sum[kMostRadix / 2 + 1], difference[kMostRadix / 2 + 1];
  const Complex first = a[0];
  Complex all = first;
  const int64_t half = radix / 2;
  for (int64_t j = 1; j <= half; ++j) {
    sum[j] = a[j] + a[radix - j];
    difference[j] = a[j] - a[radix - j];
    all = all + sum[j];
  }
  a[0] = all;
  for (int64_t k = 1; k <= half; ++k) {
    Complex even = first, odd = {hn::Zero(D()), hn::Zero(D())};
    for (int64_t j = 1; j <= half; ++j) {
      const V c = hn::Set(D(), cosines[j * k % radix]), s = hn::Set(D(), sines[j * k % radix]);
      even = {hn::MulAdd(sum[j].re, c, even.re), hn::MulAdd(sum[j].im, c, even.im)};
      odd = {hn::MulAdd(difference[j].im, s, odd.re), hn::NegMulAdd(difference[j].re, s, odd.im)};
    }
    a[k] = even + odd;
    a[radix - k] = even - odd;
  }
}

template <int64_t kRadix>
HWY_ATTR void run_pass(const FftPass& pass, const float* turns, Buffer x, Buffer y) {
  const int64_t radix = kRadix > 0 ? kRadix : pass.radix;
  float cosines[kMostRadix], sines[kMostRadix];
  for (int64_t k = 0; radix % 2 == 1 && k < radix; ++k) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(radix);
    cosines[k] = static_cast<float>(std::cos(angle));
    sines[k] = static_cast<float>(std::sin(angle));
  }
  Complex a[kRadix > 0 ? kRadix : kMostRadix];
  for (int64_t p = 0; p < pass.groups; ++p, turns += 2 * (radix - 1)) {
    for (int64_t q = 0; q < pass.stride; ++q) {
      for (int64_t j = 0; j < radix; ++j) a[j] = x.load(q + pass.stride * (p + j * pass.groups));
      if constexpr (kRadix == 2) {
        butterfly_2(a);
      } else if constexpr (kRadix == 4) {
        butterfly_4(a);
      } else {
        butterfly_odd(a, radix, cosines, sines);
      }
      y.store(q + pass.stride * radix * p, a[0]);
      for (int64_t k = 1; k < radix; ++k) {
        y.store(q + pass.stride * (radix * p + k), times(a[k], turns[2 * k - 2], turns[2 * k - 1]));
      }
    }
  }
}

// The transform of `x`, in one of the two buffers.
HWY_ATTR Buffer transform(const FftPlan& plan, Buffer x, Buffer y) {
  for (const FftPass& pass : plan.passes) {
    const float* turns = plan.turns.data() + pass.turns;
    switch (pass.radix) {
      case 2:
        run_pass<2>(pass, turns, x, y);
        break;
      case 3:
        run_pass<3>(pass, turns, x, y);
        break;
      case 4:
        run_pass<4>(pass, turns, x, y);
        break;
      case 5:
        run_pass<5>(pass, turns, x, y);
        break;
      default:
        run_pass<0>(pass, turns, x, y);
        break;
    }
    std::swap(x, y);
  }
  return x;
}

constexpr int64_t kBlock = 16;  // numbers of a row that are moved together: whole cache lines

// Vector k of `to`: number begin + k * step of each row, for k < entries; what a row lacks is 0.
HWY_ATTR void load_rows(const float* in, int64_t row, int64_t have, int64_t count, int64_t begin, int64_t step,
                        int64_t entries, float* to) {
  const int64_t lanes = fft_lanes(),
                there = in == nullptr ? 0 : std::clamp<int64_t>((have - begin + step - 1) / step, 0, entries);
  std::fill(to + there * lanes, to + entries * lanes, 0.0f);
  if (count < lanes) std::fill_n(to, there * lanes, 0.0f);
  for (int64_t first = 0; first < there; first += kBlock) {
    const int64_t last = std::min(there, first + kBlock);
    for (int64_t r = 0; r < count; ++r) {
      const float* from = in + r * row + begin;
      for (int64_t k = first; k < last; ++k) to[k * lanes + r] = from[k * step];
    }
  }
}

// The other way round, times `factor`.
HWY_ATTR void store_rows(const float* from, float factor, int64_t entries, int64_t count, int64_t begin, int64_t step,
                         float* out, int64_t row) {
  const int64_t lanes = fft_lanes();
  for (int64_t first = 0; first < entries; first += kBlock) {
    const int64_t last = std::min(entries, first + kBlock);
    for (int64_t r = 0; r < count; ++r) {
      float* to = out + r * row + begin;
      for (int64_t k = first; k < last; ++k) to[k * step] = from[k * lanes + r] * factor;
    }
  }
}

// Of z[k] = x[2k] + i x[2k+1], whose transform is `z` of n / 2 entries: entries [0, n / 2] of the transform of x, where
// entry n / 2 takes the place behind the last.
HWY_ATTR void unfold_spectrum(const FftPlan& plan, Buffer z, Buffer to) {
  const int64_t half = plan.inner;
  const Complex first = z.load(0);
  const V zero = hn::Zero(D());
  to.store(0, {hn::Add(first.re, first.im), zero});
  to.store(half, {hn::Sub(first.re, first.im), zero});
  for (int64_t k = 1; k < half; ++k) {
    const Complex a = z.load(k), b = conj(z.load(half - k));
    const Complex turned = times(a - b, plan.ends[2 * k], plan.ends[2 * k + 1]);
    to.store(k, scaled(a + b + Complex{turned.im, hn::Neg(turned.re)}, 0.5f));
  }
}

// The inverse: `x` has n / 2 + 1 entries; z is made with real and imaginary parts exchanged, so that a forward
// transform of it is the inverse one, and stands n / 2 times too large.
HWY_ATTR void fold_spectrum(const FftPlan& plan, Buffer x, Buffer z) {
  const int64_t half = plan.inner;
  const V first = x.load(0).re, last = x.load(half).re;
  z.store(0, scaled({hn::Sub(first, last), hn::Add(first, last)}, 0.5f));
  for (int64_t k = 1; k < half; ++k) {
    const Complex a = x.load(k), b = conj(x.load(half - k));
    const Complex odd = times(a - b, plan.ends[2 * k], -plan.ends[2 * k + 1]);
    const Complex sum = a + b + Complex{hn::Neg(odd.im), odd.re};
    z.store(k, scaled({sum.im, sum.re}, 0.5f));
  }
}

HWY_ATTR void load_parts(const FftInput& in, int64_t have, int64_t count, int64_t entries, Buffer to) {
  load_rows(in.re, in.row, have, count, 0, 1, entries, to.re);
  load_rows(in.im, in.row, have, count, 0, 1, entries, to.im);
}
HWY_ATTR void store_parts(Buffer from, float factor, int64_t entries, int64_t count, const FftOutput& out) {
  store_rows(from.re, factor, entries, count, 0, 1, out.re, out.row);
  if (out.im != nullptr) store_rows(from.im, factor, entries, count, 0, 1, out.im, out.row);
}

HWY_ATTR void run_real(const FftPlan& plan, const FftInput& in, int64_t have, const FftOutput& out, int64_t count,
                       Buffer x, Buffer y) {
  have = std::min(have, plan.n);
  if (!plan.halved) {
    load_parts(in, have, count, plan.n, x);
    store_parts(transform(plan, x, y), 1, plan.n / 2 + 1, count, out);
    return;
  }
  load_rows(in.re, in.row, have, count, 0, 2, plan.inner, x.re);
  load_rows(in.re, in.row, have, count, 1, 2, plan.inner, x.im);
  const Buffer z = transform(plan, x, y), whole = z.re == x.re ? y : x;
  unfold_spectrum(plan, z, whole);
  store_parts(whole, 1, plan.n / 2 + 1, count, out);
}

// An inverse transform is a forward one with real and imaginary parts exchanged.
HWY_ATTR void run_real_inverse(const FftPlan& plan, const FftInput& in, int64_t have, const FftOutput& out,
                               int64_t count, Buffer x, Buffer y) {
  const int64_t n = plan.n, spectrum = n / 2 + 1;
  const float shrink = 1.0f / static_cast<float>(plan.inner);
  load_parts(in, std::min(have, spectrum), count, spectrum, x);
  if (plan.halved) {
    fold_spectrum(plan, x, y);
    const Buffer z = transform(plan, y, x);
    store_rows(z.im, shrink, plan.inner, count, 0, 2, out.re, out.row);
    store_rows(z.re, shrink, plan.inner, count, 1, 2, out.re, out.row);
    return;
  }
  x.store(0, {x.load(0).re, hn::Zero(D())});
  for (int64_t k = 1; k < spectrum; ++k) x.store(n - k, conj(x.load(k)));
  const Buffer z = transform(plan, {x.im, x.re}, {y.im, y.re});
  store_rows(z.im, shrink, n, count, 0, 1, out.re, out.row);
}

HWY_ATTR void run_fft(const FftPlan& plan, const FftInput& in, int64_t have, const FftOutput& out, int64_t count,
                      float* scratch) {
  const int64_t part = (plan.inner + 1) * fft_lanes();
  const Buffer x{scratch, scratch + part}, y{scratch + 2 * part, scratch + 3 * part};
  switch (plan.kind) {
    case ir::FftKind::kReal:
      return run_real(plan, in, have, out, count, x, y);
    case ir::FftKind::kRealInverse:
      return run_real_inverse(plan, in, have, out, count, x, y);
    case ir::FftKind::kForward:
      load_parts(in, have, count, plan.n, x);
      return store_parts(transform(plan, x, y), 1, plan.n, count, out);
    case ir::FftKind::kInverse: {
      load_parts(in, have, count, plan.n, x);
      const Buffer z = transform(plan, {x.im, x.re}, {y.im, y.re});
      return store_parts({z.im, z.re}, 1.0f / static_cast<float>(plan.n), plan.n, count, out);
    }
  }
}

}  // namespace

const FftFunctions& fft_functions_here() {
  static constexpr FftFunctions kFunctions = {fft_lanes, run_fft};
  return kFunctions;
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
HWY_EXPORT(fft_functions_here);

namespace {

std::array<float, 2> turn(int64_t k, int64_t n) {
  const double angle = -2 * std::numbers::pi * static_cast<double>(k % n) / static_cast<double>(n);
  return {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
}

int64_t next_radix(int64_t n) {
  for (const int64_t radix : {int64_t{4}, int64_t{2}, int64_t{3}, int64_t{5}}) {
    if (n % radix == 0) return radix;
  }
  for (int64_t p = 7; p * p <= n; p += 2) {
    if (n % p == 0) return p;
  }
  return n;
}

}  // namespace

const FftFunctions& fft_functions() { return HWY_DYNAMIC_DISPATCH(fft_functions_here)(); }

int64_t largest_factor(int64_t n) {
  int64_t largest = 1;
  for (; n > 1; n /= next_radix(n)) largest = std::max(largest, next_radix(n));
  return largest;
}

FftPlan::FftPlan(ir::FftKind kind_of, int64_t length)
    : kind(kind_of),
      n(length),
      halved((kind == ir::FftKind::kReal || kind == ir::FftKind::kRealInverse) && n % 2 == 0),
      inner(halved ? n / 2 : n) {
  int64_t left = inner, stride = 1;
  while (left > 1) {
    const int64_t radix = next_radix(left), groups = left / radix;
    passes.push_back({radix, groups, stride, turns.size()});
    for (int64_t p = 0; p < groups; ++p) {
      for (int64_t k = 1; k < radix; ++k) {
        const auto factor = turn(p * k, left);
        turns.insert(turns.end(), factor.begin(), factor.end());
      }
    }
    left = groups;
    stride *= radix;
  }
  for (int64_t k = 0; halved && k <= n / 2; ++k) {
    const auto factor = turn(k, n);
    ends.insert(ends.end(), factor.begin(), factor.end());
  }
}

}  // namespace blade::backends::cpu
#endif
