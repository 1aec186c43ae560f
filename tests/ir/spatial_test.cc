// Ops that trade spatial dims for channels or batch, and Resize.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

struct Spatial : ::testing::Test {
  GraphBuilder b;
  ir::ValueId x = b.input("x", {-1, 8, -1, 12});
};

TEST_F(Spatial, DepthAndSpace) {
  EXPECT_EQ(inferred(b, b.op(Op::kDepthToSpace, {x}, ir::BlockAttrs{2})), "float32[x.0,16,x.2*2,3]");
  EXPECT_EQ(inferred(b, b.op(Op::kSpaceToDepth, {x}, ir::BlockAttrs{2})), "float32[x.0,4,x.2//2,48]");
  b.op(Op::kDepthToSpace, {x}, ir::BlockAttrs{5});
  EXPECT_INFER_ERROR(b, "the number of channels to be 12, expected a multiple of 25");
}

TEST_F(Spatial, SpaceToBatchAndBack) {
  const auto block = b.ints({2, 2});
  const auto pads = b.constant<int32_t>({2, 2}, {1, 1, 0, 0});
  EXPECT_EQ(inferred(b, b.op(Op::kSpaceToBatch, {x, block, pads})), "float32[x.0*4,5,x.2//2,12]");
  const auto y = b.input("y", {8, 5, 4, 12});
  EXPECT_EQ(inferred(b, b.op(Op::kBatchToSpace, {y, block, pads})), "float32[2,8,8,12]");
  b.op(Op::kSpaceToBatch, {b.input("z", {1, 3, 4, 1}), block, b.constant<int32_t>({2, 2}, {0, 0, 0, 0})});
  EXPECT_INFER_ERROR(b, "a padded dim to be 3");
}

TEST_F(Spatial, BatchMustDivide) {
  b.op(Op::kBatchToSpace, {b.input("y", {6, 5, 4, 1}), b.ints({2, 2}), b.constant<int32_t>({2, 2}, {0, 0, 0, 0})});
  EXPECT_INFER_ERROR(b, "the batch size to be 6");
}

TEST_F(Spatial, CropsMayNotExceed) {
  b.op(Op::kBatchToSpace, {b.input("y", {4, 1, 1, 1}), b.ints({2, 2}), b.constant<int32_t>({2, 2}, {3, 0, 0, 0})});
  EXPECT_INFER_ERROR(b, "a dim of -1");
}

TEST_F(Spatial, Resize) {
  EXPECT_EQ(inferred(b, b.op(Op::kResize, {x, b.ints({16, 20})})), "float32[x.0,16,20,12]");
  const auto bytes = b.input("u8", {1, 4, 4, 3}, DType::kUInt8);
  EXPECT_EQ(inferred(b, b.op(Op::kResize, {bytes, b.ints({2, 2})})), "float32[1,2,2,3]");
  EXPECT_EQ(
      inferred(b, b.op(Op::kResize, {bytes, b.ints({2, 2})}, ir::ResizeAttrs{ir::ResizeKind::kNearest, false, false})),
      "uint8[1,2,2,3]");
  b.op(Op::kResize, {x, b.ints({16, 0})});
  EXPECT_INFER_ERROR(b, "a size of 0");
}

}  // namespace
}  // namespace blade::testing
