// Loops over time that are recurrent layers become Recurrence nodes with the same answers, and what only looks like
// one stays.
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

enum class Mask : uint8_t {
  kNone,
  kKeeps,    // conditions [steps, batch, 1]; rows of the list are the h that is kept
  kZeroes,   // conditions; rows that do not count are zeros
  kLengths,  // lengths [batch], and the loop ends with the longest; rows as for kZeroes
};

struct Form {
  int64_t steps = 6, batch = 2, inputs = 5, cells = 7;  // steps -1: any
  ir::RecurrentCell cell = ir::RecurrentCell::kLstm;
  Mask mask = Mask::kNone;
  bool joined = false;      // one product of [x, h]; for an LSTM gates in the order i, c, f, o, a forget bias
  bool last_only = false;   // the list has one row, the last h
  bool relu = false;        // no layer: another activation of the candidate
  int first_step = 0;       // other than 0: not all steps
  int missing_steps = 0;    // the limit is so much below the rows of x
  bool from_zeros = false;  // h, c and the list are zeros, sized by x; batch may be -1: any
  bool as_outputs = false;  // the loop's results are the graph's
  int64_t mask_batch = 0, more_mask_rows = 0;  // conditions of other sizes than x
  ir::Dims mask_dims() const {
    return {steps < 0 ? -1 : steps + more_mask_rows, mask_batch != 0 ? mask_batch : batch, 1};
  }
  bool has_cell() const { return cell == ir::RecurrentCell::kLstm; }
};

// The operands of the loop, as inputs of one of its graphs.
struct Operands {
  ir::ValueId step, list, h, c = ir::kNone, x, limit, mask = ir::kNone;
};

Operands operands(GraphMaker& m, const Form& f) {
  Operands in{};
  in.step = m.input("step", {}, DType::kInt32);
  in.list = m.input("list", {f.last_only ? 1 : f.steps, f.batch, f.cells});
  in.h = m.input("h", {f.batch, f.cells});
  in.c = f.has_cell() ? m.input("c", {f.batch, f.cells}) : ir::kNone;
  in.x = m.input("x", {f.steps, f.batch, f.inputs});
  in.limit = m.input("limit", {}, DType::kInt32);
  in.mask = ir::kNone;
  if (f.mask == Mask::kLengths) in.mask = m.input("lengths", {f.batch}, DType::kInt32);
  if (f.mask == Mask::kKeeps || f.mask == Mask::kZeroes) in.mask = m.input("mask", f.mask_dims(), DType::kBool);
  return in;
}

struct Body {
  GraphMaker& m;
  const Form& f;
  Operands in;
  std::mt19937 rng{3};
  ir::ValueId row = m.node(Op::kGather, "row", {in.x, in.step}, ir::GatherAttrs{0, 0});

