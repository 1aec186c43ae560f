// Convolutions of every kind against plain loops in double, on generated shapes.
#include <cstring>
#include <limits>

#include "backends/cpu/matrix/conv_planes.h"
#include "backends/machine.h"
#include "backends/matrix_kernels.h"
#include "support/page_end.h"

namespace blade::backends::cpu {

template <class T, class In, class Out>
void MatrixKernels::conv_case(int round) {
  Conv2DShape s;
  s.groups = pick({1, 1, 1, 2, 3});
  s.n = pick({1, 1, 2, 3});
  s.h = pick({1, 2, 5, 7, 11, 14});
  s.w = pick({1, 3, 6, 7, 13, 17});
  s.c = s.groups * pick({1, 2, 3, 5, 8, 16, 17, 24});
  s.oc = s.groups * pick({1, 2, 7, 16, 24, 33, 48, 64, 72});
  s.kh = pick({1, 1, 2, 3, 3, 5});
  s.kw = pick({1, 1, 2, 3, 3, 7});
  s.stride_h = pick({1, 1, 2, 3, 9});
  s.stride_w = pick({1, 1, 2, 3, 20});
  s.dilation_h = pick({1, 1, 2});
  s.dilation_w = pick({1, 1, 3});
  s.pad_top = pick({0, 1, 2, 4});
  s.pad_left = pick({0, 1, 3});
  s.oh = out_size(s.h, s.kh, s.stride_h, s.dilation_h, s.pad_top + pick({0, 1, 3}));
  s.ow = out_size(s.w, s.kw, s.stride_w, s.dilation_w, s.pad_left + pick({0, 1, 2}));
  if (round % 7 == 0) s.in_pixel_stride = s.c + 5;
  if (round % 9 == 0) s.out_pixel_stride = s.oc + 3;
  s.unit = unit_;
  if (!std::is_same_v<T, In> && !rounds_input(s)) return;
  check_conv<T, In, Out>(s, round);
}

template <class T, class In, class Out>
void MatrixKernels::check_conv(const Conv2DShape& s, int round) {
  SCOPED_TRACE(describe(s));
  std::vector<In> in = random<In>(s.n * s.h * s.w * s.input_pitch());
  if (!std::is_same_v<T, In>) {
    for (In& x : in) x = In(number(T(static_cast<float>(x))));  // what the kernel sees
  }
  const auto w = random<T>(s.kh * s.kw * s.c / s.groups * s.oc);
  const int64_t pixels = s.output_pixels();
  const EpilogueCase<T> e(round * 37 % kEpilogueKinds, random(s.oc), random<T>(pixels * s.output_pitch()),
                          s.output_pitch());
  AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<T>(s) + 64);
  pack_conv_weights(s, w.data(), packed.data());
  std::vector<Out> out(pixels * s.output_pitch() + 1, Out(kCanary));
  const AtPageEnd<In> fenced(in);
  conv2d(s, fenced.data(), packed.data(), out.data(), e.epilogue, *pool_,
         scratch(conv2d_scratch_bytes<T>(s, pool_->num_threads())));
  check_scratch();
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t o = 0; o < s.oc; ++o) {
      const double want = e.expected(conv_at(s, in, w, p, o), p, o);
      ASSERT_NEAR(number(out[p * s.output_pitch() + o]), want, tolerance<Out>(s.kh * s.kw * s.c, want))
          << p << " " << o;
    }
    for (int64_t o = s.oc; o < s.output_pitch(); ++o) ASSERT_TRUE(is_canary(out[p * s.output_pitch() + o]));
  }
  EXPECT_TRUE(is_canary(out.back()));
}

// Groups go together through parts of many pixels, and of few pixels through parts of their columns.
TEST_P(MatrixKernels, ConvOfGroupsInParts) {
  struct Case {
    int64_t groups, group_in, group_out, side, taps;
  };
  const Case cases[] = {{3, 80, 20, 29, 1}, {3, 20, 80, 23, 1},  {5, 24, 16, 13, 3}, {2, 48, 64, 25, 1},
                        {3, 64, 211, 3, 1}, {4, 160, 192, 2, 1}, {7, 3, 5, 53, 2}};
  int round = 0;
  for (const Case& c : cases) {
    Conv2DShape s;
    s.groups = c.groups;
    s.c = c.groups * c.group_in;
    s.oc = c.groups * c.group_out;
    s.h = s.w = s.oh = s.ow = c.side;
    s.kh = s.kw = c.taps;
    s.pad_top = s.pad_left = c.taps / 2;
    check_conv<float, float, float>(s, round++);
    if (has_kernels<BFloat16>()) check_conv<BFloat16, BFloat16, BFloat16>(s, round);
  }
}

