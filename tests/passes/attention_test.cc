// RecognizeAttention: the forms in which it is written, and look-alikes.
#include "backends/cuda/kernels/attention.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "passes/pass_test_util.h"

namespace blade::testing {
namespace {

using Id = GraphBuilder::Id;
using Perm = std::vector<int64_t>;

struct Attention : ::testing::Test {
  GraphBuilder b;
  Id transpose(Id x, Perm perm) { return b.op(Op::kTranspose, {x}, ir::PermAttrs{std::move(perm)}); }
  Id softmax(Id x) { return b.op(Op::kSoftmax, {x}, ir::SoftmaxAttrs{false}); }
  Id times(float factor, Id x) { return b.pointwise(P::kAffine, {x}, factor, 0); }
  ir::Graph recognized(Id out) { return apply_pass("RecognizeAttention", b.output(out).build(), 1e-5).graph; }
};

TEST_F(Attention, WithHeadsInRowsScaleAndMask) {
  const Id q = b.input("q", {2, 5, 3, 4}), k = b.input("k", {2, 6, 3, 4}), v = b.input("v", {2, 6, 3, 4});
  const Id mask = b.input("mask", {2, 1, 1, 6});
  const Perm heads = {0, 2, 1, 3};
  const Id scores = b.matmul(transpose(q, heads), transpose(k, heads), false, true);
  const Id out = b.matmul(softmax(b.add(times(0.5f, scores), mask)), transpose(v, heads));
  const ir::Graph graph = recognized(transpose(out, heads));
  ASSERT_EQ(num_nodes(graph), 1) << ir::to_string(graph);
  const auto& attrs = only(graph, Op::kAttention).get<ir::AttentionAttrs>();
  EXPECT_EQ(attrs.scale, 0.5f);
  EXPECT_EQ(attrs.query_perm, heads);
  EXPECT_EQ(attrs.output_perm, heads);
}

// What a device's rows do not take stays in pieces that they do.
TEST_F(Attention, OnADeviceOfShortRows) {
  passes::PassOptions options;
  options.on_device = true;
  constexpr int64_t kMost = backends::cuda::kMostAttentionDepth;
  for (const auto& [depth, width] : {std::array<int64_t, 2>{kMost, 64}, {kMost + 1, 64}, {64, kMost + 8}}) {
    GraphBuilder g;
    const Id q = g.input("q", {2, 5, depth}), k = g.input("k", {2, 6, depth}), v = g.input("v", {2, 6, width});
    const Id weights = g.op(Op::kSoftmax, {g.matmul(q, k, false, true)}, ir::SoftmaxAttrs{false});
    const ir::Graph graph = g.output(g.matmul(weights, v)).build();
    EXPECT_EQ(count(apply_pass("RecognizeAttention", graph.clone(), 1e-5).graph, Op::kAttention), 1);
    EXPECT_EQ(count(apply_pass("RecognizeAttention", graph.clone(), 1e-5, options).graph, Op::kAttention),
              depth == kMost ? 1 : 0);
  }
}

TEST_F(Attention, OfTransposedKeysWithoutHeads) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 4, 6}), v = b.input("v", {2, 6, 7});
  const ir::Graph graph = recognized(b.matmul(softmax(b.matmul(q, k)), v));
  ASSERT_EQ(num_nodes(graph), 1) << ir::to_string(graph);
  EXPECT_EQ(only(graph, Op::kAttention).get<ir::AttentionAttrs>().key_perm, (Perm{0, 2, 1}));
}

TEST_F(Attention, WithACausalCondition) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 5, 4}), v = b.input("v", {2, 5, 7});
  const Id scores = times(0.5f, b.matmul(q, k, false, true));
  std::vector<uint8_t> lower(25);
  for (int i = 0; i < 25; ++i) lower[i] = i % 5 <= i / 5;
  const Id causal = b.constant<uint8_t>({5, 5}, lower);
  const Id kept =
      b.pointwise(P::kSelect, {b.op(Op::kCast, {causal}, ir::CastAttrs{ir::DType::kBool}), scores, b.scalar(-3e38f)});
  const ir::Graph graph = recognized(b.matmul(softmax(kept), v));
  EXPECT_EQ(num_nodes(graph), 3) << ir::to_string(graph);  // the cast, the mask
  EXPECT_EQ(count(graph, Op::kAttention), 1);
}

