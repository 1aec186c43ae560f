// FuseEpilogue and FusePointwise.
#include "passes/pass_test_util.h"

namespace blade::testing {
namespace {

using Id = GraphBuilder::Id;

struct Epilogue : ::testing::Test {
  Id conv(Id v, int64_t in, int64_t out) { return b.conv(v, b.constant<float>({3, 3, in, out}, ramp(9 * in * out))); }
  Id bias(int64_t n) { return b.constant<float>({n}, ramp(n)); }
  Applied fused(Id out) { return apply_pass("FuseEpilogue", b.output(out).build()); }
  void expect_nodes(Id out, int nodes) {
    const Applied applied = fused(out);
    EXPECT_EQ(num_nodes(applied.graph), nodes) << ir::to_string(applied.graph);
  }
  GraphBuilder b;
  Id x = b.input("x", {-1, 5, 5, 4});
};

TEST_F(Epilogue, BiasAndActivation) {
  const Applied applied = fused(b.relu(b.add(conv(x, 4, 4), bias(4))));
  const ir::Node& node = only(applied.graph, Op::kConv);
  EXPECT_EQ(num_nodes(applied.graph), 1);
  EXPECT_EQ(node.get<ir::ConvAttrs>().epilogue.code.size(), 2u);
  EXPECT_EQ(node.name.substr(0, 4), "Conv");  // the convolution's name stays with the work
}
TEST_F(Epilogue, ResidualAfterBias) { expect_nodes(b.relu(b.add(x, b.add(conv(x, 4, 4), bias(4)))), 1); }
TEST_F(Epilogue, LaterOfTwoConvolutionsTakesTheSum) {
  const auto shortcut = conv(x, 4, 4), main = b.add(conv(b.relu(conv(x, 4, 4)), 4, 4), bias(4));
  const Applied applied = fused(b.relu(b.add(main, shortcut)));
  EXPECT_EQ(num_nodes(applied.graph), 3);
  EXPECT_EQ(output_node(applied.graph).inputs.size(), 4u);  // x, w, bias, shortcut
}
TEST_F(Epilogue, ReconvergingElementwiseWork) {
  const auto y = b.add(conv(x, 4, 4), bias(4));
  const auto gate = b.pointwise(P::kRelu6, {b.pointwise(P::kAffine, {y}, 1, 3)});
  expect_nodes(b.mul(b.pointwise(P::kAffine, {y}, 0.1666259765625f, 0), gate), 1);
}
TEST_F(Epilogue, ConstantsWithLeadingOnesBecomeVectors) {
  const auto slope = b.constant<float>({1, 1, 4}, ramp(4));
  const Applied applied = fused(b.pointwise(P::kPRelu, {conv(x, 4, 4), slope}));
  const ir::Node& node = only(applied.graph, Op::kConv);
  EXPECT_EQ(applied.graph.value(node.inputs[2]).shape.rank(), 1);
}
TEST_F(Epilogue, MatMulWithScale) {
  const auto y = b.matmul(b.input("y", {-1, 3, 4}), b.constant<float>({4, 6}, ramp(24)));
  expect_nodes(b.relu(b.add(b.mul(y, b.scalar(0.125f)), bias(6))), 1);
}
// Keras' dense layers on more than two axes: what lies behind the product's Reshape joins it, residuals reshaped.
TEST_F(Epilogue, ReshapedMatMulTakesActivationAndResidual) {
  const auto rows = b.op(Op::kReshape, {x, b.constant<int64_t>({2}, {-1, 4})});
  const auto product = b.matmul(rows, b.constant<float>({4, 4}, ramp(16)));
  const auto image = b.op(Op::kReshape, {product, b.constant<int64_t>({4}, {-1, 5, 5, 4})});
  const Applied applied = fused(b.add(b.relu(b.add(image, bias(4))), x));
  const ir::Node& node = only(applied.graph, Op::kMatMul);
  EXPECT_EQ(num_nodes(applied.graph), 4) << ir::to_string(applied.graph);  // three of them reshape
  EXPECT_EQ(node.inputs.size(), 4u);                                       // rows, w, bias, residual
  EXPECT_EQ(output_node(applied.graph).op, Op::kReshape);
}
TEST_F(Epilogue, MatMulReshapedToOneRow) {
  const auto product = b.matmul(b.input("y", {1, 8}), b.constant<float>({8, 6}, ramp(48)));
  const auto row = b.op(Op::kReshape, {product, b.constant<int64_t>({1}, {6})});
  const Applied applied = fused(b.relu(b.add(row, bias(6))));
  EXPECT_EQ(num_nodes(applied.graph), 2) << ir::to_string(applied.graph);  // MatMul, Reshape
}
TEST_F(Epilogue, ReshapedResultThatOthersReadIsLeft) {
  const auto rows = b.op(Op::kReshape, {x, b.constant<int64_t>({2}, {-1, 4})});
  const auto product = b.matmul(rows, b.constant<float>({4, 4}, ramp(16)));
  const auto image = b.op(Op::kReshape, {product, b.constant<int64_t>({4}, {-1, 5, 5, 4})});
  b.output(image);
  EXPECT_EQ(fused(b.add(image, x)).result.changes, 0);
}
TEST_F(Epilogue, ReshapedWorkThatNoProductTakesIsLeft) {
  const auto sum = [&](Id rows) { return b.add(b.reshape(rows, {2, 5, 5, 4}), b.input("y", {2, 5, 5, 4})); };
  EXPECT_EQ(fused(sum(b.pointwise(P::kTanh, {b.input("rows", {50, 4})}))).result.changes, 0);
  const auto product = b.matmul(b.input("rows", {50, 4}), b.constant<float>({4, 4}, ramp(16)));
  b.output(product);
  EXPECT_EQ(fused(sum(b.relu(product))).result.changes, 0);
}
TEST_F(Epilogue, ReshapedToOtherChannelsIsLeft) {
  const auto product = b.matmul(b.input("y", {3, 4}), b.constant<float>({4, 8}, ramp(32)));
  EXPECT_EQ(fused(b.relu(b.op(Op::kReshape, {product, b.ints({3, 2, 4})}))).result.changes, 0);
}
TEST_F(Epilogue, SumsThatAreResultsStayResults) {
  const auto sum = b.add(conv(x, 4, 4), bias(4));
  b.output(sum);
  EXPECT_EQ(fused(b.relu(sum)).graph.outputs().size(), 2u);
}
TEST_F(Epilogue, SharedResultIsLeft) {
  const auto y = conv(x, 4, 4);
  b.output(y);
  EXPECT_EQ(fused(b.relu(y)).result.changes, 0);
}
TEST_F(Epilogue, OperandOfAnotherShapeIsLeft) {
  const auto y = conv(x, 4, 4);
  const auto squeezed = b.op(Op::kReduce, {y}, ir::ReduceAttrs{ir::ReduceKind::kMean, {1, 2}, true});
  b.output(squeezed);
  EXPECT_EQ(fused(b.mul(x, squeezed)).result.changes, 0);
  const auto gate = b.input("gate", {1, 1, 1, 4}), other = b.input("other", {-1, 5, 5, 4});
  EXPECT_EQ(fused(b.mul(conv(other, 4, 4), gate)).result.changes, 0);
}
TEST_F(Epilogue, ScalarsAndVectorsOfARunAreOperands) {
  expect_nodes(b.add(b.mul(conv(x, 4, 4), b.input("scale", {})), b.input("shift", {4})), 1);
}
TEST_F(Epilogue, OperandsOfOneNumberAreLeft) {
  EXPECT_EQ(fused(b.mul(conv(x, 4, 4), b.input("one", {1}))).result.changes, 0);
  const auto y = b.matmul(b.input("y", {3, 4}), b.constant<float>({4, 6}, ramp(24)));
  EXPECT_EQ(fused(b.add(y, b.filled<float>({1, 1, 1}, 0.5f))).result.changes, 0);  // a rank more
}
TEST_F(Epilogue, OtherWorkAndOtherTypesAreLeft) {
  EXPECT_EQ(fused(b.op(Op::kSoftmax, {conv(x, 4, 4)}, ir::SoftmaxAttrs{})).result.changes, 0);
  const auto y = b.input("y", {2, 5, 5, 4}), mask = b.input("mask", {2, 5, 5, 4}, ir::DType::kBool);
  EXPECT_EQ(fused(b.pointwise(P::kSelect, {mask, conv(y, 4, 4), y})).result.changes, 0);
}
TEST_F(Epilogue, OfUnknownRankIsLeft) {
  const auto y = b.matmul(b.input_of_unknown_rank("y"), b.constant<float>({4, 4}, ramp(16)));
  ir::Graph graph = b.output(b.relu(b.add(y, b.input_of_unknown_rank("z")))).build();
  const auto result = find_pass("FuseEpilogue").run(graph, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->changes, 0);
}
TEST_F(Epilogue, PartsThatAreResultsStayResults) {
  const auto y = conv(x, 4, 4), gate = b.pointwise(P::kRelu6, {y});
  b.output(gate);
  EXPECT_EQ(fused(b.mul(y, gate)).result.changes, 0);
}
TEST_F(Epilogue, ProgramsAndOperandsAreBounded) {
  Id chain = conv(x, 4, 4), sum = conv(x, 4, 4);
  for (int i = 0; i < 80; ++i) chain = b.pointwise(P::kAffine, {chain}, 0.5f, 0.1f);
  for (int i = 0; i < 12; ++i) sum = b.add(sum, b.input("in" + std::to_string(i), {4}));
  b.output(chain);
  const ir::Graph graph = fused(sum).graph;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id) || graph.node(id).op != Op::kConv) continue;
    const auto& epilogue = graph.node(id).get<ir::ConvAttrs>().epilogue;
    EXPECT_FALSE(epilogue.empty());
    EXPECT_LE(epilogue.code.size(), 32u);
    EXPECT_LE(epilogue.num_inputs, 8);
  }
}
// What lies behind a Reshape and is no operand in front of it.
TEST_F(Epilogue, ReshapedWorkWithOtherOperandsIsLeft) {
  const auto product = [&](int64_t rows) {
    return b.matmul(b.input("rows", {rows, 4}), b.constant<float>({4, 4}, ramp(16)));
  };
  const auto image = b.reshape(product(50), {2, 5, 5, 4});
  EXPECT_EQ(fused(b.mul(image, b.input("gate", {2, 1, 1, 4}))).result.changes, 0);
  EXPECT_EQ(fused(b.mul(b.reshape(product(50), {2, 5, 5, 4}), b.constant<float>({1, 5, 4}, ramp(20)))).result.changes,
            0);
  EXPECT_EQ(fused(b.add(b.reshape(product(1), {1, 1, 4}), b.input("y", {3, 1, 4}))).result.changes, 0);
}
TEST_F(Epilogue, ReshapedWorkOfUnknownRankIsLeft) {
  const auto y = b.pointwise(P::kTanh, {b.input_of_unknown_rank("y")});
  ir::Graph graph = b.output(b.relu(b.reshape(y, {2, 4}))).build();
  const auto result = find_pass("FuseEpilogue").run(graph, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->changes, 0);
}
TEST_F(Epilogue, ConstantsOfRowsOrPixelsAreLeft) {
  for (const ir::Dims& dims : {ir::Dims{5, 1}, {5, 5}, {5, 1, 1}, {5, 5, 1}}) {
    const auto y = conv(b.input("y", {-1, 5, 5, 4}), 4, 5);
    EXPECT_EQ(fused(b.add(y, b.constant<float>(dims, ramp(dims[0] * dims[1])))).result.changes, 0);
  }
}
TEST_F(Epilogue, BroadcastResultIsLeft) {
  const auto y = b.matmul(b.input("y", {1, 4}), b.constant<float>({4, 6}, ramp(24)));
  EXPECT_EQ(fused(b.add(y, b.input("z", {3, 6}))).result.changes, 0);
}

