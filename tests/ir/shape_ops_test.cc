// Reshape and its relatives, and the ops that make tensors of a computed shape.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

struct ShapeOps : ::testing::Test {
  GraphBuilder b;
};

TEST_F(ShapeOps, ReshapeResolvesTheWildcard) {
  const auto x = b.input("x", {-1, 12, 8});
  EXPECT_EQ(inferred(b, b.reshape(x, {-1, 96})), "float32[x.0,96]");
  EXPECT_EQ(inferred(b, b.reshape(x, {-1, 8})), "float32[x.0*12,8]");
  EXPECT_EQ(inferred(b, b.reshape(x, {4, -1})), "float32[4,x.0*24]");
  EXPECT_EQ(inferred(b, b.reshape(b.input("y", {2, 3}), {-1})), "float32[6]");
  EXPECT_EQ(inferred(b, b.reshape(b.input("z", {1, 1}), {})), "float32[]");
}

TEST_F(ShapeOps, ReshapeZeroIsALiteralZero) {
  EXPECT_EQ(inferred(b, b.reshape(b.input("x", {0, 4}), {0, 7})), "float32[0,7]");
  EXPECT_EQ(inferred(b, b.reshape(b.input("y", {0, 4}), {-1, 4})), "float32[0,4]");
  b.reshape(b.input("z", {0, 4}), {-1, 0});
  EXPECT_INFER_ERROR(b, "-1 beside dims of 0");
}

TEST_F(ShapeOps, ReshapeErrors) {
  b.reshape(b.input("x", {2, 3}), {4, 2});
  EXPECT_INFER_ERROR(b, "reshapes [2,3] to [4,2]");
  GraphBuilder c;
  c.reshape(c.input("x", {2, 3}), {-1, 4});
  EXPECT_INFER_ERROR(c, "6 elements into rows of 4");
  GraphBuilder d;
  d.reshape(d.input("x", {2, 3}), {-1, -1});
  EXPECT_INFER_ERROR(d, "two target dims of -1");
}

TEST_F(ShapeOps, ReshapeToAnUnknownShape) {
  const auto x = b.input("x", {2, 3});
  const auto three = b.input("s", {3}, DType::kInt32), any = b.input("t", {-1}, DType::kInt32);
  const auto y = b.op(Op::kReshape, {x, three}), z = b.op(Op::kReshape, {x, any});
  inferred(b, z);
  EXPECT_EQ(b.graph().value(y).shape.rank(), 3);
  EXPECT_FALSE(b.graph().value(z).shape.has_rank());
}

// One element of the target comes from data: whatever it holds, the element count decides.
TEST_F(ShapeOps, ReshapeWithOneElementFromData) {
  const auto x = b.input("x", {-1, 6});
  const auto n = b.input("n", {}, DType::kInt32);
  const auto target = b.op(Op::kPack, {n, b.scalar<int32_t>(3)});
  EXPECT_EQ(inferred(b, b.op(Op::kReshape, {x, target})), "float32[x.0*2,3]");
}

TEST_F(ShapeOps, ExpandAndSqueeze) {
  const auto x = b.input("x", {-1, 1, 5});
  EXPECT_EQ(inferred(b, b.op(Op::kExpandDims, {x}, ir::AxisAttrs{3})), "float32[x.0,1,5,1]");
  EXPECT_EQ(inferred(b, b.op(Op::kSqueeze, {x}, ir::AxesAttrs{{1}})), "float32[x.0,5]");
  EXPECT_EQ(inferred(b, b.op(Op::kSqueeze, {x}, ir::AxesAttrs{{0}})), "float32[1,5]");
  EXPECT_EQ(inferred(b, b.op(Op::kSqueeze, {x})), "float32<unknown>");
  EXPECT_EQ(inferred(b, b.op(Op::kSqueeze, {b.input("y", {1, 2, 1})})), "float32[2]");
  b.op(Op::kSqueeze, {x}, ir::AxesAttrs{{2}});
  EXPECT_INFER_ERROR(b, "squeezes axis 2");
}

TEST_F(ShapeOps, ShapeOf) {
  const auto x = b.input("x", {-1, 4});
  EXPECT_EQ(inferred(b, b.shape_of(x)), "int32[2]");
  EXPECT_EQ(inferred(b, b.op(Op::kShapeOf, {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kSize, DType::kInt64})), "int64[]");
}

TEST_F(ShapeOps, FillBroadcastTile) {
  const auto x = b.input("x", {-1, 3});
  const auto shape = b.shape_of(x);
  EXPECT_EQ(inferred(b, b.op(Op::kFill, {shape, b.scalar(1.f)})), "float32[x.0,3]");
  EXPECT_EQ(inferred(b, b.op(Op::kBroadcastTo, {b.input("y", {1, 3}), shape})), "float32[x.0,3]");
  EXPECT_EQ(inferred(b, b.op(Op::kTile, {x, b.ints({2, 0})})), "float32[x.0*2,0]");
  b.op(Op::kFill, {b.ints({2, -1}), b.scalar(1.f)});
  EXPECT_INFER_ERROR(b, "an element of -1");
}

