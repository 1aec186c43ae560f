// The intermediate representation: nodes with typed attributes over values with symbolic shapes. No source-framework
// structures: what Blade cannot express stays as a Foreign node that only names its origin.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "ir/op.h"
#include "ir/types.h"

namespace blade::ir {

using NodeId = int32_t;
using ValueId = int32_t;
inline constexpr int32_t kNone = -1;

// A tensor that flows: a graph input, a constant or an output of a node.
struct Value {
  ValueId id = kNone;
  std::string name;  // source tensor name ("conv1/Relu:0") where the source graph has this very tensor, else ""
  DType dtype = DType::kInvalid;
  Shape shape;
  NodeId producer = kNone;  // kNone for graph inputs and constants
  int output_index = 0;     // among the producer's outputs
  TensorPtr constant;       // set for constants (and then producer == kNone)
  bool is_constant() const { return constant != nullptr; }
};

struct Node {
  NodeId id = kNone;
  Op op = Op::kForeign;
  std::string name;  // unique in the graph; the source node's name for its main node
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  Attrs attrs;
  std::vector<NodeId> control_inputs;  // nodes that must run before (only kept where a Foreign node is involved)
  int32_t origin = kNone;  // index of the source framework's node; nodes lowered from one source node share it

  template <class T>
  const T& get() const {
    return std::get<T>(attrs);
  }
  template <class T>
  T& get() {
    return std::get<T>(attrs);
  }
};

class Graph {
 public:
  Graph() = default;
  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;
  Graph clone() const;  // shares constants

  ValueId add_input(std::string name, DType dtype, Shape shape);
  ValueId add_constant(TensorPtr tensor, std::string name = "");
  // Adds a node with `num_outputs` fresh values (dtype and shape unset until inference).
  Node& add_node(Op op, std::string name, std::vector<ValueId> inputs, int num_outputs, Attrs attrs);
  void set_outputs(std::vector<ValueId> outputs, std::vector<std::string> names);
  // Which values are inputs, in order: ones that are left out must have no readers.
  void set_inputs(std::vector<ValueId> inputs) { inputs_ = std::move(inputs); }

  Node& node(NodeId id) { return *nodes_[id]; }
  const Node& node(NodeId id) const { return *nodes_[id]; }
  bool is_live(NodeId id) const { return id >= 0 && id < num_node_slots() && nodes_[id] != nullptr; }
  int num_node_slots() const { return static_cast<int>(nodes_.size()); }  // ids are < this; removed nodes leave holes
  Value& value(ValueId id) { return values_[id]; }
  const Value& value(ValueId id) const { return values_[id]; }
  int num_values() const { return static_cast<int>(values_.size()); }

  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<ValueId>& outputs() const { return outputs_; }
  const std::vector<std::string>& output_names() const { return output_names_; }

  SymbolTable& symbols() { return symbols_; }
  const SymbolTable& symbols() const { return symbols_; }

  // Live nodes, producers before consumers; stable in node id. An error names a node on a cycle.
  Result<std::vector<NodeId>> topological_order() const;
  // For each value the nodes that read it (a node twice if it reads it twice); graph outputs are not in it.
  std::vector<std::vector<NodeId>> consumers() const;
  bool is_output(ValueId id) const;

  // Rewires every reader (nodes and graph outputs) of `from` to `to`. Keeps `from`'s tensor name alive on graph
  // outputs.
  void replace_uses(ValueId from, ValueId to);
  void remove_node(NodeId id);  // its outputs must have no readers left
  // Removes nodes none of whose outputs are used (Foreign nodes with side effects stay). Returns how many went.
  int remove_dead_nodes();
  // A node name not yet in use, made from `base`.
  std::string unique_name(const std::string& base);

 private:
  std::vector<std::unique_ptr<Node>> nodes_;
  std::deque<Value> values_;
  std::vector<ValueId> inputs_, outputs_;
  std::vector<std::string> output_names_;
  SymbolTable symbols_;
  std::unordered_map<std::string, int> name_uses_;
  friend class GraphReader;  // rebuilds a serialized graph with the ids it had
};

std::string to_string(const Graph& graph);  // one line a node, for people and tests

// Structural checks after every pass: ids in range, dtypes and ranks consistent with a fresh inference, acyclic,
// unique node names. The error names the node.
Status verify(const Graph& graph);

// (Re)computes dtype, shape and known small-integer contents of every value in topological order.
struct InferOptions {
  bool fold_contents = true;  // follow Shape -> Slice -> Pack -> Reshape chains by value
};
Status infer_shapes(Graph& graph, const InferOptions& options = {});

// Sets concrete input dims (one entry a graph input) and infers again: all shapes that do not depend on data become
// static, and integer tensors computed from shapes become constants. An input whose rank or known dims disagree is an
// error. `input_values` (empty, or one entry an input) may hold the elements of some inputs, which then are constants
// to everything that reads them.
Result<Graph> specialize(const Graph& graph, const std::vector<Dims>& input_dims,
                         const std::vector<TensorPtr>& input_values = {});

// The value behind Identity nodes.
ValueId behind_identities(const Graph& graph, ValueId v);

// The branch of an If that a condition takes (see SubGraphsAttrs).
size_t chosen_branch(DType dtype, const void* condition, size_t branches);

// The given nodes (producers first) as a graph of their own: its inputs and outputs are copies of the given values,
// constants are shared. An error names a node that reads what is neither made inside, an input nor a constant.
Result<Graph> extract(const Graph& graph, const std::vector<NodeId>& nodes, const std::vector<ValueId>& inputs,
                      const std::vector<ValueId>& outputs, std::vector<std::string> output_names);

// For each node id whether an output depends on it, by data or control.
std::vector<bool> nodes_that_outputs_need(const Graph& graph);

}  // namespace blade::ir
