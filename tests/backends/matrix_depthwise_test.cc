// Depthwise convolutions, alone and with the 1x1 behind them, against plain loops in double, on generated shapes.
#include "backends/cpu/matrix/depthwise_half.h"
#include "backends/cpu/matrix/depthwise_pairs.h"
#include "backends/cpu/matrix/depthwise_split.h"
#include "backends/matrix_kernels.h"

namespace blade::backends::cpu {

// Depthwise weights as the kernels take them: bfloat16 in pairs or split by parity wherever there are kernels for that.
template <class T>
struct KernelWeights {
  std::vector<float> wide;  // rounded where the packed ones are
  AlignedBuffer pairs, split;

  KernelWeights(const DepthwiseShape& s, std::vector<float> weights, bool in_pairs) : wide(std::move(weights)) {
    if constexpr (!std::is_same_v<T, float>) {
      std::vector<T> narrow(wide.begin(), wide.end());
      for (size_t i = 0; i < wide.size(); ++i) wide[i] = static_cast<float>(narrow[i]);
      if (in_pairs && multiplies_pairs(s)) {
        pairs = AlignedBuffer::allocate(depthwise_pair_bytes(s));
        pack_depthwise_pairs(s, narrow.data(), pairs.as<BFloat16>());
      } else if (!in_pairs && split_channels(s) > 0) {
        split = AlignedBuffer::allocate(depthwise_split_bytes(s));
        pack_depthwise_split(s, narrow.data(), split.as<float>());
      }
    }
  }
  DepthwiseWeights view() const {
    if (pairs.data() != nullptr) return {nullptr, pairs.as<BFloat16>()};
    return {wide.data(), nullptr, split.data() != nullptr ? split.as<float>() : nullptr};
  }
};

template <class T>
void MatrixKernels::depthwise_case(int round) {
  DepthwiseShape s;
  s.n = pick({1, 2});
  s.h = pick({1, 3, 7, 10});
  s.w = pick({1, 4, 7, 15, 33});
  s.c = pick({1, 3, 7, 8, 16, 17, 24, 32, 49, 70, 250});
  s.multiplier = pick({1, 1, 1, 2, 5});
  s.kh = pick({1, 3, 3, 5, 7});
  s.kw = round % 3 == 0 ? pick({1, 2, 3}) : s.kh;
  s.stride_h = pick({1, 1, 2, 3});
  s.stride_w = round % 4 == 0 ? pick({1, 2, 3}) : s.stride_h;
  s.dilation_h = pick({1, 1, 2});
  s.dilation_w = pick({1, 1, 2});
  s.pad_top = pick({0, 1, 2});
  s.pad_left = pick({0, 1, 3});
  s.oh = out_size(s.h, s.kh, s.stride_h, s.dilation_h, s.pad_top + pick({0, 1, 2}));
  s.ow = out_size(s.w, s.kw, s.stride_w, s.dilation_w, s.pad_left + pick({0, 1, 2}));
  const int64_t channels = s.c * s.multiplier;
  Conv2DShape as_conv{s.n,  s.h,        s.w,        s.c,          s.kh,         s.kw,      channels,   s.oh,
                      s.ow, s.stride_h, s.stride_w, s.dilation_h, s.dilation_w, s.pad_top, s.pad_left, s.c};
  SCOPED_TRACE(describe(as_conv));
  const auto in = random<T>(s.n * s.h * s.w * s.c);
  const KernelWeights<T> weights(s, random(s.kh * s.kw * channels), round % 2 == 0);
  const std::vector<float>& w = weights.wide;
  const int64_t pixels = as_conv.output_pixels();
  const EpilogueCase<T> e(round * 37 % kEpilogueKinds, random(channels), random<T>(pixels * channels), channels);
  std::vector<T> out(pixels * channels + 1, T(kCanary));
  depthwise_conv2d(s, in.data(), weights.view(), out.data(), e.epilogue, *pool_,
                   scratch(depthwise_scratch_bytes<T>(s, pool_->num_threads())));
  check_scratch();
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t o = 0; o < channels; ++o) {
      const double want = e.expected(conv_at(as_conv, in, w, p, o), p, o);
      ASSERT_NEAR(number(out[p * channels + o]), want, tolerance<T>(s.kh * s.kw, want)) << p << " " << o;
    }
  }
  EXPECT_TRUE(is_canary(out.back()));
}

