// Models whose shapes depend on data: runs in stages give what the graph gives node by node.
#include <gtest/gtest.h>

#include <thread>

#include "engine/test_graphs.h"

namespace blade::engine {
namespace {

using ir::DType;
using ir::Op;
using ir::PointwiseOp;
using testing::Collect;
using testing::expect_close;
using testing::GraphMaker;
using testing::oracle;
using testing::refs;

ir::TensorPtr floats(const ir::Dims& dims, const std::vector<float>& values) {
  return ir::make_tensor<float>(DType::kFloat32, dims, std::span(values));
}

ir::ValueId scalar(GraphMaker& m, float value) { return m.constant(floats({}, {value})); }

// Rows of x whose first column is positive, times two, and how many there are.
ir::Graph positive_rows() {
  GraphMaker m;
  const auto x = m.input("x", {-1, 3});
  const auto first = m.node(Op::kGather, "first", {x, m.constant(ir::make_scalar_i64(0))}, ir::GatherAttrs{1, 0});
  const auto positive = m.binary(PointwiseOp::kGreater, "positive", first, scalar(m, 0));
  const auto where = m.node(Op::kWhere, "where", {positive});
  const auto rows = m.node(Op::kSqueeze, "rows", {where}, ir::AxesAttrs{{1}});
  const auto picked = m.node(Op::kGather, "picked", {x, rows}, ir::GatherAttrs{0, 0});
  const auto doubled = m.binary(PointwiseOp::kAdd, "doubled", picked, picked);
  const auto count = m.node(Op::kShapeOf, "count", {where}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, DType::kInt32});
  return m.finish({doubled, count, where, x});
}

void expect_like_oracle(Engine& engine, const ir::Graph& graph, const std::vector<ir::TensorPtr>& inputs) {
  const auto want = oracle(graph, inputs);
  Collect got(want.size());
  const Status status = engine.run(refs(inputs), got);
  ASSERT_TRUE(status.ok()) << status.message();
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NE(got.outputs[i], nullptr) << i;
    expect_close(*got.outputs[i], *want[i], 1e-6, ir::concat("output ", i));
  }
}

std::vector<ir::TensorPtr> rows_input(int64_t n, int positive) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) {
    const float sign = i * positive / std::max<int64_t>(n, 1) != (i + 1) * positive / std::max<int64_t>(n, 1) ? 1 : -1;
    values.insert(values.end(), {sign * static_cast<float>(i + 1), static_cast<float>(i), -1});
  }
  return {floats({n, 3}, values)};
}

TEST(Stages, EverySizeThatDataGivesIncludingNone) {
  const ir::Graph graph = positive_rows();
  auto engine = Engine::create(graph.clone(), Decisions(), EngineOptions());
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  for (int64_t n : {5, 1, 0, 12}) {
    for (int positive : {0, 1, 4}) {
      if (positive <= n) expect_like_oracle(**engine, graph, rows_input(n, positive));
    }
  }
}

TEST(Stages, OutputShapesSayWhatIsKnownBeforeTheRun) {
  auto engine = *Engine::create(positive_rows(), Decisions(), EngineOptions());
  const auto shapes = engine->output_shapes(std::vector<ir::Dims>{{7, 3}});
  ASSERT_TRUE(shapes.ok()) << shapes.status().message();
  EXPECT_FALSE((*shapes)[0].is_static());
  EXPECT_EQ((*shapes)[0].dim(1), ir::Dim(3));
  EXPECT_EQ((*shapes)[1], ir::Shape({ir::Dim(2)}));
  EXPECT_EQ((*shapes)[3], ir::Shape({ir::Dim(7), ir::Dim(3)}));
}

// A shape computed from the elements of an input.
TEST(Stages, ElementsThatDecideAShapeGetPlansOfTheirOwn) {
  GraphMaker m;
  const auto x = m.input("x", {12});
  const auto shape = m.input("shape", {2}, DType::kInt32);
  const auto doubled = m.node(Op::kReshape, "reshape", {m.binary(PointwiseOp::kAdd, "add", x, x), shape});
  const ir::Graph graph = m.finish({m.unary(PointwiseOp::kRelu, "relu", doubled), doubled});
  auto engine = *Engine::create(graph.clone(), Decisions(), EngineOptions());
  std::mt19937 rng(3);
  const auto data = testing::random_tensor(rng, {12});
  for (const std::vector<int32_t>& to : {std::vector<int32_t>{3, 4}, {-1, 2}, {3, 4}, {12, 1}}) {
    expect_like_oracle(*engine, graph, {data, testing::int_tensor(to)});
  }
  Collect got(2);
  const Status wrong = engine->run(refs({data, testing::int_tensor({5, 5})}), got);
  EXPECT_FALSE(wrong.ok());
  EXPECT_NE(wrong.message().find("reshape"), std::string::npos) << wrong.message();
}