std::vector<float> MatrixKernels::pointwise_conv(const Conv2DShape& s, const std::vector<float>& in,
                                                 const std::vector<float>& w, const Epilogue<float>& epilogue) {
  AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<float>(s) + 64);
  pack_conv_weights(s, w.data(), packed.data());
  std::vector<float> out(s.output_pixels() * s.oc + 1, kCanary);
  conv2d(s, in.data(), packed.data(), out.data(), epilogue, *pool_,
         scratch(conv2d_scratch_bytes<float>(s, pool_->num_threads())));
  check_scratch();
  EXPECT_EQ(out.back(), kCanary);
  return out;
}

// Strips whose input comes from beyond L2 are fetched while others are computed: images give what each gives alone.
TEST_P(MatrixKernels, ConvOfFarStripsAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (const int64_t stride : {1, 2}) {
    Conv2DShape s;
    s.n = 3;
    s.h = s.w = 120;
    s.c = s.oc = 32;
    s.kh = s.kw = 3;
    s.stride_h = s.stride_w = stride;
    s.pad_top = s.pad_left = 1;
    s.oh = s.ow = 120 / stride;
    s.unit = unit_;
    const auto in = random<BFloat16>(s.n * s.h * s.w * s.c), w = random<BFloat16>(9 * s.c * s.oc);
    AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<BFloat16>(s));
    pack_conv_weights(s, w.data(), packed.data());
    const auto convolved = [&](const Conv2DShape& of, const BFloat16* from) {
      std::vector<BFloat16> out(static_cast<size_t>(of.output_pixels() * of.oc));
      conv2d(of, from, packed.data(), out.data(), Epilogue<BFloat16>(), *pool_,
             scratch(conv2d_scratch_bytes<BFloat16>(of, pool_->num_threads())));
      check_scratch();
      return out;
    };
    const std::vector<BFloat16> all = convolved(s, in.data());
    Conv2DShape one = s;
    one.n = 1;
    const auto results = static_cast<size_t>(one.output_pixels() * s.oc);
    for (int64_t image = 0; image < s.n; ++image) {
      const std::vector<BFloat16> alone = convolved(one, in.data() + image * s.h * s.w * s.c);
      for (size_t i = 0; i < results; ++i) ASSERT_EQ(all[image * results + i].bits, alone[i].bits) << image << " " << i;
    }
  }
}

// Many rows of few columns, which go by rows turned to lanes where an epilogue allows it. Some have an infinity or NaN.
TEST_P(MatrixKernels, FewColumns) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
  for (int round = 0; round < 24; ++round) {
    Conv2DShape s;
    s.w = s.ow = pick({113, 128, 201});
    s.h = s.oh = pick({1, 2});
    s.c = pick({16, 32, 80, 17});
    s.oc = round % 5 + 1;
    SCOPED_TRACE(describe(s));
    const int64_t pixels = s.output_pixels();
    auto in = random(pixels * s.c);
    const auto w = random(s.c * s.oc);
    for (const float special : {kInfinity, -kInfinity, kNaN})
      in[std::uniform_int_distribution<size_t>(0, in.size() - 1)(rng_)] = special;
    const EpilogueCase<float> e(round * 37 % kEpilogueKinds & (round % 2 == 0 ? ~2 : ~0), random(s.oc),
                                random(pixels * s.oc), s.oc);
    const std::vector<float> out = pointwise_conv(s, in, w, e.epilogue);
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t o = 0; o < s.oc; ++o) {
        const double want = e.expected(conv_at(s, in, w, p, o), p, o);
        const float got = out[p * s.oc + o];
        if (std::isfinite(want)) {
          ASSERT_NEAR(got, want, tolerance<float>(s.c, want)) << p << " " << o;
        } else {
          ASSERT_TRUE(std::isnan(want) ? std::isnan(got) : got == want) << p << " " << o << ": " << got;
        }
      }
    }
  }
}

