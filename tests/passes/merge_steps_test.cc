// MergeSteps: work on each slice of a tensor becomes work on the whole, and only where the steps are alike.
#include "passes/pass_test_util.h"

namespace blade::testing {
namespace {

using Id = GraphBuilder::Id;

struct MergedSteps : ::testing::Test {
  static constexpr int kSteps = 5;

  Id slice(Id from, int32_t t, int64_t shrink = 1) {
    ir::StridedSliceAttrs attrs;
    attrs.shrink_axis_mask = shrink;
    return b.op(Op::kStridedSlice, {from, b.ints({t}), b.ints({t + 1}), b.ints({1})}, attrs);
  }
  // Whether `step(slice, t)`, packed, is one chain on the whole in the end.
  template <class Step>
  bool merges(Step&& step, int64_t axis = 0, bool reversed = false) {
    std::vector<Id> results;
    for (int t = 0; t < kSteps; ++t) results.push_back(step(slice(x, reversed ? kSteps - 1 - t : t), t));
    return packed_merges(std::move(results), axis);
  }
  bool packed_merges(std::vector<Id> results, int64_t axis = 0) {
    const Applied applied = apply_pass("MergeSteps", b.output(b.op(Op::kPack, results, ir::AxisAttrs{axis})).build());
    EXPECT_EQ(applied.result.changes > 0, count(applied.graph, Op::kPack) == 0) << to_string(applied.graph);
    if (applied.result.changes > 0) {
      EXPECT_EQ(count(applied.graph, Op::kStridedSlice), 0) << to_string(applied.graph);
    }
    return applied.result.changes > 0;
  }
  Id dense(Id v) { return b.add(b.matmul(v, weights), bias); }

