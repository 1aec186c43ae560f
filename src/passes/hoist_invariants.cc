// HoistInvariants: what every iteration of a loop computes from the same operands is computed once. For the body that
// happens before the first iteration and only if there is one, so that a loop that never runs cannot fail by it.
#include <algorithm>

#include "ir/infer.h"
#include "passes/inline_graph.h"
#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::NodeId;
using ir::Op;
using ir::ValueId;

// Results up to this size are kept, whatever they are made from; larger ones where their operands are not much smaller.
constexpr int64_t kAlwaysKept = int64_t{1} << 20;
constexpr int64_t kMaxGrowth = 4;
// Integers that may be sizes stay where shape inference follows them.
constexpr int64_t kMayBeSizes = 64;

// What of a loop's graph depends on operands that stay the same, and is worth keeping.
class Invariants {
 public:
  static Result<Invariants> find(const Graph& graph, size_t variables) {
    Invariants found(graph);
    Graph inferred = graph.clone();
    BLADE_ASSIGN_OR_RETURN(found.contents_, ir::infer_contents(inferred, {}));
    BLADE_ASSIGN_OR_RETURN(found.order_, graph.topological_order());
    found.mark(variables);
    found.choose();
    return found;
  }

  // Values made by nodes, in the order in which they were found.
  const std::vector<ValueId>& roots() const { return roots_; }

 private:
  explicit Invariants(const Graph& graph) : graph_(&graph) {}

  void mark(size_t variables) {
    fixed_.assign(graph_->num_values(), 0);
    for (ValueId v = 0; v < graph_->num_values(); ++v) fixed_[v] = graph_->value(v).is_constant() ? 1 : 0;
    for (size_t i = variables; i < graph_->inputs().size(); ++i) fixed_[graph_->inputs()[i]] = 1;
    for (NodeId id : order_) {
      const Node& node = graph_->node(id);
      if (node.op == Op::kForeign || !node.control_inputs.empty()) continue;
      if (!std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return fixed_[v] != 0; })) continue;
      for (ValueId v : node.outputs) fixed_[v] = 1;
    }
  }

  void choose() {
    seen_.assign(graph_->num_values(), 0);
    for (NodeId id : order_) {
      const Node& node = graph_->node(id);
      if (!node.outputs.empty() && fixed_[node.outputs[0]]) continue;
      for (ValueId v : node.inputs) pending_.push_back(v);
    }
    for (ValueId v : graph_->outputs()) pending_.push_back(v);
    while (!pending_.empty()) {
      const ValueId v = pending_.back();
      pending_.pop_back();
      if (!seen_[v] && fixed_[v] && graph_->value(v).producer != ir::kNone) consider(v);
      seen_[v] = 1;
    }
  }

  // Takes the value, or asks the same of what it is made from.
  void consider(ValueId v) {
    const Node& node = graph_->node(graph_->value(v).producer);
    if (contents_[v]) return;  // follows from shapes: known when the loop is planned
    if (is_worth_keeping(node, v)) {
      roots_.push_back(v);
    } else {
      pending_.insert(pending_.end(), node.inputs.begin(), node.inputs.end());
    }
  }

  bool is_worth_keeping(const Node& node, ValueId v) const {
    switch (node.op) {
      case Op::kIdentity:
      case Op::kReshape:
      case Op::kExpandDims:
      case Op::kSqueeze:
      case Op::kShapeOf:
      case Op::kFill:
      case Op::kBroadcastTo:
        return false;
      default:
        break;
    }
    const ir::Value& value = graph_->value(v);
    const auto count = value.shape.element_count();
    if (!ir::is_floating(value.dtype) && (!value.shape.has_rank() || (count && *count <= kMayBeSizes))) {
      return false;
    }
    if (!count) return has_operand_like(node, value.shape) || node.op != Op::kPointwise;
    const auto bytes = static_cast<int64_t>(ir::dtype_size(value.dtype)) * *count;
    return bytes <= kAlwaysKept || bytes <= kMaxGrowth * operand_bytes(node);
  }

  bool has_operand_like(const Node& node, const ir::Shape& shape) const {
    return std::any_of(node.inputs.begin(), node.inputs.end(),
                       [&](ValueId input) { return graph_->value(input).shape == shape; });
  }

  int64_t operand_bytes(const Node& node) const {
    int64_t bytes = 0;
    for (ValueId input : node.inputs) {
      const ir::Value& value = graph_->value(input);
      bytes += static_cast<int64_t>(ir::dtype_size(value.dtype)) * value.shape.element_count().value_or(0);
    }
    return bytes;
  }

  const Graph* graph_;
  ir::Contents contents_;
  std::vector<NodeId> order_;
  std::vector<char> fixed_, seen_;
  std::vector<ValueId> pending_, roots_;
};