  ir::ValueId random(ir::Dims dims) { return m.constant(testing::random_tensor(rng, std::move(dims))); }
  ir::ValueId scalar(float value) {
    return m.constant(ir::make_tensor<float>(DType::kFloat32, {}, std::span<const float>(&value, 1)));
  }
  ir::ValueId product(ir::ValueId v, int64_t rows, int64_t gates) {
    return m.node(Op::kMatMul, name("product"), {v, random({rows, gates * f.cells})}, ir::MatMulAttrs{});
  }
  ir::ValueId biased(ir::ValueId v, int64_t gates) {
    return m.binary(P::kAdd, name("biased"), v, random({gates * f.cells}));
  }
  ir::ValueId sum(ir::ValueId h, int64_t gates) {
    if (f.joined) {
      const auto both = m.node(Op::kConcat, name("both"), {row, h}, ir::AxisAttrs{1});
      return biased(product(both, f.inputs + f.cells, gates), gates);
    }
    const auto from_x = product(row, f.inputs, gates), from_h = product(h, f.cells, gates);
    return biased(m.binary(P::kAdd, name("sum"), from_x, from_h), gates);
  }
  std::vector<ir::ValueId> split(ir::ValueId v, int parts) {
    return m.graph.add_node(Op::kSplit, name("split"), {v}, parts, ir::SplitAttrs{1, {}}).outputs;
  }
  // Columns of gate `i`, as Keras cuts them.
  ir::ValueId slice(ir::ValueId v, int i) {
    const auto cells = static_cast<int32_t>(f.cells);
    ir::StridedSliceAttrs attrs;
    attrs.begin_mask = i == 0 ? 3 : 1;
    attrs.end_mask = 1;
    return m.node(Op::kStridedSlice, name("slice"),
                  {v, m.constant(testing::int_tensor({0, i * cells})),
                   m.constant(testing::int_tensor({0, (i + 1) * cells})), m.constant(testing::int_tensor({1, 1}))},
                  attrs);
  }
  ir::ValueId candidate(ir::ValueId v) { return m.unary(f.relu ? P::kRelu : P::kTanh, name("g"), v); }
  ir::ValueId sigmoid(ir::ValueId v) { return m.unary(P::kSigmoid, name("gate"), v); }
  ir::ValueId mul(ir::ValueId a, ir::ValueId b) { return m.binary(P::kMul, name("mul"), a, b); }
  ir::ValueId add(ir::ValueId a, ir::ValueId b) { return m.binary(P::kAdd, name("add"), a, b); }
  std::string name(const char* what) { return ir::concat(what, m.graph.num_values()); }

  // The new h, and the new cell of an LSTM.
  std::pair<ir::ValueId, ir::ValueId> lstm() {
    const auto parts = split(sum(in.h, 4), 4);
    const size_t forget = f.joined ? 2 : 1, candidate_part = f.joined ? 1 : 2;
    const auto shifted = f.joined ? add(parts[forget], scalar(1)) : parts[forget];
    const auto c = add(mul(sigmoid(shifted), in.c), mul(sigmoid(parts[0]), candidate(parts[candidate_part])));
    return {mul(sigmoid(parts[3]), m.unary(P::kTanh, name("active"), c)), c};
  }
  ir::ValueId mixed(ir::ValueId z, ir::ValueId g) {
    ir::PointwiseProgram one_minus = ir::PointwiseProgram::unary(P::kAffine);
    one_minus.code[0].alpha = -1;
    one_minus.code[0].beta = 1;
    return add(mul(z, in.h), mul(m.node(Op::kPointwise, name("rest"), {z}, ir::PointwiseAttrs{one_minus}), g));
  }
  ir::ValueId gru() {
    const auto from_x = split(biased(product(row, f.inputs, 3), 3), 3);
    const auto from_h = biased(product(in.h, f.cells, 3), 3);
    const auto z = sigmoid(add(from_x[0], slice(from_h, 0))), r = sigmoid(add(from_x[1], slice(from_h, 1)));
    return mixed(z, candidate(add(from_x[2], mul(r, slice(from_h, 2)))));
  }
  // As in TensorFlow 1: r before z, the activation before the split.
  ir::ValueId gru_reset_first() {
    const auto gates = split(sigmoid(sum(in.h, 2)), 2);
    return mixed(gates[1], candidate(sum(mul(gates[0], in.h), 1)));
  }
  std::pair<ir::ValueId, ir::ValueId> step() {
    switch (f.cell) {
      case ir::RecurrentCell::kPlain:
        return {candidate(sum(in.h, 1)), ir::kNone};
      case ir::RecurrentCell::kLstm:
        return lstm();
      case ir::RecurrentCell::kGru:
        return {gru(), ir::kNone};
      case ir::RecurrentCell::kGruResetFirst:
        return {gru_reset_first(), ir::kNone};
    }
    return {};
  }
  ir::ValueId over() {
    const auto made = m.binary(P::kGreaterEqual, "over", in.step, in.mask);
    return m.node(Op::kExpandDims, "column", {made}, ir::AxisAttrs{1});
  }
  ir::ValueId counts() { return m.node(Op::kGather, "counts", {in.mask, in.step}, ir::GatherAttrs{0, 0}); }
  ir::ValueId masked(ir::ValueId fresh, ir::ValueId kept) {
    if (f.mask == Mask::kNone || fresh == ir::kNone) return fresh;
    const bool lengths = f.mask == Mask::kLengths;
    if (condition == ir::kNone) condition = lengths ? over() : counts();
    const ir::PointwiseAttrs select{ir::PointwiseProgram::ternary(P::kSelect)};
    return m.node(Op::kPointwise, name("select"),
                  lengths ? std::vector{condition, kept, fresh} : std::vector{condition, fresh, kept}, select);
  }
  ir::ValueId condition = ir::kNone;
};