// Whether batches are equal or repeat may be known only when they are.
TEST_F(Attention, WithOperandsAndMasksOverOtherBatches) {
  const std::vector<ir::Dims> batches = {{-1, -1, -1, -1}, {3, 1, 3, 1}, {1, 3, 3, 1}, {1, 1, 3, 3}, {1, 1, 1, 3}};
  for (const ir::Dims& of : batches) {
    GraphBuilder g;
    const Id q = g.input("q", {of[0], 5, 4}), k = g.input("k", {of[1], 6, 4}), v = g.input("v", {of[2], 6, 7});
    const Id scores = g.add(g.matmul(q, k, false, true), g.input("mask", {of[3], 1, 6}));
    const Id out = g.matmul(g.op(Op::kSoftmax, {scores}, ir::SoftmaxAttrs{false}), v);
    EXPECT_EQ(count(apply_pass("RecognizeAttention", g.output(out).build(), 1e-5).graph, Op::kAttention), 1);
  }
}

TEST_F(Attention, WithAMaskThatRepeatsQueries) {
  const Id q = b.input("q", {2, 1, 4}), k = b.input("k", {2, 5, 4}), v = b.input("v", {2, 5, 7});
  const Id scores = b.add(b.matmul(q, k, false, true), b.input("mask", {6, 5}));
  EXPECT_EQ(count(recognized(b.matmul(softmax(scores), v)), Op::kAttention), 1);
}

TEST_F(Attention, NotWhereValuesAloneRepeat) {
  const Id q = b.input("q", {1, 5, 4}), k = b.input("k", {1, 5, 4}), v = b.input("v", {2, 5, 7});
  EXPECT_EQ(count(recognized(b.matmul(softmax(b.matmul(q, k, false, true)), v)), Op::kAttention), 0);
}

TEST_F(Attention, OfAProductOfKeysAndQueries) {
  const Perm heads = {0, 2, 1, 3};
  for (const bool by_rows : {false, true}) {
    GraphBuilder g;
    const auto transposed = [&](Id x, Perm perm) { return g.op(Op::kTranspose, {x}, ir::PermAttrs{std::move(perm)}); };
    const Id q = g.input("q", {2, 5, 3, 4}), k = g.input("k", {2, 6, 3, 4}), v = g.input("v", {2, 6, 3, 7});
    const Id queries = transposed(q, by_rows ? heads : Perm{0, 2, 3, 1});
    const Id scores = transposed(g.matmul(transposed(k, heads), queries, false, by_rows), {0, 1, 3, 2});
    const Id out = g.matmul(g.op(Op::kSoftmax, {scores}, ir::SoftmaxAttrs{false}), transposed(v, heads));
    EXPECT_EQ(count(apply_pass("RecognizeAttention", g.output(out).build(), 1e-5).graph, Op::kAttention), 1);
  }
}

// (x + m) - n with an n that takes back what was added: nothing of x is left there, in the node as well.
TEST_F(Attention, KeepsTheOrderOfWhatCancels) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 3, 4}), v = b.input("v", {2, 3, 7});
  const Id large = b.constant<float>({1, 3}, {-8, 0, -8}), some = b.constant<float>({1, 3}, {-8, 0, 0});
  const Id scores = b.pointwise(P::kSub, {b.add(b.matmul(q, k, false, true), large), some});
  const ir::Graph graph = recognized(b.matmul(softmax(scores), v));
  EXPECT_EQ(only(graph, Op::kAttention).inputs.size(), 5u);
}

TEST_F(Attention, NotOfThreeMasksThatMayCancel) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 3, 4}), v = b.input("v", {2, 3, 7});
  const Id m = b.input("m", {3}), n = b.input("n", {5, 1});
  const Id scores = b.pointwise(P::kSub, {b.add(b.add(b.matmul(q, k, false, true), m), n), m});
  EXPECT_EQ(count(recognized(b.matmul(softmax(scores), v)), Op::kAttention), 0);
}

