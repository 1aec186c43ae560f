// Matrix products against plain loops in double, on generated shapes, and what all matrix kernels promise.
#include "backends/matrix_kernels.h"

#include "backends/cpu/matrix/transpose.h"
#include "backends/machine.h"
#include "support/page_end.h"

namespace blade::backends::cpu {

template <class T, class Out>
void MatrixKernels::gemm_case(int round) {
  const int64_t m = pick({1, 2, 3, 7, 8, 13, 14, 15, 29, 61, 113});
  const int64_t k = pick({0, 1, 2, 3, 5, 17, 64, 67, 131, 1024, 1025, 2051});
  const int64_t n = pick({1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 65, 80, 101, 257});
  check_gemm<T, Out>(m, k, n, round);
}

template <class T, class Out>
void MatrixKernels::check_gemm(int64_t m, int64_t k, int64_t n, int round) {
  SCOPED_TRACE("m " + std::to_string(m) + " k " + std::to_string(k) + " n " + std::to_string(n));
  const int64_t lda = k + pick({0, 3});
  const int64_t ldc = n + pick({0, 5});
  const bool transposed = round % 3 == 0;
  const auto a = random<T>(m * lda + 1);
  const auto b = random<T>(k * n + 1);
  const EpilogueCase<T> e(round * 37 % kEpilogueKinds, random(n), random<T>(m * ldc), ldc);
  AlignedBuffer packed = AlignedBuffer::allocate(packed_b_bytes(packed_steps<T>(1, k), n) + 64);
  PackedB view = pack_runs(b.data(), 1, k, n, transposed ? 1 : n, transposed ? k : 1, packed.data());
  view.unit = unit_;
  std::vector<Out> c(m * ldc, Out(kCanary));
  const AtPageEnd<T> fenced(a);
  gemm(m, k, fenced.data(), lda, view, c.data(), ldc, e.epilogue, *pool_,
       scratch(gemm_scratch_bytes<T>(m, k, n, pool_->num_threads(), unit_)));
  check_scratch();
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < ldc; ++j) {
      if (j >= n) {
        ASSERT_TRUE(is_canary(c[i * ldc + j]));
        continue;
      }
      double sum = 0;
      for (int64_t x = 0; x < k; ++x) sum += number(a[i * lda + x]) * number(b[transposed ? j * k + x : x * n + j]);
      const double want = e.expected(sum, i, j);
      ASSERT_NEAR(number(c[i * ldc + j]), want, tolerance<Out>(k, want)) << i << " " << j;
    }
  }
}

// Special numbers that a residual brings into sums which wait in tile registers reach their own results alone, also
// where those take the residual's place; small whole numbers make the sums exact.
TEST_P(MatrixKernels, SpecialResidualsOnAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  const float specials[] = {INFINITY, -INFINITY, NAN, -NAN, -0.0f, 3.0e38f, -3.0e38f};
  for (const int64_t oc : {256, 96, 40}) {
    for (const int64_t c : {32, 64, 160, 512, 768}) {  // of more than 512 in pieces
      Conv2DShape s;
      s.h = s.w = s.oh = s.ow = 9;  // five tiles of 16 rows and one pixel
      s.c = c;
      s.oc = oc;
      SCOPED_TRACE(std::to_string(c) + " to " + std::to_string(oc) + " channels");
      const auto whole = [&](int64_t count) {
        std::vector<BFloat16> out(static_cast<size_t>(count));
        for (BFloat16& x : out) x = BFloat16(static_cast<float>(pick({-2, -1, 0, 0, 1, 2})));
        return out;
      };
      const auto in = whole(s.h * s.w * c), w = whole(c * oc);
      auto residual = whole(s.output_pixels() * oc);
      for (size_t i = 0; i < residual.size(); i += 11) residual[i] = BFloat16(specials[i / 11 % std::size(specials)]);
      for (const auto& [lo, hi] : {std::pair(0.0f, INFINITY), {0.0f, 6.0f}, {-INFINITY, INFINITY}}) {
        std::vector<BFloat16> out[2];
        for (MatrixUnit unit : {MatrixUnit::kVectors, MatrixUnit::kTiles}) {
          s.unit = unit;
          std::vector<BFloat16>& to = out[static_cast<int>(unit)];
          to = residual;
          Epilogue<BFloat16> e;
          e.residual = to.data();
          e.residual_row_stride = e.residual_channels = oc;
          e.clamp_lo = lo;
          e.clamp_hi = hi;
          AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<BFloat16>(s));
          pack_conv_weights(s, w.data(), packed.data());
          conv2d(s, in.data(), packed.data(), to.data(), e, *pool_,
                 scratch(conv2d_scratch_bytes<BFloat16>(s, pool_->num_threads())));
          check_scratch();
        }
        for (size_t i = 0; i < out[0].size(); ++i) {
          if (std::isnan(number(out[0][i]))) {
            ASSERT_TRUE(std::isnan(number(out[1][i]))) << i;
          } else {
            ASSERT_EQ(out[0][i].bits, out[1][i].bits) << i;
          }
        }
      }
    }
  }
}

