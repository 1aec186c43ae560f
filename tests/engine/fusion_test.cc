// Nodes that share a step: chosen where that pays and is possible, and never seen in the answers.
#include "engine/fusion.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/half.h"
#include "engine/engine.h"
#include "engine/kernel_choice.h"
#include "engine/test_graphs.h"
#include "passes/constants.h"
#include "passes/pass.h"
#include "support/amx_emulator.h"
#include "support/evaluate_graph.h"
#include "support/graph_builder.h"

namespace blade::engine {
namespace {

using blade::testing::GraphBuilder;
using testing::Collect;

std::vector<float> random_values(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = std::uniform_real_distribution<float>(-0.5f, 0.5f)(random);
  return values;
}

// A depthwise convolution, a bias and PReLU, a 1x1 convolution, a residual of fewer channels, ReLU.
struct Block {
  int64_t n, size, channels, out_channels, kernel, stride;
  bool padded_residual;
};

ir::Graph block_graph(const Block& c) {
  GraphBuilder b;
  const auto x = b.input("x", {c.n, c.size, c.size, c.channels});
  const auto w =
      b.constant<float>({c.kernel, c.kernel, 1, c.channels}, random_values(c.kernel * c.kernel * c.channels, 1));
  auto y = b.conv(x, w, {c.stride, c.stride}, ir::Padding::kSame, c.channels);
  y = b.add(y, b.constant<float>({c.channels}, random_values(c.channels, 2)));
  y = b.pointwise(ir::PointwiseOp::kPRelu, {y, b.constant<float>({c.channels}, random_values(c.channels, 3))});
  y = b.conv(y, b.constant<float>({1, 1, c.channels, c.out_channels}, random_values(c.channels * c.out_channels, 4)));
  if (c.padded_residual) {
    const auto pads =
        b.constant<int32_t>({4, 2}, {0, 0, 0, 0, 0, 0, 0, static_cast<int32_t>(c.out_channels - c.channels)});
    y = b.add(y, b.op(ir::Op::kPad, {x, pads, b.scalar(0.0f)}, ir::PadAttrs{}));
  }
  ir::Graph graph = b.output(b.relu(y), "y").build();
  EXPECT_TRUE(passes::run_pipeline(graph, /*whole_graph=*/false, {}).ok());
  graph.remove_dead_nodes();
  return graph;
}

Result<std::shared_ptr<const Plan>> plan_of(const ir::Graph& graph, const Block& c) {
  static backends::PackCache packs;
  PlanOptions options;
  options.num_threads = 2;
  return make_plan(graph, std::vector<ir::Dims>{{c.n, c.size, c.size, c.channels}}, Decisions(), packs, options);
}

// Runs the graph in an engine on random inputs: the answers must be those of its definition. `kernels`: of the steps.
void check_answers(const ir::Graph& graph, const Decisions& decisions, const EngineOptions& options, double tolerance,
                   std::vector<std::string>& kernels) {
  const auto inputs = blade::testing::random_inputs(graph, 5);
  const auto want = blade::testing::evaluate_graph(graph, inputs);
  ASSERT_TRUE(want.ok()) << want.status().message();
  auto engine = Engine::create(graph.clone(), decisions, options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  std::vector<ir::Dims> dims;
  for (const ir::TensorPtr& input : inputs) dims.push_back(input->dims);
  const auto plan = (*engine)->plan_for(dims);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  kernels.clear();
  for (const Step& step : (*plan)->steps) kernels.emplace_back(step.kernel_name);
  Collect got(1);
  const Status ran = (*engine)->run(testing::refs(inputs), got);
  ASSERT_TRUE(ran.ok()) << ran.message();
  testing::expect_close(*got.outputs[0], *(*want)[0], tolerance, "output");
}

EngineOptions with_threads(int threads) {
  EngineOptions options;
  options.num_threads = threads;
  return options;
}

Decisions in_bf16() {
  Decisions decisions;
  decisions.precision = "bf16";
  return decisions;
}

TEST(Fusion, SeparableBlockIsOneStep) {
  const Block c = {1, 32, 24, 40, 3, 1, true};
  const ir::Graph graph = block_graph(c);
  const auto plan = plan_of(graph, c);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  ASSERT_EQ((*plan)->steps.size(), 1u);
  EXPECT_STREQ((*plan)->steps[0].kernel_name, "cpu.conv.separable_f32");
}

TEST(Fusion, LargeWeightsStayApart) {
  const Block c = {1, 14, 512, 512, 3, 1, false};
  const ir::Graph graph = block_graph(c);
  const auto plan = plan_of(graph, c);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ((*plan)->steps.size(), 2u);
}

TEST(Fusion, AnswersAreThoseOfTheGraph) {
  const Block cases[] = {{1, 32, 24, 40, 3, 1, true},  {2, 17, 8, 24, 5, 1, true},   {1, 33, 12, 7, 3, 2, false},
                         {3, 9, 3, 130, 3, 2, false},  {1, 1, 5, 9, 3, 1, true},     {1, 40, 33, 34, 3, 1, true},
                         {1, 16, 16, 16, 5, 2, false}, {1, 14, 256, 300, 3, 1, true}};
  for (const Block& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.size << " " << c.channels << " -> " << c.out_channels);
    const ir::Graph graph = block_graph(c);
    for (int threads : {1, 2}) {
      std::vector<std::string> kernels;
      check_answers(graph, Decisions(), with_threads(threads), 2e-4, kernels);
    }
  }
}

// A convolution, a depthwise convolution and, with last_channels, a 1x1 behind it, all with a bias and an activation.
struct Bottleneck {
  int64_t n, size, channels;
  int64_t kernel, stride;  // of the first convolution
  int64_t inner, depthwise_kernel, depthwise_stride;
  int64_t last_channels;
  ir::PointwiseOp activation;
  int64_t dilation = 1;  // of the depthwise convolution
};

ir::Graph bottleneck_graph(const Bottleneck& c) {
  GraphBuilder b;
  const auto x = b.input("x", {c.n, c.size, c.size, c.channels});
  uint32_t seed = 1;
  const auto layer = [&](GraphBuilder::Id in, const ir::Dims& weights, int64_t stride, int64_t groups) {
    const int64_t dilation = groups > 1 ? c.dilation : 1;
    const ir::ConvAttrs attrs = {{stride, stride}, {dilation, dilation}, ir::Padding::kSame, {}, groups, {}};
    const int64_t count = weights[0] * weights[1] * weights[2] * weights[3];
    std::vector<float> values = random_values(count, seed++);
    const auto terms = static_cast<float>(weights[0] * weights[1] * weights[2]);
    for (float& v : values) v *= 4 / std::sqrt(terms);
    const auto y = b.op(ir::Op::kConv, {in, b.constant<float>(weights, values)}, attrs);
    return b.add(y, b.constant<float>({weights[3]}, random_values(weights[3], seed++)));
  };
  auto y = layer(x, {c.kernel, c.kernel, c.channels, c.inner}, c.stride, 1);
  y = b.pointwise(c.activation, {y});
  y = layer(y, {c.depthwise_kernel, c.depthwise_kernel, 1, c.inner}, c.depthwise_stride, c.inner);
  y = b.pointwise(c.activation, {y});
  if (c.last_channels > 0) {
    y = layer(y, {1, 1, c.inner, c.last_channels}, 1, 1);
    const bool residual = c.last_channels == c.channels && c.stride * c.depthwise_stride == 1;
    if (residual) y = b.add(y, x);
  }
  ir::Graph graph = b.output(y, "y").build();
  EXPECT_TRUE(passes::run_pipeline(graph, /*whole_graph=*/false, {}).ok());
  graph.remove_dead_nodes();
  return graph;
}

// Stored choices that put nodes into one step wherever a row takes them, and the kernels of the plan without.
Decisions together(const ir::Graph& graph, const ir::Dims& dims) {
  backends::PackCache packs;
  PlanOptions options;
  options.num_threads = 2;
  options.with_alternatives = true;
  Decisions decisions;
  const auto plan = make_plan(graph, std::vector<ir::Dims>{dims}, Decisions(), packs, options);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  if (!plan.ok()) return decisions;
  for (const PossiblePair& pair : (*plan)->possible_pairs) decisions.kernels[pair.signature] = pair.alternatives[0];
  return decisions;
}

TEST(Fusion, BottleneckIsOneStepWithTheSameAnswers) {
  constexpr auto kRelu6 = ir::PointwiseOp::kRelu6, kSwish = ir::PointwiseOp::kSwish;
  const Bottleneck cases[] = {{1, 56, 16, 1, 1, 96, 3, 2, 24, kRelu6}, {1, 28, 24, 1, 1, 72, 3, 1, 24, kSwish},
                              {2, 37, 3, 3, 2, 32, 3, 1, 16, kRelu6},  {3, 14, 40, 1, 1, 130, 5, 1, 40, kSwish},
                              {1, 13, 7, 3, 1, 19, 5, 2, 0, kSwish},   {2, 7, 96, 1, 1, 1200, 3, 1, 0, kRelu6},
                              {1, 1, 5, 1, 1, 17, 3, 1, 9, kSwish},    {1, 29, 20, 1, 1, 48, 3, 3, 33, kRelu6},
                              {5, 3, 8, 1, 1, 64, 5, 2, 150, kSwish},  {1, 17, 24, 1, 1, 48, 3, 1, 24, kRelu6, 4}};
  for (const Bottleneck& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.n << " x " << c.size << ", " << c.channels << " -> " << c.inner);
    const ir::Graph graph = bottleneck_graph(c);
    const Decisions fused = together(graph, {c.n, c.size, c.size, c.channels});
    const char* row = c.last_channels > 0 ? "cpu.conv.bottleneck_f32" : "cpu.conv.before_depthwise_f32";
    for (int threads : {1, 2, 3}) {
      std::vector<std::string> kernels;
      check_answers(graph, fused, with_threads(threads), 2e-4, kernels);
      EXPECT_EQ(kernels, std::vector<std::string>{row});
      check_answers(graph, Decisions(), with_threads(threads), 2e-4, kernels);
    }
  }
}

TEST(Fusion, BottleneckBeyondTheCachesIsOneStepWithoutTuning) {
  const Bottleneck c = {1, 112, 16, 1, 1, 96, 3, 2, 24, ir::PointwiseOp::kRelu6};
  const ir::Graph graph = bottleneck_graph(c);
  backends::Machine machine = backends::Machine::host();
  machine.l2_bytes = 1 << 20;
  EngineOptions options = with_threads(2);
  options.machine = &machine;
  std::vector<std::string> kernels;
  check_answers(graph, Decisions(), options, 2e-4, kernels);
  EXPECT_EQ(kernels, std::vector<std::string>{"cpu.conv.bottleneck_f32"});
  const Bottleneck small = {1, 14, 64, 1, 1, 384, 3, 1, 64, ir::PointwiseOp::kRelu6};
  check_answers(bottleneck_graph(small), Decisions(), options, 2e-4, kernels);
  EXPECT_GT(kernels.size(), 1u);
  // Two parts would compute eight of 33 rows twice.
  const Bottleneck dilated = {1, 33, 160, 1, 1, 960, 3, 1, 320, ir::PointwiseOp::kRelu6, 4};
  check_answers(bottleneck_graph(dilated), Decisions(), options, 2e-4, kernels);
  EXPECT_GT(kernels.size(), 1u);
}

// A chain of four: the last three are one step, or the first two and the last two.
TEST(Fusion, LongChainsAreCutRightly) {
  GraphBuilder b;
  auto y = b.input("x", {1, 80, 80, 8});
  for (int i = 0; i < 2; ++i) {
    y = b.relu(b.conv(y, b.constant<float>({1, 1, i == 0 ? 8 : 12, 64}, random_values((i == 0 ? 8 : 12) * 64, 1))));
    y = b.conv(y, b.constant<float>({3, 3, 1, 64}, random_values(9 * 64, 2)), {1, 1}, ir::Padding::kSame, 64);
    y = b.conv(b.relu(y), b.constant<float>({1, 1, 64, 12}, random_values(64 * 12, 3)));
  }
  ir::Graph graph = b.output(y, "y").build();
  EXPECT_TRUE(passes::run_pipeline(graph, /*whole_graph=*/false, {}).ok());
  graph.remove_dead_nodes();
  std::vector<std::string> kernels;
  check_answers(graph, Decisions(), with_threads(2), 2e-1, kernels);
  check_answers(graph, together(graph, {1, 80, 80, 8}), with_threads(2), 2e-1, kernels);
}

// A 1x1 convolution, a depthwise one, and both again: the last two together save most, as the tensor between is large.
ir::Graph four_convolutions() {
  GraphBuilder b;
  auto y = b.input("x", {1, 112, 112, 8});
  int64_t channels = 8;
  for (const int64_t inner : {16, 128}) {
    y = b.relu(b.conv(y, b.constant<float>({1, 1, channels, inner}, random_values(channels * inner, 1))));
    y = b.conv(y, b.constant<float>({3, 3, 1, inner}, random_values(9 * inner, 2)), {1, 1}, ir::Padding::kSame, inner);
    y = b.relu(y);
    channels = inner;
  }
  ir::Graph graph = b.output(y, "y").build();
  EXPECT_TRUE(passes::run_pipeline(graph, /*whole_graph=*/false, {}).ok());
  graph.remove_dead_nodes();
  return graph;
}

// What is stored for convolutions [begin, end) of a chain that become one step.
std::string signature_of(const ir::Graph& graph, size_t begin, size_t end) {
  std::vector<const ir::Node*> chain;
  const std::vector<ir::NodeId> order = *graph.topological_order();
  for (ir::NodeId id : order) {
    if (graph.node(id).op == ir::Op::kConv) chain.push_back(&graph.node(id));
  }
  EXPECT_LE(end, chain.size());
  if (end > chain.size()) return "";
  std::vector<backends::KernelRequest> requests(end - begin);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i] = Fusion().request(graph, *chain[begin + i], PlanOptions());
    if (i > 0) requests[i].producer = &requests[i - 1];
  }
  return kernel_signature(requests.back());
}