TEST_F(Attention, NotOfScoresTransposedOtherwise) {
  const Id q = b.input("q", {3, 3, 5, 4}), k = b.input("k", {3, 3, 5, 4}), v = b.input("v", {3, 3, 5, 7});
  const Id scores = transpose(b.matmul(q, k, false, true), {1, 0, 2, 3});
  EXPECT_EQ(count(recognized(b.matmul(softmax(scores), v)), Op::kAttention), 0);
}

// As transformers have it that keep a causal and a padding mask apart: (x * b - c * (1 - b) + mask) / 2, and deeper
// nests.
TEST_F(Attention, WithMasksAddedAndReplacing) {
  for (int form = 0; form < 6; ++form) {
    GraphBuilder g;
    const Id q = g.input("q", {2, 5, 4}), k = g.input("k", {2, 6, 4}), v = g.input("v", {2, 6, 7});
    const auto condition = [&](ir::Dims dims, const std::vector<uint8_t>& of) {
      return g.op(Op::kCast, {g.constant<uint8_t>(std::move(dims), of)}, ir::CastAttrs{ir::DType::kBool});
    };
    const Id other = condition({6}, {1, 0, 1, 0, 1, 1});
    const Id number = g.op(Op::kCast, {condition({5, 1}, {1, 0, 1, 0, 0})}, ir::CastAttrs{ir::DType::kFloat32});
    const Id x = g.matmul(q, k, false, true), mask = g.input("mask", {2, 1, 6});
    const auto scaled = [&](float factor, Id of) { return g.pointwise(P::kAffine, {of}, factor, 0); };
    const auto by_number = [&](Id of) {
      return g.pointwise(P::kSub, {g.mul(of, number), g.pointwise(P::kAffine, {number}, -3, 3)});
    };
    const auto kept = [&](Id of, float fill) { return g.pointwise(P::kSelect, {other, of, g.scalar(fill)}); };
    const auto gone = [&](Id of, float fill) { return g.pointwise(P::kSelect, {other, g.scalar(fill), of}); };
    const Id scores = form == 0   ? scaled(0.5f, g.add(by_number(x), mask))
                      : form == 1 ? by_number(g.add(x, mask))
                      : form == 2 ? by_number(kept(x, -2))
                      : form == 3 ? kept(by_number(g.add(scaled(2, x), mask)), 2)
                      : form == 4 ? gone(g.add(mask, kept(x, -1)), -3)
                                  : g.pointwise(P::kSub, {scaled(3, gone(x, 1)), mask});
    const Id out = g.matmul(g.op(Op::kSoftmax, {scores}, ir::SoftmaxAttrs{false}), v);
    const ir::Graph graph = apply_pass("RecognizeAttention", g.output(out).build(), 1e-5).graph;
    EXPECT_EQ(count(graph, Op::kAttention), 1) << ir::to_string(graph);
  }
}

TEST_F(Attention, WithAConditionThatPartlyAlwaysHolds) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 6, 4}), v = b.input("v", {2, 6, 7});
  const Id some = b.op(Op::kCast, {b.constant<uint8_t>({6}, {1, 0, 1, 0, 1, 1})}, ir::CastAttrs{ir::DType::kBool});
  const uint8_t one = 1;
  const Id yes = b.graph().add_constant(ir::make_tensor<uint8_t>(ir::DType::kBool, {}, std::span(&one, 1)), "yes");
  const Id all = b.op(Op::kFill, {b.constant<int32_t>({3}, {2, 5, 6}), yes}, ir::EmptyAttrs{});
  const Id kept =
      b.pointwise(P::kSelect, {b.pointwise(P::kLogicalAnd, {all, some}), b.matmul(q, k, false, true), b.scalar(-3.0f)});
  EXPECT_EQ(count(recognized(b.matmul(softmax(kept), v)), Op::kAttention), 1);
}

// Unlike what is added, what stands in the place of scores of 100 leaves nothing of them.
TEST_F(Attention, WithAConditionForLargeScores) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 5, 4}), v = b.input("v", {2, 5, 7});
  const Id keep = b.op(Op::kCast, {b.constant<uint8_t>({5, 1}, {1, 0, 1, 0, 0})}, ir::CastAttrs{ir::DType::kBool});
  const Id scores = times(100, b.matmul(q, k, false, true));
  const Id kept = b.pointwise(P::kSelect, {keep, scores, b.scalar(-1e9f)});
  EXPECT_EQ(count(recognized(b.matmul(softmax(kept), v)), Op::kAttention), 1);
}

