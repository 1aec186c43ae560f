// RecognizeActivations and RecognizeNormalization: each function from its pieces, and what looks like one but is not.
#include <cmath>

#include "passes/pass_test_util.h"

namespace blade::testing {
namespace {

using Id = GraphBuilder::Id;

struct Recognition : ::testing::Test {
  // Cleanup first: patterns are written for clean graphs.
  ir::Graph recognized(Id out, const char* pass = "RecognizeActivations", double tolerance = 2e-6) {
    ir::Graph clean = apply_pass("AlgebraicCleanup", b.output(out).build()).graph;
    return apply_pass(pass, std::move(clean), tolerance).graph;
  }
  void expect_single(Id out, P op) {
    const ir::Graph graph = recognized(out);
    EXPECT_EQ(count(graph, op), 1) << ir::to_string(graph);
    EXPECT_EQ(num_nodes(graph), 1) << ir::to_string(graph);
  }
  void expect_none(Id out, P op) {
    const ir::Graph graph = recognized(out);
    EXPECT_EQ(count(graph, op), 0) << ir::to_string(graph);
  }
  Id neg(Id v) { return b.pointwise(P::kNeg, {v}); }
  Id u(P op, Id v) { return b.pointwise(op, {v}); }
  Id times(float s, Id v) { return b.mul(b.scalar(s), v); }
  Id plus(float s, Id v) { return b.add(v, b.scalar(s)); }
  Id by(float s, Id v) { return b.pointwise(P::kDiv, {v, b.scalar(s)}); }
  Id clip01(Id v) { return b.pointwise(P::kMinimum, {b.relu(v), b.scalar(1.0f)}); }
  Id gate(Id v) { return b.pointwise(P::kRelu6, {plus(3, v)}); }

