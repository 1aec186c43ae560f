// Dim arithmetic: equal sizes written differently are the same symbol, and every rewrite keeps the value.
#include <gtest/gtest.h>

#include <random>

#include "ir/types.h"

namespace blade::ir {
namespace {

struct Symbols : ::testing::Test {
  SymbolTable s;
  Dim n = s.make_root("n"), m = s.make_root("m");
};

TEST_F(Symbols, ConstantsFold) {
  EXPECT_EQ(s.add(2, 3), Dim(5));
  EXPECT_EQ(s.mul(2, 3), Dim(6));
  EXPECT_EQ(s.floor_div(7, 2), Dim(3));
  EXPECT_EQ(s.ceil_div(7, 2), Dim(4));
  EXPECT_EQ(s.max(7, 2), Dim(7));
  EXPECT_EQ(s.min(7, 2), Dim(2));
  EXPECT_EQ(s.mod(7, 2), Dim(1));
  EXPECT_EQ(s.constant(s.sub(2, 3)), -1);
  EXPECT_EQ(s.constant(s.floor_div(s.number(-7), 2)), -4);
  EXPECT_EQ(s.constant(s.mod(s.number(-7), 2)), 1);
}

TEST_F(Symbols, Identities) {
  EXPECT_EQ(s.add(n, 0), n);
  EXPECT_EQ(s.mul(n, 1), n);
  EXPECT_EQ(s.mul(n, 0), Dim(0));
  EXPECT_EQ(s.sub(n, n), Dim(0));
  EXPECT_EQ(s.sub(s.add(n, m), m), n);
  EXPECT_EQ(s.add(m, s.sub(n, m)), n);
  EXPECT_EQ(s.floor_div(s.mul(n, m), m), n);
  EXPECT_EQ(s.floor_div(s.mul(n, 6), 3), s.mul(n, 2));
  EXPECT_EQ(s.max(n, n), n);
  EXPECT_EQ(s.max(n, 0), n);
  EXPECT_EQ(s.min(n, 0), Dim(0));
  EXPECT_EQ(s.max(n, s.add(n, 1)), s.add(n, 1));
  EXPECT_EQ(s.mod(s.mul(n, 4), 2), Dim(0));
}

TEST_F(Symbols, EqualSizesAreOneSymbol) {
  EXPECT_EQ(s.add(n, m), s.add(m, n));
  EXPECT_EQ(s.mul(n, m), s.mul(m, n));
  EXPECT_EQ(s.add(s.add(n, 2), 3), s.add(5, n));
  EXPECT_EQ(s.sub(s.sub(n, 2), 3), s.sub(n, 5));
  EXPECT_EQ(s.mul(s.mul(n, 2), 3), s.mul(n, 6));
  EXPECT_EQ(s.mul(s.add(n, 2), 3), s.add(s.mul(n, 3), 6));
  EXPECT_EQ(s.add(n, n), s.mul(n, 2));
  EXPECT_EQ(s.mul(s.mul(n, m), n), s.mul(m, s.mul(n, n)));
}

// A stride of 2 as SAME, as an explicitly padded 3x3 and as a 1x1: the two sides of a residual block.
TEST_F(Symbols, StridedConvolutionsAgree) {
  const Dim same = s.ceil_div(n, 2);
  const Dim padded = s.floor_div(s.add(s.sub(s.add(n, 2), 3), 2), 2);
  EXPECT_EQ(same, padded);
  Dim deep = n, once = s.ceil_div(n, 32);
  for (int i = 0; i < 5; ++i) deep = s.ceil_div(deep, 2);
  EXPECT_EQ(deep, once);
}

TEST_F(Symbols, DivisionByZeroIsUnknown) {
  EXPECT_FALSE(s.floor_div(n, 0).is_known());
  EXPECT_FALSE(s.constant(s.floor_div(4, 0)).has_value());
}

TEST_F(Symbols, OverflowIsUnknown) {
  const int64_t big = std::numeric_limits<int64_t>::max();
  EXPECT_FALSE(s.constant(s.add(big, 1)).has_value());
  EXPECT_FALSE(s.constant(s.mul(big, 2)).has_value());
  EXPECT_FALSE(s.add(s.add(n, big), big).is_known());
  EXPECT_FALSE(s.mul(s.mul(n, big), big).is_known());
}

TEST_F(Symbols, BroadcastIsExact) {
  EXPECT_EQ(s.broadcast(n, 1), n);
  EXPECT_EQ(s.broadcast(n, 5), Dim(5));
  EXPECT_EQ(s.broadcast(n, 0), Dim(0));
  EXPECT_EQ(s.broadcast(n, n), n);
  EXPECT_EQ(s.broadcast(n, m), s.broadcast(m, n));
  EXPECT_EQ(s.broadcast(s.broadcast(n, m), n), s.broadcast(n, m));
}

TEST_F(Symbols, Prints) {
  EXPECT_EQ(s.to_string(s.sub(n, 1)), "n-1");
  EXPECT_EQ(s.to_string(s.mul(s.add(n, m), m)), "m*(n+m)");
  EXPECT_EQ(s.to_string(s.ceil_div(n, 2)), "(n+1)//2");
  EXPECT_EQ(s.to_string(s.sub(0, n)), "n*-1");
  EXPECT_EQ(s.to_string(Shape({n, 224, 224, 3})), "[n,224,224,3]");
  EXPECT_EQ(s.to_string(Shape()), "<unknown>");
}

TEST_F(Symbols, DeepExpressionsStayBounded) {
  Dim d = n;
  for (int i = 0; i < 2000; ++i) d = s.max(s.mul(d, d), s.add(m, i));
  EXPECT_LT(s.to_string(d).size(), 2000u);
}

// Random expressions: the value of the simplified symbol under a substitution is the value of the plain expression.
struct Expressions {
  static constexpr int64_t kMost = 1 << 20;
  static int64_t floor_div(int64_t p, int64_t q) { return p / q - (p % q != 0 && (p < 0) != (q < 0)); }

