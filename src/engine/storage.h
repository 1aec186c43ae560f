// Which values share memory: views are free, and a kernel that can may write over an operand that nobody reads again.
#pragma once

#include <span>
#include <vector>

#include "engine/fusion.h"
#include "ir/graph.h"

namespace blade::engine {

// Whether the result is the same bytes as input 0: beside ir::is_view_op(), for concrete shapes, a Transpose that moves
// only dims of 1, a Slice of everything, ...
bool is_view(const ir::Graph& graph, const ir::Node& node);

// Memory of one or more values.
struct Storage {
  // kFound: an output whose size its kernel finds, so that only the run can give it memory.
  enum class Kind : uint8_t { kArena, kInput, kOutput, kConstant, kFound } kind = Kind::kArena;
  int index = 0;  // of the graph input, graph output or (for constants) the value id
  size_t bytes = 0;
  int first = 0, last = 0;  // steps, both included; last is kForever for what outlives the run
  int last_read = -1;       // by a step; kForever for graph outputs
  static constexpr int kForever = 1 << 30;
};

// Storages of all values of a graph for steps that run in the given order. Shapes are static but for graph outputs of
// ops that find their size.
class StorageMap {
 public:
  // `order`: all nodes, producers first. What flows inside a fused pair has no memory.
  static Result<StorageMap> create(const ir::Graph& graph, std::span<const ir::NodeId> order,
                                   const Fusion& fusion = {});

  // Nodes that need a kernel, in order. Views and nodes with only empty results are not among them.
  const std::vector<ir::NodeId>& steps() const { return steps_; }
  int of(ir::ValueId id);  // a number of storage(), of a value that a step or output touches
  const Storage& storage(int i) const { return storages_[i]; }
  int size() const { return static_cast<int>(storages_.size()); }
  bool is_merged_away(int i) const { return merged_into_[i] != i; }

  // Lets output 0 of step `step` take over the memory of `input` if that dies there; false when it may not.
  bool share(int step, ir::ValueId input, ir::ValueId output);
  // Graph outputs that a step can write straight to the caller's memory become kOutput.
  void assign_outputs(const ir::Graph& graph);

 private:
  int add(Storage storage);
  std::vector<ir::NodeId> steps_;
  std::vector<Storage> storages_;
  std::vector<int> merged_into_;
  std::vector<int> of_value_;
};

}  // namespace blade::engine
