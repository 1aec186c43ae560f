// What becomes float16, what follows, and what stays.
#include <gtest/gtest.h>

#include "base/half.h"
#include "pass_test_util.h"
#include "passes/constants.h"

namespace blade::passes {
namespace {

int count(const ir::Graph& graph, ir::Op op, ir::DType dtype) {
  int found = 0;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    found += graph.is_live(id) && graph.node(id).op == op && graph.value(graph.node(id).outputs[0]).dtype == dtype;
  }
  return found;
}

// softmax(relu(x * w)), w as given.
ir::Graph dense_graph(float largest) {
  ir::Graph graph;
  const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 2}));
  const float values[] = {1, 2, 3, largest};
  const ir::ValueId w =
      graph.add_constant(ir::make_tensor<float>(ir::DType::kFloat32, {2, 2}, std::span<const float>(values)));
  const ir::ValueId y = graph.add_node(ir::Op::kMatMul, "dense", {x, w}, 1, ir::MatMulAttrs{}).outputs[0];
  const ir::ValueId r = graph
                            .add_node(ir::Op::kPointwise, "relu", {y}, 1,
                                      ir::PointwiseAttrs{ir::PointwiseProgram::unary(ir::PointwiseOp::kRelu)})
                            .outputs[0];
  const ir::ValueId s = graph.add_node(ir::Op::kSoftmax, "soft", {r}, 1, ir::SoftmaxAttrs{}).outputs[0];
  graph.set_outputs({s, r}, {"soft", "relu"});
  EXPECT_TRUE(ir::infer_shapes(graph).ok());
  return graph;
}

Result<std::vector<PipelineReport>> run_in(ir::Graph& graph, ir::DType narrow, std::vector<std::string> keep = {},
                                           bool on_gpu = false, bool has_tiles = false) {
  PassOptions options;
  options.for_tiles = options.has_tiles = has_tiles;
  options.on_device = on_gpu;
  options.narrow_type = narrow;
  options.keep_float32 = std::move(keep);
  std::vector<std::string> others;
  for (const Pass& pass : pipeline()) {
    if (!std::string(pass.name).starts_with("TfAutoMixedPrecision")) others.emplace_back(pass.name);
  }
  return run_pipeline(graph, /*whole_graph=*/false, others, options);
}
Result<std::vector<PipelineReport>> run(ir::Graph& graph, bool half, std::vector<std::string> keep = {}) {
  return run_in(graph, half ? ir::DType::kFloat16 : ir::DType::kInvalid, std::move(keep), /*on_gpu=*/true);
}

TEST(MixedPrecision, NormalizationFollowsAndKeepsItsParameters) {
  ir::Graph graph;
  const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 2}));
  const float values[] = {1, 2, 3, 4};
  const ir::ValueId w =
      graph.add_constant(ir::make_tensor<float>(ir::DType::kFloat32, {2, 2}, std::span<const float>(values)));
  const ir::ValueId scale =
      graph.add_constant(ir::make_tensor<float>(ir::DType::kFloat32, {2}, std::span<const float>(values, 2)));
  const auto norm = [&](const char* name, ir::ValueId of) {
    return graph.add_node(ir::Op::kLayerNorm, name, {of, scale, scale}, 1, ir::LayerNormAttrs{}).outputs[0];
  };
  const ir::ValueId y =
      graph.add_node(ir::Op::kMatMul, "dense", {norm("before", x), w}, 1, ir::MatMulAttrs{}).outputs[0];
  graph.set_outputs({norm("behind", y)}, {"behind"});
  ASSERT_TRUE(ir::infer_shapes(graph).ok());
  ASSERT_TRUE(run(graph, true).ok());
  EXPECT_EQ(count(graph, ir::Op::kLayerNorm, ir::DType::kFloat32), 1);
  EXPECT_EQ(count(graph, ir::Op::kLayerNorm, ir::DType::kFloat16), 1);
  EXPECT_EQ(graph.value(scale).dtype, ir::DType::kFloat32);
  EXPECT_EQ(count(graph, ir::Op::kCast, ir::DType::kFloat16), 1);
}