  GraphBuilder b;
  Id x = b.input("x", {kSteps, -1, 6});
  Id weights = b.constant<float>({6, 4}, ramp(24));
  Id bias = b.constant<float>({4}, ramp(4));
};

TEST_F(MergedSteps, DenseLayers) {
  const Id second = b.constant<float>({4, 3}, ramp(12));
  EXPECT_TRUE(merges([&](Id v, int) { return b.matmul(b.relu(dense(v)), second); }));
}
TEST_F(MergedSteps, ProductBiasAndActivation) {
  EXPECT_TRUE(merges([&](Id v, int) { return b.relu(dense(v)); }));
}
TEST_F(MergedSteps, SlicesAlone) {
  EXPECT_TRUE(merges([&](Id v, int) { return v; }));
}
TEST_F(MergedSteps, TwoSlicesOfAStep) {
  const Id y = b.pointwise(P::kTanh, {x});
  EXPECT_TRUE(merges([&](Id v, int t) { return b.mul(dense(v), dense(slice(y, t))); }));
}
TEST_F(MergedSteps, UnpackedSteps) {
  std::vector<Id> results = b.ops(Op::kUnpack, {x}, kSteps, ir::UnpackAttrs{0});
  for (Id& v : results) v = dense(v);
  EXPECT_TRUE(packed_merges(results));
}
TEST_F(MergedSteps, UnpackedStepsOfAnotherOrderOrAxisStay) {
  std::vector<Id> results = b.ops(Op::kUnpack, {x}, kSteps, ir::UnpackAttrs{0});
  std::swap(results[1], results[2]);
  for (Id& v : results) v = dense(v);
  EXPECT_FALSE(packed_merges(results));
  std::vector<Id> columns = b.ops(Op::kUnpack, {b.input("square", {kSteps, kSteps})}, kSteps, ir::UnpackAttrs{1});
  for (Id& v : columns) v = b.relu(v);
  EXPECT_FALSE(packed_merges(columns));
}
TEST_F(MergedSteps, InputsStay) {
  std::vector<Id> inputs;
  for (int t = 0; t < kSteps; ++t) inputs.push_back(b.input("in" + std::to_string(t), {2, 3}));
  EXPECT_FALSE(packed_merges(inputs));
}
TEST_F(MergedSteps, StepsOfTwoSizesStay) {
  const Id y = b.input("y", {kSteps, 1, 6});
  x = b.input("z", {kSteps, 3, 6});
  const Id rows = b.constant<float>({3, 4}, ramp(12));
  EXPECT_FALSE(merges([&](Id v, int t) { return b.add(dense(t == 2 ? slice(y, t) : v), rows); }));
}
TEST_F(MergedSteps, TransposedSlicesStay) {
  x = b.input("turned", {kSteps, 2, 3});
  const Id other = b.constant<float>({2, 5}, ramp(10));
  EXPECT_FALSE(merges([&](Id v, int) { return b.matmul(v, other, true, false); }));
}
TEST_F(MergedSteps, SlicesOnTheRightStay) {
  x = b.input("right", {kSteps, 6, 2});
  const Id left = b.constant<float>({4, 6}, ramp(24));
  EXPECT_FALSE(merges([&](Id v, int) { return b.matmul(left, v); }));
}
TEST_F(MergedSteps, ProductsWithMatricesOfTheirOwnStay) {
  x = b.input("rows", {kSteps, 3, 6});
  const Id batched = b.constant<float>({3, 6, 4}, ramp(72));
  EXPECT_FALSE(merges([&](Id v, int) { return b.matmul(v, batched); }));
}
TEST_F(MergedSteps, FewStepsStay) {
  const Id y = b.input("y", {2, 3, 6});
  EXPECT_FALSE(packed_merges({dense(slice(y, 0)), dense(slice(y, 1))}));
}
TEST_F(MergedSteps, OtherOrderStays) {
  EXPECT_FALSE(merges([&](Id v, int) { return dense(v); }, 0, true));
}
TEST_F(MergedSteps, OtherAxisStays) {
  EXPECT_FALSE(merges([&](Id v, int) { return dense(v); }, 1));
}
TEST_F(MergedSteps, OtherWeightsStay) {
  EXPECT_FALSE(merges([&](Id v, int t) { return b.matmul(v, b.constant<float>({6, 4}, ramp(24, -1, float(t + 1)))); }));
}
TEST_F(MergedSteps, OtherWorkStays) {
  EXPECT_FALSE(merges([&](Id v, int t) { return t == 2 ? b.relu(dense(v)) : b.pointwise(P::kTanh, {dense(v)}); }));
}
TEST_F(MergedSteps, StepsThatOthersReadStay) {
  EXPECT_FALSE(merges([&](Id v, int t) {
    const Id result = dense(v);
    if (t == 1) b.output(b.pointwise(P::kTanh, {result}));
    return b.relu(result);
  }));
}
TEST_F(MergedSteps, RowsOfTheirOwnBesideAllStepsStay) {
  const Id rows = b.input("rows", {-1, 4});
  EXPECT_FALSE(merges([&](Id v, int) { return b.add(dense(v), rows); }));
}
TEST_F(MergedSteps, SlicesOfTwoTensorsStay) {
  const Id y = b.pointwise(P::kTanh, {x});
  EXPECT_FALSE(merges([&](Id v, int t) { return dense(t == 2 ? slice(y, t) : v); }));
}
TEST_F(MergedSteps, RowsOfAnotherKindAmongSlicesStay) {
  const Id rows = b.input("rows", {2, 6});
  x = b.input("z", {kSteps, 2, 6});
  EXPECT_FALSE(merges([&](Id v, int t) { return t == 2 ? rows : v; }));
}
TEST_F(MergedSteps, WholeTensorsStay) {
  EXPECT_FALSE(merges([&](Id, int) { return b.relu(x); }));
}
TEST_F(MergedSteps, NumbersStay) {
  x = b.input("numbers", {kSteps});
  EXPECT_FALSE(merges([&](Id v, int) { return b.relu(v); }));
}
TEST_F(MergedSteps, RowsOfNothingStay) {
  x = b.input("nothing", {kSteps, 2, 0});
  EXPECT_FALSE(merges([&](Id v, int) { return b.relu(v); }));
}
TEST_F(MergedSteps, PartOfTheStepsStays) {
  std::vector<Id> results;
  for (int t = 0; t + 1 < kSteps; ++t) results.push_back(dense(slice(x, t)));
  EXPECT_FALSE(packed_merges(results));
}
TEST_F(MergedSteps, SlicesThatKeepTheirAxisStay) {
  std::vector<Id> results;
  for (int t = 0; t < kSteps; ++t) results.push_back(b.relu(slice(x, t, 0)));
  EXPECT_FALSE(packed_merges(results));
}

}  // namespace
}  // namespace blade::testing
