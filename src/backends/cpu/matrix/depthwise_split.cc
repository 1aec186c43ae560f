// The even channels of all outputs first, whose sums wait in L1 for those of the odd ones: so all registers serve one
// row or two of eight outputs.
#include "backends/cpu/matrix/depthwise_split.h"

#include "backends/cpu/matrix/simd_targets.h"
#include "base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/depthwise_split.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/depthwise_block_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
constexpr int kEven = 0, kOdd = 1;

// Half of the pixels of a block in float32.
template <int kParity, bool kPart>
HWY_ATTR HWY_INLINE V load_parity(const BFloat16* from, Channels channels) {
  const hn::RebindToUnsigned<D> du;
  const auto both = hn::BitCast(du, load_pixels<kPart>(from, channels));
  if constexpr (kParity == kEven) return hn::BitCast(D(), hn::ShiftLeft<16>(both));
  return hn::BitCast(D(), hn::And(both, hn::Set(du, 0xffff0000)));
}

template <int kParity, bool kPart>
struct ParityTaps {
  using Vector = V;
  const float* packed;
  Channels channels;

  HWY_ATTR HWY_INLINE Vector weights(int tap) const {
    return hn::Load(D(), packed + tap * kSplitChannels + kParity * kSums);
  }
  HWY_ATTR HWY_INLINE Vector pixel(const BFloat16* from) const { return load_parity<kParity, kPart>(from, channels); }
  static HWY_ATTR HWY_INLINE Vector multiply_add(Vector x, Vector w, Vector sum) { return hn::MulAdd(x, w, sum); }
};

// Sums of some of the channels.
template <int kSize, int kStride, int kRows, int kOutputs, int kParity, bool kPart>
HWY_ATTR HWY_INLINE void sum_parity(const DepthwiseArgs<BFloat16>& a, const float* weights, V bias, int64_t c,
                                    Channels channels, float* sums) {
  V acc[kRows][kOutputs];
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) acc[row][x] = bias;
  }
  add_taps<kSize, kStride>(a, ParityTaps<kParity, kPart>{weights, channels}, c, acc);
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x)
      hn::Store(acc[row][x], D(), sums + (row * kOutputs + x) * kSplitChannels + kParity * kSums);
  }
}

template <int kOutputs, bool kPart>
HWY_ATTR HWY_INLINE void finish_split(const DepthwiseArgs<BFloat16>& a, int row, float* sums, int64_t c,
                                      Channels channels) {
  const D d;
  if (!only_clamps(a)) {
    DepthwiseArgs<BFloat16> of_row = a;
    of_row.out += row * a.out_row_step;
    if (a.residual != nullptr) of_row.residual += row * a.residual_row_step;
    finish_sums<ByParity, kPart>(of_row, sums, kOutputs, c, channels);
    return;
  }
  const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi);
  BFloat16* const to = a.out + row * a.out_row_step + c;
  const int64_t step = a.channels;
#pragma GCC unroll 8
  for (int x = 0; x < kOutputs; ++x) {
    const V even = hn::Load(d, sums + x * kSplitChannels), odd = hn::Load(d, sums + x * kSplitChannels + kSums);
    store_block<ByParity, kPart>(clamped(even, lo, hi), clamped(odd, lo, hi), to + x * step, channels);
  }
}

template <int kSize, int kStride, int kRows, int kOutputs, bool kPart>
HWY_ATTR HWY_INLINE void split_block(const DepthwiseArgs<BFloat16>& a, int64_t c) {
  const D d;
  const int64_t left = a.last - c;
  const Channels channels = hn::FirstN(DPixels(), static_cast<size_t>(left));
  V even_bias = hn::Zero(d), odd_bias = hn::Zero(d);
  if (a.bias != nullptr) {
    const V first = load_some(d, a.bias + c, left), last = load_some(d, a.bias + c + kSums, left - kSums);
    even_bias = lanes_of_two(first, last, ByParity::kOne);
    odd_bias = lanes_of_two(first, last, ByParity::kOther);
  }
  const float* weights = a.split + c * kSize * kSize;
  HWY_ALIGN float sums[kRows * kOutputs * kSplitChannels];
  sum_parity<kSize, kStride, kRows, kOutputs, kEven, kPart>(a, weights, even_bias, c, channels, sums);
  sum_parity<kSize, kStride, kRows, kOutputs, kOdd, kPart>(a, weights, odd_bias, c, channels, sums);
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row)
    finish_split<kOutputs, kPart>(a, row, sums + row * kOutputs * kSplitChannels, c, channels);
}

struct SplitBlocks {
  template <int kSize, int kStride, int kRows, int kOutputs, bool kPart>
  static HWY_ATTR HWY_INLINE void make(const DepthwiseArgs<BFloat16>& a, int64_t c) {
    split_block<kSize, kStride, kRows, kOutputs, kPart>(a, c);
  }
};
#endif

const DepthwiseSplitKernels& get_depthwise_split_kernels() {
  static const DepthwiseSplitKernels table = [] {
    DepthwiseSplitKernels t;
#if HWY_TARGET == HWY_AVX3
    if (rounds_natively()) fill_with_blocks<SplitBlocks>(t);
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
namespace {
HWY_EXPORT(get_depthwise_split_kernels);
}  // namespace

const DepthwiseSplitKernels& depthwise_split_kernels() { return HWY_DYNAMIC_DISPATCH(get_depthwise_split_kernels)(); }

int64_t split_channels(const DepthwiseShape& s) {
  if (!s.has_fixed_kernel() || s.multiplier != 1 || depthwise_split_kernels().fixed[0][0][1] == nullptr) return 0;
  const int64_t rest = s.c % kSplitChannels;
  return 2 * rest > kSplitChannels ? s.c : s.c - rest;
}

size_t depthwise_split_bytes(const DepthwiseShape& s) {
  return static_cast<size_t>(align_up(static_cast<size_t>(s.c), kSplitChannels) * s.kh * s.kw) * sizeof(float);
}

void pack_depthwise_split(const DepthwiseShape& s, const BFloat16* weights, float* to) {
  for (int64_t block = 0; block < s.c; block += kSplitChannels) {
    for (int64_t tap = 0; tap < s.kh * s.kw; ++tap) {
      for (int64_t i = 0; i < kSplitChannels; ++i) {
        const int64_t c = block + i % (kSplitChannels / 2) * 2 + i / (kSplitChannels / 2);
        *to++ = c < s.c ? static_cast<float>(weights[tap * s.c + c]) : 0.0f;
      }
    }
  }
}

}  // namespace blade::backends::cpu
#endif
