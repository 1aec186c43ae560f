// Loops over time that are LSTM layers become Lstm nodes with the same answers, and what only looks like one stays.
#include <gtest/gtest.h>

#include "engine/control_flow_graphs.h"

namespace blade::engine {
namespace {

using ir::DType;
using ir::Op;
using P = ir::PointwiseOp;
using testing::Collect;
using testing::GraphMaker;
using testing::int_scalar;
using testing::refs;
using testing::share;

struct LstmForm {
  int64_t steps = 6, batch = 2, inputs = 5, cells = 7;  // steps -1: any
  bool joined = false;      // one product of [x, h], gates in the order i, c, f, o, a forget bias
  bool last_only = false;   // the list has one row, the last h
  bool relu = false;        // no LSTM: another activation of the candidate
  int first_step = 0;       // other than 0: not all steps
  int missing_steps = 0;    // the limit is so much below the rows of x
  bool from_zeros = false;  // h, c and the list are zeros, sized by x; batch may be -1: any
};

std::vector<ir::ValueId> loop_values(GraphMaker& m, const LstmForm& f) {
  return {m.input("step", {}, DType::kInt32), m.input("list", {f.last_only ? 1 : f.steps, f.batch, f.cells}),
          m.input("h", {f.batch, f.cells}), m.input("c", {f.batch, f.cells}),
          m.input("x", {f.steps, f.batch, f.inputs})};
}

ir::ValueId gate_sums(GraphMaker& m, const LstmForm& f, ir::ValueId x, ir::ValueId h) {
  std::mt19937 rng(3);
  const auto bias = m.constant(testing::random_tensor(rng, {4 * f.cells}));
  const auto weights = [&](int64_t rows) { return m.constant(testing::random_tensor(rng, {rows, 4 * f.cells})); };
  if (f.joined) {
    const auto both = m.node(Op::kConcat, "both", {x, h}, ir::AxisAttrs{1});
    const auto product = m.node(Op::kMatMul, "product", {both, weights(f.inputs + f.cells)}, ir::MatMulAttrs{});
    return m.binary(P::kAdd, "biased", product, bias);
  }
  const auto from_x = m.node(Op::kMatMul, "from_x", {x, weights(f.inputs)}, ir::MatMulAttrs{});
  const auto from_h = m.node(Op::kMatMul, "from_h", {h, weights(f.cells)}, ir::MatMulAttrs{});
  return m.binary(P::kAdd, "biased", m.binary(P::kAdd, "sum", from_x, from_h), bias);
}

ir::Graph lstm_body(const LstmForm& f) {
  GraphMaker m;
  const auto in = loop_values(m, f);
  const auto row = m.node(Op::kGather, "row", {in[4], in[0]}, ir::GatherAttrs{0, 0});
  ir::Node& split = m.graph.add_node(Op::kSplit, "split", {gate_sums(m, f, row, in[2])}, 4, ir::SplitAttrs{1, {}});
  const std::vector<ir::ValueId> parts = split.outputs;
  const size_t forget = f.joined ? 2 : 1, candidate = f.joined ? 1 : 2;
  ir::ValueId forget_sum = parts[forget];
  if (f.joined) {
    const float one = 1;
    forget_sum = m.binary(P::kAdd, "forget_bias", forget_sum,
                          m.constant(ir::make_tensor<float>(DType::kFloat32, {}, std::span(&one, 1))));
  }
  const auto i = m.unary(P::kSigmoid, "i", parts[0]), o = m.unary(P::kSigmoid, "o", parts[3]);
  const auto kept = m.binary(P::kMul, "kept", m.unary(P::kSigmoid, "f", forget_sum), in[3]);
  const auto added = m.binary(P::kMul, "added", i, m.unary(f.relu ? P::kRelu : P::kTanh, "g", parts[candidate]));
  const auto c = m.binary(P::kAdd, "next_c", kept, added);
  const auto h = m.binary(P::kMul, "next_h", o, m.unary(P::kTanh, "active", c));
  const auto at = f.last_only ? m.constant(int_scalar(0)) : in[0];
  const auto list = m.node(Op::kSetRows, "set", {in[1], at, h});
  return m.finish({m.binary(P::kAdd, "next", in[0], m.constant(int_scalar(1))), list, h, c});
}

// Dim `at` of x, as a scalar.
ir::ValueId dim_of(GraphMaker& m, ir::ValueId x, int at, const std::string& name) {
  const auto shape =
      m.node(Op::kShapeOf, name + "/shape", {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, DType::kInt32});
  ir::StridedSliceAttrs one;
  one.shrink_axis_mask = 1;
  return m.node(Op::kStridedSlice, name,
                {shape, m.constant(testing::int_tensor({at})), m.constant(testing::int_tensor({at + 1})),
                 m.constant(testing::int_tensor({1}))},
                one);
}

ir::ValueId zeros_of(GraphMaker& m, const std::vector<ir::ValueId>& dims, const std::string& name) {
  const float zero = 0;
  const auto size = m.node(Op::kPack, name + "/size", dims, ir::AxisAttrs{0});
  return m.node(Op::kFill, name, {size, m.constant(ir::make_tensor<float>(DType::kFloat32, {}, std::span(&zero, 1)))});
}

ir::Graph lstm_loop(const LstmForm& f) {
  GraphMaker m;
  const auto x = m.input("x", {f.steps, f.batch, f.inputs});
  const auto cells = m.constant(int_scalar(static_cast<int32_t>(f.cells)));
  ir::ValueId limit = ir::kNone, list = ir::kNone, h = ir::kNone, c = ir::kNone, batch = ir::kNone;
  if (f.from_zeros) {
    batch = dim_of(m, x, 1, "batch");
    h = zeros_of(m, {batch, cells}, "h");
    c = zeros_of(m, {batch, cells}, "c");
  } else {
    batch = m.constant(int_scalar(static_cast<int32_t>(f.batch)));
    h = m.input("h", {f.batch, f.cells});
    c = m.input("c", {f.batch, f.cells});
  }
  std::mt19937 rng(1);
  const auto random = [&](ir::Dims dims) { return m.constant(testing::random_tensor(rng, std::move(dims))); };
  if (f.steps >= 0) {
    limit = m.constant(int_scalar(static_cast<int32_t>(f.steps) - f.missing_steps));
    list = random({f.last_only ? 1 : f.steps, f.batch, f.cells});
  } else {
    limit = dim_of(m, x, 0, "steps");
    const auto rows = f.last_only ? m.constant(int_scalar(1)) : limit;
    list = f.last_only && !f.from_zeros ? random({1, f.batch, f.cells}) : zeros_of(m, {rows, batch, cells}, "list");
  }
  GraphMaker condition;
  const auto in = loop_values(condition, f);
  const auto end = condition.input("limit", {}, DType::kInt32);
  ir::SubGraphsAttrs attrs;
  attrs.graphs = {share(condition.finish({condition.binary(P::kLess, "less", in[0], end)})), nullptr};
  ir::Graph made = lstm_body(f);
  made.add_input("limit", DType::kInt32, ir::Shape::scalar());
  attrs.graphs[1] = share(std::move(made));
  ir::Node& loop =
      m.graph.add_node(Op::kWhile, "loop", {m.constant(int_scalar(f.first_step)), list, h, c, x, limit}, 4, attrs);
  const std::vector<ir::ValueId> results = loop.outputs;
  return m.finish({m.unary(P::kNeg, "all", results[1]), m.unary(P::kNeg, "h_after", results[2]),
                   m.unary(P::kNeg, "c_after", results[3])});
}

int count(const ir::Graph& graph, Op op) {
  int found = 0;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    found += graph.is_live(id) && graph.node(id).op == op ? 1 : 0;
  }
  return found;
}

// Answers are those of the loop as it stands.
void expect_same(const LstmForm& f, bool found, const std::vector<int64_t>& steps) {
  Decisions as_written;
  as_written.disabled_passes = {"RecognizeRecurrence"};
  auto want = Engine::create(lstm_loop(f), as_written, EngineOptions());
  auto got = Engine::create(lstm_loop(f), Decisions(), EngineOptions());
  ASSERT_TRUE(want.ok()) << want.status().message();
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(count((*got)->graph(), Op::kLstm), found ? 1 : 0) << ir::to_string((*got)->graph());
  EXPECT_EQ(count((*got)->graph(), Op::kWhile), found ? 0 : 1);
  EXPECT_EQ(count((*want)->graph(), Op::kWhile), 1);
  for (int64_t n : steps) {
    std::mt19937 rng(11);
    const int64_t batch = f.batch >= 0 ? f.batch : 3;
    std::vector<ir::TensorPtr> inputs = {testing::random_tensor(rng, {n, batch, f.inputs})};
    if (!f.from_zeros) {
      inputs.push_back(testing::random_tensor(rng, {batch, f.cells}));
      inputs.push_back(testing::random_tensor(rng, {batch, f.cells}));
    }
    Collect expected(3), made(3);
    Status status = (*want)->run(refs(inputs), expected);
    ASSERT_TRUE(status.ok()) << status.message();
    status = (*got)->run(refs(inputs), made);
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t i = 0; i < 3; ++i) {
      testing::expect_close(*made.outputs[i], *expected.outputs[i], 1e-5, ir::concat("output ", i, " of ", n));
    }
  }
}