TEST(MixedPrecision, MatrixWorkLeadsElementwiseWorkFollowsSoftmaxStays) {
  ir::Graph graph = dense_graph(4);
  ASSERT_TRUE(run(graph, true).ok());
  EXPECT_EQ(count(graph, ir::Op::kMatMul, ir::DType::kFloat16), 1);
  EXPECT_EQ(count(graph, ir::Op::kPointwise, ir::DType::kFloat16), 1);
  EXPECT_EQ(count(graph, ir::Op::kSoftmax, ir::DType::kFloat32), 1);
  EXPECT_EQ(count(graph, ir::Op::kCast, ir::DType::kFloat16), 1);
  EXPECT_EQ(count(graph, ir::Op::kCast, ir::DType::kFloat32), 1);
  // Outputs keep their type.
  for (ir::ValueId output : graph.outputs()) EXPECT_EQ(graph.value(output).dtype, ir::DType::kFloat32);
}

TEST(MixedPrecision, DoesNothingUnlessAsked) {
  ir::Graph graph = dense_graph(4);
  ASSERT_TRUE(run(graph, false).ok());
  EXPECT_EQ(count(graph, ir::Op::kMatMul, ir::DType::kFloat32), 1);
}

TEST(MixedPrecision, ConstantsThatExceedFloat16AndNamedNodesStay) {
  ir::Graph large = dense_graph(1e6f);
  ASSERT_TRUE(run(large, true).ok());
  EXPECT_EQ(count(large, ir::Op::kMatMul, ir::DType::kFloat32), 1);
  ir::Graph named = dense_graph(4);
  ASSERT_TRUE(run(named, true, {"dense"}).ok());
  EXPECT_EQ(count(named, ir::Op::kMatMul, ir::DType::kFloat32), 1);
}

// A 3x3 convolution of an image; `shared`: something else reads the image too.
ir::Graph image_graph(bool shared) {
  ir::Graph graph;
  const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{1, 8, 8, 3}));
  const std::vector<float> values(3 * 3 * 3 * 8, 0.5f);
  const ir::ValueId w =
      graph.add_constant(ir::make_tensor<float>(ir::DType::kFloat32, {3, 3, 3, 8}, std::span<const float>(values)));
  ir::ConvAttrs attrs;
  attrs.strides = attrs.dilations = {1, 1};
  const ir::ValueId y = graph.add_node(ir::Op::kConv, "conv", {x, w}, 1, attrs).outputs[0];
  const ir::ValueId z = graph.add_node(ir::Op::kSoftmax, "soft", {x}, 1, ir::SoftmaxAttrs{}).outputs[0];
  graph.set_outputs(shared ? std::vector<ir::ValueId>{y, z} : std::vector<ir::ValueId>{y},
                    shared ? std::vector<std::string>{"conv", "soft"} : std::vector<std::string>{"conv"});
  graph.remove_dead_nodes();
  EXPECT_TRUE(ir::infer_shapes(graph).ok());
  return graph;
}

TEST(MixedPrecision, FirstConvolutionsReadFloat32ImagesThatOthersReadToo) {
  ir::Graph graph = image_graph(true);
  ASSERT_TRUE(run(graph, true).ok());
  EXPECT_EQ(count(graph, ir::Op::kConv, ir::DType::kFloat16), 1);
  EXPECT_EQ(count(graph, ir::Op::kCast, ir::DType::kFloat16), 0);
  EXPECT_EQ(count(graph, ir::Op::kCast, ir::DType::kFloat32), 1);
}

TEST(MixedPrecision, InputsOfTheirOwnAreCastWhereTheyAreCopied) {
  ir::Graph graph = image_graph(false);
  ASSERT_TRUE(run(graph, true).ok());
  EXPECT_EQ(count(graph, ir::Op::kConv, ir::DType::kFloat16), 1);
  EXPECT_EQ(count(graph, ir::Op::kCast, ir::DType::kFloat16), 1);
}

// The rules of a GPU: images are cast where they are copied, and what float16 does not hold takes part.
TEST(MixedPrecision, OnAGpuInBFloat16) {
  ir::Graph images = image_graph(false);
  ASSERT_TRUE(run_in(images, ir::DType::kBFloat16, {}, true).ok());
  EXPECT_EQ(count(images, ir::Op::kConv, ir::DType::kBFloat16), 1);
  EXPECT_EQ(count(images, ir::Op::kCast, ir::DType::kBFloat16), 1);
  ir::Graph large = dense_graph(1e6f);
  ASSERT_TRUE(run_in(large, ir::DType::kBFloat16, {}, true).ok());
  EXPECT_EQ(count(large, ir::Op::kMatMul, ir::DType::kBFloat16), 1);
  EXPECT_EQ(count(large, ir::Op::kPointwise, ir::DType::kBFloat16), 1);
  EXPECT_EQ(count(large, ir::Op::kSoftmax, ir::DType::kFloat32), 1);
}

