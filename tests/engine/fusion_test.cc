// Nodes that share a step: chosen where that pays and is possible, and never seen in the answers.
#include "engine/fusion.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/engine.h"
#include "engine/test_graphs.h"
#include "passes/pass.h"
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
    const auto inputs = blade::testing::random_inputs(graph, 5);
    const auto want = blade::testing::evaluate_graph(graph, inputs);
    ASSERT_TRUE(want.ok()) << want.status().message();
    for (int threads : {1, 2}) {
      EngineOptions options;
      options.num_threads = threads;
      auto engine = Engine::create(graph.clone(), Decisions(), options);
      ASSERT_TRUE(engine.ok()) << engine.status().message();
      Collect got(1);
      const Status ran = (*engine)->run(testing::refs(inputs), got);
      ASSERT_TRUE(ran.ok()) << ran.message();
      testing::expect_close(*got.outputs[0], *(*want)[0], 2e-4, "y");
    }
  }
}

}  // namespace
}  // namespace blade::engine
