// Runs a plan on its device: one queue, one arena there, pinned memory for what goes in and out, and recordings of the
// stretches of steps that need no host in between.
#pragma once

#include <memory>
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
  std::byte* device_address(const Location& at) const;
  void find_direct_outputs();
  Status send_inputs(ThreadPool& pool);
  Status take_outputs();
  Status join_small_steps();
  backends::KernelArgs args_of(size_t step) const;
  Status start_step(size_t step, ThreadPool& pool);
  Status start_steps(size_t first, size_t last, ThreadPool& pool);
  Result<std::unique_ptr<backends::DeviceRecording>> record(size_t first, size_t last, int copies, ThreadPool& pool);
  Status play(Segment& segment, ThreadPool& pool);
  Status run_on_host(size_t step, std::byte* arena, ThreadPool& pool, FoundOutputs* found);
  std::byte* host_address(const Location& at, std::byte* arena) const;

  std::unique_ptr<backends::DeviceQueue> queue_;
  backends::DeviceBuffer arena_, input_memory_, output_memory_, pinned_inputs_, pinned_outputs_;
  std::vector<size_t> input_offsets_, output_offsets_;
  std::vector<StepPointers> pointers_;
  std::vector<Segment> segments_;
  std::vector<Group> groups_;  // by first step
  std::vector<char> is_direct_;   // one an output: steps write it to pinned memory
  std::vector<char> is_on_host_;  // one an output: a step on the host writes it to the caller's memory
  bool started_once_ = false;
};

Result<std::unique_ptr<RunContext>> make_device_run_context(std::shared_ptr<const Plan> plan);

}  // namespace blade::engine
