// The values and ranks of placeholders that the engines of an optimized graph were built for.
#pragma once

#include <map>
#include <string>

#include "frontends/tensorflow/proto/graph_def.h"
#include "ir/graph.h"

namespace blade::tensorflow {

// By node name: the switches that were fixed when the graph was optimized (see ImportOptions::fixed), as its guards
// hold them (see writer.h). Empty for a graph that Blade did not write.
std::map<std::string, ir::TensorPtr> assumed_values(const GraphDef& graph);

// By tensor name: the ranks that were assumed of inputs (see ImportedModel::ranks), as far as the guards compare them.
std::map<std::string, int32_t> assumed_ranks(const GraphDef& graph);

}  // namespace blade::tensorflow