ir::Graph body_of(const Form& f) {
  GraphMaker m;
  Body body{m, f, operands(m, f)};
  const Operands& in = body.in;
  const auto [h, c] = body.step();
  const auto kept_h = body.masked(h, in.h), kept_c = body.masked(c, in.c);
  const bool zeroes = f.mask == Mask::kZeroes || f.mask == Mask::kLengths;
  const auto row = zeroes ? body.masked(h, body.scalar(0)) : kept_h;
  const auto list = m.node(Op::kSetRows, "set", {in.list, f.last_only ? m.constant(int_scalar(0)) : in.step, row});
  std::vector<ir::ValueId> results = {m.binary(P::kAdd, "next", in.step, m.constant(int_scalar(1))), list, kept_h};
  if (f.has_cell()) results.push_back(kept_c);
  return m.finish(results);
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

// The limit of the loop's steps.
ir::ValueId limit_of(GraphMaker& m, const Form& f, ir::ValueId x, ir::ValueId mask) {
  const auto rows =
      f.steps < 0 ? dim_of(m, x, 0, "steps") : m.constant(int_scalar(static_cast<int32_t>(f.steps) - f.missing_steps));
  if (f.mask != Mask::kLengths) return rows;
  const auto longest = m.node(Op::kReduce, "longest", {mask}, ir::ReduceAttrs{ir::ReduceKind::kMax, {0}, false});
  return m.binary(P::kMinimum, "limit", rows, m.binary(P::kMaximum, "some", m.constant(int_scalar(1)), longest));
}

ir::Graph loop_of(const Form& f) {
  GraphMaker m;
  const auto x = m.input("x", {f.steps, f.batch, f.inputs});
  const auto cells = m.constant(int_scalar(static_cast<int32_t>(f.cells)));
  ir::ValueId list = ir::kNone, h = ir::kNone, c = ir::kNone, batch = ir::kNone, mask = ir::kNone;
  if (f.from_zeros) {
    batch = dim_of(m, x, 1, "batch");
    h = zeros_of(m, {batch, cells}, "h");
    if (f.has_cell()) c = zeros_of(m, {batch, cells}, "c");
  } else {
    batch = m.constant(int_scalar(static_cast<int32_t>(f.batch)));
    h = m.input("h", {f.batch, f.cells});
    if (f.has_cell()) c = m.input("c", {f.batch, f.cells});
  }
  if (f.mask == Mask::kLengths) mask = m.input("lengths", {f.batch}, DType::kInt32);
  if (f.mask == Mask::kKeeps || f.mask == Mask::kZeroes) mask = m.input("mask", f.mask_dims(), DType::kBool);
  std::mt19937 rng(1);
  const auto random = [&](ir::Dims dims) { return m.constant(testing::random_tensor(rng, std::move(dims))); };
  const bool of_zeros = f.from_zeros || f.mask == Mask::kLengths || f.steps < 0;
  if (f.last_only && !f.from_zeros) {
    list = random({1, f.batch, f.cells});
  } else if (of_zeros) {
    const auto steps = f.last_only ? m.constant(int_scalar(1)) : dim_of(m, x, 0, "rows");
    list = zeros_of(m, {steps, batch, cells}, "list");
  } else {
    list = random({f.steps, f.batch, f.cells});
  }
  GraphMaker condition;
  const Operands in = operands(condition, f);
  ir::SubGraphsAttrs attrs;
  attrs.graphs = {share(condition.finish({condition.binary(P::kLess, "less", in.step, in.limit)})), share(body_of(f))};
  std::vector<ir::ValueId> inputs = {m.constant(int_scalar(f.first_step)), list, h};
  if (f.has_cell()) inputs.push_back(c);
  const int variables = static_cast<int>(inputs.size());
  inputs.insert(inputs.end(), {x, limit_of(m, f, x, mask)});
  if (mask != ir::kNone) inputs.push_back(mask);
  ir::Node& loop = m.graph.add_node(Op::kWhile, "loop", inputs, variables, attrs);
  std::vector<ir::ValueId> results(loop.outputs.begin() + 1, loop.outputs.end());
  for (size_t i = 0; i < results.size() && !f.as_outputs; ++i) {
    results[i] = m.unary(P::kNeg, ir::concat("result", i), results[i]);
  }
  return m.finish(results);
}

int count(const ir::Graph& graph, Op op) {
  int found = 0;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    found += graph.is_live(id) && graph.node(id).op == op ? 1 : 0;
  }
  return found;
}