// What tells that rows are turned: the sums over the even and the odd elements are made apart.
TEST_P(MatrixKernels, FewColumnsAreTurned) {
  const bool has_wide_vectors = tile_kernels<float>().lanes == 16;
  for (const int64_t columns : {1, 2, 3, 4, 5}) {
    Conv2DShape s;
    s.w = s.ow = 131;
    s.c = 48;
    s.oc = columns;
    const auto in = random(s.w * s.c), w = random(s.c * s.oc);
    const std::vector<float> out = pointwise_conv(s, in, w, Epilogue<float>{});
    int64_t equal = 0;
    for (int64_t i = 0; i < s.w * s.oc; ++i) {
      float sums[2] = {0, 0};
      for (int64_t c = 0; c < s.c; ++c)
        sums[c % 2] = std::fma(in[i / s.oc * s.c + c], w[c * s.oc + i % s.oc], sums[c % 2]);
      if (out[i] == sums[0] + sums[1]) ++equal;
    }
    EXPECT_EQ(equal == s.w * s.oc, has_wide_vectors && columns <= 4) << columns << ": " << equal;
  }
}

TEST_P(MatrixKernels, Conv2D) {
  for (int round = 0; round < 120; ++round) conv_case<float>(round);
}
TEST_P(MatrixKernels, Conv2DBf16) {
  if (!has_kernels<BFloat16>()) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (int round = 0; round < 120; ++round) {
    conv_case<BFloat16>(round);
    conv_case<BFloat16, BFloat16, float>(round);
    conv_case<BFloat16, float>(round);
    conv_case<BFloat16, float, float>(round);
  }
}
TEST_P(MatrixKernels, Conv2DAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int round = 0; round < 200; ++round) {
    conv_case<BFloat16>(round);
    conv_case<BFloat16, BFloat16, float>(round);
    conv_case<BFloat16, float>(round);
    conv_case<BFloat16, float, float>(round);
  }
}

// Sums over K that are made in pieces.
TEST_P(MatrixKernels, LongSums) {
  for (const int64_t size : {1, 3}) {
    for (const int kind : {0, 1, 1 + 2 + 4 + 8, 1 + 2 + 128, 1 + 2 + 64 + 256}) {
      Conv2DShape s;
      s.h = s.w = s.oh = s.ow = 5;
      s.kh = s.kw = size;
      s.pad_top = s.pad_left = size / 2;
      s.c = size == 1 ? 2112 : 251;
      s.oc = 72;
      const auto in = random(s.h * s.w * s.c), w = random(size * size * s.c * s.oc);
      const EpilogueCase<float> e(kind, random(s.oc), random(s.output_pixels() * s.oc), s.oc);
      AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<float>(s));
      pack_conv_weights(s, w.data(), packed.data());
      std::vector<float> out(s.output_pixels() * s.oc);
      conv2d(s, in.data(), packed.data(), out.data(), e.epilogue, *pool_,
             scratch(conv2d_scratch_bytes<float>(s, pool_->num_threads())));
      check_scratch();
      for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
        const double want = e.expected(conv_at(s, in, w, i / s.oc, i % s.oc), i / s.oc, i % s.oc);
        ASSERT_NEAR(out[i], want, tolerance(size * size * s.c, want)) << i;
      }
      if (e.epilogue.residual == nullptr || e.epilogue.residual_row_stride != s.oc) continue;
      std::vector<float> in_place(e.epilogue.residual, e.epilogue.residual + out.size());
      EpilogueF32 own = e.epilogue;
      own.residual = in_place.data();
      conv2d(s, in.data(), packed.data(), in_place.data(), own, *pool_,
             scratch(conv2d_scratch_bytes<float>(s, pool_->num_threads())));
      ASSERT_EQ(in_place, out);
    }
  }
}

