// The original nodes of a region as a graph of their own, in which its weights are constants: TensorFlow folds, fuses
// and arranges what reads constants once, and weights that come out of the engine's bytes in every run.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/graph_def.h"
#include "frontends/tensorflow/shared_pieces.h"

namespace blade::tensorflow {

struct OriginalGraph {
  GraphDef graph;
  std::vector<std::string> inputs;  // placeholders, in the order of the region's inputs
  std::string call;                 // the node whose outputs are the region's
  size_t num_outputs = 0;
  uint64_t weight_bytes = 0;  // of the constants that were made of stored weights
  // Whether constant weights gain more than a session of its own costs (0.07 ms a run).
  bool repays_a_session = false;
};

// `library` holds the function blade_original_k_* of the region under the name `function` (see writer.h), `engine` is
// the region's engine file. Weights are views of it; an error where one is damaged. `producer` is the version of the
// graph that the function stands in.
Result<OriginalGraph> make_original_graph(const FunctionLibrary& library, std::string_view function,
                                          const SharedPieces& engine, int32_t producer);

}  // namespace blade::tensorflow
