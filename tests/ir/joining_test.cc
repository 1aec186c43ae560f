// Concat, Split, Pack and Unpack.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

struct Joining : ::testing::Test {
  GraphBuilder b;
};

TEST_F(Joining, Concat) {
  const auto x = b.input("x", {-1, 2}), y = b.input("y", {3, -1}), z = b.input("z", {4, 0});
  EXPECT_EQ(inferred(b, b.op(Op::kConcat, {x, y}, ir::AxisAttrs{0})), "float32[x.0+3,2]");
  EXPECT_EQ(inferred(b, b.op(Op::kConcat, {x, z}, ir::AxisAttrs{1})), "float32[4,2]");
  EXPECT_EQ(inferred(b, b.op(Op::kConcat, {x, x}, ir::AxisAttrs{0})), "float32[x.0*2,2]");
}

TEST_F(Joining, ConcatOfUnknownRank) {
  const auto x = b.input("x", {7, 2}), u = b.input_of_unknown_rank("u");
  const auto y = b.op(Op::kConcat, {x, u}, ir::AxisAttrs{0});
  inferred(b, y);
  EXPECT_EQ(b.graph().value(y).shape.rank(), 2);
  EXPECT_EQ(b.graph().value(y).shape.dim(1), ir::Dim(2));
}

TEST_F(Joining, ConcatErrors) {
  b.op(Op::kConcat, {b.input("x", {2, 3}), b.input("y", {2, 4})}, ir::AxisAttrs{0}, "join");
  EXPECT_INFER_ERROR(b, "Node 'join' (Concat) finds inputs (but for the axis joined) to be 3 and 4");
}

TEST_F(Joining, Split) {
  const auto x = b.input("x", {-1, 12});
  for (const auto part : b.ops(Op::kSplit, {x}, 3, ir::SplitAttrs{1, {}}))
    EXPECT_EQ(inferred(b, part), "float32[x.0,4]");
  const auto parts = b.ops(Op::kSplit, {x}, 3, ir::SplitAttrs{1, {5, -1, 0}});
  EXPECT_EQ(inferred(b, parts[0]), "float32[x.0,5]");
  EXPECT_EQ(inferred(b, parts[1]), "float32[x.0,7]");
  EXPECT_EQ(inferred(b, parts[2]), "float32[x.0,0]");
  EXPECT_EQ(inferred(b, b.ops(Op::kSplit, {x}, 2, ir::SplitAttrs{0, {}})[1]), "float32[x.0//2,12]");
}

TEST_F(Joining, SplitErrors) {
  b.ops(Op::kSplit, {b.input("x", {7})}, 3, ir::SplitAttrs{0, {}});
  EXPECT_INFER_ERROR(b, "a dim of 7 into 3 equal parts");
  GraphBuilder c;
  c.ops(Op::kSplit, {c.input("x", {7})}, 2, ir::SplitAttrs{0, {3, 3}});
  EXPECT_INFER_ERROR(c, "leave 1 of a dim of 7");
}

TEST_F(Joining, PackAndUnpack) {
  const auto x = b.input("x", {-1, 3}), y = b.input("y", {5, -1});
  EXPECT_EQ(inferred(b, b.op(Op::kPack, {x, y}, ir::AxisAttrs{2})), "float32[5,3,2]");
  EXPECT_EQ(inferred(b, b.ops(Op::kUnpack, {x}, 3, ir::UnpackAttrs{1})[2]), "float32[x.0]");
  b.ops(Op::kUnpack, {x}, 2, ir::UnpackAttrs{1});
  EXPECT_INFER_ERROR(b, "the axis taken apart to be 3 and 2");
}

}  // namespace
}  // namespace blade::testing