// Layers as networks have them (and some of prime sizes) against the kernels of AVX512-BF16.
TEST_P(MatrixKernels, LayersOnAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  struct Layer {
    int64_t n, size, c, oc, k, stride, dilation;
  };
  const Layer layers[] = {{1, 56, 64, 64, 3, 1, 1},    {2, 28, 128, 128, 3, 2, 1}, {1, 14, 256, 256, 3, 1, 1},
                          {3, 7, 512, 64, 3, 1, 1},    {1, 56, 64, 256, 1, 1, 1},  {2, 29, 256, 96, 1, 2, 1},
                          {1, 14, 1024, 256, 1, 1, 1}, {2, 64, 3, 64, 7, 2, 1},    {1, 61, 97, 101, 3, 1, 1},
                          {1, 37, 33, 65, 5, 3, 1},    {1, 31, 48, 80, 3, 1, 4},   {4, 1, 2048, 1001, 1, 1, 1},
                          {1, 19, 160, 13, 3, 1, 1},   {5, 3, 40, 16, 3, 1, 1},    {7, 7, 512, 320, 3, 1, 1},
                          {9, 14, 576, 288, 3, 2, 1},  {11, 5, 512, 160, 3, 1, 2}, {5, 6, 1100, 130, 2, 2, 1},
                          {1, 14, 1024, 512, 1, 2, 1}, {9, 13, 128, 64, 1, 3, 1},  {3, 28, 64, 1024, 1, 2, 1}};
  for (const Layer& l : layers) {
    Conv2DShape s;
    s.n = l.n;
    s.h = s.w = l.size;
    s.c = l.c;
    s.oc = l.oc;
    s.kh = s.kw = l.k;
    s.stride_h = s.stride_w = l.stride;
    s.dilation_h = s.dilation_w = l.dilation;
    s.pad_top = s.pad_left = l.k / 2 * l.dilation;
    s.oh = s.ow = out_size(l.size, l.k, l.stride, l.dilation, 2 * s.pad_top);
    s.in_pixel_stride = l.n == 5 ? 100003 : 0;
    SCOPED_TRACE(describe(s));
    const auto in = random<BFloat16>(s.n * s.h * s.w * s.input_pitch());
    const auto w = random<BFloat16>(s.kh * s.kw * s.c * s.oc);
    const auto residual = random<BFloat16>(s.output_pixels() * s.oc);
    const EpilogueCase<BFloat16> e(1 + 2 + 4, random(s.oc), residual, s.oc);
    std::vector<float> out[2];
    for (MatrixUnit unit : {MatrixUnit::kVectors, MatrixUnit::kTiles}) {
      s.unit = unit;
      AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<BFloat16>(s));
      pack_conv_weights(s, w.data(), packed.data());
      std::vector<float>& to = out[static_cast<int>(unit)];
      to.resize(s.output_pixels() * s.oc);
      conv2d(s, in.data(), packed.data(), to.data(), e.epilogue, *pool_,
             scratch(conv2d_scratch_bytes<BFloat16>(s, pool_->num_threads())));
      check_scratch();
    }
    for (size_t i = 0; i < out[0].size(); ++i)
      ASSERT_NEAR(out[0][i], out[1][i], tolerance<float>(s.kh * s.kw * s.c, out[0][i])) << i;
  }
}

// Strips that are cut from images, and of several images: one block of tiles reads each panel once.
TEST(PlanePlan, StripsAreOneBlockOfTiles) {
  struct Layer {
    int64_t n, size, c, oc;
  };
  for (const Layer& l :
       {Layer{8, 7, 512, 512}, {1, 16, 512, 512}, {1, 14, 256, 256}, {1, 56, 64, 64}, {1, 61, 97, 101}}) {
    Conv2DShape s{
        .n = l.n, .h = l.size, .w = l.size, .c = l.c, .kh = 3, .kw = 3, .oc = l.oc, .oh = l.size, .ow = l.size};
    s.pad_top = s.pad_left = 1;
    s.unit = MatrixUnit::kTiles;
    SCOPED_TRACE(describe(s));
    const PlanePlan plan(s);
    const PackedB b = conv_planes_weights(s, nullptr);
    for (int64_t rows = 1; rows <= plan.rows_of(s.n); ++rows) {
      TileJob<BFloat16> job = plan.job(rows, b);
      job.runs = s.kh * s.kw;
      ASSERT_EQ(tiles_per_block(job), tile_count(job)) << rows;
    }
  }
}

