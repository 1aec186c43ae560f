// Depthwise inner loops over Highway vectors of channels.
#include "backends/cpu/matrix/depthwise_kernel.h"

#include "backends/cpu/matrix/depthwise.h"
#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/depthwise_kernel.cc"
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

// `kPart`: the last channels, fewer than a vector.
template <bool kPart, class T>
HWY_ATTR HWY_INLINE V load(const T* from, const FirstLanes& lanes) {
  if constexpr (kPart) return load_first(lanes, from);
  return load_all(from);
}

template <bool kPart, class T>
HWY_ATTR HWY_INLINE void store(V v, T* to, const FirstLanes& lanes) {
  if constexpr (kPart) {
    store_first(v, lanes, to);
  } else {
#if HWY_TARGET == HWY_AVX3
    store_natively(v, to);
#else
    store_all(v, to);
#endif
  }
}

// Where the results of a vector of channels go.
template <bool kPart, class T>
struct Results {
  T* out = nullptr;
  float* wide_out = nullptr;
  int64_t step;
  FirstLanes lanes;
  HWY_ATTR HWY_INLINE Results(const DepthwiseArgs<T>& a, int64_t c, int64_t row) : step(a.channels), lanes(a.last - c) {
    const int64_t at = row * a.out_row_step + c;
    if (sizeof(T) < sizeof(float) && a.wide_out != nullptr) {
      wide_out = a.wide_out + at;
    } else {
      out = a.out + at;
    }
  }
  HWY_ATTR HWY_INLINE void put(V v, int64_t output) const {
    if (sizeof(T) < sizeof(float) && wide_out != nullptr) {
      store<kPart>(v, wide_out + output * step, lanes);
    } else {
      store<kPart>(v, out + output * step, lanes);
    }
  }
};

template <int kOutputs, bool kPart, class T>
HWY_ATTR HWY_INLINE void finish(const DepthwiseArgs<T>& a, const V* acc, int64_t c, int64_t row = 0) {
  const D d;
  const Results<kPart, T> results(a, c, row);
  if (a.residual == nullptr && a.slope == nullptr && a.scale == nullptr && !a.gate.used()) {  // the common case
    const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi);
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) results.put(clamped(acc[x], lo, hi), x);
    return;
  }
  if (a.residual == nullptr && a.slope == nullptr && a.scale == nullptr && a.gate.curve != Curve::kNone) {
    constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
    HWY_ALIGN float block[kOutputs * kLanes];
    const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi);
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) hn::Store(clamped(acc[x], lo, hi), d, block + x * kLanes);
    curve_block(a.gate, block, kOutputs * kLanes);
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) results.put(hn::Load(d, block + x * kLanes), x);
    return;
  }
  const EpilogueVectors<DepthwiseArgs<T>> epilogue(a, c, a.last - c);
#pragma GCC unroll 8
  for (int x = 0; x < kOutputs; ++x) {
    V residual = hn::Zero(d);
    if (a.residual != nullptr) {
      const T* from = a.residual + row * a.residual_row_step + x * a.residual_stride;
      residual = load_some(d, from + c, a.residual_channels - c);
    }
    results.put(epilogue.finish(acc[x], residual), x);
  }
}

