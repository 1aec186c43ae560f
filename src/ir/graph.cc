// The graph's bookkeeping: adding, rewiring and removing nodes, and the order they run in.
#include "ir/graph.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "ir/text.h"

namespace blade::ir {

Graph Graph::clone() const {
  Graph out;
  out.nodes_.reserve(nodes_.size());
  for (const auto& node : nodes_) out.nodes_.push_back(node ? std::make_unique<Node>(*node) : nullptr);
  out.values_ = values_;
  out.inputs_ = inputs_;
  out.outputs_ = outputs_;
  out.output_names_ = output_names_;
  out.symbols_ = symbols_;
  out.name_uses_ = name_uses_;
  return out;
}

ValueId Graph::add_input(std::string name, DType dtype, Shape shape) {
  const auto id = static_cast<ValueId>(values_.size());
  Value& value = values_.emplace_back();
  value.id = id;
  value.name = std::move(name);
  value.dtype = dtype;
  value.shape = std::move(shape);
  inputs_.push_back(id);
  return id;
}

ValueId Graph::add_constant(TensorPtr tensor, std::string name) {
  const auto id = static_cast<ValueId>(values_.size());
  Value& value = values_.emplace_back();
  value.id = id;
  value.name = std::move(name);
  value.dtype = tensor->dtype;
  value.shape = Shape::of(tensor->dims);
  value.constant = std::move(tensor);
  return id;
}

Node& Graph::add_node(Op op, std::string name, std::vector<ValueId> inputs, int num_outputs, Attrs attrs) {
  const auto id = static_cast<NodeId>(nodes_.size());
  Node& node = *nodes_.emplace_back(std::make_unique<Node>());
  node.id = id;
  node.op = op;
  node.name = std::move(name);
  node.inputs = std::move(inputs);
  node.attrs = std::move(attrs);
  name_uses_.try_emplace(node.name, 0);
  for (int i = 0; i < num_outputs; ++i) {
    const auto value_id = static_cast<ValueId>(values_.size());
    Value& value = values_.emplace_back();
    value.id = value_id;
    value.producer = id;
    value.output_index = i;
    node.outputs.push_back(value_id);
  }
  return node;
}

void Graph::set_outputs(std::vector<ValueId> outputs, std::vector<std::string> names) {
  outputs_ = std::move(outputs);
  output_names_ = std::move(names);
}

Result<std::vector<NodeId>> Graph::topological_order() const {
  const int slots = num_node_slots();
  std::vector<int> waiting(slots, 0);
  std::vector<std::vector<NodeId>> followers(slots);
  const auto depend = [&](NodeId node, NodeId on) {
    if (!is_live(on)) return;
    ++waiting[node];
    followers[on].push_back(node);
  };
  for (NodeId id = 0; id < slots; ++id) {
    if (!nodes_[id]) continue;
    for (ValueId input : nodes_[id]->inputs) depend(id, values_[input].producer);
    for (NodeId control : nodes_[id]->control_inputs) depend(id, control);
  }
  std::priority_queue<NodeId, std::vector<NodeId>, std::greater<>> ready;
  int live = 0;
  for (NodeId id = 0; id < slots; ++id) {
    if (!nodes_[id]) continue;
    ++live;
    if (waiting[id] == 0) ready.push(id);
  }
  std::vector<NodeId> order;
  order.reserve(live);
  while (!ready.empty()) {
    const NodeId id = ready.top();
    ready.pop();
    order.push_back(id);
    for (NodeId next : followers[id]) {
      if (--waiting[next] == 0) ready.push(next);
    }
  }
  if (static_cast<int>(order.size()) == live) return order;

  // Every node left waits for another one left: walking back from any of them ends up going round a cycle.
  const auto blocking = [&](NodeId id) {
    for (ValueId input : nodes_[id]->inputs) {
      if (const NodeId p = values_[input].producer; is_live(p) && waiting[p] > 0) return p;
    }
    for (NodeId c : nodes_[id]->control_inputs) {
      if (is_live(c) && waiting[c] > 0) return c;
    }
    return kNone;
  };
  NodeId id = 0;
  while (waiting[id] == 0) ++id;
  for (int step = 0; step < slots; ++step) id = blocking(id);
  return invalid_argument(concat("The graph has a cycle through node '", nodes_[id]->name,
                                 "'; expected an acyclic graph (loops of TensorFlow must stay in Foreign nodes)."));
}

std::vector<std::vector<NodeId>> Graph::consumers() const {
  std::vector<std::vector<NodeId>> out(values_.size());
  for (const auto& node : nodes_) {
    if (!node) continue;
    for (ValueId input : node->inputs) out[input].push_back(node->id);
  }
  return out;
}

bool Graph::is_output(ValueId id) const { return std::find(outputs_.begin(), outputs_.end(), id) != outputs_.end(); }

ValueId behind_identities(const Graph& graph, ValueId v) {
  for (;;) {
    const NodeId producer = graph.value(v).producer;
    if (producer == kNone || graph.node(producer).op != Op::kIdentity) return v;
    v = graph.node(producer).inputs[0];
  }
}

void Graph::replace_uses(ValueId from, ValueId to) {
  for (const auto& node : nodes_) {
    if (node) std::replace(node->inputs.begin(), node->inputs.end(), from, to);
  }
  std::replace(outputs_.begin(), outputs_.end(), from, to);
}

void Graph::remove_node(NodeId id) {
  if (!is_live(id)) return;
  const std::vector<NodeId> inherited = nodes_[id]->control_inputs;
  for (ValueId output : nodes_[id]->outputs) values_[output].producer = kNone;
  nodes_[id] = nullptr;
  for (const auto& node : nodes_) {
    if (!node || std::erase(node->control_inputs, id) == 0) continue;
    for (NodeId control : inherited) {
      if (std::find(node->control_inputs.begin(), node->control_inputs.end(), control) == node->control_inputs.end()) {
        node->control_inputs.push_back(control);
      }
    }
  }
}

namespace {

// `roots` and all that they read or wait for.
std::vector<bool> nodes_behind(const Graph& graph, const std::vector<NodeId>& roots) {
  std::vector<bool> needed(graph.num_node_slots(), false);
  std::vector<NodeId> pending;
  const auto need = [&](NodeId id) {
    if (!graph.is_live(id) || needed[id]) return;
    needed[id] = true;
    pending.push_back(id);
  };
  for (const NodeId root : roots) need(root);
  while (!pending.empty()) {
    const Node& node = graph.node(pending.back());
    pending.pop_back();
    for (ValueId input : node.inputs) need(graph.value(input).producer);
    for (NodeId control : node.control_inputs) need(control);
  }
  return needed;
}

std::vector<NodeId> makers_of_outputs(const Graph& graph) {
  std::vector<NodeId> makers;
  for (ValueId output : graph.outputs()) makers.push_back(graph.value(output).producer);
  return makers;
}

}  // namespace

std::vector<bool> nodes_that_outputs_need(const Graph& graph) { return nodes_behind(graph, makers_of_outputs(graph)); }

int Graph::remove_dead_nodes() {
  std::vector<NodeId> roots = makers_of_outputs(*this);
  for (const auto& node : nodes_) {
    if (node && node->op == Op::kForeign && node->get<ForeignAttrs>().side_effects) roots.push_back(node->id);
  }
  const std::vector<bool> needed = nodes_behind(*this, roots);
  int removed = 0;
  for (auto& node : nodes_) {
    if (!node || needed[node->id]) continue;
    for (ValueId output : node->outputs) values_[output].producer = kNone;
    node = nullptr;
    ++removed;
  }
  return removed;
}

std::string Graph::unique_name(const std::string& base) {
  if (name_uses_.try_emplace(base, 0).second) return base;
  for (;;) {
    std::string name = concat(base, "__", ++name_uses_[base]);
    if (name_uses_.try_emplace(name, 0).second) return name;
  }
}

}  // namespace blade::ir