TEST_P(MatrixKernels, Depthwise) {
  for (int round = 0; round < 120; ++round) depthwise_case<float>(round);
}
TEST_P(MatrixKernels, DepthwiseBf16) {
  if (!has_kernels<BFloat16>()) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (int round = 0; round < 240; ++round) depthwise_case<BFloat16>(round);
}

// Pixels in float16, as they lie between the convolutions of a step; sums are, too.
void MatrixKernels::depthwise_half_case(int round) {
  DepthwiseShape s;
  s.n = pick({1, 2});
  s.h = pick({1, 3, 7, 10});
  s.w = pick({1, 4, 7, 15, 33});
  s.c = pick({1, 7, 16, 17, 24, 32, 49, 70, 250});
  s.kh = s.kw = pick({3, 5});
  s.stride_h = s.stride_w = pick({1, 2});
  s.dilation_h = pick({1, 1, 2});
  s.pad_top = s.pad_left = pick({0, 1, 2});
  s.oh = out_size(s.h, s.kh, s.stride_h, s.dilation_h, s.pad_top + pick({0, 1, 2}));
  s.ow = out_size(s.w, s.kw, s.stride_w, 1, s.pad_left + pick({0, 1, 2}));
  Conv2DShape as_conv{s.n,  s.h,        s.w,        s.c,          s.kh, s.kw,      s.c,        s.oh,
                      s.ow, s.stride_h, s.stride_w, s.dilation_h, 1,    s.pad_top, s.pad_left, s.c};
  SCOPED_TRACE(describe(as_conv));
  auto in = random(s.n * s.h * s.w * s.c);
  std::vector<BFloat16> bits(in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    const Float16 half(6 * in[i]);
    in[i] = static_cast<float>(half);
    bits[i].bits = half.bits;
  }
  const auto w = random<BFloat16>(s.kh * s.kw * s.c);
  AlignedBuffer packed = AlignedBuffer::allocate(depthwise_half_bytes(s));
  pack_depthwise_half(s, w.data(), packed.as<uint16_t>());
  DepthwiseWeights weights;
  weights.half = packed.as<uint16_t>();
  const int64_t pixels = as_conv.output_pixels();
  constexpr int kGeneric = 8;
  const EpilogueCase<BFloat16> e(round * 37 % kEpilogueKinds & ~kGeneric, random(s.c), random<BFloat16>(pixels * s.c),
                                 s.c);
  std::vector<BFloat16> out(pixels * s.c + 1, BFloat16(kCanary));
  depthwise_conv2d(s, bits.data(), weights, out.data(), e.epilogue, *pool_,
                   scratch(depthwise_scratch_bytes<BFloat16>(s, pool_->num_threads())));
  check_scratch();
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t o = 0; o < s.c; ++o) {
      const double want = e.expected(conv_at(as_conv, in, w, p, o), p, o);
      const double of_sums = 0x1p-11 * 6 * static_cast<double>(s.kh * s.kw);
      ASSERT_NEAR(number(out[p * s.c + o]), want, tolerance<BFloat16>(s.kh * s.kw, want) + of_sums) << p << " " << o;
    }
  }
  EXPECT_TRUE(is_canary(out.back()));
}
TEST_P(MatrixKernels, DepthwiseHalf) {
  if (!multiplies_halves({.kh = 3, .kw = 3})) GTEST_SKIP() << "no float16 arithmetic, or not on this instruction set";
  for (int round = 0; round < 240; ++round) depthwise_half_case(round);
}

