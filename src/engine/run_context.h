// What one run of a plan needs beyond the plan: resolved operand pointers, and a device's memory and queue. Reused from
// run to run, so that runs allocate nothing.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "engine/plan.h"

namespace blade::engine {

// Memory for plan outputs whose dims a step finds.
class FoundOutputs {
 public:
  virtual ~FoundOutputs() = default;
  virtual void* allocate(int output, std::span<const int64_t> dims) = 0;  // nullptr: there is none
};

// What a step's kernel asks: numbers outputs as the plan does instead of as the step does.
class StepAllocator final : public backends::OutputAllocator {
 public:
  StepAllocator(const Step& step, FoundOutputs* found) : step_(step), found_(found) {}
  void* allocate(int output, std::span<const int64_t> dims) override {
    return found_ == nullptr ? nullptr : found_->allocate(step_.outputs[output].index, dims);
  }

 private:
  const Step& step_;
  FoundOutputs* found_;
};

class RunContext {
 public:
  explicit RunContext(std::shared_ptr<const Plan> plan);
  virtual ~RunContext() = default;

  // Pointers of the caller for the next run(), one a graph input and output; host memory.
  void set_input(int index, const void* data) { inputs_[index] = data; }
  void set_output(int index, void* data) { outputs_[index] = data; }

  // Runs all steps; `arena` has at least plan.host_arena_bytes, aligned to 64. step_us: microseconds
  // (Plan::num_times()), or nullptr. `found` may be nullptr where the plan knows the dims of all its outputs.
  virtual Status run(std::byte* arena, ThreadPool& pool, double* step_us = nullptr, FoundOutputs* found = nullptr) = 0;

  const Plan& plan() const { return *plan_; }

 protected:
  // Outputs that no step wrote: graph inputs and constants passed through, and second names of one tensor.
  Status copy_outputs() const;

  std::shared_ptr<const Plan> plan_;
  std::vector<const void*> inputs_;
  std::vector<void*> outputs_;
};

// For the plan's device. Makes what a run needs there; an error when its memory does not suffice.
Result<std::unique_ptr<RunContext>> make_run_context(std::shared_ptr<const Plan> plan);

// Runs on the host.
class HostRunContext final : public RunContext {
 public:
  explicit HostRunContext(std::shared_ptr<const Plan> plan);
  Status run(std::byte* arena, ThreadPool& pool, double* step_us, FoundOutputs* found) override;

 private:
  struct StepOperands {
    size_t first_input, num_inputs, first_output, num_outputs;
  };
  struct Patch {
    size_t slot;
    int index;
  };
  void bind_arena(std::byte* arena);
  void bind_caller();

  std::vector<StepOperands> operands_;
  std::vector<const void*> step_inputs_;
  std::vector<void*> step_outputs_;
  // Slots that point to the caller's memory.
  std::vector<Patch> input_from_input_, input_from_output_, output_to_output_;
  std::byte* arena_ = nullptr;
  bool bound_ = false;
};

}  // namespace blade::engine
