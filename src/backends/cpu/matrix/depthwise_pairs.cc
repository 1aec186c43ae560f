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
#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
using DPixels = hn::Repartition<uint16_t, D>;
using VPixels = hn::Vec<DPixels>;
using VIndex = hn::Vec<hn::RebindToSigned<D>>;
constexpr int64_t kSums = kPairChannels / 2;  // to a vector

using Channels = hn::Mask<DPixels>;  // those of a block that there are

template <bool kPart>
HWY_ATTR HWY_INLINE VPixels load_pixels(const BFloat16* from, Channels channels) {
  const auto* bits = reinterpret_cast<const uint16_t*>(from);
  if constexpr (kPart) return hn::MaskedLoad(channels, DPixels(), bits);
  return hn::LoadU(DPixels(), bits);
}

HWY_ATTR HWY_INLINE V add_dot(V sum, VPixels pixels, V weights) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(pixels.raw), "v"(weights.raw));
  return sum;
}

// Lanes of two vectors: those of `b` are numbered behind those of `a`.
HWY_ATTR HWY_INLINE V lanes_of_two(V a, V b, const int32_t* lanes) {
  const VIndex index = hn::Load(hn::RebindToSigned<D>(), lanes);
  asm("vpermt2ps %2, %1, %0" : "+v"(a.raw) : "v"(index.raw), "v"(b.raw));
  return a;
}
alignas(64) constexpr int32_t kLowerHalves[] = {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27};
alignas(64) constexpr int32_t kUpperHalves[] = {4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31};
alignas(64) constexpr int32_t kFirstSums[] = {0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23};
alignas(64) constexpr int32_t kLastSums[] = {8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31};
alignas(64) constexpr uint64_t kQuarters[] = {0, 4, 1, 5, 2, 6, 3, 7};

template <bool kPart>
HWY_ATTR HWY_INLINE void store_block(V lower, V upper, BFloat16* to, Channels channels) {
  const DPixels d;
  const hn::Repartition<uint64_t, D> quarters;
  VPixels joined;
  asm("vcvtne2ps2bf16 %2, %1, %0" : "=v"(joined.raw) : "v"(upper.raw), "v"(lower.raw));
  const auto order = hn::SetTableIndices(quarters, kQuarters);
  const VPixels pixels = hn::BitCast(d, hn::TableLookupLanes(hn::BitCast(quarters, joined), order));
  if constexpr (kPart) {
    hn::BlendedStore(pixels, channels, d, reinterpret_cast<uint16_t*>(to));
  } else {
    hn::StoreU(pixels, d, reinterpret_cast<uint16_t*>(to));
  }
}

using Vectors = EpilogueVectors<DepthwiseArgs<BFloat16>>;

// One vector of sums in the order of their channels, where an epilogue reads or writes them so.
HWY_ATTR HWY_INLINE void finish_in_order(const Vectors& epilogue, V sums, int64_t output, int64_t c) {
  const D d;
  const DepthwiseArgs<BFloat16>& a = epilogue.a;
  const int64_t left = a.last - c;
  if (left <= 0) return;
  V residual = hn::Zero(d);
  if (a.residual != nullptr)
    residual = load_some(d, a.residual + output * a.residual_stride + c, a.residual_channels - c);
  const V result = epilogue.finish(sums, residual);
  if (a.wide_out != nullptr) {
    store_some(result, d, a.wide_out + output * a.channels + c, left);
  } else {
    store_some_natively(result, a.out + output * a.channels + c, left);
  }
}

// The operands of an epilogue in the order of the sums.
HWY_ATTR HWY_INLINE Vectors halves(const DepthwiseArgs<BFloat16>& a, int64_t c, const int32_t* lanes) {
  Vectors operands(a, c, a.last - c);
  const Vectors last(a, c + kSums, a.last - c - kSums);
  operands.slope = lanes_of_two(operands.slope, last.slope, lanes);
  operands.scale = lanes_of_two(operands.scale, last.scale, lanes);
  operands.shift = lanes_of_two(operands.shift, last.shift, lanes);
  return operands;
}