TEST_F(Attention, OverANumberWithTwoMasks) {
  const Id q = b.input("q", {2, 3, 5, 4}), k = b.input("k", {2, 3, 5, 4}), v = b.input("v", {2, 3, 5, 7});
  const Id scores = b.pointwise(P::kDiv, {b.matmul(q, k, false, true), b.scalar(3.3f)});
  const Id masked = b.add(b.input("samples", {2, 1, 1, 5}), b.add(scores, b.input("causal", {5, 5})));
  const ir::Graph graph = recognized(b.matmul(softmax(masked), v));
  EXPECT_EQ(num_nodes(graph), 1) << ir::to_string(graph);  // both masks, of different shapes, are its own
  EXPECT_EQ(only(graph, Op::kAttention).get<ir::AttentionAttrs>().scale, 1 / 3.3f);
}

TEST_F(Attention, WithTwoMasksOneOfAllScores) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 5, 4}), v = b.input("v", {2, 5, 7});
  const Id bias = b.add(b.matmul(q, k, false, true), b.input("bias", {2, 5, 5}));
  EXPECT_EQ(count(recognized(b.matmul(softmax(b.add(bias, b.input("mask", {5}))), v)), Op::kAttention), 1);
}

// Masks [heads, 5, 5] and [samples, 1, 1, 5] stay two, rather than becoming one of [samples, heads, 5, 5].
TEST_F(Attention, SumsMasksOnlyWhereThatIsCheap) {
  struct Case {
    int masks;
    bool constant, replaces;
    int nodes;
    ir::Dims bias;  // as the node reads it
  };
  const std::vector<Case> cases = {{2, false, false, 1, {1, 3, 5, 5}},
                                   {3, false, false, 2, {1, 3, 5, 5}},
                                   {2, true, false, 2, {2, 3, 5, 5}},
                                   {2, false, true, 4, {2, 3, 5, 5}}};
  for (const Case& c : cases) {
    GraphBuilder g;
    const auto input = [&](const std::string& name, ir::Dims dims) {
      return c.constant ? g.filled<float>(dims, 0.5f) : g.input(name, dims);
    };
    const Id q = g.input("q", {2, 3, 5, 4}), k = g.input("k", {2, 3, 5, 4}), v = g.input("v", {2, 3, 5, 7});
    Id scores = g.add(g.matmul(q, k, false, true), input("bias", {1, 3, 5, 5}));
    scores = g.add(input("samples", {2, 1, 1, 5}), scores);
    if (c.masks > 2) scores = g.add(scores, input("more", {2, 1, 1, 5}));
    const Id keep = g.input("keep", {5, 5}, ir::DType::kBool);
    if (c.replaces) scores = g.pointwise(P::kSelect, {keep, scores, g.scalar(-2.0f)});
    const Id out = g.matmul(g.op(Op::kSoftmax, {scores}, ir::SoftmaxAttrs{false}), v);
    const ir::Graph graph = apply_pass("RecognizeAttention", g.output(out).build(), 1e-5).graph;
    const ir::Node& node = only(graph, Op::kAttention);
    EXPECT_EQ(num_nodes(graph), c.nodes) << ir::to_string(graph);
    EXPECT_EQ(node.inputs.size(), c.constant ? 4u : 5u);
    EXPECT_EQ(graph.value(node.inputs[c.replaces ? 4 : 3]).shape, ir::Shape::of(c.bias)) << ir::to_string(graph);
  }
}

