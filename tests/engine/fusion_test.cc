// Nodes that share a step: chosen where that pays and is possible, and never seen in the answers.
#include "engine/fusion.h"

#include "engine/fusion_runs.h"
#include "engine/kernel_choice.h"
#include "passes/pass.h"
#include "support/graph_builder.h"

namespace blade::engine {
namespace {

using blade::testing::GraphBuilder;
using namespace testing;  // NOLINT(google-build-using-namespace)

// As an engine has it before it is planned.
ir::Graph prepared(GraphBuilder& b) {
  ir::Graph graph = b.build();
  EXPECT_TRUE(passes::run_pipeline(graph, /*whole_graph=*/false, {}).ok());
  graph.remove_dead_nodes();
  return graph;
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
  return prepared(b.output(b.relu(y), "y"));
}

Result<std::shared_ptr<const Plan>> plan_of(const ir::Graph& graph, const Block& c) {
  static backends::PackCache packs;
  PlanOptions options;
  options.num_threads = 2;
  return make_plan(graph, std::vector<ir::Dims>{{c.n, c.size, c.size, c.channels}}, Decisions(), packs, options);
}

TEST(Fusion, SeparableBlockIsOneStep) {
  const Block c = {1, 32, 24, 40, 3, 1, true};
  const ir::Graph graph = block_graph(c);
  const auto plan = plan_of(graph, c);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  ASSERT_EQ((*plan)->steps.size(), 1u);
  EXPECT_STREQ((*plan)->steps[0].kernel_name, "cpu.conv.separable_f32");
}

TEST(Fusion, WhatIsBetweenIsNoTrafficOfTheStep) {
  const Block c = {1, 32, 24, 40, 3, 1, false};
  const ir::Graph graph = block_graph(c);
  const auto plan = plan_of(graph, c);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  ASSERT_EQ((*plan)->steps.size(), 1u);
  ir::Cost apart;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id)) continue;
    const ir::Cost own = ir::node_cost(graph, graph.node(id));
    apart.flops += own.flops;
    apart.bytes += own.bytes;
  }
  EXPECT_EQ((*plan)->steps[0].cost.flops, apart.flops);
  EXPECT_EQ((*plan)->steps[0].cost.bytes, apart.bytes - 2 * 32 * 32 * 24 * 4);
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

TEST(Fusion, WhatIsAlsoAnOutputIsNotBetween) {
  GraphBuilder b;
  const auto x = b.input("x", {1, 32, 32, 24});
  const auto w = b.constant<float>({3, 3, 1, 24}, random_values(9 * 24, 1));
  const auto y = b.relu(b.conv(x, w, {1, 1}, ir::Padding::kSame, 24));
  const auto z = b.conv(y, b.constant<float>({1, 1, 24, 40}, random_values(24 * 40, 2)));
  std::vector<std::string> kernels;
  check_answers(prepared(b.output(z, "z").output(y, "y")), Decisions(), with_threads(2), 2e-4, kernels);
  EXPECT_EQ(kernels.size(), 2u);
}

// Channels of zeros behind a residual's own need not be written; any other padding does.
TEST(Fusion, OnlyZerosBehindTheChannelsOfAResidualAreNoStep) {
  const struct {
    ir::PadMode mode;
    std::vector<int32_t> channels;
    float value;
    size_t steps;
  } cases[] = {{ir::PadMode::kConstant, {0, 8}, 0, 1},
               {ir::PadMode::kConstant, {8, 0}, 0, 2},
               {ir::PadMode::kConstant, {0, 8}, 1, 2},
               {ir::PadMode::kReflect, {0, 8}, 0, 2}};
  for (const auto& c : cases) {
    GraphBuilder b;
    const auto x = b.input("x", {1, 9, 9, 16});
    const auto pads = b.constant<int32_t>({4, 2}, {0, 0, 0, 0, 0, 0, c.channels[0], c.channels[1]});
    std::vector<GraphBuilder::Id> operands = {x, pads};
    if (c.mode == ir::PadMode::kConstant) operands.push_back(b.scalar(c.value));
    const auto residual = b.op(ir::Op::kPad, operands, ir::PadAttrs{c.mode});
    const auto y = b.conv(x, b.constant<float>({3, 3, 16, 24}, random_values(9 * 16 * 24, 1)));
    std::vector<std::string> kernels;
    check_answers(prepared(b.output(b.add(y, residual), "y")), Decisions(), with_threads(2), 2e-4, kernels);
    EXPECT_EQ(kernels.size(), c.steps) << c.channels[0] << " " << c.value;
  }
}
TEST(Fusion, PaddingOfWhatIsNoResidualIsAStep) {
  GraphBuilder b;
  const auto x = b.input("x", {1, 9, 9, 16}), other = b.input("other", {1, 9, 9, 24});
  const auto pads = b.constant<int32_t>({4, 2}, {0, 0, 0, 0, 0, 0, 0, 8});
  const auto padded = b.op(ir::Op::kPad, {x, pads, b.scalar(0.0f)}, ir::PadAttrs{});
  const auto choice = b.input("choice", {1, 9, 9, 24}, ir::DType::kBool);
  std::vector<std::string> kernels;
  check_answers(prepared(b.output(b.pointwise(ir::PointwiseOp::kSelect, {choice, other, padded}), "y")), Decisions(),
                with_threads(2), 0, kernels);
  EXPECT_EQ(kernels.size(), 2u);
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
  const ir::Graph graph = prepared(b.output(y, "y"));
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
  return prepared(b.output(y, "y"));
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
  check_answers(graph, Decisions(), options, 2e-4, kernels);
  ASSERT_EQ(kernels.size(), 3u);
  EXPECT_EQ(kernels[2], "cpu.conv.before_depthwise_f32");  // the middle two were together, and were let go
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
  return prepared(b.output(b.op(ir::Op::kPool, {y}, pool), "y"));
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

}  // namespace
}  // namespace blade::engine