  int pick(int limit) { return static_cast<int>(rng() % static_cast<unsigned>(limit)); }
  void add(Dim d, int64_t value) {
    dims.push_back(d);
    values.push_back(value);
  }
  // Sizes, elements of any sign and numbers.
  void add_leaves() {
    for (int i = 0; i < 3; ++i) {
      add(table.make_root("r"), 1 + pick(9));
      bound.emplace_back(values.back());
    }
    for (int i = 0; i < 2; ++i) {
      add(table.make_element("e"), pick(9) - 4);
      bound.emplace_back(fresh.number(values.back()));
    }
    for (int i = 0; i < 4; ++i) {
      const int64_t value = pick(12) - 5;
      add(table.number(value), value);
    }
  }
  void add_expression() {
    const int a = pick(static_cast<int>(dims.size())), b = pick(static_cast<int>(dims.size()));
    const int64_t x = values[a], y = values[b];
    const int kind = pick(9);
    const bool divides = kind == 5 || kind == 6 || kind == 7;
    if (divides && y == 0) return;
    if (kind == 8 && x != y && x != 1 && y != 1) return;
    const int64_t value = kind == 0   ? x + y
                          : kind == 1 ? x - y
                          : kind == 2 ? x * y
                          : kind == 3 ? std::max(x, y)
                          : kind == 4 ? std::min(x, y)
                          : kind == 5 ? floor_div(x, y)
                          : kind == 6 ? x - y * floor_div(x, y)
                          : kind == 7 ? -floor_div(-x, y)
                          : x == 1    ? y
                                      : x;
    if (std::abs(value) > kMost) return;
    using Kind = SymbolTable::Kind;
    constexpr Kind kKinds[] = {Kind::kAdd,      Kind::kSub, Kind::kMul,     Kind::kMax,      Kind::kMin,
                               Kind::kFloorDiv, Kind::kMod, Kind::kCeilDiv, Kind::kBroadcast};
    add(table.binary(kKinds[kind], dims[a], dims[b]), value);
  }

  std::mt19937& rng;
  SymbolTable table, fresh;
  std::vector<std::optional<Dim>> bound = {};
  std::vector<Dim> dims = {};
  std::vector<int64_t> values = {};
};

TEST(SymbolsProperty, SimplificationKeepsValues) {
  std::mt19937 rng(7);
  for (int round = 0; round < 6000; ++round) {
    Expressions e{rng, {}, {}};
    e.add_leaves();
    for (int step = 0; step < 14; ++step) e.add_expression();
    const auto mapped = e.fresh.substitute(e.table, e.bound);
    for (size_t i = 0; i < e.dims.size(); ++i) {
      const Dim d = e.dims[i].is_known() ? e.dims[i] : mapped[e.dims[i].symbol_id()];
      ASSERT_EQ(e.fresh.constant(d), e.values[i]) << e.table.to_string(e.dims[i]);
      if (e.table.is_nonnegative(e.dims[i])) {
        ASSERT_GE(e.values[i], 0) << e.table.to_string(e.dims[i]);
      }
    }
  }
}

}  // namespace
}  // namespace blade::ir