// Planned for 8 threads, run on fewer: with splits that were kept, and searched for anew.
TEST_P(MatrixKernels, PoolsOfFewerThreadsOnAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  constexpr int kPlanned = 8;
  struct Layer {
    int64_t n, size, c, oc, k, stride;
  };
  for (const Layer& l :
       {Layer{1, 14, 96, 48, 3, 1}, {1, 29, 65, 64, 3, 2}, {9, 7, 100, 64, 3, 1}, {3, 5, 33, 130, 2, 2}}) {
    Conv2DShape s{.n = l.n, .h = l.size, .w = l.size, .c = l.c, .kh = l.k, .kw = l.k, .oc = l.oc};
    s.stride_h = s.stride_w = l.stride;
    s.pad_top = s.pad_left = l.k / 2;
    s.oh = s.ow = out_size(l.size, l.k, l.stride, 1, 2 * s.pad_top);
    s.unit = unit_;
    SCOPED_TRACE(describe(s));
    ConvTransposeShape transposed{.n = l.n, .h = l.size, .w = l.size, .c = l.c, .kh = l.k, .kw = l.k, .oc = l.oc};
    transposed.oh = transposed.ow = (l.size - 1) * l.stride + l.k;
    transposed.stride_h = transposed.stride_w = l.stride;
    transposed.unit = unit_;
    const PlaneSplits splits = conv2d_splits(s, kPlanned), of_transposed = conv_transpose_splits(transposed, kPlanned);
    ASSERT_EQ(splits.size(), size_t{kPlanned});
    const size_t bytes = conv2d_scratch_bytes<BFloat16>(s, kPlanned, splits);
    const size_t transposed_bytes = conv_transpose_scratch_bytes<BFloat16>(transposed, kPlanned, of_transposed);
    EXPECT_EQ(bytes, conv2d_scratch_bytes<BFloat16>(s, kPlanned));
    EXPECT_EQ(transposed_bytes, conv_transpose_scratch_bytes<BFloat16>(transposed, kPlanned));
    const auto in = random<BFloat16>(s.n * s.h * s.w * s.c), w = random<BFloat16>(s.kh * s.kw * s.c * s.oc);
    AlignedBuffer packed = AlignedBuffer::allocate(
        std::max(packed_conv_bytes<BFloat16>(s), packed_conv_transpose_bytes<BFloat16>(transposed)));
    const auto check = [&](size_t results, size_t scratch_bytes, auto&& run) {
      std::vector<BFloat16> first;
      for (int threads = 1; threads <= kPlanned; ++threads) {
        EXPECT_LE(run(threads, nullptr, nullptr), scratch_bytes) << threads;
        ThreadPool pool(threads);
        std::vector<BFloat16> out(results);
        run(threads, &pool, out.data());
        check_scratch();
        if (first.empty()) first = out;
        ASSERT_EQ(std::memcmp(out.data(), first.data(), results * sizeof(BFloat16)), 0) << threads;
      }
    };
    pack_conv_weights(s, w.data(), packed.data());
    check(static_cast<size_t>(s.output_pixels() * s.oc), bytes, [&](int threads, ThreadPool* pool, BFloat16* out) {
      if (pool != nullptr)
        conv2d(s, in.data(), packed.data(), out, Epilogue<BFloat16>{}, *pool, scratch(bytes),
               threads % 2 == 0 ? splits : PlaneSplits{});
      return conv2d_scratch_bytes<BFloat16>(s, threads);
    });
    pack_conv_transpose_weights(transposed, w.data(), packed.data());
    check(static_cast<size_t>(s.n * transposed.oh * transposed.ow * s.oc), transposed_bytes,
          [&](int threads, ThreadPool* pool, BFloat16* out) {
            if (pool != nullptr)
              conv_transpose(transposed, in.data(), packed.data(), out, Epilogue<BFloat16>{}, *pool,
                             scratch(transposed_bytes), threads % 2 == 0 ? of_transposed : PlaneSplits{});
            return conv_transpose_scratch_bytes<BFloat16>(transposed, threads);
          });
  }
}

template <class T>
void MatrixKernels::aliasing_case(int64_t kernel) {
  Conv2DShape s;
  s.n = 2;
  s.h = s.w = 5;
  s.c = 4096 / sizeof(T);
  s.kh = s.kw = kernel;
  s.oc = 130;
  s.oh = s.ow = kernel == 3 ? 3 : 5;
  s.stride_h = s.stride_w = kernel == 3 ? 2 : 1;
  s.pad_top = s.pad_left = kernel / 2;
  s.unit = unit_;
  SCOPED_TRACE(describe(s));
  const auto in = random<T>(s.n * s.h * s.w * s.c);
  const auto w = random<T>(s.kh * s.kw * s.c * s.oc);
  const EpilogueCase<T> e(1, random(s.oc), {}, 0);
  AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<T>(s));
  pack_conv_weights(s, w.data(), packed.data());
  std::vector<T> out(s.output_pixels() * s.oc);
  conv2d(s, in.data(), packed.data(), out.data(), e.epilogue, *pool_,
         scratch(conv2d_scratch_bytes<T>(s, pool_->num_threads())));
  check_scratch();
  for (int64_t p = 0; p < s.output_pixels(); ++p) {
    for (int64_t o = 0; o < s.oc; o += 7) {
      const double want = e.expected(conv_at(s, in, w, p, o), p, o);
      ASSERT_NEAR(number(out[p * s.oc + o]), want, tolerance<T>(s.kh * s.kw * s.c, want)) << p << " " << o;
    }
  }
}

