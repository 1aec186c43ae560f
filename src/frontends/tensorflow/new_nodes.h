// The nodes that an optimized graph has and the original has not: constants and what holds an engine file.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/graph_def.h"
#include "frontends/tensorflow/writer.h"
#include "ir/types.h"

namespace blade::tensorflow {

NodeDef make_node(std::string name, std::string op, std::vector<std::string> inputs, AttrMap attrs);

// A Const that shares the tensor's bytes.
Result<NodeDef> dense_const(std::string name, const ir::Tensor& tensor);

// What gives the region's engine file under `name`: the last of them.
std::vector<NodeDef> engine_nodes(const RegionToWrite& region, const std::string& name);

}  // namespace blade::tensorflow
