// Which values are views of others, and whose memory a result may take over.
#include "engine/storage.h"

#include <gtest/gtest.h>

#include "support/graph_builder.h"

namespace blade::engine {
namespace {

using blade::testing::GraphBuilder;
using ir::Op;

bool makes_view(GraphBuilder& b, ir::ValueId made) {
  const ir::Graph graph = b.output(made).build();
  return is_view(graph, graph.node(graph.value(made).producer));
}

TEST(Storage, ViewsAreTheSameBytesInTheSameOrder) {
  GraphBuilder b;
  const auto x = [&](const std::vector<int64_t>& dims) { return b.input("x", dims); };
  const auto turned = [&](const std::vector<int64_t>& dims) {
    return b.op(Op::kTranspose, {x(dims)}, ir::PermAttrs{{1, 0, 2}});
  };
  const auto part = [&](int32_t rows) { return b.op(Op::kSlice, {x({3, 4}), b.ints({0, 0}), b.ints({rows, 4})}); };
  const auto tiled = [&](int32_t times) { return b.op(Op::kTile, {x({3, 4}), b.ints({times, 1})}); };
  EXPECT_TRUE(makes_view(b, b.reshape(x({3, 4}), {12})));
  EXPECT_TRUE(makes_view(b, b.op(Op::kCast, {x({3})}, ir::CastAttrs{ir::DType::kFloat32})));
  EXPECT_FALSE(makes_view(b, b.op(Op::kCast, {x({3})}, ir::CastAttrs{ir::DType::kInt32})));
  EXPECT_TRUE(makes_view(b, turned({1, 3, 4})));
  EXPECT_FALSE(makes_view(b, turned({2, 3, 4})));
  EXPECT_TRUE(makes_view(b, part(3)));
  EXPECT_FALSE(makes_view(b, part(2)));
  EXPECT_TRUE(makes_view(b, tiled(1)));
  EXPECT_FALSE(makes_view(b, tiled(2)));
  EXPECT_TRUE(makes_view(b, b.op(Op::kConcat, {x({3})}, ir::AxisAttrs{0})));
  const auto both = x({3});
  EXPECT_FALSE(makes_view(b, b.op(Op::kConcat, {both, both}, ir::AxisAttrs{0})));
  EXPECT_FALSE(makes_view(b, b.relu(x({3}))));
}

struct Sharing : ::testing::Test {
  // Whether the result of a graph's step may lie where that operand lies.
  bool may_share(int step, ir::ValueId from, ir::ValueId to) {
    const ir::Graph graph = b.build();
    const auto order = graph.topological_order();
    EXPECT_TRUE(order.ok());
    auto storages = StorageMap::create(graph, *order);
    EXPECT_TRUE(storages.ok());
    return storages.ok() && storages->share(step, from, to);
  }
  GraphBuilder b;
  ir::ValueId x = b.input("x", {4}), first = b.relu(x);
};

TEST_F(Sharing, OfWhatNobodyReadsAgain) {
  const auto second = b.relu(first);
  b.output(second);
  EXPECT_TRUE(may_share(1, first, second));
}
TEST_F(Sharing, NotOfInputs) {
  b.output(first);
  EXPECT_FALSE(may_share(0, x, first));
}
TEST_F(Sharing, NotOfConstants) {
  const auto constant = b.constant<float>({4}, {1, 2, 3, 4}), sum = b.add(first, constant);
  b.output(sum);
  EXPECT_FALSE(may_share(1, constant, sum));
}
TEST_F(Sharing, NotOfAnotherSize) {
  const auto sum = b.add(first, b.constant<float>({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}));
  b.output(sum);
  EXPECT_FALSE(may_share(1, first, sum));
}
TEST_F(Sharing, NotOfWhatALaterStepReads) {
  const auto second = b.relu(first), third = b.add(second, first);
  b.output(third);
  EXPECT_FALSE(may_share(1, first, second));
}
TEST_F(Sharing, NotOfWhatALaterStepReadsAsAView) {
  const auto second = b.relu(first), third = b.matmul(b.reshape(first, {2, 2}), b.reshape(second, {2, 2}));
  b.output(third);
  EXPECT_FALSE(may_share(1, first, second));
}
TEST_F(Sharing, NotOfResultsOfTheGraph) {
  const auto second = b.relu(first);
  b.output(first).output(second);
  EXPECT_FALSE(may_share(1, first, second));
}

}  // namespace
}  // namespace blade::engine
