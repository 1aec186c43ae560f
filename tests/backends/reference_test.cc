// Reference kernels on small cases computed by hand.
#include "backends/kernel_runner.h"
#include "base/half.h"

namespace blade::backends {
namespace {

using ir::Op;
using ir::PointwiseOp;
using ir::PointwiseProgram;

std::vector<double> evaluate(Op op, ir::Attrs attrs, std::vector<ir::TensorPtr> inputs, int num_outputs = 1,
                             int output = 0) {
  const auto result = run_reference({"node", op, std::move(attrs), std::move(inputs), 0, num_outputs});
  EXPECT_TRUE(result.ok()) << result.status().message();
  std::vector<double> values;
  if (!result.ok()) return values;
  for (int64_t i = 0; i < (*result)[output]->element_count(); ++i) values.push_back(element(*(*result)[output], i));
  return values;
}

std::string error_of(Op op, ir::Attrs attrs, std::vector<ir::TensorPtr> inputs) {
  const auto result = run_reference({"node", op, std::move(attrs), std::move(inputs), 0, 1});
  return result.ok() ? "" : result.status().message();
}

std::vector<double> binary(PointwiseOp op, ir::TensorPtr a, ir::TensorPtr b) {
  return evaluate(Op::kPointwise, ir::PointwiseAttrs{PointwiseProgram::binary(op)}, {a, b});
}
std::vector<double> unary(PointwiseOp op, ir::TensorPtr a) {
  return evaluate(Op::kPointwise, ir::PointwiseAttrs{PointwiseProgram::unary(op)}, {a});
}
using Values = std::vector<double>;

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(float_to_float16(1.0f), 0x3c00);
  EXPECT_EQ(float_to_float16(65504.0f), 0x7bff);
  EXPECT_EQ(float_to_float16(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_float16(5.9604645e-8f), 0x0001);
  EXPECT_EQ(float_to_float16(1.0f + 0x1p-11f), 0x3c00);
  EXPECT_EQ(float_to_float16(1.0f + 3 * 0x1p-11f), 0x3c02);
  for (uint32_t h = 0; h < 0x7c00; ++h) EXPECT_EQ(float_to_float16(float16_to_float(static_cast<uint16_t>(h))), h);
  EXPECT_EQ(float_to_bfloat16(1.00390625f), 0x3f80);
  EXPECT_EQ(float_to_bfloat16(1.01171875f), 0x3f82);
}

TEST(Reference, PointwiseDivisionAndModulo) {
  EXPECT_EQ(binary(PointwiseOp::kFloorMod, ints({4}, {7, -7, 7, -7}), ints({4}, {3, 3, -3, -3})),
            (Values{1, 2, -2, -1}));
  EXPECT_EQ(binary(PointwiseOp::kFloorDiv, ints({4}, {7, -7, 7, -7}), ints({4}, {3, 3, -3, -3})),
            (Values{2, -3, -3, 2}));
  EXPECT_EQ(binary(PointwiseOp::kTruncMod, ints({2}, {-7, 7}), ints({1}, {3})), (Values{-1, 1}));
  EXPECT_EQ(binary(PointwiseOp::kFloorMod, floats({2}, {-5.5f, 5.5f}), floats({1}, {2})), (Values{0.5, 1.5}));
  EXPECT_EQ(binary(PointwiseOp::kDivNoNan, floats({2}, {1, 6}), floats({2}, {0, 2})), (Values{0, 3}));
  const std::string error =
      error_of(Op::kPointwise, ir::PointwiseAttrs{PointwiseProgram::binary(PointwiseOp::kFloorDiv)},
               {ints({2}, {1, 2}), ints({2}, {1, 0})});
  EXPECT_NE(error.find("division by zero"), std::string::npos) << error;
}

TEST(Reference, PointwiseUnary) {
  EXPECT_EQ(unary(PointwiseOp::kRint, floats({5}, {0.5f, 1.5f, 2.5f, -0.5f, -1.5f})), (Values{0, 2, 2, 0, -2}));
  EXPECT_EQ(unary(PointwiseOp::kSign, floats({3}, {-3, 0, 2})), (Values{-1, 0, 1}));
  EXPECT_EQ(unary(PointwiseOp::kRelu6, floats({3}, {-3, 2, 7})), (Values{0, 2, 6}));
  EXPECT_TRUE(std::isnan(unary(PointwiseOp::kRelu, floats({1}, {NAN}))[0]));
}

TEST(Reference, PointwiseBroadcastsAndSelects) {
  EXPECT_EQ(binary(PointwiseOp::kAdd, floats({2, 1}, {1, 2}), floats({3}, {10, 20, 30})),
            (Values{11, 21, 31, 12, 22, 32}));
  EXPECT_EQ(evaluate(Op::kPointwise, ir::PointwiseAttrs{PointwiseProgram::ternary(PointwiseOp::kSelect)},
                     {bools({2}, {1, 0}), ints({2}, {1, 2}), ints({2}, {3, 4})}),
            (Values{1, 4}));
}

TEST(Reference, CastsLikeX86) {
  const auto to = [](ir::DType dtype, std::vector<float> v) {
    const auto count = static_cast<int64_t>(v.size());
    return evaluate(Op::kCast, ir::CastAttrs{dtype}, {floats({count}, v)});
  };
  EXPECT_EQ(to(ir::DType::kInt32, {1e20f, NAN, 300.7f, -5.5f}), (Values{-2147483648.0, -2147483648.0, 300, -5}));
  EXPECT_EQ(to(ir::DType::kUInt8, {300.7f, -5.5f}), (Values{44, 251}));
  EXPECT_EQ(to(ir::DType::kBool, {0, 0.5f}), (Values{0, 1}));
}

TEST(Reference, ConvSameStride2PadsMoreAtTheEnd) {
  ir::ConvAttrs attrs;
  attrs.strides = {2, 2};
  attrs.dilations = {1, 1};
  attrs.padding = ir::Padding::kSame;
  // 4x4 image of 1..16, 3x3 kernel of ones: output 2x2, padding 0 before and 1 after.
  std::vector<float> image(16);
  for (int i = 0; i < 16; ++i) image[i] = static_cast<float>(i + 1);
  EXPECT_EQ(evaluate(Op::kConv, attrs, {floats({1, 4, 4, 1}, image), floats({3, 3, 1, 1}, std::vector<float>(9, 1))}),
            (Values{54, 45, 72, 54}));
}

TEST(Reference, ConvEpilogueAddsBiasThenClamps) {
  ir::ConvAttrs attrs;
  attrs.strides = attrs.dilations = {1, 1};
  attrs.epilogue =
      ir::compose(PointwiseProgram::binary(PointwiseOp::kAdd), PointwiseProgram::unary(PointwiseOp::kRelu), 0);
  EXPECT_EQ(
      evaluate(Op::kConv, attrs, {floats({1, 1, 2, 1}, {1, 2}), floats({1, 1, 1, 2}, {1, -1}), floats({2}, {10, 1})}),
      (Values{11, 0, 12, 0}));
}

TEST(Reference, ConvTransposeScatters) {
  ir::ConvTransposeAttrs attrs;
  attrs.strides = {2};
  attrs.dilations = {1};
  attrs.padding = ir::Padding::kValid;
  // x = [1, 2], kernel [1, 10, 100], stride 2: out = [1, 10, 100 + 2, 20, 200].
  EXPECT_EQ(evaluate(Op::kConvTranspose, attrs,
                     {floats({1, 2, 1}, {1, 2}), floats({3, 1, 1}, {1, 10, 100}), ints({3}, {1, 5, 1})}),
            (Values{1, 10, 102, 20, 200}));
}

TEST(Reference, MatMulTransposes) {
  const auto a = floats({2, 2}, {1, 2, 3, 4}), b = floats({2, 2}, {5, 6, 7, 8});
  EXPECT_EQ(evaluate(Op::kMatMul, ir::MatMulAttrs{}, {a, b}), (Values{19, 22, 43, 50}));
  EXPECT_EQ(evaluate(Op::kMatMul, ir::MatMulAttrs{true, false, {}}, {a, b}), (Values{26, 30, 38, 44}));
  EXPECT_EQ(evaluate(Op::kMatMul, ir::MatMulAttrs{false, true, {}}, {a, b}), (Values{17, 23, 39, 53}));
}

TEST(Reference, Einsum) {
  const auto a = floats({2, 2}, {1, 2, 3, 4}), b = floats({2, 2}, {5, 6, 7, 8});
  EXPECT_EQ(evaluate(Op::kEinsum, ir::EinsumAttrs{"ij,jk->ki"}, {a, b}), (Values{19, 43, 22, 50}));
  EXPECT_EQ(evaluate(Op::kEinsum, ir::EinsumAttrs{"...j,kj->...k"}, {a, b}), (Values{17, 23, 39, 53}));
}

TEST(Reference, PoolAverageLeavesPaddingOut) {
  ir::PoolAttrs attrs{ir::PoolKind::kAverage, {2, 2}, {2, 2}, ir::Padding::kSame, {}};
  const auto x = floats({1, 3, 3, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_EQ(evaluate(Op::kPool, attrs, {x}), (Values{3, 4.5, 7.5, 9}));
  attrs.kind = ir::PoolKind::kMax;
  EXPECT_EQ(evaluate(Op::kPool, attrs, {x}), (Values{5, 6, 8, 9}));
}

TEST(Reference, Reductions) {
  const auto x = floats({2, 3}, {1, 5, 2, 4, 3, 6});
  EXPECT_EQ(evaluate(Op::kReduce, ir::ReduceAttrs{ir::ReduceKind::kMean, {1}, false}, {x}),
            (Values{8.0f / 3, 13.0f / 3}));
  EXPECT_EQ(evaluate(Op::kReduce, ir::ReduceAttrs{ir::ReduceKind::kMax, {0}, true}, {x}), (Values{4, 5, 6}));
  EXPECT_EQ(
      evaluate(Op::kArgReduce, ir::ArgReduceAttrs{true, 1, ir::DType::kInt64}, {floats({2, 3}, {1, 3, 3, 2, 0, 2})}),
      (Values{1, 0}));
  EXPECT_EQ(evaluate(Op::kCumulative, ir::CumulativeAttrs{0, true, true}, {ints({3}, {1, 2, 3})}), (Values{5, 3, 0}));
  EXPECT_EQ(evaluate(Op::kTopK, ir::TopKAttrs{}, {floats({4}, {1, 7, 7, 3}), ints({}, {2})}, 2, 1), (Values{1, 2}));
}

TEST(Reference, Softmax) {
  const auto y = evaluate(Op::kSoftmax, ir::SoftmaxAttrs{}, {floats({1, 2}, {0, std::log(3.0f)})});
  EXPECT_NEAR(y[0], 0.25, 1e-6);
  EXPECT_NEAR(y[1], 0.75, 1e-6);
}

TEST(Reference, StridedSliceMasks) {
  std::vector<int32_t> v(24);
  for (int i = 0; i < 24; ++i) v[i] = i;
  const auto x = ints({2, 3, 4}, v);
  ir::StridedSliceAttrs attrs;
  attrs.ellipsis_mask = 1;
  attrs.shrink_axis_mask = 2;
  EXPECT_EQ(evaluate(Op::kStridedSlice, attrs, {x, ints({2}, {0, -1}), ints({2}, {0, 0}), ints({2}, {1, 1})}),
            (Values{3, 7, 11, 15, 19, 23}));
  ir::StridedSliceAttrs backwards;
  backwards.begin_mask = backwards.end_mask = 1;
  backwards.new_axis_mask = 2;
  EXPECT_EQ(evaluate(Op::kStridedSlice, backwards,
                     {ints({3}, {1, 2, 3}), ints({2}, {0, 0}), ints({2}, {0, 0}), ints({2}, {-1, 1})}),
            (Values{3, 2, 1}));
}

TEST(Reference, GatherChecksIndices) {
  const auto params = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(evaluate(Op::kGather, ir::GatherAttrs{1, 0}, {params, ints({2}, {2, 0})}), (Values{3, 1, 6, 4}));
  EXPECT_EQ(evaluate(Op::kGather, ir::GatherAttrs{1, 1}, {params, ints({2, 1}, {2, 0})}), (Values{3, 4}));
  const std::string error = error_of(Op::kGather, ir::GatherAttrs{1, 0}, {params, ints({1}, {3})});
  EXPECT_NE(error.find("index 3 on an axis of 3"), std::string::npos) << error;
}

TEST(Reference, DataMovement) {
  const auto x = ints({2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(evaluate(Op::kTranspose, ir::PermAttrs{{1, 0}}, {x}), (Values{1, 3, 2, 4}));
  EXPECT_EQ(evaluate(Op::kConcat, ir::AxisAttrs{1}, {x, x}), (Values{1, 2, 1, 2, 3, 4, 3, 4}));
  EXPECT_EQ(evaluate(Op::kPad, ir::PadAttrs{ir::PadMode::kReflect}, {ints({3}, {1, 2, 3}), ints({1, 2}, {2, 1})}),
            (Values{3, 2, 1, 2, 3, 2}));
  EXPECT_EQ(evaluate(Op::kPad, ir::PadAttrs{ir::PadMode::kSymmetric}, {ints({3}, {1, 2, 3}), ints({1, 2}, {2, 1})}),
            (Values{2, 1, 1, 2, 3, 3}));
  EXPECT_EQ(evaluate(Op::kTile, ir::EmptyAttrs{}, {ints({2}, {1, 2}), ints({1}, {2})}), (Values{1, 2, 1, 2}));
  EXPECT_EQ(evaluate(Op::kDepthToSpace, ir::BlockAttrs{2}, {ints({1, 1, 1, 4}, {1, 2, 3, 4})}), (Values{1, 2, 3, 4}));
  EXPECT_EQ(evaluate(Op::kOneHot, ir::AxisAttrs{1}, {ints({2}, {1, 5}), ints({}, {2}), ints({}, {9}), ints({}, {0})}),
            (Values{0, 9, 0, 0}));
  EXPECT_EQ(evaluate(Op::kRange, ir::EmptyAttrs{}, {ints({}, {5}), ints({}, {0}), ints({}, {-2})}), (Values{5, 3, 1}));
}

TEST(Reference, SpaceToBatchAndBack) {
  const auto x = ints({1, 3, 1}, {1, 2, 3});
  // Padded to [0, 1, 2, 3]: even positions are the first batch, odd ones the second.
  EXPECT_EQ(evaluate(Op::kSpaceToBatch, ir::EmptyAttrs{}, {x, ints({1}, {2}), ints({1, 2}, {1, 0})}),
            (Values{0, 2, 1, 3}));
  EXPECT_EQ(evaluate(Op::kBatchToSpace, ir::EmptyAttrs{},
                     {ints({2, 2, 1}, {0, 2, 1, 3}), ints({1}, {2}), ints({1, 2}, {1, 0})}),
            (Values{1, 2, 3}));
}

TEST(Reference, ResizeBilinearConventions) {
  const auto x = floats({1, 1, 2, 1}, {0, 1});
  const auto resize = [&](bool align, bool half) {
    return evaluate(Op::kResize, ir::ResizeAttrs{ir::ResizeKind::kBilinear, align, half}, {x, ints({2}, {1, 4})});
  };
  EXPECT_EQ(resize(false, false), (Values{0, 0.5, 1, 1}));
  EXPECT_EQ(resize(false, true), (Values{0, 0.25, 0.75, 1}));
  EXPECT_NEAR(resize(true, false)[1], 1.0 / 3, 1e-6);
}

TEST(Reference, WhereFindsItsSize) {
  EXPECT_EQ(evaluate(Op::kWhere, ir::EmptyAttrs{}, {bools({2, 2}, {1, 0, 0, 1})}), (Values{0, 0, 1, 1}));
  EXPECT_EQ(evaluate(Op::kWhere, ir::EmptyAttrs{}, {bools({2}, {0, 0})}), Values{});
}

TEST(Machine, HostIsDetected) {
  const Machine& machine = Machine::host();
  EXPECT_FALSE(machine.microarchitecture.empty());
  EXPECT_GE(machine.cpus, 1);
  EXPECT_GE(machine.l1d_bytes, size_t{16} << 10);
  EXPECT_GE(machine.l2_bytes, machine.l1d_bytes);
}

TEST(PackCache, PacksOnceAConstantAndLayout) {
  PackCache packs;
  const auto weights = floats({2}, {1, 2});
  int calls = 0;
  const auto pack = [&]() -> Result<AlignedBuffer> {
    ++calls;
    return AlignedBuffer::allocate(128);
  };
  const auto first = packs.get(weights, "a", pack), again = packs.get(weights, "a", pack),
             other = packs.get(weights, "b", pack);
  ASSERT_TRUE(first.ok() && again.ok() && other.ok());
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(first->get(), again->get());
  EXPECT_EQ(packs.bytes(), 256u);
}

}  // namespace
}  // namespace blade::backends
