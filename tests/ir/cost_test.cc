// Operations and bytes of nodes.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

ir::Cost cost(GraphBuilder& b, ir::ValueId out) {
  const ir::Graph g = b.output(out).build();
  return ir::node_cost(g, g.node(g.value(out).producer));
}

TEST(Cost, Convolution) {
  GraphBuilder b;
  const auto y = b.conv(b.input("x", {1, 8, 8, 4}), b.filled<float>({3, 3, 4, 16}, 0));
  const ir::Cost c = cost(b, y);
  EXPECT_EQ(c.flops, 2.0 * 8 * 8 * 16 * 3 * 3 * 4);
  EXPECT_EQ(c.bytes, 4.0 * (8 * 8 * 4 + 3 * 3 * 4 * 16 + 8 * 8 * 16));
}

TEST(Cost, Depthwise) {
  GraphBuilder b;
  const auto y = b.conv(b.input("x", {1, 8, 8, 6}), b.filled<float>({3, 3, 1, 6}, 0), {1, 1}, ir::Padding::kSame, 6);
  EXPECT_EQ(cost(b, y).flops, 2.0 * 8 * 8 * 6 * 9);
}

TEST(Cost, Products) {
  GraphBuilder b;
  EXPECT_EQ(cost(b, b.matmul(b.input("x", {7, 2, 3}), b.input("y", {3, 5}))).flops, 2.0 * 7 * 2 * 3 * 5);
  const auto e = b.op(Op::kEinsum, {b.input("x", {7, 2, 3}), b.input("y", {3, 5})}, ir::EinsumAttrs{"...ij,jk->...ik"});
  EXPECT_EQ(cost(b, e).flops, 2.0 * 7 * 2 * 3 * 5);
}

TEST(Cost, GatherReadsWhatItTakes) {
  GraphBuilder b;
  const auto y = b.op(Op::kGather, {b.input("table", {100000, 8}), b.ints({1, 2})}, ir::GatherAttrs{0, 0});
  EXPECT_EQ(cost(b, y).bytes, 4.0 * (16 + 16 + 2));
}

TEST(Cost, NothingForUnknownShapes) {
  GraphBuilder b;
  EXPECT_EQ(cost(b, b.relu(b.input("x", {-1}))).bytes, 0.0);
}

}  // namespace
}  // namespace blade::testing
