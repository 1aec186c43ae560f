// Which products of the same rows become one.
#include <gtest/gtest.h>

#include "pass_test_util.h"

namespace blade::testing {
namespace {

passes::PassOptions on_gpu(ir::DType narrow = ir::DType::kFloat16) {
  passes::PassOptions options;
  options.on_device = true;
  options.narrow_type = narrow;
  return options;
}

using Id = GraphBuilder::Id;

enum class Weights { kByDepth, kByChannel };

struct Products : ::testing::Test {
  GraphBuilder b;
  Id x = b.input("x", {-1, 4});
  float made = 0;

  // Each with weights of its own, so that parts that change places are noticed.
  Id product(Id of, int64_t columns, Weights weights = Weights::kByDepth, bool has_bias = false, int64_t depth = 4) {
    ++made;
    const bool by_channel = weights == Weights::kByChannel;
    const ir::Dims dims = by_channel ? ir::Dims{columns, depth} : ir::Dims{depth, columns};
    std::vector<Id> inputs = {of, b.constant<float>(dims, ramp(depth * columns, -made, made))};
    ir::MatMulAttrs attrs{false, by_channel, {}};
    if (has_bias) {
      inputs.push_back(b.constant<float>({columns}, ramp(columns, 0, 10 * made)));
      attrs.epilogue.num_inputs = 2;
      attrs.epilogue.code = {{P::kAdd, 0, 1, -1, 0, 0}};
    }
    return b.op(Op::kMatMul, std::move(inputs), std::move(attrs));
  }
  // Products after the pass, of `count` before.
  int left_of(const std::vector<Id>& products, const passes::PassOptions& options = on_gpu()) {
    for (const Id one : products) b.output(b.relu(one));
    const Applied applied = apply_pass("JoinProducts", b.build(), 2e-6, options);
    EXPECT_EQ(applied.result.changes, count(applied.graph, Op::kSplit));
    return count(applied.graph, Op::kMatMul);
  }
};

TEST_F(Products, OfTheSameRowsAreOne) {
  b.output(b.relu(x));  // reads the rows, too
  EXPECT_EQ(left_of({product(x, 128), product(x, 128), product(x, 128)}), 1);
}
TEST_F(Products, WithWeightsByChannel) {
  EXPECT_EQ(left_of({product(x, 128, Weights::kByChannel), product(x, 128, Weights::kByChannel)}), 1);
}
TEST_F(Products, WithBias) {
  EXPECT_EQ(left_of({product(x, 256, Weights::kByDepth, true), product(x, 256, Weights::kByDepth, true)}), 1);
}
TEST_F(Products, WithWeightsByChannelAndBias) {
  const auto biased = [&] { return product(x, 128, Weights::kByChannel, true); };
  EXPECT_EQ(left_of({biased(), biased(), biased()}), 1);
}
TEST_F(Products, OfUnknownRankStayApart) {
  const Id rows = b.input_of_unknown_rank("rows");
  b.output(b.relu(product(rows, 128))).output(b.relu(product(rows, 128)));
  ir::Graph graph = b.build();
  const auto result = find_pass("JoinProducts").run(graph, on_gpu());
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->changes, 0);
}
TEST_F(Products, OfRowsInBatches) {
  for (const Weights weights : {Weights::kByDepth, Weights::kByChannel}) {
    const Id batches = b.input("batches", {-1, 5, 4});
    EXPECT_EQ(left_of({product(batches, 128, weights, true), product(batches, 128, weights, true)}), 1);
  }
}
TEST_F(Products, WithAndWithoutBiasStay) {
  EXPECT_EQ(left_of({product(x, 128), product(x, 128, Weights::kByDepth, true)}), 2);
}
TEST_F(Products, ThatAreOutputsStay) {
  const Id first = product(x, 128), second = product(x, 128);
  b.output(first);
  EXPECT_EQ(left_of({first, second}), 2);
}
TEST_F(Products, OfNothingStay) {
  for (const Weights weights : {Weights::kByDepth, Weights::kByChannel}) {
    const Id nothing = b.input("nothing", {-1, 0});
    EXPECT_EQ(left_of({product(nothing, 128, weights, false, 0), product(nothing, 128, weights, false, 0)}), 2);
    const Id rows = b.input("rows", {-1, 4});
    EXPECT_EQ(left_of({product(rows, 0, weights), product(rows, 0, weights)}), 2);
  }
}
TEST_F(Products, MoreThanAKernelStoresAreTwo) {
  EXPECT_EQ(left_of({product(x, 128), product(x, 128), product(x, 128), product(x, 128), product(x, 128)}), 2);
  x = b.input("y", {-1, 4});
  EXPECT_EQ(
      left_of({product(x, 128), product(x, 128), product(x, 128), product(x, 128), product(x, 128), product(x, 128)}),
      2);
}
TEST_F(Products, OfOtherMatricesStay) {
  for (const bool batched : {false, true}) {
    std::vector<Id> products;
    const Id rows = b.input("rows", {2, 3, 4});
    for (int i = 0; i < 2; ++i) {
      products.push_back(b.matmul(rows, batched ? b.constant<float>({2, 4, 128}, ramp(1024))
                                                : b.input("weights" + std::to_string(i), {4, 128})));
    }
    EXPECT_EQ(left_of(products), 2);
  }
  const Id columns = b.input("columns", {4, 3});
  std::vector<Id> turned;
  for (int i = 0; i < 2; ++i) turned.push_back(b.matmul(columns, b.constant<float>({4, 128}, ramp(512)), true));
  EXPECT_EQ(left_of(turned), 2);
}
TEST_F(Products, WithOtherOperandsStay) {
  const auto added = [&](std::vector<Id> operands) {
    std::vector<Id> products;
    for (int i = 0; i < 2; ++i) {
      ir::MatMulAttrs attrs;
      attrs.epilogue.num_inputs = static_cast<int16_t>(1 + operands.size());
      for (size_t k = 0; k < operands.size(); ++k) {
        const auto sum = static_cast<int16_t>(k == 0 ? 0 : attrs.epilogue.num_inputs + static_cast<int>(k) - 1);
        attrs.epilogue.code.push_back({P::kAdd, sum, static_cast<int16_t>(1 + k), -1, 0, 0});
      }
      std::vector<Id> inputs = {b.input("rows", {3, 4}), b.constant<float>({4, 128}, ramp(512, -1, float(i + 1)))};
      if (i == 1) inputs[0] = b.graph().node(b.graph().value(products[0]).producer).inputs[0];
      inputs.insert(inputs.end(), operands.begin(), operands.end());
      products.push_back(b.op(Op::kMatMul, inputs, attrs));
    }
    return products;
  };
  EXPECT_EQ(left_of(added({b.input("bias", {128})})), 2);
  EXPECT_EQ(left_of(added({b.scalar(2.0f)})), 2);
  EXPECT_EQ(left_of(added({b.constant<float>({3, 128}, ramp(384))})), 2);
  EXPECT_EQ(left_of(added({b.constant<float>({128}, ramp(128)), b.constant<float>({128}, ramp(128))})), 2);
}
TEST_F(Products, ThatReadTheRowsAsWeightsStay) {
  const Id rows = b.constant<float>({8, 128}, ramp(1024));
  const Id first = product(rows, 128, Weights::kByDepth, false, 128);
  EXPECT_EQ(left_of({first, b.matmul(b.input("h", {-1, 8}), rows)}), 2);
}
TEST_F(Products, OfOtherRowsStay) { EXPECT_EQ(left_of({product(x, 128), product(b.relu(x), 128)}), 2); }
TEST_F(Products, OfOtherWidthsStay) { EXPECT_EQ(left_of({product(x, 128), product(x, 256)}), 2); }
TEST_F(Products, OfOtherLayoutsStay) { EXPECT_EQ(left_of({product(x, 128), product(x, 128, Weights::kByChannel)}), 2); }
TEST_F(Products, OfColumnsThatNoTileDividesStay) { EXPECT_EQ(left_of({product(x, 96), product(x, 96)}), 2); }
TEST_F(Products, InBFloat16AreOne) {
  EXPECT_EQ(left_of({product(x, 128), product(x, 128)}, on_gpu(ir::DType::kBFloat16)), 1);
}
TEST_F(Products, InFloat32Stay) {
  EXPECT_EQ(left_of({product(x, 128), product(x, 128)}, on_gpu(ir::DType::kInvalid)), 2);
}
TEST_F(Products, OfOtherTypesStay) {
  const Id rows = b.input("rows", {3, 2}, ir::DType::kFloat64);
  for (int i = 0; i < 2; ++i) {
    const std::vector<double> weights(256, i + 0.5);
    b.output(b.pointwise(P::kAbs, {b.matmul(rows, b.constant<double>({2, 128}, weights))}));
  }
  EXPECT_EQ(left_of({}), 2);
}
TEST_F(Products, StayOnACpu) {
  passes::PassOptions options = on_gpu();
  options.on_device = false;
  EXPECT_EQ(left_of({product(x, 128), product(x, 128)}, options), 2);
}

}  // namespace
}  // namespace blade::testing