TEST_P(MatrixKernels, Conv2DWithAliasingPitch) {
  for (int64_t kernel : {1, 3}) aliasing_case<float>(kernel);
}
TEST_P(MatrixKernels, Conv2DWithAliasingPitchBf16) {
  if (!has_kernels<BFloat16>()) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (int64_t kernel : {1, 3}) aliasing_case<BFloat16>(kernel);
}
TEST_P(MatrixKernels, Conv2DWithAliasingPitchAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int64_t kernel : {1, 3}) aliasing_case<BFloat16>(kernel);
}

ConvTransposeShape MatrixKernels::random_transposed() {
  ConvTransposeShape s;
  s.n = pick({1, 2});
  s.h = pick({1, 3, 6});
  s.w = pick({1, 4, 9, 27});
  s.c = pick({1, 5, 16, 33});
  s.oc = pick({1, 2, 3, 8, 17, 32, 70});
  s.kh = pick({1, 2, 3, 4, 5});
  s.kw = pick({1, 2, 3, 4});
  s.stride_h = pick({1, 2, 2, 3});
  s.stride_w = pick({1, 2, 2, 4});
  s.pad_top = pick({0, 1, 2});
  s.pad_left = pick({0, 1});
  s.oh = std::max<int64_t>(1, (s.h - 1) * s.stride_h + s.kh - s.pad_top - pick({-1, 0, 1}));
  s.ow = std::max<int64_t>(1, (s.w - 1) * s.stride_w + s.kw - s.pad_left - pick({-2, 0, 1}));
  return s;
}

template <class T>
void MatrixKernels::conv_transpose_case(int round, ConvTransposeShape s) {
  s.unit = unit_;
  const auto in = random<T>(s.n * s.h * s.w * s.c);
  const auto w = random<T>(s.kh * s.kw * s.oc * s.c);
  const int64_t pixels = s.n * s.oh * s.ow;
  const EpilogueCase<T> e(round * 37 % kEpilogueKinds, random(s.oc), random<T>(pixels * s.oc), s.oc);
  s.finishes_later = e.epilogue.residual != nullptr || e.epilogue.generic != nullptr;
  AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_transpose_bytes<T>(s) + 64);
  pack_conv_transpose_weights(s, w.data(), packed.data());
  std::vector<T> out(pixels * s.oc + 1, T(kCanary));
  const AtPageEnd<T> fenced(in);
  conv_transpose(s, fenced.data(), packed.data(), out.data(), e.epilogue, *pool_,
                 scratch(conv_transpose_scratch_bytes<T>(s, pool_->num_threads())));
  check_scratch();
  std::vector<double> sums(pixels * s.oc, 0.0);
  for (int64_t z = 0; z < s.n * s.h * s.w; ++z) {
    const int64_t image = z / (s.h * s.w);
    for (int64_t t = 0; t < s.kh * s.kw; ++t) {
      const int64_t y = z / s.w % s.h * s.stride_h + t / s.kw - s.pad_top;
      const int64_t x = z % s.w * s.stride_w + t % s.kw - s.pad_left;
      if (y < 0 || y >= s.oh || x < 0 || x >= s.ow) continue;
      for (int64_t o = 0; o < s.oc; ++o) {
        for (int64_t c = 0; c < s.c; ++c) {
          sums[((image * s.oh + y) * s.ow + x) * s.oc + o] +=
              number(in[z * s.c + c]) * number(w[(t * s.oc + o) * s.c + c]);
        }
      }
    }
  }
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t o = 0; o < s.oc; ++o) {
      const double want = e.expected(sums[p * s.oc + o], p, o);
      ASSERT_NEAR(number(out[p * s.oc + o]), want, tolerance<T>(s.kh * s.kw * s.c, want))
          << "round " << round << " pixel " << p << " channel " << o;
    }
  }
  EXPECT_TRUE(is_canary(out.back()));
}

