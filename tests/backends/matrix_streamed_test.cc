// Convolutions on tile registers as few layers need them, those of few pixels and whole panels, against those that take
// any.
#include <limits>

#include "backends/cpu/matrix/amx_panels.h"
#include "backends/cpu/matrix/conv_bands.h"
#include "backends/cpu/matrix/conv_planes.h"
#include "backends/cpu/matrix/conv_streamed.h"
#include "backends/cpu/matrix/streamed_kernel.h"
#include "backends/matrix_kernels.h"

namespace blade::backends::cpu {
namespace {

struct FewPixels {
  int64_t n, h, w, c, oc, kh, kw, stride, dilation;
  bool same = true;  // padding
};

Conv2DShape shape_of(const FewPixels& l) {
  Conv2DShape s{.n = l.n, .h = l.h, .w = l.w, .c = l.c, .kh = l.kh, .kw = l.kw, .oc = l.oc};
  s.stride_h = s.stride_w = l.stride;
  s.dilation_h = s.dilation_w = l.dilation;
  s.pad_top = l.same ? l.kh / 2 * l.dilation : 0;
  s.pad_left = l.same ? l.kw / 2 * l.dilation : 0;
  s.oh = out_size(l.h, l.kh, l.stride, l.dilation, 2 * s.pad_top);
  s.ow = out_size(l.w, l.kw, l.stride, l.dilation, 2 * s.pad_left);
  s.in_pixel_stride = l.c + 64;
  s.unit = MatrixUnit::kTiles;
  return s;
}

// NaN only where that is wanted.
void expect_near(float got, float want, int64_t k) {
  if (std::isfinite(want)) {
    ASSERT_NEAR(got, want, tolerance<float>(k, want));
  } else if (std::isnan(want)) {
    ASSERT_TRUE(std::isnan(got)) << got;
  } else {
    ASSERT_EQ(got, want);
  }
}

}  // namespace

// `special`: some pixels are no finite numbers.
void MatrixKernels::streamed_case(const Conv2DShape& s, int threads, bool special) {
  SCOPED_TRACE(describe(s));
  ASSERT_EQ(streamed_conv_refusal(s, threads), nullptr);
  auto in = random<BFloat16>(s.n * s.h * s.w * s.input_pitch());
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const float x : {kInfinity, -kInfinity, kNaN}) {
    if (special) in[std::uniform_int_distribution<size_t>(0, in.size() - 1)(rng_)] = BFloat16(x);
  }
  const auto w = random<BFloat16>(s.kh * s.kw * s.c * s.oc);
  const auto residual = random<BFloat16>(s.output_pixels() * s.oc);
  AlignedBuffer direct = AlignedBuffer::allocate(packed_conv_bytes<BFloat16>(s));
  pack_conv_weights(s, w.data(), direct.data());
  const StreamedConv conv(s, threads);
  AlignedBuffer packed = AlignedBuffer::allocate(packed_streamed_bytes(s));
  pack_streamed_weights(conv, w.data(), packed.data());
  for (const int kind : {0, 1 + 4, 1 + 2 + 4, 2 + 4 + 256}) {
    SCOPED_TRACE(kind);
    const EpilogueCase<BFloat16> e(kind, random(s.oc), residual, s.oc);
    std::vector<float> want(s.output_pixels() * s.oc), out(want.size());
    conv2d(s, in.data(), direct.data(), want.data(), e.epilogue, *pool_,
           scratch(conv2d_scratch_bytes<BFloat16>(s, pool_->num_threads())));
    streamed_conv(conv, in.data(), packed.data(), out.data(), e.epilogue, *pool_,
                  scratch(streamed_conv_scratch_bytes(conv, threads)));
    check_scratch();
    for (size_t i = 0; i < out.size(); ++i) {
      expect_near(out[i], want[i], s.kh * s.kw * s.c);
      if (HasFatalFailure()) FAIL() << i;
    }
    std::vector<BFloat16> in_place = residual;
    Epilogue<BFloat16> own = e.epilogue;
    if (own.residual != nullptr) own.residual = in_place.data();
    streamed_conv(conv, in.data(), packed.data(), in_place.data(), own, *pool_,
                  scratch(streamed_conv_scratch_bytes(conv, threads)));
    for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(in_place[i].bits, BFloat16(out[i]).bits) << i;
  }
}

