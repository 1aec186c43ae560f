// A run whose shapes depend on data is a sequence of stages: each is a plan over what has known shapes, and a program
// for the rest, planned when the sizes are known.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "engine/plan.h"
#include "engine/run_context.h"
#include "engine/run_value.h"
#include "ir/graph.h"

namespace blade::engine {

class Program;

// What planning needs beside the graph; the engine's, and outlives all its programs.
struct Planner {
  const Decisions& decisions;
  backends::PackCache& packs;
  PlanOptions options;

  // For what is planned while running, shape by shape: too short-lived and too small for a device.
  Planner on_host() const {
    PlanOptions there = options;
    there.device = nullptr;
    return {decisions, packs, there};
  }
};

// A loop or conditional, run behind the stage's plan.
struct ControlStep {
  ir::Op op = ir::Op::kIf;
  std::string node_name;
  std::vector<int> inputs, outputs;                // slots
  std::vector<char> dies;                          // one an input: nothing reads its slot any more
  std::vector<std::unique_ptr<Program>> programs;  // see ir::SubGraphsAttrs
};

// Values of a stage have numbers (slots): first the program's inputs, then the plan's outputs, then constants, then
// what control steps give.
struct Stage {
  std::shared_ptr<const Plan> plan;
  // The plan is all there is, and its outputs are those of the graph, one for one.
  bool is_whole = false;
  std::vector<ir::TensorPtr> constants;
  // One an output of the program: its slot, or -1 where `rest` makes it.
  std::vector<int> outputs;
  std::vector<int> direct;  // one an output of the plan: the first output of the program that it is, or -1
  // Shapes of the program's outputs; unknown dims are found by later stages.
  std::vector<ir::Shape> output_shapes;
  std::vector<std::pair<int, int>> reuses;  // of plan->reuses those whose input nothing after the plan needs

  std::vector<ControlStep> controls;  // in the order they run
  int num_control_outputs = 0;

  std::unique_ptr<Program> rest;  // nullptr: this is the last stage
  std::vector<int> rest_inputs;   // slots
  std::vector<int> rest_outputs;  // output number of each of rest's outputs

  int num_slots() const { return control_slot(num_control_outputs); }
  int control_slot(int i) const { return constant_slot(static_cast<int>(constants.size())) + i; }
  int plan_output_slot(int output) const { return static_cast<int>(plan->inputs.size()) + output; }
  int constant_slot(int i) const { return static_cast<int>(plan->inputs.size() + plan->outputs.size()) + i; }

  // A context that waits for its next run, or a new one; for a device nullptr instead (see make_run_context()).
  std::unique_ptr<RunContext> take_context() const;
  void give_back(std::unique_ptr<RunContext> context) const;

  Stage();
  ~Stage();

 private:
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<RunContext>> idle_;
};

// Plans what can be planned of `graph` for inputs of these dims (and values, see ir::specialize()). An error names the
// node whose result's shape cannot be found even while running.
Result<std::shared_ptr<const Stage>> make_stage(const ir::Graph& graph, std::span<const ir::Dims> input_dims,
                                                const std::vector<ir::TensorPtr>& input_values, const Planner& planner);

// The same for a whole model: where no shape depends on data it is one plan (is_whole).
Result<std::shared_ptr<const Stage>> make_first_stage(const ir::Graph& graph, std::span<const ir::Dims> input_dims,
                                                      const Planner& planner);

// A graph and the stages made for the sizes it met. Thread-safe.
class Program {
 public:
  // `by_value[i]`: shapes depend on the elements of input i, so stages are made for those as well.
  Program(ir::Graph graph, std::vector<char> by_value, const Planner& planner);

  // The first stage for these inputs, made at first sight (fractions of a millisecond for a few nodes).
  Result<std::shared_ptr<const Stage>> stage_for(std::span<const RunValue> inputs);
  // All stages made so far that are still cached, for reports.
  std::vector<std::shared_ptr<const Stage>> stages() const;

  const ir::Graph& graph() const { return graph_; }

 private:
  struct Entry {
    std::vector<RunDims> dims;
    std::vector<std::byte> values;
    std::shared_ptr<const Stage> stage;
    uint64_t last_used = 0;
  };
  bool matches(const Entry& entry, std::span<const RunValue> inputs) const;
  std::shared_ptr<const Stage> find(std::span<const RunValue> inputs);
  Result<std::shared_ptr<const Stage>> make(std::span<const RunValue> inputs);

  const ir::Graph graph_;
  const std::vector<char> by_value_;
  const Planner planner_;
  std::mutex making_;
  mutable std::mutex mutex_;  // guards what follows
  std::vector<Entry> entries_;
  size_t last_hit_ = 0;
  uint64_t clock_ = 0;
};

}  // namespace blade::engine
