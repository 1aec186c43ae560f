// The passes that run before partition, where nodes of the source framework are still in the graph.
#include "passes/pass_test_util.h"

namespace blade::testing {
namespace {

using ir::ForeignAttrs;
using ir::IdentityAttrs;
using ir::IdentityKind;

struct WholeGraph : ::testing::Test {
  // A node of the source framework; its output has x's type.
  GraphBuilder::Id foreign(const std::string& op, std::vector<GraphBuilder::Id> inputs, bool side_effects, int outputs,
                           const std::string& name) {
    const auto made = b.ops(Op::kForeign, inputs, outputs, ForeignAttrs{op, "test", side_effects}, name);
    for (GraphBuilder::Id id : made) {
      b.graph().value(id).dtype = ir::DType::kFloat32;
      b.graph().value(id).shape = b.graph().value(x).shape;
      b.graph().value(id).name = name + ":0";
    }
    return made.empty() ? ir::kNone : made[0];
  }
  GraphBuilder::Id named(GraphBuilder::Id id, const std::string& name) {
    b.graph().value(id).name = name;
    return id;
  }
  ir::NodeId node_of(GraphBuilder::Id id) { return b.graph().value(id).producer; }
  GraphBuilder b;
  GraphBuilder::Id x = b.input("x", {-1, 4});
};

TEST_F(WholeGraph, StripUnusedRemovesWhatNoOutputNeeds) {
  const auto kept = b.relu(x);
  b.relu(b.relu(x));
  foreign("Assert", {x}, true, 0, "watch");
  const Applied applied = apply_pass("TfStripUnusedNodes", b.output(kept).build());
  EXPECT_EQ(applied.result.changes, 3);
  EXPECT_EQ(num_nodes(applied.graph), 1);
}

TEST_F(WholeGraph, StripUnusedKeepsControlInputsOfWhatIsNeeded) {
  foreign("Init", {}, true, 0, "init");
  const auto kept = b.relu(x);
  b.graph().node(node_of(kept)).control_inputs = {0};
  const Applied applied = apply_pass("TfStripUnusedNodes", b.output(kept).build());
  EXPECT_EQ(applied.result.changes, 0);
  EXPECT_EQ(num_nodes(applied.graph), 2);
}

TEST_F(WholeGraph, StripDebugRemovesIdentitiesAndWatchers) {
  const auto y = named(b.relu(x), "relu:0");
  const auto i1 = named(b.op(Op::kIdentity, {y}, IdentityAttrs{IdentityKind::kStopGradient}), "i1:0");
  const auto i2 = named(b.op(Op::kIdentity, {i1}, IdentityAttrs{IdentityKind::kCheckNumerics}), "i2:0");
  foreign("Assert", {i2, b.relu(i2)}, true, 0, "assert");
  const auto z = b.relu(i2);
  b.graph().node(node_of(z)).control_inputs = {b.graph().num_node_slots() - 2};
  const Applied applied = apply_pass("TfStripDebugOps", b.output(z).build());
  EXPECT_EQ(applied.result.changes, 3);
  EXPECT_EQ(num_nodes(applied.graph), 2);
  EXPECT_TRUE(output_node(applied.graph).control_inputs.empty());
}

TEST_F(WholeGraph, StripDebugPassesPrintThrough) {
  const auto printed = foreign("Print", {x, x}, true, 1, "print");
  const Applied applied = apply_pass("TfStripDebugOps", b.output(b.relu(printed)).build());
  EXPECT_EQ(num_nodes(applied.graph), 1);
  EXPECT_EQ(output_node(applied.graph).inputs[0], x);
}

TEST_F(WholeGraph, StripDebugKeepsOutputsEnsureShapeAndControlEdges) {
  const auto out = b.op(Op::kIdentity, {b.relu(x)}, IdentityAttrs{});
  const auto ensured = b.relu(b.op(Op::kEnsureShape, {b.relu(x)}, ir::EnsureShapeAttrs{{-1, 4}}));
  const auto pivot = b.op(Op::kIdentity, {b.relu(x)}, IdentityAttrs{});
  const auto after = b.relu(pivot);
  b.graph().node(node_of(ensured)).control_inputs = {node_of(pivot)};
  const Applied applied = apply_pass("TfStripDebugOps", b.output(out).output(ensured).output(after).build());
  EXPECT_EQ(applied.result.changes, 0);
  EXPECT_EQ(count(applied.graph, Op::kIdentity), 2);
  EXPECT_EQ(count(applied.graph, Op::kEnsureShape), 1);
}

TEST_F(WholeGraph, StripDebugKeepsNamesThatForeignNodesRead) {
  const auto unnamed = b.relu(x);
  const auto identity = named(b.op(Op::kIdentity, {unnamed}, IdentityAttrs{}), "identity:0");
  const auto y = foreign("Custom", {identity}, false, 1, "custom");
  const Applied applied = apply_pass("TfStripDebugOps", b.output(y).build());
  EXPECT_EQ(applied.result.changes, 0);
}

TEST_F(WholeGraph, FoldsConstantsAndKnownShapes) {
  const auto c = b.pointwise(P::kNeg, {b.constant<float>({4}, {1, 2, 3, 4})});
  const auto flat =
      b.op(Op::kReshape, {x, b.op(Op::kPack, {b.scalar<int32_t>(-1), b.scalar<int32_t>(4)}, ir::AxisAttrs{0})});
  const Applied applied = apply_pass("TfFoldConstants", b.output(b.add(flat, c)).build());
  EXPECT_EQ(num_nodes(applied.graph), 2);
}

TEST_F(WholeGraph, FoldsShapesKnownUpToTheBatch) {
  const auto shape = b.shape_of(x);
  const auto batch =
      b.op(Op::kStridedSlice, {shape, b.ints({0}), b.ints({1}), b.ints({1})}, ir::StridedSliceAttrs{0, 0, 0, 0, 1});
  const auto target = b.op(Op::kPack, {batch, b.scalar<int32_t>(2), b.scalar<int32_t>(2)}, ir::AxisAttrs{0});
  const Applied applied = apply_pass("TfFoldConstants", b.output(b.relu(b.op(Op::kReshape, {x, target}))).build());
  EXPECT_EQ(num_nodes(applied.graph), 2) << ir::to_string(applied.graph);
  EXPECT_GT(applied.result.changes, 0);
}

TEST_F(WholeGraph, FoldStaysWithinLimits) {
  const auto big = b.op(Op::kTile, {b.filled<float>({1, 4}, 1.0f), b.ints({4096, 1})});
  const auto small = b.op(Op::kTile, {b.filled<float>({1, 4}, 1.0f), b.ints({2, 1})});
  b.output(b.op(Op::kConcat, {x, big, small}, ir::AxisAttrs{0}));
  const Applied applied = apply_pass("TfFoldConstants", b.build());
  EXPECT_EQ(count(applied.graph, Op::kTile), 1);
  EXPECT_FALSE(applied.result.notes.empty());
}

TEST_F(WholeGraph, FoldKeepsOutputsControlledNodesAndForeignNodes) {
  foreign("Init", {}, true, 0, "init");
  const auto c = b.constant<float>({4}, {1, 2, 3, 4});
  const auto output = b.pointwise(P::kNeg, {c});
  const auto controlled = b.pointwise(P::kAbs, {c});
  b.graph().node(node_of(controlled)).control_inputs = {0};
  const auto custom = foreign("Custom", {c}, false, 1, "custom");
  const Applied applied =
      apply_pass("TfFoldConstants", b.output(output).output(b.add(x, controlled)).output(custom).build());
  EXPECT_EQ(applied.result.changes, 0);
}

TEST_F(WholeGraph, FoldedValueKeepsItsName) {
  const auto c = named(b.pointwise(P::kNeg, {b.constant<float>({4}, {1, 2, 3, 4})}), "neg:0");
  const Applied applied = apply_pass("TfFoldConstants", b.output(b.add(x, c)).build());
  const ir::Value& value = applied.graph.value(output_node(applied.graph).inputs[1]);
  EXPECT_TRUE(value.is_constant());
  EXPECT_EQ(value.name, "neg:0");
}

}  // namespace
}  // namespace blade::testing