// NaN goes through whatever is done to a sum, in rows before and behind it too.
TEST_P(MatrixKernels, NaNStays) {
  const int64_t m = 15, k = 3, n = 33;
  auto a = random(m * k);
  a[7 * k + 1] = std::numeric_limits<float>::quiet_NaN();
  const auto b = random(k * n);
  AlignedBuffer packed = AlignedBuffer::allocate(packed_b_bytes(packed_steps<float>(1, k), n) + 64);
  const PackedB view = pack_runs(b.data(), 1, k, n, n, 1, packed.data());
  for (const int kind : {0, 4, 128}) {
    const EpilogueCase<float> e(kind, random(n), random(m * n), n);
    std::vector<float> c(m * n);
    gemm(m, k, a.data(), k, view, c.data(), n, e.epilogue, *pool_,
         scratch(gemm_scratch_bytes<float>(m, k, n, pool_->num_threads())));
    for (int64_t i = 0; i < m * n; ++i) ASSERT_EQ(std::isnan(c[i]), i / n == 7) << i;
  }
}

TEST_P(MatrixKernels, Gemm) {
  for (int round = 0; round < 60; ++round) gemm_case<float>(round);
}
TEST_P(MatrixKernels, GemmBf16) {
  if (!has_kernels<BFloat16>()) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (int round = 0; round < 60; ++round) {
    gemm_case<BFloat16>(round);
    gemm_case<BFloat16, float>(round);
  }
}
// What a curve makes of every bfloat16 that matters, where its results are going to be rounded to that.
TEST_P(MatrixKernels, CoarseCurvesBf16) {
  if (!has_kernels<BFloat16>()) GTEST_SKIP() << "no bfloat16 arithmetic";
  std::vector<BFloat16> a;
  for (uint32_t bits = 0x3000; bits <= 0x42c0; ++bits) {  // 4.7e-10 to 96
    for (uint32_t sign : {0u, 0x8000u}) a.emplace_back().bits = static_cast<uint16_t>(bits | sign);
  }
  const auto m = static_cast<int64_t>(a.size());
  const std::vector<BFloat16> one(1, BFloat16(1.0f));
  AlignedBuffer packed = AlignedBuffer::allocate(packed_b_bytes(packed_steps<BFloat16>(1, 1), 1) + 64);
  const PackedB view = pack_runs(one.data(), 1, 1, 1, 1, 1, packed.data());
  for (const Curve curve :
       {Curve::kSwish, Curve::kGeluErf, Curve::kGeluTanh, Curve::kSigmoid, Curve::kHardSigmoid, Curve::kTanh}) {
    Epilogue<BFloat16> epilogue;
    if (curve == Curve::kHardSigmoid) epilogue.gate = {0.25f, 0.75f, 1};
    epilogue.gate.curve = curve;
    epilogue.gate.coarse = true;
    std::vector<float> c(a.size());
    gemm(m, 1, a.data(), 1, view, c.data(), 1, epilogue, *pool_,
         scratch(gemm_scratch_bytes<BFloat16>(m, 1, 1, pool_->num_threads())));
    const bool is_relative = curve == Curve::kGeluErf;  // down to where it becomes constant
    for (size_t i = 0; i < a.size(); ++i) {
      const double x = number(a[i]), want = gated_exactly(curve, x);
      const double absolute = is_relative && x > -5.5 ? 0 : 1.1e-7;
      ASSERT_NEAR(c[i], want, (is_relative ? 1.2e-5 : 5e-6) * std::abs(want) + absolute) << x;
    }
  }
}
// What GELU by erf may be off by, of itself: it has fewer digits the farther down its tail.
double gelu_error_at(double x) {
  constexpr std::pair<double, double> kFrom[] = {{-2, 1.2e-6}, {-3, 2e-6}, {-3.5, 5e-6}, {-4, 3e-5}, {-5, 2e-4}};
  for (const auto& [from, error] : kFrom) {
    if (x >= from) return error;
  }
  return 4e-4;
}
// GELU by erf to the end of its tail, where 1 + erf has lost all digits, and where numbers end.
TEST_P(MatrixKernels, GeluErfF32) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> a = {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 0, 1e-30f, -1e-30f, 96, -96};
  for (float x = -8; x <= 8; x += 1.0f / 1024) a.push_back(x);
  const auto m = static_cast<int64_t>(a.size());
  const float one = 1;
  AlignedBuffer packed = AlignedBuffer::allocate(packed_b_bytes(1, 1) + 64);
  const PackedB view = pack_runs(&one, 1, 1, 1, 1, 1, packed.data());
  Epilogue<float> epilogue;
  epilogue.gate.curve = Curve::kGeluErf;
  std::vector<float> c(a.size());
  gemm(m, 1, a.data(), 1, view, c.data(), 1, epilogue, *pool_,
       scratch(gemm_scratch_bytes<float>(m, 1, 1, pool_->num_threads())));
  EXPECT_EQ(c[0], kInfinity);
  EXPECT_TRUE(std::isnan(c[1]));
  EXPECT_TRUE(std::isnan(c[2]));
  for (size_t i = 3; i < a.size(); ++i) {
    const double x = a[i], want = 0.5 * x * std::erfc(-x * std::sqrt(0.5));
    if (x > -5.7) {
      ASSERT_NEAR(c[i], want, gelu_error_at(x) * std::abs(want)) << x;
    } else {
      ASSERT_EQ(c[i], 0) << x;
      ASSERT_GT(want, -3.5e-8) << x;
    }
  }
}
TEST_P(MatrixKernels, GemmAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int round = 0; round < 90; ++round) {
    gemm_case<BFloat16>(round);
    gemm_case<BFloat16, float>(round);
  }
}