TEST(MixedPrecision, OnACpuBFloat16HoldsLargeConstantsAndNamedNodesStay) {
  ir::Graph large = dense_graph(1e6f);
  ASSERT_TRUE(run_in(large, ir::DType::kBFloat16).ok());
  EXPECT_EQ(count(large, ir::Op::kMatMul, ir::DType::kBFloat16), 1);
  EXPECT_EQ(count(large, ir::Op::kSoftmax, ir::DType::kFloat32), 1);
  for (ir::ValueId output : large.outputs()) EXPECT_EQ(large.value(output).dtype, ir::DType::kFloat32);
  ir::Graph named = dense_graph(4);
  ASSERT_TRUE(run_in(named, ir::DType::kBFloat16, {"dense"}).ok());
  EXPECT_EQ(count(named, ir::Op::kMatMul, ir::DType::kFloat32), 1);
}

// A depthwise convolution gains bandwidth first of all: it is narrow only between nodes that are.
TEST(MixedPrecision, OnACpuDepthwiseConvolutionsFollow) {
  for (const bool behind : {false, true}) {
    blade::testing::GraphBuilder b;
    auto x = b.input("x", {1, 8, 8, 8});
    if (behind) x = b.conv(x, b.constant<float>({1, 1, 8, 8}, std::vector<float>(64, 0.5f)));
    const auto y =
        b.conv(x, b.constant<float>({3, 3, 1, 8}, std::vector<float>(72, 0.5f)), {1, 1}, ir::Padding::kSame, 8);
    ir::Graph graph = b.output(y, "y").build();
    ASSERT_TRUE(run_in(graph, ir::DType::kBFloat16).ok());
    EXPECT_EQ(count(graph, ir::Op::kConv, ir::DType::kBFloat16), behind ? 2 : 0);
  }
}

// Its masks stay float32, also constant ones that are no float16 numbers, and it stays whole where it is asked to.
TEST(MixedPrecision, AttentionLeadsButForItsMasks) {
  for (const bool kept : {false, true}) {
    blade::testing::GraphBuilder b;
    const std::vector<int64_t> plain = {0, 1, 2};
    const auto mask = b.constant<float>({3}, {0, -1e9f, 0});
    const auto y =
        b.op(ir::Op::kAttention, {b.input("q", {2, 5, 8}), b.input("k", {2, 3, 8}), b.input("v", {2, 3, 8}), mask},
             ir::AttentionAttrs{0.5f, plain, plain, plain, plain, false});
    ir::Graph graph = b.output(y, "y").build();
    const ir::Node& node = blade::testing::only(graph, ir::Op::kAttention);
    const std::string name = node.name;
    ASSERT_TRUE(run(graph, true, kept ? std::vector<std::string>{name} : std::vector<std::string>{}).ok());
    const ir::Node& attention = blade::testing::only(graph, ir::Op::kAttention);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(graph.value(attention.inputs[i]).dtype, kept ? ir::DType::kFloat32 : ir::DType::kFloat16);
    }
    EXPECT_EQ(graph.value(attention.inputs[3]).dtype, ir::DType::kFloat32);
    EXPECT_EQ(graph.value(graph.outputs()[0]).dtype, ir::DType::kFloat32);
  }
}

// Keys that come from elsewhere are read where they lie, not rounded first.
TEST(MixedPrecision, OnACpuAttentionFollowsWhereAllItsDataIsNarrow) {
  for (const bool keys_elsewhere : {false, true}) {
    blade::testing::GraphBuilder b;
    const std::vector<int64_t> plain = {0, 1};
    const auto w = b.constant<float>({8, 8}, std::vector<float>(64, 0.5f));
    const auto dense = [&](const char* name) {
      return b.op(ir::Op::kMatMul, {b.input(name, {5, 8}), w}, ir::MatMulAttrs{});
    };
    const auto k = keys_elsewhere ? b.input("k", {5, 8}) : dense("k");
    const auto y = b.op(ir::Op::kAttention, {dense("q"), k, dense("v"), b.input("mask", {5, 5})},
                        ir::AttentionAttrs{0.5f, plain, plain, plain, plain, false});
    ir::Graph graph = b.output(y, "y").build();
    ASSERT_TRUE(run_in(graph, ir::DType::kBFloat16).ok());
    const ir::Node& attention = blade::testing::only(graph, ir::Op::kAttention);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(graph.value(attention.inputs[i]).dtype, keys_elsewhere ? ir::DType::kFloat32 : ir::DType::kBFloat16);
    }
    EXPECT_EQ(graph.value(attention.inputs[3]).dtype, ir::DType::kFloat32);
  }
}

