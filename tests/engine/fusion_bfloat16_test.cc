// Steps in bfloat16: which kernels take over casts and each other, and that the answers hold.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/half.h"
#include "engine/fusion_runs.h"
#include "passes/constants.h"
#include "support/amx_emulator.h"
#include "support/graph_builder.h"

namespace blade::engine {
namespace {

using blade::testing::GraphBuilder;
using namespace testing;  // NOLINT(google-build-using-namespace)

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

// A convolution of volumes is in bfloat16 where that was decided on tile registers, and is computed there.
TEST(Fusion, BFloat16OfVolumesIsForTileRegisters) {
  if (amx_mode() == AmxMode::kMissing) GTEST_SKIP() << describe_amx(amx_mode());
  GraphBuilder b;
  ir::ConvAttrs attrs;
  attrs.strides = attrs.dilations = {1, 1, 1};
  attrs.padding = ir::Padding::kSame;
  std::vector<float> values = random_values(27 * 32 * 32, 1);
  for (float& v : values) v *= 0.1f;
  const auto w = b.constant<float>({3, 3, 3, 32, 32}, values);
  const ir::Graph graph = b.output(b.op(ir::Op::kConv, {b.input("x", {1, 3, 8, 8, 32}), w}, attrs), "y").build();
  for (const bool decided : {false, true}) {
    for (const bool has : {false, true}) {
      Decisions decisions = in_bf16();
      decisions.for_tiles = decided;
      std::vector<std::string> kernels;
      check_answers(graph, decisions, has ? with_amx() : without_amx(), 4e-2, kernels);
      const bool on_tiles = std::ranges::count(kernels, "cpu.conv.direct3d_amx_bf16") == 1;
      EXPECT_EQ(on_tiles, decided && has);
    }
  }
}

}  // namespace
}  // namespace blade::engine
