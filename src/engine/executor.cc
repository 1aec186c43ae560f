// The loop over stages: memory for what a plan makes, the plan, then the stage for the sizes that came out.
#include "engine/executor.h"

#include <algorithm>
#include <cstring>

#include "base/checked_math.h"
#include "base/median.h"

namespace blade::engine {

Status no_memory_for_run(size_t bytes) {
  return resource_exhausted("There is no memory for the intermediate tensors of this run (" + std::to_string(bytes) +
                            " bytes): free memory or use smaller inputs.");
}

Result<void*> output_memory(OutputSink& sink, int index, const TensorInfo& info, ir::DType dtype,
                            const ir::Dims& dims) {
  void* data = sink.allocate(index, dtype, dims);
  const size_t bytes = static_cast<size_t>(checked_element_count(dims).value_or(0)) * ir::dtype_size(dtype);
  if (data == nullptr && bytes != 0) {
    return resource_exhausted("There is no memory for output '" + info.name + "' (" + std::to_string(bytes) +
                              " bytes): free memory or use smaller inputs.");
  }
  if (reinterpret_cast<uintptr_t>(data) % std::max<size_t>(1, ir::dtype_size(dtype)) != 0) {
    return invalid_argument("The memory for output '" + info.name +
                            "' is not aligned to its elements: give aligned memory.");
  }
  return data;
}

StepTimer::Row& StepTimer::row_of(const std::shared_ptr<const Plan>& plan) {
  for (Row& row : rows_) {
    if (row.plan == plan) return row;
  }
  Row& row = rows_.emplace_back();
  row.plan = plan;
  row.last.resize(plan->num_times());
  row.sum.resize(plan->num_times());
  row.runs.resize(plan->num_times());
  return row;
}

double* StepTimer::steps_of(const std::shared_ptr<const Plan>& plan) { return row_of(plan).last.data(); }

void StepTimer::add(const std::shared_ptr<const Plan>& plan) {
  Row& row = row_of(plan);
  for (size_t s = 0; s < row.sum.size(); ++s) row.sum[s] += row.last[s];
}

void StepTimer::end_run() {
  for (Row& row : rows_) {
    for (size_t s = 0; s < row.sum.size(); ++s) row.runs[s].push_back(std::exchange(row.sum[s], 0));
  }
}

StepTime step_time(const Step& step, double us) {
  return {step.node_name,  ir::op_name(step.op), step.kernel_name,
          step.choice,     step.tuned,           us,
          step.cost.flops, step.cost.bytes,      {}};
}

std::vector<StepTime> StepTimer::medians() const {
  std::vector<StepTime> times;
  for (const Row& row : rows_) {
    const auto us = [&](size_t s) { return row.runs[s].empty() ? 0 : median(row.runs[s]); };
    size_t inner = row.plan->steps.size();
    for (size_t s = 0; s < row.plan->steps.size(); ++s) {
      const Step& step = row.plan->steps[s];
      StepTime& time = times.emplace_back(step_time(step, us(s)));
      for (const InnerStep& of : step.inner) {
        time.inner.push_back({of.node_name,
                              ir::op_name(of.op),
                              of.kernel_name,
                              of.kernel_name,
                              std::nullopt,
                              us(inner++),
                              of.cost.flops,
                              of.cost.bytes,
                              {}});
      }
    }
  }
  return times;
}

// Gives memory to outputs whose size a step has found.
class Executor::Found final : public FoundOutputs {
 public:
  Found(Executor& executor, const Stage& stage, Frame& frame) : executor_(executor), stage_(stage), frame_(frame) {}
  void* allocate(int output, std::span<const int64_t> dims) override {
    status = executor_.make_output(stage_, frame_, output, dims);
    if (!status.ok()) return nullptr;
    return const_cast<void*>(frame_.slots[stage_.plan_output_slot(output)].data);
  }
  Status status;  // why there was no memory