// Few pixels past which weights stream: one and two groups of tile registers, strides, images of their own for threads,
// images of one row, rows whose places are more than their results.
TEST_P(MatrixKernels, StreamedConvolutions) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (const FewPixels& l :
       {FewPixels{1, 7, 7, 256, 192, 3, 3, 1, 1}, FewPixels{1, 14, 14, 96, 320, 3, 3, 2, 1},
        FewPixels{2, 10, 10, 128, 256, 3, 3, 1, 1}, FewPixels{1, 13, 13, 512, 512, 1, 1, 2, 1},
        FewPixels{1, 4, 4, 320, 96, 3, 3, 1, 1}, FewPixels{1, 9, 9, 64, 512, 3, 3, 1, 2},
        FewPixels{1, 1, 128, 256, 512, 1, 3, 1, 1}, FewPixels{1, 1, 130, 256, 512, 1, 3, 1, 1, false},
        FewPixels{1, 5, 17, 128, 256, 3, 3, 1, 1}, FewPixels{2, 9, 11, 128, 256, 3, 3, 1, 1, false},
        FewPixels{1, 17, 3, 128, 256, 3, 3, 1, 1}, FewPixels{1, 19, 7, 128, 256, 3, 3, 2, 1}}) {
    const Conv2DShape s = shape_of(l);
    const int threads = std::max(static_cast<int>(l.n), pool_->num_threads());
    streamed_case(s, threads, false);
    streamed_case(s, threads, true);
  }
}

TEST(StreamedConv, MorePixelsThanOnePassTakesAreRefused) {
  if (!has_streamed_kernel()) GTEST_SKIP() << "the instruction set has no such kernel";
  for (const int64_t length : {129, 200, 300}) {
    EXPECT_NE(streamed_conv_refusal(shape_of({1, 1, length, 256, 512, 1, 3, 1, 1}), 2), nullptr) << length;
  }
  EXPECT_EQ(streamed_conv_refusal(shape_of({1, 1, 128, 256, 512, 1, 3, 1, 1}), 2), nullptr);
  EXPECT_NE(streamed_conv_refusal(shape_of({1, 2, 64, 256, 512, 3, 3, 1, 1}), 2), nullptr) << "zeros between rows";
  EXPECT_EQ(streamed_conv_refusal(shape_of({2, 7, 7, 256, 512, 3, 3, 1, 1}), 2), nullptr);
  EXPECT_NE(streamed_conv_refusal(shape_of({3, 7, 7, 256, 512, 3, 3, 1, 1}), 2), nullptr) << "images after another";
  EXPECT_NE(streamed_conv_refusal(shape_of({1, 7, 7, 48, 1024, 3, 3, 1, 1}), 2), nullptr);
  EXPECT_NE(streamed_conv_refusal(shape_of({1, 7, 7, 512, 80, 3, 3, 1, 1}), 2), nullptr);
}

TEST(StreamedConv, ThreadsWithoutAPartAreNotBusy) {
  const auto busy = [](int64_t n, int64_t oc, int threads) {
    return StreamedConv(shape_of({n, 7, 7, 512, oc, 3, 3, 1, 1}), threads).busy_threads();
  };
  EXPECT_EQ(busy(1, 512, 2), 2);
  EXPECT_EQ(busy(5, 512, 8), 5);
  EXPECT_EQ(busy(1, 32, 8), 1);
  EXPECT_EQ(busy(1, 512, 32), 16);
  EXPECT_EQ(busy(1, 96, 2), 1.5);
  EXPECT_EQ(busy(8, 512, 8), 8);
}

namespace {

// Whether conv2d() by planes takes blocks of tiles through each panel.
bool goes_by_panels(const Conv2DShape& s, const Epilogue<BFloat16>& epilogue) {
  const PlanePlan plan(s);
  const int64_t offsets[] = {0};
  TileJob<BFloat16> job = plan.job(s.oh, conv_planes_weights(s, nullptr));
  job.runs = s.kh * s.kw;
  job.run_offsets = offsets;
  job.epilogue = &epilogue;
  return has_plain_panels(job);
}

}  // namespace