struct Tree : ::testing::Test {
  Applied fused(Id out) { return apply_pass("FusePointwise", b.output(out).build()); }
  Id u(P op, Id v) { return b.pointwise(op, {v}); }
  GraphBuilder b;
  Id x = b.input("x", {-1, 6}), y = b.input("y", {-1, 6}), row = b.input("row", {6});
};

TEST_F(Tree, ChainsAndTrees) {
  const Applied applied = fused(b.add(u(P::kTanh, b.add(x, row)), b.mul(u(P::kExp, x), row)));
  const ir::Node& node = only(applied.graph, Op::kPointwise);
  EXPECT_EQ(node.inputs.size(), 2u);
  EXPECT_EQ(node.get<ir::PointwiseAttrs>().program.code.size(), 5u);
}
TEST_F(Tree, ReconvergingWork) {
  const auto t = u(P::kTanh, x);
  EXPECT_EQ(num_nodes(fused(b.add(b.mul(t, u(P::kExp, t)), t)).graph), 1);
}
TEST_F(Tree, MasksStayInside) {
  const auto mask = b.pointwise(P::kGreater, {x, row});
  EXPECT_EQ(num_nodes(fused(u(P::kExp, b.pointwise(P::kSelect, {mask, x, u(P::kNeg, x)}))).graph), 1);
}
TEST_F(Tree, MasksFromOutsideAreLeft) {
  const auto mask = b.input("mask", {-1, 6}, ir::DType::kBool);
  EXPECT_EQ(fused(u(P::kExp, b.pointwise(P::kSelect, {mask, row, b.scalar(1.0f)}))).result.changes, 0);
}
TEST_F(Tree, WorkBehindMasksFromOutsideIsJoined) {
  const auto mask = b.input("mask", {-1, 6}, ir::DType::kBool);
  const auto chosen = b.pointwise(P::kSelect, {mask, u(P::kTanh, x), u(P::kNeg, x)});
  const Applied applied = fused(u(P::kExp, u(P::kAbs, chosen)));
  EXPECT_EQ(count(applied.graph, P::kSelect), 1);
  EXPECT_EQ(num_nodes(applied.graph), 4);
}
TEST_F(Tree, BroadcastResultsAreNotComputedAgain) { EXPECT_EQ(fused(b.add(x, u(P::kExp, row))).result.changes, 0); }
TEST_F(Tree, SharedResultsStay) {
  const auto t = u(P::kTanh, x);
  b.output(u(P::kExp, t));
  EXPECT_EQ(fused(u(P::kNeg, t)).result.changes, 0);
}
TEST_F(Tree, ProgramsAreBounded) {
  Id v = x;
  for (int i = 0; i < 100; ++i) v = b.pointwise(P::kAffine, {v}, 0.5f, 0.1f);
  const ir::Graph graph = fused(v).graph;
  EXPECT_GE(num_nodes(graph), 4);
  EXPECT_LE(num_nodes(graph), 8);
}
TEST_F(Tree, InputsAreBounded) {
  Id v = x;
  for (int i = 0; i < 20; ++i) v = b.add(v, b.input("in" + std::to_string(i), {-1, 6}));
  const ir::Graph graph = fused(v).graph;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (graph.is_live(id)) {
      EXPECT_LE(graph.node(id).inputs.size(), 8u);
    }
  }
}