TEST(Stages, UniqueAndPartitionFlowOn) {
  GraphMaker m;
  const auto x = m.input("x", {-1}, DType::kInt32);
  ir::Node& unique = m.graph.add_node(Op::kUnique, "unique", {x}, 3, ir::PositionsAttrs{DType::kInt32});
  const std::vector<ir::ValueId> parts_of_unique = unique.outputs;
  const auto back = m.node(Op::kGather, "back", {parts_of_unique[0], parts_of_unique[1]}, ir::GatherAttrs{0, 0});
  const auto two = m.constant(ir::make_tensor<int32_t>(DType::kInt32, {}, std::span<const int32_t>(std::vector{2})));
  const auto odd = m.binary(PointwiseOp::kFloorMod, "odd", x, two);
  ir::Node& partition = m.graph.add_node(Op::kDynamicPartition, "partition", {x, odd}, 2, ir::EmptyAttrs());
  const std::vector<ir::ValueId> halves = partition.outputs;
  const auto joined = m.node(Op::kConcat, "joined", {halves[1], halves[0]}, ir::AxisAttrs{0});
  ir::Node& diff = m.graph.add_node(Op::kListDiff, "diff", {x, halves[1]}, 2, ir::PositionsAttrs{DType::kInt64});
  const std::vector<ir::ValueId> rest = diff.outputs;
  const ir::Graph graph =
      m.finish({parts_of_unique[0], parts_of_unique[1], parts_of_unique[2], back, joined, rest[0], rest[1]});
  auto engine = Engine::create(graph.clone(), Decisions(), EngineOptions());
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  for (const std::vector<int32_t>& x_values :
       {std::vector<int32_t>{3, 1, 3, 2, 2, 9}, {}, {5}, {2, 4, 2}, {1, 1, 1, 1}}) {
    expect_like_oracle(**engine, graph, {testing::int_tensor(x_values)});
  }
}

TEST(Stages, ThreadsShareTheStages) {
  const ir::Graph graph = positive_rows();
  auto engine = *Engine::create(graph.clone(), Decisions(), EngineOptions());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) expect_like_oracle(*engine, graph, rows_input(8, (t + i) % 5));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Stages, TheCallersRefusalIsTold) {
  class Stingy final : public OutputSink {
   public:
    void* allocate(int, DType, const ir::Dims& dims) override { return dims.size() == 2 ? nullptr : &room; }
    int64_t room = 0;
  } sink;
  auto engine = *Engine::create(positive_rows(), Decisions(), EngineOptions());
  const Status status = engine->run(refs(rows_input(4, 2)), sink);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status.message();
  EXPECT_NE(status.message().find("There is no memory for output"), std::string::npos) << status.message();
}

TEST(Stages, MemoryOfOutputsMustBeAlignedAndMayBeMissingForNothing) {
  struct Fixed final : public OutputSink {
    explicit Fixed(void* place) : data(place) {}
    void* allocate(int, DType, const ir::Dims&) override { return data; }
    void* data;
  };
  testing::GraphMaker m;
  const ir::Graph graph = m.finish({m.unary(ir::PointwiseOp::kExp, "exp", m.input("x", {-1, 6}))});
  auto engine = *Engine::create(graph.clone(), Decisions(), EngineOptions());
  std::mt19937 rng(1);
  const auto run = [&](int64_t rows, void* data) {
    Fixed sink(data);
    return engine->run(refs({testing::random_tensor(rng, {rows, 6})}), sink);
  };
  alignas(64) std::array<std::byte, 128> room;
  EXPECT_TRUE(run(2, room.data()).ok());
  EXPECT_EQ(run(2, room.data() + 2).message(),
            "The memory for output 'out0' is not aligned to its elements: give aligned memory.");
  EXPECT_EQ(run(2, nullptr).code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(run(0, nullptr).ok());
}

TEST(Stages, ProfileKnowsTheStepsOfAllStages) {
  auto engine = *Engine::create(positive_rows(), Decisions(), EngineOptions());
  std::vector<StepTime> times;
  ASSERT_TRUE(engine->profile(refs(rows_input(6, 3)), 3, &times).ok());
  std::vector<std::string> nodes;
  for (const StepTime& time : times) nodes.push_back(time.node);
  EXPECT_NE(std::find(nodes.begin(), nodes.end(), "where"), nodes.end());
  EXPECT_NE(std::find(nodes.begin(), nodes.end(), "picked"), nodes.end());
}

}  // namespace
}  // namespace blade::engine
