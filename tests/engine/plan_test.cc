// Plans: views cost nothing, memory is shared only where nobody can tell, and results equal the graph as written.
#include "engine/plan.h"

#include <gtest/gtest.h>

#include "engine/storage.h"
#include "engine/test_graphs.h"
#include "passes/pass.h"

namespace blade::engine {
namespace {

using ir::PointwiseOp;
using testing::Collect;
using testing::GraphMaker;
using testing::int_tensor;
using testing::random_tensor;

Result<std::shared_ptr<const Plan>> plan(const ir::Graph& graph, const std::vector<ir::Dims>& dims,
                                         bool reference = false) {
  static backends::PackCache packs;
  PlanOptions options;
  options.reference_only = reference;
  return make_plan(graph, dims, Decisions(), packs, options);
}

std::vector<std::string> step_names(const Plan& plan) {
  std::vector<std::string> names;
  for (const Step& step : plan.steps) names.push_back(step.node_name);
  return names;
}

TEST(Plan, ViewsHaveNoStep) {
  GraphMaker m;
  auto y = m.unary(PointwiseOp::kExp, "exp", m.input("x", {-1, 6}));
  y = m.node(ir::Op::kReshape, "reshape", {y, m.constant(int_tensor({-1, 2, 3}))});
  y = m.node(ir::Op::kExpandDims, "expand", {y}, ir::AxisAttrs{0});
  y = m.node(ir::Op::kTranspose, "moves_only_ones", {y}, ir::PermAttrs{{1, 0, 2, 3}});
  y = m.node(ir::Op::kTranspose, "back", {y}, ir::PermAttrs{{1, 0, 2, 3}});
  y = m.node(ir::Op::kSqueeze, "squeeze", {y}, ir::AxesAttrs{{0}});
  y = m.node(ir::Op::kIdentity, "identity", {y}, ir::IdentityAttrs{});
  y = m.node(ir::Op::kCast, "cast", {y}, ir::CastAttrs{ir::DType::kFloat32});
  y = m.node(ir::Op::kSoftmax, "soft", {y}, ir::SoftmaxAttrs{});
  const ir::Graph graph = m.finish({y});
  auto p = plan(graph, {{4, 6}});
  ASSERT_TRUE(p.ok()) << p.status().message();
  EXPECT_EQ(step_names(**p), (std::vector<std::string>{"exp", "soft"}));
  const Step& last = (*p)->steps[1];
  EXPECT_EQ(last.input_descs[0].dims, (ir::Dims{4, 2, 3}));
  EXPECT_EQ(last.outputs[0].kind, Location::Kind::kOutput);
}

TEST(Plan, OutputsAreWrittenByTheStepThatMakesThem) {
  GraphMaker m;
  const auto x = m.input("x", {2, 3});
  const auto a = m.node(ir::Op::kSoftmax, "a", {x}, ir::SoftmaxAttrs{});
  const auto same = m.node(ir::Op::kIdentity, "same", {a}, ir::IdentityAttrs{});
  const auto c = m.constant(int_tensor({1, 2, 3}));
  const ir::Graph graph = m.finish({a, same, x, c});
  auto p = plan(graph, {{2, 3}});
  ASSERT_TRUE(p.ok());
  const auto& sources = (*p)->output_sources;
  EXPECT_EQ(sources[0].kind, Location::Kind::kOutput);
  EXPECT_EQ(sources[0].index, 0);
  EXPECT_EQ(sources[1].kind, Location::Kind::kOutput);  // copied from output 0
  EXPECT_EQ(sources[1].index, 0);
  EXPECT_EQ(sources[2].kind, Location::Kind::kInput);
  EXPECT_EQ(sources[3].kind, Location::Kind::kConstant);
  EXPECT_EQ((*p)->arena_bytes, 0u);
}

TEST(Plan, WhatDependsOnlyOnShapesIsFolded) {
  GraphMaker m;
  const auto x = m.input("x", {-1, 4, 6});
  const auto shape = m.node(ir::Op::kShapeOf, "shape", {x}, ir::ShapeOfAttrs{});
  const auto total = m.node(ir::Op::kReduce, "total", {shape}, ir::ReduceAttrs{ir::ReduceKind::kProd, {0}, true});
  const auto flat = m.node(ir::Op::kReshape, "flat", {x, total});
  const ir::Graph graph = m.finish({m.unary(PointwiseOp::kExp, "exp", flat)});
  auto p = plan(graph, {{2, 4, 6}});
  ASSERT_TRUE(p.ok()) << p.status().message();
  EXPECT_EQ(step_names(**p), std::vector<std::string>{"exp"});
  EXPECT_EQ((*p)->outputs[0].dims, (ir::Dims{48}));
}

TEST(Plan, ShapesThatDependOnDataAreRefusedByName) {
  GraphMaker m;
  const auto where = m.node(ir::Op::kWhere, "find_ones", {m.input("mask", {-1}, ir::DType::kBool)});
  const ir::Graph graph = m.finish({where});
  const Status status = plan(graph, {{5}}).status();
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
  EXPECT_NE(status.message().find("Node 'find_ones' (Where): the shape of its result depends on data"),
            std::string::npos)
      << status.message();
}

TEST(Plan, ForeignNodesAreRefusedByName) {
  GraphMaker m;
  const ir::Graph graph = m.finish({m.foreign("script", {m.input("x", {2})})});
  const Status status = plan(graph, {{2}}).status();
  EXPECT_NE(status.message().find("1 node needs TensorFlow: 'script' (PyFunc): "), std::string::npos)
      << status.message();
}

TEST(Plan, HugeShapesAreASentence) {
  const ir::Graph graph = testing::small_cnn();
  EXPECT_FALSE(plan(graph, {{int64_t{1} << 55, 8, 8, 3}}).ok());
  EXPECT_FALSE(plan(graph, {{-1, 8, 8, 3}}).ok());
}

// The three that share() must refuse, and the one that it takes.
TEST(Storage, SharesOnlyWhatDies) {
  GraphMaker m;
  const auto x = m.input("x", {4});
  const auto a = m.unary(PointwiseOp::kExp, "a", x);      // read by b and c
  const auto b = m.unary(PointwiseOp::kTanh, "b", a);     // dies in c
  const auto c = m.binary(PointwiseOp::kAdd, "c", a, b);  // an output, read by d
  const auto d = m.unary(PointwiseOp::kRelu, "d", c);
  const ir::Graph graph = m.finish({c, d});
  auto map = StorageMap::create(graph, *graph.topological_order());
  ASSERT_TRUE(map.ok());
  EXPECT_FALSE(map->share(0, x, a)) << "a graph input is the caller's";
  EXPECT_FALSE(map->share(1, a, b)) << "a is read later";
  EXPECT_TRUE(map->share(2, b, c));
  EXPECT_EQ(map->of(b), map->of(c));
  EXPECT_FALSE(map->share(3, c, d)) << "c is an output";
  map->assign_outputs(graph);
  EXPECT_EQ(map->storage(map->of(b)).kind, Storage::Kind::kOutput);
}

TEST(Plan, FewerBytesThanWithoutLiveness) {
  GraphMaker m;
  auto y = m.input("x", {64, 64});
  for (int i = 0; i < 20; ++i) y = m.node(ir::Op::kSoftmax, ir::concat("s", i), {y}, ir::SoftmaxAttrs{});
  const ir::Graph graph = m.finish({y});
  auto p = plan(graph, {{64, 64}}, true);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ((*p)->arena_bytes, 2 * 64 * 64 * 4u);
  EXPECT_EQ((*p)->naive_arena_bytes, 19 * 64 * 64 * 4u);
}

TEST(Plan, ElementwiseStepsWriteOverWhatTheyRead) {
  GraphMaker m;
  const auto x = m.input("x", {64, 64});
  auto y = m.node(ir::Op::kSoftmax, "first", {x}, ir::SoftmaxAttrs{});
  for (int i = 0; i < 5; ++i) y = m.binary(PointwiseOp::kMul, ir::concat("square", i), y, y);
  y = m.node(ir::Op::kSoftmax, "last", {y}, ir::SoftmaxAttrs{});
  const ir::Graph graph =
      m.finish({m.node(ir::Op::kReduce, "sum", {y}, ir::ReduceAttrs{ir::ReduceKind::kSum, {1}, false})});
  const auto p = plan(graph, {{64, 64}});
  ASSERT_TRUE(p.ok());
  for (size_t s = 1; s < 6; ++s) EXPECT_TRUE((*p)->steps[s].in_place) << s;
  EXPECT_LE((*p)->arena_bytes, 2 * 64 * 64 * 4u);
}

// Which outputs a step may write over which inputs of the graph.
TEST(Plan, ReusesInputsThatNoLaterStepReads) {
  using Reuses = decltype(Plan::reuses);
  const auto reuses = [](GraphMaker& m, std::vector<ir::ValueId> outputs) {
    const auto p = plan(m.finish(std::move(outputs)), {{4, 6}});
    EXPECT_TRUE(p.ok()) << p.status().message();
    return p.ok() ? (*p)->reuses : Reuses();
  };
  const auto exp = [](GraphMaker& m, ir::ValueId v) { return m.unary(PointwiseOp::kExp, "exp", v); };
  std::mt19937 rng(1);
  {
    GraphMaker m;
    EXPECT_EQ(reuses(m, {exp(m, m.input("x", {4, 6}))}), (Reuses{{0, 0}}));
  }
  {
    GraphMaker m;
    const auto x = m.input("x", {4, 6}), y = exp(m, x), last = m.unary(PointwiseOp::kTanh, "last", x);
    EXPECT_EQ(reuses(m, {y, last}), (Reuses{{0, 1}}));
  }
  {
    GraphMaker m;  // what is written over x would be no output
    const auto y = exp(m, m.input("x", {4, 6}));
    EXPECT_EQ(
        reuses(m, {m.node(ir::Op::kMatMul, "product", {y, m.constant(random_tensor(rng, {6, 3}))}, ir::MatMulAttrs{})}),
        Reuses());
  }
  {
    GraphMaker m;  // neither what is an output itself nor a constant
    const auto x = m.input("x", {4, 6});
    EXPECT_EQ(reuses(m, {m.binary(PointwiseOp::kAdd, "sum", x, m.constant(random_tensor(rng, {4, 6}))), x}), Reuses());
  }
}

void expect_equals_oracle(uint32_t seed, int nodes, int64_t batch, bool reference, bool with_passes) {
  std::mt19937 rng(seed);
  const ir::Graph graph = testing::random_graph(rng, nodes);
  const std::vector<ir::TensorPtr> inputs = {random_tensor(rng, {batch, 6}), random_tensor(rng, {batch, 6})};
  const auto want = testing::oracle(graph, inputs);
  ASSERT_EQ(want.size(), graph.outputs().size());
  Decisions decisions;
  if (!with_passes) {
    for (const passes::Pass& pass : passes::pipeline()) decisions.disabled_passes.push_back(pass.name);
  }
  EngineOptions options;
  options.num_threads = 2;
  options.reference_only = reference;
  auto engine = Engine::create(graph.clone(), decisions, options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  for (int run = 0; run < 2; ++run) {
    Collect sink(want.size());
    const Status status = (*engine)->run(testing::refs(inputs), sink);
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t i = 0; i < want.size(); ++i) {
      testing::expect_close(*sink.outputs[i], *want[i], 2e-5, ir::concat("seed ", seed, " output ", i));
    }
  }
}

TEST(Plan, RandomGraphsWithReferenceKernels) {
  for (uint32_t seed = 0; seed < 60; ++seed) expect_equals_oracle(seed, 3 + seed % 30, 1 + seed % 5, true, false);
}

TEST(Plan, RandomGraphsWithCpuKernels) {
  for (uint32_t seed = 100; seed < 200; ++seed) expect_equals_oracle(seed, 3 + seed % 30, 1 + seed % 5, false, true);
}

TEST(Plan, EmptyBatches) {
  for (uint32_t seed = 300; seed < 310; ++seed) expect_equals_oracle(seed, 12, 0, false, true);
}

}  // namespace
}  // namespace blade::engine
