// CommonSubexpressions, AlgebraicCleanup and Layout.
#include <limits>

#include "passes/pass_test_util.h"

namespace blade::testing {
namespace {

struct Cleanup : ::testing::Test {
  ir::Graph cleaned(GraphBuilder::Id out) { return apply_pass("AlgebraicCleanup", b.output(out).build()).graph; }
  void expect_nodes(GraphBuilder::Id out, int nodes) {
    const ir::Graph graph = cleaned(out);
    EXPECT_EQ(num_nodes(graph), nodes) << ir::to_string(graph);
  }
  GraphBuilder::Id transpose(GraphBuilder::Id v, std::vector<int64_t> perm) {
    return b.op(Op::kTranspose, {v}, ir::PermAttrs{std::move(perm)});
  }
  GraphBuilder b;
  GraphBuilder::Id x = b.input("x", {-1, 4});
  GraphBuilder::Id r = b.relu(x);
};

TEST_F(Cleanup, MergesEqualNodesAndConstants) {
  const auto c1 = b.constant<float>({4}, {1, 2, 3, 4}), c2 = b.constant<float>({4}, {1, 2, 3, 4});
  const Applied applied = apply_pass("CommonSubexpressions", b.output(b.mul(b.add(x, c1), b.add(x, c2))).build());
  EXPECT_EQ(count(applied.graph, P::kAdd), 1);
  EXPECT_EQ(applied.result.changes, 2);
}

TEST_F(Cleanup, KeepsDifferentNodesAndTwoOutputs) {
  b.output(b.pointwise(P::kLeakyRelu, {x}, 0.1f)).output(b.pointwise(P::kLeakyRelu, {x}, 0.2f)).output(r);
  const Applied applied = apply_pass("CommonSubexpressions", b.output(b.relu(x)).build());
  EXPECT_EQ(applied.result.changes, 0);
}

// 0 to the rows of v.
GraphBuilder::Id all_rows(GraphBuilder& b, GraphBuilder::Id v) {
  const auto shape = b.op(Op::kShapeOf, {v}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, ir::DType::kInt32});
  const auto rows = b.op(Op::kGather, {shape, b.scalar<int32_t>(0)}, ir::GatherAttrs{});
  return b.op(Op::kRange, {b.scalar<int32_t>(0), rows, b.scalar<int32_t>(1)});
}
TEST_F(Cleanup, DropsGathersOfAllRows) { expect_nodes(b.op(Op::kGather, {r, all_rows(b, x)}, ir::GatherAttrs{}), 1); }
TEST_F(Cleanup, DropsListsOfAllRows) {
  expect_nodes(b.op(Op::kSetRows, {b.pointwise(P::kNeg, {x}), all_rows(b, x), r}), 1);
}
TEST_F(Cleanup, KeepsGathersOfSomeRows) {
  const auto some = b.op(Op::kRange, {b.scalar<int32_t>(0), b.scalar<int32_t>(1), b.scalar<int32_t>(1)});
  EXPECT_EQ(count(cleaned(b.op(Op::kGather, {r, some}, ir::GatherAttrs{})), Op::kGather), 1);
}

TEST_F(Cleanup, DropsNeutralElements) { expect_nodes(b.add(b.mul(r, b.scalar(1.0f)), b.filled<float>({4}, 0)), 1); }
TEST_F(Cleanup, DropsNeutralElementsOfIntegers) {
  const auto i = b.pointwise(P::kNeg, {b.input("i", {3}, ir::DType::kInt32)});
  expect_nodes(b.add(b.mul(b.scalar<int32_t>(1), i), b.scalar<int32_t>(0)), 1);
}
// GELU of x + 1: both factors stay products of the sum.
TEST_F(Cleanup, KeepsAffinesThatOthersReadToo) {
  const auto sum = b.add(x, b.scalar(1.0f));
  const auto gate = b.pointwise(P::kErfc, {b.mul(sum, b.scalar(-0.70710678f))});
  EXPECT_EQ(count(cleaned(b.mul(b.mul(sum, b.scalar(0.5f)), gate)), P::kAffine), 3);
}
TEST_F(Cleanup, ChoosesByConstants) {
  const std::vector<uint8_t> no(4, 0), yes(4, 1);
  const auto mask = [&](const std::vector<uint8_t>& values) {
    return b.graph().add_constant(ir::make_tensor<uint8_t>(ir::DType::kBool, {4}, std::span(values)));
  };
  const auto inner = b.pointwise(P::kSelect, {mask(no), b.scalar(0.0f), r});
  expect_nodes(b.pointwise(P::kSelect, {mask(yes), inner, b.pointwise(P::kNeg, {x})}), 1);
}
TEST_F(Cleanup, KeepsChoicesThatDiffer) {
  const std::vector<uint8_t> some = {0, 1, 0, 1};
  const auto mask = b.graph().add_constant(ir::make_tensor<uint8_t>(ir::DType::kBool, {4}, std::span(some)));
  EXPECT_EQ(count(cleaned(b.pointwise(P::kSelect, {mask, b.scalar(0.0f), r})), P::kSelect), 1);
}
TEST_F(Cleanup, KeepsBroadcastingNeutralElements) { expect_nodes(b.add(r, b.filled<float>({3, 1, 1}, 0)), 2); }
TEST_F(Cleanup, KeepsGraphInputsOffOutputs) { expect_nodes(b.add(x, b.scalar(0.0f)), 1); }

// x or 2 * ones_like(x) - 1, as masks are written.
TEST_F(Cleanup, FilledOperandsBecomeScalars) {
  const auto ones = b.op(Op::kFill, {b.shape_of(x), b.scalar(1.0f)}, ir::EmptyAttrs{});
  const auto condition = b.pointwise(P::kGreater, {x, r});
  const auto out = b.pointwise(P::kSelect, {condition, b.pointwise(P::kAffine, {ones}, 2, -1), r});
  const ir::Graph graph = cleaned(out);
  EXPECT_EQ(count(graph, Op::kFill), 0) << ir::to_string(graph);
  EXPECT_EQ(num_nodes(graph), 3);
}
TEST_F(Cleanup, FilledOperandsThatGiveTheShapeStay) {
  const auto ones = b.op(Op::kFill, {b.ints({3, 1, 4}), b.scalar(1.0f)}, ir::EmptyAttrs{});
  EXPECT_EQ(count(cleaned(b.add(b.mul(r, b.scalar(3.0f)), ones)), Op::kFill), 1);
}

TEST_F(Cleanup, SoftmaxDropsWhatIsAddedToAll) {
  expect_nodes(b.op(Op::kSoftmax, {b.pointwise(P::kAffine, {r}, 1, 1e-9f)}, ir::SoftmaxAttrs{false}), 2);
}
TEST_F(Cleanup, SoftmaxKeepsWhatMayRound) {
  expect_nodes(b.op(Op::kSoftmax, {b.pointwise(P::kAffine, {r}, 1, 1e9f)}, ir::SoftmaxAttrs{true}), 3);
}

TEST_F(Cleanup, ScalarsBecomeAffine) {
  const auto scaled = b.mul(b.pointwise(P::kSub, {x, b.constant<float>({1}, {127.5f})}), b.scalar(0.0078125f));
  const ir::Graph graph = cleaned(b.pointwise(P::kSub, {b.scalar(3.0f), scaled}));
  EXPECT_EQ(num_nodes(graph), 1);
  EXPECT_EQ(count(graph, P::kAffine), 1);
}
TEST_F(Cleanup, DoubleNegationGoes) { expect_nodes(b.pointwise(P::kNeg, {b.pointwise(P::kNeg, {r})}), 1); }
TEST_F(Cleanup, DivisionByPowersOfTwoIsExact) {
  EXPECT_EQ(count(cleaned(b.pointwise(P::kDiv, {x, b.constant<float>({4}, {1, 2, 0.5f, -8})})), P::kMul), 1);
}
TEST_F(Cleanup, OtherDivisionsStay) {
  EXPECT_EQ(count(cleaned(b.pointwise(P::kDiv, {b.pointwise(P::kDiv, {x, b.scalar(3.0f)}), b.scalar(6.0f)})), P::kDiv),
            2);
}
TEST_F(Cleanup, PoolingOverEverythingIsAReduction) {
  const auto image = b.input("image", {-1, 4, 6, 3});
  for (const ir::PoolKind kind : {ir::PoolKind::kMax, ir::PoolKind::kAverage}) {
    ir::PoolAttrs whole{kind, {4, 6}, {4, 6}, ir::Padding::kValid, {}};
    b.output(b.op(Op::kPool, {image}, whole));
    whole.padding = ir::Padding::kSame;
    b.output(b.op(Op::kPool, {image}, whole));
  }
  const ir::PoolAttrs part{ir::PoolKind::kMax, {4, 5}, {4, 6}, ir::Padding::kValid, {}};
  const ir::PoolAttrs overlapping{ir::PoolKind::kAverage, {4, 6}, {2, 6}, ir::Padding::kSame, {}};
  b.output(b.op(Op::kPool, {image}, part)).output(b.op(Op::kPool, {image}, overlapping));
  const ir::Graph graph = apply_pass("AlgebraicCleanup", b.build()).graph;
  EXPECT_EQ(count(graph, Op::kReduce), 4) << ir::to_string(graph);
  EXPECT_EQ(count(graph, Op::kPool), 2) << ir::to_string(graph);
}
TEST_F(Cleanup, CheaperEquals) {
  EXPECT_EQ(count(cleaned(b.mul(x, x)), P::kSquare), 1);
  EXPECT_EQ(
      count(apply_pass("AlgebraicCleanup",
                       [] {
                         GraphBuilder g;
                         const auto i = g.pointwise(P::kAbs, {g.input("i", {-1, 4})});
                         const auto root = g.pointwise(P::kReciprocal, {g.pointwise(P::kPow, {i, g.scalar(0.5f)})});
                         return g.output(g.pointwise(P::kSub, {root, g.pointwise(P::kNeg, {i})})).build();
                       }())
                .graph,
            P::kRsqrt),
      1);
}
TEST_F(Cleanup, PowersBecomeProducts) {
  const auto p = [&](float e) { return b.pointwise(P::kPow, {x, b.scalar(e)}); };
  const ir::Graph graph = cleaned(b.add(b.add(p(2), p(3)), p(1)));
  EXPECT_EQ(count(graph, P::kPow), 0);
  EXPECT_EQ(count(graph, P::kSquare), 2);
}
TEST_F(Cleanup, OtherPowersStay) {
  EXPECT_EQ(count(cleaned(b.pointwise(P::kPow, {b.pointwise(P::kAbs, {x}), b.scalar(2.5f)})), P::kPow), 1);
}

TEST_F(Cleanup, LimitsBecomeClip) {
  const auto limited = b.pointwise(P::kMinimum, {b.pointwise(P::kMaximum, {b.scalar(-1.0f), x}), b.scalar(2.0f)});
  const ir::Graph graph = cleaned(limited);
  EXPECT_EQ(num_nodes(graph), 1);
  EXPECT_EQ(count(graph, P::kClip), 1);
}
TEST_F(Cleanup, LimitsBecomeRelu6) {
  EXPECT_EQ(count(cleaned(b.pointwise(P::kMinimum, {r, b.scalar(6.0f)})), P::kRelu6), 1);
}
TEST_F(Cleanup, EmptyRangeStays) {
  expect_nodes(b.pointwise(P::kMinimum, {b.pointwise(P::kMaximum, {x, b.scalar(2.0f)}), b.scalar(-1.0f)}), 1);
}

TEST_F(Cleanup, TransposesCancel) {
  expect_nodes(b.pointwise(P::kExp, {transpose(transpose(b.relu(b.input("y", {2, 3, 4})), {1, 2, 0}), {2, 0, 1})}), 2);
}
TEST_F(Cleanup, TransposesMerge) {
  expect_nodes(transpose(transpose(b.input("y", {2, 3, 4}), {1, 2, 0}), {1, 2, 0}), 1);
}
TEST_F(Cleanup, ReshapesMerge) {
  const auto e = b.op(Op::kExpandDims, {b.reshape(r, {-1, 2, 2})}, ir::AxisAttrs{1});
  expect_nodes(b.relu(b.op(Op::kSqueeze, {e}, ir::AxesAttrs{{1}})), 3);
}
TEST_F(Cleanup, ReshapeBackGoes) {
  expect_nodes(b.pointwise(P::kExp, {b.reshape(b.reshape(r, {-1, 2, 2}), {-1, 4})}), 2);
}
TEST_F(Cleanup, IdleDataMovementGoes) {
  auto v = b.op(Op::kSlice, {r, b.ints({0, 0}), b.ints({-1, 4})});
  v = b.op(Op::kPad, {v, b.constant<int32_t>({2, 2}, {0, 0, 0, 0}), b.scalar(0.0f)}, ir::PadAttrs{});
  v = b.op(Op::kTile, {v, b.ints({1, 1})});
  v = b.op(Op::kCast, {v}, ir::CastAttrs{ir::DType::kFloat32});
  v = b.op(Op::kConcat, {v}, ir::AxisAttrs{1});
  v = b.op(Op::kReduce, {v}, ir::ReduceAttrs{ir::ReduceKind::kSum, {}, false});
  v = b.op(Op::kStridedSlice, {v, b.ints({0, 0}), b.ints({0, 0}), b.ints({1, 1})},
           ir::StridedSliceAttrs{3, 3, 0, 0, 0});
  expect_nodes(b.pointwise(P::kExp, {b.op(Op::kIdentity, {v}, ir::IdentityAttrs{})}), 2);
}
TEST_F(Cleanup, ReverseByStrideStays) {
  expect_nodes(b.op(Op::kStridedSlice, {r, b.ints({0, 0}), b.ints({0, 0}), b.ints({1, -1})},
                    ir::StridedSliceAttrs{3, 3, 0, 0, 0}),
               2);
}
TEST_F(Cleanup, ReduceOfOnesIsSqueeze) {
  const ir::Graph graph =
      cleaned(b.op(Op::kReduce, {b.input("y", {-1, 1, 3})}, ir::ReduceAttrs{ir::ReduceKind::kMean, {1}, false}));
  EXPECT_EQ(count(graph, Op::kReduce), 0);
}
TEST_F(Cleanup, ConcatsMerge) {
  const auto inner = b.op(Op::kConcat, {x, r}, ir::AxisAttrs{1});
  const ir::Graph graph = cleaned(b.op(Op::kConcat, {inner, x}, ir::AxisAttrs{1}));
  EXPECT_EQ(only(graph, Op::kConcat).inputs.size(), 3u);
}
TEST_F(Cleanup, ConcatsOfOtherAxesStay) {
  const auto inner = b.op(Op::kConcat, {x, r}, ir::AxisAttrs{0});
  EXPECT_EQ(count(cleaned(b.op(Op::kConcat, {inner, inner}, ir::AxisAttrs{1})), Op::kConcat), 2);
}

struct Layout : Cleanup {
  ir::Graph laid_out(GraphBuilder::Id out) { return apply_pass("Layout", b.output(out).build()).graph; }
  GraphBuilder::Id nchw_conv(GraphBuilder::Id v, int64_t in, int64_t out) {
    const auto w = b.constant<float>({3, 3, in, out}, ramp(9 * in * out));
    return transpose(b.conv(transpose(v, {0, 2, 3, 1}), w), {0, 3, 1, 2});
  }
};

TEST_F(Layout, IslandOfChannelsFirstDissolves) {
  const auto image = b.input("image", {-1, 3, 8, 8});
  const auto bias = b.constant<float>({4, 1, 1}, ramp(4));
  const auto first = b.relu(b.add(nchw_conv(image, 3, 4), bias));
  const auto second = b.add(nchw_conv(first, 4, 4), first);
  const auto padded =
      b.op(Op::kPad, {second, b.constant<int32_t>({4, 2}, {0, 0, 0, 0, 1, 2, 0, 1}), b.scalar(0.0f)}, ir::PadAttrs{});
  const auto joined = b.op(Op::kConcat, {padded, padded}, ir::AxisAttrs{1});
  const ir::Graph graph = laid_out(b.op(Op::kReduce, {joined}, ir::ReduceAttrs{ir::ReduceKind::kMean, {2, 3}, false}));
  EXPECT_EQ(count(graph, Op::kTranspose), 1) << ir::to_string(graph);
}
TEST_F(Layout, TransposeOfOnesIsReshape) {
  const ir::Graph graph = laid_out(b.relu(transpose(b.input("y", {-1, 1, 1, 8}), {0, 3, 1, 2})));
  EXPECT_EQ(count(graph, Op::kTranspose), 0);
}
TEST_F(Layout, SharedTransposeDoesNotMultiply) {
  const auto t = transpose(b.input("y", {2, 3, 4}), {2, 0, 1});
  b.output(t);
  EXPECT_EQ(count(laid_out(b.relu(t)), Op::kTranspose), 1);
}
TEST_F(Layout, DifferentTransposesStay) {
  const auto y = b.input("y", {3, 3, 3});
  EXPECT_EQ(count(laid_out(b.add(transpose(y, {2, 0, 1}), transpose(y, {1, 2, 0}))), Op::kTranspose), 2);
}
TEST_F(Layout, BiasMovesBeforeReshape) {
  const auto product = b.matmul(x, b.constant<float>({4, 6}, ramp(24)));
  const auto out = b.relu(b.add(b.reshape(product, {-1, 1, 6}), b.constant<float>({6}, ramp(6))));
  EXPECT_EQ(output_node(laid_out(out)).op, Op::kReshape);
}
TEST_F(Layout, ReshapeOfChannelsStays) {
  const auto product = b.matmul(x, b.constant<float>({4, 6}, ramp(24)));
  EXPECT_EQ(output_node(laid_out(b.add(b.reshape(product, {-1, 2, 3}), b.constant<float>({3}, ramp(3))))).op,
            Op::kPointwise);
}

}  // namespace
}  // namespace blade::testing