TEST(Recurrence, Lstm) { expect_same({}, true, {6}); }
TEST(Recurrence, LstmOfAnyLength) { expect_same({.steps = -1}, true, {5, 1, 0}); }
TEST(Recurrence, LstmWhoseLastRowIsKept) { expect_same({.last_only = true}, true, {6}); }
TEST(Recurrence, LstmOfJoinedInputs) { expect_same({.joined = true}, true, {6}); }
TEST(Recurrence, LstmOfManyCells) { expect_same({.steps = 4, .batch = 1, .inputs = 40, .cells = 211}, true, {4}); }
TEST(Recurrence, LstmOfOneStep) { expect_same({.steps = 1, .batch = 17, .inputs = 1, .cells = 1}, true, {1}); }
TEST(Recurrence, NoLstmWithAnotherActivation) { expect_same({.relu = true}, false, {6}); }
TEST(Recurrence, NoLstmThatStartsLater) { expect_same({.first_step = 1}, false, {6}); }
TEST(Recurrence, NoLstmThatEndsSooner) { expect_same({.missing_steps = 2}, false, {6}); }

// Without a step the last row is what the list held before.
TEST(Recurrence, LstmFromZerosWhoseLastRowIsKept) {
  expect_same({.steps = -1, .last_only = true, .from_zeros = true}, true, {5, 0});
  expect_same({.steps = -1, .batch = -1, .last_only = true, .from_zeros = true}, true, {5, 0});
}
TEST(Recurrence, NoLstmWhoseLastRowMayBeAnother) { expect_same({.steps = -1, .last_only = true}, false, {5, 1, 0}); }
// Not run: the sums of all steps would be 1 GiB.
TEST(Recurrence, NoLstmOfMoreSumsThanMemoryShouldHold) {
  expect_same({.steps = 1 << 20, .batch = 64, .inputs = 1, .cells = 1, .last_only = true}, false, {});
}

}  // namespace
}  // namespace blade::engine
