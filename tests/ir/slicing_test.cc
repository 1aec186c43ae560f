// Slice and StridedSlice: masks, errors, and symbolic sizes checked against every concrete one.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

struct Slicing : ::testing::Test {
  GraphBuilder b;
  ir::ValueId strided(ir::ValueId x, const std::vector<int32_t>& begin, const std::vector<int32_t>& end,
                      const std::vector<int32_t>& strides, ir::StridedSliceAttrs a = {}) {
    return b.op(Op::kStridedSlice, {x, b.ints(begin), b.ints(end), b.ints(strides)}, a);
  }
};

TEST_F(Slicing, Slice) {
  const auto x = b.input("x", {-1, 10, 4});
  EXPECT_EQ(inferred(b, b.op(Op::kSlice, {x, b.ints({0, 2, 1}), b.ints({-1, 3, -1})})), "float32[x.0,3,3]");
  EXPECT_EQ(inferred(b, b.op(Op::kSlice, {x, b.ints({2, 0, 4}), b.ints({-1, 0, 0})})), "float32[x.0-2,0,0]");
  b.op(Op::kSlice, {x, b.ints({0, 8, 0}), b.ints({-1, 3, -1})}, ir::EmptyAttrs{}, "cut");
  EXPECT_INFER_ERROR(b, "Node 'cut' (Slice) takes 3 elements from 8 of axis 1");
}

TEST_F(Slicing, SliceOfUnknownBegin) {
  const auto x = b.input("x", {6, 4});
  const auto begin = b.input("begin", {2}, DType::kInt32);
  EXPECT_EQ(inferred(b, b.op(Op::kSlice, {x, begin, b.ints({2, 4})})), "float32[2,4]");
}

TEST_F(Slicing, Masks) {
  const auto x = b.input("x", {2, 3, 4, 5});
  EXPECT_EQ(inferred(b, strided(x, {1, 1}, {2, 3}, {1, 1})), "float32[1,2,4,5]");
  EXPECT_EQ(inferred(b, strided(x, {1, 1}, {2, 3}, {1, 1}, {2, 1, 0, 0, 0})), "float32[1,3,4,5]");
  // x[..., 1:3]
  EXPECT_EQ(inferred(b, strided(x, {0, 1}, {0, 3}, {1, 1}, {0, 0, 1, 0, 0})), "float32[2,3,4,2]");
  // x[0, ..., newaxis, 1:3]
  EXPECT_EQ(inferred(b, strided(x, {0, 0, 0, 1}, {1, 0, 0, 3}, {1, 1, 1, 1}, {0, 0, 2, 4, 1})), "float32[3,4,1,2]");
  // x[newaxis, -1]
  EXPECT_EQ(inferred(b, strided(x, {0, -1}, {0, 0}, {1, 1}, {0, 0, 0, 1, 2})), "float32[1,3,4,5]");
  // x[::-1, ::2]
  EXPECT_EQ(inferred(b, strided(x, {0, 0}, {0, 0}, {-1, 2}, {3, 3, 0, 0, 0})), "float32[2,2,4,5]");
  // An ellipsis that covers nothing, and a new axis that wins over shrink.
  EXPECT_EQ(inferred(b, strided(x, {0, 0, 0, 0, 0}, {1, 1, 1, 1, 0}, {1, 1, 1, 1, 1}, {0, 0, 16, 0, 0})),
            "float32[1,1,1,1]");
  EXPECT_EQ(inferred(b, strided(x, {0}, {1}, {1}, {0, 0, 0, 1, 1})), "float32[1,2,3,4,5]");
}

TEST_F(Slicing, Errors) {
  const auto x = b.input("x", {2, 3});
  EXPECT_NE(inferred(b, strided(x, {2}, {3}, {1}, {0, 0, 0, 0, 1})).find("picks element 2 of axis 0"),
            std::string::npos);
  GraphBuilder c;
  std::swap(b, c);
  EXPECT_NE(inferred(b, strided(b.input("x", {2}), {0}, {1}, {0})).find("a stride of 0"), std::string::npos);
  std::swap(b, c);
  GraphBuilder d;
  std::swap(b, d);
  EXPECT_NE(inferred(b, strided(b.input("x", {2}), {0, 0}, {1, 1}, {1, 1})).find("slices 2 axes"), std::string::npos);
}

TEST_F(Slicing, SymbolicDims) {
  const auto x = b.input("x", {-1, 8});
  EXPECT_EQ(inferred(b, strided(x, {1}, {0}, {1}, {0, 1, 0, 0, 0})), "float32[max(x.0-1,0),8]");
  EXPECT_EQ(inferred(b, strided(x, {0}, {0}, {2}, {1, 1, 0, 0, 0})), "float32[(x.0+1)//2,8]");
  EXPECT_EQ(inferred(b, strided(x, {0}, {0}, {-1}, {1, 1, 0, 0, 0})), "float32[x.0,8]");
  EXPECT_EQ(inferred(b, strided(x, {0}, {1}, {1}, {0, 0, 0, 0, 1})), "float32[8]");
}

// Every symbolic size, evaluated, is the size that concrete inference gives, which is Python's.
TEST_F(Slicing, SymbolicSizesAreExact) {
  for (int begin = -4; begin <= 4; ++begin) {
    for (int end = -4; end <= 4; ++end) {
      for (int stride : {1, 2, 3, -1, -2}) {
        for (int64_t masks = 0; masks < 4; ++masks) {
          GraphBuilder g;
          const auto x = g.input("x", {-1});
          const auto y = g.op(Op::kStridedSlice, {x, g.ints({begin}), g.ints({end}), g.ints({stride})},
                              ir::StridedSliceAttrs{masks & 1, masks >> 1, 0, 0, 0});
          const ir::Graph graph = g.output(y, "y").build();
          const ir::Dim symbol = graph.value(y).shape.dim(0);
          for (int64_t n = 0; n <= 6; ++n) {
            const auto fixed = ir::specialize(graph, {{n}});
            ASSERT_TRUE(fixed.ok()) << fixed.status().message();
            const ir::Dim size = fixed->value(fixed->outputs()[0]).shape.dim(0);
            const int64_t low = stride > 0 ? 0 : -1, high = stride > 0 ? n : n - 1;
            const auto place = [&](int i) { return std::clamp<int64_t>(i < 0 ? i + n : i, low, high); };
            int64_t expected = 0;
            const int64_t from = masks & 1 ? (stride > 0 ? low : high) : place(begin);
            const int64_t to = masks & 2 ? (stride > 0 ? high : low) : place(end);
            for (int64_t i = from; stride > 0 ? i < to : i > to; i += stride) ++expected;
            ASSERT_EQ(size, ir::Dim(expected)) << begin << ":" << end << ":" << stride << " of " << n;
            ir::SymbolTable table;
            const auto mapped = table.substitute(graph.symbols(), {ir::Dim(n)});
            const ir::Dim evaluated = symbol.is_known() ? symbol : mapped[symbol.symbol_id()];
            if (!evaluated.is_known()) continue;  // a size that the symbolic form leaves open
            ASSERT_EQ(evaluated, ir::Dim(expected)) << begin << ":" << end << ":" << stride << " of " << n;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace blade::testing