// Each loaded pixel feeds every output that it belongs to.
template <int kSize, int kStride, int kOutputs, bool kPart, class T>
HWY_ATTR HWY_INLINE void fixed_vector(const DepthwiseArgs<T>& a, int64_t c) {
  const D d;
  constexpr int kColumns = (kOutputs - 1) * kStride + kSize;
  const FirstLanes lanes(a.last - c);
  const V bias = a.bias != nullptr ? load<kPart>(a.bias + c, lanes) : hn::Zero(d);
  V acc[kOutputs];
#pragma GCC unroll 8
  for (int x = 0; x < kOutputs; ++x) acc[x] = bias;
#pragma GCC unroll 5
  for (int kh = 0; kh < kSize; ++kh) {
    V w[kSize];
#pragma GCC unroll 5
    for (int kw = 0; kw < kSize; ++kw) w[kw] = load<kPart>(a.weights + (kh * kSize + kw) * a.channels + c, lanes);
#pragma GCC unroll 19
    for (int col = 0; col < kColumns; ++col) {
      const V pixel = load<kPart>(a.pixels[kh * a.row_step + col] + c, lanes);
#pragma GCC unroll 8
      for (int x = 0; x < kOutputs; ++x) {
        const int kw = col - x * kStride;
        if (kw >= 0 && kw < kSize) acc[x] = hn::MulAdd(pixel, w[kw], acc[x]);
      }
    }
  }
  finish<kOutputs, kPart>(a, acc, c);
}

template <int kSize, int kStride, int kOutputs, class T>
HWY_ATTR void fixed_kernel(const DepthwiseArgs<T>& a) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t c = a.first;
  for (; c + lanes <= a.last; c += lanes) fixed_vector<kSize, kStride, kOutputs, false>(a, c);
  if (c < a.last) fixed_vector<kSize, kStride, kOutputs, true>(a, c);
}

#if HWY_TARGET == HWY_AVX3  // 32 registers
// A pixel feeds both rows: two thirds of the loads that a row at a time needs, and fewer visits of L2.
template <int kSize, int kOutputs, bool kPart, class T>
HWY_ATTR HWY_INLINE void two_rows_vector(const DepthwiseArgs<T>& a, int64_t c) {
  const D d;
  const FirstLanes lanes(a.last - c);
  const V bias = a.bias != nullptr ? load<kPart>(a.bias + c, lanes) : hn::Zero(d);
  V acc[2][kOutputs];
#pragma GCC unroll 8
  for (int x = 0; x < kOutputs; ++x) acc[0][x] = acc[1][x] = bias;
#pragma GCC unroll 6
  for (int in = 0; in <= kSize; ++in) {
    V w[2][kSize];
#pragma GCC unroll 5
    for (int kw = 0; kw < kSize; ++kw) {
      if (in < kSize) w[0][kw] = load<kPart>(a.weights + (in * kSize + kw) * a.channels + c, lanes);
      if (in > 0) w[1][kw] = load<kPart>(a.weights + ((in - 1) * kSize + kw) * a.channels + c, lanes);
    }
#pragma GCC unroll 12
    for (int col = 0; col < kOutputs + kSize - 1; ++col) {
      const V pixel = load<kPart>(a.pixels[in * a.row_step + col] + c, lanes);
#pragma GCC unroll 8
      for (int x = 0; x < kOutputs; ++x) {
        const int kw = col - x;
        if (kw < 0 || kw >= kSize) continue;
        if (in < kSize) acc[0][x] = hn::MulAdd(pixel, w[0][kw], acc[0][x]);
        if (in > 0) acc[1][x] = hn::MulAdd(pixel, w[1][kw], acc[1][x]);
      }
    }
  }
  finish<kOutputs, kPart>(a, acc[0], c, 0);
  finish<kOutputs, kPart>(a, acc[1], c, 1);
}

template <int kSize, int kOutputs, class T>
HWY_ATTR void two_rows_kernel(const DepthwiseArgs<T>& a) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t c = a.first;
  for (; c + lanes <= a.last; c += lanes) two_rows_vector<kSize, kOutputs, false>(a, c);
  if (c < a.last) two_rows_vector<kSize, kOutputs, true>(a, c);
}
#endif

