// Reads loops over time.
#include "passes/time_loop.h"

#include <algorithm>
#include <functional>

namespace blade::passes {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Op;
using ir::PointwiseOp;
using ir::ValueId;

TimeLoop::TimeLoop(Rewriter& rewriter, const ir::Contents& contents, const Node& node)
    : rewriter_(rewriter),
      contents_(contents),
      node_(node),
      condition_(*node.get<ir::SubGraphsAttrs>().graphs[0]),
      body_(*node.get<ir::SubGraphsAttrs>().graphs[1]) {}

const Node* TimeLoop::producer_in(const Graph& graph, ValueId v, Op op) {
  const ir::NodeId producer = graph.value(ir::behind_identities(graph, v)).producer;
  return producer != ir::kNone && graph.node(producer).op == op ? &graph.node(producer) : nullptr;
}

int TimeLoop::number_in(const Graph& graph, ValueId v) {
  const auto found = std::find(graph.inputs().begin(), graph.inputs().end(), ir::behind_identities(graph, v));
  return found == graph.inputs().end() ? -1 : static_cast<int>(found - graph.inputs().begin());
}

const Node* TimeLoop::pointwise(ValueId v, PointwiseOp op) const {
  const Node* node = producer(v, Op::kPointwise);
  const ir::PointwiseInstr* instr = single_instr(node);
  return instr != nullptr && instr->op == op ? node : nullptr;
}

std::optional<float> TimeLoop::element_outside(int operand) const {
  ValueId v = outside(operand);
  if (const Node* fill = rewriter_.producer(v, Op::kFill)) v = fill->inputs[1];
  const std::vector<float> values = float_values(rewriter_.graph(), v);
  const bool same = std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
  return !values.empty() && same ? std::optional(values.front()) : std::nullopt;
}

bool TimeLoop::counts_steps(int variable) const {
  if (variable < 0 || stays(variable) || uniform_value(rewriter_.graph(), outside(variable)) != 0.0) return false;
  const Node* next = pointwise(result(variable), PointwiseOp::kAdd);
  if (next == nullptr || body_.value(next->outputs[0]).dtype != ir::DType::kInt32) return false;
  for (int i = 0; i < 2; ++i) {
    if (operand_number(operand(*next, i)) == variable && uniform_value(body_, operand(*next, 1 - i)) == 1.0) {
      return true;
    }
  }
  return false;
}

int TimeLoop::sequence_of(ValueId v) const {
  const Node* row = producer(v, Op::kGather);
  if (row == nullptr || row->get<ir::GatherAttrs>() != ir::GatherAttrs{}) return -1;
  const int sequence = operand_number(row->inputs[0]);
  return stays(sequence) && counts_steps(operand_number(row->inputs[1])) ? sequence : -1;
}

TimeLoop::Steps TimeLoop::steps(Dim rows, int lengths) const {
  const ValueId of_samples = lengths < 0 ? ir::kNone : outside(lengths);
  return of_condition(ir::behind_identities(condition_, condition_.outputs()[0]), rows, of_samples);
}

namespace {

TimeLoop::Steps smaller(const TimeLoop::Steps& a, const TimeLoop::Steps& b) {
  return {a.at_least && b.at_least, a.at_most || b.at_most, a.all_lengths && b.all_lengths};
}
TimeLoop::Steps larger(const TimeLoop::Steps& a, const TimeLoop::Steps& b) {
  return {a.at_least || b.at_least, a.at_most && b.at_most, a.all_lengths || b.all_lengths};
}

}  // namespace

// Step numbers below limits.
TimeLoop::Steps TimeLoop::of_condition(ValueId v, Dim rows, ValueId lengths) const {
  const Node* node = producer_in(condition_, v, Op::kPointwise);
  const ir::PointwiseInstr* instr = single_instr(node);
  if (instr == nullptr) return {};
  if (instr->op == PointwiseOp::kLogicalAnd) {
    return smaller(of_condition(operand(*node, 0), rows, lengths), of_condition(operand(*node, 1), rows, lengths));
  }
  if (instr->op != PointwiseOp::kLess || !counts_steps(number_in(condition_, operand(*node, 0)))) return {};
  const ValueId limit = ir::behind_identities(condition_, operand(*node, 1));
  const int number = number_in(condition_, limit);
  if (number >= 0) return stays(number) ? of_limit(outside(number), rows, lengths) : Steps();
  const auto value = uniform_value(condition_, limit);
  if (!value || !rows.is_known()) return {};
  const auto known = static_cast<double>(rows.value());
  return {*value >= known, *value <= known, *value >= known};
}

// Of a value outside the loop.
TimeLoop::Steps TimeLoop::of_limit(ValueId v, Dim rows, ValueId lengths) const {
  if (v < static_cast<ValueId>(contents_.size()) && contents_[v] && *contents_[v] == std::vector<Dim>{rows}) {
    return {true, true, true};
  }
  if (const auto value = uniform_value(rewriter_.graph(), v)) {
    // Nothing is said of rows that only a run knows but that a limit of 0 or less is no more than they are.
    if (!rows.is_known()) return {false, *value <= 0, false};
    const auto known = static_cast<double>(rows.value());
    return {*value >= known, *value <= known, *value >= known};
  }
  if (const Node* node = pointwise_producer(rewriter_, v, PointwiseOp::kMinimum)) {
    return smaller(of_limit(operand(*node, 0), rows, lengths), of_limit(operand(*node, 1), rows, lengths));
  }
  if (const Node* node = pointwise_producer(rewriter_, v, PointwiseOp::kMaximum)) {
    return larger(of_limit(operand(*node, 0), rows, lengths), of_limit(operand(*node, 1), rows, lengths));
  }
  const Node* longest = rewriter_.producer(v, Op::kReduce);
  const bool is_longest = longest != nullptr && longest->get<ir::ReduceAttrs>().kind == ir::ReduceKind::kMax &&
                          longest->inputs[0] == lengths && rewriter_.shape(v).has_rank() &&
                          rewriter_.shape(v).rank() == 0;
  return {false, false, is_longest};
}

}  // namespace blade::passes