std::vector<ir::TensorPtr> inputs_of(const Form& f, int64_t steps) {
  std::mt19937 rng(11);
  const int64_t batch = f.batch >= 0 ? f.batch : 3;
  std::vector<ir::TensorPtr> inputs = {testing::random_tensor(rng, {steps, batch, f.inputs})};
  for (int i = 0; i < (f.has_cell() ? 2 : 1) && !f.from_zeros; ++i) {
    inputs.push_back(testing::random_tensor(rng, {batch, f.cells}));
  }
  if (f.mask == Mask::kLengths) {
    std::vector<int32_t> lengths;  // none reaches the end
    for (int64_t n = 0; n < batch; ++n) lengths.push_back(static_cast<int32_t>((n + 2) % std::max<int64_t>(steps, 1)));
    inputs.push_back(ir::make_tensor<int32_t>(DType::kInt32, {batch}, std::span<const int32_t>(lengths)));
  } else if (f.mask != Mask::kNone) {
    std::vector<uint8_t> counts;
    const int64_t rows = steps + f.more_mask_rows, columns = f.mask_batch > 0 ? f.mask_batch : batch;
    for (int64_t i = 0; i < rows * columns; ++i) counts.push_back(i % 3 != 0);
    inputs.push_back(ir::make_tensor<uint8_t>(DType::kBool, {rows, columns, 1}, std::span<const uint8_t>(counts)));
  }
  return inputs;
}

// Answers are those of the loop as it stands.
void expect_same(const Form& f, bool found, const std::vector<int64_t>& steps) {
  Decisions as_written;
  as_written.disabled_passes = {"RecognizeRecurrence", "TakeSingleTurns"};
  auto want = Engine::create(loop_of(f), as_written, EngineOptions());
  auto got = Engine::create(loop_of(f), Decisions(), EngineOptions());
  ASSERT_TRUE(want.ok()) << want.status().message();
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(count((*got)->graph(), Op::kRecurrence), found ? 1 : 0) << ir::to_string((*got)->graph());
  EXPECT_EQ(count((*got)->graph(), Op::kWhile), found ? 0 : 1);
  EXPECT_EQ(count((*want)->graph(), Op::kWhile), 1);
  const int outputs = f.has_cell() ? 3 : 2;
  for (int64_t n : steps) {
    const auto inputs = inputs_of(f, n);
    Collect expected(outputs), made(outputs);
    Status status = (*want)->run(refs(inputs), expected);
    ASSERT_TRUE(status.ok()) << status.message();
    status = (*got)->run(refs(inputs), made);
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t i = 0; i < static_cast<size_t>(outputs); ++i) {
      testing::expect_close(*made.outputs[i], *expected.outputs[i], 3e-5, ir::concat("output ", i, " of ", n));
    }
  }
}

