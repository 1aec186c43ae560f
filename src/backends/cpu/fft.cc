// The passes of Stockham's algorithm, which sorts as it goes, and what turns halves of real transforms into whole ones.
#include "backends/cpu/fft.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numbers>

#include "backends/cpu/double_fft.h"
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

// The passes over `x`; the result is in one of the two buffers.
HWY_ATTR Buffer run_passes(const FftPlan& plan, Buffer x, Buffer y) {
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

// The transform of `x`, in one of the two buffers.
HWY_ATTR Buffer transform(const FftPlan& plan, Buffer x, Buffer y) {
  if (plan.wide == 0) return run_passes(plan, x, y);
  const float* chirp = plan.chirp.data();
  for (int64_t k = 0; k < plan.inner; ++k) x.store(k, times(x.load(k), chirp[2 * k], chirp[2 * k + 1]));
  const Complex zero = {hn::Zero(D()), hn::Zero(D())};
  for (int64_t k = plan.inner; k < plan.wide; ++k) x.store(k, zero);
  const Buffer a = run_passes(plan, x, y), free = a.re == x.re ? y : x;
  const float* spectrum = plan.chirp_spectrum.data();
  for (int64_t k = 0; k < plan.wide; ++k) a.store(k, times(a.load(k), spectrum[2 * k], spectrum[2 * k + 1]));
  // An inverse transform is a forward one with real and imaginary parts exchanged.
  const Buffer exchanged = run_passes(plan, {a.im, a.re}, {free.im, free.re});
  const Buffer sums = {exchanged.im, exchanged.re};
  for (int64_t k = 0; k < plan.inner; ++k) sums.store(k, times(sums.load(k), chirp[2 * k], chirp[2 * k + 1]));
  return sums;
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
  const int64_t part = plan.entries() * fft_lanes();
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

// --- one row at a time ---

// Parts of a row of complex numbers.
struct Row {
  float *re, *im;
  HWY_ATTR HWY_INLINE Complex load(int64_t k) const { return {hn::LoadU(D(), re + k), hn::LoadU(D(), im + k)}; }
  HWY_ATTR HWY_INLINE Complex load_reversed(int64_t last) const {
    const int64_t first = last - fft_lanes() + 1;
    return {hn::Reverse(D(), hn::LoadU(D(), re + first)), hn::Reverse(D(), hn::LoadU(D(), im + first))};
  }
  HWY_ATTR HWY_INLINE void store(int64_t k, Complex v) const {
    hn::StoreU(v.re, D(), re + k);
    hn::StoreU(v.im, D(), im + k);
  }
};

// The transform of `z`, in place, through `other`.
HWY_ATTR void transform_row(const SplitFft& split, Row z, Row other, float* scratch) {
  const int64_t columns = split.rows.inner, rows = split.columns.inner, lanes = fft_lanes();
  const int64_t part = std::max(split.rows.entries(), split.columns.entries()) * lanes;
  const Buffer x{scratch, scratch + part}, y{scratch + 2 * part, scratch + 3 * part};
  for (int64_t c = 0; c < columns; c += lanes) {
    for (int64_t k = 0; k < rows; ++k) x.store(k, z.load(k * columns + c));
    const Buffer made = transform(split.columns, x, y);
    for (int64_t k = 0; k < rows; ++k) {
      const int64_t at = k * columns + c;
      const V re = hn::LoadU(D(), split.turns_re.data() + at), im = hn::LoadU(D(), split.turns_im.data() + at);
      const Complex v = made.load(k);
      other.store(at, {hn::NegMulAdd(v.im, im, hn::Mul(v.re, re)), hn::MulAdd(v.re, im, hn::Mul(v.im, re))});
    }
  }
  const hn::RebindToSigned<D> di;
  const auto steps = hn::Mul(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(columns)));
  for (int64_t r = 0; r < rows; r += lanes) {
    for (int64_t k = 0; k < columns; ++k) {
      const int64_t at = r * columns + k;
      x.store(k, {hn::GatherIndex(D(), other.re + at, steps), hn::GatherIndex(D(), other.im + at, steps)});
    }
    const Buffer made = transform(split.rows, x, y);
    for (int64_t k = 0; k < columns; ++k) z.store(k * rows + r, made.load(k));
  }
}

// unfold_spectrum() and fold_spectrum() of one row; `to` and `z` may not overlap what is read.
HWY_ATTR void unfold_row(const FftPlan& plan, Row z, Row to) {
  const int64_t half = plan.inner, lanes = fft_lanes();
  const V half_of = hn::Set(D(), 0.5f);
  for (int64_t k = 1; k < half; k += lanes) {
    const int64_t from = std::min(k, half - lanes);  // half is a multiple of lanes: only the last step goes back
    const Complex a = z.load(from), b = conj(z.load_reversed(half - from));
    V re, im;
    hn::LoadInterleaved2(D(), plan.ends.data() + 2 * from, re, im);
    const Complex d = a - b;
    const Complex turned = {hn::NegMulAdd(d.im, im, hn::Mul(d.re, re)), hn::MulAdd(d.re, im, hn::Mul(d.im, re))};
    const Complex sum = a + b + Complex{turned.im, hn::Neg(turned.re)};
    to.store(from, {hn::Mul(sum.re, half_of), hn::Mul(sum.im, half_of)});
  }
  to.re[0] = z.re[0] + z.im[0];
  to.re[half] = z.re[0] - z.im[0];
  to.im[0] = to.im[half] = 0;
}

HWY_ATTR void fold_row(const FftPlan& plan, Row x, Row z) {
  const int64_t half = plan.inner, lanes = fft_lanes();
  const V half_of = hn::Set(D(), 0.5f);
  for (int64_t k = 1; k < half; k += lanes) {
    const int64_t from = std::min(k, half - lanes);
    const Complex a = x.load(from), b = conj(x.load_reversed(half - from));
    V re, im;
    hn::LoadInterleaved2(D(), plan.ends.data() + 2 * from, re, im);
    const Complex d = a - b;
    const Complex odd = {hn::MulAdd(d.im, im, hn::Mul(d.re, re)), hn::NegMulAdd(d.re, im, hn::Mul(d.im, re))};
    const Complex sum = a + b + Complex{hn::Neg(odd.im), odd.re};
    z.store(from, {hn::Mul(sum.im, half_of), hn::Mul(sum.re, half_of)});
  }
  z.re[0] = 0.5f * (x.re[0] - x.re[half]);
  z.im[0] = 0.5f * (x.re[0] + x.re[half]);
}

// Every other number of a row, or a row as it is; what is not there is 0.
HWY_ATTR void load_pairs(const float* in, int64_t have, int64_t count, Row z) {
  for (int64_t k = 0; k < count; ++k) {
    z.re[k] = 2 * k < have ? in[2 * k] : 0;
    z.im[k] = 2 * k + 1 < have ? in[2 * k + 1] : 0;
  }
}
HWY_ATTR void load_row(const float* in, int64_t have, int64_t count, float* to) {
  const int64_t there = in == nullptr ? 0 : std::min(have, count);
  std::copy_n(in, there, to);
  std::fill(to + there, to + count, 0.0f);
}

HWY_ATTR void run_split(const FftPlan& plan, const SplitFft& split, const FftInput& in, int64_t have,
                        const FftOutput& out, float* scratch) {
  const int64_t n = plan.inner, part = n + fft_lanes();
  const Row z{scratch, scratch + part}, other{scratch + 2 * part, scratch + 3 * part};
  float* const rest = scratch + 4 * part;
  const float shrink = 1.0f / static_cast<float>(n);
  switch (plan.kind) {
    case ir::FftKind::kReal:
      load_pairs(in.re, std::min(have, plan.n), n, z);
      transform_row(split, z, other, rest);
      return unfold_row(plan, z, {out.re, out.im});
    case ir::FftKind::kRealInverse:
      load_row(in.re, have, n + 1, other.re);
      load_row(in.im, have, n + 1, other.im);
      fold_row(plan, other, z);
      transform_row(split, z, other, rest);
      for (int64_t k = 0; k < n; ++k) {
        out.re[2 * k] = z.im[k] * shrink;
        out.re[2 * k + 1] = z.re[k] * shrink;
      }
      return;
    case ir::FftKind::kForward:
    case ir::FftKind::kInverse: {
      const bool inverse = plan.kind == ir::FftKind::kInverse;
      const Row turned = inverse ? Row{z.im, z.re} : z;
      load_row(in.re, have, n, turned.re);
      load_row(in.im, have, n, turned.im);
      transform_row(split, z, other, rest);
      const float factor = inverse ? shrink : 1;
      std::transform(turned.re, turned.re + n, out.re, [&](float v) { return v * factor; });
      std::transform(turned.im, turned.im + n, out.im, [&](float v) { return v * factor; });
      return;
    }
  }
}

}  // namespace

