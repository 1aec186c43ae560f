// Loops and branches inside an engine.
#include <gtest/gtest.h>

#include <thread>

#include "engine/control_flow_graphs.h"
#include "engine/engine_file.h"
#include "ir/serialize.h"
#include "support/evaluate_graph.h"

namespace blade::engine {
namespace {

using ir::DType;
using ir::Op;
using ir::PointwiseOp;
using testing::Collect;
using testing::GraphMaker;
using testing::int_scalar;
using testing::list_loop;
using testing::refs;
using testing::share;

constexpr int64_t kLength = 5;

std::vector<ir::TensorPtr> loop_inputs(int n) {
  std::mt19937 rng(7);
  return {testing::random_tensor(rng, {kLength, 3}), testing::random_tensor(rng, {3}), int_scalar(n)};
}

void expect_loop(Engine& engine, int n) {
  const auto inputs = loop_inputs(n);
  Collect got(2);
  const Status status = engine.run(refs(inputs), got);
  ASSERT_TRUE(status.ok()) << status.message();
  const auto list = inputs[0]->as<float>(), x = inputs[1]->as<float>(), out = got.outputs[0]->as<float>();
  for (int64_t i = 0; i < kLength; ++i) {
    for (int64_t k = 0; k < 3; ++k) {
      const float added = i < n ? x[k] * static_cast<float>(i) : 0;
      EXPECT_FLOAT_EQ(out[i * 3 + k], -(list[i * 3 + k] + added)) << n << " at " << i;
    }
  }
  EXPECT_EQ(got.outputs[1]->as<int32_t>()[0], n);
}

TEST(ControlFlow, LoopsRunAsOftenAsTheConditionSays) {
  auto engine = Engine::create(list_loop(kLength), Decisions(), EngineOptions());
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  for (int n : {3, 0, 5, 1, 3}) expect_loop(**engine, n);
}

TEST(ControlFlow, AnErrorInsideNamesTheNodeAndTheIteration) {
  auto engine = *Engine::create(list_loop(kLength), Decisions(), EngineOptions());
  Collect got(2);
  const Status status = engine->run(refs(loop_inputs(7)), got);
  ASSERT_FALSE(status.ok());
  for (const char* part : {"loop", "Iteration 5", "row"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
  expect_loop(*engine, 2);
}

TEST(ControlFlow, ThreadsRunOneEngine) {
  auto engine = *Engine::create(list_loop(kLength), Decisions(), EngineOptions());
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) expect_loop(*engine, (t + i) % 6);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ControlFlow, EngineFilesHoldThem) {
  const auto file = write_engine_file(list_loop(kLength), Decisions());
  ASSERT_TRUE(file.ok()) << file.status().message();
  auto engine = Engine::load(file->bytes, nullptr, EngineOptions());
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  expect_loop(**engine, 4);
  EXPECT_EQ(ir::serialize(list_loop(kLength), nullptr)[0], 2);
  EXPECT_EQ(ir::serialize(testing::small_cnn(), nullptr)[0], 1) << "older readers take what has no loops";
}

// 0: x + 1, 1: -x, anything else: the rows of x that are positive.
ir::Graph three_branches() {
  ir::SubGraphsAttrs attrs;
  for (int branch = 0; branch < 3; ++branch) {
    GraphMaker m;
    const auto x = m.input("x", {-1});
    ir::ValueId y = x;
    if (branch == 0) {
      const std::vector<float> one = {1};
      y = m.binary(PointwiseOp::kAdd, "plus", x,
                   m.constant(ir::make_tensor<float>(DType::kFloat32, {}, std::span(one))));
    } else if (branch == 1) {
      y = m.unary(PointwiseOp::kNeg, "minus", x);
    } else {
      const std::vector<float> zero = {0};
      const auto positive = m.binary(PointwiseOp::kGreater, "positive", x,
                                     m.constant(ir::make_tensor<float>(DType::kFloat32, {}, std::span(zero))));
      const auto where = m.node(Op::kWhere, "where", {positive});
      y = m.node(Op::kGather, "picked", {x, m.node(Op::kSqueeze, "rows", {where}, ir::AxesAttrs{{1}})},
                 ir::GatherAttrs{0, 0});
    }
    attrs.graphs.push_back(share(m.finish({y})));
  }
  GraphMaker m;
  const auto which = m.input("which", {}, DType::kInt32);
  const auto x = m.input("x", {-1});
  const auto y = m.node(Op::kIf, "choose", {which, x}, attrs);
  return m.finish({m.binary(PointwiseOp::kAdd, "twice", y, y)});
}

TEST(ControlFlow, BranchesOfDifferentSizes) {
  auto engine = Engine::create(three_branches(), Decisions(), EngineOptions());
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  const std::vector<float> x = {-1, 2, -3, 4};
  const auto tensor = ir::make_tensor<float>(DType::kFloat32, {4}, std::span(x));
  const std::vector<std::vector<float>> wanted = {{0, 6, -4, 10}, {2, -4, 6, -8}, {4, 8}, {4, 8}};
  for (int which : {0, 1, 2, -4}) {
    Collect got(1);
    const Status status = (*engine)->run(refs({int_scalar(which), tensor}), got);
    ASSERT_TRUE(status.ok()) << status.message();
    const auto values = got.outputs[0]->as<float>();
    EXPECT_EQ(std::vector<float>(values.begin(), values.end()), wanted[which < 0 ? 3 : static_cast<size_t>(which)]);
  }
}

// h, x [2, 3], n: for i in [0, n): h = h * y + exp(y) with y = x's rows in the order of `order`, which may be out of
// range.
ir::Graph loop_of_invariants() {
  GraphMaker condition, body;
  const auto make_inputs = [](GraphMaker& m) {
    return std::vector<ir::ValueId>{m.input("i", {}, DType::kInt32), m.input("h", {-1, 3}), m.input("x", {-1, 3}),
                                    m.input("order", {-1}, DType::kInt32), m.input("n", {}, DType::kInt32)};
  };
  {
    const auto in = make_inputs(condition);
    condition.graph = condition.finish({condition.binary(PointwiseOp::kLess, "less", in[0], in[4])});
  }
  {
    const auto in = make_inputs(body);
    const auto y = body.node(Op::kGather, "y", {in[2], in[3]}, ir::GatherAttrs{0, 0});
    const auto scaled = body.binary(PointwiseOp::kMul, "scaled", in[1], y);
    const auto h = body.binary(PointwiseOp::kAdd, "sum", scaled, body.unary(PointwiseOp::kExp, "exp", y));
    const auto next = body.binary(PointwiseOp::kAdd, "next", in[0], body.constant(int_scalar(1)));
    body.graph = body.finish({next, h});
  }
  GraphMaker m;
  const auto h = m.input("h", {-1, 3}), x = m.input("x", {-1, 3}), order = m.input("order", {-1}, DType::kInt32);
  const auto n = m.input("n", {}, DType::kInt32);
  ir::SubGraphsAttrs attrs;
  attrs.graphs = {share(std::move(condition.graph)), share(std::move(body.graph))};
  ir::Node& loop = m.graph.add_node(Op::kWhile, "loop", {m.constant(int_scalar(0)), h, x, order, n}, 2, attrs);
  const std::vector<ir::ValueId> results = loop.outputs;
  return m.finish({results[1]});
}

TEST(ControlFlow, WhatAllIterationsShareIsComputedOnce) {
  Decisions plain;
  plain.disabled_passes = {"HoistInvariants"};
  auto hoisted = Engine::create(loop_of_invariants(), Decisions(), EngineOptions());
  auto kept = Engine::create(loop_of_invariants(), plain, EngineOptions());
  ASSERT_TRUE(hoisted.ok() && kept.ok());
  std::mt19937 rng(3);
  for (int64_t rows : {2, 5, 2}) {
    std::vector<int32_t> last_first;
    for (int64_t r = rows; r-- > 0;) last_first.push_back(static_cast<int32_t>(r));
    const auto order = ir::make_tensor<int32_t>(DType::kInt32, {rows}, std::span<const int32_t>(last_first));
    const auto h = testing::random_tensor(rng, {rows, 3}), x = testing::random_tensor(rng, {rows, 3});
    for (int n : {0, 1, 4}) {
      Collect got(1), want(1);
      ASSERT_TRUE((*hoisted)->run(refs({h, x, order, int_scalar(n)}), got).ok());
      ASSERT_TRUE((*kept)->run(refs({h, x, order, int_scalar(n)}), want).ok());
      EXPECT_LE(blade::testing::relative_difference(*want.outputs[0], *got.outputs[0]), 1e-6) << rows << " " << n;
    }
  }
  std::string steps;
  const auto plans = (*hoisted)->plans_for(std::vector<ir::Dims>{{2, 3}, {2, 3}, {2}, {}});
  ASSERT_TRUE(plans.ok());
  for (const auto& plan : *plans) {
    for (const Step& step : plan->steps) steps += step.node_name + " ";
  }
  EXPECT_NE(steps.find("y"), std::string::npos) << steps;
}

TEST(ControlFlow, WhatALoopWouldFailAtDoesNotFailWhereItNeverRuns) {
  auto engine = *Engine::create(loop_of_invariants(), Decisions(), EngineOptions());
  std::mt19937 rng(3);
  const auto h = testing::random_tensor(rng, {2, 3});
  const std::vector<int32_t> wrong = {0, 7};
  const auto order = ir::make_tensor<int32_t>(DType::kInt32, {2}, std::span<const int32_t>(wrong));
  Collect got(1);
  EXPECT_TRUE(engine->run(refs({h, h, order, int_scalar(0)}), got).ok());
  const Status status = engine->run(refs({h, h, order, int_scalar(1)}), got);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("Before the first iteration"), std::string::npos) << status.message();
}

// A variable that grows by a row each time: [k, 3] -> [k + 1, 3].
TEST(ControlFlow, VariablesMayChangeTheirShape) {
  GraphMaker condition, body;
  const auto make_inputs = [](GraphMaker& m) {
    return std::vector<ir::ValueId>{m.input("list", {-1, 3}), m.input("n", {}, DType::kInt32)};
  };
  {
    const auto in = make_inputs(condition);
    const auto size =
        condition.node(Op::kShapeOf, "shape", {in[0]}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, DType::kInt32});
    const auto rows =
        condition.node(Op::kGather, "rows", {size, condition.constant(int_scalar(0))}, ir::GatherAttrs{0, 0});
    condition.graph = condition.finish({condition.binary(PointwiseOp::kLess, "less", rows, in[1])});
  }
  {
    const auto in = make_inputs(body);
    const auto last = body.node(Op::kReduce, "sum", {in[0]}, ir::ReduceAttrs{ir::ReduceKind::kSum, {0}, false});
    body.graph = body.finish({body.node(Op::kAppendRow, "append", {in[0], last})});
  }
  GraphMaker m;
  const auto in = make_inputs(m);
  ir::SubGraphsAttrs attrs;
  attrs.graphs = {share(std::move(condition.graph)), share(std::move(body.graph))};
  ir::Node& loop = m.graph.add_node(Op::kWhile, "loop", {in[0], in[1]}, 1, attrs);
  const auto result = loop.outputs[0];
  ir::Graph graph = m.finish({result});
  EXPECT_FALSE(graph.value(result).shape.dim(0).is_known());
  EXPECT_EQ(graph.value(result).shape.dim(1), ir::Dim(3));
  auto engine = Engine::create(std::move(graph), Decisions(), EngineOptions());
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  const std::vector<float> ones(3, 1.0f);
  const auto one_row = ir::make_tensor<float>(DType::kFloat32, {1, 3}, std::span(ones));
  Collect got(1);
  const Status status = (*engine)->run(refs({one_row, int_scalar(5)}), got);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(got.outputs[0]->dims, (ir::Dims{5, 3}));
  EXPECT_FLOAT_EQ(got.outputs[0]->as<float>()[12], 8);
}

}  // namespace
}  // namespace blade::engine