struct ProjectedAverage : Epilogue {
  Id pool(Id v, ir::PoolKind kind = ir::PoolKind::kAverage, ir::Padding padding = ir::Padding::kSame,
          int64_t stride = 1) {
    return b.op(Op::kPool, {v}, ir::PoolAttrs{kind, {3, 3}, {stride, stride}, padding, {}});
  }
  Id project(Id v, int64_t from, int64_t to, int64_t size = 1) {
    return b.conv(v, b.constant<float>({size, size, from, to}, ramp(size * size * from * to)));
  }
  // Whether the two change places, so that `second` reads `first` in the end.
  bool puts(Op first, Op second, Id result) {
    const Applied applied = apply_pass("ProjectAroundPool", b.output(result).build());
    const ir::Node& node = only(applied.graph, second);
    const ir::NodeId producer = applied.graph.value(node.inputs[0]).producer;
    const bool behind = producer != ir::kNone && applied.graph.node(producer).op == first;
    EXPECT_EQ(applied.result.changes > 0, behind) << to_string(applied.graph);
    return behind;
  }
  bool moves(Id projected) { return puts(Op::kConv, Op::kPool, projected); }
  bool moves_back(Id pooled) { return puts(Op::kPool, Op::kConv, pooled); }
  Id average(Id v, int64_t stride = 2, ir::Padding padding = ir::Padding::kSame) {
    return pool(v, ir::PoolKind::kAverage, padding, stride);
  }
  Id image = b.input("image", {-1, 5, 7, 8});
};