TEST(Fusion, StoredChainsAndPairsApartStand) {
  const ir::Graph graph = four_convolutions();
  backends::Machine machine = backends::Machine::host();
  machine.l2_bytes = 1 << 20;
  EngineOptions options = with_threads(2);
  options.machine = &machine;
  std::vector<std::string> kernels;
  Decisions chain;
  chain.kernels[signature_of(graph, 0, 3)] = "cpu.conv.bottleneck_f32";
  check_answers(graph, chain, options, 2e-4, kernels);
  ASSERT_EQ(kernels.size(), 2u);
  EXPECT_EQ(kernels[0], "cpu.conv.bottleneck_f32");
  // The middle two stay together: the last leaves them for a pair of its own, were that not stored as apart.
  Decisions apart;
  for (const size_t begin : {0, 2}) apart.kernels[signature_of(graph, begin, begin + 2)] = kApart;
  apart.kernels[signature_of(graph, 0, 3)] = kApart;
  check_answers(graph, apart, options, 2e-4, kernels);
  ASSERT_EQ(kernels.size(), 3u);
  EXPECT_EQ(kernels[1], "cpu.conv.separable_f32");
}

struct Pooled {
  int64_t n, h, w, channels, out_channels, kernel, stride;
  std::vector<int64_t> window, pool_strides;
  ir::Padding padding;
};

