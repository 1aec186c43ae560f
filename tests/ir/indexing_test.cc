// Gather and its relatives, OneHot, Where, NonMaxSuppression.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

struct Indexing : ::testing::Test {
  GraphBuilder b;
};

TEST_F(Indexing, Gather) {
  const auto params = b.input("p", {-1, 7, 3}), ids = b.input("i", {-1, 5}, DType::kInt32);
  EXPECT_EQ(inferred(b, b.op(Op::kGather, {params, ids}, ir::GatherAttrs{1, 0})), "float32[p.0,i.0,5,3]");
  EXPECT_EQ(inferred(b, b.op(Op::kGather, {params, ids}, ir::GatherAttrs{1, 1})), "float32[p.0,5,3]");
  EXPECT_EQ(inferred(b, b.op(Op::kGather, {params, b.scalar<int32_t>(6)}, ir::GatherAttrs{1, 0})), "float32[p.0,3]");
  b.op(Op::kGather, {params, b.scalar<int32_t>(7)}, ir::GatherAttrs{1, 0});
  EXPECT_INFER_ERROR(b, "looks up index 7 on an axis of 7");
}

TEST_F(Indexing, GatherErrors) {
  b.op(Op::kGather, {b.input("p", {3}), b.input("i", {2})}, ir::GatherAttrs{0, 0});
  EXPECT_INFER_ERROR(b, "expected an integer type");
}

TEST_F(Indexing, GatherNdAndScatterNd) {
  const auto params = b.input("p", {4, 5, 6}), ids = b.input("i", {-1, 2}, DType::kInt32);
  EXPECT_EQ(inferred(b, b.op(Op::kGatherNd, {params, ids})), "float32[i.0,6]");
  const auto updates = b.input("u", {-1, 6});
  EXPECT_EQ(inferred(b, b.op(Op::kScatterNd, {ids, updates, b.ints({4, 5, 6})})), "float32[4,5,6]");
  b.op(Op::kScatterNd, {ids, updates, b.ints({4, 5, 7})});
  EXPECT_INFER_ERROR(b, "to be 6 and 7");
}

TEST_F(Indexing, TooManyCoordinates) {
  b.op(Op::kGatherNd, {b.input("p", {4}), b.input("i", {3, 2}, DType::kInt32)});
  EXPECT_INFER_ERROR(b, "indices of 2 coordinates into shape [4]");
}

TEST_F(Indexing, OneHot) {
  const auto ids = b.input("i", {-1, 3}, DType::kInt64);
  const auto on = b.scalar(1.f), off = b.scalar(0.f), depth = b.scalar<int32_t>(9);
  EXPECT_EQ(inferred(b, b.op(Op::kOneHot, {ids, depth, on, off}, ir::AxisAttrs{2})), "float32[i.0,3,9]");
  EXPECT_EQ(inferred(b, b.op(Op::kOneHot, {ids, depth, on, off}, ir::AxisAttrs{0})), "float32[9,i.0,3]");
  b.op(Op::kOneHot, {ids, b.scalar<int32_t>(-2), on, off}, ir::AxisAttrs{0});
  EXPECT_INFER_ERROR(b, "a depth of -2");
}

TEST_F(Indexing, WhereDependsOnData) {
  const auto y = b.op(Op::kWhere, {b.input("x", {2, 3}, DType::kBool)}, ir::EmptyAttrs{}, "found");
  EXPECT_EQ(inferred(b, y), "int64[found:found0,2]");
  const size_t symbols = b.graph().symbols().size();
  EXPECT_EQ(inferred(b, y), "int64[found:found0,2]") << "inference again gives the same symbols";
  EXPECT_EQ(b.graph().symbols().size(), symbols);
}

TEST_F(Indexing, NonMaxSuppression) {
  const auto boxes = b.input("boxes", {100, 4}), scores = b.input("scores", {100});
  const auto limit = b.scalar<int32_t>(10), iou = b.scalar(.5f), threshold = b.scalar(0.f);
  const auto v3 =
      b.op(Op::kNonMaxSuppression, {boxes, scores, limit, iou, threshold}, ir::NonMaxSuppressionAttrs{3, false});
  EXPECT_EQ(inferred(b, v3).substr(0, 6), "int32[");
  const auto v5 = b.ops(Op::kNonMaxSuppression, {boxes, scores, limit, iou, threshold, b.scalar(0.f)}, 3,
                        ir::NonMaxSuppressionAttrs{5, true});
  EXPECT_EQ(inferred(b, v5[0]), "int32[10]");
  EXPECT_EQ(inferred(b, v5[1]), "float32[10]");
  EXPECT_EQ(inferred(b, v5[2]), "int32[]");
  b.op(Op::kNonMaxSuppression, {b.input("bad", {100, 5}), scores, limit, iou, threshold}, ir::NonMaxSuppressionAttrs{});
  EXPECT_INFER_ERROR(b, "coordinates of a box to be 5 and 4");
}

}  // namespace
}  // namespace blade::testing
