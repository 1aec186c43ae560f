// The pipeline as a whole: order, names, switches, errors, and how long a large graph takes.
#include <chrono>
#include <set>

#include "passes/pass_test_util.h"

namespace blade::testing {
namespace {

using Id = GraphBuilder::Id;

// Blocks as small face models have them: depthwise, 1x1, bias, residual, PReLU in pieces.
ir::Graph face_model(int blocks) {
  GraphBuilder b;
  Id x = b.input("x", {-1, 8, 8, 16});
  for (int i = 0; i < blocks; ++i) {
    const auto w = b.constant<float>({3, 3, 1, 16}, ramp(144)),
               w1 = b.constant<float>({1, 1, 16, 16}, ramp(256, -0.2f, 0.2f));
    const auto depthwise = b.conv(x, w, {1, 1}, ir::Padding::kSame, 16);
    const auto y = b.add(b.add(b.conv(depthwise, w1), b.constant<float>({16}, ramp(16))), x);
    const auto slope =
        b.pointwise(P::kNeg, {b.constant<float>({1, 1, 16}, ramp(16, 0, 0.3f + 0.01f * static_cast<float>(i)))});
    x = b.add(b.relu(y), b.mul(slope, b.relu(b.pointwise(P::kNeg, {y}))));
    x = b.op(Op::kIdentity, {x}, ir::IdentityAttrs{});
  }
  return b.output(b.op(Op::kReduce, {x}, ir::ReduceAttrs{ir::ReduceKind::kMean, {1, 2}, false})).build();
}

TEST(Pipeline, NamesAreUniqueAndOrdered) {
  std::set<std::string> names;
  bool in_region = false;
  for (const passes::Pass& pass : passes::pipeline()) {
    EXPECT_TRUE(names.insert(pass.name).second);
    EXPECT_FALSE(in_region && pass.on_whole_graph);
    in_region |= !pass.on_whole_graph;
  }
  EXPECT_TRUE(names.count("TfStripUnusedNodes") && names.count("TfStripDebugOps") && names.count("TfFoldConstants"));
}

TEST(Pipeline, FaceModelBecomesTwoNodesABlock) {
  ir::Graph graph = face_model(3);
  const ir::Graph before = graph.clone();
  ASSERT_TRUE(passes::run_pipeline(graph, true, {}).ok());
  const auto reports = passes::run_pipeline(graph, false, {});
  ASSERT_TRUE(reports.ok()) << reports.status().message();
  EXPECT_EQ(num_nodes(graph), 7) << ir::to_string(graph);
  expect_same_answers(before, graph, 1e-5);
  const auto again = passes::run_pipeline(graph, false, {});
  ASSERT_TRUE(again.ok());
  for (const auto& report : *again) EXPECT_EQ(report.result.changes, 0) << report.pass;
}

// What stays in the source framework may have no results: a write for which an output waits.
TEST(Pipeline, TakesNodesWithoutResults) {
  GraphBuilder b;
  const auto x = b.input("x", {-1, 8});
  b.ops(Op::kForeign, {x}, 0, ir::ForeignAttrs{"SaveV2", "test", /*side_effects=*/true}, "check");
  const auto y = b.relu(x);
  b.graph().node(b.graph().value(y).producer).control_inputs = {0};
  ir::Graph graph = b.output(y).build_unchecked();
  for (const bool whole_graph : {true, false}) {
    const auto reports = passes::run_pipeline(graph, whole_graph, {});
    ASSERT_TRUE(reports.ok()) << reports.status().message();
  }
  EXPECT_EQ(count(graph, Op::kForeign), 1) << ir::to_string(graph);
}

TEST(Pipeline, DisabledPassesDoNotRun) {
  ir::Graph graph = face_model(1);
  const std::vector<std::string> disabled{"FuseEpilogue", "FusePointwise"};
  const auto reports = passes::run_pipeline(graph, false, disabled);
  ASSERT_TRUE(reports.ok());
  for (const auto& report : *reports) EXPECT_TRUE(report.pass != "FuseEpilogue" && report.pass != "FusePointwise");
  EXPECT_EQ(count(graph, P::kPRelu), 1);
}

TEST(Pipeline, ErrorsNameThePass) {
  GraphBuilder b;
  const auto y = b.relu(b.input("x", {2}));
  const auto z = b.relu(y);
  ir::Graph graph = b.output(z).build_unchecked();
  graph.node(0).inputs[0] = z;  // a cycle
  const auto reports = passes::run_pipeline(graph, false, {});
  ASSERT_FALSE(reports.ok());
  EXPECT_EQ(reports.status().message().rfind("Pass WidenHalves: ", 0), 0u) << reports.status().message();
}

TEST(Pipeline, LargeGraphsTakeLittleTime) {
  ir::Graph graph = face_model(250);  // 2,500 nodes
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(passes::run_pipeline(graph, true, {}).ok());
  ASSERT_TRUE(passes::run_pipeline(graph, false, {}).ok());
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  RecordProperty("milliseconds", static_cast<int>(ms));
  EXPECT_EQ(num_nodes(graph), 501);
  EXPECT_LT(ms, 2000);  // about 60 in a release build on an idle machine
}

}  // namespace
}  // namespace blade::testing