// Nine taps of 0.1, each of which bfloat16 makes 0.10009765625, sum to 0.9 within what one of them loses.
TEST(MixedPrecision, OnACpuTheRoundingErrorsOfWeightsCancel) {
  blade::testing::GraphBuilder b;
  auto y = b.conv(b.input("x", {1, 8, 8, 8}), b.constant<float>({1, 1, 8, 8}, std::vector<float>(64, 0.5f)));
  y = b.conv(y, b.constant<float>({3, 3, 1, 8}, std::vector<float>(72, 0.1f)), {1, 1}, ir::Padding::kSame, 8);
  ir::Graph graph = b.output(y, "y").build();
  ASSERT_TRUE(run_in(graph, ir::DType::kBFloat16).ok());
  int found = 0;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id) || graph.node(id).op != ir::Op::kConv) continue;
    const ir::TensorPtr taps = graph.value(graph.node(id).inputs[1]).constant;
    if (taps->dims != ir::Dims{3, 3, 1, 8} || taps->dtype != ir::DType::kBFloat16) continue;
    ++found;
    const auto* values = reinterpret_cast<const BFloat16*>(taps->data);
    for (size_t channel = 0; channel < 8; ++channel) {
      double sum = 0;
      for (size_t tap = 0; tap < 9; ++tap) sum += double{static_cast<float>(values[tap * 8 + channel])};
      EXPECT_NEAR(sum, 0.9, 0x1.01p-12);
    }
  }
  EXPECT_EQ(found, 1);
}

// A product writes float32 itself: narrow, a reshape between it and the softmax would cost a rounding and a cast.
TEST(MixedPrecision, OnACpuViewsFollowOnlyTowardsNarrowReaders) {
  for (const bool product_behind : {false, true}) {
    ir::Graph graph;
    const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 2}));
    const float values[] = {1, 2, 3, 4};
    const ir::ValueId w =
        graph.add_constant(ir::make_tensor<float>(ir::DType::kFloat32, {2, 2}, std::span<const float>(values)));
    const ir::ValueId y = graph.add_node(ir::Op::kMatMul, "dense", {x, w}, 1, ir::MatMulAttrs{}).outputs[0];
    const ir::ValueId dims = graph.add_constant(int64_tensor({1, 2, 2}));
    const ir::ValueId r = graph.add_node(ir::Op::kReshape, "view", {y, dims}, 1, {}).outputs[0];
    const ir::ValueId s = graph.add_node(ir::Op::kSoftmax, "soft", {r}, 1, ir::SoftmaxAttrs{}).outputs[0];
    const ir::ValueId z = graph.add_node(ir::Op::kMatMul, "last", {r, w}, 1, ir::MatMulAttrs{}).outputs[0];
    graph.set_outputs({product_behind ? z : s}, {"out"});
    ASSERT_TRUE(ir::infer_shapes(graph).ok());
    graph.remove_dead_nodes();
    ASSERT_TRUE(run_in(graph, ir::DType::kBFloat16).ok());
    EXPECT_EQ(count(graph, ir::Op::kReshape, ir::DType::kFloat32), product_behind ? 0 : 1);
    EXPECT_EQ(count(graph, ir::Op::kReshape, ir::DType::kBFloat16), product_behind ? 1 : 0);
  }
}

TEST(MixedPrecision, OnACpuTransposedConvolutionsLeadWhereThereAreKernels) {
  for (const int64_t dilation : {1, 2}) {
    blade::testing::GraphBuilder b;
    ir::ConvTransposeAttrs attrs;
    attrs.strides = {2, 2};
    attrs.dilations = {dilation, dilation};
    attrs.padding = ir::Padding::kSame;
    const auto w = b.constant<float>({3, 3, 5, 8}, std::vector<float>(360, 0.5f));
    const auto y = b.op(ir::Op::kConvTranspose, {b.input("x", {1, 4, 4, 8}), w, b.ints({1, 8, 8, 5})}, attrs);
    ir::Graph graph = b.output(y, "y").build();
    ASSERT_TRUE(run_in(graph, ir::DType::kBFloat16).ok());
    EXPECT_EQ(count(graph, ir::Op::kConvTranspose, ir::DType::kBFloat16), dilation == 1 ? 1 : 0);
  }
}

