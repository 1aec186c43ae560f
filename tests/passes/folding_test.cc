// FoldBatchNorm, FoldPad and FoldDilation.
#include <cstring>
#include <limits>

#include "passes/pass_test_util.h"

namespace blade::testing {
namespace {

using Id = GraphBuilder::Id;

struct BatchNorm : ::testing::Test {
  Id batch_norm(Id v, int64_t channels) {
    const auto vector = [&](float from, float to) { return b.constant<float>({channels}, ramp(channels, from, to)); };
    return b.op(Op::kBatchNorm, {v, vector(0.5f, 2), vector(-1, 1), vector(-0.5f, 0.5f), vector(0.1f, 3)},
                ir::BatchNormAttrs{1e-3f});
  }
  Id weights(ir::Dims dims) {
    int64_t n = 1;
    for (int64_t d : dims) n *= d;
    return b.constant<float>(std::move(dims), ramp(n));
  }
  Id vector(int64_t n) { return b.constant<float>({n}, ramp(n, 0.5f, 1.5f)); }
  Applied folded(Id out) { return apply_pass("FoldBatchNorm", b.output(out).build(), 5e-6); }

  GraphBuilder b;
  Id x = b.input("x", {-1, 5, 5, 3});
};

TEST_F(BatchNorm, AfterConv) {
  const Applied applied = folded(b.relu(batch_norm(b.conv(x, weights({3, 3, 3, 4})), 4)));
  EXPECT_EQ(count(applied.graph, Op::kBatchNorm), 0);
  EXPECT_EQ(num_nodes(applied.graph), 3);
  EXPECT_EQ(count(applied.graph, P::kAdd), 1);
}
TEST_F(BatchNorm, AfterConvWithBias) {
  const Applied applied = folded(batch_norm(b.add(b.conv(x, weights({3, 3, 3, 4})), vector(4)), 4));
  EXPECT_EQ(num_nodes(applied.graph), 2) << ir::to_string(applied.graph);
}
TEST_F(BatchNorm, AfterDepthwiseConv) {
  EXPECT_EQ(num_nodes(folded(batch_norm(b.conv(x, weights({3, 3, 1, 6}), {1, 1}, ir::Padding::kSame, 3), 6)).graph), 2);
}
TEST_F(BatchNorm, AfterMatMul) {
  const auto y = b.input("y", {-1, 3});
  EXPECT_EQ(num_nodes(folded(batch_norm(b.matmul(y, weights({3, 4})), 4)).graph), 2);
}
TEST_F(BatchNorm, AfterTransposedMatMul) {
  const auto y = b.input("y", {-1, 3});
  EXPECT_EQ(num_nodes(folded(batch_norm(b.matmul(y, weights({4, 3}), false, true), 4)).graph), 2);
}
TEST_F(BatchNorm, AfterConvTranspose) {
  ir::ConvTransposeAttrs attrs;
  attrs.strides = {2, 2};
  attrs.dilations = {1, 1};
  attrs.padding = ir::Padding::kSame;
  const auto z = b.input("z", {2, 5, 5, 3});
  const auto y = b.op(Op::kConvTranspose, {z, weights({3, 3, 4, 3}), b.ints({2, 10, 10, 4})}, attrs);
  ir::Graph graph = b.output(batch_norm(y, 4)).build();
  EXPECT_EQ(num_nodes(apply_pass("FoldBatchNorm", std::move(graph), 5e-6).graph), 2);
}
TEST_F(BatchNorm, ScaleAloneLeavesNoBias) {
  EXPECT_EQ(num_nodes(folded(b.mul(b.conv(x, weights({3, 3, 3, 4})), vector(4))).graph), 1);
}
TEST_F(BatchNorm, AfterMatricesOfTheirOwnStays) {
  const auto y = b.input("y", {2, 5, 3});
  EXPECT_EQ(folded(b.add(b.mul(b.matmul(y, weights({2, 3, 4})), vector(4)), vector(4))).result.changes, 0);
}
TEST_F(BatchNorm, BiasBetweenProductsStaysWithTheFirst) {
  const auto y = b.add(b.matmul(b.input("y", {-1, 3}), weights({3, 4})), vector(4));
  EXPECT_EQ(folded(b.matmul(y, weights({4, 5}))).result.changes, 0);
}
TEST_F(BatchNorm, SharedResultIsLeft) {
  const auto y = b.conv(x, weights({3, 3, 3, 4}));
  const Applied applied = folded(b.add(b.relu(y), batch_norm(y, 4)));
  EXPECT_EQ(count(applied.graph, Op::kConv), 1);
  EXPECT_EQ(count(applied.graph, Op::kBatchNorm), 0);  // on its own: a multiplication and an addition
  EXPECT_EQ(num_nodes(applied.graph), 4);
}
TEST_F(BatchNorm, SharedWeightsAreLeft) {
  const auto w = weights({3, 3, 3, 3});
  const Applied applied = folded(batch_norm(b.conv(b.relu(b.conv(x, w)), w), 3));
  for (ir::NodeId id = 0; id < applied.graph.num_node_slots(); ++id) {
    if (applied.graph.is_live(id) && applied.graph.node(id).op == Op::kConv) {
      EXPECT_EQ(applied.graph.node(id).inputs[1], w);
    }
  }
}
TEST_F(BatchNorm, AloneBecomesOneProgram) {
  const Applied applied = folded(batch_norm(x, 3));
  EXPECT_EQ(only(applied.graph, Op::kPointwise).get<ir::PointwiseAttrs>().program.code.size(), 2u);
}
TEST_F(BatchNorm, VariableStatisticsStay) {
  const auto mean = b.input("mean", {3});
  EXPECT_EQ(count(folded(b.op(Op::kBatchNorm, {x, vector(3), vector(3), mean, vector(3)}, ir::BatchNormAttrs{})).graph,
                  Op::kBatchNorm),
            1);
}
TEST_F(BatchNorm, BeforeConvWithoutPadding) {
  const auto scaled = b.add(b.mul(b.relu(x), vector(3)), vector(3));
  const Applied applied = folded(b.conv(scaled, weights({3, 3, 3, 4}), {1, 1}, ir::Padding::kValid));
  EXPECT_EQ(num_nodes(applied.graph), 3) << ir::to_string(applied.graph);  // relu, conv, bias
}
TEST_F(BatchNorm, BeforePaddedConvOnlyScalesFold) {
  const auto scaled = b.mul(b.relu(x), vector(3));
  EXPECT_EQ(num_nodes(folded(b.conv(scaled, weights({3, 3, 3, 4}))).graph), 2);
}
TEST_F(BatchNorm, ShiftBeforePaddedConvStays) {
  const auto shifted = b.add(b.relu(x), vector(3));
  EXPECT_EQ(folded(b.conv(shifted, weights({3, 3, 3, 4}))).result.changes, 0);
}
TEST_F(BatchNorm, BeforeDepthwiseConv) {
  const auto scaled = b.add(b.mul(b.relu(x), vector(3)), vector(3));
  EXPECT_EQ(num_nodes(folded(b.conv(scaled, weights({3, 3, 1, 6}), {1, 1}, ir::Padding::kValid, 3)).graph), 3);
}
TEST_F(BatchNorm, ShiftBeforeExplicitlyPaddedConvStays) {
  const auto shifted = b.add(b.relu(x), vector(3));
  const auto y = b.conv(shifted, weights({3, 3, 3, 4}), {1, 1}, ir::Padding::kExplicit, 1, {0, 0, 0, 1});
  EXPECT_EQ(folded(y).result.changes, 0);
}
TEST_F(BatchNorm, BehindAnActivationOfTheProductStays) {
  ir::MatMulAttrs attrs;
  attrs.epilogue = ir::PointwiseProgram::unary(P::kRelu);
  const auto y = b.op(Op::kMatMul, {b.input("y", {-1, 3}), weights({3, 4})}, attrs);
  EXPECT_EQ(folded(b.mul(y, b.constant<float>({4}, {-1, 2, -3, 4}))).result.changes, 0);
}
TEST_F(BatchNorm, WeightsThatOnlyARunTellsStay) {
  EXPECT_EQ(folded(b.mul(b.conv(x, b.input("filter", {3, 3, 3, 4})), vector(4))).result.changes, 0);
}
TEST_F(BatchNorm, OfUnknownRankStays) {
  const auto y = b.input_of_unknown_rank("y");
  b.output(b.mul(b.matmul(y, weights({3, 4})), vector(4)));
  ir::Graph graph = b.output(batch_norm(b.input_of_unknown_rank("z"), 3)).build();
  const auto result = find_pass("FoldBatchNorm").run(graph, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->changes, 0);
}
TEST_F(BatchNorm, BiasAloneStays) {
  EXPECT_EQ(folded(b.add(b.conv(x, weights({3, 3, 3, 4})), vector(4))).result.changes, 0);
}

struct Padding : BatchNorm {
  Id pad(Id v, std::vector<int32_t> amounts, float value = 0) {
    return b.op(Op::kPad, {v, b.constant<int32_t>({4, 2}, amounts), b.scalar(value)}, ir::PadAttrs{});
  }
  Id max_pool(Id v, ir::PoolKind kind = ir::PoolKind::kMax, int64_t window = 3) {
    return b.op(Op::kPool, {v}, ir::PoolAttrs{kind, {window, window}, {2, 2}, ir::Padding::kValid, {}});
  }
  Applied folded(Id out) { return apply_pass("FoldPad", b.output(out).build()); }
  const std::vector<int32_t> spatial = {0, 0, 1, 1, 0, 2, 0, 0};
};

TEST_F(Padding, IntoConv) {
  const Applied applied = folded(b.conv(pad(x, spatial), weights({3, 3, 3, 4}), {2, 2}, ir::Padding::kValid));
  EXPECT_EQ(only(applied.graph, Op::kConv).get<ir::ConvAttrs>().explicit_pads, (std::vector<int64_t>{1, 1, 0, 2}));
  EXPECT_EQ(num_nodes(applied.graph), 1);
}
TEST_F(Padding, IntoSameConv) {
  EXPECT_EQ(num_nodes(folded(b.conv(pad(x, spatial), weights({3, 3, 3, 4}), {2, 2})).graph), 1);
}
TEST_F(Padding, IntoDepthwiseExplicitConv) {
  const auto y = b.conv(pad(x, spatial), weights({3, 3, 1, 3}), {1, 1}, ir::Padding::kExplicit, 3, {1, 0, 0, 1});
  EXPECT_EQ(only(folded(y).graph, Op::kConv).get<ir::ConvAttrs>().explicit_pads, (std::vector<int64_t>{2, 1, 0, 3}));
}
TEST_F(Padding, OfImagesOrChannelsStays) {
  for (const int at : {0, 1, 6, 7}) {
    std::vector<int32_t> amounts = spatial;
    amounts[static_cast<size_t>(at)] = 1;
    const Id padded = pad(b.input("y", {2, 5, 5, 3}), amounts);
    EXPECT_EQ(folded(b.conv(padded, weights({3, 3, at < 2 ? 3 : 4, 4}))).result.changes, 0) << at;
  }
}
TEST_F(Padding, ThatOnlyARunTellsStays) {
  const Id amounts = b.input("amounts", {4, 2}, ir::DType::kInt32), value = b.input("value", {});
  const auto kept = [&](Id padded) {
    b.output(b.conv(padded, weights({3, 3, 3, 4}), {1, 1}, ir::Padding::kValid)).output(max_pool(padded));
  };
  kept(b.op(Op::kPad, {b.relu(x), amounts}, ir::PadAttrs{}));
  kept(b.op(Op::kPad, {b.relu(x), b.constant<int32_t>({4, 2}, spatial), value}, ir::PadAttrs{}));
  ir::Graph graph = b.build();
  const auto result = find_pass("FoldPad").run(graph, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->changes, 0);
}
TEST_F(Padding, WithoutAValueIsOfZeros) {
  const Id padded = b.op(Op::kPad, {x, b.constant<int32_t>({4, 2}, spatial)}, ir::PadAttrs{});
  EXPECT_EQ(count(folded(b.conv(padded, weights({3, 3, 3, 4}), {1, 1}, ir::Padding::kValid)).graph, Op::kPad), 0);
}
TEST_F(Padding, BesideSamePaddingOfUnknownSizesStays) {
  const Id any = b.input("any", {-1, -1, -1, 3});
  EXPECT_EQ(folded(b.conv(pad(any, spatial), weights({3, 3, 3, 4}), {2, 2})).result.changes, 0);
  const Id filter = b.input("filter", {-1, -1, 3, 4}), image = b.input("image", {1, 5, 5, 3});
  EXPECT_EQ(folded(b.conv(pad(image, spatial), filter, {2, 2})).result.changes, 0);
}
TEST_F(Padding, OfMirroredPixelsStays) {
  for (const ir::PadMode mode : {ir::PadMode::kReflect, ir::PadMode::kSymmetric}) {
    const auto mirrored = b.op(Op::kPad, {x, b.constant<int32_t>({4, 2}, spatial)}, ir::PadAttrs{mode});
    b.output(b.conv(mirrored, weights({3, 3, 3, 4}), {2, 2}, ir::Padding::kValid));
  }
  EXPECT_EQ(apply_pass("FoldPad", b.build()).result.changes, 0);
}
TEST_F(Padding, WithOnesStays) {
  EXPECT_EQ(folded(b.conv(pad(x, spatial, 1), weights({3, 3, 3, 4}))).result.changes, 0);
}
TEST_F(Padding, IntoMaxPoolOfPositiveData) {
  EXPECT_EQ(count(folded(max_pool(pad(b.relu(x), spatial))).graph, Op::kPad), 0);
}
TEST_F(Padding, IntoMaxPoolOfWhatIsNeverNegative) {
  const auto folds = [&](Id v) { return count(folded(max_pool(pad(v, spatial))).graph, Op::kPad) == 0; };
  const auto y = [&] { return b.input("y", {2, 5, 5, 3}); };
  const auto join = [&](Id one, Id other) { return b.op(Op::kConcat, {one, other}, ir::AxisAttrs{3}); };
  EXPECT_TRUE(folds(b.op(Op::kSoftmax, {y()}, ir::SoftmaxAttrs{false})));
  EXPECT_FALSE(folds(b.op(Op::kSoftmax, {y()}, ir::SoftmaxAttrs{true})));
  EXPECT_TRUE(folds(b.reshape(b.relu(b.input("rows", {50, 3})), {2, 5, 5, 3})));
  EXPECT_FALSE(folds(b.reshape(b.input("rows", {50, 3}), {2, 5, 5, 3})));
  EXPECT_TRUE(folds(join(b.relu(y()), b.pointwise(P::kAbs, {y()}))));
  EXPECT_FALSE(folds(join(b.relu(y()), y())));
  EXPECT_TRUE(folds(b.pointwise(P::kClip, {y()}, 0, 4)));
  EXPECT_FALSE(folds(b.pointwise(P::kClip, {y()}, -1, 4)));
  EXPECT_FALSE(folds(b.pointwise(P::kClip, {y()}, 1, -1)));
  EXPECT_TRUE(folds(max_pool(b.relu(b.input("large", {2, 11, 11, 3})))));
  EXPECT_FALSE(folds(b.pointwise(P::kTanh, {y()})));
  EXPECT_FALSE(folds(b.conv(y(), weights({1, 1, 3, 3}))));
}
TEST_F(Padding, OfOnesBeforeMaxPoolStays) { EXPECT_EQ(folded(max_pool(pad(b.relu(x), spatial, 1))).result.changes, 0); }
TEST_F(Padding, OfMinusInfinityIntoMaxPool) {
  EXPECT_EQ(count(folded(max_pool(pad(x, spatial, -std::numeric_limits<float>::infinity()))).graph, Op::kPad), 0);
}
TEST_F(Padding, BeforeMaxPoolOfAnyDataStays) { EXPECT_EQ(folded(max_pool(pad(x, spatial))).result.changes, 0); }
TEST_F(Padding, BeforeAveragePoolStays) {
  EXPECT_EQ(folded(max_pool(pad(b.relu(x), spatial), ir::PoolKind::kAverage)).result.changes, 0);
}
TEST_F(Padding, WiderThanTheWindowStays) {
  EXPECT_EQ(folded(max_pool(pad(b.relu(x), {0, 0, 3, 0, 0, 0, 0, 0}))).result.changes, 0);
  EXPECT_EQ(folded(max_pool(pad(b.relu(b.input("y", {-1, 6, 6, 3})), {0, 0, 0, 3, 0, 0, 0, 0}))).result.changes, 0);
}

TEST_F(Padding, AroundNothingStays) {
  const Id empty = b.relu(b.input("empty", {-1, 0, 5, 3}));
  EXPECT_EQ(folded(max_pool(pad(empty, {0, 0, 1, 1, 0, 0, 0, 0}), ir::PoolKind::kMax, 2)).result.changes, 0);
}
// Sizes that only a run tells may be 0: then the padding is all that a window sees.
TEST_F(Padding, OfMinusInfinityAroundWhatMayBeNothing) {
  const Id any = b.relu(b.input("any", {1, -1, 5, 3}));
  const Id padded = pad(any, {0, 0, 1, 1, 0, 0, 0, 0}, -std::numeric_limits<float>::infinity());
  const ir::Graph before = b.output(max_pool(padded, ir::PoolKind::kMax, 2)).build();
  const ir::Graph after = apply_pass("FoldPad", before.clone()).graph;
  EXPECT_EQ(count(after, Op::kPad), 0);
  const auto inputs = random_inputs(before, 17, 0);
  const auto expected = evaluate_graph(before, inputs), found = evaluate_graph(after, inputs);
  ASSERT_TRUE(expected.ok() && found.ok());
  const ir::Tensor &want = *(*expected)[0], &got = *(*found)[0];
  ASSERT_EQ(want.dims, (ir::Dims{1, 1, 2, 3}));
  ASSERT_EQ(got.dims, want.dims);
  EXPECT_EQ(std::memcmp(want.data, got.data, want.bytes), 0);
}
// Only a run will tell that it is an error.
TEST_F(Padding, OfLessThanNothingStays) {
  const Id y = b.input_of_unknown_rank("y");
  const Id padded = pad(y, {0, 0, -1, 2, 0, 0, 0, 0});
  ir::Graph graph = b.output(b.conv(padded, weights({3, 3, 3, 4}), {1, 1}, ir::Padding::kValid)).build();
  const auto result = find_pass("FoldPad").run(graph, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->changes, 0);
}

// Moves between space and batch around what `inside` makes.
struct Dilation : BatchNorm {
  Id pairs(const std::vector<int32_t>& values) {
    return b.constant<int32_t>({static_cast<int64_t>(values.size()) / 2, 2}, values);
  }
  template <class Inside>
  Applied folded(Id v, const std::vector<int32_t>& block, const std::vector<int32_t>& pads,
                 const std::vector<int32_t>& crops, Inside inside) {
    const Id moved = b.op(Op::kSpaceToBatch, {v, b.ints(block), pairs(pads)});
    const Id y = b.op(Op::kBatchToSpace, {inside(moved), b.ints(block), pairs(crops)});
    return apply_pass("FoldDilation", b.output(y).build());
  }
  Id valid(Id v, ir::Dims dims, int64_t groups = 1) {
    return b.conv(v, weights(std::move(dims)), {1, 1}, ir::Padding::kValid, groups);
  }
  static const ir::ConvAttrs& attrs(const Applied& applied) {
    return only(applied.graph, Op::kConv).get<ir::ConvAttrs>();
  }
  Id line = b.input("line", {-1, 11, 3});
};

TEST_F(Dilation, OfImages) {
  const Applied applied = folded(x, {2, 2}, {2, 3, 2, 3}, {0, 1, 0, 1}, [&](Id v) { return valid(v, {3, 3, 3, 4}); });
  EXPECT_EQ(num_nodes(applied.graph), 1);
  EXPECT_EQ(attrs(applied).dilations, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(attrs(applied).explicit_pads, (std::vector<int64_t>{2, 2, 2, 2}));
}
TEST_F(Dilation, OfDepthwiseWithAnotherBlockEachWay) {
  const Applied applied = folded(x, {3, 2}, {3, 1, 0, 1}, {1, 0, 0, 0}, [&](Id v) {
    return valid(v, {3, 3, 1, 6}, 3);
  });
  EXPECT_EQ(num_nodes(applied.graph), 1);
  EXPECT_EQ(attrs(applied).explicit_pads, (std::vector<int64_t>{2, 1, 0, 1}));
}
TEST_F(Dilation, OfHeightAlone) {
  const Applied applied = folded(x, {2}, {2, 3}, {0, 1}, [&](Id v) { return valid(v, {3, 2, 3, 4}); });
  EXPECT_EQ(attrs(applied).dilations, (std::vector<int64_t>{2, 1}));
}
TEST_F(Dilation, OfLines) {
  const Applied applied = folded(line, {2}, {2, 3}, {0, 1}, [&](Id v) {
    const Id image = b.op(Op::kExpandDims, {v}, ir::AxisAttrs{1});
    return b.op(Op::kSqueeze, {valid(image, {1, 3, 3, 4})}, ir::AxesAttrs{{1}});
  });
  EXPECT_EQ(num_nodes(applied.graph), 3);
  EXPECT_EQ(attrs(applied).dilations, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(attrs(applied).explicit_pads, (std::vector<int64_t>{0, 0, 2, 2}));
}
TEST_F(Dilation, OfLinesThatAreCutAnotherWayStays) {
  for (const bool before : {false, true}) {
    const Id any = b.input("any", {2, 12, 6});
    const auto applied = folded(any, {2}, {0, 0}, {0, 0}, [&](Id v) {
      const Id image = b.reshape(v, before ? std::vector<int32_t>{4, 1, 9, 4} : std::vector<int32_t>{4, 1, 6, 6});
      const Id y = before ? valid(image, {1, 1, 4, 4}) : valid(image, {1, 1, 6, 6});
      return b.reshape(y, {4, 9, 4});
    });
    EXPECT_EQ(applied.result.changes, 0);
  }
}
TEST_F(Dilation, OfChannelsStays) {
  const Applied of_image =
      folded(b.input("image", {1, 6, 6, 6}), {1, 1, 2}, {0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0}, [&](Id v) {
        return valid(v, {2, 2, 3, 4});
      });
  EXPECT_EQ(of_image.result.changes, 0);
  const Applied of_line = folded(b.input("row", {1, 11, 6}), {1, 2}, {0, 0, 0, 0}, {0, 0, 0, 0}, [&](Id v) {
    const Id image = b.op(Op::kExpandDims, {v}, ir::AxisAttrs{1});
    return b.op(Op::kSqueeze, {valid(image, {1, 3, 3, 4})}, ir::AxesAttrs{{1}});
  });
  EXPECT_EQ(of_line.result.changes, 0);
}
TEST_F(Dilation, AroundOtherWorkStays) {
  const auto changes = [&](auto inside) {
    return folded(b.input("in", {1, 10, 10, 3}), {2, 2}, {0, 0, 0, 0}, {0, 0, 0, 0}, inside).result.changes;
  };
  const ir::PoolAttrs pool{ir::PoolKind::kMax, {2, 2}, {1, 1}, ir::Padding::kValid, {}};
  EXPECT_EQ(changes([&](Id v) { return b.op(Op::kPool, {v}, pool); }), 0);
  EXPECT_EQ(changes([&](Id v) { return b.relu(valid(v, {2, 2, 3, 4})); }), 0);
  EXPECT_EQ(changes([&](Id v) { return valid(b.relu(v), {2, 2, 3, 4}); }), 0);
  EXPECT_EQ(changes([&](Id) { return valid(b.input("other", {4, 5, 5, 3}), {2, 2, 3, 4}); }), 0);
  EXPECT_EQ(changes([&](Id) { return b.input("other", {4, 5, 5, 3}); }), 0);
  EXPECT_EQ(changes([&](Id v) { return b.add(v, vector(3)); }), 0);
  EXPECT_EQ(folded(b.input("line", {1, 10, 3}), {2}, {0, 0}, {0, 0},
                   [&](Id) {
                     const Id image = b.input("image", {2, 1, 5, 3});
                     return b.op(Op::kSqueeze, {valid(image, {1, 3, 3, 4})}, ir::AxesAttrs{{1}});
                   })
                .result.changes,
            0);
  EXPECT_EQ(changes([&](Id v) {
              ir::ConvAttrs attrs{{1, 1}, {1, 1}, ir::Padding::kValid, {}, 1, ir::PointwiseProgram::unary(P::kRelu)};
              return b.op(Op::kConv, {v, weights({2, 2, 3, 4})}, attrs);
            }),
            0);
}
TEST_F(Dilation, OfOtherBlocksStays) {
  const Id moved = b.op(Op::kSpaceToBatch, {b.input("in", {1, 8, 8, 3}), b.ints({2, 2}), pairs({0, 0, 0, 0})});
  const Id y = b.op(Op::kBatchToSpace, {valid(moved, {1, 1, 3, 4}), b.ints({4, 1}), pairs({0, 0, 0, 0})});
  EXPECT_EQ(apply_pass("FoldDilation", b.output(y).build()).result.changes, 0);
}
TEST_F(Dilation, OfBlocksThatOnlyARunTellsStays) {
  for (const int unknown : {0, 1, 2}) {
    const Id block = unknown == 0 ? b.input("block", {2}, ir::DType::kInt32) : b.ints({2, 2});
    const auto edges = [&](bool known) {
      return known ? pairs({0, 0, 0, 0}) : b.input("edges", {2, 2}, ir::DType::kInt32);
    };
    const Id moved = b.op(Op::kSpaceToBatch, {b.input("in", {-1, -1, -1, 3}), block, edges(unknown != 1)});
    const Id y = b.op(Op::kBatchToSpace, {valid(moved, {2, 2, 3, 4}), block, edges(unknown != 2)});
    ir::Graph graph = b.output(y).build();
    const auto result = find_pass("FoldDilation").run(graph, {});
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->changes, 0);
  }
}
TEST_F(Dilation, OfImagesThatSuitWinogradStaysButForTileRegisters) {
  const Id moved = b.op(Op::kSpaceToBatch, {b.input("in", {1, 28, 28, 32}), b.ints({2, 2}), pairs({2, 2, 2, 2})});
  const Id y = b.op(Op::kBatchToSpace, {valid(moved, {3, 3, 32, 32}), b.ints({2, 2}), pairs({0, 0, 0, 0})});
  const ir::Graph graph = b.output(y).build();
  passes::PassOptions narrow;
  narrow.narrow_type = ir::DType::kBFloat16;
  EXPECT_EQ(apply_pass("FoldDilation", graph.clone()).result.changes, 0);
  for (const bool for_tiles : {false, true}) {
    narrow.for_tiles = for_tiles;
    EXPECT_EQ(apply_pass("FoldDilation", graph.clone(), 2e-6, narrow).result.changes, for_tiles ? 1 : 0);
  }
}
TEST_F(Dilation, OfWeightsThatOnlyARunTells) {
  const Id filter = b.input("filter", {-1, -1, 3, 4});
  const Id moved = b.op(Op::kSpaceToBatch, {b.input("in", {1, 10, 10, 3}), b.ints({2, 2}), pairs({0, 0, 0, 0})});
  const Id made = b.conv(moved, filter, {1, 1}, ir::Padding::kValid);
  const Id y = b.op(Op::kBatchToSpace, {made, b.ints({2, 2}), pairs({0, 0, 0, 0})});
  EXPECT_EQ(attrs(apply_pass("FoldDilation", b.output(y).build())).dilations, (std::vector<int64_t>{2, 2}));
}
// As TensorFlow writes it for lengths that only a run tells: padded up to whole blocks, which is cropped again.
TEST_F(Dilation, OfLengthsThatOnlyARunTells) {
  const Id any = b.input("any", {1, -1, -1, 3});
  const Id block = b.ints({3, 3}), before = b.ints({3, 2}), behind = b.ints({1, 3});
  const Id sides = b.op(Op::kSlice, {b.shape_of(any), b.ints({1}), b.ints({2})});
  const auto mod = [&](Id v) { return b.pointwise(ir::PointwiseOp::kFloorMod, {v, block}); };
  const Id all = b.add(b.add(sides, before), behind);
  const Id more = mod(b.pointwise(ir::PointwiseOp::kSub, {block, mod(all)}));
  const Id pads = b.op(Op::kPack, {before, b.add(behind, more)}, ir::AxisAttrs{1});
  const Id crops = b.op(Op::kPack, {b.ints({1, 0}), more}, ir::AxisAttrs{1});
  const Id made = valid(b.op(Op::kSpaceToBatch, {any, block, pads}), {2, 2, 1, 6}, 3);
  Applied applied = apply_pass("FoldDilation", b.output(b.op(Op::kBatchToSpace, {made, block, crops})).build());
  EXPECT_EQ(num_nodes(applied.graph), 1);
  EXPECT_EQ(attrs(applied).dilations, (std::vector<int64_t>{3, 3}));
  EXPECT_EQ(attrs(applied).explicit_pads, (std::vector<int64_t>{2, 1, 2, 3}));
}
TEST_F(Dilation, OfPaddingsThatAreNotCroppedStays) {
  const Id any = b.input("any", {1, -1, 11, 3}), amount = b.input("amount", {}, ir::DType::kInt32);
  const Id block = b.ints({2});
  const Id pads = b.reshape(b.op(Op::kPack, {b.scalar<int32_t>(2), amount}), {1, 2});
  const Id made = valid(b.op(Op::kSpaceToBatch, {any, block, pads}), {3, 3, 1, 6}, 3);
  const Id y = b.op(Op::kBatchToSpace, {made, block, pairs({0, 1})});
  EXPECT_EQ(apply_pass("FoldDilation", b.output(y).build()).result.changes, 0);
}
TEST_F(Dilation, WithMoreCroppedThanPaddedStays) {
  EXPECT_EQ(folded(x, {2, 2}, {0, 3, 2, 3}, {1, 0, 0, 1},
                   [&](Id v) {
                     return valid(v, {2, 2, 3, 4});
                   })
                .result.changes,
            0);
}
TEST_F(Dilation, WithStridesStays) {
  const Applied applied = folded(x, {2, 2}, {2, 3, 2, 3}, {0, 1, 0, 1}, [&](Id v) {
    return b.conv(v, weights({3, 3, 3, 4}), {2, 2}, ir::Padding::kValid);
  });
  EXPECT_EQ(applied.result.changes, 0);
}
TEST_F(Dilation, WithPaddingOfItsOwnStays) {
  EXPECT_EQ(folded(x, {2, 2}, {2, 3, 2, 3}, {0, 1, 0, 1},
                   [&](Id v) {
                     return b.conv(v, weights({3, 3, 3, 4}));
                   })
                .result.changes,
            0);
}
TEST_F(Dilation, OfImagesThatSuitWinogradStays) {
  const auto large = b.input("large", {1, 24, 24, 32});
  EXPECT_EQ(folded(large, {2, 2}, {2, 2, 2, 2}, {0, 0, 0, 0},
                   [&](Id v) {
                     return valid(v, {3, 3, 32, 32});
                   })
                .result.changes,
            0);
}

}  // namespace
}  // namespace blade::testing
