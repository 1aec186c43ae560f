// One way to optimize the model at hand: its regions turned into engines under given decisions, as a GraphDef.
#pragma once

#include <string>
#include <vector>

#include "engine/decisions.h"
#include "engine/partition.h"
#include "frontends/tensorflow/importer.h"

namespace blade::optimizer {

// The engine files of all regions and the graph that runs them.
struct Candidate {
  std::string graph_def;  // serialized
};

// `profile` is over the model's inputs; a region gets one where its inputs are model inputs, others take any shape
// (their bounds follow from the model's).
Result<Candidate> build_candidate(const tensorflow::ImportedModel& imported, const engine::Partition& partition,
                                  const engine::Decisions& decisions);

// The decisions of one region: the model's, its profile narrowed to the region's inputs.
engine::Decisions region_decisions(const ir::Graph& model, const ir::Graph& region, const engine::Decisions& decisions);

}  // namespace blade::optimizer