// `graph` with further inputs that stand for the given values.
ir::SubGraph given(const Graph& graph, const std::vector<ValueId>& values) {
  Graph out = graph.clone();
  for (ValueId v : values) {
    const ir::Value& value = graph.value(v);
    out.replace_uses(v, out.add_input(graph.node(value.producer).name, value.dtype, value.shape));
  }
  out.remove_dead_nodes();
  return std::make_shared<const Graph>(std::move(out));
}

ir::SubGraph with_unread_inputs(const Graph& graph, const Graph& like, const std::vector<ValueId>& values) {
  Graph out = graph.clone();
  for (ValueId v : values) out.add_input(like.node(like.value(v).producer).name, like.value(v).dtype, ir::Shape());
  return std::make_shared<const Graph>(std::move(out));
}

// The part of `graph` that makes the given values.
ir::SubGraph making(const Graph& graph, const std::vector<ValueId>& values) {
  Graph out = graph.clone();
  std::vector<std::string> names;
  for (ValueId v : values) names.push_back(graph.node(graph.value(v).producer).name);
  out.set_outputs(values, std::move(names));
  out.remove_dead_nodes();
  return std::make_shared<const Graph>(std::move(out));
}

class Hoister {
 public:
  explicit Hoister(Graph& graph) : graph_(graph) {}

  Result<PassResult> run() {
    const int slots = graph_.num_node_slots();
    for (NodeId id = 0; id < slots; ++id) {
      if (!graph_.is_live(id) || graph_.node(id).op != Op::kWhile) continue;
      BLADE_RETURN_IF_ERROR(hoist_from_condition(id));
      BLADE_RETURN_IF_ERROR(hoist_from_body(id));
    }
    return std::move(result_);
  }

 private:
  // The condition is always computed, so what it needs may be computed before the loop in any case.
  Status hoist_from_condition(NodeId id) {
    const ir::SubGraphsAttrs attrs = graph_.node(id).get<ir::SubGraphsAttrs>();
    if (attrs.graphs.size() != 2) return {};
    const Graph &condition = *attrs.graphs[0], &body = *attrs.graphs[1];
    BLADE_ASSIGN_OR_RETURN(const Invariants found, Invariants::find(condition, graph_.node(id).outputs.size()));
    if (found.roots().empty()) return {};
    const std::vector<ValueId> operands = graph_.node(id).inputs;
    BLADE_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                           inline_graph(graph_, *making(condition, found.roots()), operands, graph_.node(id).origin));
    Node& node = graph_.node(id);
    node.inputs.insert(node.inputs.end(), made.begin(), made.end());
    node.get<ir::SubGraphsAttrs>().graphs = {given(condition, found.roots()),
                                             with_unread_inputs(body, condition, found.roots())};
    note(condition, found.roots(), id);
    return {};
  }

  Status hoist_from_body(NodeId id) {
    Node& node = graph_.node(id);
    auto& graphs = node.get<ir::SubGraphsAttrs>().graphs;
    if (graphs.size() != 2) return {};
    const ir::SubGraph body = graphs[1];
    BLADE_ASSIGN_OR_RETURN(const Invariants found, Invariants::find(*body, node.outputs.size()));
    if (found.roots().empty()) return {};
    graphs = {graphs[0], given(*body, found.roots()), making(*body, found.roots())};
    note(*body, found.roots(), id);
    return {};
  }

  void note(const Graph& inner, const std::vector<ValueId>& roots, NodeId loop) {
    for (ValueId v : roots) {
      result_.notes.push_back("'" + inner.node(inner.value(v).producer).name +
                              "' is computed once for all iterations of '" + graph_.node(loop).name + "'");
    }
    result_.changes += static_cast<int>(roots.size());
  }

  Graph& graph_;
  PassResult result_;
};

}  // namespace

Result<PassResult> hoist_invariants(Graph& graph, const PassOptions&) { return Hoister(graph).run(); }

}  // namespace blade::passes
