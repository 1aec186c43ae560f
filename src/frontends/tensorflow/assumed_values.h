// The values of placeholders that the engines of an optimized graph were built for.
#pragma once

#include <map>
#include <string>

#include "frontends/tensorflow/proto/graph_def.h"
#include "ir/graph.h"

namespace blade::tensorflow {

// By node name: the switches that were fixed when the graph was optimized (see ImportOptions::fixed), as its guards
// hold them (see writer.h). Empty for a graph that Blade did not write.
std::map<std::string, ir::TensorPtr> assumed_values(const GraphDef& graph);

}  // namespace blade::tensorflow