// A convolution, a bias and ReLU, and a pooling.
ir::Graph pooled_graph(const Pooled& c, ir::PoolKind kind) {
  GraphBuilder b;
  const auto x = b.input("x", {c.n, c.h, c.w, c.channels});
  const int64_t k = c.kernel * c.kernel * c.channels;
  auto y = b.conv(
      x, b.constant<float>({c.kernel, c.kernel, c.channels, c.out_channels}, random_values(k * c.out_channels, 1)),
      {c.stride, c.stride});
  y = b.relu(b.add(y, b.constant<float>({c.out_channels}, random_values(c.out_channels, 2))));
  const ir::PoolAttrs pool{kind, c.window, c.pool_strides, c.padding, {}};
  ir::Graph graph = b.output(b.op(ir::Op::kPool, {y}, pool), "y").build();
  EXPECT_TRUE(passes::run_pipeline(graph, /*whole_graph=*/false, {}).ok());
  graph.remove_dead_nodes();
  return graph;
}

TEST(Fusion, PooledConvolutionIsOneStepWithTheSameAnswers) {
  const Pooled cases[] = {{1, 96, 96, 3, 64, 3, 1, {2, 2}, {2, 2}, ir::Padding::kValid},
                          {2, 237, 129, 3, 33, 5, 2, {3, 3}, {2, 2}, ir::Padding::kSame},
                          {3, 57, 70, 20, 40, 1, 1, {3, 2}, {1, 2}, ir::Padding::kValid},
                          {1, 999, 50, 20, 17, 3, 2, {5, 1}, {3, 1}, ir::Padding::kSame},
                          {2, 9, 200, 17, 300, 2, 1, {4, 4}, {4, 4}, ir::Padding::kSame}};
  for (const Pooled& c : cases) {
    for (const ir::PoolKind kind : {ir::PoolKind::kMax, ir::PoolKind::kAverage}) {
      SCOPED_TRACE(::testing::Message() << c.h << " x " << c.w << ", " << c.channels << " -> " << c.out_channels);
      const ir::Graph graph = pooled_graph(c, kind);
      int fused = 0;
      for (int threads : {1, 2}) {
        std::vector<std::string> kernels;
        check_answers(graph, Decisions(), with_threads(threads), 2e-4, kernels);
        fused += kernels.size() == 1 ? 1 : 0;
      }
      EXPECT_GE(fused, 1);  // rows that two threads would both compute may keep the nodes apart
    }
  }
}