  GraphBuilder b;
  Id x = b.input("x", {-1, 2, 4});
  Id slope = b.constant<float>({1, 4}, {0.1f, -0.2f, 0.3f, 2.0f});
};

TEST_F(Recognition, PReluWithNegatedSlope) { expect_single(b.add(b.relu(x), b.mul(slope, b.relu(neg(x)))), P::kPRelu); }
TEST_F(Recognition, PReluWithNegatedPart) {
  expect_single(b.add(b.mul(neg(b.relu(neg(x))), slope), b.relu(x)), P::kPRelu);
}
TEST_F(Recognition, PReluFromLimits) {
  const auto zero = b.scalar(0.0f);
  expect_single(b.add(b.pointwise(P::kMaximum, {zero, x}), b.mul(slope, b.pointwise(P::kMinimum, {zero, x}))),
                P::kPRelu);
}
TEST_F(Recognition, PReluFromAbs) {
  const auto part = times(0.5f, b.mul(slope, b.pointwise(P::kSub, {x, u(P::kAbs, x)})));
  expect_single(b.add(b.relu(x), part), P::kPRelu);
}
TEST_F(Recognition, PReluBySubtraction) {
  expect_single(b.pointwise(P::kSub, {b.relu(x), b.mul(slope, b.relu(neg(x)))}), P::kPRelu);
}
TEST_F(Recognition, NoPReluOfTwoInputs) {
  expect_none(b.add(b.relu(x), b.mul(slope, b.relu(neg(b.input("y", {-1, 2, 4}))))), P::kPRelu);
}
TEST_F(Recognition, LeakyReluFromScalarSlope) {
  expect_single(b.add(b.relu(x), times(-0.2f, b.relu(neg(x)))), P::kLeakyRelu);
}
TEST_F(Recognition, LeakyReluFromMaximum) {
  expect_single(b.pointwise(P::kMaximum, {x, times(0.2f, x)}), P::kLeakyRelu);
}
TEST_F(Recognition, NoLeakyReluFromSteepMaximum) {
  expect_none(b.pointwise(P::kMaximum, {x, times(1.2f, x)}), P::kLeakyRelu);
}
TEST_F(Recognition, LeakyReluFromSelect) {
  expect_single(b.pointwise(P::kSelect, {b.pointwise(P::kGreater, {x, b.scalar(0.0f)}), x, times(0.3f, x)}),
                P::kLeakyRelu);
}

TEST_F(Recognition, LeakyReluFromSelectOfNegatives) {
  expect_single(b.pointwise(P::kSelect, {b.pointwise(P::kLess, {x, b.scalar(0.0f)}), times(0.3f, x), x}),
                P::kLeakyRelu);
}
TEST_F(Recognition, NoLeakyReluFromSelectTheOtherWay) {
  expect_none(b.pointwise(P::kSelect, {b.pointwise(P::kLess, {x, b.scalar(0.0f)}), x, times(0.3f, x)}), P::kLeakyRelu);
}
TEST_F(Recognition, LeakyReluFromRestAndPart) {
  const auto part = times(0.1f, x);
  expect_single(b.add(b.relu(b.pointwise(P::kSub, {x, part})), part), P::kLeakyRelu);
}
TEST_F(Recognition, NoLeakyReluFromRestAndNegativePart) {
  const auto part = times(-0.1f, x);
  expect_none(b.add(b.relu(b.pointwise(P::kSub, {x, part})), part), P::kLeakyRelu);
}
TEST_F(Recognition, LeakyReluFromAbs) {
  expect_single(b.add(times(0.55f, x), times(0.45f, u(P::kAbs, x))), P::kLeakyRelu);
}
TEST_F(Recognition, NoLeakyReluFromAbsOfAnotherSum) {
  expect_none(b.add(times(0.5f, x), times(0.45f, u(P::kAbs, x))), P::kLeakyRelu);
}

TEST_F(Recognition, HardSwish) { expect_single(times(1.0f / 6.0f, b.mul(x, gate(x))), P::kHardSwish); }
TEST_F(Recognition, HardSwishWithScaledInput) { expect_single(b.mul(times(1.0f / 6.0f, x), gate(x)), P::kHardSwish); }
TEST_F(Recognition, HardSwishWithScaledGate) { expect_single(b.mul(x, times(1.0f / 6.0f, gate(x))), P::kHardSwish); }
TEST_F(Recognition, HardSwishWithDivision) {
  expect_single(b.pointwise(P::kDiv, {b.mul(x, gate(x)), b.scalar(6.0f)}), P::kHardSwish);
}
TEST_F(Recognition, HardSwishOfNearlyASixth) {
  expect_single(b.mul(times(0.1666259765625f, x), gate(x)), P::kHardSwish);
}
TEST_F(Recognition, NearlyASixthOfTheGate) {
  const ir::Graph graph = recognized(b.mul(times(0.1666259765625f, gate(x)), x));
  EXPECT_EQ(count(graph, P::kHardSwish), 1);
  EXPECT_EQ(count(graph, P::kHardSigmoid), 0);
}
TEST_F(Recognition, HardSigmoid) { expect_single(times(1.0f / 6.0f, gate(x)), P::kHardSigmoid); }
TEST_F(Recognition, HardSigmoidFromClip) {
  expect_single(b.pointwise(P::kMinimum, {b.relu(plus(0.5f, times(0.2f, x))), b.scalar(1.0f)}), P::kHardSigmoid);
}

TEST_F(Recognition, HardSigmoidOfADividedGate) { expect_single(by(6, gate(x)), P::kHardSigmoid); }
TEST_F(Recognition, HardSigmoidOfADividedInput) { expect_single(clip01(plus(0.5f, by(6, x))), P::kHardSigmoid); }
TEST_F(Recognition, HardSigmoidOfADividedSum) { expect_single(clip01(by(6, plus(3, x))), P::kHardSigmoid); }
TEST_F(Recognition, HardSwishFromClip) { expect_single(b.mul(x, clip01(plus(0.5f, by(6, x)))), P::kHardSwish); }
TEST_F(Recognition, HardSwishFromClipOfADividedSum) {
  expect_single(b.mul(clip01(by(6, plus(3, x))), x), P::kHardSwish);
}
TEST_F(Recognition, HardSwishFromClipOfRoundedSixth) {
  expect_single(b.mul(clip01(plus(0.5f, times(0.1666667f, x))), x), P::kHardSwish);
}
TEST_F(Recognition, NoHardSwishOfAnotherSlope) {
  expect_none(b.mul(clip01(plus(0.5f, times(0.2f, x))), x), P::kHardSwish);
}
TEST_F(Recognition, SwishFromQuotient) {
  expect_single(b.pointwise(P::kDiv, {x, plus(1, u(P::kExp, neg(x)))}), P::kSwish);
}
TEST_F(Recognition, NoSwishFromQuotientOfAnotherValue) {
  expect_none(b.pointwise(P::kDiv, {b.relu(x), plus(1, u(P::kExp, neg(x)))}), P::kSwish);
}
TEST_F(Recognition, NoSwishFromQuotientOfTheOtherSign) {
  expect_none(b.pointwise(P::kDiv, {x, plus(1, u(P::kExp, x))}), P::kSwish);
}
TEST_F(Recognition, Swish) { expect_single(b.mul(u(P::kSigmoid, x), x), P::kSwish); }
TEST_F(Recognition, NoSwishOfSharedSigmoid) {
  const auto s = u(P::kSigmoid, x);
  b.output(s);
  expect_none(b.mul(s, x), P::kSwish);
}
TEST_F(Recognition, GeluErf) {
  expect_single(b.mul(times(0.5f, x), plus(1, u(P::kErf, b.pointwise(P::kDiv, {x, b.scalar(1.41421356f)})))),
                P::kGeluErf);
}
TEST_F(Recognition, GeluErfc) {
  expect_single(b.mul(times(0.5f, x), u(P::kErfc, times(0.70710678f, neg(x)))), P::kGeluErf);
}
TEST_F(Recognition, NoGeluOfErfcOfTheOtherSign) {
  expect_none(b.mul(times(0.5f, x), u(P::kErfc, times(0.70710678f, x))), P::kGeluErf);
}
TEST_F(Recognition, GeluErfScaledGate) {
  expect_single(b.mul(x, times(0.5f, plus(1, u(P::kErf, times(0.70710678f, x))))), P::kGeluErf);
}
TEST_F(Recognition, NoGeluOfAnotherScale) {
  expect_none(b.mul(times(0.5f, x), plus(1, u(P::kErf, times(0.7f, x)))), P::kGeluErf);
}
TEST_F(Recognition, GeluTanh) {
  const auto cube = b.pointwise(P::kPow, {x, b.scalar(3.0f)});
  const auto inner = times(static_cast<float>(std::sqrt(2 / M_PI)), b.add(x, times(0.044715f, cube)));
  expect_single(b.mul(times(0.5f, x), plus(1, u(P::kTanh, inner))), P::kGeluTanh);
}
TEST_F(Recognition, GeluTanhFactored) {
  const auto inner = b.mul(times(static_cast<float>(std::sqrt(2 / M_PI)), x), plus(1, times(0.044715f, b.mul(x, x))));
  expect_single(b.mul(x, times(0.5f, plus(1, u(P::kTanh, inner)))), P::kGeluTanh);
}
TEST_F(Recognition, Softplus) { expect_single(u(P::kLog, plus(1, u(P::kExp, x))), P::kSoftplus); }
TEST_F(Recognition, SigmoidFromExp) {
  expect_single(b.pointwise(P::kDiv, {b.scalar(1.0f), plus(1, u(P::kExp, neg(x)))}), P::kSigmoid);
}
TEST_F(Recognition, Softsign) { expect_single(b.pointwise(P::kDiv, {x, plus(1, u(P::kAbs, x))}), P::kSoftsign); }

struct Normalization : Recognition {
  Id mean(Id v, std::vector<int64_t> axes = {2}) {
    return b.op(Op::kReduce, {v}, ir::ReduceAttrs{ir::ReduceKind::kMean, std::move(axes), true});
  }
  Id sub(Id a, Id c) { return b.pointwise(P::kSub, {a, c}); }
  Id div(Id a, Id c) { return b.pointwise(P::kDiv, {a, c}); }
  ir::Graph normalized(Id out) { return recognized(out, "RecognizeNormalization", 1e-5); }
  Id gamma = b.constant<float>({4}, {1, 0.5f, -1, 2}), beta = b.constant<float>({4}, {0.1f, 0.2f, 0.3f, 0.4f});
};

TEST_F(Normalization, LayerNormFromMoments) {
  const auto m = mean(x), variance = mean(b.pointwise(P::kSquaredDifference, {x, m}));
  const auto scale = b.mul(u(P::kRsqrt, plus(1e-3f, variance)), gamma);
  const ir::Graph graph = normalized(b.add(b.mul(x, scale), sub(beta, b.mul(m, scale))));
  EXPECT_EQ(num_nodes(graph), 1) << ir::to_string(graph);
  EXPECT_EQ(only(graph, Op::kLayerNorm).get<ir::LayerNormAttrs>().epsilon, 1e-3f);
}
// As Keras 3 writes it: x * scale + (-mean * scale + beta).
struct NegatedMean : Normalization {
  Id inv_of(Id m) { return u(P::kRsqrt, plus(1e-3f, mean(b.pointwise(P::kSquaredDifference, {x, m})))); }
  Id m = mean(x), inv = inv_of(m), scale = b.mul(inv, gamma);
  Id sum(Id shift) { return b.add(b.mul(x, scale), b.add(shift, beta)); }
};
TEST_F(NegatedMean, IsALayerNorm) { EXPECT_EQ(num_nodes(normalized(sum(b.mul(neg(m), scale)))), 1); }
TEST_F(NegatedMean, WithoutParameters) {
  EXPECT_EQ(num_nodes(normalized(b.add(b.mul(x, inv), b.mul(neg(m), inv)))), 1);
}
TEST_F(NegatedMean, OfAnotherIsNone) {
  EXPECT_EQ(count(normalized(sum(b.mul(neg(mean(b.relu(x))), scale))), Op::kLayerNorm), 0);
}
TEST_F(NegatedMean, NotNegatedIsNone) { EXPECT_EQ(count(normalized(sum(b.mul(m, scale))), Op::kLayerNorm), 0); }

TEST_F(Normalization, LayerNormFromCentered) {
  const auto centered = sub(x, mean(x));
  const auto deviation = u(P::kSqrt, plus(1e-3f, mean(b.mul(centered, centered))));
  const ir::Graph graph = normalized(b.add(b.mul(div(centered, deviation), gamma), beta));
  EXPECT_EQ(num_nodes(graph), 1) << ir::to_string(graph);
}
TEST_F(Normalization, LayerNormWithoutParameters) {
  const auto m = mean(x);
  const auto inv = u(P::kRsqrt, plus(1e-3f, mean(b.pointwise(P::kSquaredDifference, {x, m}))));
  EXPECT_EQ(num_nodes(normalized(b.mul(sub(x, m), inv))), 1);
}
TEST_F(Normalization, NoLayerNormOverOtherAxes) {
  const auto m = mean(x, {1});
  const auto inv = u(P::kRsqrt, plus(1e-3f, mean(b.pointwise(P::kSquaredDifference, {x, m}), {1})));
  EXPECT_EQ(count(normalized(b.add(b.mul(b.mul(sub(x, m), inv), gamma), beta)), Op::kLayerNorm), 0);
}
TEST_F(Normalization, NoLayerNormWithAnotherMean) {
  const auto m = mean(x), other = mean(b.relu(x));
  const auto inv = u(P::kRsqrt, plus(1e-3f, mean(b.pointwise(P::kSquaredDifference, {x, m}))));
  EXPECT_EQ(count(normalized(b.add(b.mul(b.mul(sub(x, other), inv), gamma), beta)), Op::kLayerNorm), 0);
}
TEST_F(Normalization, MomentsOverOtherAxes) {
  const auto m = mean(x, {1});
  const auto inv = u(P::kRsqrt, plus(1e-3f, mean(b.pointwise(P::kSquaredDifference, {x, m}), {1})));
  const ir::Graph graph = recognized(b.mul(sub(x, m), inv), "RecognizeMoments", 1e-5);
  EXPECT_EQ(only(graph, Op::kMoments).get<ir::AxesAttrs>().axes, std::vector<int64_t>{1});
  EXPECT_EQ(count(graph, Op::kReduce), 0);
}
TEST_F(Normalization, MomentsFromCentered) {
  const auto centered = sub(x, mean(x, {2, 0}));
  const auto variance = mean(u(P::kSquare, centered), {0, 2});
  const ir::Graph graph = recognized(div(centered, u(P::kSqrt, plus(1e-3f, variance))), "RecognizeMoments", 1e-5);
  EXPECT_EQ(count(graph, Op::kMoments), 1) << ir::to_string(graph);
}
TEST_F(Normalization, NoMomentsAroundTheMeanOfAnother) {
  const auto spread = mean(b.pointwise(P::kSquaredDifference, {x, mean(b.relu(x))}));
  EXPECT_EQ(count(recognized(b.relu(spread), "RecognizeMoments", 1e-5), Op::kMoments), 0);
}
TEST_F(Normalization, NoMomentsOfOtherTypesOrShapes) {
  const auto y = b.input("y", {3, 4}, ir::DType::kFloat64);
  b.output(b.relu(mean(b.pointwise(P::kSquaredDifference, {y, mean(y, {1})}), {1})));
  const auto flat = b.op(Op::kReduce, {b.pointwise(P::kSquaredDifference, {x, mean(x)})},
                         ir::ReduceAttrs{ir::ReduceKind::kMean, {2}, false});
  b.output(b.relu(flat));
  ir::Graph graph = b.build();
  const auto result = find_pass("RecognizeMoments").run(graph, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->changes, 0);
}
TEST_F(Normalization, MomentsThatAreResultsStayResults) {
  for (const bool of_mean : {false, true}) {
    const auto y = b.input("y", {3, 4}), m = mean(y, {1});
    const auto variance = mean(b.pointwise(P::kSquaredDifference, {y, m}), {1});
    b.output(of_mean ? m : variance);
    EXPECT_EQ(count(recognized(b.add(m, b.relu(variance)), "RecognizeMoments", 1e-5), Op::kMoments), 0);
  }
}
TEST_F(Normalization, NoMomentsOnADevice) {
  passes::PassOptions options;
  options.on_device = true;
  b.output(b.relu(mean(b.pointwise(P::kSquaredDifference, {x, mean(x)}))));
  EXPECT_EQ(apply_pass("RecognizeMoments", b.build(), 1e-5, options).result.changes, 0);
}
TEST_F(Normalization, NoMomentsOverManyRunsOfAxes) {
  const auto y = b.input("y", {2, 3, 4, 5, 2});
  for (const std::vector<int64_t>& axes : {std::vector<int64_t>{0, 2}, {0, 2, 4}}) {
    const auto variance = mean(b.pointwise(P::kSquaredDifference, {y, mean(y, axes)}), axes);
    b.output(b.relu(variance));
  }
  EXPECT_EQ(count(apply_pass("RecognizeMoments", b.build()).graph, Op::kMoments), 0);
}
TEST_F(Normalization, NoMomentsOfUnknownRank) {
  const auto y = b.input_of_unknown_rank("y");
  b.output(b.relu(mean(b.pointwise(P::kSquaredDifference, {y, mean(y, {1})}), {1})));
  ir::Graph graph = b.build();
  const auto result = find_pass("RecognizeMoments").run(graph, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->changes, 0);
}
TEST_F(Normalization, NoMomentsOverDifferentAxes) {
  const auto variance = mean(b.pointwise(P::kSquaredDifference, {x, mean(x, {1})}), {2});
  EXPECT_EQ(count(recognized(b.relu(variance), "RecognizeMoments", 1e-5), Op::kMoments), 0);
}
TEST_F(Normalization, NoMomentsAroundAMaximum) {
  const auto largest = b.op(Op::kReduce, {x}, ir::ReduceAttrs{ir::ReduceKind::kMax, {2}, true});
  const auto spread = mean(b.pointwise(P::kSquaredDifference, {x, largest}));
  EXPECT_EQ(count(recognized(b.relu(spread), "RecognizeMoments", 1e-5), Op::kMoments), 0);
}
TEST_F(Normalization, LayerNormTakesWhatScalesAndShiftsItsResult) {
  const auto norm = b.op(Op::kLayerNorm, {x, gamma, beta}, ir::LayerNormAttrs{1e-3f});
  const auto scaled = b.mul(norm, b.constant<float>({4}, {2, 3, 4, 5}));
  EXPECT_EQ(num_nodes(normalized(b.add(scaled, b.constant<float>({4}, {1, 2, 3, 4})))), 1);
}
TEST_F(Normalization, LayerNormTakesThemFromBehindAReshape) {
  const auto rows = b.op(Op::kReshape, {x, b.constant<int64_t>({2}, {-1, 4})});
  const auto norm = b.op(Op::kLayerNorm, {rows, gamma, beta}, ir::LayerNormAttrs{1e-3f});
  const auto back = b.op(Op::kReshape, {norm, b.constant<int64_t>({3}, {-1, 1, 4})});
  const ir::Graph graph = normalized(b.add(b.mul(back, gamma), beta));
  EXPECT_EQ(count(graph, Op::kPointwise), 0) << ir::to_string(graph);
}
TEST_F(Normalization, LayerNormKeepsWhatOthersReadOrDiffersByRow) {
  const auto norm = b.op(Op::kLayerNorm, {x, gamma, beta}, ir::LayerNormAttrs{1e-3f});
  b.output(norm);
  EXPECT_EQ(count(normalized(b.mul(norm, gamma)), Op::kPointwise), 1);
}
TEST_F(Normalization, Softmax) {
  const auto e = u(P::kExp, sub(x, b.op(Op::kReduce, {x}, ir::ReduceAttrs{ir::ReduceKind::kMax, {2}, true})));
  EXPECT_EQ(num_nodes(normalized(div(e, b.op(Op::kReduce, {e}, ir::ReduceAttrs{ir::ReduceKind::kSum, {2}, true})))), 1);
}
TEST_F(Normalization, LogSoftmax) {
  const auto sum = b.op(Op::kReduce, {u(P::kExp, x)}, ir::ReduceAttrs{ir::ReduceKind::kSum, {2}, true});
  EXPECT_TRUE(only(normalized(sub(x, u(P::kLog, sum))), Op::kSoftmax).get<ir::SoftmaxAttrs>().log);
}
TEST_F(Normalization, NoSoftmaxOverOtherAxes) {
  const auto e = u(P::kExp, x);
  const auto sum = b.op(Op::kReduce, {e}, ir::ReduceAttrs{ir::ReduceKind::kSum, {1}, true});
  EXPECT_EQ(count(normalized(div(e, sum)), Op::kSoftmax), 0);
}

}  // namespace
}  // namespace blade::testing
