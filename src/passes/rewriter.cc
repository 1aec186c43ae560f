// Keeps the readers of every value current while a pass rewrites the graph.
#include "passes/rewriter.h"

#include <algorithm>

namespace blade::passes {

using ir::Node;
using ir::NodeId;
using ir::ValueId;

Result<Rewriter> Rewriter::create(ir::Graph& graph) {
  Rewriter rewriter(graph);
  BLADE_ASSIGN_OR_RETURN(rewriter.order_, graph.topological_order());
  rewriter.readers_ = graph.consumers();
  rewriter.grow();
  for (ValueId output : graph.outputs()) ++rewriter.output_uses_[output];
  for (size_t i = 0; i < rewriter.order_.size(); ++i) rewriter.position_[rewriter.order_[i]] = static_cast<int>(i);
  return rewriter;
}

void Rewriter::grow() {
  readers_.resize(graph_->num_values());
  output_uses_.resize(graph_->num_values());
  dead_.resize(graph_->num_node_slots());
  position_.resize(graph_->num_node_slots());
}

Node* Rewriter::producer(ValueId value) {
  const NodeId id = graph_->value(value).producer;
  return id == ir::kNone ? nullptr : &graph_->node(id);
}

Node* Rewriter::producer(ValueId value, ir::Op op) {
  Node* node = producer(value);
  return node != nullptr && node->op == op ? node : nullptr;
}

bool Rewriter::read_only_by(ValueId value, NodeId reader) const {
  if (output_uses_[value] > 0) return false;
  return std::all_of(readers_[value].begin(), readers_[value].end(), [&](NodeId id) { return id == reader; });
}

void Rewriter::change(Node& node, ir::Op op, std::vector<ValueId> inputs, ir::Attrs attrs) {
  node.op = op;
  node.attrs = std::move(attrs);
  set_inputs(node, std::move(inputs));
}

void Rewriter::set_inputs(Node& node, std::vector<ValueId> inputs) {
  for (ValueId value : inputs) readers_[value].push_back(node.id);
  std::vector<ValueId> old = std::move(node.inputs);
  node.inputs = std::move(inputs);
  for (ValueId value : old) {
    auto& readers = readers_[value];
    readers.erase(std::find(readers.begin(), readers.end(), node.id));
  }
  for (ValueId value : old) release_if_unused(value);
}

void Rewriter::release_if_unused(ValueId value) {
  std::vector<ValueId> work{value};
  while (!work.empty()) {
    const ValueId v = work.back();
    work.pop_back();
    Node* node = uses(v) == 0 ? producer(v) : nullptr;
    if (node == nullptr || dead_[node->id] || node->op == ir::Op::kForeign) continue;
    if (std::any_of(node->outputs.begin(), node->outputs.end(), [&](ValueId o) { return uses(o) > 0; })) continue;
    dead_[node->id] = 1;
    for (ValueId input : node->inputs) {
      auto& readers = readers_[input];
      readers.erase(std::find(readers.begin(), readers.end(), node->id));
      work.push_back(input);
    }
  }
}

Node& Rewriter::insert(const Node& made_for, ir::Op op, std::vector<ValueId> inputs, ir::Attrs attrs, ir::DType dtype,
                       ir::Shape shape, const std::string& suffix, int num_outputs) {
  const NodeId for_id = made_for.id;
  const int32_t origin = made_for.origin;
  Node& node = graph_->add_node(op, graph_->unique_name(made_for.name + "/" + suffix), std::move(inputs), num_outputs,
                                std::move(attrs));
  grow();
  node.origin = origin;
  position_[node.id] = position_[for_id];
  for (ValueId id : node.outputs) {
    graph_->value(id).dtype = dtype;
    graph_->value(id).shape = shape;
  }
  for (ValueId value : node.inputs) readers_[value].push_back(node.id);
  return node;
}

ValueId Rewriter::add_constant(ir::TensorPtr tensor, const std::string& name) {
  const ValueId id = graph_->add_constant(std::move(tensor), name);
  grow();
  return id;
}

bool Rewriter::replace(ValueId from, ValueId to) {
  if (from == to) return false;
  if (output_uses_[from] > 0) {
    if (graph_->value(to).producer == ir::kNone || output_uses_[to] > 0) return false;
    if (producer(to)->op == ir::Op::kForeign) return false;
  }
  std::vector<NodeId> moved = std::move(readers_[from]);
  readers_[from].clear();
  for (NodeId id : moved) std::replace(graph_->node(id).inputs.begin(), graph_->node(id).inputs.end(), from, to);
  readers_[to].insert(readers_[to].end(), moved.begin(), moved.end());
  if (output_uses_[from] > 0) {
    graph_->replace_uses(from, to);
    output_uses_[to] += output_uses_[from];
    output_uses_[from] = 0;
  }
  release_if_unused(from);
  return true;
}

void Rewriter::swap_identity(Node& a, Node& b) {
  std::swap(a.name, b.name);
  std::swap(a.origin, b.origin);
}

int Rewriter::finish() { return graph_->remove_dead_nodes(); }

}  // namespace blade::passes