 private:
  Executor& executor_;
  const Stage& stage_;
  Frame& frame_;
};

Status Executor::run(std::shared_ptr<const Stage> stage, std::span<const TensorRef> inputs,
                     std::span<const TensorInfo> infos, OutputSink& outputs, ThreadPool& pool, StepTimer* timer) {
  sink_ = &outputs;
  infos_ = infos;
  pool_ = &pool;
  timer_ = timer;
  Frame& frame = frame_at(0);
  frame.is_model = true;
  frame.inputs.resize(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    RunValue& value = frame.inputs[i];
    value.dtype = inputs[i].dtype;
    if (!value.dims.assign(inputs[i].dims))
      return unimplemented("Input '" + std::to_string(i) + "' has too many dims.");
    value.data = inputs[i].data;
  }
  const Status status = run_stages(std::move(stage), 0);
  for (Frame& used : frames_) {
    for (auto* values : {&used.slots, &used.inputs, &used.results, &used.state, &used.prepared}) values->clear();
  }
  return status;
}

// References stay valid when deeper frames are added.
Executor::Frame& Executor::frame_at(size_t depth) {
  while (frames_.size() <= depth) frames_.emplace_back();
  return frames_[depth];
}

// Runs a program on the inputs of the frame at `depth`; its results are there afterwards.
Status Executor::run_program(Program& program, size_t depth) {
  BLADE_ASSIGN_OR_RETURN(std::shared_ptr<const Stage> stage, program.stage_for(frame_at(depth).inputs));
  return run_stages(std::move(stage), depth);
}

Status Executor::run_stages(std::shared_ptr<const Stage> stage, size_t depth) {
  Frame& frame = frame_at(depth);
  frame.targets.resize(stage->outputs.size());
  for (size_t i = 0; i < frame.targets.size(); ++i) frame.targets[i] = static_cast<int>(i);
  if (!frame.is_model) frame.results.resize(stage->outputs.size());
  for (;;) {
    BLADE_RETURN_IF_ERROR(run_plan(*stage, frame));
    for (const ControlStep& step : stage->controls) BLADE_RETURN_IF_ERROR(run_control(step, depth));
    BLADE_RETURN_IF_ERROR(give_outputs(*stage, frame));
    if (stage->rest == nullptr) {
      frame.slots.clear();
      return {};
    }
    frame.inputs.resize(stage->rest_inputs.size());
    for (size_t i = 0; i < frame.inputs.size(); ++i) frame.inputs[i] = std::move(frame.slots[stage->rest_inputs[i]]);
    frame.slots.clear();
    // Numbers of outputs ascend, so none is overwritten before it is read.
    for (size_t i = 0; i < stage->rest_outputs.size(); ++i) frame.targets[i] = frame.targets[stage->rest_outputs[i]];
    frame.targets.resize(stage->rest_outputs.size());
    BLADE_ASSIGN_OR_RETURN(std::shared_ptr<const Stage> next, stage->rest->stage_for(frame.inputs));
    stage = std::move(next);
  }
}

Status Executor::run_control(const ControlStep& step, size_t depth) {
  const Status status = step.op == ir::Op::kIf ? run_branch(step, depth) : run_loop(step, depth);
  return status.ok() ? status : status.with_context("Inside '" + step.node_name + "'");
}

Status Executor::run_branch(const ControlStep& step, size_t depth) {
  Frame &frame = frame_at(depth), &inner = frame_at(depth + 1);
  const RunValue& condition = frame.slots[step.inputs[0]];
  Program& branch = *step.programs[ir::chosen_branch(condition.dtype, condition.data, step.programs.size())];
  inner.inputs.resize(step.inputs.size() - 1);
  for (size_t i = 0; i < inner.inputs.size(); ++i) {
    RunValue& given = frame.slots[step.inputs[i + 1]];
    inner.inputs[i] = step.dies[i + 1] ? std::move(given) : given;
  }
  BLADE_RETURN_IF_ERROR(run_program(branch, depth + 1));
  for (size_t i = 0; i < step.outputs.size(); ++i) frame.slots[step.outputs[i]] = std::move(inner.results[i]);
  return {};
}

Status Executor::run_loop(const ControlStep& step, size_t depth) {
  Frame &frame = frame_at(depth), &inner = frame_at(depth + 1);
  const size_t variables = step.outputs.size(), operands = step.inputs.size();
  frame.state.resize(variables);
  for (size_t i = 0; i < variables; ++i) {
    RunValue& given = frame.slots[step.inputs[i]];
    frame.state[i] = step.dies[i] ? std::move(given) : given;
  }
  for (int64_t iteration = 0;; ++iteration) {
    inner.inputs.resize(operands);
    for (size_t i = 0; i < operands; ++i)
      inner.inputs[i] = i < variables ? frame.state[i] : frame.slots[step.inputs[i]];
    BLADE_RETURN_IF_ERROR(run_program(*step.programs[0], depth + 1));
    if (*static_cast<const uint8_t*>(inner.results[0].data) == 0) break;
    if (iteration == 0) BLADE_RETURN_IF_ERROR(run_preamble(step, depth));
    inner.inputs.resize(operands);
    for (size_t i = 0; i < operands; ++i) {
      inner.inputs[i] = i < variables ? std::move(frame.state[i]) : frame.slots[step.inputs[i]];
    }
    inner.inputs.insert(inner.inputs.end(), frame.prepared.begin(), frame.prepared.end());
    const Status status = run_program(*step.programs[1], depth + 1);
    if (!status.ok()) return status.with_context("Iteration " + std::to_string(iteration));
    for (size_t i = 0; i < variables; ++i) frame.state[i] = std::move(inner.results[i]);
  }
  frame.prepared.clear();
  for (size_t i = 0; i < variables; ++i) frame.slots[step.outputs[i]] = std::move(frame.state[i]);
  return {};
}

// What the iterations share, into `prepared`.
Status Executor::run_preamble(const ControlStep& step, size_t depth) {
  Frame &frame = frame_at(depth), &inner = frame_at(depth + 1);
  frame.prepared.clear();
  if (step.programs.size() < 3) return {};
  inner.inputs.resize(step.inputs.size());
  for (size_t i = 0; i < inner.inputs.size(); ++i) {
    inner.inputs[i] = i < frame.state.size() ? frame.state[i] : frame.slots[step.inputs[i]];
  }
  BLADE_RETURN_IF_ERROR(run_program(*step.programs[2], depth + 1).with_context("Before the first iteration"));
  std::swap(frame.prepared, inner.results);
  return {};
}

Status Executor::run_plan(const Stage& stage, Frame& frame) {
  const Plan& plan = *stage.plan;
  frame.slots.clear();
  frame.slots.resize(stage.num_slots());
  for (size_t i = 0; i < frame.inputs.size(); ++i) frame.slots[i] = std::move(frame.inputs[i]);
  for (size_t i = 0; i < stage.constants.size(); ++i) {
    RunValue& value = frame.slots[stage.constant_slot(static_cast<int>(i))];
    value.dtype = stage.constants[i]->dtype;
    if (!value.dims.assign(stage.constants[i]->dims)) return unimplemented("A constant has too many dims.");
    value.data = stage.constants[i]->data;
    value.owner = stage.constants[i];
  }
  if (plan.steps.empty() && plan.outputs.empty()) return {};
  BLADE_RETURN_IF_ERROR(grow_arena(plan.host_arena_bytes));
  std::unique_ptr<RunContext> context = stage.take_context();
  if (context == nullptr) {
    BLADE_ASSIGN_OR_RETURN(context, make_run_context(stage.plan));
  }
  Status status = set_outputs(stage, frame, *context);
  if (status.ok()) {
    Found found(*this, stage, frame);
    double* times = timer_ != nullptr ? timer_->steps_of(stage.plan) : nullptr;
    status = context->run(arena_.data(), *pool_, times, &found);
    if (!found.status.ok()) status = found.status;
    if (timer_ != nullptr && status.ok()) timer_->add(stage.plan);
  }
  stage.give_back(std::move(context));
  return status;
}

// Pointers for the plan's inputs and for the outputs whose size is known.
Status Executor::set_outputs(const Stage& stage, Frame& frame, RunContext& context) {
  const Plan& plan = *stage.plan;
  for (size_t i = 0; i < plan.inputs.size(); ++i) context.set_input(static_cast<int>(i), frame.slots[i].data);
  for (const auto& [input, output] : stage.reuses) {
    RunValue& given = frame.slots[input];
    if (!given.buffer.is_only_owner() || (frame.is_model && stage.direct[output] >= 0)) continue;
    RunValue& taken = frame.slots[stage.plan_output_slot(output)];
    taken = std::move(given);
    taken.dtype = plan.outputs[output].dtype;
    if (!taken.dims.assign(plan.outputs[output].dims)) return unimplemented("A result has too many dims.");
  }
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    const int output = static_cast<int>(i);
    if (!plan.outputs[i].is_static()) continue;
    RunValue& value = frame.slots[stage.plan_output_slot(output)];
    if (value.data == nullptr) BLADE_RETURN_IF_ERROR(make_output(stage, frame, output, plan.outputs[i].dims));
    context.set_output(output, const_cast<void*>(value.data));
  }
  return {};
}

