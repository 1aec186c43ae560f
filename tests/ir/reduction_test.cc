// Shapes of reductions, normalizations and the ops that look like their input.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

using ir::ReduceKind;

struct Reduction : ::testing::Test {
  GraphBuilder b;
  ir::ValueId x = b.input("x", {-1, 4, 5});
};

TEST_F(Reduction, Axes) {
  EXPECT_EQ(inferred(b, b.op(Op::kReduce, {x}, ir::ReduceAttrs{ReduceKind::kMean, {1, 2}, false})), "float32[x.0]");
  EXPECT_EQ(inferred(b, b.op(Op::kReduce, {x}, ir::ReduceAttrs{ReduceKind::kMax, {0}, true})), "float32[1,4,5]");
  EXPECT_EQ(inferred(b, b.op(Op::kReduce, {x}, ir::ReduceAttrs{ReduceKind::kSum, {}, false})), "float32[x.0,4,5]");
}

TEST_F(Reduction, Errors) {
  b.op(Op::kReduce, {x}, ir::ReduceAttrs{ReduceKind::kSum, {3}, false}, "sum");
  EXPECT_INFER_ERROR(b, "Node 'sum' (Reduce) has axis 3, expected one in [0, 3)");
}

TEST_F(Reduction, AxisTwice) {
  b.op(Op::kReduce, {x}, ir::ReduceAttrs{ReduceKind::kSum, {1, 1}, false});
  EXPECT_INFER_ERROR(b, "axis 1 twice");
}

TEST_F(Reduction, LogicalNeedsBool) {
  b.op(Op::kReduce, {x}, ir::ReduceAttrs{ReduceKind::kAny, {1}, false});
  EXPECT_INFER_ERROR(b, "expected bool");
}

TEST_F(Reduction, ArgReduce) {
  EXPECT_EQ(inferred(b, b.op(Op::kArgReduce, {x}, ir::ArgReduceAttrs{true, 1, DType::kInt32})), "int32[x.0,5]");
  b.op(Op::kArgReduce, {b.input("e", {2, 0})}, ir::ArgReduceAttrs{true, 1, DType::kInt64});
  EXPECT_INFER_ERROR(b, "expected a non-empty axis");
}

TEST_F(Reduction, TopK) {
  const auto out = b.ops(Op::kTopK, {x, b.scalar<int32_t>(3)}, 2, ir::TopKAttrs{});
  EXPECT_EQ(inferred(b, out[0]), "float32[x.0,4,3]");
  EXPECT_EQ(inferred(b, out[1]), "int32[x.0,4,3]");
  b.ops(Op::kTopK, {x, b.scalar<int32_t>(6)}, 2, ir::TopKAttrs{});
  EXPECT_INFER_ERROR(b, "the top 6 of 5");
}

TEST_F(Reduction, LikeTheirInput) {
  EXPECT_EQ(inferred(b, b.op(Op::kSoftmax, {x})), "float32[x.0,4,5]");
  EXPECT_EQ(inferred(b, b.op(Op::kCumulative, {x}, ir::CumulativeAttrs{2, true, false})), "float32[x.0,4,5]");
  EXPECT_EQ(inferred(b, b.op(Op::kReverse, {x}, ir::AxesAttrs{{1}})), "float32[x.0,4,5]");
  const auto all = b.scalar<int64_t>(-1);
  EXPECT_EQ(inferred(b, b.op(Op::kMatrixBandPart, {x, all, all})), "float32[x.0,4,5]");
  b.op(Op::kSoftmax, {b.scalar(1.f)});
  EXPECT_INFER_ERROR(b, "expected rank 1 or more");
}

TEST_F(Reduction, MomentsKeepTheirAxes) {
  EXPECT_EQ(inferred(b, b.ops(Op::kMoments, {x}, 2, ir::AxesAttrs{{0, 2}})[1]), "float32[1,4,1]");
  b.ops(Op::kMoments, {x}, 2, ir::AxesAttrs{{1, 1}});
  EXPECT_INFER_ERROR(b, "has axis 1 twice");
}

TEST_F(Reduction, BatchNormLearnsChannels) {
  const auto y = b.input("y", {2, -1});
  const auto v = b.filled<float>({7}, 1.f);
  EXPECT_EQ(inferred(b, b.op(Op::kBatchNorm, {y, v, v, v, v})), "float32[2,7]");
  EXPECT_EQ(inferred(b, b.op(Op::kLayerNorm, {y, v, v})), "float32[2,7]");
  b.op(Op::kBatchNorm, {x, v, v, v, v}, ir::BatchNormAttrs{}, "bn");
  EXPECT_INFER_ERROR(b, "Node 'bn' (BatchNorm) finds the number of channels to be 5 and 7");
}

}  // namespace
}  // namespace blade::testing