// In bfloat16, for a machine without AMX.
EngineOptions without_amx() {
  static const backends::Machine machine = [] {
    backends::Machine m = backends::Machine::host();
    m.amx_tile = m.amx_bf16 = false;
    return m;
  }();
  EngineOptions options;
  options.machine = &machine;
  return options;
}

// For one with AMX: amx_mode() is not kMissing.
EngineOptions with_amx() {
  static const backends::Machine machine = [] {
    backends::Machine m = backends::Machine::host();
    m.amx_tile = m.amx_bf16 = true;
    return m;
  }();
  EngineOptions options;
  options.machine = &machine;
  return options;
}

// In bfloat16: a first layer that reads float32, a depthwise convolution and the 1x1 behind it in one step, a product
// whose result goes out as float32.
TEST(Fusion, BFloat16FromImageToScores) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "no bfloat16 arithmetic";
  GraphBuilder b;
  // What bfloat16 holds: balanced rounding counts on pixels that are alike, and those of noise are not.
  const auto weights = [&](const ir::Dims& dims, uint32_t seed) {
    std::vector<float> values = random_values(passes::product(dims), seed);
    for (float& v : values) v = bfloat16_to_float(float_to_bfloat16(v));
    return b.constant<float>(dims, values);
  };
  const auto x = b.input("x", {1, 33, 33, 3});
  auto y = b.relu(b.conv(x, weights({3, 3, 3, 24}, 1), {2, 2}));
  y = b.conv(y, weights({3, 3, 1, 24}, 2), {1, 1}, ir::Padding::kSame, 24);
  y = b.relu(b.add(y, weights({24}, 3)));
  y = b.conv(y, weights({1, 1, 24, 40}, 4));
  const auto scores = b.conv(b.relu(y), weights({1, 1, 40, 7}, 5));
  const ir::Graph graph = b.output(scores, "scores").build();
  std::vector<std::string> kernels;
  check_answers(graph, in_bf16(), without_amx(), 4e-2, kernels);
  EXPECT_EQ(kernels, (std::vector<std::string>{"cpu.conv.direct_bf16", "cpu.conv.separable_bf16",
                                               "cpu.conv.direct_bf16_to_f32"}));
}

