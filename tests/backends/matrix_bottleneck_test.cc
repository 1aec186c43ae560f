// Rows of a convolution alone, and bottlenecks strip by strip, against plain loops in double.
#include <limits>

#include "backends/cpu/matrix/bottleneck.h"
#include "backends/cpu/matrix/depthwise_half.h"
#include "backends/matrix_kernels.h"

namespace blade::backends::cpu {
namespace {

// What a layer makes and, about, how far kernels that round their sums and results are from it: errors of an input add
// up as those of random signs do.
struct Layer {
  std::vector<double> values, errors;
};

template <class W>
Layer layer_of(const Conv2DShape& s, const Layer& in, const std::vector<W>& w, const EpilogueCase<BFloat16>& e) {
  constexpr double kSteepest = 2.5;  // what an epilogue makes of an error
  Layer out;
  std::vector<double> squares(w.size()), of_inputs(in.errors.size());
  std::transform(w.begin(), w.end(), squares.begin(), [](W x) { return number(x) * number(x); });
  std::transform(in.errors.begin(), in.errors.end(), of_inputs.begin(), [](double x) { return x * x; });
  for (int64_t p = 0; p < s.output_pixels(); ++p) {
    for (int64_t o = 0; o < s.oc; ++o) {
      const double value = e.expected(conv_at(s, in.values, w, p, o), p, o);
      out.values.push_back(value);
      out.errors.push_back(kSteepest * 2 * std::sqrt(conv_at(s, of_inputs, squares, p, o)) +
                           tolerance<BFloat16>(s.kh * s.kw * s.c, value));
    }
  }
  return out;
}

Conv2DShape as_conv(const DepthwiseShape& s) {
  return {s.n,  s.h,        s.w,        s.c,          s.kh,         s.kw,      s.c,        s.oh,
          s.ow, s.stride_h, s.stride_w, s.dilation_h, s.dilation_w, s.pad_top, s.pad_left, s.c};
}

// kernel, stride and dilation: of the depthwise convolution.
BottleneckShape bottleneck(int64_t n, int64_t size, int64_t c, int64_t inner, int64_t kernel, int64_t stride,
                           int64_t oc, int64_t dilation = 1) {
  BottleneckShape s;
  s.first = {.n = n, .h = size, .w = size, .c = c, .oc = inner, .oh = size, .ow = size, .unit = MatrixUnit::kTiles};
  DepthwiseShape& d = s.depthwise;
  d = {.n = n, .h = size, .w = size, .c = inner, .kh = kernel, .kw = kernel};
  d.stride_h = d.stride_w = stride;
  d.dilation_h = d.dilation_w = dilation;
  d.pad_top = d.pad_left = (kernel - 1) * dilation / 2;
  d.oh = d.ow = ceil_div(size, stride);
  s.oc = oc;
  return s;
}

}  // namespace

void MatrixKernels::bottleneck_case(int round, const BottleneckShape& s, const BottleneckData& data) {
  const DepthwiseShape& d = s.depthwise;
  const Conv2DShape depthwise = as_conv(d);
  const Conv2DShape last = {.n = d.n, .h = d.oh, .w = d.ow, .c = d.c, .oc = s.oc, .oh = d.oh, .ow = d.ow};
  SCOPED_TRACE(describe(s.first) + describe(depthwise) + std::to_string(s.oc));
  ASSERT_EQ(conv2d_rows_refusal<BFloat16>(s.first), nullptr);
  auto in = random<BFloat16>(s.first.n * s.first.h * s.first.w * s.first.c);
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const float x : {kInfinity, -kInfinity, kNaN}) {
    if (data.special) in[std::uniform_int_distribution<size_t>(0, in.size() - 1)(rng_)] = BFloat16(x);
  }
  const int64_t row = s.first.w * s.first.c;
  for (int64_t i = data.large_begin * row; i < data.large_end * row; ++i)
    in[i] = BFloat16(1e5f * static_cast<float>(in[i]));
  const auto w1 = random<BFloat16>(s.first.c * d.c), w2 = random<BFloat16>(d.kh * d.kw * d.c),
             w3 = random<BFloat16>(d.c * s.oc);
  const int64_t pixels = depthwise.output_pixels();
  std::vector<float> bias = random(d.c);
  if (round % 3 == 0) bias[0] = 20000;
  const int last_kind = data.in_place ? round % 2 | 2 : round * 37 % kEpilogueKinds | (round % 2 == 0 ? 8 : 0);
  constexpr int kOpenKinds[] = {1, 17, 385, 161};  // with a slope, with a gate, with a curve
  const EpilogueCase<BFloat16> first(s.may_overflow ? kOpenKinds[round % 4] : 5, random(d.c), {}, d.c),
      between(data.special     ? 5
              : round % 3 == 2 ? 128
                               : 1,
              bias, {}, d.c),
      e(data.special ? 3 : last_kind, random(s.oc), random<BFloat16>(pixels * s.oc), s.oc);
  AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<BFloat16>(s.first) + 64);
  pack_conv_weights(s.first, w1.data(), packed.data());
  AlignedBuffer last_packed = AlignedBuffer::allocate(packed_b_bytes(packed_steps<BFloat16>(1, d.c), s.oc) + 64);
  pack_runs(w3.data(), 1, d.c, s.oc, s.oc, 1, last_packed.data());
  std::vector<float> wide(w2.size());
  std::transform(w2.begin(), w2.end(), wide.begin(), [](BFloat16 x) { return static_cast<float>(x); });
  AlignedBuffer half = AlignedBuffer::allocate(depthwise_half_bytes(d));
  pack_depthwise_half(d, w2.data(), half.as<uint16_t>());
  DepthwiseWeights weights = wide.data();
  if (s.first.to_half) weights.half = half.as<uint16_t>();
  std::vector<BFloat16> out(pixels * s.oc + 1, BFloat16(kCanary));
  Epilogue<BFloat16> of_last = e.epilogue;
  if (data.in_place) {
    std::copy(e.residual.begin(), e.residual.end(), out.begin());
    of_last.residual = out.data();
  }
  bottleneck_conv2d(s, in.data(), {packed.data(), weights, last_packed.data()}, out.data(),
                    BottleneckEpilogues<BFloat16>{first.epilogue, between.epilogue, of_last}, *pool_,
                    scratch(bottleneck_scratch_bytes<BFloat16>(s, pool_->num_threads())));
  check_scratch();
  Layer layer;
  for (const BFloat16 x : in) layer.values.push_back(number(x)), layer.errors.push_back(0);
  layer = layer_of(last, layer_of(depthwise, layer_of(s.first, layer, w1, first), w2, between), w3, e);
  for (size_t i = 0; i < layer.values.size(); ++i) {
    if (std::isnan(layer.values[i])) {
      ASSERT_TRUE(std::isnan(number(out[i]))) << i << ": " << number(out[i]);
    } else {
      ASSERT_NEAR(number(out[i]), layer.values[i], layer.errors[i]) << i;
    }
  }
  EXPECT_TRUE(is_canary(out.back()));
}