// Whole tile registers along K: last tiles of every height, sums in pieces, and rows beyond L2, which are fetched.
TEST_P(MatrixKernels, GemmOfWholeTilesAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  int round = 0;
  for (const int64_t k : {32, 64, 128, 256, 1056}) {
    for (const int64_t rows : {1, 15, 16, 17, 31, 32}) {
      for (const int64_t n : {64, 80}) {
        check_gemm<BFloat16>(pick({32, 96, 160}) + rows, k, n, ++round);
        check_gemm<BFloat16, float>(pick({32, 96}) + rows, k, n, round);
      }
    }
  }
  const auto far_rows = static_cast<int64_t>(Machine::host().l2_bytes) / (2 * 512) + 40;
  for (round = 0; round < 4; ++round) check_gemm<BFloat16>(far_rows + 5 * round, 512, 64, round);
}

template <class T, class Out>
void MatrixKernels::matmul_case(int round) {
  MatMulShape s;
  s.batch = pick({1, 2, 3, 7});
  s.m = pick({0, 1, 5, 14, 37});
  s.k = pick({0, 1, 16, 33, 64});
  s.n = pick({1, 9, 32, 50, 64});
  const bool ta = round % 2 == 1;
  const bool tb = round % 4 >= 2;
  s.a_row_stride = ta ? 1 : s.k;
  s.a_col_stride = ta ? s.m : 1;
  s.b_row_stride = tb ? 1 : s.n;
  s.b_col_stride = tb ? s.k : 1;
  s.a_batch_stride = s.m * s.k;
  s.b_batch_stride = s.k * s.n;
  s.c_row_stride = s.n;
  s.c_batch_stride = s.m * s.n;
  s.unit = unit_;
  std::vector<int64_t> b_offsets(s.batch, 0);
  if (round % 5 == 0) s.b_offsets = b_offsets.data();
  const auto a = random<T>(s.batch * s.m * s.k + 1);
  const auto b = random<T>(s.batch * s.k * s.n + 1);
  AlignedBuffer packed;
  if (round % 3 == 2 && s.k > 0) {
    const size_t bytes = packed_b_bytes(packed_steps<T>(1, s.k), s.n);
    packed = AlignedBuffer::allocate(s.batch * bytes);
    for (int64_t z = 0; z < s.batch; ++z) {
      pack_runs(b.data() + z * s.k * s.n, 1, s.k, s.n, s.b_row_stride, s.b_col_stride, packed.data() + z * bytes);
    }
    s.packed_b = packed.data();
  }
  const EpilogueCase<T> e(round * 37 % kEpilogueKinds, random(s.n), random<T>(s.batch * s.m * s.n), s.n);
  std::vector<Out> c(s.batch * s.m * s.n + 1, Out(kCanary));
  matmul(s, a.data(), b.data(), c.data(), e.epilogue, *pool_,
         scratch(matmul_scratch_bytes<T>(s, pool_->num_threads())));
  check_scratch();
  for (int64_t z = 0; z < s.batch; ++z) {
    const int64_t b0 = s.b_offsets != nullptr ? 0 : z * s.b_batch_stride;
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) {
        double sum = 0;
        for (int64_t x = 0; x < s.k; ++x) {
          sum += number(a[z * s.a_batch_stride + i * s.a_row_stride + x * s.a_col_stride]) *
                 number(b[b0 + x * s.b_row_stride + j * s.b_col_stride]);
        }
        const double want = e.expected(sum, z * s.m + i, j);
        ASSERT_NEAR(number(c[z * s.c_batch_stride + i * s.n + j]), want, tolerance<Out>(s.k, want));
      }
    }
  }
}

