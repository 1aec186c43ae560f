// Small loops and branches that several tests run.
#pragma once

#include "engine/test_graphs.h"

namespace blade::engine::testing {

inline ir::TensorPtr int_scalar(int32_t value) {
  return ir::make_tensor<int32_t>(ir::DType::kInt32, {}, std::span<const int32_t>(&value, 1));
}

inline ir::SubGraph share(ir::Graph graph) { return std::make_shared<const ir::Graph>(std::move(graph)); }

// i, list [length, 3], x [3], n -> for i in [0, n): list[i] = x * i + list[i]; the list after it. `n` and `x` stay.
inline ir::Graph list_loop(int64_t length) {
  GraphMaker condition;
  {
    const auto i = condition.input("i", {}, ir::DType::kInt32);
    condition.input("list", {length, 3});
    condition.input("x", {3});
    const auto n = condition.input("n", {}, ir::DType::kInt32);
    const ir::ValueId less = condition.binary(ir::PointwiseOp::kLess, "less", i, n);
    condition.graph = condition.finish({less});
  }
  GraphMaker body;
  {
    const auto i = body.input("i", {}, ir::DType::kInt32);
    const auto list = body.input("list", {length, 3});
    const auto x = body.input("x", {3});
    body.input("n", {}, ir::DType::kInt32);
    const auto factor = body.node(ir::Op::kCast, "factor", {i}, ir::CastAttrs{ir::DType::kFloat32});
    const auto row = body.node(ir::Op::kGather, "row", {list, i}, ir::GatherAttrs{0, 0});
    const auto scaled = body.binary(ir::PointwiseOp::kMul, "scaled", x, factor);
    const auto sum = body.binary(ir::PointwiseOp::kAdd, "sum", scaled, row);
    const auto set = body.node(ir::Op::kSetRows, "set", {list, i, sum});
    const auto next = body.binary(ir::PointwiseOp::kAdd, "next", i, body.constant(int_scalar(1)));
    body.graph = body.finish({next, set});
  }
  GraphMaker m;
  const auto list = m.input("list", {length, 3});
  const auto x = m.input("x", {3});
  const auto n = m.input("n", {}, ir::DType::kInt32);
  ir::SubGraphsAttrs attrs;
  attrs.graphs = {share(std::move(condition.graph)), share(std::move(body.graph))};
  const auto start = m.constant(int_scalar(0));
  ir::Node& loop = m.graph.add_node(ir::Op::kWhile, "loop", {start, list, x, n}, 2, attrs);
  const std::vector<ir::ValueId> results = loop.outputs;
  return m.finish({m.unary(ir::PointwiseOp::kNeg, "negated", results[1]), results[0]});
}

}  // namespace blade::engine::testing