// The number that fills or divides repeats the scores.
TEST_F(Attention, NotWhereAFillOrADivisorEnlarges) {
  for (int form = 0; form < 4; ++form) {
    GraphBuilder g;
    const int64_t queries = form == 1 ? 1 : 4;
    const Id q = g.input("q", {1, 2, queries, 8}), k = g.input("k", {1, 2, 4, 8}), v = g.input("v", {1, 2, 4, 8});
    const Id x = g.matmul(q, k, false, true), keep = g.input("keep", {1, 1, queries, 4}, ir::DType::kBool);
    const auto fill = [&](ir::Dims dims) {
      return g.pointwise(P::kSelect, {keep, x, g.filled<float>(std::move(dims), -1e9f)});
    };
    const Id scores = form == 0   ? fill({3, 1, 1, 1})
                      : form == 1 ? fill({1, 1, 4, 1})
                      : form == 2 ? fill({1, 1, 1, 1, 1})
                                  : g.pointwise(P::kDiv, {x, g.filled<float>({1, 1, 1, 1, 1}, 2)});
    const Id out = g.matmul(g.op(Op::kSoftmax, {scores}, ir::SoftmaxAttrs{false}), v);
    EXPECT_EQ(count(apply_pass("RecognizeAttention", g.output(out).build(), 1e-5).graph, Op::kAttention), 0) << form;
  }
}

// What fills may be as large as the scores, whose batch may be unknown.
TEST_F(Attention, WithAFillOfTheScoresShape) {
  const Id q = b.input("q", {-1, 2, 4, 8}), k = b.input("k", {-1, 2, 4, 8}), v = b.input("v", {-1, 2, 4, 8});
  const Id keep = b.input("keep", {-1, 1, 4, 4}, ir::DType::kBool), fill = b.filled<float>({1, 2, 4, 4}, -1e9f);
  const Id scores = b.pointwise(P::kDiv, {b.matmul(q, k, false, true), b.filled<float>({1, 1}, 2)});
  const Id kept = b.pointwise(P::kSelect, {keep, scores, fill});
  EXPECT_EQ(count(recognized(b.matmul(softmax(kept), v)), Op::kAttention), 1);
}

// x * b - c * (1 - b) is not a number where x or c is infinite and multiplied by 0.
TEST_F(Attention, NotWithANumberThatMultipliesInfinity) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (int form = 0; form < 5; ++form) {
    GraphBuilder g;
    const Id q = g.input("q", {2, 5, 4}), k = g.input("k", {2, 3, 4}), v = g.input("v", {2, 3, 7});
    const Id keep = g.op(Op::kCast, {g.constant<uint8_t>({3}, {1, 0, 1})}, ir::CastAttrs{ir::DType::kBool});
    const Id condition =
        g.op(Op::kCast, {g.constant<uint8_t>({5, 1}, {1, 0, 1, 0, 0})}, ir::CastAttrs{ir::DType::kBool});
    const Id number = g.op(Op::kCast, {condition}, ir::CastAttrs{ir::DType::kFloat32});
    const auto filled = [&](Id x, float fill) { return g.pointwise(P::kSelect, {keep, x, g.scalar(fill)}); };
    const Id x = g.matmul(q, k, false, true);
    const Id inner = form == 0   ? filled(x, -infinity)
                     : form == 1 ? filled(x, std::nanf(""))
                     : form == 2 ? g.pointwise(P::kAffine, {filled(x, -3e38f)}, 10, 0)
                     : form == 3 ? g.add(x, g.constant<float>({3}, {0, -infinity, 0}))
                                 : x;
    const Id b = form == 4 ? g.constant<float>({3}, {1, 0, 1}) : number;
    const Id fill = form == 4 ? g.constant<float>({3}, {0, infinity, 0}) : g.pointwise(P::kAffine, {number}, -30, 30);
    const Id scores = g.pointwise(P::kSub, {g.mul(inner, b), fill});
    const Id out = g.matmul(g.op(Op::kSoftmax, {scores}, ir::SoftmaxAttrs{false}), v);
    EXPECT_EQ(count(apply_pass("RecognizeAttention", g.output(out).build(), 1e-5).graph, Op::kAttention), 0) << form;
  }
}

// x * b - c * (1 - b)
TEST_F(Attention, WithAConditionAsANumber) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 5, 4}), v = b.input("v", {2, 5, 7});
  const Id keep = b.op(Op::kCast, {b.constant<uint8_t>({5, 1}, {1, 0, 1, 0, 0})}, ir::CastAttrs{ir::DType::kBool});
  const Id number = b.op(Op::kCast, {keep}, ir::CastAttrs{ir::DType::kFloat32});
  const Id kept = b.mul(times(0.5f, b.matmul(q, k, false, true)), number);
  const Id scores = b.pointwise(P::kSub, {kept, b.pointwise(P::kAffine, {number}, -1e4f, 1e4f)});
  EXPECT_EQ(count(recognized(b.matmul(softmax(scores), v)), Op::kAttention), 1);
}