TEST_P(MatrixKernels, ConvTranspose) {
  for (int round = 0; round < 80; ++round) conv_transpose_case<float>(round, random_transposed());
}
TEST_P(MatrixKernels, ConvTransposeBf16) {
  if (!has_kernels<BFloat16>()) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (int round = 0; round < 80; ++round) conv_transpose_case<BFloat16>(round, random_transposed());
}
TEST_P(MatrixKernels, ConvTransposeAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int round = 0; round < 80; ++round) conv_transpose_case<BFloat16>(round, random_transposed());
  // Read in place, in several strips and by columns; a decoder's 2x2 and a generator's 4x4.
  int round = 0;
  for (const int64_t kernel : {2, 4}) {
    for (const auto& [size, c, oc] : {std::tuple{20, 64, 32}, {4, 160, 130}, {24, 70, 48}, {3, 31, 64}, {1, 33, 64}}) {
      const int64_t out = 2 * size, pad = kernel == 4 ? 1 : 0;
      conv_transpose_case<BFloat16>(round, {.n = 1 + round % 2,
                                            .h = size,
                                            .w = size,
                                            .c = c,
                                            .kh = kernel,
                                            .kw = kernel,
                                            .oc = oc,
                                            .oh = out,
                                            .ow = out,
                                            .stride_h = 2,
                                            .stride_w = 2,
                                            .pad_top = pad,
                                            .pad_left = pad});
      ++round;
    }
  }
}

// FCN-8s: 16x16 of stride 8. Results of a strip stay in L2 beside its planes, as bfloat16 where nothing is left
// to do.
TEST(ConvTransposeTiles, ResultsOfStripsAreBounded) {
  ConvTransposeShape s{.h = 64, .w = 64, .c = 21, .kh = 16, .kw = 16, .oc = 21, .oh = 512, .ow = 512};
  s.stride_h = s.stride_w = 8;
  s.pad_top = s.pad_left = 4;
  s.unit = MatrixUnit::kTiles;
  const int64_t share = static_cast<int64_t>(Machine::host().l2_bytes) / 2;
  for (const bool finishes_later : {false, true}) {
    s.finishes_later = finishes_later;
    const int64_t row = 64 * 8 * 21 * (finishes_later ? 4 : 2);
    for (const PlaneSplit& split : conv_transpose_splits(s, 4)) EXPECT_LE(split.rows * row, std::max(row, share));
  }
}

// Kernels that both Winograd algorithms take, and one that is left to tiles of 2x2 outputs.
constexpr std::pair<int64_t, int64_t> kWinogradTaps[] = {{3, 3}, {1, 7}, {7, 1}, {1, 5},
                                                         {5, 1}, {1, 3}, {3, 1}, {5, 5}};

template <class T>
void MatrixKernels::winograd_case(int round, ConvAlgorithm algorithm) {
  Conv2DShape s;
  const int kinds = algorithm == ConvAlgorithm::kWinograd4 ? 7 : 8;
  std::tie(s.kh, s.kw) = kWinogradTaps[round / 2 % kinds];
  ASSERT_EQ(conv_algorithm_refusal(s, algorithm), nullptr);
  if (winograd_rounding<T>(s, algorithm) == WinogradRounding::kNever) return;
  s.n = pick({1, 2, 3});
  s.h = pick({1, 2, 5, 7, 14, 17});
  s.w = pick({1, 3, 6, 9, 13, 17});
  s.c = pick({1, 3, 8, 16, 17, 40, 64});
  s.oc = pick({1, 7, 16, 33, 48, 64});
  if (round == 5) s.c = s.oc = sizeof(T) == 2 ? 320 : 256;  // weights too large for chunks
  s.pad_top = pick({0, 1, 2, 3});
  s.pad_left = pick({0, 1, 2, 3});
  s.oh = out_size(s.h, s.kh, 1, 1, s.pad_top + pick({0, 1, 2, 3}));
  s.ow = out_size(s.w, s.kw, 1, 1, s.pad_left + pick({0, 1, 2, 3}));
  if (round % 7 == 0) s.in_pixel_stride = s.c + 5;
  if (round % 9 == 0) s.out_pixel_stride = s.oc + 3;
  SCOPED_TRACE(describe(s));
  const auto in = random<T>(s.n * s.h * s.w * s.input_pitch());
  const auto w = random<T>(s.kh * s.kw * s.c * s.oc);
  const int64_t pixels = s.output_pixels();
  const EpilogueCase<T> e(round * 37 % kEpilogueKinds, random(s.oc), random<T>(pixels * s.output_pitch()),
                          s.output_pitch());
  AlignedBuffer packed = AlignedBuffer::allocate(packed_winograd_bytes<T>(s, algorithm));
  pack_winograd_weights(s, algorithm, w.data(), packed.data());
  std::vector<T> out(pixels * s.output_pitch() + 1, T(kCanary));
  winograd_conv2d(s, algorithm, in.data(), packed.data(), out.data(), e.epilogue, *pool_,
                  scratch(winograd_scratch_bytes<T>(s, algorithm, pool_->num_threads())));
  check_scratch();
  // Transformed tiles and weights of bfloat16 are rounded, too, and an output is a sum of many of their products.
  const double amplified = winograd_rounding<T>(s, algorithm) == WinogradRounding::kCoarse ? 6 : 2;
  const double rounding = sizeof(T) == 2 ? 0x1p-8 * amplified * std::sqrt(static_cast<double>(s.kh * s.kw * s.c)) : 0;
  const double steepest = e.epilogue.gate.used() ? 8 : 1;  // what an epilogue makes of an error
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t o = 0; o < s.oc; ++o) {
      const double want = e.expected(conv_at(s, in, w, p, o), p, o);
      ASSERT_NEAR(number(out[p * s.output_pitch() + o]), want,
                  8 * tolerance<T>(s.kh * s.kw * s.c, want) + steepest * rounding)
          << p << " " << o;
    }
    for (int64_t o = s.oc; o < s.output_pitch(); ++o) ASSERT_TRUE(is_canary(out[p * s.output_pitch() + o]));
  }
  EXPECT_TRUE(is_canary(out.back()));
}

