// What the pass tests share: run one pass, check that it is sound (shapes, structure, same answers, nothing left to do)
// and look at what it made.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "passes/pass.h"
#include "support/evaluate_graph.h"
#include "support/graph_builder.h"

namespace blade::testing {

using ir::Op;
using P = ir::PointwiseOp;

struct Applied {
  ir::Graph graph;
  passes::PassResult result;
};

inline const passes::Pass& find_pass(const std::string& name) {
  for (const passes::Pass& pass : passes::pipeline()) {
    if (name == pass.name) return pass;
  }
  ADD_FAILURE() << "no pass is called " << name;
  return passes::pipeline()[0];
}

inline bool has_foreign(const ir::Graph& graph) {
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (graph.is_live(id) && graph.node(id).op == Op::kForeign) return true;
  }
  return false;
}

inline void expect_sound(ir::Graph& graph) {
  const Status inferred = ir::infer_shapes(graph);
  EXPECT_TRUE(inferred.ok()) << inferred.message();
  const Status verified = ir::verify(graph);
  EXPECT_TRUE(verified.ok()) << verified.message() << "\n" << ir::to_string(graph);
}

inline void expect_same_answers(const ir::Graph& before, const ir::Graph& after, double tolerance) {
  for (int64_t unknown : {2, 3}) {
    const auto inputs = random_inputs(before, 17, unknown);
    const auto expected = evaluate_graph(before, inputs), found = evaluate_graph(after, inputs);
    ASSERT_TRUE(expected.ok()) << expected.status().message();
    ASSERT_TRUE(found.ok()) << found.status().message() << "\n" << ir::to_string(after);
    ASSERT_EQ(expected->size(), found->size());
    for (size_t i = 0; i < expected->size(); ++i) {
      EXPECT_LE(relative_difference(*(*expected)[i], *(*found)[i]), tolerance) << ir::to_string(after);
    }
  }
}

// Runs the pass on `graph`, checks the result and that a second run finds nothing to do.
inline Applied apply_pass(const std::string& name, ir::Graph graph, double tolerance = 2e-6,
                          const passes::PassOptions& options = {}) {
  const passes::Pass& pass = find_pass(name);
  Applied applied{graph.clone(), {}};
  auto result = pass.run(applied.graph, options);
  EXPECT_TRUE(result.ok()) << result.status().message();
  if (result.ok()) applied.result = *result;
  expect_sound(applied.graph);
  if (!has_foreign(graph)) expect_same_answers(graph, applied.graph, tolerance);
  auto again = pass.run(applied.graph, options);
  EXPECT_TRUE(again.ok() && again->changes == 0) << name << " is not idempotent\n" << ir::to_string(applied.graph);
  return applied;
}

inline int count(const ir::Graph& graph, Op op) {
  int found = 0;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) found += graph.is_live(id) && graph.node(id).op == op;
  return found;
}

inline int num_nodes(const ir::Graph& graph) {
  int found = 0;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) found += graph.is_live(id);
  return found;
}

// Single-instruction nodes doing `op`.
inline int count(const ir::Graph& graph, P op) {
  int found = 0;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id) || graph.node(id).op != Op::kPointwise) continue;
    found += graph.node(id).get<ir::PointwiseAttrs>().program.is_single(op);
  }
  return found;
}

// The node that makes output `i`.
inline const ir::Node& output_node(const ir::Graph& graph, size_t i = 0) {
  return graph.node(graph.value(graph.outputs()[i]).producer);
}

// The only node doing `op`.
inline const ir::Node& only(const ir::Graph& graph, Op op) {
  EXPECT_EQ(count(graph, op), 1) << ir::to_string(graph);
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (graph.is_live(id) && graph.node(id).op == op) return graph.node(id);
  }
  return output_node(graph);
}

// Reproducible weights.
inline std::vector<float> ramp(int64_t count, float from = -1, float to = 1) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    values[static_cast<size_t>(i)] =
        from + (to - from) * static_cast<float>((i * 7919) % count) / static_cast<float>(count);
  }
  return values;
}

}  // namespace blade::testing
