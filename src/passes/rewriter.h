// A sweep's view of a graph: readers are counted once and kept current by the edits made through it, so that a pass
// over thousands of nodes stays linear.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "ir/graph.h"

namespace blade::passes {

class Rewriter {
 public:
  // An error names a node on a cycle.
  static Result<Rewriter> create(ir::Graph& graph);

  ir::Graph& graph() { return *graph_; }
  const ir::Graph& graph() const { return *graph_; }
  // Live nodes, producers first, as they were at creation; skip those for which is_dead().
  const std::vector<ir::NodeId>& order() const { return order_; }
  // Place in order(); a node inserted later counts as being where the node it was made for is.
  int position(ir::NodeId id) const { return position_[id]; }
  bool is_dead(ir::NodeId id) const { return dead_[id] != 0; }

  ir::Node* producer(ir::ValueId value);             // nullptr for inputs and constants
  ir::Node* producer(ir::ValueId value, ir::Op op);  // nullptr unless it is an `op`
  const ir::Shape& shape(ir::ValueId value) const { return graph_->value(value).shape; }
  ir::DType dtype(ir::ValueId value) const { return graph_->value(value).dtype; }
  // Nodes reading the value (twice if they read it twice); graph outputs are not in it.
  const std::vector<ir::NodeId>& readers(ir::ValueId value) const { return readers_[value]; }
  bool is_output(ir::ValueId value) const { return output_uses_[value] > 0; }
  int uses(ir::ValueId value) const { return static_cast<int>(readers_[value].size()) + output_uses_[value]; }
  bool has_one_use(ir::ValueId value) const { return uses(value) == 1; }
  // True where every use of the value is by `reader`.
  bool read_only_by(ir::ValueId value, ir::NodeId reader) const;

  // Turns `node` into another operation that computes the same output values.
  void change(ir::Node& node, ir::Op op, std::vector<ir::ValueId> inputs, ir::Attrs attrs);
  void set_inputs(ir::Node& node, std::vector<ir::ValueId> inputs);
  // Adds a node with outputs of the given type and shape for the sake of `made_for`, whose origin it takes.
  ir::Node& insert(const ir::Node& made_for, ir::Op op, std::vector<ir::ValueId> inputs, ir::Attrs attrs,
                   ir::DType dtype, ir::Shape shape, const std::string& suffix, int num_outputs = 1);
  ir::ValueId add_constant(ir::TensorPtr tensor, const std::string& name);
  // Makes all readers of `from` read `to`. False, and nothing done, where that would make a graph output an input, a
  // constant or a second copy of another output: those keep their own node.
  bool replace(ir::ValueId from, ir::ValueId to);
  // Exchanges names and origins: a node that takes over another's work takes its name in reports too.
  void swap_identity(ir::Node& a, ir::Node& b);

  // Removes what has become unused from the graph; the rewriter must not be used afterwards.
  int finish();

 private:
  explicit Rewriter(ir::Graph& graph) : graph_(&graph) {}
  void grow();
  void release_if_unused(ir::ValueId value);

  ir::Graph* graph_;
  std::vector<ir::NodeId> order_;
  std::vector<int> position_;
  std::vector<char> dead_;
  std::vector<std::vector<ir::NodeId>> readers_;
  std::vector<int> output_uses_;
};

}  // namespace blade::passes
