// Sums of 32 channels in a register, of one row or two of eight outputs.
#include "backends/cpu/matrix/depthwise_half.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "backends/cpu/matrix/simd_targets.h"
#include "backends/machine.h"
#include "base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/depthwise_half.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/depthwise_block_inl.h"
#include "backends/cpu/matrix/half_math_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
// The first half of the channels in one vector, the last one in the other.
struct InHalves {
  alignas(64) static constexpr int32_t kOne[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  alignas(64) static constexpr int32_t kOther[] = {16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
  static constexpr const int32_t *kFirst = kOne, *kLast = kOther;
  static HWY_ATTR HWY_INLINE VPixels ordered(VPixels joined) { return joined; }
};

// Results of a row, whose sums stand in memory: converting from there takes an instruction a vector less. `whole`: they
// have had their epilogue.
template <int kOutputs, bool kPart>
HWY_ATTR HWY_INLINE void finish_halves(const DepthwiseArgs<BFloat16>& a, int row, const uint16_t* sums, int64_t c,
                                       Channels channels, bool whole) {
  BFloat16* const to = a.out + row * a.out_row_step + c;
  if (whole) {
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) {
      const uint16_t* const sum = sums + x * kHalfChannels;
      store_block<InHalves, kPart>(from_halves(sum), from_halves(sum + kSums), to + x * a.channels, channels);
    }
    return;
  }
  HWY_ALIGN float wide[kOutputs * kHalfChannels];
  for (int64_t i = 0; i < kOutputs * kHalfChannels; i += kSums) hn::Store(from_halves(sums + i), D(), wide + i);
  DepthwiseArgs<BFloat16> of_row = a;
  of_row.out += row * a.out_row_step;
  if (a.residual != nullptr) of_row.residual += row * a.residual_row_step;
  finish_sums<InHalves, kPart>(of_row, wide, kOutputs, c, channels);
}

template <bool kPart>
struct HalfTaps {
  using Vector = VPixels;
  const uint16_t* packed;
  Channels channels;

  HWY_ATTR HWY_INLINE Vector weights(int tap) const { return hn::Load(DPixels(), packed + tap * kHalfChannels); }
  HWY_ATTR HWY_INLINE Vector pixel(const BFloat16* from) const { return load_pixels<kPart>(from, channels); }
  static HWY_ATTR HWY_INLINE Vector multiply_add(Vector x, Vector w, Vector sum) { return half_mul_add(x, w, sum); }
};

// A hard swish that makes no sum larger, or a swish.
HWY_ATTR HWY_INLINE bool only_gates(const DepthwiseArgs<BFloat16>& a) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const bool in_half = a.gate.curve == Curve::kNone ? a.gate.hi <= 1 : a.gate.curve == Curve::kSwish && a.gate.coarse;
  return a.gate.used() && in_half && a.lo == -kInfinity && a.hi == kInfinity && a.residual == nullptr &&
         a.wide_out == nullptr && a.slope == nullptr && a.scale == nullptr;
}
template <int kRows, int kOutputs>
HWY_ATTR HWY_INLINE void swish_halves(VPixels (&sums)[kRows][kOutputs]) {
  const HalfSwish swish;
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) sums[row][x] = swish(sums[row][x]);
  }
}
template <int kRows, int kOutputs>
HWY_ATTR HWY_INLINE void gate_halves(const Gate& gate, VPixels (&sums)[kRows][kOutputs]) {
  if (gate.curve == Curve::kSwish) return swish_halves(sums);
  const VPixels scale = in_all_halves(gate.scale), shift = in_all_halves(gate.shift), hi = in_all_halves(gate.hi);
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) {
      const VPixels open = half_clamped(half_mul_add(sums[row][x], scale, shift), hn::Zero(DPixels()), hi);
      sums[row][x] = half_mul(sums[row][x], open);
    }
  }
}

// Zero times a number is zero, and NaN times all else.
template <int kRows, int kOutputs>
HWY_ATTR HWY_INLINE bool all_finite(const VPixels (&sums)[kRows][kOutputs]) {
  const DPixels dp;
  VPixels zeros[2] = {hn::Zero(dp), hn::Zero(dp)};  // two chains of additions
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) zeros[x % 2] = half_mul_add(sums[row][x], hn::Zero(dp), zeros[x % 2]);
  }
  return hn::AllFalse(dp, hn::Ne(hn::Or(zeros[0], zeros[1]), hn::Zero(dp)));
}

