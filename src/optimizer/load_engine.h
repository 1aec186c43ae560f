// From a model on disk to an engine, without TensorFlow: optimized and plain frozen graphs, SavedModels, engine files.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "engine/partition.h"
#include "frontends/tensorflow/importer.h"
#include "frontends/tensorflow/model_names.h"

namespace blade::optimizer {

// What of a model is wanted.
struct Wanted {
  std::vector<std::string> outputs;  // node or tensor names; empty: the model's own
  std::string signature;             // of a SavedModel; empty: its default
  std::string tensorflow_dir;        // for inspect_model(): see there
};

struct LoadedEngine {
  std::shared_ptr<engine::Engine> engine;
  std::vector<std::string> input_keys;   // one an input: its key in the SavedModel's signature, or ""
  std::vector<std::string> output_keys;  // one an output, where the outputs are the signature's
  tensorflow::ModelNames names;
  std::vector<tensorflow::UnreadPlaceholder> unread;
};

// The tensors of the outputs that are wanted, which go by their names or keys.
std::vector<std::string> outputs_of(const tensorflow::LoadedModel& model, const tensorflow::ModelNames& names,
                                    const Wanted& wanted);

// Ops that Blade does not cover are an error that lists them.
Result<LoadedEngine> load_engine(const std::string& path, const Wanted& wanted, const engine::EngineOptions& options);

// The same from a serialized GraphDef, which must outlive the engine; `fixed`: see tensorflow::ImportOptions.
Result<std::shared_ptr<engine::Engine>> load_engine_from_graph(std::string_view graph_def,
                                                               const std::vector<std::string>& outputs,
                                                               const std::map<std::string, ir::TensorPtr>& fixed,
                                                               const engine::EngineOptions& options);

// Divides what the whole-graph passes have left, work estimated at `input_dims` (empty: guessed); what stays behind
// goes by the names and ops of the source graph.
Result<engine::Partition> partition_model(const tensorflow::ImportedModel& model,
                                          const std::vector<ir::Dims>& input_dims);

// Takes out what only watches and orders, and leaves all that is computed as it was written.
Status strip_as_written(ir::Graph& graph);

// Runs the whole-graph passes on an imported graph; what is left is ready to be divided or run.
Status run_whole_graph_passes(ir::Graph& graph);

}  // namespace blade::optimizer