TEST_P(MatrixKernels, Winograd) {
  for (int round = 0; round < 112; ++round)
    winograd_case<float>(round, round % 2 == 0 ? ConvAlgorithm::kWinograd2 : ConvAlgorithm::kWinograd4);
}
// The root mean square of the errors, relative to the results'.
template <class T>
void MatrixKernels::check_winograd_errors(double fine, double coarse) {
  for (const auto& [kh, kw] : kWinogradTaps) {
    Conv2DShape s;
    s.kh = kh;
    s.kw = kw;
    s.h = s.w = 16 + 6;
    s.oh = s.h - kh + 1;
    s.ow = s.w - kw + 1;
    s.c = 96;
    s.oc = 16;
    const auto in = random<T>(s.h * s.w * s.c), w = random<T>(kh * kw * s.c * s.oc);
    for (ConvAlgorithm algorithm : {ConvAlgorithm::kWinograd2, ConvAlgorithm::kWinograd4}) {
      if (conv_algorithm_refusal(s, algorithm) != nullptr) continue;
      const WinogradRounding rounding = winograd_rounding<T>(s, algorithm);
      if (rounding == WinogradRounding::kNever) continue;
      AlignedBuffer packed = AlignedBuffer::allocate(packed_winograd_bytes<T>(s, algorithm));
      pack_winograd_weights(s, algorithm, w.data(), packed.data());
      std::vector<T> out(s.output_pixels() * s.oc);
      winograd_conv2d(s, algorithm, in.data(), packed.data(), out.data(), Epilogue<T>(), *pool_,
                      scratch(winograd_scratch_bytes<T>(s, algorithm, pool_->num_threads())));
      double errors = 0, squares = 0;
      for (int64_t p = 0; p < s.output_pixels(); p += 7) {
        for (int64_t o = 0; o < s.oc; ++o) {
          const double want = conv_at(s, in, w, p, o), error = number(out[p * s.oc + o]) - want;
          errors += error * error;
          squares += want * want;
        }
      }
      EXPECT_LT(std::sqrt(errors / squares), rounding == WinogradRounding::kFine ? fine : coarse)
          << describe(s) << " " << conv_algorithm_name(algorithm);
    }
  }
}

// F(4x4, 3x3) has 2.0e-6 here, and no other is to have much more.
TEST_P(MatrixKernels, WinogradErrors) { check_winograd_errors<float>(3e-6, 0); }
TEST_P(MatrixKernels, WinogradErrorsBf16) {
  if (!has_kernels<BFloat16>()) GTEST_SKIP() << "no bfloat16 arithmetic";
  check_winograd_errors<BFloat16>(5e-3, 1.6e-2);
}
TEST_P(MatrixKernels, WinogradBf16) {
  if (!has_kernels<BFloat16>()) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (int round = 0; round < 112; ++round)
    winograd_case<BFloat16>(round, round % 2 == 0 ? ConvAlgorithm::kWinograd2 : ConvAlgorithm::kWinograd4);
}

}  // namespace blade::backends::cpu
