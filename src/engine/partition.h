// Divides a graph with Foreign nodes into regions that an engine can run, never making a cycle between regions.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace blade::engine {

struct Region {
  std::vector<ir::NodeId> nodes;             // in topological order; nodes of one origin are never divided
  std::vector<ir::ValueId> inputs, outputs;  // every boundary value has a source tensor name
  std::vector<ir::NodeId> control_inputs;    // outside nodes that must run before the region
  double flops = 0;                          // estimate at likely shapes, for the minimum size
};

struct LeftBehind {
  std::string node, op, reason;
  int32_t origin = ir::kNone;  // the source node
};

struct PartitionOptions {
  int min_nodes = 3;  // a region smaller than both bounds does not pay its hand-over
  double min_flops = 50e3;
  std::vector<ir::Dims> input_dims = {};  // shapes at which work is estimated; empty: guessed
};

struct Partition {
  std::vector<Region> regions;
  std::vector<LeftBehind> left_behind;  // one entry a source node outside every region
};

Result<Partition> partition(const ir::Graph& graph, const PartitionOptions& options = {});

// The region as a graph of its own: inputs named by their source tensor names, constants shared.
Result<ir::Graph> extract_region(const ir::Graph& graph, const Region& region);

// The tensor name of a region's boundary value; a graph output may go by its output name.
std::string boundary_name(const ir::Graph& graph, ir::ValueId id);

}  // namespace blade::engine
