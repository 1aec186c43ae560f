// The interface of a graph pass and the registry of the pipeline: one file a pass, one line in pipeline.cc.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "ir/graph.h"

namespace blade::passes {

struct InputMoments;

// Limits and switches that passes ask; everything else is in the graph.
struct PassOptions {
  size_t max_folded_bytes = size_t{10} << 20;  // a fold may not make a constant larger than this ...
  double max_folded_growth = 1.05;             // ... nor all folds together grow the constants by more than this factor
  bool on_device = false;                      // the engine runs on a device, not on the CPU
  // What matrix work is rounded to where the engine's device gains by it: float16 on a GPU, bfloat16 on either.
  ir::DType narrow_type = ir::DType::kInvalid;
  // Whether bfloat16 was decided on for tile registers (AMX). What is folded, and so nodes' names, may depend on that,
  // not on the machine at hand, which has_tiles tells.
  bool for_tiles = false, has_tiles = false;
  std::vector<std::string> keep_float32;  // names of nodes that stay as they are
  // By the names of matrix nodes: for rounding weights to bfloat16; may be null.
  const std::map<std::string, InputMoments>* input_moments = nullptr;
};

struct PassResult {
  int changes = 0;                 // nodes removed, replaced or fused; 0: nothing to do ("passed" in reports)
  std::vector<std::string> notes;  // what was done or why not, in words, for verbose output
  bool run_again = false;          // the passes before it may find new work now
};

struct Pass {
  const char* name;         // the name users know: "TfFoldConstants"
  const char* description;  // one sentence for `blade inspect` and docs
  bool on_whole_graph;  // true: runs before partition, on the graph with Foreign nodes in it; false: inside a region
  Result<PassResult> (*run)(ir::Graph&, const PassOptions&);
};

// All passes in the order they run.
std::span<const Pass> pipeline();

// Runs the whole-graph or the region passes whose names are not in `disabled`, infers shapes and verifies after each.
struct PipelineReport {
  std::string pass;
  PassResult result;
};
Result<std::vector<PipelineReport>> run_pipeline(ir::Graph& graph, bool whole_graph,
                                                 std::span<const std::string> disabled,
                                                 const PassOptions& options = {});

// What TfSimplifyControlFlow does, for a graph whose shapes have become concrete. Returns the number of changes.
Result<int> move_constants_inside(ir::Graph& graph);

}  // namespace blade::passes
