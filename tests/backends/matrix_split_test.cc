// Products of float32 by pieces of bfloat16 against sums in double, which they must come as near as multiply-adds of
// float32 do.
#include <cmath>
#include <limits>

#include "backends/cpu/matrix/amx_split.h"
#include "backends/cpu/matrix/conv_split.h"
#include "backends/matrix_kernels.h"
#include "support/page_end.h"

namespace blade::backends::cpu {
namespace {

struct Operands {
  int64_t m, k, n, a_row;
  std::vector<float> a, b;

  double product(int64_t row, int64_t column) const {
    double sum = 0;
    for (int64_t i = 0; i < k; ++i) sum += static_cast<double>(a[row * a_row + i]) * b[i * n + column];
    return sum;
  }
  double magnitude(int64_t row, int64_t column) const {
    double sum = 0;
    for (int64_t i = 0; i < k; ++i) sum += std::fabs(static_cast<double>(a[row * a_row + i]) * b[i * n + column]);
    return sum;
  }
};

}  // namespace

std::vector<float> MatrixKernels::split_case(int64_t m, int64_t k, int64_t n, const float* a, int64_t a_row,
                                             const std::vector<float>& b, const EpilogueF32& epilogue) {
  AlignedBuffer packed = AlignedBuffer::allocate(packed_split_bytes(k, n));
  pack_split_b(b.data(), k, n, n, 1, packed.data());
  std::vector<float> c(static_cast<size_t>(m * n + 1), kCanary);
  split_product({m, k, n, a, a_row, packed.data(), c.data(), n, &epilogue}, *pool_,
                scratch(split_product_scratch_bytes(m, k, pool_->num_threads())));
  check_scratch();
  EXPECT_EQ(c.back(), kCanary);
  return c;
}

TEST_P(MatrixKernels, SplitProducts) {
  if (!use_tiles() || !has_split_products())
    GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int round = 0; round < 60; ++round) {
    Operands of{pick({1, 15, 16, 17, 31, 32, 33, 97, 300}),
                round % 15 == 14 ? pick({1025, 1056, 1920, 2080}) : pick({1, 2, 31, 32, 33, 64, 101}),
                pick({1, 15, 16, 17, 31, 32, 33, 48, 61, 64, 97}),
                0,
                {},
                {}};
    of.a_row = of.k + pick({0, 0, 3});
    of.a = random(of.m * of.a_row);
    of.b = random(of.k * of.n);
    SCOPED_TRACE(std::to_string(of.m) + " x " + std::to_string(of.k) + " x " + std::to_string(of.n));
    const EpilogueCase<float> e(round * 37 % kEpilogueKinds, random(of.n), random(of.m * of.n), of.n);
    of.a.resize(static_cast<size_t>((of.m - 1) * of.a_row + of.k));
    const AtPageEnd<float> fenced(of.a);
    const std::vector<float> c = split_case(of.m, of.k, of.n, fenced.data(), of.a_row, of.b, e.epilogue);
    for (int64_t row = 0; row < of.m; ++row) {
      for (int64_t column = 0; column < of.n; ++column) {
        const double want = e.expected(of.product(row, column), row, column);
        ASSERT_NEAR(c[row * of.n + column], want, tolerance<float>(of.k, want)) << row << " " << column;
      }
    }
  }
}

// Numbers of all sizes: no error is larger than a few units in the last place of the sum of magnitudes.
TEST_P(MatrixKernels, SplitProductsAreExact) {
  if (!use_tiles() || !has_split_products())
    GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  Operands of{40, 96, 40, 96, random(40 * 96), random(96 * 40)};
  for (float& x : of.a) x = std::ldexp(x, static_cast<int>(pick({-60, -20, -3, 0, 1, 5, 60})));
  for (float& x : of.b) x = std::ldexp(x, static_cast<int>(pick({-9, -1, 0, 1, 7})));
  for (const int64_t k : {1, 7, 96}) {
    of.k = k;
    std::vector<float> b(of.b.begin(), of.b.begin() + k * of.n);
    const std::vector<float> c = split_case(of.m, k, of.n, of.a.data(), of.a_row, b, EpilogueF32());
    for (int64_t row = 0; row < of.m; ++row) {
      for (int64_t column = 0; column < of.n; ++column) {
        const double most = of.magnitude(row, column) * 0x1p-23 * (k == 1 ? 1 : k < 32 ? 2 : 3);
        ASSERT_NEAR(c[row * of.n + column], of.product(row, column), most) << k << ": " << row << " " << column;
      }
    }
  }
}

// Fewer blocks of K may need more memory, because more tiles of rows go together.
TEST_P(MatrixKernels, SplitProductsOfManyRowsInPieces) {
  if (!use_tiles() || !has_split_products())
    GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (const int64_t k : {1792, 1920, 2560}) {
    const int64_t m = 300 * pool_->num_threads(), n = 5;
    Operands of{m, k, n, k, random(m * k), random(k * n)};
    const std::vector<float> c = split_case(m, k, n, of.a.data(), k, of.b, EpilogueF32());
    for (int64_t row = 0; row < m; row += 7) {
      const double want = of.product(row, 3);
      ASSERT_NEAR(c[row * n + 3], want, tolerance<float>(k, want)) << k << ": " << row;
    }
  }
}

