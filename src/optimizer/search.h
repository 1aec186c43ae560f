// Which region passes pay on this model: each is tried against the whole without it, and rolled back where it loses or
// breaks the answers.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "engine/decisions.h"
#include "engine/engine.h"
#include "engine/partition.h"
#include "optimizer/options.h"
#include "optimizer/report.h"
#include "optimizer/test_data.h"

namespace blade::optimizer {

struct SearchInput {
  const ir::Graph& graph;  // after the whole-graph passes
  const engine::Partition& partition;
  const std::vector<Feed>& feeds;
  const std::vector<std::vector<ir::TensorPtr>>& expected;  // of the only region, as outputs_of_region()
  const OptimizeOptions& options;
  std::function<bool(int percent, const char* phase)> progress;  // true: stop soon
  backends::Device* device = nullptr;                            // null: the CPU

  // When this share of config.tuning.time_limit_s, counted from now, is over.
  std::chrono::steady_clock::time_point time_for(double share) const;
};

struct SearchResult {
  engine::Decisions decisions;
  std::vector<OptimizationStep> steps;  // one a region pass
  std::string failed_run;               // why a run on the test data fails; empty where none does
};

// The model's outputs, by number, that the region gives: others are inputs or constants.
std::vector<size_t> outputs_of_region(const ir::Graph& graph, const engine::Region& region);

// The only region, as imported.
Result<ir::Graph> region_graph(const SearchInput& input);

// An engine of the only region under these decisions.
Result<std::shared_ptr<engine::Engine>> region_engine(const SearchInput& input, engine::Decisions decisions);

// Whether the answers to every feed are as expected under these decisions.
Result<bool> answers_hold(const SearchInput& input, const engine::Decisions& decisions);
// Names for `count` answers of an engine of the only region: those of the model's outputs.
std::vector<std::string> answer_names(const SearchInput& input, size_t count);

// Measures only where one region is the whole model (its inputs are then the feeds); elsewhere all passes are kept and
// the check of the whole decides.
Result<SearchResult> search_passes(const SearchInput& input, engine::Decisions decisions);

}  // namespace blade::optimizer
