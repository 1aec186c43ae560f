// Transpose and Pad.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

TEST(Transpose, Permutes) {
  GraphBuilder b;
  const auto x = b.input("x", {-1, 2, 3});
  EXPECT_EQ(inferred(b, b.op(Op::kTranspose, {x}, ir::PermAttrs{{2, 0, 1}})), "float32[3,x.0,2]");
  b.op(Op::kTranspose, {x}, ir::PermAttrs{{0, 1, 1}});
  EXPECT_INFER_ERROR(b, "axis 1 twice");
}

TEST(Transpose, RankMustMatch) {
  GraphBuilder b;
  b.op(Op::kTranspose, {b.input("x", {2})}, ir::PermAttrs{{1, 0}});
  EXPECT_INFER_ERROR(b, "expected rank 2");
}

TEST(Pad, Constant) {
  GraphBuilder b;
  const auto x = b.input("x", {-1, 4});
  const auto pads = b.constant<int32_t>({2, 2}, {1, 2, 0, 3});
  EXPECT_EQ(inferred(b, b.op(Op::kPad, {x, pads})), "float32[x.0+3,7]");
  EXPECT_EQ(inferred(b, b.op(Op::kPad, {x, pads, b.scalar(1.f)})), "float32[x.0+3,7]");
  b.op(Op::kPad, {x, b.constant<int32_t>({2, 2}, {1, -2, 0, 3})});
  EXPECT_INFER_ERROR(b, "pads axis 0 by -2");
}

TEST(Pad, Mirrors) {
  GraphBuilder b;
  const auto x = b.input("x", {4});
  EXPECT_EQ(inferred(b, b.op(Op::kPad, {x, b.constant<int32_t>({1, 2}, {3, 3})}, ir::PadAttrs{ir::PadMode::kReflect})),
            "float32[10]");
  EXPECT_EQ(
      inferred(b, b.op(Op::kPad, {x, b.constant<int32_t>({1, 2}, {4, 4})}, ir::PadAttrs{ir::PadMode::kSymmetric})),
      "float32[12]");
  b.op(Op::kPad, {x, b.constant<int32_t>({1, 2}, {4, 0})}, ir::PadAttrs{ir::PadMode::kReflect});
  EXPECT_INFER_ERROR(b, "mirrors 4 elements of axis 0");
}

TEST(Pad, UnknownPaddings) {
  GraphBuilder b;
  const auto pads = b.input("p", {3, 2}, DType::kInt32);
  const auto y = b.op(Op::kPad, {b.input_of_unknown_rank("x"), pads});
  inferred(b, y);
  EXPECT_EQ(b.graph().value(y).shape.rank(), 3);
}

TEST(Pad, PaddingsOfAnotherRank) {
  GraphBuilder b;
  b.op(Op::kPad, {b.input("x", {4}), b.constant<int32_t>({2, 2}, {0, 0, 0, 0})});
  EXPECT_INFER_ERROR(b, "expected [1,2]");
}

}  // namespace
}  // namespace blade::testing
