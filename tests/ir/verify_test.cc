// Every way a graph can be broken is found, and the sentence names the node.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

struct Verify : ::testing::Test {
  Verify() {
    x = b.input("x", {2, 3});
    y = b.op(Op::kIdentity, {x}, ir::IdentityAttrs{}, "first");
    z = b.op(Op::kIdentity, {y}, ir::IdentityAttrs{}, "second");
    g = b.output(z).build();
  }
  void expect(const std::string& part) {
    const Status status = ir::verify(g);
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
  GraphBuilder b;
  ir::ValueId x, y, z;
  ir::Graph g;
};

TEST_F(Verify, AcceptsASoundGraph) { EXPECT_TRUE(ir::verify(g).ok()); }
TEST_F(Verify, InputOutOfRange) {
  g.node(1).inputs[0] = 99;
  expect("'second'");
}
TEST_F(Verify, ReadsARemovedNode) {
  g.remove_node(0);
  expect("'second'");
}
TEST_F(Verify, SharedName) {
  g.node(1).name = "first";
  expect("shares its name");
}
TEST_F(Verify, AttributesOfAnotherOp) {
  g.node(1).attrs = ir::PermAttrs{{0, 1}};
  expect("'second' (Identity) carries the attributes");
}
TEST_F(Verify, WrongType) {
  g.value(y).dtype = DType::kInt32;
  expect("'first'");
}
TEST_F(Verify, NoType) {
  g.value(y).dtype = static_cast<DType>(200);
  expect("has no known type");
}
TEST_F(Verify, NoOp) {
  g.node(0).op = static_cast<Op>(ir::kNumOps);
  expect("has op number");
}
TEST_F(Verify, OtherNumbers) {
  g.node(1).id = 0;
  expect("stands in slot 1 and calls itself 0");
  g.node(1).id = 1;
  g.value(y).id = z;
  expect("calls itself");
}
TEST_F(Verify, WrongRank) {
  g.value(z).shape = ir::Shape::scalar();
  expect("has a result of shape [], inference gives [2,3]");
}
TEST_F(Verify, WrongDim) {
  g.value(z).shape.set_dim(1, 4);
  expect("'second'");
}
TEST_F(Verify, OutputsWithoutNames) {
  g.set_outputs({z}, {});
  expect("names");
}
TEST_F(Verify, OutputNobodyMakes) {
  g.set_outputs({77}, {"gone"});
  expect("'gone'");
}
TEST_F(Verify, ForeignSymbol) {
  g.value(z).shape.set_dim(0, ir::Dim::symbol(1000));
  expect("no symbol");
}
TEST_F(Verify, TwoProducers) {
  g.node(1).outputs[0] = y;
  expect("which");
}
TEST_F(Verify, ControlInputThatIsGone) {
  g.node(1).control_inputs = {12};
  expect("waits for node 12");
}
TEST_F(Verify, ConstantOfTheWrongSize) {
  auto tensor = std::make_shared<ir::Tensor>(*blade::testing::tensor<float>({2}, {1, 2}));
  tensor->dims = {3};
  g.add_constant(tensor);
  expect("do not match");
}

}  // namespace
}  // namespace blade::testing