TEST_P(MatrixKernels, MatMul) {
  for (int round = 0; round < 40; ++round) matmul_case<float>(round);
}
TEST_P(MatrixKernels, MatMulBf16) {
  if (!has_kernels<BFloat16>()) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (int round = 0; round < 40; ++round) {
    matmul_case<BFloat16>(round);
    matmul_case<BFloat16, float>(round);
  }
}
TEST_P(MatrixKernels, MatMulAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int round = 0; round < 40; ++round) {
    matmul_case<BFloat16>(round);
    matmul_case<BFloat16, float>(round);
  }
}

// Infinity in B stays what it is, whatever the length of K leaves of the last tile register.
TEST_P(MatrixKernels, InfinityInBAmx) {
  if (!use_tiles()) GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (const int64_t batch : {1, 8}) {
    for (const int64_t k : {31, 34, 48, 97}) {
      for (const int64_t m : {5, 40}) {
        MatMulShape s{.batch = batch, .m = m, .k = k, .n = 20};
        s.a_row_stride = k;
        s.b_row_stride = s.c_row_stride = s.n;
        s.a_col_stride = s.b_col_stride = 1;
        s.a_batch_stride = m * k;
        s.b_batch_stride = k * s.n;
        s.c_batch_stride = m * s.n;
        s.unit = unit_;
        const std::vector<BFloat16> a(batch * m * k, BFloat16(1.0f));
        std::vector<BFloat16> b(batch * k * s.n, BFloat16(1.0f));
        for (int64_t row = 0; row < k; ++row) b[row * s.n + row % s.n] = BFloat16(INFINITY);
        std::vector<float> c(batch * m * s.n);
        matmul(s, a.data(), b.data(), c.data(), Epilogue<BFloat16>(), *pool_,
               scratch(matmul_scratch_bytes<BFloat16>(s, pool_->num_threads())));
        check_scratch();
        for (int64_t i = 0; i < batch * m * s.n; ++i) {
          ASSERT_EQ(c[i], i < m * s.n ? INFINITY : static_cast<float>(k)) << i << " k " << k;
        }
      }
    }
  }
}

