// The engine as its doors see it: what it says about wrong inputs, how many plans it keeps, what it lets go.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/engine_file.h"
#include "engine/test_graphs.h"
#include "support/graph_builder.h"

namespace blade::engine {
namespace {

using testing::Collect;
using testing::GraphMaker;
using testing::random_tensor;

std::shared_ptr<Engine> make(ir::Graph graph, const EngineOptions& options = {}, Decisions decisions = {}) {
  auto engine = Engine::create(std::move(graph), std::move(decisions), options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return engine.ok() ? *engine : nullptr;
}

std::string run_error(Engine& engine, const std::vector<TensorRef>& inputs) {
  Collect sink(engine.outputs().size());
  const Status status = engine.run(inputs, sink);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.message().back(), '.');
  return status.message();
}

void expect_says(const std::string& message, const std::string& part) {
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST(Engine, DescribesItself) {
  const auto engine = make(testing::small_cnn());
  ASSERT_EQ(engine->inputs().size(), 1u);
  EXPECT_EQ(engine->inputs()[0].name, "x");
  EXPECT_EQ(engine->inputs()[0].dtype, ir::DType::kFloat32);
  EXPECT_EQ(engine->inputs()[0].shape.rank(), 4);
  EXPECT_FALSE(engine->inputs()[0].shape.dim(0).is_known());
  ASSERT_EQ(engine->outputs().size(), 1u);
  EXPECT_EQ(engine->outputs()[0].name, "out0");
  EXPECT_EQ(engine->outputs()[0].shape.dim(1), ir::Dim(10));
  EXPECT_GE(engine->num_threads(), 1);
}

TEST(Engine, RunsWhatTheGraphSays) {
  std::mt19937 rng(1);
  const ir::Graph graph = testing::small_cnn();
  const auto engine = make(graph.clone());
  const auto naive = make(graph.clone(), {1, 16, true});
  for (int64_t batch : {1, 3, 2, 1}) {
    const std::vector<ir::TensorPtr> inputs = {random_tensor(rng, {batch, 8, 8, 3})};
    const auto want = testing::oracle(graph, inputs);
    for (const auto& e : {engine, naive}) {
      Collect sink(1);
      const Status status = e->run(testing::refs(inputs), sink);
      ASSERT_TRUE(status.ok()) << status.message();
      testing::expect_close(*sink.outputs[0], *want[0], 1e-5, ir::concat("batch ", batch));
    }
  }
}

TEST(Engine, LoadsWhatWasWritten) {
  std::mt19937 rng(2);
  const ir::Graph graph = testing::small_cnn();
  auto file = write_engine_file(graph, Decisions());
  ASSERT_TRUE(file.ok());
  const auto owner = std::make_shared<std::vector<std::byte>>(std::move(file->bytes));
  auto engine = Engine::load(*owner, owner, {});
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  const std::vector<ir::TensorPtr> inputs = {random_tensor(rng, {2, 8, 8, 3})};
  Collect sink(1);
  ASSERT_TRUE((*engine)->run(testing::refs(inputs), sink).ok());
  testing::expect_close(*sink.outputs[0], *testing::oracle(graph, inputs)[0], 1e-5, "loaded");
}

TEST(Engine, SaysWhatIsWrongWithInputs) {
  const auto engine = make(testing::small_cnn());
  std::vector<float> data(2 * 8 * 8 * 3 + 1);
  const auto f32 = ir::DType::kFloat32;
  expect_says(run_error(*engine, {}), "0 inputs were given, the model has 1 (x)");
  expect_says(run_error(*engine, {{ir::DType::kFloat64, {2, 8, 8, 3}, data.data()}}),
              "Input 'x' was given float64 data, expected float32");
  expect_says(run_error(*engine, {{f32, {8, 8, 3}, data.data()}}), "Input 'x' was given shape [8,8,3], expected [");
  expect_says(run_error(*engine, {{f32, {8, 8, 3}, data.data()}}), "rank 4");
  expect_says(run_error(*engine, {{f32, {2, 8, 7, 3}, data.data()}}), "dim 2 must be 8");
  expect_says(run_error(*engine, {{f32, {-2, 8, 8, 3}, data.data()}}), "a dim of -2");
  expect_says(run_error(*engine, {{f32, {2, 8, 8, 3}, nullptr}}), "was given without data");
  expect_says(run_error(*engine, {{f32, {2, 8, 8, 3}, reinterpret_cast<std::byte*>(data.data()) + 1}}),
              "no multiple of 4");
}

TEST(Engine, InputsThatShareADimMustAgree) {
  GraphMaker m;
  const auto a = m.input("a", {-1, 4});
  const ir::Dim batch = m.graph.value(a).shape.dim(0);
  const auto b = m.graph.add_input("b", ir::DType::kFloat32, ir::Shape({batch, ir::Dim(4)}));
  const auto engine = make(m.finish({m.binary(ir::PointwiseOp::kAdd, "sum", a, b)}));
  std::vector<float> data(64);
  expect_says(
      run_error(*engine, {{ir::DType::kFloat32, {2, 4}, data.data()}, {ir::DType::kFloat32, {3, 4}, data.data()}}),
      "Input 'b' was given shape [3,4]");
}

TEST(Engine, ASinkWithoutMemoryIsASentence) {
  class Nothing final : public OutputSink {
    void* allocate(int, ir::DType, const ir::Dims&) override { return nullptr; }
  } nothing;
  const auto engine = make(testing::small_cnn());
  std::mt19937 rng(3);
  const Status status = engine->run(testing::refs({random_tensor(rng, {1, 8, 8, 3})}), nothing);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  expect_says(status.message(), "There is no memory for output 'out0' (40 bytes)");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // sanitizers abort instead of giving no memory
TEST(Engine, ArenasThatCannotBeHadAreASentence) {
  GraphMaker m;
  auto y = m.input("x", {-1});
  for (const char* name : {"a", "b", "c", "d"}) y = m.node(ir::Op::kSoftmax, name, {y}, ir::SoftmaxAttrs{});
  const auto engine = make(m.finish({y}), {1, 16, true});
  // Two buffers of 2^46 bytes are more than a process can address; the data is never read.
  float data = 0;
  expect_says(run_error(*engine, {{ir::DType::kFloat32, {int64_t{1} << 44}, &data}}),
              "There is no memory for the intermediate tensors of this run");
}
#endif

TEST(Engine, PlansAreBoundedAndTheOldestGoes) {
  EngineOptions options;
  options.max_cached_plans = 3;
  const auto engine = make(testing::small_cnn(), options);
  std::vector<std::shared_ptr<const Plan>> plans;
  for (int64_t batch : {1, 2, 3}) plans.push_back(*engine->plan_for(std::vector<ir::Dims>{{batch, 8, 8, 3}}));
  EXPECT_EQ(engine->plans_cached(), 3u);
  EXPECT_EQ(*engine->plan_for(std::vector<ir::Dims>{{1, 8, 8, 3}}), plans[0]);  // used again: 2 is the oldest now
  ASSERT_TRUE(engine->plan_for(std::vector<ir::Dims>{{4, 8, 8, 3}}).ok());
  EXPECT_EQ(engine->plans_cached(), 3u);
  EXPECT_EQ(*engine->plan_for(std::vector<ir::Dims>{{1, 8, 8, 3}}), plans[0]);
  EXPECT_EQ(*engine->plan_for(std::vector<ir::Dims>{{3, 8, 8, 3}}), plans[2]);
  EXPECT_NE(*engine->plan_for(std::vector<ir::Dims>{{2, 8, 8, 3}}), plans[1]);
}

TEST(Engine, PlansOfAllShapesShareWeights) {
  const auto engine = make(testing::small_cnn());
  ASSERT_TRUE(engine->plan_for(std::vector<ir::Dims>{{1, 8, 8, 3}}).ok());
  const size_t packed = engine->packed_bytes();
  ASSERT_TRUE(engine->plan_for(std::vector<ir::Dims>{{1, 8, 8, 3}}).ok());
  EXPECT_EQ(engine->packed_bytes(), packed);
}

TEST(Engine, ArenasAreReused) {
  const auto engine = make(testing::small_cnn());
  std::mt19937 rng(4);
  for (int64_t batch : {4, 4, 2, 4, 1}) {
    Collect sink(1);
    ASSERT_TRUE(engine->run(testing::refs({random_tensor(rng, {batch, 8, 8, 3})}), sink).ok());
  }
  EXPECT_EQ(engine->arenas_created(), 1u);
}

TEST(Engine, Profiles) {
  Decisions decisions;
  decisions.profile = Profile{{{1, 8, 8, 3}}, {{4, 8, 8, 3}}, {}};
  const auto engine = make(testing::small_cnn(), {}, decisions);
  EXPECT_TRUE(engine->in_profile(std::vector<ir::Dims>{{1, 8, 8, 3}}));
  EXPECT_TRUE(engine->in_profile(std::vector<ir::Dims>{{4, 8, 8, 3}}));
  EXPECT_FALSE(engine->in_profile(std::vector<ir::Dims>{{5, 8, 8, 3}}));
  EXPECT_FALSE(engine->in_profile(std::vector<ir::Dims>{{8, 8, 3}}));
  EXPECT_FALSE(engine->in_profile({}));
  expect_says(engine->outside_profile(std::vector<ir::Dims>{{5, 8, 8, 3}}),
              "has the shape [5,8,8,3], outside the engine's profile of [1,8,8,3] to [4,8,8,3]");
  expect_says(engine->outside_profile({}), "0 inputs are given, the profile has bounds for 1");
  EXPECT_TRUE(make(testing::small_cnn())->in_profile(std::vector<ir::Dims>{{5000, 8, 8, 3}}));
  decisions.profile->min.push_back({1});
  decisions.profile->max.push_back({1});
  auto wrong = Engine::create(testing::small_cnn(), decisions, {});
  ASSERT_FALSE(wrong.ok());
  expect_says(wrong.status().message(), "The profile has shapes for 2 inputs, the model has 1");
}

TEST(Engine, ForeignNodesAreRefusedAtOnce) {
  GraphMaker m;
  auto engine = Engine::create(m.finish({m.foreign("script", {m.input("x", {2})})}), {}, {});
  ASSERT_FALSE(engine.ok());
  expect_says(engine.status().message(), "1 node needs TensorFlow: 'script' (PyFunc): ");
}

// As in TensorFlow, on every thread; the caller's own arithmetic stays as it is.
TEST(Engine, TakesDenormalsForZeros) {
  const int64_t count = 1 << 16;  // enough for all threads to have a part
  blade::testing::GraphBuilder b;
  const auto x = b.input("x", {count});
  const ir::Graph graph = b.output(b.mul(x, b.scalar(1e-30f)), "y").build();
  EngineOptions options;
  options.num_threads = 2;
  auto engine = Engine::create(graph.clone(), Decisions(), options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  const std::vector<float> values(static_cast<size_t>(count), 1e-10f);
  const std::vector<TensorRef> inputs = {{ir::DType::kFloat32, {count}, values.data()}};
  Collect got(1);
  ASSERT_TRUE((*engine)->run(inputs, got).ok());
  const auto* y = reinterpret_cast<const float*>(got.outputs[0]->data);
  EXPECT_TRUE(std::all_of(y, y + count, [](float v) { return v == 0; }));
  volatile float small = 1e-30f;
  EXPECT_NE(small * 1e-10f, 0);
}

TEST(Engine, MeasuresItsSteps) {
  const auto engine = make(testing::small_cnn());
  std::mt19937 rng(6);
  std::vector<StepTime> times;
  const std::vector<ir::TensorPtr> inputs = {random_tensor(rng, {2, 8, 8, 3})};
  const Status status = engine->profile(testing::refs(inputs), 5, &times);
  ASSERT_TRUE(status.ok()) << status.message();
  auto plan = engine->plan_for(std::vector<ir::Dims>{{2, 8, 8, 3}});
  ASSERT_EQ(times.size(), (*plan)->steps.size());
  double flops = 0;
  for (const StepTime& t : times) {
    EXPECT_FALSE(t.kernel.empty());
    EXPECT_GE(t.median_us, 0);
    flops += t.flops;
  }
  EXPECT_GT(flops, 2.0 * 2 * 64 * 27 * 8);
}

// Weights that a pass computed (conv * scale) are let go after packing, come back for the next shape, and the answers
// stay right throughout.
TEST(Engine, DerivedWeightsAreReleasedAndComeBack) {
  std::mt19937 rng(8);
  const ir::Graph graph = testing::small_cnn(9, 256);
  const auto engine = make(graph.clone());
  for (int64_t batch : {1, 2, 3, 1}) {
    const std::vector<ir::TensorPtr> inputs = {random_tensor(rng, {batch, 8, 8, 3})};
    Collect sink(1);
    const Status status = engine->run(testing::refs(inputs), sink);
    ASSERT_TRUE(status.ok()) << status.message();
    testing::expect_close(*sink.outputs[0], *testing::oracle(graph, inputs)[0], 1e-4, ir::concat("batch ", batch));
    ::testing::Test::RecordProperty(ir::concat("released_after_batch_", batch),
                                    static_cast<int>(engine->derived_bytes_released()));
  }
  EXPECT_EQ(engine->derived_bytes_released(), 0u) << "a second shape keeps them";
}

// What a later stage reads is needed until that is made.
TEST(Engine, DerivedWeightsOfALaterStageStay) {
  std::mt19937 rng(8);
  GraphMaker m;
  const auto x = m.input("x", {-1, 200});
  const auto column = m.node(ir::Op::kGather, "column", {x, m.constant(ir::make_scalar_i64(0))}, ir::GatherAttrs{1, 0});
  const auto zero = m.constant(random_tensor(rng, {}));
  const auto where = m.node(ir::Op::kWhere, "where", {m.binary(ir::PointwiseOp::kGreater, "large", column, zero)});
  const auto rows = m.node(ir::Op::kSqueeze, "rows", {where}, ir::AxesAttrs{{1}});
  const auto picked = m.node(ir::Op::kGather, "picked", {x, rows}, ir::GatherAttrs{0, 0});
  const auto product =
      m.node(ir::Op::kMatMul, "product", {picked, m.constant(random_tensor(rng, {200, 100}))}, ir::MatMulAttrs{});
  const auto scale = m.constant(random_tensor(rng, {100}));
  const ir::Graph graph = m.finish({m.binary(ir::PointwiseOp::kMul, "scaled", product, scale)});
  const auto engine = make(graph.clone());
  for (int64_t batch : {9, 20}) {
    const std::vector<ir::TensorPtr> inputs = {random_tensor(rng, {batch, 200})};
    Collect sink(1);
    ASSERT_TRUE(engine->run(testing::refs(inputs), sink).ok());
    testing::expect_close(*sink.outputs[0], *testing::oracle(graph, inputs)[0], 1e-4, ir::concat("batch ", batch));
  }
}

}  // namespace
}  // namespace blade::engine
