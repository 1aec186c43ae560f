// A convolution, the depthwise one behind it and a 1x1 in one step, in float32 and, on tile registers, in bfloat16.
#include <algorithm>
#include <cmath>

#include "engine/fusion_runs.h"
#include "passes/constants.h"
#include "passes/pass.h"
#include "support/amx_emulator.h"
#include "support/graph_builder.h"

namespace blade::engine {
namespace {

using blade::testing::GraphBuilder;
using namespace testing;  // NOLINT(google-build-using-namespace)

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
      // Images that threads share go in strips, step by step.
      const bool pays = c.size > 13 && c.dilation == 1 && c.depthwise_stride < 3 && (threads == 1 || c.n == 1);
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
  EXPECT_EQ(packed(kRelu, 0x1p9F, 0, 0x1p-6F), in_both);
  EXPECT_EQ(packed(kSwish, 0x1p9F, 0, 0x1p-6F), in_bfloat16);  // which loses more than rounding does
  EXPECT_EQ(packed(kSwish, 0x1p9F, 0, 0x1p-1F), in_both);
}

}  // namespace
}  // namespace blade::engine
