// A checked view of a GraphDef's nodes: who reads whom by number, an order to visit them in, and names for errors.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/graph_def.h"

namespace blade::tensorflow {

// The op itself, or its form for reference variables ("RefSwitch" for "Switch").
inline bool is_or_ref(const NodeDef& node, std::string_view op) {
  return node->op == op || (node->op.starts_with("Ref") && std::string_view(node->op).substr(3) == op);
}

// Hands a tensor to one of several branches: by a boolean, or by an index whose last branch takes the rest
// (tf.switch_case).
inline bool is_switch(const NodeDef& node) { return is_or_ref(node, "Switch") || node->op == "_SwitchN"; }

inline bool is_one_of(const NodeDef& node, std::span<const char* const> ops) {
  return std::find(ops.begin(), ops.end(), node->op) != ops.end();
}

// Random numbers of a shape that the first operand says.
bool is_random(const NodeDef& node);

struct TensorRef {
  int node = -1;
  int port = 0;
};

// "node:port" as errors and IR values spell it.
std::string tensor_name(const NodeDef& node, int port);

// What an optimized graph leaves out, with all that only it reads: checks, prints, and nodes that only order.
bool is_left_out(std::string_view op);

bool is_placeholder(const NodeDef& node);
bool needs_feed(const NodeDef& node);  // a placeholder without a default
bool is_string_placeholder(const NodeDef& node);

class NodeIndex {
 public:
  // Errors: a node without a name, a name twice, an input from a node or an output that does not exist, a cycle (other
  // than through NextIteration, whose edge back is no dependence here).
  static Result<NodeIndex> build(const GraphDef& graph);

  int size() const { return static_cast<int>(inputs_.size()); }
  const std::vector<TensorRef>& inputs(int node) const { return inputs_[node]; }
  // Also those of constants that it reads: TensorFlow gives an op that is made under control dependencies none of its
  // own where an operand, so often a number, has them. A Merge has its own only.
  const std::vector<int>& control_inputs(int node) const { return control_inputs_[node]; }
  // Nodes that read a tensor of it or wait for it.
  bool has_data_consumers(int node) const { return !used_ports_[node].empty(); }
  // A placeholder that nothing reads: callers may feed it, but need not.
  bool is_unread_placeholder(const GraphDef& graph, int node) const {
    return needs_feed(graph->nodes[node]) && !has_data_consumers(node);
  }
  // One entry a port up to the highest one used.
  const std::vector<bool>& used_ports(int node) const { return used_ports_[node]; }
  // Producers first; nodes that do not depend on each other in graph order.
  const std::vector<int>& order() const { return order_; }
  // -1 when there is none.
  int find(std::string_view name) const;
  // The tensor "node" or "node:1"; an error lists the closest names. `role` says what it was asked for: "output".
  Result<TensorRef> find_tensor(const GraphDef& graph, std::string_view name, std::string_view role,
                                const std::vector<std::string>& candidates) const;
  // Which nodes some tensor of `roots` needs, through data and control edges; nothing behind a tensor that is given.
  std::vector<bool> ancestors(const std::vector<TensorRef>& roots,
                              const std::function<bool(const TensorRef&)>& is_given) const;
  // The marked nodes that `node` waits for through control edges, also behind nodes that are not marked; sorted.
  std::vector<int> controls_among(const std::vector<char>& marked, int node) const;

 private:
  Status order_nodes(const GraphDef& graph);
  void inherit_controls_of_constants(const GraphDef& graph);

  std::unordered_map<std::string_view, int> by_name_;
  std::vector<std::vector<TensorRef>> inputs_;
  std::vector<std::vector<int>> control_inputs_;
  std::vector<std::vector<bool>> used_ports_;
  std::vector<char> back_edge_;  // a Merge that closes a loop
  std::vector<int> order_;
};

// Up to three of `names`, the most alike `name` first.
std::vector<std::string> closest_names(std::string_view name, const std::vector<std::string>& names);

// For each node whether it runs inside a loop or a branch of TensorFlow 1's control flow, and so cannot move: the
// reason in words, or empty.
std::vector<std::string> control_flow_reasons(const GraphDef& graph, const NodeIndex& index);

}  // namespace blade::tensorflow
