// Shapes of convolutions and pooling.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

using ir::Padding;

struct Conv : ::testing::Test {
  GraphBuilder b;
  ir::ValueId weights(ir::Dims dims) { return b.filled<float>(std::move(dims), 0.f); }
};

TEST_F(Conv, SameAndValid) {
  const auto x = b.input("x", {-1, 224, 225, 3});
  EXPECT_EQ(inferred(b, b.conv(x, weights({7, 7, 3, 64}), {2, 2})), "float32[x.0,112,113,64]");
  EXPECT_EQ(inferred(b, b.conv(x, weights({7, 7, 3, 64}), {2, 2}, Padding::kValid)), "float32[x.0,109,110,64]");
  EXPECT_EQ(inferred(b, b.conv(x, weights({3, 3, 3, 8}), {2, 2}, Padding::kExplicit, 1, {1, 1, 0, 2})),
            "float32[x.0,112,113,8]");
}

TEST_F(Conv, SymbolicSpatialDims) {
  const auto x = b.input("x", {-1, -1, -1, 3});
  EXPECT_EQ(inferred(b, b.conv(x, weights({3, 3, 3, 8}), {1, 1})), "float32[x.0,x.1,x.2,8]");
  EXPECT_EQ(inferred(b, b.conv(x, weights({3, 3, 3, 8}), {1, 1}, Padding::kValid)), "float32[x.0,x.1-2,x.2-2,8]");
  // Both ways round a residual block give the same symbol.
  const auto shortcut = b.conv(x, weights({1, 1, 3, 8}), {2, 2}, Padding::kValid);
  const auto branch = b.conv(x, weights({3, 3, 3, 8}), {2, 2}, Padding::kExplicit, 1, {1, 1, 1, 1});
  EXPECT_EQ(inferred(b, b.add(shortcut, branch)), "float32[x.0,(x.1+1)//2,(x.2+1)//2,8]");
}

TEST_F(Conv, Dilation) {
  ir::ConvAttrs a;
  a.strides = {1, 1};
  a.dilations = {2, 3};
  EXPECT_EQ(inferred(b, b.op(Op::kConv, {b.input("x", {1, 10, 10, 1}), weights({3, 3, 1, 1})}, a)), "float32[1,6,4,1]");
}

TEST_F(Conv, Depthwise) {
  const auto x = b.input("x", {1, 8, 8, 6});
  EXPECT_EQ(inferred(b, b.conv(x, weights({3, 3, 1, 12}), {1, 1}, Padding::kSame, 6)), "float32[1,8,8,12]");
  b.conv(x, weights({3, 3, 1, 13}), {1, 1}, Padding::kSame, 6);
  EXPECT_INFER_ERROR(b, "13 output channels in 6 groups");
}

TEST_F(Conv, OneAndThreeSpatialDims) {
  EXPECT_EQ(inferred(b, b.conv(b.input("x", {2, 9, 4}), weights({3, 4, 5}), {2}, Padding::kValid)), "float32[2,4,5]");
  EXPECT_EQ(inferred(b, b.conv(b.input("v", {2, 4, 4, 4, 1}), weights({3, 3, 3, 1, 2}), {1, 1, 1})),
            "float32[2,4,4,4,2]");
}

TEST_F(Conv, WindowsAsLongAsTensorFlowAllows) {
  const auto x = b.input("x", {1, 2, 2, 1});
  EXPECT_EQ(inferred(b, b.conv(x, weights({3, 3, 1, 1}), {1, 1}, Padding::kValid)), "float32[1,0,0,1]");
  EXPECT_EQ(inferred(b, b.conv(x, weights({4, 4, 1, 1}), {3, 3}, Padding::kValid)), "float32[1,0,0,1]");
  b.conv(x, weights({4, 4, 1, 1}), {1, 1}, Padding::kValid);
  EXPECT_INFER_ERROR(b, "slides a window of 4 over a dim of 2");
}

TEST_F(Conv, ZeroBatch) {
  EXPECT_EQ(inferred(b, b.conv(b.input("x", {0, 4, 4, 1}), weights({3, 3, 1, 2}))), "float32[0,4,4,2]");
}

TEST_F(Conv, WrongChannels) {
  b.conv(b.input("x", {1, 4, 4, 3}), weights({3, 3, 4, 2}));
  EXPECT_INFER_ERROR(b, "the number of input channels to be 3 and 4");
}