// Weighted means of pixels are float32 by definition; between convolutions they are rounded as they are made.
TEST(Fusion, BFloat16ResizeBetweenConvolutions) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (const int64_t channels : {24, 9000}) {
    GraphBuilder b;
    const auto x = b.input("x", {1, 3, 4, 8});
    const auto y = b.conv(x, b.constant<float>({1, 1, 8, channels}, random_values(8 * channels, 1)));
    const auto size = b.constant<int32_t>({2}, {7, 9});
    const auto z = b.op(ir::Op::kResize, {b.relu(y), size}, ir::ResizeAttrs{ir::ResizeKind::kBilinear});
    const auto w = b.conv(z, b.constant<float>({1, 1, channels, 5}, random_values(channels * 5, 2)));
    const ir::Graph graph = b.output(w, "y").build();
    std::vector<std::string> kernels;
    check_answers(graph, in_bf16(), without_amx(), channels > 100 ? 1.0f : 0.1f, kernels);
    EXPECT_EQ(kernels, (std::vector<std::string>{"cpu.cast.loop", "cpu.conv.direct_bf16",
                                                 "cpu.resize.rows_bf16_to_bf16", "cpu.conv.direct_bf16_to_f32"}));
  }
}

TEST(Fusion, BFloat16ProductThatGoesOutAsFloat32) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (bool constant : {true, false}) {
    GraphBuilder b;
    const auto x = b.input("x", {5, 31});
    const auto w = constant ? b.constant<float>({31, 19}, random_values(31 * 19, 1)) : b.input("w", {31, 19});
    const ir::Graph graph = b.output(b.op(ir::Op::kMatMul, {x, w}, ir::MatMulAttrs{}), "y").build();
    std::vector<std::string> kernels;
    check_answers(graph, in_bf16(), without_amx(), 0.1, kernels);
    ASSERT_FALSE(kernels.empty());
    EXPECT_EQ(kernels.back(), constant ? "cpu.matmul.packed_bf16_to_f32" : "cpu.matmul.batched_bf16_to_f32");
  }
}

