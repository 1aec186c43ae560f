// Interleaving the pixels of two kernel rows leaves the sums of a block of 32 channels in two vectors: the lower halves
// of all eighths, and the upper ones. Narrowing joins them; one permutation of quarters puts them in order.
#include "backends/cpu/matrix/depthwise_pairs.h"

#include "backends/cpu/matrix/simd_targets.h"
#include "base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/depthwise_pairs.cc"
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
HWY_ATTR HWY_INLINE V add_dot(V sum, VPixels pixels, V weights) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(pixels.raw), "v"(weights.raw));
  return sum;
}

template <int kOutputs, bool kPart>
HWY_ATTR HWY_INLINE void finish_block(const DepthwiseArgs<BFloat16>& a, V (&lower)[kOutputs], V (&upper)[kOutputs],
                                      int64_t c, Channels channels) {
  const D d;
  if (!only_clamps(a)) {
    HWY_ALIGN float sums[2 * kOutputs * kSums];
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) {
      hn::Store(lower[x], d, sums + 2 * x * kSums);
      hn::Store(upper[x], d, sums + (2 * x + 1) * kSums);
    }
    finish_sums<ByEighths, kPart>(a, sums, kOutputs, c, channels);
    return;
  }
  const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi);
  BFloat16* const to = a.out + c;
  const int64_t step = a.channels;
#pragma GCC unroll 8
  for (int x = 0; x < kOutputs; ++x)
    store_block<ByEighths, kPart>(clamped(lower[x], lo, hi), clamped(upper[x], lo, hi), to + x * step, channels);
}

// Each pair of pixels feeds every output that it belongs to.
template <int kSize, int kStride, int kOutputs, bool kPart>
HWY_ATTR HWY_INLINE void pair_block(const DepthwiseArgs<BFloat16>& a, int64_t c) {
  const D d;
  constexpr int kColumns = (kOutputs - 1) * kStride + kSize, kPairs = (kSize + 1) / 2;
  const int64_t left = a.last - c;
  const Channels channels = hn::FirstN(DPixels(), static_cast<size_t>(left));
  V lower[kOutputs], upper[kOutputs];
  V lower_bias = hn::Zero(d), upper_bias = hn::Zero(d);
  if (a.bias != nullptr) {
    const V first = load_some(d, a.bias + c, left), last = load_some(d, a.bias + c + kSums, left - kSums);
    lower_bias = lanes_of_two(first, last, ByEighths::kOne);
    upper_bias = lanes_of_two(first, last, ByEighths::kOther);
  }
#pragma GCC unroll 8
  for (int x = 0; x < kOutputs; ++x) {
    lower[x] = lower_bias;
    upper[x] = upper_bias;
  }
  const auto* weights = reinterpret_cast<const float*>(a.pairs) + c / kPairChannels * kPairs * kSize * kPairChannels;
#pragma GCC unroll 3
  for (int pair = 0; pair < kPairs; ++pair, weights += kSize * kPairChannels) {
    V lower_w[kSize], upper_w[kSize];
#pragma GCC unroll 5
    for (int kw = 0; kw < kSize; ++kw) {
      lower_w[kw] = hn::Load(d, weights + kw * kPairChannels);
      upper_w[kw] = hn::Load(d, weights + kw * kPairChannels + kSums);
    }
#pragma GCC unroll 19
    for (int col = 0; col < kColumns; ++col) {
      const VPixels first = load_pixels<kPart>(a.pixels[2 * pair * a.row_step + col] + c, channels);
      VPixels second = hn::Zero(DPixels());
      if (2 * pair + 1 < kSize) second = load_pixels<kPart>(a.pixels[(2 * pair + 1) * a.row_step + col] + c, channels);
      const VPixels lower_pixels = hn::InterleaveLower(DPixels(), first, second);
      const VPixels upper_pixels = hn::InterleaveUpper(DPixels(), first, second);
#pragma GCC unroll 8
      for (int x = 0; x < kOutputs; ++x) {
        const int kw = col - x * kStride;
        if (kw < 0 || kw >= kSize) continue;
        lower[x] = add_dot(lower[x], lower_pixels, lower_w[kw]);
        upper[x] = add_dot(upper[x], upper_pixels, upper_w[kw]);
      }
    }
  }
  finish_block<kOutputs, kPart>(a, lower, upper, c, channels);
}

struct PairBlocks {
  template <int kSize, int kStride, int kRows, int kOutputs, bool kPart>
  static HWY_ATTR HWY_INLINE void make(const DepthwiseArgs<BFloat16>& a, int64_t c) {
    static_assert(kRows == 1);
    pair_block<kSize, kStride, kOutputs, kPart>(a, c);
  }
};
#endif

const DepthwisePairKernels& get_depthwise_pair_kernels() {
  static const DepthwisePairKernels table = [] {
    DepthwisePairKernels t;
#if HWY_TARGET == HWY_AVX3
    if (rounds_natively()) fill_with_blocks<PairBlocks>(t);
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
HWY_EXPORT(get_depthwise_pair_kernels);
}  // namespace

const DepthwisePairKernels& depthwise_pair_kernels() { return HWY_DYNAMIC_DISPATCH(get_depthwise_pair_kernels)(); }

bool multiplies_pairs(const DepthwiseShape& s) {
  return s.has_fixed_kernel() && s.multiplier == 1 && s.c > kPairChannels / 2 &&
         depthwise_pair_kernels().fixed[0][0][1] != nullptr;
}

size_t depthwise_pair_bytes(const DepthwiseShape& s) {
  return static_cast<size_t>(ceil_div(s.c, kPairChannels) * ceil_div(s.kh, int64_t{2}) * s.kw * 2 * kPairChannels) *
         sizeof(BFloat16);
}

void pack_depthwise_pairs(const DepthwiseShape& s, const BFloat16* weights, BFloat16* to) {
  constexpr int64_t kHalf = kPairChannels / 8;  // channels of an eighth's half
  for (int64_t block = 0; block < s.c; block += kPairChannels) {
    for (int64_t row = 0; row < s.kh; row += 2) {
      for (int64_t kw = 0; kw < s.kw; ++kw) {
        for (int64_t i = 0; i < kPairChannels; ++i) {
          const int64_t half = i / (kPairChannels / 2), lane = i % (kPairChannels / 2);
          const int64_t c = block + lane / kHalf * 2 * kHalf + half * kHalf + lane % kHalf;
          for (int64_t r = row; r < row + 2; ++r)
            *to++ = r < s.kh && c < s.c ? weights[(r * s.kw + kw) * s.c + c] : BFloat16();
        }
      }
    }
  }
}

}  // namespace blade::backends::cpu
#endif