template <int kOutputs, bool kPart, class T>
HWY_ATTR HWY_INLINE void general_vector(const DepthwiseArgs<T>& a, int64_t c) {
  const D d;
  const FirstLanes lanes(a.last - c);
  const V bias = a.bias != nullptr ? load<kPart>(a.bias + c, lanes) : hn::Zero(d);
  V acc[kOutputs];
#pragma GCC unroll 8
  for (int x = 0; x < kOutputs; ++x) acc[x] = bias;
  const float* weights = a.weights + c;
  for (int64_t kh = 0; kh < a.kh; ++kh) {
    const T* const* pixels = a.pixels + kh * a.row_step;
    for (int64_t kw = 0; kw < a.kw; ++kw, pixels += a.column_step, weights += a.channels) {
      const V w = load<kPart>(weights, lanes);
#pragma GCC unroll 8
      for (int x = 0; x < kOutputs; ++x) acc[x] = hn::MulAdd(load<kPart>(pixels[x * a.stride] + c, lanes), w, acc[x]);
    }
  }
  finish<kOutputs, kPart>(a, acc, c);
}

template <int kOutputs, class T>
HWY_ATTR void general_kernel(const DepthwiseArgs<T>& a) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t c = a.first;
  for (; c + lanes <= a.last; c += lanes) general_vector<kOutputs, false>(a, c);
  if (c < a.last) general_vector<kOutputs, true>(a, c);
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
using Index = hn::Vec<hn::RebindToSigned<D>>;

// A pixel as the vector of output channels at c sees it: of each lane's group input j. `kWide`: all lanes are of one
// group, which begins at channel `first`; else `lanes` names the inputs.
template <bool kWide, bool kPart>
HWY_ATTR HWY_INLINE V input_of_groups(const float* pixel, int64_t c, int64_t first, int64_t j, Index lanes,
                                      const FirstLanes& there) {
  const D d;
  if constexpr (kWide) return hn::Set(d, pixel[first + j]);
  return hn::TableLookupLanes(load<kPart>(pixel + c, there), hn::IndicesFromVec(d, lanes));
}

// A spread input feeds every output, of up to two rows, that it belongs to.
template <int kStride, int kRows, int kOutputs, bool kWide, bool kPart>
HWY_ATTR HWY_INLINE void grouped_vector(const DepthwiseArgs<float>& a, int64_t c) {
  const D d;
  const hn::RebindToSigned<D> di;
  constexpr int kSize = 3, kColumns = (kOutputs - 1) * kStride + kSize;
  const FirstLanes there(a.last - c);
  const V bias = a.bias != nullptr ? load<kPart>(a.bias + c, there) : hn::Zero(d);
  V acc[kRows][kOutputs];
#pragma GCC unroll 2
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) acc[r][x] = bias;
  }
  const int64_t tap = a.group * kGroupedChannels, first = c / a.group * a.group;
  const float* weights = a.grouped + c / kGroupedChannels * kSize * kSize * tap + c % kGroupedChannels;
#pragma GCC unroll 4
  for (int in = 0; in < kSize + kRows - 1; ++in) {
    const float* const* pixels = a.pixels + in * a.row_step;
    Index lanes = hn::And(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(-a.group)));
    for (int64_t j = 0; j < a.group; ++j, lanes = hn::Add(lanes, hn::Set(di, 1))) {
      V w[kRows][kSize];
#pragma GCC unroll 2
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
        for (int kw = 0; kw < kSize; ++kw) {
          if (in < r || in - r >= kSize) continue;
          w[r][kw] = hn::LoadU(d, weights + ((in - r) * kSize + kw) * tap + j * kGroupedChannels);
        }
      }
#pragma GCC unroll 17
      for (int col = 0; col < kColumns; ++col) {
        const V pixel = input_of_groups<kWide, kPart>(pixels[col], c, first, j, lanes, there);
#pragma GCC unroll 2
        for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
          for (int x = 0; x < kOutputs; ++x) {
            const int kw = col - x * kStride;
            if (kw < 0 || kw >= kSize || in < r || in - r >= kSize) continue;
            acc[r][x] = add_product(acc[r][x], pixel, w[r][kw]);
          }
        }
      }
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < kRows; ++r) finish<kOutputs, kPart>(a, acc[r], c, r);
}

