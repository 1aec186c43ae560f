// Winograd transforms over Highway vectors of channels, for the points 0, 1, -1 (, 2, -2) and infinity.
#include "backends/cpu/matrix/winograd_kernel.h"

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/winograd_kernel.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

HWY_ATTR HWY_INLINE V mul_add(float factor, V a, V b) { return hn::MulAdd(hn::Set(D(), factor), a, b); }

// One dimension of B^T d; d[i * stride].
template <int kM>
HWY_ATTR HWY_INLINE void input_1d(const V* d, int stride, V* o) {
  if constexpr (kM == 4) {
    const V d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride], d4 = d[4 * stride], d5 = d[5 * stride];
    o[0] = mul_add(4, d0, mul_add(-5, d2, d4));
    const V even = mul_add(-4, d2, d4);
    const V odd = mul_add(-4, d1, d3);
    o[1] = hn::Add(even, odd);
    o[2] = hn::Sub(even, odd);
    const V even2 = hn::Sub(d4, d2);
    const V odd2 = hn::Sub(d3, d1);
    o[3] = mul_add(2, odd2, even2);
    o[4] = mul_add(-2, odd2, even2);
    o[5] = mul_add(4, d1, mul_add(-5, d3, d5));
  } else {
    const V d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride];
    o[0] = hn::Sub(d0, d2);
    o[1] = hn::Add(d1, d2);
    o[2] = hn::Sub(d2, d1);
    o[3] = hn::Sub(d1, d3);
  }
}

// One dimension of A^T d.
template <int kM>
HWY_ATTR HWY_INLINE void output_1d(const V* d, int stride, V* o) {
  if constexpr (kM == 4) {
    const V sum1 = hn::Add(d[stride], d[2 * stride]);
    const V difference1 = hn::Sub(d[stride], d[2 * stride]);
    const V sum2 = hn::Add(d[3 * stride], d[4 * stride]);
    const V difference2 = hn::Sub(d[3 * stride], d[4 * stride]);
    o[0] = hn::Add(hn::Add(d[0], sum1), sum2);
    o[1] = mul_add(2, difference2, difference1);
    o[2] = mul_add(4, sum2, sum1);
    o[3] = hn::Add(mul_add(8, difference2, difference1), d[5 * stride]);
  } else {
    o[0] = hn::Add(hn::Add(d[0], d[stride]), d[2 * stride]);
    o[1] = hn::Sub(hn::Sub(d[stride], d[2 * stride]), d[3 * stride]);
  }
}

template <bool kPart, class T>
HWY_ATTR HWY_INLINE V load(const T* from, int64_t left) {
  if constexpr (kPart) return load_some(D(), from, left);
  return load_all(from);
}

template <bool kPart, class T>
HWY_ATTR HWY_INLINE void store(V v, T* to, int64_t left) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kPart) {
    store_some_natively(v, to, left);
  } else {
    store_natively(v, to);
  }
#else
  if constexpr (kPart) {
    store_some(v, D(), to, left);
  } else {
    store_all(v, to);
  }
#endif
}

// The second dimension of one row of points, stored.
template <int kM, bool kPart, class T>
HWY_ATTR HWY_INLINE void store_row(const WinogradInputArgs<T>& a, const V* row, int y, int64_t c) {
  constexpr int kT = kM + 2;
  V result[kT];
  input_1d<kM>(row, 1, result);
#pragma GCC unroll 6
  for (int x = 0; x < kT; ++x) {
    store<kPart>(result[x], a.out + (y * kT + x) * a.out_stride + c, a.channels - c);
  }
}

template <bool kPart, class T>
HWY_ATTR HWY_INLINE void input_vector2(const WinogradInputArgs<T>& a, int64_t c) {
  V rows[16];
#pragma GCC unroll 4
  for (int x = 0; x < 4; ++x) {
    V column[4];
    V result[4];
#pragma GCC unroll 4
    for (int y = 0; y < 4; ++y) column[y] = load<kPart>(a.pixels[y * 4 + x] + c, a.channels - c);
    input_1d<2>(column, 1, result);
#pragma GCC unroll 4
    for (int y = 0; y < 4; ++y) rows[y * 4 + x] = result[y];
  }
#pragma GCC unroll 4
  for (int y = 0; y < 4; ++y) store_row<2, kPart>(a, rows + y * 4, y, c);
}