// Groups, whose number the graph's channels would have told.
TEST_F(Conv, ChannelsOfGroups) {
  b.conv(b.input("x", {1, 4, 4, 6}), weights({3, 3, 3, 2}));
  EXPECT_INFER_ERROR(b, "to be 6 and 3, expected the same size: groups of channels are taken in only where the graph");
}

TEST_F(Conv, WrongRank) {
  b.conv(b.input("x", {1, 4, 4}), weights({3, 3, 4, 2}));
  EXPECT_INFER_ERROR(b, "has an input of shape [1,4,4], expected rank 4");
}

TEST_F(Conv, ZeroStride) {
  b.conv(b.input("x", {1, 4, 4, 4}), weights({3, 3, 4, 2}), {0, 1});
  EXPECT_INFER_ERROR(b, "0 among its strides");
}

TEST_F(Conv, Epilogue) {
  ir::ConvAttrs a;
  a.strides = a.dilations = {1, 1};
  a.padding = Padding::kSame;
  a.epilogue = compose(ir::PointwiseProgram::binary(P::kAdd), ir::PointwiseProgram::unary(P::kRelu), 0);
  const auto x = b.input("x", {-1, 4, 4, 3}), w = weights({1, 1, 3, 5});
  EXPECT_EQ(inferred(b, b.op(Op::kConv, {x, w, weights({5})}, a)), "float32[x.0,4,4,5]");
  EXPECT_EQ(inferred(b, b.op(Op::kConv, {x, w, weights({})}, a)), "float32[x.0,4,4,5]");
  EXPECT_EQ(inferred(b, b.op(Op::kConv, {x, w, b.input("r", {-1, 4, 4, 5})}, a)), "float32[x.0,4,4,5]");
  b.op(Op::kConv, {x, w, weights({4})}, a);
  EXPECT_INFER_ERROR(b, "an epilogue operand's last dim to be 4 and 5");
}

TEST_F(Conv, EpilogueOperandsAreCounted) {
  ir::ConvAttrs a;
  a.strides = a.dilations = {1, 1};
  a.epilogue = ir::PointwiseProgram::binary(P::kAdd);
  b.op(Op::kConv, {b.input("x", {1, 4, 4, 3}), weights({1, 1, 3, 5})}, a);
  EXPECT_INFER_ERROR(b, "an epilogue of 2 inputs and 0 operands");
}

TEST_F(Conv, Transpose) {
  ir::ConvTransposeAttrs a;
  a.strides = {2, 2};
  a.dilations = {1, 1};
  a.padding = Padding::kSame;
  const auto x = b.input("x", {-1, 8, 8, 3}), w = weights({4, 4, 5, 3});
  EXPECT_EQ(inferred(b, b.op(Op::kConvTranspose, {x, w, b.ints({1, 16, 15, 5})}, a)), "float32[1,16,15,5]");
  const auto size = b.input("size", {4}, DType::kInt32);
  EXPECT_NE(inferred(b, b.op(Op::kConvTranspose, {x, w, size}, a)).find("float32[x.0,"), std::string::npos);
  b.op(Op::kConvTranspose, {x, w, b.ints({1, 20, 16, 5})}, a);
  EXPECT_INFER_ERROR(b, "a spatial dim of the input to be 8 and 10");
}

TEST_F(Conv, DilationTakesNoExplicitPadding) {
  ir::DilationAttrs a;
  a.strides = a.dilations = {1, 1};
  const auto image = b.input("image", {1, 8, 8, 3}), filter = b.input("filter", {3, 3, 3});
  EXPECT_EQ(inferred(b, b.op(Op::kDilation, {image, filter}, a)), "float32[1,6,6,3]");
  a.padding = Padding::kExplicit;
  b.op(Op::kDilation, {image, filter}, a);
  EXPECT_INFER_ERROR(b, "expected SAME or VALID");
}

TEST_F(Conv, Pool) {
  ir::PoolAttrs a{ir::PoolKind::kMax, {3, 3}, {2, 2}, Padding::kSame, {}};
  EXPECT_EQ(inferred(b, b.op(Op::kPool, {b.input("x", {-1, 112, 113, 64})}, a)), "float32[x.0,56,57,64]");
  a.padding = Padding::kValid;
  EXPECT_EQ(inferred(b, b.op(Op::kPool, {b.input("y", {1, -1, 7, 64})}, a)), "float32[1,(y.1+1)//2-1,3,64]");
  a.window = {3};
  b.op(Op::kPool, {b.input("z", {1, 7, 7, 64})}, a);
  EXPECT_INFER_ERROR(b, "has 1 window sizes, expected 2");
}

}  // namespace
}  // namespace blade::testing