// Rows of tiny numbers, whose pieces AMX takes for zero, are as exact as others.
TEST_P(MatrixKernels, SplitProductsOfTinyRows) {
  if (!use_tiles() || !has_split_products())
    GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  Operands of{40, 70, 40, 70, random(40 * 70), random(70 * 40)};
  for (size_t i = 0; i < of.a.size(); ++i) of.a[i] = std::ldexp(of.a[i], i / 70 % 3 == 0 ? -112 : 0);
  const std::vector<float> c = split_case(of.m, of.k, of.n, of.a.data(), of.a_row, of.b, EpilogueF32());
  for (int64_t row = 0; row < of.m; ++row) {
    for (int64_t column = 0; column < of.n; ++column) {
      const double want = of.product(row, column);
      ASSERT_NEAR(c[row * of.n + column], want, of.magnitude(row, column) * 0x1p-21) << row << " " << column;
    }
  }
}

// What is no sum of pieces, in either operand: infinite, NaN, or too large to be rounded to bfloat16.
TEST_P(MatrixKernels, SplitProductsOfSpecials) {
  if (!use_tiles() || !has_split_products())
    GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kMost = std::numeric_limits<float>::max();
  for (const float special : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), kMost, -kMost}) {
    for (const bool in_a : {true, false}) {
      Operands of{50, 40, 50, 40, random(50 * 40), random(40 * 50)};
      for (float& x : of.a) x *= 0.125f;
      for (float& x : of.b) x *= 0.125f;
      (in_a ? of.a : of.b)[777] = special;
      const std::vector<float> c = split_case(of.m, of.k, of.n, of.a.data(), of.a_row, of.b, EpilogueF32());
      for (int64_t row = 0; row < of.m; ++row) {
        for (int64_t column = 0; column < of.n; ++column) {
          const double want = of.product(row, column);
          const float got = c[row * of.n + column];
          if (std::isfinite(want)) {
            ASSERT_NEAR(got, want, of.magnitude(row, column) * 0x1p-21) << special << ": " << row << " " << column;
          } else {
            ASSERT_TRUE(std::isnan(want) ? std::isnan(got) : got == want) << special << ": " << row << " " << got;
          }
        }
      }
    }
  }
}

// Kernels and strides of all kinds, sums in pieces that begin within a tap, and a pixel that cannot be split.
TEST_P(MatrixKernels, SplitConvolutions) {
  if (!use_tiles() || !has_split_products())
    GTEST_SKIP() << "AMX kernels cannot run here, or not on this instruction set";
  for (int round = 0; round < 30; ++round) {
    Conv2DShape s;
    s.n = pick({1, 2});
    s.kh = pick({1, 1, 2, 3});
    s.kw = pick({1, 1, 3, 5});
    s.c = s.kh * s.kw == 1 ? pick({5, 32, 70}) : round % 10 == 9 ? 160 : pick({32, 64});
    s.oc = pick({1, 16, 20, 33, 64});
    s.h = pick({1, 5, 9, 14});
    s.w = pick({3, 7, 13});
    s.stride_h = pick({1, 2, 3});
    s.stride_w = pick({1, 2});
    s.dilation_w = pick({1, 1, 2});
    s.pad_top = pick({0, 1});
    s.pad_left = pick({0, 1, 2});
    s.oh = out_size(s.h, s.kh, s.stride_h, s.dilation_h, s.pad_top + pick({0, 1}));
    s.ow = out_size(s.w, s.kw, s.stride_w, s.dilation_w, s.pad_left + pick({0, 1}));
    SCOPED_TRACE(describe(s));
    ASSERT_EQ(split_conv_refusal(s), nullptr);
    std::vector<float> in = random(s.n * s.h * s.w * s.c);
    if (round % 3 == 0) in[in.size() / 2] = 0x1.8p127f;
    std::vector<float> w = random(s.kh * s.kw * s.c * s.oc);
    for (float& x : w) x *= 0.125f;
    const int64_t pixels = s.output_pixels(), k = s.kh * s.kw * s.c;
    const EpilogueCase<float> e(round * 37 % kEpilogueKinds & ~8, random(s.oc), random(pixels * s.oc), s.oc);
    AlignedBuffer packed = AlignedBuffer::allocate(packed_split_bytes(k, s.oc));
    pack_split_b(w.data(), k, s.oc, s.oc, 1, packed.data());
    std::vector<float> out(static_cast<size_t>(pixels * s.oc + 1), kCanary);
    const AtPageEnd<float> fenced(in);
    split_conv(s, fenced.data(), packed.data(), out.data(), e.epilogue, *pool_,
               scratch(split_conv_scratch_bytes(s, pool_->num_threads())));
    check_scratch();
    EXPECT_EQ(out.back(), kCanary);
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t o = 0; o < s.oc; ++o) {
        const double want = e.expected(conv_at(s, in, w, p, o), p, o);
        const double most = std::fabs(want) > 1e30 ? std::fabs(want) * 1e-5 : tolerance<float>(k, want);
        ASSERT_NEAR(out[p * s.oc + o], want, most) << p << " " << o;
      }
    }
  }
}

// Few rows wait for weights from memory, of which pieces have half as many bytes again.
TEST(SplitCost, FewRowsGoOnVectors) {
  for (const int64_t rows : {1, 2, 8}) {
    Conv2DShape on_vectors;
    on_vectors.w = on_vectors.ow = rows;
    on_vectors.c = on_vectors.oc = 4096;
    for (const int threads : {1, 2, 16}) {
      EXPECT_GT(split_product_us(rows, on_vectors.c, on_vectors.oc, threads),
                conv_cost_us(on_vectors, ConvAlgorithm::kDirect, threads))
          << rows << " rows, " << threads << " threads";
    }
  }
}

}  // namespace blade::backends::cpu