TEST(DepthwiseHalf, PixelsAreBoundedByTheLargestSum) {
  DepthwiseShape s;
  s.kh = s.kw = 3;
  s.c = 2;
  std::vector<BFloat16> weights(18, BFloat16(0.0f));
  for (size_t i = 1; i < weights.size(); i += 2) weights[i] = BFloat16(i % 4 == 1 ? 100.0f : -100.0f);
  EXPECT_FLOAT_EQ(most_half_pixel(s, weights.data()), kMostHalf / 2 / 900);
}

template <class T>
void MatrixKernels::separable_case(int round) {
  DepthwiseShape s;
  s.n = pick({1, 1, 3});
  s.h = pick({1, 4, 9, 23});
  s.w = pick({1, 5, 8, 31});
  s.c = pick({1, 3, 8, 17, 24, 64});
  s.multiplier = pick({1, 1, 1, 2});
  s.kh = s.kw = pick({1, 3, 3, 5});
  s.stride_h = s.stride_w = pick({1, 1, 2});
  s.pad_top = s.pad_left = pick({0, 1, 2});
  s.oh = out_size(s.h, s.kh, s.stride_h, 1, s.pad_top + pick({0, 1, 2}));
  s.ow = out_size(s.w, s.kw, s.stride_w, 1, s.pad_left + pick({0, 1, 2}));
  s.unit = unit_;
  const int64_t channels = s.c * s.multiplier, oc = pick({1, 7, 16, 24, 33, 96});
  const Conv2DShape as_conv{s.n,  s.h,        s.w,        s.c, s.kh, s.kw,      channels,   s.oh,
                            s.ow, s.stride_h, s.stride_w, 1,   1,    s.pad_top, s.pad_left, s.c};
  SCOPED_TRACE(describe(as_conv));
  const auto in = random<T>(s.n * s.h * s.w * s.c);
  const KernelWeights<T> weights(s, random(s.kh * s.kw * channels), round % 2 == 0);
  const std::vector<float>& w = weights.wide;
  const auto w2 = random<T>(channels * oc);
  const int64_t pixels = as_conv.output_pixels();
  const EpilogueCase<T> between(round * 37 % kEpilogueKinds, random(channels), random<T>(pixels * channels), channels);
  const EpilogueCase<T> e(round * 29 % kEpilogueKinds, random(oc), random<T>(pixels * oc), oc);
  AlignedBuffer packed = AlignedBuffer::allocate(packed_b_bytes(packed_steps<T>(1, channels), oc) + 64);
  pack_runs(w2.data(), 1, channels, oc, oc, 1, packed.data());
  std::vector<T> out(pixels * oc + 1, T(kCanary));
  separable_conv2d(s, oc, in.data(), weights.view(), packed.data(), out.data(), between.epilogue, e.epilogue, *pool_,
                   scratch(separable_scratch_bytes<T>(s, oc, pool_->num_threads())));
  check_scratch();
  std::vector<double> middle(channels);
  const double between_error = sizeof(T) == 2 ? 0x1p-8 : 1e-6;
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < channels; ++c) middle[c] = between.expected(conv_at(as_conv, in, w, p, c), p, c);
    for (int64_t o = 0; o < oc; ++o) {
      double sum = 0, size = 0;
      for (int64_t c = 0; c < channels; ++c) sum += middle[c] * number(w2[c * oc + o]), size += std::abs(middle[c]);
      const double want = e.expected(sum, p, o);
      ASSERT_NEAR(number(out[p * oc + o]), want, tolerance<T>(channels, want) + between_error * size) << p << " " << o;
    }
  }
  EXPECT_TRUE(is_canary(out.back()));
}

TEST_P(MatrixKernels, Separable) {
  for (int round = 0; round < 60; ++round) separable_case<float>(round);
}
TEST_P(MatrixKernels, SeparableBf16) {
  if (!has_kernels<BFloat16>()) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (int round = 0; round < 60; ++round) separable_case<BFloat16>(round);
}
TEST_P(MatrixKernels, SeparableAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int round = 0; round < 60; ++round) separable_case<BFloat16>(round);
}

}  // namespace blade::backends::cpu
