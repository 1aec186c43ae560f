// Runs the stages of a model whose shapes depend on data, with memory that is kept from run to run.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "engine/engine.h"
#include "engine/run_value.h"
#include "engine/stage.h"

namespace blade::engine {

// The caller's memory for output `index`, checked. Null only for a tensor without elements.
Result<void*> output_memory(OutputSink& sink, int index, const TensorInfo& info, ir::DType dtype, const ir::Dims& dims);

// Of so many bytes.
Status no_memory_for_run(size_t bytes);

StepTime step_time(const Step& step, double us);

// Adds up the time of the steps of each run, by plan.
class StepTimer {
 public:
  double* steps_of(const std::shared_ptr<const Plan>& plan);  // room for one run of the plan
  void add(const std::shared_ptr<const Plan>& plan);          // what that run wrote there
  void end_run();
  std::vector<StepTime> medians() const;  // in the order in which the plans came first

 private:
  struct Row {
    std::shared_ptr<const Plan> plan;
    std::vector<double> last, sum;
    std::vector<std::vector<double>> runs;
  };
  Row& row_of(const std::shared_ptr<const Plan>& plan);
  std::vector<Row> rows_;
};

// The memory and the moving parts of one run at a time. After the first runs of a size nothing is allocated.
class Executor {
 public:
  // Runs `stage` and what follows it. `inputs` are those of the stage's graph; `outputs` gets all that `infos` names.
  Status run(std::shared_ptr<const Stage> stage, std::span<const TensorRef> inputs, std::span<const TensorInfo> infos,
             OutputSink& outputs, ThreadPool& pool, StepTimer* timer = nullptr);

 private:
  // What the stages of one program use one after the other. Frame 0 is the model's, frame k that of a program k loops
  // or conditionals deep.
  struct Frame {
    std::vector<RunValue> slots, inputs;
    std::vector<RunValue> results;   // the program's outputs; those of the model go to the caller instead
    std::vector<RunValue> state;     // of a loop in this frame
    std::vector<RunValue> prepared;  // what its preamble made
    std::vector<int> targets;        // what each output of the running stage is called outside
    bool is_model = false;
  };
  class Found;
  Status run_stages(std::shared_ptr<const Stage> stage, size_t depth);
  Status run_program(Program& program, size_t depth);
  Status run_control(const ControlStep& step, size_t depth);
  Status run_branch(const ControlStep& step, size_t depth);
  Status run_loop(const ControlStep& step, size_t depth);
  Status run_preamble(const ControlStep& step, size_t depth);
  Frame& frame_at(size_t depth);
  Status run_plan(const Stage& stage, Frame& frame);
  Status set_outputs(const Stage& stage, Frame& frame, RunContext& context);
  Status make_output(const Stage& stage, Frame& frame, int output, std::span<const int64_t> dims);
  Status give_outputs(const Stage& stage, Frame& frame);
  Status grow_arena(size_t bytes);

  BufferPool buffers_;  // before the frames, whose values refer to it
  AlignedBuffer arena_;
  std::deque<Frame> frames_;
  ir::Dims dims_;  // for the sink
  OutputSink* sink_ = nullptr;
  std::span<const TensorInfo> infos_;
  ThreadPool* pool_ = nullptr;
  StepTimer* timer_ = nullptr;
};

}  // namespace blade::engine