// Memory for one output of the plan: the caller's where it is an output of the model, else a buffer.
Status Executor::make_output(const Stage& stage, Frame& frame, int output, std::span<const int64_t> dims) {
  RunValue& value = frame.slots[stage.plan_output_slot(output)];
  value.dtype = stage.plan->outputs[output].dtype;
  if (!value.dims.assign(dims)) return unimplemented("A result has too many dims.");
  const int direct = stage.direct[output];
  if (direct >= 0 && frame.is_model) {
    const int target = frame.targets[direct];
    dims_.assign(dims.begin(), dims.end());
    BLADE_ASSIGN_OR_RETURN(void* const data, output_memory(*sink_, target, infos_[target], value.dtype, dims_));
    value.data = data;
    return {};
  }
  const size_t bytes = value.bytes();
  value.buffer = buffers_.take(bytes);
  if (!value.buffer) return no_memory_for_run(bytes);
  value.data = value.buffer.data();
  return {};
}

// Outputs of the model that the plan has not written to the caller's memory itself: inputs and constants passed
// through, and second names of one tensor.
Status Executor::give_outputs(const Stage& stage, Frame& frame) {
  for (size_t i = 0; i < stage.outputs.size(); ++i) {
    const int slot = stage.outputs[i];
    if (slot < 0) continue;
    if (!frame.is_model) {
      const bool again = std::find(stage.outputs.begin() + static_cast<ptrdiff_t>(i) + 1, stage.outputs.end(), slot) !=
                             stage.outputs.end() ||
                         std::find(stage.rest_inputs.begin(), stage.rest_inputs.end(), slot) != stage.rest_inputs.end();
      frame.results[frame.targets[i]] = again ? frame.slots[slot] : std::move(frame.slots[slot]);
      continue;
    }
    const int made_by_plan = slot - static_cast<int>(stage.plan->inputs.size());
    if (made_by_plan >= 0 && made_by_plan < static_cast<int>(stage.direct.size()) &&
        stage.direct[made_by_plan] == static_cast<int>(i)) {
      continue;
    }
    const RunValue& value = frame.slots[slot];
    const auto dims = value.dims.view();
    dims_.assign(dims.begin(), dims.end());
    const int target = frame.targets[i];
    BLADE_ASSIGN_OR_RETURN(void* const data, output_memory(*sink_, target, infos_[target], value.dtype, dims_));
    if (const size_t bytes = value.bytes(); bytes > 0) std::memcpy(data, value.data, bytes);
  }
  return {};
}

Status Executor::grow_arena(size_t bytes) {
  if (arena_.size() >= bytes) return {};
  arena_ = AlignedBuffer();  // too small: goes before the larger one comes
  arena_ = AlignedBuffer::allocate(bytes);
  return arena_.data() != nullptr ? Status() : no_memory_for_run(bytes);
}

}  // namespace blade::engine
