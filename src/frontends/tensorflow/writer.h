// Writes the optimized graph back as a GraphDef that TensorFlow runs: regions stand beside their original nodes.
//
// Region k becomes, in the main graph,
//   blade/engine_k      Const uint8 [n]: the engine file, weights included; where that is large, BladeEngineFile of the
//                       BladeEnginePieces blade/engine_k/piece_i that hold it
//   blade/in_profile_k  BladeInProfile(engine, inputs..., given..., defaults...) -> bool; `given` are the placeholders
//                       with a default that the region reads, and the ranks of inputs whose rank was assumed and which
//                       the profile does not bound: fed with something else, the original nodes run
//   blade/region_k      StatelessIf(in_profile, engine, inputs...): then blade_engine_k_*, else blade_fallback_k_*,
//                       which is StatelessIf(BladeOriginalReady(engine), engine, inputs...) of
//                         blade_session_k_*  BladeOriginal: blade_original_k_* with its weights as constants, in a
//                                            session of its own
//                         blade_graph_k_*    a call of blade_original_k_*, where there can be no such session;
//                       names end in the engine's checksum
// and an Identity (IdentityN) under the original name of every node whose outputs others read. The function
// blade_original_k_* holds the region's NodeDefs; constants that the engine file stores are BladeStoredWeight there,
// each with its checksum, so that a damaged file is refused by the original nodes, too.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/importer.h"
#include "frontends/tensorflow/proto/graph_def.h"
#include "ir/graph.h"

namespace blade::tensorflow {

struct BoundaryTensor {
  std::string name;  // "conv1/Relu:0"
  ir::DType dtype = ir::DType::kInvalid;
  ir::Shape shape;  // what is known of it
};

// A Const of the source graph whose bytes are also in the engine file.
struct StoredConstant {
  int32_t origin = -1;  // see source_constant()
  uint64_t offset = 0, bytes = 0;
};

struct RegionToWrite {
  std::vector<int32_t> origins;  // source nodes that the engine computes
  std::vector<BoundaryTensor> inputs, outputs;
  SharedBytes engine;                // the engine file
  std::vector<size_t> pieces = {0};  // where those of the engine file begin, each to be a node
  std::vector<StoredConstant> weights;
};

// `model` gives the source graph (its IR graph is not looked at), `graph` the IR after the passes over the whole graph.
// Nodes outside the regions keep their bytes unless an input of theirs moved; nodes that the passes removed are gone;
// declared inputs and outputs always keep their names.
Result<GraphDef> write_optimized(const ImportedModel& model, const ir::Graph& graph,
                                 std::span<const RegionToWrite> regions);

}  // namespace blade::tensorflow
