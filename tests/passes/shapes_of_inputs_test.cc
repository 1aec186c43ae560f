// ShapesOfInputs: sizes of computed values that are those of inputs.
#include <gtest/gtest.h>

#include "passes/pass_test_util.h"

namespace blade::testing {
namespace {

using Id = GraphBuilder::Id;

struct ShapesOfInputs : ::testing::Test {
  GraphBuilder b;
  Id x = b.input("x", {-1, 4});
  Id shape_of(Id v) { return b.op(Op::kShapeOf, {v}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, ir::DType::kInt32}); }
  Id element(Id v, int32_t i) { return b.op(Op::kGather, {v, b.scalar<int32_t>(i)}, ir::GatherAttrs{}); }
  // Every ShapeOf reads an input.
  void expect_inputs_asked(const ir::Graph& graph) {
    for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
      if (!graph.is_live(id) || graph.node(id).op != Op::kShapeOf) continue;
      EXPECT_EQ(graph.value(graph.node(id).inputs[0]).producer, ir::kNone) << ir::to_string(graph);
    }
  }
};

TEST_F(ShapesOfInputs, OfAWholeShape) {
  const Id y = b.matmul(b.relu(x), b.constant<float>({4, 3}, ramp(12)));
  const Applied applied =
      apply_pass("ShapesOfInputs", b.output(b.op(Op::kFill, {shape_of(y), b.scalar(2.0f)})).build());
  expect_inputs_asked(applied.graph);
  EXPECT_EQ(count(applied.graph, Op::kMatMul), 0);
}

TEST_F(ShapesOfInputs, OfOneSizeThatIsComputedWith) {
  const Id y = b.op(Op::kTranspose, {b.relu(x)}, ir::PermAttrs{{1, 0}});
  const Id steps = b.op(Op::kRange, {b.scalar<int32_t>(0), element(shape_of(y), 1), b.scalar<int32_t>(1)});
  const Applied applied = apply_pass("ShapesOfInputs", b.output(steps).output(y).build());
  expect_inputs_asked(applied.graph);
  EXPECT_EQ(count(applied.graph, Op::kPack), 0);
}

TEST_F(ShapesOfInputs, SizesThatAreNoInputsStay) {
  const Id where = b.op(Op::kWhere, {b.input("keep", {-1}, ir::DType::kBool)});
  const Applied applied = apply_pass("ShapesOfInputs", b.output(element(shape_of(where), 0)).build());
  EXPECT_EQ(applied.result.changes, 0);
}

TEST_F(ShapesOfInputs, LetsAttentionBeFoundWhoseScoresAreAskedFor) {
  const Id q = b.input("q", {-1, 5, 4}), k = b.relu(q), v = b.relu(k);
  const Id scores = b.matmul(q, k, false, true);
  const Id mask = b.op(Op::kFill, {shape_of(scores), b.scalar(1.0f)});
  const Id out = b.matmul(b.op(Op::kSoftmax, {b.add(scores, mask)}, ir::SoftmaxAttrs{false}), v);
  const Applied applied = apply_pass("ShapesOfInputs", b.output(out).build());
  EXPECT_EQ(count(apply_pass("RecognizeAttention", applied.graph.clone(), 1e-5).graph, Op::kAttention), 1);
}

}  // namespace
}  // namespace blade::testing
