// Winograd transforms over Highway vectors of channels, for the points of winograd_points.h.
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

// factor * a + b; the factor is known while compiling.
HWY_ATTR HWY_INLINE V add_scaled(double factor, V a, V b) {
  if (factor == 1) return hn::Add(b, a);
  if (factor == -1) return hn::Sub(b, a);
  return hn::MulAdd(hn::Set(D(), static_cast<float>(factor)), a, b);
}
HWY_ATTR HWY_INLINE V scaled(double factor, V a) {
  return factor == 1 ? a : hn::Mul(hn::Set(D(), static_cast<float>(factor)), a);
}

template <class T>
inline constexpr bool kRounded = sizeof(T) < sizeof(float);

// The polynomial without pair kSkip over every second input from `from` on. Inputs: anything with d[i].
template <class T, int kT, int kSkip, class Inputs>
HWY_ATTR HWY_INLINE V polynomial_of(const Inputs& d, int from) {
  constexpr auto kFactors = winograd_polynomial<kT>(kSkip, kRounded<T>);
  constexpr int kDegree = kWinogradPairs<kT> - (kSkip >= 0 ? 1 : 0);
  V sum = d[from + 2 * kDegree];
#pragma GCC unroll 4
  for (int k = kDegree - 1; k >= 0; --k) sum = add_scaled(kFactors[static_cast<size_t>(k)], d[from + 2 * k], sum);
  return sum;
}

// Points of B^T d that share sums: group 0 is the point 0, group 1 + p the two of pair p, the last one infinity.
template <int kT>
inline constexpr int kGroups = kWinogradPairs<kT> + 2;
template <int kT, int kGroup>
inline constexpr bool kIsPair = kGroup > 0 && kGroup < kGroups<kT> - 1;
template <int kT, int kGroup>
inline constexpr int kFirstPoint = kGroup == 0 ? 0 : 2 * kGroup - 1;

template <class T, int kT, int kGroup, class Inputs>
HWY_ATTR HWY_INLINE void input_group(const Inputs& d, V& first, V& second) {
  if constexpr (kIsPair<kT, kGroup>) {
    const V even = polynomial_of<T, kT, kGroup - 1>(d, 2);
    const V odd = polynomial_of<T, kT, kGroup - 1>(d, 1);
    constexpr double kPoint = winograd_pair(kT, kGroup - 1, kRounded<T>);
    first = add_scaled(kPoint, odd, even);
    second = add_scaled(-kPoint, odd, even);
  } else {
    first = polynomial_of<T, kT, -1>(d, kGroup == 0 ? 0 : 1);
  }
}

// One dimension of B^T d, from group kGroup on.
template <class T, int kT, int kGroup = 0, class Inputs>
HWY_ATTR HWY_INLINE void input_1d(const Inputs& d, V* o) {
  V second;
  input_group<T, kT, kGroup>(d, o[kFirstPoint<kT, kGroup>], second);
  if constexpr (kIsPair<kT, kGroup>) o[kFirstPoint<kT, kGroup> + 1] = second;
  if constexpr (kGroup + 1 < kGroups<kT>) input_1d<T, kT, kGroup + 1>(d, o);
}

