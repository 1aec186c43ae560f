// Resolves a plan's locations to pointers once, and per run only those of the caller.
#include "engine/run_context.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "engine/device_run_context.h"

namespace blade::engine {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

}  // namespace

RunContext::RunContext(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)) {
  inputs_.resize(plan_->inputs.size(), nullptr);
  outputs_.resize(plan_->outputs.size(), nullptr);
}

Result<std::unique_ptr<RunContext>> make_run_context(std::shared_ptr<const Plan> plan) {
  if (plan->device != nullptr) return make_device_run_context(std::move(plan));
  return std::unique_ptr<RunContext>(std::make_unique<HostRunContext>(std::move(plan)));
}

HostRunContext::HostRunContext(std::shared_ptr<const Plan> plan) : RunContext(std::move(plan)) {
  for (const Step& step : plan_->steps) {
    operands_.push_back({step_inputs_.size(), step.inputs.size(), step_outputs_.size(), step.outputs.size()});
    for (const Location& at : step.inputs) {
      const size_t slot = step_inputs_.size();
      if (at.kind == Location::Kind::kInput) input_from_input_.push_back({slot, at.index});
      if (at.kind == Location::Kind::kOutput) input_from_output_.push_back({slot, at.index});
      step_inputs_.push_back(at.kind == Location::Kind::kConstant ? plan_->constants[at.index]->data : nullptr);
    }
    for (const Location& at : step.outputs) {
      if (at.kind == Location::Kind::kOutput) output_to_output_.push_back({step_outputs_.size(), at.index});
      step_outputs_.push_back(nullptr);
    }
  }
}

void HostRunContext::bind_arena(std::byte* arena) {
  if (bound_ && arena == arena_) return;
  for (size_t s = 0; s < plan_->steps.size(); ++s) {
    const Step& step = plan_->steps[s];
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (step.inputs[i].kind == Location::Kind::kArena) {
        step_inputs_[operands_[s].first_input + i] = arena + step.inputs[i].offset;
      }
    }
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      if (step.outputs[i].kind == Location::Kind::kArena) {
        step_outputs_[operands_[s].first_output + i] = arena + step.outputs[i].offset;
      }
    }
  }
  arena_ = arena;
  bound_ = true;
}

void HostRunContext::bind_caller() {
  for (const Patch& patch : input_from_input_) step_inputs_[patch.slot] = inputs_[patch.index];
  for (const Patch& patch : input_from_output_) step_inputs_[patch.slot] = outputs_[patch.index];
  for (const Patch& patch : output_to_output_) step_outputs_[patch.slot] = outputs_[patch.index];
}

Status RunContext::copy_outputs() const {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const Location& from = plan_->output_sources[i];
    const size_t bytes = plan_->outputs[i].bytes();
    const bool written = from.kind == Location::Kind::kFound ||
                         (from.kind == Location::Kind::kOutput && from.index == static_cast<int>(i));
    if (bytes == 0 || written) continue;
    const void* source = nullptr;
    switch (from.kind) {
      case Location::Kind::kInput:
        source = inputs_[from.index];
        break;
      case Location::Kind::kOutput:
        source = outputs_[from.index];
        break;
      case Location::Kind::kConstant:
        source = plan_->constants[from.index]->data;
        break;
      default:
        return internal_error("An output of the plan has no source.");
    }
    std::memcpy(outputs_[i], source, bytes);
  }
  return {};
}

Status HostRunContext::run(std::byte* arena, ThreadPool& pool, double* step_us, FoundOutputs* found) {
  bind_arena(arena);
  bind_caller();
  double* inner_us = step_us != nullptr ? step_us + plan_->steps.size() : nullptr;
  for (size_t s = 0; s < plan_->steps.size(); ++s) {
    const Step& step = plan_->steps[s];
    const StepOperands& at = operands_[s];
    backends::KernelArgs args;
    args.inputs = {step_inputs_.data() + at.first_input, at.num_inputs};
    args.outputs = {step_outputs_.data() + at.first_output, at.num_outputs};
    args.scratch = arena + step.scratch_offset;
    args.pool = step.on_one_thread ? &ThreadPool::caller_only() : &pool;
    StepAllocator allocator(step, found);
    args.allocator = &allocator;
    if (step_us != nullptr) {
      args.inner_us = inner_us;
      inner_us = std::fill_n(inner_us, step.inner.size(), 0.0);
    }
    const Clock::time_point start = step_us != nullptr ? Clock::now() : Clock::time_point();
    const Status status = step.kernel->run(args);
    if (!status.ok()) return status.with_context("Node '" + step.node_name + "' (" + step.kernel_name + ")");
    if (step_us != nullptr) step_us[s] = microseconds_since(start);
  }
  return copy_outputs();
}

}  // namespace blade::engine