constexpr ir::RecurrentCell kCells[] = {ir::RecurrentCell::kPlain, ir::RecurrentCell::kLstm, ir::RecurrentCell::kGru,
                                        ir::RecurrentCell::kGruResetFirst};

TEST(Recurrence, EachCell) {
  for (auto cell : kCells) {
    SCOPED_TRACE(static_cast<int>(cell));
    expect_same({.cell = cell}, true, {6});
    expect_same({.steps = -1, .cell = cell}, true, {5, 1, 0});
    expect_same({.cell = cell, .last_only = true, .as_outputs = true}, true, {6});
    expect_same({.steps = 4, .batch = 1, .inputs = 40, .cells = 211, .cell = cell}, true, {4});
  }
}
TEST(Recurrence, EachMask) {
  for (auto cell : kCells) {
    for (Mask mask : {Mask::kKeeps, Mask::kZeroes, Mask::kLengths}) {
      SCOPED_TRACE(static_cast<int>(cell) * 10 + static_cast<int>(mask));
      expect_same({.cell = cell, .mask = mask}, true, {6});
      expect_same({.steps = -1, .cell = cell, .mask = mask, .as_outputs = true}, true, {5, 1});
    }
  }
}
TEST(Recurrence, MasksOfOtherSizes) {
  for (Mask mask : {Mask::kKeeps, Mask::kZeroes}) {
    expect_same({.mask = mask, .mask_batch = 1}, true, {6});
    expect_same({.mask = mask, .more_mask_rows = 2}, true, {6});
    expect_same({.steps = -1, .mask = mask, .mask_batch = 1, .more_mask_rows = 2}, true, {6, 1});
    expect_same({.steps = -1, .mask = mask, .mask_batch = -1}, true, {6, 0});
  }
}
// What a step makes has the mask's samples then.
TEST(Recurrence, NoLayerOfOneSampleWithAMaskOfMore) {
  Form form{.steps = -1, .batch = 1, .mask = Mask::kKeeps, .mask_batch = -1};
  expect_same(form, false, {6});
}
TEST(Recurrence, LstmOfJoinedInputs) { expect_same({.joined = true}, true, {6}); }
TEST(Recurrence, PlainLayerOfJoinedInputs) {
  expect_same({.cell = ir::RecurrentCell::kPlain, .joined = true}, true, {6});
}
TEST(Recurrence, GruOfJoinedInputs) {
  expect_same({.cell = ir::RecurrentCell::kGruResetFirst, .joined = true}, true, {6});
}
TEST(Recurrence, LstmOfOneStep) { expect_same({.steps = 1, .batch = 17, .inputs = 1, .cells = 1}, true, {1}); }
TEST(Recurrence, NoLayerWithAnotherActivation) {
  for (auto cell : kCells) expect_same({.cell = cell, .relu = true}, false, {6});
}
TEST(Recurrence, NoLayerThatStartsLater) { expect_same({.first_step = 1}, false, {6}); }
TEST(Recurrence, NoLayerThatEndsSooner) { expect_same({.missing_steps = 2}, false, {6}); }
TEST(Recurrence, NoLayerThatEndsSoonerThanItsLengths) {
  expect_same({.mask = Mask::kLengths, .missing_steps = 2}, false, {6});
}

// Without a step the last row is what the list held before.
TEST(Recurrence, LayerFromZerosWhoseLastRowIsKept) {
  expect_same({.steps = -1, .last_only = true, .from_zeros = true}, true, {5, 0});
  expect_same({.steps = -1, .batch = -1, .last_only = true, .from_zeros = true}, true, {5, 0});
}
TEST(Recurrence, NoLayerWhoseLastRowMayBeAnother) { expect_same({.steps = -1, .last_only = true}, false, {5, 1, 0}); }
// The last row may be zeros, which the last h is not.
TEST(Recurrence, NoLayerWhoseLastRowMayBeZeros) { expect_same({.mask = Mask::kZeroes, .last_only = true}, false, {6}); }

}  // namespace
}  // namespace blade::engine