template <int kSize, int kStride, int kRows, int kOutputs, bool kPart>
HWY_ATTR HWY_INLINE void half_block(const DepthwiseArgs<BFloat16>& a, int64_t c) {
  const D d;
  const DPixels dp;
  const int64_t left = a.last - c;
  const Channels channels = hn::FirstN(dp, static_cast<size_t>(left));
  VPixels bias = hn::Zero(dp);
  if (a.bias != nullptr)
    bias = halves_from(load_some(d, a.bias + c, left), load_some(d, a.bias + c + kSums, left - kSums));
  VPixels acc[kRows][kOutputs];
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) acc[row][x] = bias;
  }
  add_taps<kSize, kStride>(a, HalfTaps<kPart>{a.half + c * kSize * kSize, channels}, c, acc);
  const bool clamps = only_clamps(a), gates = only_gates(a);
  if (gates) gate_halves(a.gate, acc);
  if (a.not_finite != nullptr && !all_finite(acc)) *a.not_finite = true;
  const VPixels lo = in_all_halves(a.lo), hi = in_all_halves(a.hi);
  HWY_ALIGN uint16_t sums[kRows * kOutputs * kHalfChannels];
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int x = 0; x < kOutputs; ++x) {
      const VPixels y = clamps ? half_clamped(acc[row][x], lo, hi) : acc[row][x];
      hn::Store(y, dp, sums + (row * kOutputs + x) * kHalfChannels);
    }
    finish_halves<kOutputs, kPart>(a, row, sums + row * kOutputs * kHalfChannels, c, channels, clamps || gates);
  }
}

struct HalfBlocks {
  template <int kSize, int kStride, int kRows, int kOutputs, bool kPart>
  static HWY_ATTR HWY_INLINE void make(const DepthwiseArgs<BFloat16>& a, int64_t c) {
    half_block<kSize, kStride, kRows, kOutputs, kPart>(a, c);
  }
};
#endif

const DepthwiseHalfKernels& get_depthwise_half_kernels() {
  static const DepthwiseHalfKernels table = [] {
    DepthwiseHalfKernels t;
#if HWY_TARGET == HWY_AVX3
    if (rounds_natively() && Machine::host().avx512_fp16) fill_with_blocks<HalfBlocks>(t);
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
HWY_EXPORT(get_depthwise_half_kernels);
}  // namespace

const DepthwiseHalfKernels& depthwise_half_kernels() { return HWY_DYNAMIC_DISPATCH(get_depthwise_half_kernels)(); }

bool multiplies_halves(const DepthwiseShape& s) {
  return s.has_fixed_kernel() && s.multiplier == 1 && depthwise_half_kernels().fixed[0][0][1] != nullptr;
}

float most_half_pixel(const DepthwiseShape& s, const BFloat16* weights) {
  std::vector<float> sums(static_cast<size_t>(s.c));
  for (int64_t i = 0; i < s.kh * s.kw * s.c; ++i) sums[i % s.c] += std::abs(static_cast<float>(weights[i]));
  const float most = *std::max_element(sums.begin(), sums.end());
  return most > 1 ? kMostHalf / 2 / most : kMostHalf / 2;
}

size_t depthwise_half_bytes(const DepthwiseShape& s) {
  return static_cast<size_t>(align_up(static_cast<size_t>(s.c), kHalfChannels) * s.kh * s.kw) * sizeof(uint16_t);
}

void pack_depthwise_half(const DepthwiseShape& s, const BFloat16* weights, uint16_t* to) {
  for (int64_t block = 0; block < s.c; block += kHalfChannels) {
    for (int64_t tap = 0; tap < s.kh * s.kw; ++tap) {
      for (int64_t c = block; c < block + kHalfChannels; ++c)
        *to++ = c < s.c ? Float16(static_cast<float>(weights[tap * s.c + c])).bits : uint16_t{0};
    }
  }
}

}  // namespace blade::backends::cpu
#endif
