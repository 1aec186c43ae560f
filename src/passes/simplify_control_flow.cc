// TfSimplifyControlFlow: constants become part of the branches and bodies that read them, what a loop only passes
// through is no variable of it, what nobody reads is not computed, and a branch that is always taken is no branch.
#include <algorithm>

#include "passes/inline_graph.h"
#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::NodeId;
using ir::Op;
using ir::SubGraph;
using ir::ValueId;

// Which inputs of the graph the given outputs need.
std::vector<char> inputs_needed(const Graph& graph, const std::vector<char>& outputs) {
  std::vector<char> seen(graph.num_values(), 0);
  std::vector<ValueId> pending;
  const auto need = [&](ValueId v) {
    if (!seen[v]) pending.push_back(v);
    seen[v] = 1;
  };
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i]) need(graph.outputs()[i]);
  }
  while (!pending.empty()) {
    const ir::Value& value = graph.value(pending.back());
    pending.pop_back();
    if (value.producer == ir::kNone) continue;
    for (ValueId input : graph.node(value.producer).inputs) need(input);
  }
  std::vector<char> needed;
  for (ValueId v : graph.inputs()) needed.push_back(seen[v]);
  return needed;
}

// A copy of `graph` in which some inputs are constants, with the inputs and outputs given by number.
SubGraph rebuilt(const Graph& graph, const std::vector<ir::TensorPtr>& constants, const std::vector<int>& inputs,
                 const std::vector<int>& outputs) {
  Graph out = graph.clone();
  for (size_t i = 0; i < constants.size(); ++i) {
    if (constants[i] == nullptr) continue;
    const ValueId constant = out.add_constant(constants[i]);
    out.replace_uses(out.inputs()[i], constant);
  }
  std::vector<ValueId> kept_inputs, kept_outputs;
  std::vector<std::string> names;
  for (int i : inputs) kept_inputs.push_back(out.inputs()[i]);
  for (int i : outputs) {
    kept_outputs.push_back(out.outputs()[i]);
    names.push_back(out.output_names()[i]);
  }
  out.set_inputs(std::move(kept_inputs));
  out.set_outputs(std::move(kept_outputs), std::move(names));
  out.remove_dead_nodes();
  return std::make_shared<const Graph>(std::move(out));
}

class Simplifier {
 public:
  explicit Simplifier(Graph& graph) : graph_(graph) {}

  Result<PassResult> run() {
    BLADE_ASSIGN_OR_RETURN(const std::vector<NodeId> order, graph_.topological_order());
    for (NodeId id : order) {
      const Op op = graph_.node(id).op;
      if (op != Op::kIf && op != Op::kWhile) continue;
      used_ = used_values();
      if (op == Op::kWhile) simplify_loop(id);
      if (op == Op::kIf && !take_constant_branch(id)) simplify_branches(id);
    }
    if (result_.changes > 0) graph_.remove_dead_nodes();
    return std::move(result_);
  }

 private:
  std::vector<char> used_values() const {
    std::vector<char> used(graph_.num_values(), 0);
    for (NodeId id = 0; id < graph_.num_node_slots(); ++id) {
      if (!graph_.is_live(id)) continue;
      for (ValueId v : graph_.node(id).inputs) used[v] = 1;
    }
    for (ValueId v : graph_.outputs()) used[v] = 1;
    return used;
  }

  // Puts a node with fewer inputs and outputs in the place of `id`; `outputs`: numbers of the old ones.
  void replace(NodeId id, std::vector<ValueId> inputs, const std::vector<int>& outputs, ir::SubGraphsAttrs attrs) {
    const Node old = graph_.node(id);
    Node& made = graph_.add_node(old.op, graph_.unique_name(old.name), std::move(inputs),
                                 static_cast<int>(outputs.size()), std::move(attrs));
    made.origin = old.origin;
    made.control_inputs = old.control_inputs;
    const std::vector<ValueId> results = made.outputs;
    const NodeId made_id = made.id;
    for (size_t i = 0; i < outputs.size(); ++i) {
      const ir::Value& from = graph_.value(old.outputs[outputs[i]]);
      ir::Value& to = graph_.value(results[i]);
      to.name = from.name;
      to.dtype = from.dtype;
      to.shape = from.shape;
      graph_.replace_uses(from.id, to.id);
    }
    for (NodeId other = 0; other < graph_.num_node_slots(); ++other) {
      if (!graph_.is_live(other)) continue;
      auto& controls = graph_.node(other).control_inputs;
      std::replace(controls.begin(), controls.end(), id, made_id);
    }
    graph_.remove_node(id);
    graph_.node(made_id).name = old.name;
    ++result_.changes;
  }

  struct LoopUse {
    std::vector<char> is_variable;  // an operand: the body changes it
    std::vector<char> kept;         // a variable that a result, the condition or another such variable needs
    std::vector<char> read;         // an operand
    std::vector<char> prepared;     // a result of the preamble that is needed
  };