TEST_P(MatrixKernels, ConversionsRoundToNearestEvenAndStayInside) {
  std::vector<float> values = random(100);
  const std::vector<float> special = {
      0.0f,    -0.0f,   INFINITY, -INFINITY, NAN,          1.00390625f,    1.01171875f,
      3.4e38f, -3e-20f, 1e-39f,   -1e-40f,   1.17549e-38f, 1.17549435e-38f};  // denormals but the last
  values.insert(values.begin() + 7, special.begin(), special.end());
  for (int64_t count = 0; count <= static_cast<int64_t>(values.size()); ++count) {
    std::vector<BFloat16> half(count + 1, BFloat16(kCanary));
    narrow(values.data(), half.data(), count);
    EXPECT_TRUE(is_canary(half.back()));
    std::vector<float> back(count + 1, kCanary);
    widen(half.data(), back.data(), count);
    EXPECT_EQ(back.back(), kCanary);
    for (int64_t i = 0; i < count; ++i) {
      const bool denormal = std::fpclassify(values[i]) == FP_SUBNORMAL;
      const BFloat16 want(denormal ? std::copysign(0.0f, values[i]) : values[i]);
      if (std::isnan(values[i])) {
        ASSERT_TRUE(std::isnan(back[i])) << i;
        continue;
      }
      ASSERT_EQ(half[i].bits, want.bits) << values[i];
      ASSERT_EQ(back[i], number(want)) << i;
    }
  }
}

TEST_P(MatrixKernels, TransposesStayInside) {
  constexpr uint32_t kUntouched = 0xffffffff;
  for (const int64_t rows : {1, 3, 8, 13, 16, 17, 40}) {
    for (const int64_t columns : {1, 2, 7, 8, 9, 24, 31}) {
      const int64_t from_row = columns + 3, to_row = rows + 5;
      std::vector<uint32_t> from(static_cast<size_t>(rows * from_row)), to(static_cast<size_t>(columns * to_row));
      std::iota(from.begin(), from.end(), 1u);
      std::fill(to.begin(), to.end(), kUntouched);
      transpose_words(from.data(), from_row, to.data(), to_row, rows, columns);
      for (int64_t j = 0; j < columns; ++j) {
        for (int64_t i = 0; i < to_row; ++i) {
          const uint32_t expected = i < rows ? from[static_cast<size_t>(i * from_row + j)] : kUntouched;
          ASSERT_EQ(to[static_cast<size_t>(j * to_row + i)], expected)
              << rows << "x" << columns << " " << i << "," << j;
        }
      }
    }
  }
}

TEST_P(MatrixKernels, TargetIsTheOneAskedFor) {
  const int64_t target = std::get<0>(GetParam());
  const int lanes = tile_kernels().lanes;
  if ((target & HWY_AVX2) != 0) {
    EXPECT_EQ(lanes, 8);
  } else if (target != 0) {
    EXPECT_LE(lanes, 4);
  }
}