const FftFunctions& fft_functions_here() {
  static constexpr FftFunctions kFunctions = {fft_lanes, run_fft, run_split};
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

int64_t largest_factor(int64_t n) {
  int64_t largest = 1;
  for (; n > 1; n /= next_radix(n)) largest = std::max(largest, next_radix(n));
  return largest;
}

constexpr int64_t kMostDirectRadix = 61;  // a pass of radix p takes time proportional to p * p

// Of the transforms that compute one of `inner` numbers after Bluestein.
int64_t chirp_length(int64_t inner) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(2 * inner - 1)));
}

bool is_halved(ir::FftKind kind, int64_t n) {
  return (kind == ir::FftKind::kReal || kind == ir::FftKind::kRealInverse) && n % 2 == 0;
}

// The factor of `inner` nearest to its square root, where both are multiples of `lanes`; 0: there is none.
int64_t columns_of_split(int64_t inner, int64_t lanes) {
  int64_t columns = 0;
  for (int64_t c = lanes; c * c <= inner; c += lanes) {
    if (inner % c == 0 && inner / c % lanes == 0) columns = c;
  }
  return columns;
}

}  // namespace

const FftFunctions& fft_functions() { return HWY_DYNAMIC_DISPATCH(fft_functions_here)(); }

FftPlan::FftPlan(ir::FftKind kind_of, int64_t length)
    : kind(kind_of), n(length), halved(is_halved(kind, n)), inner(halved ? n / 2 : n) {
  if (largest_factor(inner) > kMostDirectRadix) {
    make_chirp();
  } else {
    make_passes(inner);
  }
  for (int64_t k = 0; halved && k <= n / 2; ++k) {
    const auto factor = turn(k, n);
    ends.insert(ends.end(), factor.begin(), factor.end());
  }
}