// What stays float32 is rounded as it is made where a product reads it.
TEST(Fusion, BFloat16BehindLayerNormalization) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "no bfloat16 arithmetic";
  for (const int64_t width : {1, 31, 256, 771}) {
    GraphBuilder b;
    const auto x = b.input("x", {2, 5, width});
    const auto y = b.op(
        ir::Op::kLayerNorm,
        {x, b.constant<float>({width}, random_values(width, 1)), b.constant<float>({width}, random_values(width, 2))},
        ir::LayerNormAttrs{1e-3f});
    const auto z = b.op(ir::Op::kCast, {y}, ir::CastAttrs{ir::DType::kBFloat16});
    const ir::Graph graph = b.output(z, "y").build();
    std::vector<std::string> kernels;
    check_answers(graph, in_bf16(), with_threads(2), 1e-2, kernels);
    EXPECT_EQ(kernels, (std::vector<std::string>{"cpu.layer_norm.rows_to_bf16"}));
  }
}

TEST(Fusion, BFloat16BehindAttention) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "no bfloat16 arithmetic";
  const std::vector<int64_t> heads_inside = {0, 2, 1, 3};
  for (const int64_t tokens : {1, 16, 19, 67}) {  // alone, in whole vectors, with single rows behind them, in blocks
    for (const int threads : {1, 2}) {
      GraphBuilder b;
      std::vector<ir::ValueId> inputs;
      for (const char* name : {"q", "k", "v"}) inputs.push_back(b.input(name, {1, tokens, 2, 9}));
      const auto y = b.op(ir::Op::kAttention, inputs,
                          ir::AttentionAttrs{0.5f, heads_inside, heads_inside, heads_inside, heads_inside, false});
      const auto z = b.op(ir::Op::kCast, {y}, ir::CastAttrs{ir::DType::kBFloat16});
      const ir::Graph graph = b.output(z, "y").build();
      std::vector<std::string> kernels;
      check_answers(graph, in_bf16(), with_threads(threads), 1e-2, kernels);
      EXPECT_EQ(kernels, (std::vector<std::string>{"cpu.attention.blocks_to_bf16"}));
    }
  }
}

// A network as TfAutoMixedPrecisionCpu narrows it, on tile registers: run by the emulator where there are none.
TEST(Fusion, BFloat16OnTileRegisters) {
  if (amx_mode() == AmxMode::kMissing) GTEST_SKIP() << describe_amx(amx_mode());
  std::printf("%s.\n", describe_amx(amx_mode()));
  GraphBuilder b;
  const auto x = b.input("x", {2, 33, 33, 3});
  const auto weights = [&](int64_t h, int64_t w, int64_t c, int64_t oc) {
    std::vector<float> values = random_values(h * w * c * oc, static_cast<uint32_t>(h * oc));
    for (float& v : values) v *= 3 / std::sqrt(static_cast<float>(h * w * c));  // results are of the size of the input
    return b.constant<float>({h, w, c, oc}, values);
  };
  auto y = b.relu(b.conv(x, weights(7, 7, 3, 64), {2, 2}));
  y = b.relu(b.conv(y, weights(3, 3, 64, 40)));
  y = b.relu(b.conv(y, weights(3, 3, 40, 64), {2, 2}));
  auto z = b.conv(y, weights(3, 3, 1, 64), {1, 1}, ir::Padding::kSame, 64);
  z = b.add(b.conv(z, weights(1, 1, 64, 64)), y);
  const auto scores = b.conv(b.relu(z), weights(1, 1, 64, 7));
  const ir::Graph graph = b.output(scores, "scores").build();
  std::vector<std::string> kernels;
  check_answers(graph, in_bf16(), with_amx(), 6e-2, kernels);
  EXPECT_EQ(kernels, (std::vector<std::string>{"cpu.conv.direct_amx_bf16", "cpu.conv.direct_amx_bf16",
                                               "cpu.conv.direct_amx_bf16", "cpu.conv.separable_amx_bf16",
                                               "cpu.conv.direct_amx_bf16_to_f32"}));
}