TEST(MixedPrecision, OnACpuVolumesLeadWhereThereAreTileRegisters) {
  for (const auto& [has_tiles, depth_taps] : {std::pair(true, 3), {true, 17}, {false, 3}}) {
    blade::testing::GraphBuilder b;
    ir::ConvAttrs attrs;
    attrs.strides = attrs.dilations = {1, 1, 1};
    attrs.padding = ir::Padding::kSame;
    const auto w = b.constant<float>({depth_taps, 1, 1, 8, 5}, std::vector<float>(depth_taps * 40, 0.5f));
    ir::Graph graph = b.output(b.op(ir::Op::kConv, {b.input("x", {1, 4, 4, 4, 8}), w}, attrs), "y").build();
    ASSERT_TRUE(run_in(graph, ir::DType::kBFloat16, {}, /*on_gpu=*/false, has_tiles).ok());
    EXPECT_EQ(count(graph, ir::Op::kConv, ir::DType::kBFloat16), has_tiles && depth_taps == 3 ? 1 : 0);
  }
}

// A product that stays float32 reads a mean that nothing has rounded.
TEST(MixedPrecision, OnACpuMeansBeforeProductsThatAreKeptAreKept) {
  for (const bool through_view : {false, true}) {
    for (const bool kept : {false, true}) {
      blade::testing::GraphBuilder b;
      const auto weights = b.constant<float>({1, 1, 8, 8}, std::vector<float>(64, 0.5f));
      const auto x = b.conv(b.input("x", {1, 8, 8, 8}), weights);
      const auto mean = b.op(ir::Op::kReduce, {x}, ir::ReduceAttrs{ir::ReduceKind::kMean, {1, 2}, true});
      b.output(b.conv(through_view ? b.reshape(mean, {1, 1, 1, 8}) : mean, weights), "y");
      ir::Graph graph = b.build();
      const std::string product = graph.node(graph.value(graph.outputs()[0]).producer).name;
      ASSERT_TRUE(run_in(graph, ir::DType::kBFloat16, {kept ? product : "none"}).ok());
      EXPECT_EQ(count(graph, ir::Op::kReduce, ir::DType::kBFloat16), kept ? 0 : 1);
      EXPECT_EQ(count(graph, ir::Op::kReshape, ir::DType::kBFloat16), through_view && !kept ? 1 : 0);
    }
  }
}

// A mean over pixels is narrow where all that reads it are products, which round it in any case: by itself or a view.
TEST(MixedPrecision, OnACpuMeansBeforeProductsFollow) {
  enum class ReadElsewhere { kNo, kMean, kView };
  for (const bool through_view : {false, true}) {
    for (const auto elsewhere : {ReadElsewhere::kNo, ReadElsewhere::kMean, ReadElsewhere::kView}) {
      blade::testing::GraphBuilder b;
      const auto weights = b.constant<float>({1, 1, 8, 8}, std::vector<float>(64, 0.5f));
      const auto x = b.conv(b.input("x", {1, 8, 8, 8}), weights);
      const auto mean = b.op(ir::Op::kReduce, {x}, ir::ReduceAttrs{ir::ReduceKind::kMean, {1, 2}, true});
      const auto pooled = through_view ? b.reshape(mean, {1, 1, 1, 8}) : mean;
      b.output(b.conv(pooled, weights), "y");
      if (elsewhere != ReadElsewhere::kNo) b.output(elsewhere == ReadElsewhere::kMean ? mean : pooled, "pooled");
      ir::Graph graph = b.build();
      ASSERT_TRUE(run_in(graph, ir::DType::kBFloat16).ok());
      const int expected = elsewhere == ReadElsewhere::kNo ? 1 : 0;
      EXPECT_EQ(count(graph, ir::Op::kReduce, ir::DType::kBFloat16), expected);
      EXPECT_EQ(count(graph, ir::Op::kReshape, ir::DType::kBFloat16), through_view ? expected : 0);
      EXPECT_EQ(count(graph, ir::Op::kConv, ir::DType::kBFloat16), 2);
    }
  }
}

}  // namespace
}  // namespace blade::passes