TEST_F(ProjectedAverage, FewerChannelsArePooled) { EXPECT_TRUE(moves(b.relu(project(pool(image), 8, 3)))); }
TEST_F(ProjectedAverage, StaysWithAsManyChannels) { EXPECT_FALSE(moves(project(pool(image), 8, 5))); }
TEST_F(ProjectedAverage, StaysBehindMaxima) { EXPECT_FALSE(moves(project(pool(image, ir::PoolKind::kMax), 8, 3))); }
TEST_F(ProjectedAverage, StaysBehindFewerWindowsThanPixels) {
  EXPECT_FALSE(moves(project(pool(image, ir::PoolKind::kAverage, ir::Padding::kSame, 2), 8, 3)));
}
TEST_F(ProjectedAverage, StaysBehindWindowsWithoutPadding) {
  EXPECT_FALSE(moves(project(pool(image, ir::PoolKind::kAverage, ir::Padding::kValid), 8, 3)));
}
TEST_F(ProjectedAverage, StaysIfItReadsNeighbours) { EXPECT_FALSE(moves(project(pool(image), 8, 3, 3))); }
TEST_F(ProjectedAverage, StaysIfItSkipsPixels) {
  EXPECT_FALSE(moves(b.conv(pool(image), b.constant<float>({1, 1, 8, 3}, ramp(24)), {2, 2}, ir::Padding::kValid)));
}
TEST_F(ProjectedAverage, StaysIfItAddsPixels) {
  const Id weights = b.constant<float>({1, 1, 8, 3}, ramp(24));
  EXPECT_FALSE(moves(b.conv(pool(image), weights, {1, 1}, ir::Padding::kExplicit, 1, {1, 0, 0, 1})));
}
TEST_F(ProjectedAverage, StaysWhereTheAverageHasOtherReaders) {
  const Id average = pool(image);
  b.output(b.pointwise(P::kTanh, {average}));
  EXPECT_FALSE(moves(project(average, 8, 3)));
}