// Rows 0 and 5, 1 and 2, 3 and 4 of the points in turn: loading pixels again costs less than spilling 36 sums.
template <bool kPart, class T>
HWY_ATTR HWY_INLINE void input_vector4(const WinogradInputArgs<T>& a, int64_t c) {
  const int64_t left = a.channels - c;
  V first[6];
  V second[6];
#pragma GCC unroll 6
  for (int x = 0; x < 6; ++x) {
    const V d2 = load<kPart>(a.pixels[12 + x] + c, left);
    const V d4 = load<kPart>(a.pixels[24 + x] + c, left);
    first[x] = mul_add(4, load<kPart>(a.pixels[x] + c, left), mul_add(-5, d2, d4));
  }
  store_row<4, kPart>(a, first, 0, c);
#pragma GCC unroll 6
  for (int x = 0; x < 6; ++x) {
    const V even = mul_add(-4, load<kPart>(a.pixels[12 + x] + c, left), load<kPart>(a.pixels[24 + x] + c, left));
    const V odd = mul_add(-4, load<kPart>(a.pixels[6 + x] + c, left), load<kPart>(a.pixels[18 + x] + c, left));
    first[x] = hn::Add(even, odd);
    second[x] = hn::Sub(even, odd);
  }
  store_row<4, kPart>(a, first, 1, c);
  store_row<4, kPart>(a, second, 2, c);
#pragma GCC unroll 6
  for (int x = 0; x < 6; ++x) {
    const V even = hn::Sub(load<kPart>(a.pixels[24 + x] + c, left), load<kPart>(a.pixels[12 + x] + c, left));
    const V odd = hn::Sub(load<kPart>(a.pixels[18 + x] + c, left), load<kPart>(a.pixels[6 + x] + c, left));
    first[x] = mul_add(2, odd, even);
    second[x] = mul_add(-2, odd, even);
  }
  store_row<4, kPart>(a, first, 3, c);
  store_row<4, kPart>(a, second, 4, c);
#pragma GCC unroll 6
  for (int x = 0; x < 6; ++x) {
    const V d3 = load<kPart>(a.pixels[18 + x] + c, left);
    const V d5 = load<kPart>(a.pixels[30 + x] + c, left);
    first[x] = mul_add(4, load<kPart>(a.pixels[6 + x] + c, left), mul_add(-5, d3, d5));
  }
  store_row<4, kPart>(a, first, 5, c);
}

template <int kM, bool kPart, class T>
HWY_ATTR HWY_INLINE void input_vector(const WinogradInputArgs<T>& a, int64_t c) {
  if constexpr (kM == 4) {
    input_vector4<kPart>(a, c);
  } else {
    input_vector2<kPart>(a, c);
  }
}

template <int kM, bool kPart, class T>
HWY_ATTR HWY_INLINE void output_vector(const WinogradOutputArgs<T>& a, int64_t c) {
  const D d;
  constexpr int kT = kM + 2;
  const int64_t left = a.channels - c;
  V columns[kM * kT];
#pragma GCC unroll 6
  for (int x = 0; x < kT; ++x) {
    V column[kT];
    V result[kM];
#pragma GCC unroll 6
    for (int y = 0; y < kT; ++y) {
      const float* from = a.in + (y * kT + x) * a.in_stride + c;
      column[y] = kPart ? load_some(d, from, left) : hn::LoadU(d, from);
    }
    output_1d<kM>(column, 1, result);
#pragma GCC unroll 4
    for (int y = 0; y < kM; ++y) columns[y * kT + x] = result[y];
  }
  V bias = hn::Zero(d);
  if (a.bias != nullptr) bias = load_some(d, a.bias + c, left);
  const EpilogueVectors<WinogradOutputArgs<T>> epilogue(a, c, left);
#pragma GCC unroll 4
  for (int y = 0; y < kM; ++y) {
    V result[kM];
    output_1d<kM>(columns + y * kT, 1, result);
#pragma GCC unroll 4
    for (int x = 0; x < kM; ++x) {
      T* to = a.out[y * kM + x];
      if (to == nullptr) continue;
      const T* from = a.residual[y * kM + x];
      V residual = hn::Zero(d);
      if (from != nullptr) residual = load_some(d, from + c, a.residual_channels - c);
      const V sum = epilogue.finish(hn::Add(result[x], bias), residual);
      if (sizeof(T) < sizeof(float) && a.wide_out != nullptr) {
        store_some(sum, d, a.wide_out + (y * kM + x) * a.channels + c, left);
      } else {
        store<kPart>(sum, to + c, left);
      }
    }
  }
}

template <int kM, class T>
HWY_ATTR void input_transform(const WinogradInputArgs<T>& a) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t c = 0;
  for (; c + lanes <= a.channels; c += lanes) input_vector<kM, false>(a, c);
  if (c < a.channels) input_vector<kM, true>(a, c);
}

template <int kM, class T>
HWY_ATTR void output_transform(const WinogradOutputArgs<T>& a) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t c = 0;
  for (; c + lanes <= a.channels; c += lanes) output_vector<kM, false>(a, c);
  if (c < a.channels) output_vector<kM, true>(a, c);
}

const WinogradKernels<float>& get_winograd_kernels() {
  static const WinogradKernels<float> table = {&input_transform<2, float>, &input_transform<4, float>,
                                               &output_transform<2, float>, &output_transform<4, float>};
  return table;
}

const WinogradKernels<BFloat16>& get_bf16_winograd_kernels() {
  static const WinogradKernels<BFloat16> table = [] {
    WinogradKernels<BFloat16> t;
#if HWY_TARGET == HWY_AVX3
    if (!rounds_natively()) return t;
    t.input2 = &input_transform<2, BFloat16>;
    t.output2 = &output_transform<2, BFloat16>;
#endif
    return t;
  }();
  return table;
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
HWY_EXPORT(get_winograd_kernels);
HWY_EXPORT(get_bf16_winograd_kernels);
template <>
const WinogradKernels<float>& winograd_kernels<float>() {
  return HWY_DYNAMIC_DISPATCH(get_winograd_kernels)();
}
template <>
const WinogradKernels<BFloat16>& winograd_kernels<BFloat16>() {
  return HWY_DYNAMIC_DISPATCH(get_bf16_winograd_kernels)();
}
}  // namespace blade::backends::cpu
#endif
