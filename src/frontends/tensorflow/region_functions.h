// The functions of a region in an optimized GraphDef; not for use outside this folder.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/node_index.h"
#include "frontends/tensorflow/writer.h"

namespace blade::tensorflow {

struct RegionFunctionNames {
  std::string engine, fallback, session, graph, original;
};

struct RegionFunctions {
  FunctionDef engine, fallback, session, graph, original;  // see writer.h
  std::vector<const FunctionDef*> all() const { return {&engine, &fallback, &session, &graph, &original}; }

  // Tensors that the original nodes need beside the region's own inputs; the functions take them after those.
  std::vector<std::string> extra_inputs;
  std::vector<int> moved;             // movable nodes that the original holds
  std::vector<int> beside;            // these, and what it holds for their sake alone: no node of the region
  std::vector<DataType> input_types;  // the engine's bytes, the region's inputs, the extra ones
  std::vector<DataType> output_types;
};

// `movable`: foreign nodes that the original may compute itself; what others it needs are extra inputs.
Result<RegionFunctions> make_region_functions(const ImportedModel& model, const NodeIndex& index,
                                              const RegionToWrite& region, const std::vector<char>& movable,
                                              const RegionFunctionNames& names);

// Whether `node` needs something of region `r`, or of another one that does: of a region that is an engine whoever
// needs one output waits for all.
bool waits_for_region(int node, size_t r, const NodeIndex& index, std::span<const RegionToWrite> regions,
                      std::span<const RegionFunctions> functions);

// "node" for "node:0", as NodeDef inputs spell it.
std::string short_name(const std::string& tensor);
TensorShapeProto shape_proto(const ir::Shape& shape);

}  // namespace blade::tensorflow