void FftPlan::make_passes(int64_t length) {
  int64_t left = length, stride = 1;
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
}

void FftPlan::make_chirp() {
  wide = chirp_length(inner);
  make_passes(wide);
  std::vector<double> re(static_cast<size_t>(wide)), im(re.size());
  for (int64_t k = 0; k < inner; ++k) {
    const double angle = std::numbers::pi * static_cast<double>(k * k % (2 * inner)) / static_cast<double>(inner);
    for (const int64_t at : {k, (wide - k) % wide}) {
      re[static_cast<size_t>(at)] = std::cos(angle);
      im[static_cast<size_t>(at)] = std::sin(angle);
    }
    chirp.push_back(static_cast<float>(std::cos(angle)));
    chirp.push_back(static_cast<float>(-std::sin(angle)));
  }
  DoubleFft(wide).run(re.data(), im.data());
  for (size_t k = 0; k < re.size(); ++k) {
    chirp_spectrum.push_back(static_cast<float>(re[k] / static_cast<double>(wide)));
    chirp_spectrum.push_back(static_cast<float>(im[k] / static_cast<double>(wide)));
  }
}

std::optional<SplitFft> SplitFft::make(const FftPlan& plan, int64_t lanes) {
  if (plan.wide != 0 || plan.halved != (plan.kind == ir::FftKind::kReal || plan.kind == ir::FftKind::kRealInverse)) {
    return std::nullopt;
  }
  const int64_t columns = columns_of_split(plan.inner, lanes);
  if (columns == 0) return std::nullopt;
  SplitFft split{FftPlan(ir::FftKind::kForward, columns), FftPlan(ir::FftKind::kForward, plan.inner / columns), {}, {}};
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t j = 0; j < split.rows.inner; ++j) {
      const auto factor = turn(j * k, plan.inner);
      split.turns_re.push_back(factor[0]);
      split.turns_im.push_back(factor[1]);
    }
  }
  return split;
}

size_t SplitFft::scratch_floats(int64_t lanes) const {
  const int64_t row = columns.inner * rows.inner + lanes;
  return static_cast<size_t>(4 * row + 4 * std::max(columns.entries(), rows.entries()) * lanes);
}

int64_t fft_scratch_floats(ir::FftKind kind, int64_t n, int64_t lanes) {
  const bool real = kind == ir::FftKind::kReal || kind == ir::FftKind::kRealInverse, halved = is_halved(kind, n);
  const int64_t inner = halved ? n / 2 : n;
  if (largest_factor(inner) > kMostDirectRadix) return 4 * (chirp_length(inner) + 1) * lanes;
  const int64_t columns = real == halved ? columns_of_split(inner, lanes) : 0;
  if (columns == 0) return 4 * (inner + 1) * lanes;
  return 4 * (inner + lanes) + 4 * (inner / columns + 1) * lanes;  // the rows are no shorter than the columns
}

}  // namespace blade::backends::cpu
#endif