void MatrixKernels::conv_rows_case(int round, int64_t rows, int64_t oc, bool half) {
  const Conv2DShape s = {
      .h = 7, .w = 7, .c = 160, .oc = oc, .oh = 7, .ow = 7, .unit = MatrixUnit::kTiles, .to_half = half};
  const auto in = random<BFloat16>(49 * s.c), w = random<BFloat16>(s.c * oc);
  const EpilogueCase<BFloat16> e(half ? 5 : round * 37 % kEpilogueKinds | 8, random(oc), random<BFloat16>(49 * oc), oc);
  AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<BFloat16>(s) + 64);
  pack_conv_weights(s, w.data(), packed.data());
  AlignedBuffer shared = AlignedBuffer::allocate(conv2d_rows_shared_bytes<BFloat16>(s) + 64);
  conv2d_rows_prepare<BFloat16>(s, shared.data());
  std::vector<BFloat16> out(49 * oc + 1, BFloat16(kCanary));
  for (int64_t y = 0; y < 7; y += rows) {
    conv2d_rows(s, in.data(), packed.data(), out.data() + y * 7 * oc, e.epilogue, y, std::min(rows, 7 - y),
                shared.data(), scratch(conv2d_rows_slot_bytes<BFloat16>(s)));
    check_scratch();
  }
  for (int64_t i = 0; i < 49 * oc; ++i) {
    const double want = e.expected(conv_at(s, in, w, i / oc, i % oc), i / oc, i % oc);
    const double got = half ? double{float16_to_float(out[i].bits)} : number(out[i]);
    ASSERT_NEAR(got, want, tolerance<BFloat16>(s.c, want) / (half ? 4 : 1)) << i;
  }
  EXPECT_TRUE(is_canary(out.back()));
}