template <int kStride, int kRows, int kOutputs, bool kWide>
HWY_ATTR void grouped_kernel(const DepthwiseArgs<float>& a) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t c = a.first;
  for (; c + lanes <= a.last; c += lanes) grouped_vector<kStride, kRows, kOutputs, kWide, false>(a, c);
  if constexpr (!kWide) {
    if (c < a.last) grouped_vector<kStride, kRows, kOutputs, kWide, true>(a, c);
  }
}

template <int kOutputs, bool kWide>
void fill_grouped(GroupedKernels& t) {
  if constexpr (kOutputs > 0) {
    t.fixed[kWide][0][kOutputs] = &grouped_kernel<1, 1, kOutputs, kWide>;
    t.fixed[kWide][1][kOutputs] = &grouped_kernel<2, 1, kOutputs, kWide>;
#if HWY_TARGET == HWY_AVX3  // 32 registers
    t.two_rows[kWide][kOutputs] = &grouped_kernel<1, 2, kOutputs, kWide>;
#endif
    fill_grouped<kOutputs - 1, kWide>(t);
  }
}
#endif

const GroupedKernels& get_grouped_kernels() {
  static const GroupedKernels table = [] {
    GroupedKernels t;
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
    t.lanes = static_cast<int64_t>(hn::Lanes(D()));
    fill_grouped<kDepthwiseOutputs, false>(t);
    fill_grouped<kDepthwiseOutputs, true>(t);
#endif
    return t;
  }();
  return table;
}

template <int kOutputs, class T>
void fill(DepthwiseKernels<T>& t) {
  if constexpr (kOutputs > 0) {
    t.fixed[0][0][kOutputs] = &fixed_kernel<3, 1, kOutputs, T>;
    t.fixed[0][1][kOutputs] = &fixed_kernel<3, 2, kOutputs, T>;
    t.fixed[1][0][kOutputs] = &fixed_kernel<5, 1, kOutputs, T>;
    t.fixed[1][1][kOutputs] = &fixed_kernel<5, 2, kOutputs, T>;
    t.general[kOutputs] = &general_kernel<kOutputs, T>;
#if HWY_TARGET == HWY_AVX3
    t.two_rows[0][kOutputs] = &two_rows_kernel<3, kOutputs, T>;
    t.two_rows[1][kOutputs] = &two_rows_kernel<5, kOutputs, T>;
#endif
    fill<kOutputs - 1>(t);
  }
}

template <class T>
DepthwiseKernels<T> make_kernels() {
  DepthwiseKernels<T> t;
  fill<kDepthwiseOutputs>(t);
  return t;
}

const DepthwiseKernels<float>& get_depthwise_kernels() {
  static const DepthwiseKernels<float> table = make_kernels<float>();
  return table;
}

const DepthwiseKernels<BFloat16>& get_bf16_depthwise_kernels() {
#if HWY_TARGET == HWY_AVX3
  static const DepthwiseKernels<BFloat16> table =
      rounds_natively() ? make_kernels<BFloat16>() : DepthwiseKernels<BFloat16>();
#else
  static const DepthwiseKernels<BFloat16> table;
#endif
  return table;
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
HWY_EXPORT(get_depthwise_kernels);
HWY_EXPORT(get_bf16_depthwise_kernels);
HWY_EXPORT(get_grouped_kernels);
const GroupedKernels& grouped_kernels() { return HWY_DYNAMIC_DISPATCH(get_grouped_kernels)(); }
template <>
const DepthwiseKernels<float>& depthwise_kernels<float>() {
  return HWY_DYNAMIC_DISPATCH(get_depthwise_kernels)();
}
template <>
const DepthwiseKernels<BFloat16>& depthwise_kernels<BFloat16>() {
  return HWY_DYNAMIC_DISPATCH(get_bf16_depthwise_kernels)();
}
}  // namespace blade::backends::cpu
#endif