TEST_P(MatrixKernels, BitsDoNotDependOnThreads) {
  Conv2DShape s;
  s.h = s.w = s.oh = s.ow = 13;
  s.c = s.oc = 40;
  s.kh = s.kw = 3;
  s.pad_top = s.pad_left = 1;
  const auto in = random(s.h * s.w * s.c);
  const auto w = random(9 * s.c * s.oc);
  AlignedBuffer packed = AlignedBuffer::allocate(packed_conv_bytes<float>(s));
  pack_conv_weights(s, w.data(), packed.data());
  std::vector<float> out(s.output_pixels() * s.oc);
  std::vector<float> again(out.size());
  const EpilogueF32 none;
  ThreadPool one(1);
  conv2d(s, in.data(), packed.data(), out.data(), none, one, scratch(conv2d_scratch_bytes<float>(s, 1)));
  conv2d(s, in.data(), packed.data(), again.data(), none, *pool_,
         scratch(conv2d_scratch_bytes<float>(s, pool_->num_threads())));
  EXPECT_EQ(out, again);
}

TEST(ConvAlgorithms, NothingIsPredictedFasterThanItsWeightsArrive) {
  Conv2DShape s;
  s.h = s.w = s.oh = s.ow = 7;
  s.c = s.oc = 512;
  s.kh = s.kw = 3;
  s.pad_top = s.pad_left = 1;
  const Machine& machine = Machine::host();
  for (ConvAlgorithm algorithm : {ConvAlgorithm::kDirect, ConvAlgorithm::kWinograd2, ConvAlgorithm::kWinograd4}) {
    const bool direct = algorithm == ConvAlgorithm::kDirect;
    const auto bytes =
        static_cast<double>(direct ? packed_conv_bytes<float>(s) : packed_winograd_bytes<float>(s, algorithm));
    EXPECT_GE(conv_cost_us<float>(s, algorithm, 1), 0.99 * bytes / machine.core_far_bytes_per_us);
    EXPECT_GE(conv_cost_us<float>(s, algorithm, 8), 0.99 * bytes / machine.far_bytes_per_us);
  }
}

TEST(ConvAlgorithms, ChoiceIsPureAndRespectsRefusals) {
  Conv2DShape s;
  s.h = s.w = s.oh = s.ow = 56;
  s.c = s.oc = 64;
  s.kh = s.kw = 3;
  s.pad_top = s.pad_left = 1;
  EXPECT_EQ(choose_conv_algorithm(s, 2), ConvAlgorithm::kWinograd4);
  s.stride_h = s.stride_w = 2;
  s.oh = s.ow = 28;
  EXPECT_NE(conv_algorithm_refusal(s, ConvAlgorithm::kWinograd4), nullptr);
  EXPECT_EQ(choose_conv_algorithm(s, 2), ConvAlgorithm::kDirect);

  Conv2DShape line;
  line.h = line.w = line.oh = line.ow = 17;
  line.c = line.oc = 192;
  line.kw = 7;
  line.pad_left = 3;
  EXPECT_EQ(choose_conv_algorithm(line, 2), ConvAlgorithm::kWinograd4);
  std::swap(line.kh, line.kw);
  std::swap(line.pad_top, line.pad_left);
  EXPECT_EQ(choose_conv_algorithm(line, 2), ConvAlgorithm::kWinograd4);
  line.kw = line.kh = 5;
  EXPECT_NE(conv_algorithm_refusal(line, ConvAlgorithm::kWinograd4), nullptr);
  EXPECT_EQ(choose_conv_algorithm(line, 2), ConvAlgorithm::kWinograd2);
  for (const auto& [kh, kw] : {std::pair{1, 1}, {1, 2}, {9, 1}, {3, 5}, {7, 7}, {2, 2}}) {
    line.kh = kh;
    line.kw = kw;
    EXPECT_NE(conv_algorithm_refusal(line, ConvAlgorithm::kWinograd2), nullptr);
    EXPECT_NE(conv_algorithm_refusal(line, ConvAlgorithm::kWinograd4), nullptr);
  }
}

INSTANTIATE_TEST_SUITE_P(AllTargets, MatrixKernels,
                         testing::Combine(testing::ValuesIn(targets()), testing::Values(1, 2, 3)));

}  // namespace blade::backends::cpu