// Also where the last strip has fewer pixels than a tile register, the strips before it more.
TEST_P(MatrixKernels, BottleneckAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  const BottleneckShape shapes[] = {bottleneck(1, 14, 32, 960, 3, 2, 160), bottleneck(1, 14, 64, 384, 5, 2, 16),
                                    bottleneck(2, 7, 64, 96, 3, 1, 24), bottleneck(1, 5, 8, 64, 3, 1, 40),
                                    bottleneck(2, 13, 24, 49, 3, 1, 33, 2)};
  int round = 0;
  for (BottleneckShape s : shapes) {
    for (const int64_t strip : {0, 1, 3, 5}) {
      s.depthwise.blocking.strip = strip;
      for (const bool half : {false, true}) {
        if (half && !multiplies_halves(s.depthwise)) continue;
        s.first.to_half = half;
        s.may_overflow = false;
        bottleneck_case(round, s);
        bottleneck_case(round, s, {.special = true});
        bottleneck_case(round, s, {.in_place = true});
        s.may_overflow = half;
        const int64_t rows = s.first.n * s.first.h;
        if (half) bottleneck_case(round, s, {.large_begin = rows / 2, .large_end = rows});
      }
      ++round;
    }
  }
}

// The last row of a part is made again in bfloat16, and what lies where its results go is still the residual.
TEST_P(MatrixKernels, BottleneckOverflowsInTheLastRowOfAPart) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  if (!multiplies_halves({.kh = 3, .kw = 3})) GTEST_SKIP() << "no float16 arithmetic";
  int round = 0;
  for (BottleneckShape s : {bottleneck(1, 14, 32, 96, 3, 2, 24), bottleneck(2, 9, 8, 64, 3, 1, 40)}) {
    const DepthwiseShape& d = s.depthwise;
    s.first.to_half = s.may_overflow = true;
    for (const int64_t strip : {1, 3}) {
      s.depthwise.blocking.strip = strip;
      const int64_t rows = d.n * d.oh, parts = bottleneck_tasks<BFloat16>(s, pool_->num_threads());
      for (int64_t part = 1; part <= parts; ++part) {
        const int64_t last = part * rows / parts - 1;  // of the depthwise convolution
        const int64_t read = std::min(last % d.oh * d.stride_h - d.pad_top + d.kh, d.h) + last / d.oh * d.h;
        bottleneck_case(++round, s, {.large_begin = read - 1, .large_end = read, .in_place = true});
      }
    }
  }
}