// Where nothing exceeds six, float16 lies between the first two convolutions, where the processor computes with it.
TEST(Fusion, BottleneckOnTileRegistersIsOneStep) {
  if (amx_mode() == AmxMode::kMissing) GTEST_SKIP() << describe_amx(amx_mode());
  constexpr auto kRelu6 = ir::PointwiseOp::kRelu6, kSwish = ir::PointwiseOp::kSwish;
  const Bottleneck cases[] = {{1, 56, 16, 1, 1, 96, 3, 2, 24, kRelu6}, {1, 28, 24, 1, 1, 72, 3, 1, 24, kSwish},
                              {2, 37, 3, 3, 2, 32, 3, 1, 16, kRelu6},  {3, 14, 40, 1, 1, 130, 5, 1, 40, kRelu6},
                              {1, 13, 3, 3, 1, 19, 5, 2, 0, kSwish},   {2, 7, 96, 1, 1, 200, 3, 1, 0, kRelu6},
                              {1, 1, 6, 1, 1, 17, 3, 1, 9, kRelu6},    {1, 29, 20, 1, 1, 48, 3, 3, 33, kRelu6},
                              {5, 3, 8, 1, 1, 64, 5, 2, 150, kRelu6},  {1, 17, 24, 1, 1, 48, 3, 1, 24, kRelu6, 4}};
  for (const Bottleneck& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.n << " x " << c.size << ", " << c.channels << " -> " << c.inner);
    const ir::Graph graph = bottleneck_graph(c);
    for (int threads : {1, 2, 3}) {
      EngineOptions options = with_amx();
      options.num_threads = threads;
      std::vector<std::string> kernels;
      check_answers(graph, in_bf16(), options, 0.1, kernels);
      const char* row = c.last_channels > 0 ? "cpu.conv.bottleneck_amx_bf16" : "cpu.conv.before_depthwise_amx_bf16";
      const bool pays = c.size > 13 && c.dilation == 1 && c.depthwise_stride < 3;
      EXPECT_TRUE(!pays || std::count(kernels.begin(), kernels.end(), row) == 1) << row;
    }
  }
}

// Float16 holds no activation or sum beyond 65504: where one may get there, a run that meets it goes on in bfloat16,
// for which weights are packed, too.
TEST(Fusion, BottleneckOnTileRegistersNeverOverflows) {
  if (amx_mode() == AmxMode::kMissing) GTEST_SKIP() << describe_amx(amx_mode());
  if (!with_amx().machine->avx512_fp16) GTEST_SKIP() << "no float16 arithmetic";
  // The depthwise convolution's weights and bias are multiplied by these.
  const auto packed = [](ir::PointwiseOp activation, float weights, float bias, float first = 1) {
    const bool bounded = activation == ir::PointwiseOp::kRelu6;
    GraphBuilder b;
    const auto numbers = [&](const ir::Dims& dims, float scale) {
      std::vector<float> values = random_values(passes::product(dims), static_cast<uint32_t>(dims.size()));
      for (float& v : values) v *= scale;
      return b.constant<float>(dims, values);
    };
    auto y = b.conv(b.input("x", {1, 56, 56, 16}), numbers({1, 1, 16, 96}, bounded || first < 1 ? first : 3e5F));
    y = b.pointwise(activation, {b.add(y, numbers({96}, first))});
    y = b.conv(y, numbers({3, 3, 1, 96}, weights), {2, 2}, ir::Padding::kSame, 96);
    y = b.add(y, numbers({96}, bias));
    ir::Graph graph =
        b.output(b.conv(y, numbers({1, 1, 96, 24}, bounded || first < 1 ? 0.3F / (first * weights + bias) : 1e-6F)),
                 "y")
            .build();
    EXPECT_TRUE(passes::run_pipeline(graph, /*whole_graph=*/false, {}).ok());
    graph.remove_dead_nodes();
    std::vector<std::string> kernels;
    check_answers(graph, in_bf16(), with_amx(), 0.1, kernels);
    EXPECT_EQ(std::count(kernels.begin(), kernels.end(), "cpu.conv.bottleneck_amx_bf16"), 1);
    auto engine = Engine::create(graph.clone(), in_bf16(), with_amx());
    EXPECT_TRUE(engine.ok() && (*engine)->plan_for(std::vector<ir::Dims>{{1, 56, 56, 16}}).ok());
    return engine.ok() ? (*engine)->packed_bytes() : 0;
  };
  constexpr auto kRelu = ir::PointwiseOp::kRelu, kRelu6 = ir::PointwiseOp::kRelu6, kSwish = ir::PointwiseOp::kSwish;
  const size_t in_half = packed(kRelu6, 1, 1), in_both = packed(kRelu, 1, 1), in_bfloat16 = packed(kRelu6, 1, 50000);
  EXPECT_NE(in_half, in_bfloat16);
  EXPECT_GT(in_both, std::max(in_half, in_bfloat16));
  EXPECT_EQ(packed(kRelu6, 100, 10000), in_half);
  EXPECT_EQ(packed(kSwish, 1, 1), in_both);
  EXPECT_EQ(packed(kRelu6, 4000, 1), in_both);
  EXPECT_EQ(packed(kRelu6, 1e-5F, 1), in_bfloat16);
  // Nor may it lose small ones, which large weights follow.
  EXPECT_EQ(packed(kRelu, 0x1p14F, 0, 0x1p-24F), in_bfloat16);
  EXPECT_EQ(packed(kRelu6, 0x1p4F, 0, 0x1p-6F), in_half);
}

