// What the tests of nodes that share a step have in common: weights, machines, and a run beside the graph's definition.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/test_graphs.h"
#include "support/evaluate_graph.h"

namespace blade::engine::testing {

inline std::vector<float> random_values(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = std::uniform_real_distribution<float>(-0.5f, 0.5f)(random);
  return values;
}

// Runs the graph in an engine on random inputs: the answers must be those of its definition. `kernels`: of the steps.
inline void check_answers(const ir::Graph& graph, const Decisions& decisions, const EngineOptions& options,
                          double tolerance, std::vector<std::string>& kernels) {
  const auto inputs = blade::testing::random_inputs(graph, 5);
  const auto want = blade::testing::evaluate_graph(graph, inputs);
  ASSERT_TRUE(want.ok()) << want.status().message();
  auto engine = Engine::create(graph.clone(), decisions, options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  std::vector<ir::Dims> dims;
  for (const ir::TensorPtr& input : inputs) dims.push_back(input->dims);
  const auto plan = (*engine)->plan_for(dims);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  kernels.clear();
  for (const Step& step : (*plan)->steps) kernels.emplace_back(step.kernel_name);
  Collect got(want->size());
  const Status ran = (*engine)->run(refs(inputs), got);
  ASSERT_TRUE(ran.ok()) << ran.message();
  for (size_t i = 0; i < want->size(); ++i)
    expect_close(*got.outputs[i], *(*want)[i], tolerance, ir::concat("output ", i));
}

inline EngineOptions with_threads(int threads) {
  EngineOptions options;
  options.num_threads = threads;
  return options;
}

inline Decisions in_bf16() {
  Decisions decisions;
  decisions.precision = "bf16";
  return decisions;
}

// Stored choices that put nodes into one step wherever a row takes them, and the kernels of the plan without.
inline Decisions together(const ir::Graph& graph, const ir::Dims& dims) {
  backends::PackCache packs;
  PlanOptions options;
  options.num_threads = 2;
  options.with_alternatives = true;
  Decisions decisions;
  const auto plan = make_plan(graph, std::vector<ir::Dims>{dims}, Decisions(), packs, options);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  if (!plan.ok()) return decisions;
  for (const PossiblePair& pair : (*plan)->possible_pairs) decisions.kernels[pair.signature] = pair.alternatives[0];
  return decisions;
}

// In bfloat16, for a machine without AMX.
inline EngineOptions without_amx() {
  static const backends::Machine machine = [] {
    backends::Machine m = backends::Machine::host();
    m.amx_tile = m.amx_bf16 = false;
    return m;
  }();
  EngineOptions options;
  options.machine = &machine;
  return options;
}

// For one with AMX: amx_mode() is not kMissing.
inline EngineOptions with_amx() {
  static const backends::Machine machine = [] {
    backends::Machine m = backends::Machine::host();
    m.amx_tile = m.amx_bf16 = true;
    return m;
  }();
  EngineOptions options;
  options.machine = &machine;
  return options;
}

}  // namespace blade::engine::testing
