// Convolutions of volumes on tile registers against plain loops in double, on generated shapes.
#include "backends/cpu/matrix/conv_volume.h"
#include "backends/matrix_kernels.h"
#include "support/page_end.h"

namespace blade::backends::cpu {
namespace {

// Element `o` of a pixel of all results.
double volume_at(const Conv2DShape& s, const std::vector<BFloat16>& in, const std::vector<BFloat16>& w, int64_t pixel,
                 int64_t o) {
  const int64_t x0 = pixel % s.ow, y0 = pixel / s.ow % s.oh, result = pixel / s.ow / s.oh;
  double sum = 0;
  for (int64_t tap = 0; tap < s.depth.taps * s.kh * s.kw; ++tap) {
    const int64_t d = tap / s.kw / s.kh, x = x0 * s.stride_w + tap % s.kw * s.dilation_w - s.pad_left;
    const int64_t y = y0 * s.stride_h + tap / s.kw % s.kh * s.dilation_h - s.pad_top;
    const int64_t z = result % s.depth.out * s.depth.stride + d * s.depth.dilation - s.depth.pad_before;
    if (x < 0 || x >= s.w || y < 0 || y >= s.h || z < 0 || z >= s.depth.in) continue;
    const int64_t at = ((result / s.depth.out * s.depth.in + z) * s.h + y) * s.w + x;
    for (int64_t c = 0; c < s.c; ++c)
      sum += number(in[at * s.input_pitch() + c]) * number(w[(tap * s.c + c) * s.oc + o]);
  }
  return sum;
}

}  // namespace

Conv2DShape MatrixKernels::random_volume(int round) {
  Conv2DShape s{.h = pick({1, 5, 7, 14}), .w = pick({3, 7, 13, 17})};
  s.c = round % 3 == 0 ? pick({1, 2, 3, 5}) : pick({8, 11, 16, 17, 32, 64, 81});
  s.oc = pick({7, 16, 32, 48, 64});
  s.kh = pick({1, 2, 3, 3});
  s.kw = pick({1, 2, 3, 3});
  s.stride_h = s.stride_w = pick({1, 1, 2});
  s.dilation_h = s.dilation_w = pick({1, 1, 2});
  s.pad_top = pick({0, 1, 2});
  s.pad_left = pick({0, 1, 2});
  s.oh = out_size(s.h, s.kh, s.stride_h, s.dilation_h, 2 * s.pad_top);
  s.ow = out_size(s.w, s.kw, s.stride_w, s.dilation_w, 2 * s.pad_left);
  s.depth = {.taps = pick({1, 2, 3, 3, 5}), .in = pick({1, 2, 5, 8}), .stride = pick({1, 1, 2})};
  s.depth.dilation = pick({1, 1, 2});
  s.depth.pad_before = pick({0, 1, 2, 7});  // of so many some results read nothing else
  s.depth.out =
      out_size(s.depth.in, s.depth.taps, s.depth.stride, s.depth.dilation, s.depth.pad_before + pick({0, 1, 6}));
  s.n = pick({1, 2}) * s.depth.out;
  if (round % 4 == 0) s.in_pixel_stride = s.c + pick({1, 3, 8});
  s.unit = unit_;
  return s;
}

void MatrixKernels::volume_case(const Conv2DShape& s, int kind) {
  const DepthAxis& d = s.depth;
  SCOPED_TRACE(describe(s) + ", depth: taps " + std::to_string(d.taps) + ", in " + std::to_string(d.in) + ", out " +
               std::to_string(d.out) + ", stride " + std::to_string(d.stride) + ", dilation " +
               std::to_string(d.dilation) + ", padding " + std::to_string(d.pad_before));
  if (s.output_pixels() == 0) return;
  const auto in = random<BFloat16>(s.n / d.out * d.in * s.h * s.w * s.input_pitch());
  const auto w = random<BFloat16>(d.taps * s.kh * s.kw * s.c * s.oc);
  const EpilogueCase<BFloat16> e(kind, random(s.oc), random<BFloat16>(s.output_pixels() * s.oc), s.oc);
  AlignedBuffer packed = AlignedBuffer::allocate(packed_volume_bytes(s) + 64);
  pack_volume_weights(s, w.data(), packed.data());
  const int threads = pool_->num_threads();
  const VolumeSplits splits = conv_volume_splits(s, threads);
  std::vector<BFloat16> out(s.output_pixels() * s.oc + 1, BFloat16(kCanary));
  const AtPageEnd<BFloat16> fenced(in);
  conv_volume(s, splits, fenced.data(), packed.data(), out.data(), e.epilogue, *pool_,
              scratch(conv_volume_scratch_bytes(s, threads, splits)));
  check_scratch();
  const int64_t results = s.output_pixels() * s.oc, step = results > (1 << 16) ? 23 : 1;
  for (int64_t i = 0; i < results; i += step) {
    const double want = e.expected(volume_at(s, in, w, i / s.oc, i % s.oc), i / s.oc, i % s.oc);
    ASSERT_NEAR(number(out[i]), want, tolerance<BFloat16>(d.taps * s.kh * s.kw * s.c, want)) << i;
  }
  EXPECT_TRUE(is_canary(out.back()));
}

TEST_P(MatrixKernels, VolumesOnAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int round = 0; round < 150; ++round) {
    volume_case(random_volume(round), round * 37 % kEpilogueKinds);
    if (HasFatalFailure()) FAIL() << round;
  }
}

// 1x1x1 kernels: a product where they read every pixel, and with strides and padding.
TEST_P(MatrixKernels, VolumesOfOneTapOnAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int round = 0; round < 48; ++round) {
    const int64_t size = pick({3, 7, 10}), stride = round % 3 == 1 ? 2 : 1, pad = round % 3 == 2 ? 1 : 0;
    Conv2DShape s{.h = size, .w = size, .c = pick({5, 17, 32, 64, 80, 96}), .oc = pick({7, 32, 64, 144})};
    s.stride_h = s.stride_w = stride;
    s.pad_top = s.pad_left = pad;
    s.oh = s.ow = out_size(size, 1, stride, 1, 2 * pad);
    s.depth = {.in = 5, .stride = stride, .pad_before = pad};
    s.depth.out = out_size(5, 1, stride, 1, 2 * pad);
    s.n = pick({1, 2}) * s.depth.out;
    if (round % 4 == 0) s.in_pixel_stride = s.c + 8;
    s.unit = unit_;
    volume_case(s, round * 37 % kEpilogueKinds);
    EXPECT_EQ(conv_volume_splits(s, 1).empty(), round % 3 == 0);
    if (HasFatalFailure()) FAIL() << round;
  }
}

// Whole panels, whose weights do not stay in L2: strips of several images and of some of their rows.
TEST_P(MatrixKernels, LargeVolumesOnAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (const auto& [size, channels] : {std::pair<int64_t, int64_t>{7, 160}, {19, 160}, {14, 144}, {9, 81}}) {
    Conv2DShape s{.h = size, .w = size, .c = channels, .kh = 3, .kw = 3, .oc = 192, .oh = size, .ow = size};
    s.pad_top = s.pad_left = 1;
    s.depth = {.taps = 3, .in = 5, .out = 5, .pad_before = 1};
    s.n = 5;
    s.unit = unit_;
    const VolumeSplit split = conv_volume_splits(s, 1)[0];
    EXPECT_TRUE(split.images > 1 || split.rows < size) << split.images << " images, rows " << split.rows;
    volume_case(s, 1 + 2 + 4);
  }
}

}  // namespace blade::backends::cpu
