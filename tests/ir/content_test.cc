// Contents of small integer tensors: chains from Shape to Reshape are followed by value.
#include "infer_test_util.h"
#include "ir/infer.h"

namespace blade::testing {
namespace {

using ir::ValueId;

struct Content : ::testing::Test {
  GraphBuilder b;
  // "[a,b]" of what is known of a value's elements; "?" where nothing is.
  std::string content(ValueId id) {
    auto contents = ir::infer_contents(b.graph(), {});
    if (!contents.ok()) return contents.status().message();
    if (!(*contents)[id]) return "?";
    return b.graph().symbols().to_string(ir::Shape(*(*contents)[id]));
  }
  ValueId element(ValueId shape, int32_t i) {
    return b.op(Op::kStridedSlice, {shape, b.ints({i}), b.ints({i + 1}), b.ints({1})},
                ir::StridedSliceAttrs{0, 0, 0, 0, 1});
  }
};

TEST_F(Content, ShapeSlicePackReshape) {
  const auto x = b.input("x", {-1, -1, 768});
  const auto shape = b.shape_of(x);
  const auto batch = element(shape, 0), length = element(shape, 1);
  const auto target = b.op(Op::kPack, {batch, length, b.scalar<int32_t>(12), b.scalar<int32_t>(64)});
  EXPECT_EQ(content(target), "[x.0,x.1,12,64]");
  EXPECT_EQ(inferred(b, b.op(Op::kReshape, {x, target})), "float32[x.0,x.1,12,64]");
  const auto flat = b.op(Op::kPack, {b.mul(batch, length), b.scalar<int32_t>(-1)});
  EXPECT_EQ(inferred(b, b.op(Op::kReshape, {x, flat})), "float32[x.0*x.1,768]");
}

TEST_F(Content, Arithmetic) {
  const auto x = b.input("x", {-1, 5});
  const auto n = element(b.shape_of(x), 0), two = b.scalar<int32_t>(2);
  EXPECT_EQ(content(b.mul(b.add(n, two), two)), "[x.0*2+4]");
  EXPECT_EQ(content(b.pointwise(P::kFloorDiv, {n, two})), "[x.0//2]");
  EXPECT_EQ(content(b.pointwise(P::kTruncDiv, {n, two})), "[x.0//2]");
  EXPECT_EQ(content(b.pointwise(P::kFloorMod, {n, two})), "[x.0%2]");
  EXPECT_EQ(content(b.pointwise(P::kMaximum, {n, two})), "[max(x.0,2)]");
  EXPECT_EQ(content(b.pointwise(P::kNeg, {n})), "[x.0*-1]");
  EXPECT_EQ(content(b.pointwise(P::kEqual, {n, n})), "[1]");
  EXPECT_EQ(content(b.pointwise(P::kLess, {n, two})), "?");
  EXPECT_EQ(content(b.add(b.shape_of(x), b.ints({1, 1}))), "[x.0+1,6]");
  EXPECT_EQ(content(b.add(b.shape_of(x), two)), "[x.0+2,7]");
}

TEST_F(Content, NegativeNumbersAndSigns) {
  EXPECT_EQ(content(b.pointwise(P::kTruncDiv, {b.ints({-7}), b.ints({2})})), "[-3]");
  EXPECT_EQ(content(b.pointwise(P::kFloorDiv, {b.ints({-7}), b.ints({2})})), "[-4]");
  EXPECT_EQ(content(b.pointwise(P::kTruncMod, {b.ints({-7}), b.ints({2})})), "[-1]");
  EXPECT_EQ(content(b.pointwise(P::kFloorMod, {b.ints({-7}), b.ints({2})})), "[1]");
  EXPECT_EQ(content(b.pointwise(P::kAbs, {b.ints({-7})})), "[7]");
}

TEST_F(Content, WrapAroundIsUnknown) {
  const auto big = b.ints({2147483647});
  EXPECT_EQ(content(b.add(big, b.ints({1}))), "?");
  EXPECT_EQ(content(b.op(Op::kCast, {b.ints({300})}, ir::CastAttrs{DType::kInt8})), "?");
  EXPECT_EQ(content(b.op(Op::kCast, {b.ints({300})}, ir::CastAttrs{DType::kInt64})), "[300]");
  EXPECT_EQ(content(b.pointwise(P::kFloorDiv, {b.ints({1}), b.ints({0})})), "?");
}

TEST_F(Content, MovesThroughDataMovement) {
  const auto v = b.ints({1, 2, 3, 4, 5, 6});
  EXPECT_EQ(content(b.op(Op::kReverse, {v}, ir::AxesAttrs{{0}})), "[6,5,4,3,2,1]");
  EXPECT_EQ(content(b.op(Op::kTranspose, {b.reshape(v, {2, 3})}, ir::PermAttrs{{1, 0}})), "[1,4,2,5,3,6]");
  EXPECT_EQ(content(b.op(Op::kGather, {v, b.ints({5, 0})}, ir::GatherAttrs{0, 0})), "[6,1]");
  EXPECT_EQ(content(b.op(Op::kSlice, {v, b.ints({1}), b.ints({2})})), "[2,3]");
  EXPECT_EQ(content(b.op(Op::kStridedSlice, {v, b.ints({-1}), b.ints({0}), b.ints({-2})})), "[6,4,2]");
  EXPECT_EQ(content(b.op(Op::kConcat, {v, b.ints({9})}, ir::AxisAttrs{0})), "[1,2,3,4,5,6,9]");
  EXPECT_EQ(content(b.op(Op::kPack, {b.ints({1, 2}), b.ints({3, 4})}, ir::AxisAttrs{1})), "[1,3,2,4]");
  EXPECT_EQ(content(b.ops(Op::kSplit, {v}, 2, ir::SplitAttrs{0, {}})[1]), "[4,5,6]");
  EXPECT_EQ(content(b.ops(Op::kUnpack, {v}, 6, ir::UnpackAttrs{0})[2]), "[3]");
  EXPECT_EQ(content(b.op(Op::kTile, {b.ints({1, 2}), b.ints({2})})), "[1,2,1,2]");
}

TEST_F(Content, Makers) {
  EXPECT_EQ(content(b.op(Op::kRange, {b.scalar<int32_t>(2), b.scalar<int32_t>(8), b.scalar<int32_t>(3)})), "[2,5]");
  EXPECT_EQ(content(b.op(Op::kFill, {b.ints({3}), b.scalar<int32_t>(7)})), "[7,7,7]");
  EXPECT_EQ(content(b.op(Op::kReduce, {b.ints({2, 3, 4})}, ir::ReduceAttrs{ir::ReduceKind::kProd, {0}, false})),
            "[24]");
  const auto x = b.input("x", {-1, 3});
  EXPECT_EQ(content(b.op(Op::kShapeOf, {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kSize, DType::kInt32})), "[x.0*3]");
  EXPECT_EQ(content(b.op(Op::kShapeOf, {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kRank, DType::kInt32})), "[2]");
}

TEST_F(Content, UnknownElementsStandBesideKnownOnes) {
  const auto n = b.input("n", {}, DType::kInt32), x = b.input("x", {4, 6});
  const auto m = b.input("m", {}, DType::kInt32);
  const auto target = b.op(Op::kPack, {n, m, b.scalar<int32_t>(2)});
  const auto y = b.op(Op::kReshape, {x, target});
  inferred(b, y);
  EXPECT_EQ(b.graph().value(y).shape.dim(2), ir::Dim(2));
  EXPECT_FALSE(b.graph().value(y).shape.dim(0).is_known());
  EXPECT_NE(b.graph().value(y).shape.dim(0), b.graph().value(y).shape.dim(1));
}

TEST_F(Content, LargeTensorsAreNotFollowed) {
  EXPECT_EQ(content(b.op(Op::kFill, {b.ints({2000}), b.scalar<int32_t>(7)})), "?");
}

TEST_F(Content, CanBeSwitchedOff) {
  const auto x = b.input("x", {-1, 5});
  const auto y = b.op(Op::kReshape, {x, b.op(Op::kIdentity, {b.shape_of(x)})});
  ASSERT_TRUE(ir::infer_shapes(b.graph(), {.fold_contents = false}).ok());
  EXPECT_FALSE(b.graph().value(y).shape.dim(1).is_known());
}

}  // namespace
}  // namespace blade::testing