// As folding leaves b and c * (1 - b).
TEST_F(Attention, WithAConstantConditionAsANumber) {
  for (float fill : {1e4f, 1.5f}) {
    GraphBuilder g;
    const Id q = g.input("q", {2, 5, 4}), k = g.input("k", {2, 3, 4}), v = g.input("v", {2, 3, 7});
    const Id number = g.constant<float>({1, 1, 3}, {1, 0, 1});
    const Id kept = g.mul(g.matmul(q, k, false, true), number);
    const Id scores = g.pointwise(P::kSub, {kept, g.constant<float>({1, 1, 3}, {0, fill, 0})});
    const Id out = g.matmul(g.op(Op::kSoftmax, {scores}, ir::SoftmaxAttrs{false}), v);
    EXPECT_EQ(count(apply_pass("RecognizeAttention", g.output(out).build(), 1e-5).graph, Op::kAttention), 1);
  }
}

TEST_F(Attention, NotWithConstantsThatAreNoCondition) {
  for (const std::vector<float>& fills : {std::vector<float>{0, 2, 3}, {1, 2, 2}, {0, 0, 0}, {0, 2, 0}}) {
    GraphBuilder g;
    const Id q = g.input("q", {2, 5, 4}), k = g.input("k", {2, 3, 4}), v = g.input("v", {2, 3, 7});
    const Id kept = g.mul(g.matmul(q, k, false, true), g.constant<float>({3}, {1, 0, 0}));
    const Id scores = g.pointwise(P::kSub, {kept, g.constant<float>({3}, fills)});
    const Id out = g.matmul(g.op(Op::kSoftmax, {scores}, ir::SoftmaxAttrs{false}), v);
    EXPECT_EQ(count(apply_pass("RecognizeAttention", g.output(out).build(), 1e-5).graph, Op::kAttention), 0);
  }
}

TEST_F(Attention, NotWithANumberThatIsNoCondition) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 5, 4}), v = b.input("v", {2, 5, 7});
  const Id number = b.input("number", {5, 1});
  const Id kept = b.mul(b.matmul(q, k, false, true), number);
  const Id scores = b.pointwise(P::kSub, {kept, b.pointwise(P::kAffine, {number}, -1e4f, 1e4f)});
  EXPECT_EQ(count(recognized(b.matmul(softmax(scores), v)), Op::kAttention), 0);
}

TEST_F(Attention, NotWithAFillOfZero) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 5, 4}), v = b.input("v", {2, 5, 7});
  const Id kept =
      b.pointwise(P::kSelect, {b.input("keep", {5, 5}, ir::DType::kBool), b.matmul(q, k, false, true), b.scalar(0.0f)});
  EXPECT_EQ(count(recognized(b.matmul(softmax(kept), v)), Op::kAttention), 0);
}

TEST_F(Attention, ATransposeThatTearsRowsApartStays) {
  const Id q = b.input("q", {4, 5, 3}), k = b.input("k", {3, 6, 4}), v = b.input("v", {3, 6, 4});
  const Id out = b.matmul(softmax(b.matmul(transpose(q, {2, 1, 0}), k, false, true)), v);
  const ir::Graph graph = recognized(transpose(out, {2, 1, 0}));
  EXPECT_EQ(num_nodes(graph), 3) << ir::to_string(graph);
  EXPECT_EQ(count(graph, Op::kAttention), 1);
}

TEST_F(Attention, NotWhereTheWeightsAreReadElsewhere) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {2, 6, 4}), v = b.input("v", {2, 6, 7});
  const Id weights = softmax(b.matmul(q, k, false, true));
  b.output(weights);
  EXPECT_EQ(count(recognized(b.matmul(weights, v)), Op::kAttention), 0);
}

TEST_F(Attention, WithKeysSharedByHeads) {
  const Id q = b.input("q", {2, 5, 4}), k = b.input("k", {1, 6, 4}), v = b.input("v", {1, 6, 7});
  EXPECT_EQ(count(recognized(b.matmul(softmax(b.matmul(q, k, false, true)), v)), Op::kAttention), 1);
}

}  // namespace
}  // namespace blade::testing
