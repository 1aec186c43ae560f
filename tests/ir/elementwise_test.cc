// Types and shapes of elementwise programs and casts.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

TEST(Elementwise, Broadcasts) {
  GraphBuilder b;
  const auto x = b.input("x", {-1, 1, 8}), y = b.input("y", {5, 1});
  EXPECT_EQ(inferred(b, b.add(x, y)), "float32[x.0,5,8]");
  EXPECT_EQ(inferred(b, b.add(x, b.scalar(1.f))), "float32[x.0,1,8]");
}

TEST(Elementwise, UnknownDimsBroadcastExactly) {
  GraphBuilder b;
  const auto x = b.input("x", {-1}), y = b.input("y", {-1}), one = b.input("one", {1}), three = b.input("three", {3});
  EXPECT_EQ(inferred(b, b.add(x, one)), "float32[x.0]");
  EXPECT_EQ(inferred(b, b.add(x, three)), "float32[3]");
  EXPECT_EQ(inferred(b, b.add(x, y)), "float32[broadcast(x.0,y.0)]");
  EXPECT_EQ(inferred(b, b.add(b.add(x, y), x)), "float32[broadcast(x.0,y.0)]");
  EXPECT_EQ(inferred(b, b.add(x, x)), "float32[x.0]");
}

TEST(Elementwise, ZeroDims) {
  GraphBuilder b;
  const auto x = b.input("x", {0, 3}), y = b.input("y", {1, 3});
  EXPECT_EQ(inferred(b, b.add(x, y)), "float32[0,3]");
}

TEST(Elementwise, MismatchNamesBothShapes) {
  GraphBuilder b;
  b.pointwise(P::kAdd, {b.input("x", {2, 3}), b.input("y", {4})}, 0, 0, "sum");
  EXPECT_INFER_ERROR(b, "Node 'sum' (Pointwise) has operands of shapes [2,3] and [4], expected");
}

TEST(Elementwise, Types) {
  GraphBuilder b;
  const auto x = b.input("x", {2}), m = b.input("m", {2}, DType::kBool), i = b.input("i", {2}, DType::kInt32);
  EXPECT_EQ(inferred(b, b.pointwise(P::kLess, {x, x})), "bool[2]");
  EXPECT_EQ(inferred(b, b.pointwise(P::kSelect, {m, i, i})), "int32[2]");
  EXPECT_EQ(inferred(b, b.op(Op::kCast, {i}, ir::CastAttrs{DType::kFloat16})), "float16[2]");
}

TEST(Elementwise, TypesThatDiffer) {
  GraphBuilder b;
  b.add(b.input("x", {2}), b.input("i", {2}, DType::kInt32));
  EXPECT_INFER_ERROR(b, "types float32 and int32");
}

TEST(Elementwise, SelectNeedsABool) {
  GraphBuilder b;
  const auto x = b.input("x", {2});
  b.pointwise(P::kSelect, {x, x, x});
  EXPECT_INFER_ERROR(b, "expected bool");
}

TEST(Elementwise, FusedChains) {
  GraphBuilder b;
  const auto x = b.input("x", {-1, 8}), bias = b.input("bias", {8});
  auto program = compose(ir::PointwiseProgram::binary(P::kAdd), ir::PointwiseProgram::unary(P::kRelu), 0);
  EXPECT_EQ(inferred(b, b.op(Op::kPointwise, {x, bias}, ir::PointwiseAttrs{program})), "float32[x.0,8]");
  b.op(Op::kPointwise, {x}, ir::PointwiseAttrs{program});
  EXPECT_INFER_ERROR(b, "has 1 inputs, expected 2");
}

TEST(Elementwise, UnknownRank) {
  GraphBuilder b;
  const auto x = b.input_of_unknown_rank("x"), y = b.input("y", {3});
  EXPECT_EQ(inferred(b, b.add(x, y)), "float32<unknown>");
  EXPECT_EQ(inferred(b, b.relu(x)), "float32<unknown>");
}

}  // namespace
}  // namespace blade::testing
