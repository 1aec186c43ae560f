// What the tiles for little work, patches and means take beside the shapes that other tests give them: curves behind a
// residual, and numbers that are not finite. Skipped where there is no card.
#include <limits>

#include "backends/cuda_rows.h"

namespace blade::backends {
namespace {

using Code = std::vector<ir::PointwiseInstr>;

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

struct Placed {
  int64_t at;
  float value;
};

// In float16, with some elements that are not finite.
ir::TensorPtr halved_with(const ir::TensorPtr& t, const std::vector<Placed>& placed) {
  std::vector<Float16> values;
  for (int64_t i = 0; i < t->element_count(); ++i) values.emplace_back(static_cast<float>(element(*t, i)));
  for (const Placed& p : placed) values[static_cast<size_t>(p.at)] = Float16(p.value);
  return tensor<Float16>(ir::DType::kFloat16, t->dims, values);
}

// conv(x) + bias + residual in float16, then `behind`, whose first instruction reads value 4.
Case residual_case(const std::string& name, const ir::Dims& x, const ir::Dims& w, const Code& behind) {
  ir::ConvAttrs attrs;
  attrs.strides = attrs.dilations = {1, 1};
  attrs.padding = ir::Padding::kSame;
  attrs.epilogue.num_inputs = 3;
  attrs.epilogue.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {ir::PointwiseOp::kAdd, 3, 2, -1, 0, 0}};
  attrs.epilogue.code.insert(attrs.epilogue.code.end(), behind.begin(), behind.end());
  const double scale = 1.5 / std::sqrt(static_cast<double>(w[0] * w[1] * w[2]));
  Case c = in_half({name, ir::Op::kConv, attrs, {random_floats(x), random_floats(w, -scale, scale)}, 1, 1, 4e-3});
  c.inputs.push_back(random_floats({w[3]}));
  c.inputs.push_back(halved(random_floats({x[0], x[1], x[2], w[3]})));
  c.variable_inputs |= 1u << 3;
  return c;
}

// By rows of warp groups, where there are any.
void check_groups(const std::vector<Case>& cases, const std::string& part) {
  if (cuda_device().ok() && !has_warp_groups()) GTEST_SKIP() << "needs compute capability 9.0";
  check_rows(cases, part);
}

// Depths that every split takes, channels that fill no eight: results in quads, of which the last column tile has few.
TEST(CudaShortPath, CurvesBehindAResidual) {
  std::vector<Case> cases;
  for (const auto op : {ir::PointwiseOp::kLeakyRelu, ir::PointwiseOp::kSigmoid, ir::PointwiseOp::kSwish,
                        ir::PointwiseOp::kHardSwish, ir::PointwiseOp::kGeluErf, ir::PointwiseOp::kGeluTanh}) {
    const bool has_factor = op == ir::PointwiseOp::kLeakyRelu || op == ir::PointwiseOp::kHardSwish;
    const Code behind = {{op, 4, -1, -1, has_factor ? 0.3f : 0.0f, 0},
                         {ir::PointwiseOp::kClip, 5, -1, -1, -0.25f, 0.75f}};
    const std::string name = ir::pointwise_name(op);
    cases.push_back(residual_case(name + "_64", {1, 9, 11, 64}, {3, 3, 64, 76}, behind));
    cases.push_back(residual_case(name + "_512", {1, 9, 11, 512}, {1, 1, 512, 140}, behind));
  }
  check_all(cases);
  check_groups(cases, "plain_wgmma");
}

// Of 9 x 11 pixels; where windows and residuals meet, infinities of both signs do.
Case case_of_no_numbers(int64_t depth, int64_t kernel, bool with_relu) {
  constexpr int64_t kChannels = 76;
  const Code behind = with_relu ? Code{{ir::PointwiseOp::kRelu, 4, -1, -1, 0, 0}} : Code{};
  Case c = residual_case("no_numbers_" + std::to_string(depth) + (with_relu ? "_relu" : ""), {1, 9, 11, depth},
                         {kernel, kernel, depth, kChannels}, behind);
  c.inputs[0] = halved_with(c.inputs[0], {{0, kNaN}, {49 * depth + 5, kInfinity}, {97 * depth + 9, -kInfinity}});
  c.inputs[3] = halved_with(c.inputs[3], {{20 * kChannels + 1, kNaN},
                                          {21 * kChannels + 2, kInfinity},
                                          {22 * kChannels + 75, -kInfinity},
                                          {49 * kChannels, -kInfinity},
                                          {49 * kChannels + 1, -kInfinity},
                                          {49 * kChannels + 2, kInfinity}});
  return c;
}

TEST(CudaShortPath, WhatIsNotFinite) {
  std::vector<Case> plain, patches;
  for (const bool with_relu : {false, true}) {
    plain.push_back(case_of_no_numbers(512, 1, with_relu));
    patches.push_back(case_of_no_numbers(64, 3, with_relu));
    patches.push_back(case_of_no_numbers(128, 3, with_relu));
  }
  check_groups(plain, "plain_wgmma");
  check_groups(patches, "plain_wgmma");
  check_groups(patches, "patch_wgmma");
}

TEST(CudaShortPath, MeansOfWhatIsNotFinite) {
  constexpr int64_t kDepth = 192, kChannels = 72;
  std::vector<PairCase> pairs;
  const auto add = [&](const std::vector<Placed>& x, const std::vector<Placed>& residual, bool with_relu) {
    const Code behind = with_relu ? Code{{ir::PointwiseOp::kRelu, 4, -1, -1, 0, 0}} : Code{};
    PairCase pair;
    pair.first = residual_case("no_numbers", {1, 7, 7, kDepth}, {1, 1, kDepth, kChannels}, behind);
    pair.first.inputs[0] = halved_with(pair.first.inputs[0], x);
    pair.first.inputs[3] = halved_with(pair.first.inputs[3], residual);
    ir::ReduceAttrs mean;
    mean.kind = ir::ReduceKind::kMean;
    mean.axes = {1, 2};
    pair.second = {"mean_" + std::to_string(pairs.size()), ir::Op::kReduce, mean, {nullptr}, 1, 1, 4e-3};
    pair.is_taken = has_warp_groups();
    pairs.push_back(pair);
  };
  for (const bool with_relu : {false, true}) {
    for (const float value : {kNaN, kInfinity, -kInfinity}) add({{5 * kDepth + 7, value}}, {}, with_relu);
    add({}, {{kChannels, kNaN}, {48 * kChannels + 9, kInfinity}, {3 * kChannels + 71, -kInfinity}}, with_relu);
  }
  check_pairs(pairs);
}

}  // namespace
}  // namespace blade::backends
