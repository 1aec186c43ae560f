// Runs a plan on its device: one queue, one arena there, pinned memory for what goes in and out, and recordings of the
// stretches of steps that need no host in between.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/run_context.h"

namespace blade::engine {

class DeviceRunContext final : public RunContext {
 public:
  explicit DeviceRunContext(std::shared_ptr<const Plan> plan) : RunContext(std::move(plan)) {}
  Status prepare();  // once, before the first run

  // The first run starts each step by itself, which loads what the device needs; later runs play recordings. With
  // `step_us` steps are started one by one, with marks in between.
  Status run(std::byte* arena, ThreadPool& pool, double* step_us, FoundOutputs* found) override;

  // Device microseconds of `repetitions` runs on the inputs that the last run() left on the device: no copies from or
  // to the host. An error where a step runs on the host.
  Status time_replays(int repetitions, std::vector<double>* microseconds);
  // The same of a recording that holds the steps [first, last) `copies` times.
  Status time_steps(size_t first, size_t last, int copies, int repetitions, std::vector<double>* microseconds);
  // What each step adds to a recording of those before it: neighbours overlap, so that a step alone takes longer.
  Status time_shares(int repetitions, std::vector<double>* microseconds);
  bool runs_on_device() const { return segments_.size() == 1 && !segments_[0].on_host; }

  // For start() alone: no memory of its own for inputs and outputs.
  Status prepare_for_callers();
  // Puts one run on the caller's stream and returns; inputs and outputs are there on the device. Runs on one stream may
  // follow each other, and on no other.
  Status start(void* stream, std::span<std::byte* const> inputs, std::span<std::byte* const> outputs);

 private:
  // Steps [first, last) that all run on the device, or one on the host.
  struct Segment {
    size_t first, last;
    bool on_host;
    std::unique_ptr<backends::DeviceRecording> recording;
  };
  // Small steps [first, last) that one launch does.
  struct Group {
    size_t first, last;
    std::unique_ptr<backends::JoinedKernels> kernels;
  };
  struct StepPointers {
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
  };
  // Where the inputs and outputs of runs are on the device, and what follows from it.
  struct Binding {
    std::vector<std::byte*> inputs, outputs;
    std::vector<StepPointers> steps;
    std::vector<Group> groups;  // by first step
    std::unique_ptr<backends::DeviceRecording> whole;
    uint64_t last_used = 0;
  };
  Result<Binding> bind(std::vector<std::byte*> inputs, std::vector<std::byte*> outputs) const;
  Status join_steps(Binding& binding) const;
  std::byte* device_address(const Binding& binding, const Location& at) const;
  backends::KernelArgs args_of(const Binding& binding, size_t step) const;

  void find_direct_outputs();
  Status send_inputs(ThreadPool& pool);
  Status take_outputs();
  Status start_step(const Binding& binding, size_t step, ThreadPool& pool);
  Status start_steps(const Binding& binding, size_t first, size_t last, ThreadPool& pool);
  Result<std::unique_ptr<backends::DeviceRecording>> record(const Binding& binding, size_t first, size_t last,
                                                            int copies, ThreadPool& pool);
  Status play(Segment& segment, ThreadPool& pool);
  Status run_on_host(size_t step, std::byte* arena, ThreadPool& pool, FoundOutputs* found);
  std::byte* host_address(const Location& at, std::byte* arena) const;
  Result<Binding*> binding_for(std::span<std::byte* const> inputs, std::span<std::byte* const> outputs);

  std::unique_ptr<backends::DeviceQueue> queue_;
  backends::DeviceBuffer arena_, input_memory_, output_memory_, pinned_inputs_, pinned_outputs_;
  std::vector<size_t> input_offsets_, output_offsets_;
  Binding own_;                   // inputs and outputs in the memory above
  std::vector<Binding> callers_;  // of start(): the last few places of the caller
  uint64_t clock_ = 0;
  std::vector<Segment> segments_;
  std::vector<char> is_direct_;   // one an output: steps write it to pinned memory
  std::vector<char> is_on_host_;  // one an output: a step on the host writes it to the caller's memory
  bool started_once_ = false;
};

Result<std::unique_ptr<RunContext>> make_device_run_context(std::shared_ptr<const Plan> plan);

}  // namespace blade::engine
