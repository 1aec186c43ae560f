// A model compiled for concrete input shapes: kernels, constants and one arena with offsets. Immutable; runs share it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/kernel.h"
#include "engine/decisions.h"
#include "ir/graph.h"

namespace blade::engine {

// Where a step finds an operand.
struct Location {
  // kNone: a packed constant that the kernel does not read again.
  // kFound: a graph output whose size the step finds: it asks the run for memory.
  enum class Kind : uint8_t { kArena, kInput, kOutput, kConstant, kNone, kFound } kind = Kind::kArena;
  size_t offset = 0;  // in the arena
  int index = 0;      // graph input, graph output or constant number
};

// One of several steps that run as one, strip by strip.
struct InnerStep {
  std::string node_name;
  ir::Op op;
  const char* kernel_name;
  ir::Cost cost;
};

struct Step {
  std::string node_name;
  ir::Op op;
  const char* kernel_name;
  std::unique_ptr<backends::Kernel> kernel;
  std::vector<Location> inputs, outputs;
  std::vector<backends::TensorDesc> input_descs, output_descs;
  size_t scratch_offset = 0;
  bool in_place = false;                  // output 0 took over an input's memory
  bool on_host = false;                   // of a device's plan: no kernel of the device takes it (see `refused`)
  std::vector<int> fetch, send;           // then: inputs to bring to the host before, outputs the device needs after
  ir::Cost cost;                          // for rooflines
  std::string choice;                     // the kernel and how it cuts its work: KernelChoice as text
  bool on_one_thread = false;             // by that choice
  std::optional<TunedFigures> tuned;      // of a stored choice
  std::string signature;                  // kernel_signature(), where alternatives were asked for
  std::vector<std::string> alternatives;  // supporting_kernels(), as well
  std::vector<std::string> nodes;         // all that the step computes, node_name last
  std::vector<InnerStep> inner;           // KernelArgs::inner_us has one number for each
  std::vector<std::string> refused;       // "cpu.conv.winograd_f32: stride is 2, needs 1": rows that were passed over
};

// Nodes that are steps of their own but could be one.
struct PossiblePair {
  std::string signature;
  std::vector<std::string> alternatives;  // kApart and the rows that take both
  std::vector<std::string> nodes;
};

struct Plan {
  backends::Device* device = nullptr;  // null: all on the host
  std::vector<Step> steps;
  std::vector<PossiblePair> possible_pairs;  // where alternatives were asked for
  // Times of a run: those of the steps, then those of the inner steps, in order.
  size_t num_times() const {
    size_t count = steps.size();
    for (const Step& step : steps) count += step.inner.size();
    return count;
  }
  std::vector<ir::TensorPtr> constants;
  std::vector<std::shared_ptr<const backends::DeviceBuffer>>
      device_constants;                // the same there; null: no step reads it
  std::vector<ir::DType> input_types;  // a device's: one an input, of 16 bits where it is cast on the way
  std::vector<backends::TensorDesc> inputs, outputs;  // an output has dims of -1 where a step finds them
  // Per graph output: a step writes it directly (kOutput), or it is copied from there at the end.
  std::vector<Location> output_sources;
  // (input, output): the output may be given the very memory of the input if nobody needs the input after the run.
  std::vector<std::pair<int, int>> reuses;
  size_t arena_bytes = 0;
  size_t host_arena_bytes = 0;   // arena_bytes on the host; a device's plan needs it only for steps on the host
  size_t naive_arena_bytes = 0;  // without liveness, for reports
};

struct PlanOptions {
  int num_threads = 1;
  bool reference_only = false;
  const backends::Machine* machine = nullptr;  // nullptr: the one at hand
  backends::Device* device = nullptr;          // nullptr: plan for the host
  bool copies_inputs = true;                   // to the device, where casts of inputs cost nothing then
  bool with_alternatives = false;              // fill Step::signature and alternatives, for tuning
  int64_t strip_rows = 0;  // for tests: all that can go by strips does, of about so many rows; -1: nothing does
};

// Selects kernels and plans memory for a graph with concrete shapes (see specialized_graph()); only graph outputs of
// ops that find their size may have dims that are unknown.
Result<std::shared_ptr<const Plan>> build_plan(const ir::Graph& graph, const Decisions& decisions,
                                               backends::PackCache& packs, const PlanOptions& options);

// Specializes `graph` to the dims, folds what became constant and builds the plan. An error names the node where a
// shape depends on data: such graphs are run in stages (stage.h).
Result<std::shared_ptr<const Plan>> make_plan(const ir::Graph& graph, std::span<const ir::Dims> input_dims,
                                              const Decisions& decisions, backends::PackCache& packs,
                                              const PlanOptions& options);

// "Conv f32[1,56,56,64] f32[3,3,64,64] s1 ...": the key of stored kernel choices; same for equal work.
std::string kernel_signature(const backends::KernelRequest& request);

// Chooses a row of the request's device (of the host's tables where it has none): the stored choice if it still
// supports the request, else the cheapest by predicted_us (table order where there is none) of those that compile
// nothing. Appends why rows were passed over. Pure.
Result<const backends::KernelEntry*> select_kernel(const backends::KernelRequest& request, const Decisions& decisions,
                                                   bool reference_only, std::vector<std::string>* refused);
// The rows for pairs of nodes where the plan runs.
std::span<const backends::KernelEntry> fused_kernels(const PlanOptions& options);
// What a stored choice may be: all rows of the request's device that support it, the one predicted fastest first; on
// the host also the ways in which `chosen` may cut its work, and kApart for a pair.
std::vector<std::string> supporting_kernels(const backends::KernelRequest& request,
                                            const backends::KernelEntry* chosen);
// select_kernel() over one table, for tests.
Result<const backends::KernelEntry*> select_kernel(const backends::KernelRequest& request, const Decisions& decisions,
                                                   std::span<const backends::KernelEntry> table,
                                                   std::vector<std::string>* refused);

}  // namespace blade::engine