  LoopUse use_of_loop(const Node& node) const {
    const auto& graphs = node.get<ir::SubGraphsAttrs>().graphs;
    const Graph& body = *graphs[1];
    const size_t variables = node.outputs.size(), operands = node.inputs.size();
    LoopUse use{std::vector<char>(operands, 0), std::vector<char>(variables, 0), inputs_needed(*graphs[0], {1}), {}};
    for (size_t i = 0; i < variables; ++i) {
      use.is_variable[i] = ir::behind_identities(body, body.outputs()[i]) != body.inputs()[i];
      use.kept[i] = use.is_variable[i] && (used_[node.outputs[i]] || use.read[i]);
    }
    for (bool changed = true; changed;) {
      changed = false;
      const std::vector<char> needed = inputs_needed(body, use.kept);
      use.prepared.assign(needed.begin() + static_cast<ptrdiff_t>(operands), needed.end());
      const std::vector<char> before =
          graphs.size() > 2 ? inputs_needed(*graphs[2], use.prepared) : std::vector<char>(operands, 0);
      for (size_t i = 0; i < operands; ++i) {
        use.read[i] = use.read[i] || needed[i] || before[i];
        if (i >= variables || use.kept[i] || !needed[i] || !use.is_variable[i]) continue;
        use.kept[i] = 1;
        changed = true;
      }
    }
    return use;
  }

  void simplify_loop(NodeId id) {
    const Node node = graph_.node(id);
    const auto& graphs = node.get<ir::SubGraphsAttrs>().graphs;
    const size_t variables = node.outputs.size(), operands = node.inputs.size();
    const auto [is_variable, kept, read, prepared] = use_of_loop(node);
    std::vector<ir::TensorPtr> constants(operands);
    std::vector<int> order, outputs;
    std::vector<ValueId> inputs;
    for (size_t i = 0; i < variables; ++i) {
      if (!kept[i]) continue;
      order.push_back(static_cast<int>(i));
      outputs.push_back(static_cast<int>(i));
    }
    for (size_t i = 0; i < operands; ++i) {
      if (is_variable[i]) continue;
      constants[i] = graph_.value(node.inputs[i]).constant;
      if (constants[i] == nullptr && read[i]) order.push_back(static_cast<int>(i));
    }
    std::vector<int> body_inputs = order, preamble_outputs;
    for (size_t i = 0; i < prepared.size(); ++i) {
      if (!prepared[i]) continue;
      body_inputs.push_back(static_cast<int>(operands + i));
      preamble_outputs.push_back(static_cast<int>(i));
    }
    if (order.size() == operands && outputs.size() == variables && preamble_outputs.size() == prepared.size()) return;
    for (int i : order) inputs.push_back(node.inputs[i]);
    ir::SubGraphsAttrs attrs;
    attrs.graphs = {rebuilt(*graphs[0], constants, order, {0}), rebuilt(*graphs[1], constants, body_inputs, outputs)};
    if (!preamble_outputs.empty()) attrs.graphs.push_back(rebuilt(*graphs[2], constants, order, preamble_outputs));
    for (size_t i = 0; i < variables; ++i) {
      if (!is_variable[i]) graph_.replace_uses(node.outputs[i], node.inputs[i]);
    }
    replace(id, std::move(inputs), outputs, std::move(attrs));
  }

  void simplify_branches(NodeId id) {
    const Node node = graph_.node(id);
    const auto& branches = node.get<ir::SubGraphsAttrs>().graphs;
    std::vector<char> used;
    std::vector<int> outputs;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      used.push_back(used_[node.outputs[i]]);
      if (used.back()) outputs.push_back(static_cast<int>(i));
    }
    const size_t operands = node.inputs.size() - 1;
    std::vector<char> read(operands, 0);
    for (const SubGraph& branch : branches) {
      const std::vector<char> needed = inputs_needed(*branch, used);
      for (size_t i = 0; i < operands; ++i) read[i] = read[i] || needed[i];
    }
    std::vector<ir::TensorPtr> constants(operands);
    std::vector<int> order;
    std::vector<ValueId> inputs = {node.inputs[0]};
    for (size_t i = 0; i < operands; ++i) {
      constants[i] = graph_.value(node.inputs[i + 1]).constant;
      if (constants[i] != nullptr || !read[i]) continue;
      order.push_back(static_cast<int>(i));
      inputs.push_back(node.inputs[i + 1]);
    }
    if (outputs.empty() || (order.size() == operands && outputs.size() == node.outputs.size())) return;
    ir::SubGraphsAttrs attrs;
    for (const SubGraph& branch : branches) attrs.graphs.push_back(rebuilt(*branch, constants, order, outputs));
    replace(id, std::move(inputs), outputs, std::move(attrs));
  }

  // Puts the nodes of the branch that a constant condition takes into the graph.
  bool take_constant_branch(NodeId id) {
    const Node node = graph_.node(id);
    const ir::TensorPtr condition = graph_.value(node.inputs[0]).constant;
    if (condition == nullptr || !node.control_inputs.empty()) return false;
    const auto& branches = node.get<ir::SubGraphsAttrs>().graphs;
    const Graph& branch = *branches[ir::chosen_branch(condition->dtype, condition->data, branches.size())];
    const auto results = inline_graph(graph_, branch, {node.inputs.begin() + 1, node.inputs.end()}, node.origin);
    if (!results.ok()) return false;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const ValueId result = (*results)[i];
      ir::Value& to = graph_.value(result);
      if (to.producer != ir::kNone && to.name.empty()) to.name = graph_.value(node.outputs[i]).name;
      graph_.replace_uses(node.outputs[i], result);
    }
    graph_.remove_node(id);
    ++result_.changes;
    return true;
  }

  Graph& graph_;
  std::vector<char> used_;
  PassResult result_;
};

}  // namespace

Result<PassResult> simplify_control_flow(Graph& graph, const PassOptions&) { return Simplifier(graph).run(); }

Result<int> move_constants_inside(Graph& graph) {
  BLADE_ASSIGN_OR_RETURN(const PassResult result, Simplifier(graph).run());
  return result.changes;
}

}  // namespace blade::passes