// One dimension of A^T d.
template <class T, int kT, int kM>
HWY_ATTR HWY_INLINE void output_1d(const V* d, V* o) {
  constexpr int kPairs = kWinogradPairs<kT>;
  V sums[kPairs];
  V differences[kPairs];
#pragma GCC unroll 4
  for (int p = 0; p < kPairs; ++p) {
    sums[p] = hn::Add(d[2 * p + 1], d[2 * p + 2]);
    differences[p] = hn::Sub(d[2 * p + 1], d[2 * p + 2]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < kM; ++j) {
    const V* terms = j % 2 == 0 ? sums : differences;
    V sum = j == 0 ? hn::Add(d[0], terms[0]) : scaled(winograd_power(winograd_pair(kT, 0, kRounded<T>), j), terms[0]);
#pragma GCC unroll 4
    for (int p = 1; p < kPairs; ++p)
      sum = add_scaled(winograd_power(winograd_pair(kT, p, kRounded<T>), j), terms[p], sum);
    o[j] = j == kM - 1 ? hn::Add(sum, d[kT - 1]) : sum;
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

// Every `step`-th pixel of a tile.
template <bool kPart, class T>
struct Pixels {
  const T* const* pixels;
  int step;
  int64_t c, left;
  HWY_ATTR HWY_INLINE V operator[](int i) const { return load<kPart>(pixels[i * step] + c, left); }
};

// A row of points, after the transform along the other dim: that along this one, stored.
template <int kT, bool kPart, class T>
HWY_ATTR HWY_INLINE void store_row(const WinogradInputArgs<T>& a, const V* row, int y, int64_t c) {
  V result[kT];
  input_1d<T, kT>(row, result);
#pragma GCC unroll 10
  for (int x = 0; x < kT; ++x) {
    store<kPart>(result[x], a.out + (y * kT + x) * a.out_stride + c, a.channels - c);
  }
}

// A group of rows of points in turn: loading pixels again costs less than spilling all sums.
template <int kT, bool kPart, class T, int kGroup = 0>
HWY_ATTR HWY_INLINE void input_rows(const WinogradInputArgs<T>& a, int64_t c) {
  V first[kT];
  V second[kT];
#pragma GCC unroll 10
  for (int x = 0; x < kT; ++x) {
    input_group<T, kT, kGroup>(Pixels<kPart, T>{a.pixels + x, kT, c, a.channels - c}, first[x], second[x]);
  }
  store_row<kT, kPart>(a, first, kFirstPoint<kT, kGroup>, c);
  if constexpr (kIsPair<kT, kGroup>) store_row<kT, kPart>(a, second, kFirstPoint<kT, kGroup> + 1, c);
  if constexpr (kGroup + 1 < kGroups<kT>) input_rows<kT, kPart, T, kGroup + 1>(a, c);
}

template <int kDims, int kT, bool kPart, class T>
HWY_ATTR HWY_INLINE void input_vector(const WinogradInputArgs<T>& a, int64_t c) {
  if constexpr (kDims == 2) {
    input_rows<kT, kPart>(a, c);
  } else {
    V row[kT];
#pragma GCC unroll 10
    for (int x = 0; x < kT; ++x) row[x] = load<kPart>(a.pixels[x] + c, a.channels - c);
    store_row<kT, kPart>(a, row, 0, c);
  }
}

// kM results of one row of pixels, the first of which is pixel `first` of the tile.
template <int kM, bool kPart, class T>
HWY_ATTR HWY_INLINE void finish_row(const WinogradOutputArgs<T>& a, const EpilogueVectors<WinogradOutputArgs<T>>& e,
                                    const V* result, V bias, int first, int64_t c) {
  const D d;
  const int64_t left = a.channels - c;
#pragma GCC unroll 4
  for (int x = 0; x < kM; ++x) {
    T* to = a.out[first + x];
    if (to == nullptr) continue;
    const T* from = a.residual[first + x];
    V residual = hn::Zero(d);
    if (from != nullptr) residual = load_some(d, from + c, a.residual_channels - c);
    const V sum = e.finish(hn::Add(result[x], bias), residual);
    if (sizeof(T) < sizeof(float) && a.wide_out != nullptr) {
      store_some(sum, d, a.wide_out + (first + x) * a.channels + c, left);
    } else {
      store<kPart>(sum, to + c, left);
    }
  }
}

template <int kDims, int kT, int kM, bool kPart, class T>
HWY_ATTR HWY_INLINE void output_vector(const WinogradOutputArgs<T>& a, int64_t c) {
  const D d;
  constexpr int kColumns = kDims == 2 ? kT : 1;
  const int64_t left = a.channels - c;
  V columns[kM * kColumns];
#pragma GCC unroll 6
  for (int x = 0; x < kColumns; ++x) {
    V column[kT];
    V result[kM];
#pragma GCC unroll 10
    for (int y = 0; y < kT; ++y) {
      const float* from = a.in + (y * kColumns + x) * a.in_stride + c;
      column[y] = kPart ? load_some(d, from, left) : hn::LoadU(d, from);
    }
    output_1d<T, kT, kM>(column, result);
#pragma GCC unroll 4
    for (int y = 0; y < kM; ++y) columns[y * kColumns + x] = result[y];
  }
  V bias = hn::Zero(d);
  if (a.bias != nullptr) bias = load_some(d, a.bias + c, left);
  const EpilogueVectors<WinogradOutputArgs<T>> epilogue(a, c, left);
  if constexpr (kDims == 1) {
    finish_row<kM, kPart>(a, epilogue, columns, bias, 0, c);
  } else {
#pragma GCC unroll 4
    for (int y = 0; y < kM; ++y) {
      V result[kM];
      output_1d<T, kT, kM>(columns + y * kT, result);
      finish_row<kM, kPart>(a, epilogue, result, bias, y * kM, c);
    }
  }
}

template <int kDims, int kT, class T>
HWY_ATTR void input_transform(const WinogradInputArgs<T>& a) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t c = 0;
  for (; c + lanes <= a.channels; c += lanes) input_vector<kDims, kT, false>(a, c);
  if (c < a.channels) input_vector<kDims, kT, true>(a, c);
}

template <int kDims, int kT, int kM, class T>
HWY_ATTR void output_transform(const WinogradOutputArgs<T>& a) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t c = 0;
  for (; c + lanes <= a.channels; c += lanes) output_vector<kDims, kT, kM, false>(a, c);
  if (c < a.channels) output_vector<kDims, kT, kM, true>(a, c);
}

template <int kDims, int kT, int kM, class T>
void add_transforms(WinogradKernels<T>& table) {
  table.input[kDims][kT] = &input_transform<kDims, kT, T>;
  table.output[kDims][kT][kM] = &output_transform<kDims, kT, kM, T>;
}

// Those that bfloat16 stands as well.
template <class T>
void add_common_transforms(WinogradKernels<T>& t) {
  add_transforms<2, 4, 2>(t);  // 3x3
  add_transforms<2, 6, 4>(t);  // 3x3
  add_transforms<2, 6, 2>(t);  // 5x5
  add_transforms<1, 4, 2>(t);  // 3 taps
  add_transforms<1, 6, 4>(t);  // 3 taps
  add_transforms<1, 6, 2>(t);  // 5 taps
  add_transforms<1, 8, 2>(t);  // 7 taps
}

const WinogradKernels<float>& get_winograd_kernels() {
  static const WinogradKernels<float> table = [] {
    WinogradKernels<float> t;
    add_common_transforms(t);
    add_transforms<1, 8, 4>(t);   // 5 taps
    add_transforms<1, 10, 4>(t);  // 7 taps
    return t;
  }();
  return table;
}

const WinogradKernels<BFloat16>& get_bf16_winograd_kernels() {
  static const WinogradKernels<BFloat16> table = [] {
    WinogradKernels<BFloat16> t;
#if HWY_TARGET == HWY_AVX3
    if (rounds_natively()) add_common_transforms(t);
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