// Whatever the image before it was: one that overflows float16 from its first row on.
TEST_P(MatrixKernels, BottleneckImagesDoNotDependOnTheirNeighbours) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  if (!multiplies_halves({.kh = 3, .kw = 3})) GTEST_SKIP() << "no float16 arithmetic";
  for (const int64_t oc : {0, 24}) {
    BottleneckShape both = bottleneck(2, 14, 32, 96, 3, 1, oc);
    both.first.to_half = both.may_overflow = true;
    both.depthwise.blocking.strip = 4;
    BottleneckShape one = both;
    one.first.n = one.depthwise.n = 1;
    const DepthwiseShape& d = both.depthwise;
    const int64_t image = d.h * d.w * both.first.c, results = d.oh * d.ow * (oc > 0 ? oc : d.c);
    auto in = random<BFloat16>(2 * image);
    for (int64_t i = 0; i < image; ++i) in[i] = BFloat16(1e5f * static_cast<float>(in[i]));
    const auto w1 = random<BFloat16>(both.first.c * d.c), w2 = random<BFloat16>(9 * d.c),
               w3 = random<BFloat16>(d.c * oc);
    AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<BFloat16>(both.first) + 64);
    pack_conv_weights(both.first, w1.data(), packed.data());
    AlignedBuffer last =
        AlignedBuffer::allocate(packed_b_bytes(packed_steps<BFloat16>(1, d.c), std::max<int64_t>(1, oc)) + 64);
    if (oc > 0) pack_runs(w3.data(), 1, d.c, oc, oc, 1, last.data());
    std::vector<float> wide(w2.size());
    std::transform(w2.begin(), w2.end(), wide.begin(), [](BFloat16 x) { return static_cast<float>(x); });
    AlignedBuffer half = AlignedBuffer::allocate(depthwise_half_bytes(d));
    pack_depthwise_half(d, w2.data(), half.as<uint16_t>());
    DepthwiseWeights weights = wide.data();
    weights.half = half.as<uint16_t>();
    const Epilogue<BFloat16> none;
    ThreadPool alone(1);
    const auto run = [&](const BottleneckShape& s, const BFloat16* from) {
      std::vector<BFloat16> out(s.depthwise.n * results);
      bottleneck_conv2d(s, from, {packed.data(), weights, oc > 0 ? last.data() : nullptr}, out.data(),
                        BottleneckEpilogues<BFloat16>{none, none, none}, alone,
                        scratch(bottleneck_scratch_bytes<BFloat16>(s, 1)));
      check_scratch();
      return out;
    };
    const auto batch = run(both, in.data()), large = run(one, in.data()), small = run(one, in.data() + image);
    for (int64_t i = 0; i < results; ++i) {
      ASSERT_TRUE(std::isfinite(number(batch[i]))) << i;
      ASSERT_EQ(batch[i].bits, large[i].bits) << i;
      ASSERT_EQ(batch[results + i].bits, small[i].bits) << i;
    }
  }
}

// Convolutions that both hand on what they read, float16 between.
struct HandedOn {
  static constexpr int64_t kChannels = 40, kSize = 11;  // a block of channels and a part of one
  static constexpr int64_t kCount = kSize * kSize * kChannels;
  BottleneckShape s = bottleneck(1, kSize, kChannels, kChannels, 3, 1, 0);
  AlignedBuffer packed, half;
  std::vector<float> wide;
  DepthwiseWeights weights;

  // `again`: by what results of bfloat16 are multiplied.
  explicit HandedOn(float again = 1) {
    s.first.to_half = s.may_overflow = true;
    s.depthwise.blocking.strip = 2;
    std::vector<BFloat16> identity(kChannels * kChannels), centre(9 * kChannels);
    for (int64_t c = 0; c < kChannels; ++c) identity[c * kChannels + c] = centre[4 * kChannels + c] = BFloat16(1);
    packed = AlignedBuffer::allocate(packed_conv_bytes<BFloat16>(s.first) + 64);
    pack_conv_weights(s.first, identity.data(), packed.data());
    half = AlignedBuffer::allocate(depthwise_half_bytes(s.depthwise));
    pack_depthwise_half(s.depthwise, centre.data(), half.as<uint16_t>());
    wide.resize(centre.size());
    std::transform(centre.begin(), centre.end(), wide.begin(),
                   [=](BFloat16 x) { return again * static_cast<float>(x); });
    weights = wide.data();
    weights.half = half.as<uint16_t>();
  }

  // Swish behind the first convolution or the other.
  std::vector<BFloat16> swish(const std::vector<BFloat16>& in, bool in_first, ThreadPool& pool, std::byte* scratch) {
    Epilogue<BFloat16> none, swish;
    swish.gate = {.curve = Curve::kSwish, .coarse = true};
    std::vector<BFloat16> out(kCount);
    bottleneck_conv2d(s, in.data(), {packed.data(), weights, nullptr}, out.data(),
                      BottleneckEpilogues<BFloat16>{in_first ? swish : none, in_first ? none : swish, none}, pool,
                      scratch);
    return out;
  }
};

