// MeanBeforeConv: where the mean of a convolution is moved before it, and where it must stay.
#include "passes/pass_test_util.h"

namespace blade::testing {
namespace {

using Id = GraphBuilder::Id;

struct MeanOfConv : ::testing::Test {
  Id conv(Id v, ir::Dims weights, ir::Padding padding = ir::Padding::kSame, std::vector<int64_t> strides = {1, 1}) {
    int64_t count = 1;
    for (int64_t d : weights) count *= d;
    return b.conv(v, b.constant<float>(std::move(weights), ramp(count)), std::move(strides), padding);
  }
  Id conv(Id v, ir::Dims weights, const ir::ConvAttrs& attrs) {
    int64_t count = 1;
    for (int64_t d : weights) count *= d;
    return b.op(Op::kConv, {v, b.constant<float>(std::move(weights), ramp(count))}, attrs);
  }
  Id mean(Id v, bool keep = false, std::vector<int64_t> axes = {1, 2}, ir::ReduceKind kind = ir::ReduceKind::kMean) {
    return b.op(Op::kReduce, {v}, ir::ReduceAttrs{kind, std::move(axes), keep});
  }
  Id bias(Id v, int64_t n) { return b.add(v, b.constant<float>({n}, ramp(n))); }
  bool moves(Id out) {
    const Applied applied = apply_pass("MeanBeforeConv", b.output(out).build(), 5e-6);
    EXPECT_EQ(applied.result.changes, count(applied.graph, Op::kReshape));
    return applied.result.changes > 0;
  }
  GraphBuilder b;
  Id x = b.input("x", {-1, 7, 5, 6});
};

TEST_F(MeanOfConv, Moves) { EXPECT_TRUE(moves(mean(conv(x, {3, 3, 6, 7})))); }
TEST_F(MeanOfConv, MovesBeforeItsBias) { EXPECT_TRUE(moves(mean(bias(conv(x, {3, 3, 6, 7}), 7), true))); }
TEST_F(MeanOfConv, MovesWithoutPadding) { EXPECT_TRUE(moves(mean(conv(x, {3, 2, 6, 4}, ir::Padding::kValid)))); }
TEST_F(MeanOfConv, MovesBeforeOneTap) {
  const Applied applied = apply_pass("MeanBeforeConv", b.output(mean(conv(x, {1, 1, 6, 9}))).build());
  EXPECT_EQ(count(applied.graph, Op::kPool), 0);
  EXPECT_EQ(count(applied.graph, Op::kReduce), 1);
}
TEST_F(MeanOfConv, MovesBeforeDilatedTaps) {
  ir::ConvAttrs attrs{{1, 1}, {2, 3}, ir::Padding::kSame, {}, 1, {}};
  EXPECT_TRUE(moves(mean(conv(x, {3, 3, 6, 4}, attrs))));
}
TEST_F(MeanOfConv, MovesBeforeUnevenPadding) {
  ir::ConvAttrs attrs{{1, 1}, {1, 1}, ir::Padding::kExplicit, {2, 0, 1, 3}, 1, {}};
  EXPECT_TRUE(moves(mean(conv(x, {3, 4, 6, 4}, attrs), false, {2, 1})));
}
TEST_F(MeanOfConv, MovesBeforeTapsOverThreeDims) {
  const Id volume = b.input("volume", {2, 3, 4, 5, 2});
  ir::ConvAttrs attrs{{1, 1, 1}, {1, 1, 1}, ir::Padding::kSame, {}, 1, {}};
  EXPECT_TRUE(moves(mean(conv(volume, {3, 3, 2, 2, 4}, attrs), true, {1, 2, 3})));
}
TEST_F(MeanOfConv, StaysWhereATapMeetsNothing) {
  ir::ConvAttrs attrs{{1, 1}, {1, 1}, ir::Padding::kExplicit, {9, 0, 0, 0}, 1, {}};
  EXPECT_FALSE(moves(mean(conv(x, {12, 1, 6, 4}, attrs))));
}
TEST_F(MeanOfConv, StaysBehindActivations) { EXPECT_FALSE(moves(mean(b.relu(conv(x, {3, 3, 6, 7}))))); }
TEST_F(MeanOfConv, StaysBehindStrides) { EXPECT_FALSE(moves(mean(conv(x, {3, 3, 6, 7}, ir::Padding::kSame, {2, 1})))); }
TEST_F(MeanOfConv, StaysBehindStridesThatSkipNothingOfASmallImage) {
  EXPECT_FALSE(moves(mean(conv(b.input("small", {2, 4, 4, 6}), {3, 3, 6, 7}, ir::Padding::kSame, {2, 2}))));
}
TEST_F(MeanOfConv, StaysOverOneAxis) { EXPECT_FALSE(moves(mean(conv(x, {3, 3, 6, 7}), true, {1}))); }
TEST_F(MeanOfConv, StaysOverChannels) { EXPECT_FALSE(moves(mean(conv(x, {3, 3, 6, 7}), true, {2, 3}))); }
TEST_F(MeanOfConv, StaysIfItIsAMaximum) {
  EXPECT_FALSE(moves(mean(conv(x, {3, 3, 6, 7}), false, {1, 2}, ir::ReduceKind::kMax)));
}
TEST_F(MeanOfConv, StaysWithFewResults) { EXPECT_FALSE(moves(mean(conv(x, {3, 3, 6, 2})))); }
TEST_F(MeanOfConv, StaysWhereOthersReadTheConvolution) {
  const Id y = bias(conv(x, {3, 3, 6, 7}), 7);
  b.output(b.relu(y));
  EXPECT_FALSE(moves(mean(y)));
}
TEST_F(MeanOfConv, StaysWhereOthersReadTheConvolutionBehindItsBias) {
  const Id y = conv(x, {3, 3, 6, 7});
  b.output(b.relu(y));
  EXPECT_FALSE(moves(mean(bias(y, 7))));
}
TEST_F(MeanOfConv, StaysBehindAnActivationOfTheConvolution) {
  ir::ConvAttrs attrs{{1, 1}, {1, 1}, ir::Padding::kSame, {}, 1, ir::PointwiseProgram::unary(P::kRelu)};
  EXPECT_FALSE(moves(mean(conv(x, {3, 3, 6, 7}, attrs))));
}
TEST_F(MeanOfConv, StaysBehindWeightsThatOnlyARunTells) {
  EXPECT_FALSE(moves(mean(b.conv(x, b.input("filter", {3, 3, 6, 7})))));
}
TEST_F(MeanOfConv, StaysBehindImagesOfUnknownRank) {
  ir::Graph graph = b.output(mean(conv(b.input_of_unknown_rank("y"), {3, 3, 6, 7}))).build();
  const auto result = find_pass("MeanBeforeConv").run(graph, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->changes, 0);
}
TEST_F(MeanOfConv, MovesBeforeOneTapBesidePadding) {
  ir::ConvAttrs attrs{{1, 1}, {1, 1}, ir::Padding::kExplicit, {1, 0, 2, 1}, 1, {}};
  EXPECT_TRUE(moves(mean(conv(x, {1, 1, 6, 9}, attrs))));
}
TEST_F(MeanOfConv, StaysOnADevice) {
  passes::PassOptions options;
  options.on_device = true;
  ir::Graph graph = b.output(mean(conv(x, {3, 3, 6, 7}))).build();
  EXPECT_EQ(apply_pass("MeanBeforeConv", std::move(graph), 5e-6, options).result.changes, 0);
}
TEST_F(MeanOfConv, StaysBehindImagesOfAnySize) {
  EXPECT_FALSE(moves(mean(conv(b.input("any", {-1, -1, 5, 6}), {3, 3, 6, 7}))));
}
TEST_F(MeanOfConv, StaysBehindLargeImages) {
  EXPECT_FALSE(moves(mean(conv(b.input("large", {1, 40, 40, 2}), {3, 3, 2, 7}))));
}

}  // namespace
}  // namespace blade::testing
