// The graph's bookkeeping: order, rewiring, removal, names, cloning and printing.
#include "ir/graph.h"

#include "infer_test_util.h"

namespace blade::testing {
namespace {

using ir::NodeId;
using ir::ValueId;

TEST(Graph, OrderIsStableInNodeId) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  const ValueId late = b.relu(x);
  const ValueId other = b.relu(x);
  const ValueId sum = b.add(late, other);
  // Node 0 now reads node 2's result by way of node 3: order 1, 2 stays, 0 comes last.
  ir::Graph g = b.output(sum).build();
  EXPECT_EQ(*g.topological_order(), (std::vector<NodeId>{0, 1, 2}));
  g.node(0).inputs[0] = other;
  EXPECT_EQ(*g.topological_order(), (std::vector<NodeId>{1, 0, 2}));
}

TEST(Graph, CycleNamesANodeOnIt) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  const ValueId a = b.op(Op::kIdentity, {x}, ir::IdentityAttrs{}, "before");
  const ValueId c = b.op(Op::kIdentity, {a}, ir::IdentityAttrs{}, "loop_a");
  const ValueId d = b.op(Op::kIdentity, {c}, ir::IdentityAttrs{}, "loop_b");
  const ValueId e = b.op(Op::kIdentity, {d}, ir::IdentityAttrs{}, "after");
  ir::Graph g = b.output(e).build_unchecked();
  g.node(1).inputs[0] = d;
  const auto order = g.topological_order();
  ASSERT_FALSE(order.ok());
  EXPECT_NE(order.status().message().find("'loop_"), std::string::npos) << order.status().message();
  EXPECT_FALSE(ir::infer_shapes(g).ok());
  EXPECT_FALSE(ir::verify(g).ok());
}

TEST(Graph, LongChainsNeedNoStack) {
  GraphBuilder b;
  ValueId x = b.input("x", {2});
  for (int i = 0; i < 50000; ++i) x = b.op(Op::kIdentity, {x}, ir::IdentityAttrs{}, ir::concat("n", i));
  EXPECT_EQ(b.output(x).build_unchecked().topological_order()->size(), 50000u);
}

TEST(Graph, ControlInputsOrderNodes) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  const ValueId first = b.relu(x), second = b.relu(x);
  ir::Graph g = b.output(first).output(second).build();
  g.node(0).control_inputs = {1};
  EXPECT_EQ(*g.topological_order(), (std::vector<NodeId>{1, 0}));
}

TEST(Graph, ReplaceUsesKeepsOutputNames) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  const ValueId id = b.op(Op::kIdentity, {x}), r = b.relu(id);
  ir::Graph g = b.output(r, "r").output(id, "probe").build();
  g.replace_uses(id, x);
  EXPECT_EQ(g.outputs(), (std::vector<ValueId>{r, x}));
  EXPECT_EQ(g.output_names(), (std::vector<std::string>{"r", "probe"}));
  EXPECT_EQ(g.remove_dead_nodes(), 1);
  EXPECT_FALSE(g.is_live(0));
  EXPECT_TRUE(ir::verify(g).ok());
}

TEST(Graph, SideEffectsAndTheirControlsStay) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  b.relu(x);                                                                               // 0: dead
  b.ops(Op::kForeign, {x}, 0, ir::ForeignAttrs{"Print", "", true}, "print");               // 1: stays
  b.ops(Op::kForeign, {x}, 1, ir::ForeignAttrs{"Other", "", false}, "needed_by_control");  // 2: stays
  b.ops(Op::kForeign, {x}, 1, ir::ForeignAttrs{"Other", "", false}, "dead");               // 3: dead
  b.graph().node(1).control_inputs = {2};
  ir::Graph g = b.output(x).build();
  EXPECT_EQ(g.remove_dead_nodes(), 2);
  EXPECT_TRUE(g.is_live(1));
  EXPECT_TRUE(g.is_live(2));
}

TEST(Graph, RemovedNodesHandControlInputsOn) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  b.relu(x), b.relu(x), b.relu(x);
  ir::Graph g = b.output(x).build();
  g.node(1).control_inputs = {0};
  g.node(2).control_inputs = {1};
  g.remove_node(1);
  EXPECT_EQ(g.node(2).control_inputs, std::vector<NodeId>{0});
}

TEST(Graph, NamesAreUnique) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  b.op(Op::kIdentity, {x}, ir::IdentityAttrs{}, "a");
  EXPECT_EQ(b.graph().unique_name("b"), "b");
  const std::string a1 = b.graph().unique_name("a"), a2 = b.graph().unique_name("a");
  EXPECT_NE(a1, "a");
  EXPECT_NE(a1, a2);
}

TEST(Graph, CloneIsIndependentAndSharesConstants) {
  GraphBuilder b;
  const ValueId x = b.input("x", {-1, 2}), w = b.filled<float>({2}, 1.f);
  const ir::Graph g = b.output(b.add(x, w), "y").build();
  ir::Graph copy = g.clone();
  EXPECT_EQ(to_string(copy), to_string(g));
  EXPECT_EQ(copy.value(w).constant.get(), g.value(w).constant.get());
  copy.node(0).name = "renamed";
  EXPECT_NE(to_string(copy), to_string(g));
}

TEST(Graph, Consumers) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  const ValueId y = b.add(x, x);
  const ir::Graph g = b.output(y).build();
  EXPECT_EQ(g.consumers()[x], (std::vector<NodeId>{0, 0}));
  EXPECT_TRUE(g.consumers()[y].empty());
  EXPECT_TRUE(g.is_output(y));
  EXPECT_FALSE(g.is_output(x));
}

TEST(Graph, Prints) {
  GraphBuilder b;
  const ValueId x = b.input("x", {-1, 4});
  const ir::Graph g =
      b.output(b.op(Op::kReduce, {x}, ir::ReduceAttrs{ir::ReduceKind::kSum, {1}, true}, "sum"), "y").build();
  EXPECT_EQ(to_string(g),
            "input %0 : float32[x.0,4]  // x\n"
            "%1 = Reduce(%0) kind=sum axes=[1] keep_dims=true : float32[x.0,1]  // sum\n"
            "output %1  // y\n");
}

TEST(Ops, NamesRoundTrip) {
  for (int i = 0; i < ir::kNumOps; ++i) {
    const auto op = static_cast<Op>(i);
    EXPECT_EQ(ir::op_from_name(ir::op_name(op)), op);
  }
  EXPECT_FALSE(ir::op_from_name("Nonsense").has_value());
}

}  // namespace
}  // namespace blade::testing