// Over all that swish is curved on, no further off than rounding to bfloat16 is, but where its results are tiny.
TEST_P(MatrixKernels, SwishInFloat16LosesHalfOfWhatBfloat16Does) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  if (!multiplies_halves({.kh = 3, .kw = 3})) GTEST_SKIP() << "no float16 arithmetic";
  constexpr double kRounding = 0x1p-8, kFlushed = 4e-6, kOfSubnormals = 6e-7;
  HandedOn step;
  std::vector<BFloat16> in(HandedOn::kCount);
  for (int64_t i = 0; i < HandedOn::kCount; ++i) {  // all numbers from 2^-11 on, of both signs
    in[i].bits = static_cast<uint16_t>((127 - 11) * 128 + i / 2);
    if (i % 2 != 0) in[i].bits |= 0x8000;
  }
  for (const bool in_first : {true, false}) {
    const auto out =
        step.swish(in, in_first, *pool_, scratch(bottleneck_scratch_bytes<BFloat16>(step.s, pool_->num_threads())));
    check_scratch();
    for (int64_t i = 0; i < HandedOn::kCount; ++i) {
      const double x = number(in[i]), want = x / (1 + std::exp(-x));
      const double lost = x < -15 ? kFlushed : x < -9.5 ? kOfSubnormals : 1e-7;
      ASSERT_NEAR(number(out[i]), want, 1.5 * kRounding * std::abs(want) + lost) << x << (in_first ? " first" : "");
    }
  }
}

// Sums that a swish makes 0 are made in float16, whatever their size: no strip is made again, nor do results depend on
// where threads begin. Infinite ones stay no numbers.
TEST_P(MatrixKernels, SwishInFloat16OfLargeNegativeSums) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  if (!multiplies_halves({.kh = 3, .kw = 3})) GTEST_SKIP() << "no float16 arithmetic";
  constexpr int64_t kAt = 2 * HandedOn::kSize * HandedOn::kChannels + 3;  // of the first thread
  HandedOn step(2);
  auto in = random<BFloat16>(HandedOn::kCount);
  for (int64_t i = 3; i < HandedOn::kCount; i += HandedOn::kChannels) in[i] = BFloat16(-7e4F);
  in[kAt + 1] = BFloat16(-3e38F);
  const auto run = [&](int threads) {
    ThreadPool pool(threads);
    EXPECT_EQ(bottleneck_tasks<BFloat16>(step.s, threads), threads);
    auto out = step.swish(in, true, pool, scratch(bottleneck_scratch_bytes<BFloat16>(step.s, threads)));
    check_scratch();
    return out;
  };
  const auto one = run(1), two = run(2);
  for (int64_t i = 0; i < HandedOn::kCount; ++i) {
    const double x = number(in[i]), want = x / (1 + std::exp(-x));
    ASSERT_NEAR(number(one[i]), want, 0x1p-7 * std::abs(want)) << x;
    ASSERT_EQ(one[i].bits, two[i].bits) << x;
  }
  for (const float x : {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    in[kAt] = BFloat16(x);
    EXPECT_TRUE(std::isnan(number(run(1)[kAt]))) << x;
  }
}

TEST_P(MatrixKernels, ConvRowsAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  int round = 0;
  for (const int64_t rows : {1, 2, 3}) {
    for (const int64_t oc : {16, 40, 96}) {
      conv_rows_case(++round, rows, oc, false);
      if (multiplies_halves({.kh = 3, .kw = 3})) conv_rows_case(round, rows, oc, true);
    }
  }
}

TEST(Bottleneck, StripsAreAboutAsHighAsEachOther) {
  const auto strips = [](int64_t left, int64_t most, bool pairs) {
    std::vector<int64_t> rows;
    for (; left > 0; left -= rows.back()) rows.push_back(next_strip_rows(left, most, pairs));
    return rows;
  };
  using Rows = std::vector<int64_t>;
  EXPECT_EQ(strips(7, 3, false), (Rows{3, 2, 2}));
  EXPECT_EQ(strips(5, 4, true), (Rows{3, 2}));
  EXPECT_EQ(strips(6, 4, true), (Rows{4, 2}));
  EXPECT_EQ(strips(7, 5, true), (Rows{4, 3}));
  EXPECT_EQ(strips(9, 4, true), (Rows{4, 3, 2}));
  EXPECT_EQ(strips(10, 4, false), (Rows{4, 3, 3}));
  EXPECT_EQ(strips(4, 1, true), (Rows{1, 1, 1, 1}));
  EXPECT_EQ(strips(3, 8, true), (Rows{3}));
}

}  // namespace blade::backends::cpu
