// Elementwise programs: names, composition, checks and printing.
#include <gtest/gtest.h>

#include "ir/ops/attrs_visit.h"
#include "ir/ops/pointwise.h"

namespace blade::ir {
namespace {

using P = PointwiseOp;

TEST(PointwiseProgram, Table) {
  EXPECT_EQ(pointwise_arity(P::kRelu), 1);
  EXPECT_EQ(pointwise_arity(P::kAdd), 2);
  EXPECT_EQ(pointwise_arity(P::kSelect), 3);
  EXPECT_STREQ(pointwise_name(P::kGeluTanh), "gelu_tanh");
  EXPECT_EQ(pointwise_result_dtype(P::kLess, DType::kFloat32), DType::kBool);
  EXPECT_EQ(pointwise_result_dtype(P::kSelect, DType::kFloat32), DType::kFloat32);
}

TEST(PointwiseProgram, ComposesChains) {
  const auto add = PointwiseProgram::binary(P::kAdd);
  const auto chain = compose(compose(add, PointwiseProgram::unary(P::kRelu), 0), PointwiseProgram::binary(P::kMul), 0);
  EXPECT_EQ(chain.num_inputs, 3);
  EXPECT_EQ(to_string(chain), "t3 = add(in0, in1); t4 = relu(t3); t5 = mul(t4, in2)");
  EXPECT_TRUE(verify(chain).ok());
}

TEST(PointwiseProgram, ComposesIntoTheSecondSlot) {
  const auto out = compose(PointwiseProgram::unary(P::kExp), PointwiseProgram::binary(P::kSub), 1);
  EXPECT_EQ(to_string(out), "t2 = exp(in0); t3 = sub(in1, t2)");
  const auto tail = compose(out, PointwiseProgram::unary(P::kClip, -1, 1), 0);
  EXPECT_EQ(to_string(tail), "t2 = exp(in0); t3 = sub(in1, t2); t4 = clip(t3, alpha=-1, beta=1)");
}

TEST(PointwiseProgram, ComposesWhereTheSlotIsReadTwice) {
  PointwiseProgram square{2, {{P::kMul, 0, 0, -1, 0, 0}, {P::kAdd, 2, 1, -1, 0, 0}}};
  const auto out = compose(PointwiseProgram::binary(P::kSub), square, 0);
  EXPECT_EQ(to_string(out), "t3 = sub(in0, in1); t4 = mul(t3, t3); t5 = add(t4, in2)");
}

TEST(PointwiseProgram, EmptyIsNeutral) {
  const auto add = PointwiseProgram::binary(P::kAdd);
  EXPECT_EQ(compose({}, add, 0), add);
  EXPECT_EQ(compose(add, {}, 0), add);
}

TEST(PointwiseProgram, VerifyRefusesForwardReads) {
  EXPECT_FALSE(verify(PointwiseProgram{1, {{P::kAdd, 0, 1, -1, 0, 0}}}).ok());
  EXPECT_FALSE(verify(PointwiseProgram{2, {{P::kAdd, 0, -1, -1, 0, 0}}}).ok());
  EXPECT_FALSE(verify(PointwiseProgram{1, {{P::kRelu, 0, 5, -1, 0, 0}}}).ok());
  EXPECT_FALSE(verify(PointwiseProgram{1, {{static_cast<P>(250), 0, -1, -1, 0, 0}}}).ok());
  EXPECT_FALSE(verify(PointwiseProgram{-1, {}}).ok());
}

TEST(Attributes, PrintAndCompare) {
  ConvAttrs a;
  a.strides = {2, 2};
  a.dilations = {1, 1};
  a.padding = Padding::kSame;
  EXPECT_EQ(to_string(Attrs(a)), "strides=[2,2] dilations=[1,1] padding=same groups=1");
  ConvAttrs b = a;
  EXPECT_EQ(Attrs(a), Attrs(b));
  b.groups = 2;
  EXPECT_NE(Attrs(a), Attrs(b));
  EXPECT_EQ(to_string(Attrs(EmptyAttrs{})), "");
}

}  // namespace
}  // namespace blade::ir
