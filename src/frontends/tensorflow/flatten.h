// Makes one flat graph of a graph with function calls: bodies take the place of calls, and regions that Blade wrote
// become the original nodes again, their weights views of the engine's bytes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/graph_def.h"
#include "frontends/tensorflow/shared_pieces.h"

namespace blade::tensorflow {

// Something that stood as BladeEngine in an optimized graph.
struct EngineRegion {
  std::string node;                 // "blade/region_0"
  SharedPieces engine;              // the engine file
  std::vector<std::string> inputs;  // tensors of the flat graph, in the engine's order
  std::vector<std::string> outputs;
};

struct FlatGraph {
  GraphDef graph;  // the very same graph, untouched, where nothing had to be done
  std::vector<EngineRegion> engines;
  std::map<std::string, std::string> kept_calls;  // node -> why its function could not be inlined
};

// A call of a function that is not in the library is an error; one that cannot be inlined stays, with the reason.
Result<FlatGraph> flatten(const GraphDef& graph);

}  // namespace blade::tensorflow