TEST_F(ShapeOps, TileErrors) {
  b.op(Op::kTile, {b.input("x", {2, 3}), b.ints({2})});
  EXPECT_INFER_ERROR(b, "1 multiples");
}

TEST_F(ShapeOps, BroadcastErrors) {
  b.op(Op::kBroadcastTo, {b.input("x", {2, 3}), b.ints({3, 3})});
  EXPECT_INFER_ERROR(b, "expected dims equal or 1");
}

TEST_F(ShapeOps, Range) {
  const auto range = [&](int32_t from, int32_t to, int32_t by) {
    return inferred(b, b.op(Op::kRange, {b.scalar(from), b.scalar(to), b.scalar(by)}));
  };
  EXPECT_EQ(range(0, 10, 3), "int32[4]");
  EXPECT_EQ(range(10, 0, -3), "int32[4]");
  EXPECT_EQ(range(5, 5, 1), "int32[0]");
  EXPECT_EQ(inferred(b, b.op(Op::kRange, {b.scalar(0.f), b.scalar(1.f), b.scalar(0.3f)})), "float32[4]");
  EXPECT_NE(range(5, 0, 1).find("counts from 5 to 0 by 1"), std::string::npos);
}

TEST_F(ShapeOps, RangeOverADim) {
  const auto x = b.input("x", {-1});
  const auto n = b.op(Op::kSqueeze, {b.shape_of(x)}, ir::AxesAttrs{{0}});
  EXPECT_EQ(inferred(b, b.op(Op::kRange, {b.scalar<int32_t>(0), n, b.scalar<int32_t>(1)})), "int32[x.0]");
  EXPECT_EQ(inferred(b, b.op(Op::kRange, {b.scalar<int32_t>(0), n, b.scalar<int32_t>(2)})), "int32[(x.0+1)//2]");
}

TEST_F(ShapeOps, RangeByZero) {
  b.op(Op::kRange, {b.scalar<int32_t>(0), b.scalar<int32_t>(3), b.scalar<int32_t>(0)});
  EXPECT_INFER_ERROR(b, "a delta of 0");
}

TEST_F(ShapeOps, EnsuredShapesSayWhatIsNotKnown) {
  const auto ensured = b.op(Op::kEnsureShape, {b.input("x", {-1, -1})}, ir::EnsureShapeAttrs{{-1, 4}});
  EXPECT_EQ(inferred(b, ensured), "float32[x.0,4]");
  b.op(Op::kEnsureShape, {b.input("y", {2, 3})}, ir::EnsureShapeAttrs{{-1, 4}}, "checked");
  EXPECT_INFER_ERROR(b, "Node 'checked' (EnsureShape) reads a tensor of shape [2,3], expected [2,4]");
  GraphBuilder c;
  c.op(Op::kEnsureShape, {c.input("z", {2})}, ir::EnsureShapeAttrs{{-1, -1}});
  EXPECT_INFER_ERROR(c, "reads a tensor of shape [2]");
}

TEST_F(ShapeOps, SparseReshapeKnowsTheDenseShape) {
  const auto made = b.ops(
      Op::kSparseReshape,
      {b.input("at", {-1, 2}, DType::kInt64), b.constant<int64_t>({2}, {6, 4}), b.constant<int64_t>({3}, {2, -1, 4})},
      2, ir::EmptyAttrs{});
  EXPECT_EQ(inferred(b, made[0]), "int64[at.0,3]");
  EXPECT_EQ(inferred(b, b.op(Op::kFill, {made[1], b.scalar(0.f)})), "float32[2,3,4]");
}

TEST_F(ShapeOps, FourierTransforms) {
  const auto x = b.input("x", {-1, 600}), length = b.constant<int32_t>({1}, {512});
  const auto spectrum = b.ops(Op::kFft, {x, length}, 2, ir::FftAttrs{ir::FftKind::kReal});
  EXPECT_EQ(inferred(b, spectrum[1]), "float32[x.0,257]");
  const std::vector<ir::ValueId> back = {spectrum[0], spectrum[1], length};
  EXPECT_EQ(inferred(b, b.op(Op::kFft, back, ir::FftAttrs{ir::FftKind::kRealInverse})), "float32[x.0,512]");
  b.ops(Op::kFft, {x, b.constant<int32_t>({1}, {0})}, 2, ir::FftAttrs{ir::FftKind::kReal});
  EXPECT_INFER_ERROR(b, "a length of 0");
  GraphBuilder c;
  c.ops(Op::kFft, {c.input("y", {-1, 400}), c.constant<int32_t>({1}, {512})}, 2, ir::FftAttrs{ir::FftKind::kReal});
  EXPECT_INFER_ERROR(c, "has rows of 400 numbers, expected 512 or more");
}

}  // namespace
}  // namespace blade::testing