// Tiles that go through a panel in one call, as bfloat16, have the bits of tiles that are multiplied one by one
// and leave as float32.
TEST_P(MatrixKernels, PlainPanelsOnAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  struct Layer {
    int64_t n, size, c, oc, k, stride;
  };
  const Layer layers[] = {{1, 15, 32, 32, 3, 1}, {2, 14, 64, 96, 3, 1}, {1, 9, 128, 64, 3, 2}, {3, 4, 96, 128, 2, 1},
                          {1, 3, 32, 64, 3, 1},  {4, 7, 64, 64, 5, 1},  {2, 13, 96, 64, 1, 2}, {1, 14, 64, 48, 3, 1}};
  for (const Layer& l : layers) {
    Conv2DShape s{.n = l.n, .h = l.size, .w = l.size, .c = l.c, .kh = l.k, .kw = l.k, .oc = l.oc};
    s.stride_h = s.stride_w = l.stride;
    s.pad_top = s.pad_left = l.k / 2;
    s.oh = s.ow = out_size(l.size, l.k, l.stride, 1, 2 * s.pad_top);
    s.unit = unit_;
    const auto in = random<BFloat16>(s.n * s.h * s.w * s.c), w = random<BFloat16>(s.kh * s.kw * s.c * s.oc);
    const auto residual = random<BFloat16>(s.output_pixels() * s.oc);
    AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<BFloat16>(s));
    pack_conv_weights(s, w.data(), packed.data());
    for (const int kind : {0, 1, 1 + 2, 1 + 4, 1 + 2 + 4}) {
      SCOPED_TRACE(describe(s) + ", epilogue " + std::to_string(kind));
      const EpilogueCase<BFloat16> e(kind, random(s.oc), residual, s.oc);
      ASSERT_EQ(goes_by_panels(s, e.epilogue), l.oc != 48);
      std::vector<BFloat16> out(s.output_pixels() * s.oc);
      std::vector<float> wide(out.size());
      conv2d(s, in.data(), packed.data(), out.data(), e.epilogue, *pool_,
             scratch(conv2d_scratch_bytes<BFloat16>(s, pool_->num_threads())));
      conv2d(s, in.data(), packed.data(), wide.data(), e.epilogue, *pool_,
             scratch(conv2d_scratch_bytes<BFloat16>(s, pool_->num_threads())));
      check_scratch();
      for (size_t i = 0; i < out.size(); ++i)
        ASSERT_EQ(static_cast<float>(out[i]), static_cast<float>(BFloat16(wide[i]))) << i;
    }
  }
}

// The same for first layers: rows that end within a unit, odd numbers of units, woven rows, several blocks a run.
TEST_P(MatrixKernels, FirstLayersOnAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int round = 0; round < 40; ++round) {
    Conv2DShape s{.n = pick({1, 2}), .h = pick({9, 14, 31}), .w = pick({7, 16, 33, 50, 67}), .c = pick({1, 3, 4, 6})};
    s.kh = s.kw = pick({3, 5, 7, 11});
    s.oc = pick({32, 64, 96});
    s.stride_h = s.stride_w = pick({1, 2});
    s.pad_top = s.pad_left = s.kh / 2;
    s.oh = out_size(s.h, s.kh, s.stride_h, 1, 2 * s.pad_top);
    s.ow = out_size(s.w, s.kw, s.stride_w, 1, 2 * s.pad_left);
    if (round % 3 == 0) s.out_pixel_stride = s.oc + 5;
    s.unit = unit_;
    auto in = random<float>(s.n * s.h * s.w * s.c);
    if (round % 4 == 0) in[in.size() / 2] = std::numeric_limits<float>::infinity();
    const auto w = random<BFloat16>(s.kh * s.kw * s.c * s.oc);
    AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<BFloat16>(s) + 64);
    pack_conv_weights(s, w.data(), packed.data());
    for (const int kind : {0, 1, 1 + 4}) {
      SCOPED_TRACE(describe(s) + ", epilogue " + std::to_string(kind));
      const EpilogueCase<BFloat16> e(kind, random(s.oc), {}, 0);
      std::vector<BFloat16> out(s.output_pixels() * s.output_pitch() + 1, BFloat16(kCanary));
      std::vector<float> wide(out.size(), kCanary);
      const PackedB b =
          packed_b_view(packed_steps<BFloat16>(band_runs(s), band_run_length(s)), s.oc, packed.data(), s.unit);
      ASSERT_EQ(bands_go_at_once(s, b, e.epilogue), AmxBlocks(band_run_length(s)).overlap() == 0);
      conv2d(s, in.data(), packed.data(), out.data(), e.epilogue, *pool_,
             scratch(conv2d_scratch_bytes<BFloat16>(s, pool_->num_threads())));
      conv2d(s, in.data(), packed.data(), wide.data(), e.epilogue, *pool_,
             scratch(conv2d_scratch_bytes<BFloat16>(s, pool_->num_threads())));
      check_scratch();
      for (size_t i = 0; i < out.size(); ++i) {
        if (std::isnan(wide[i])) {
          ASSERT_TRUE(std::isnan(static_cast<float>(out[i]))) << i;
        } else {
          ASSERT_EQ(static_cast<float>(out[i]), static_cast<float>(BFloat16(wide[i]))) << i;
        }
      }
    }
  }
}

}  // namespace blade::backends::cpu