// Epilogues that most layers lack, on sums in memory: of each output the lower halves, then the upper ones.
template <bool kPart>
HWY_ATTR HWY_NOINLINE static void finish_sums(const DepthwiseArgs<BFloat16>& a, float* sums, int outputs, int64_t c,
                                              Channels channels) {
  const D d;
  if (a.residual != nullptr || a.wide_out != nullptr) {
    const Vectors first(a, c, a.last - c), last(a, c + kSums, a.last - c - kSums);
    for (int x = 0; x < outputs; ++x, sums += 2 * kSums) {
      const V lower = hn::Load(d, sums), upper = hn::Load(d, sums + kSums);
      finish_in_order(first, lanes_of_two(lower, upper, kFirstSums), x, c);
      finish_in_order(last, lanes_of_two(lower, upper, kLastSums), x, c + kSums);
    }
    return;
  }
  BFloat16* to = a.out + c;
  if (a.slope != nullptr || a.scale != nullptr) {
    const Vectors lower = halves(a, c, kLowerHalves), upper = halves(a, c, kUpperHalves);
    for (int x = 0; x < outputs; ++x, sums += 2 * kSums, to += a.channels) {
      store_block<kPart>(lower.finish(hn::Load(d, sums), hn::Zero(d)),
                         upper.finish(hn::Load(d, sums + kSums), hn::Zero(d)), to, channels);
    }
    return;
  }
  const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi);
  const GateVectors gate = gate_vectors(a.gate);
  const bool curved = a.gate.curve != Curve::kNone;
  for (int64_t i = 0; i < 2 * outputs * kSums; i += kSums) {
    const V x = clamped(hn::Load(d, sums + i), lo, hi);
    hn::Store(curved ? x : gated(gate, x), d, sums + i);
  }
  if (curved) curve_block(a.gate, sums, 2 * outputs * kSums);
  for (int x = 0; x < outputs; ++x, sums += 2 * kSums, to += a.channels)
    store_block<kPart>(hn::Load(d, sums), hn::Load(d, sums + kSums), to, channels);
}

template <int kOutputs, bool kPart>
HWY_ATTR HWY_INLINE void finish_block(const DepthwiseArgs<BFloat16>& a, V (&lower)[kOutputs], V (&upper)[kOutputs],
                                      int64_t c, Channels channels) {
  const D d;
  if (a.residual != nullptr || a.wide_out != nullptr || a.slope != nullptr || a.scale != nullptr || a.gate.used()) {
    HWY_ALIGN float sums[2 * kOutputs * kSums];
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) {
      hn::Store(lower[x], d, sums + 2 * x * kSums);
      hn::Store(upper[x], d, sums + (2 * x + 1) * kSums);
    }
    finish_sums<kPart>(a, sums, kOutputs, c, channels);
    return;
  }
  const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi);
  BFloat16* const to = a.out + c;
  const int64_t step = a.channels;
#pragma GCC unroll 8
  for (int x = 0; x < kOutputs; ++x)
    store_block<kPart>(clamped(lower[x], lo, hi), clamped(upper[x], lo, hi), to + x * step, channels);
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
    lower_bias = lanes_of_two(first, last, kLowerHalves);
    upper_bias = lanes_of_two(first, last, kUpperHalves);
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

template <int kSize, int kStride, int kOutputs>
HWY_ATTR void pair_kernel(const DepthwiseArgs<BFloat16>& a) {
  int64_t c = a.first;
  for (; c + kPairChannels <= a.last; c += kPairChannels) pair_block<kSize, kStride, kOutputs, false>(a, c);
  if (c < a.last) pair_block<kSize, kStride, kOutputs, true>(a, c);
}

template <int kOutputs>
void fill_pairs(DepthwisePairKernels& t) {
  if constexpr (kOutputs > 0) {
    t.fixed[0][0][kOutputs] = &pair_kernel<3, 1, kOutputs>;
    t.fixed[0][1][kOutputs] = &pair_kernel<3, 2, kOutputs>;
    t.fixed[1][0][kOutputs] = &pair_kernel<5, 1, kOutputs>;
    t.fixed[1][1][kOutputs] = &pair_kernel<5, 2, kOutputs>;
    fill_pairs<kOutputs - 1>(t);
  }
}
#endif

const DepthwisePairKernels& get_depthwise_pair_kernels() {
  static const DepthwisePairKernels table = [] {
    DepthwisePairKernels t;
#if HWY_TARGET == HWY_AVX3
    if (rounds_natively()) fill_pairs<kDepthwiseOutputs>(t);
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
  const bool fixed = s.kh == s.kw && (s.kh == 3 || s.kh == 5) && (s.stride_w == 1 || s.stride_w == 2);
  return fixed && s.dilation_w == 1 && s.multiplier == 1 && s.c > kPairChannels / 2 &&
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
