// The smallest pieces that partitioning moves: all nodes of one source node stay together, and so does whatever is tied
// by a value that the source graph has no name for.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace blade::engine {

struct Units {
  std::vector<int> of_node;                      // node id -> unit, -1 for holes
  std::vector<std::vector<ir::NodeId>> members;  // in topological order
  std::vector<std::vector<int>> predecessors;    // by data or control, each once; units are in topological order
  std::vector<std::string> reason;               // why the unit stays behind; empty: it may enter a region
  // Units of different contexts never share a region: a region in a conditional branch is dead when the branch is.
  std::vector<int> context;
  int size() const { return static_cast<int>(members.size()); }
};

Result<Units> make_units(const ir::Graph& graph);

}  // namespace blade::engine