TEST_F(ProjectedAverage, FewerPixelsAreProjected) { EXPECT_TRUE(moves_back(b.relu(average(project(image, 8, 8))))); }
TEST_F(ProjectedAverage, FewerPixelsAreProjectedWithoutPadding) {
  EXPECT_TRUE(moves_back(average(project(image, 8, 12), 3, ir::Padding::kValid)));
}
TEST_F(ProjectedAverage, StaysBeforeAsManyPixels) { EXPECT_FALSE(moves_back(average(project(image, 8, 8), 1))); }
TEST_F(ProjectedAverage, StaysBeforeMaxima) {
  EXPECT_FALSE(moves_back(pool(project(image, 8, 8), ir::PoolKind::kMax, ir::Padding::kSame, 2)));
}
TEST_F(ProjectedAverage, StaysWhereItsResultHasOtherReaders) {
  const Id projected = project(image, 8, 8);
  b.output(b.pointwise(P::kTanh, {projected}));
  EXPECT_FALSE(moves_back(average(projected)));
}

struct PooledActivation : Epilogue {
  Id pool(Id v, ir::PoolKind kind = ir::PoolKind::kMax, ir::Padding padding = ir::Padding::kSame) {
    ir::PoolAttrs attrs{kind, {3, 3}, {2, 2}, padding, {}};
    if (padding == ir::Padding::kExplicit) attrs.explicit_pads = {1, 1, 1, 1};
    return b.op(Op::kPool, {v}, attrs);
  }
  // Whether the activation stands before the pool in the end.
  bool moves(Id activated) {
    const Id after = b.conv(activated, b.constant<float>({1, 1, 4, 3}, ramp(12)));
    const Applied applied = apply_pass("ActivateBeforePool", b.output(after).build());
    const ir::Node& node = only(applied.graph, Op::kPool);
    const ir::NodeId producer = applied.graph.value(node.inputs[0]).producer;
    EXPECT_EQ(applied.result.changes > 0, applied.graph.node(producer).op == Op::kPointwise)
        << to_string(applied.graph);
    return applied.result.changes > 0;
  }
};

TEST_F(PooledActivation, MovesBeforeTheMaximumOfAProduct) { EXPECT_TRUE(moves(b.relu(pool(conv(x, 4, 4))))); }
TEST_F(PooledActivation, MovesIfItNeverFalls) {
  EXPECT_TRUE(moves(b.pointwise(P::kLeakyRelu, {pool(conv(x, 4, 4))}, 0.1f)));
}
TEST_F(PooledActivation, StaysIfItMayFall) {
  EXPECT_FALSE(moves(b.pointwise(P::kLeakyRelu, {pool(conv(x, 4, 4))}, -0.1f)));
}
TEST_F(PooledActivation, StaysBehindAverages) {
  EXPECT_FALSE(moves(b.relu(pool(conv(x, 4, 4), ir::PoolKind::kAverage))));
}
TEST_F(PooledActivation, StaysBehindWindowsThatMayBeEmpty) {
  EXPECT_FALSE(moves(b.relu(pool(conv(x, 4, 4), ir::PoolKind::kMax, ir::Padding::kExplicit))));
}
TEST_F(PooledActivation, StaysWhereTheMaximumHasOtherReaders) {
  const Id maximum = pool(conv(x, 4, 4)), activated = b.relu(maximum);
  b.output(b.pointwise(P::kTanh, {maximum}));
  EXPECT_FALSE(moves(activated));
}
TEST_F(PooledActivation, StaysWhereTheProductHasOtherReaders) {
  const Id product = conv(x, 4, 4);
  b.output(b.pointwise(P::kTanh, {product}));
  EXPECT_FALSE(moves(b.relu(pool(product))));
}

}  // namespace
}  // namespace blade::testing