// A decoder: convolutions read the parts of a concatenation, whole lines of them or less.
TEST(Fusion, BFloat16ConcatenationReadByConvolution) {
  if (amx_mode() == AmxMode::kMissing) GTEST_SKIP() << describe_amx(amx_mode());
  struct Decoder {
    int64_t kernel, stride, first, second;
  };
  for (const Decoder& d : {Decoder{3, 1, 32, 64}, {3, 2, 24, 40}, {1, 1, 32, 32}, {5, 1, 7, 16}, {2, 3, 33, 1}}) {
    GraphBuilder b;
    const auto weights = [&](const ir::Dims& dims) {
      std::vector<float> values = random_values(passes::product(dims), static_cast<uint32_t>(dims[3]));
      for (float& v : values) v *= 3 / std::sqrt(static_cast<float>(dims[0] * dims[1] * dims[2]));
      return b.constant<float>(dims, values);
    };
    const auto x = b.relu(b.conv(b.input("x", {2, 13, 18, 16}), weights({1, 1, 16, d.first})));
    const auto y = b.relu(b.conv(b.input("y", {2, 13, 18, 16}), weights({1, 1, 16, d.second})));
    const auto both = b.op(ir::Op::kConcat, {x, y}, ir::AxisAttrs{3});
    auto z = b.conv(both, weights({d.kernel, d.kernel, d.first + d.second, 20}), {d.stride, d.stride});
    z = b.relu(b.add(z, b.constant<float>({20}, random_values(20, 3))));
    const ir::Graph graph = b.output(b.conv(z, weights({1, 1, 20, 7})), "z").build();
    Decisions float_scores = in_bf16();
    float_scores.keep_float32.push_back(graph.node(graph.value(graph.outputs()[0]).producer).name);
    for (const Decisions& decisions : {in_bf16(), float_scores}) {
      const char* row =
          decisions.keep_float32.empty() ? "cpu.conv.of_parts_amx_bf16" : "cpu.conv.of_parts_amx_bf16_to_f32";
      for (const int threads : {1, 2}) {
        EngineOptions options = with_amx();
        options.num_threads = threads;
        std::vector<std::string> kernels;
        check_answers(graph, decisions, options, 6e-2, kernels);
        EXPECT_EQ(std::count(kernels.begin(), kernels.end(), row), 1) << row << " " << d.kernel;
        EXPECT_EQ(std::count(kernels.begin(), kernels.end(), "cpu.concat.strided"), 0) << d.kernel;
      }
    }
  }
}

TEST(Fusion, BFloat16ProductsOnTileRegisters) {
  if (amx_mode() == AmxMode::kMissing) GTEST_SKIP() << describe_amx(amx_mode());
  for (bool constant : {true, false}) {
    GraphBuilder b;
    const auto x = b.input("x", {40, 67});
    const auto w = constant ? b.constant<float>({67, 50}, random_values(67 * 50, 1)) : b.input("w", {67, 50});
    const ir::Graph graph = b.output(b.op(ir::Op::kMatMul, {x, w}, ir::MatMulAttrs{}), "y").build();
    std::vector<std::string> kernels;
    check_answers(graph, in_bf16(), with_amx(), 0.3, kernels);
    ASSERT_FALSE(kernels.empty());
    EXPECT_EQ(kernels.back(), constant ? "cpu.matmul.packed_amx_bf16_to_f32" : "cpu.matmul.batched_amx_bf16_to_f32");
  }
}

}  // namespace
}  // namespace blade::engine
