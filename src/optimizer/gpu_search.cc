// Decides tiles by measuring on the device.
#include "optimizer/gpu_search.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "engine/device_run_context.h"
#include "optimizer/runners.h"

namespace blade::optimizer {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<ir::Dims> dims_of(const Feed& feed) {
  std::vector<ir::Dims> dims;
  for (const NamedTensor& one : feed) dims.push_back(one.tensor->dims);
  return dims;
}

// Device microseconds of whole runs of one plan.
class PlanTimer {
 public:
  static Result<PlanTimer> create(std::shared_ptr<const engine::Plan> plan, const Feed& feed) {
    PlanTimer timer;
    timer.context_ = std::make_unique<engine::DeviceRunContext>(plan);
    BLADE_RETURN_IF_ERROR(timer.context_->prepare());
    for (size_t i = 0; i < feed.size(); ++i) timer.context_->set_input(static_cast<int>(i), feed[i].tensor->data);
    for (size_t i = 0; i < plan->outputs.size(); ++i) {
      timer.outputs_.push_back(AlignedBuffer::allocate(plan->outputs[i].bytes() + 1));
      timer.context_->set_output(static_cast<int>(i), timer.outputs_.back().data());
    }
    timer.arena_ = AlignedBuffer::allocate(plan->host_arena_bytes);
    timer.pool_ = ThreadPool::shared(1);
    BLADE_RETURN_IF_ERROR(timer.context_->run(timer.arena_.data(), *timer.pool_, nullptr, nullptr));
    return timer;
  }

  Result<double> median_us(int repetitions) {
    std::vector<double> times;
    BLADE_RETURN_IF_ERROR(context_->time_replays(repetitions, &times));
    return median(std::move(times));
  }

  Result<std::vector<double>> step_us() {
    std::vector<double> us(context_->plan().steps.size());
    BLADE_RETURN_IF_ERROR(context_->run(arena_.data(), *pool_, us.data(), nullptr));
    return us;
  }

 private:
  std::unique_ptr<engine::DeviceRunContext> context_;
  std::vector<AlignedBuffer> outputs_;
  AlignedBuffer arena_;
  std::shared_ptr<ThreadPool> pool_;
};

// One piece of work that occurs in a plan, once or more.
struct Work {
  std::string signature, kernel;
  std::vector<std::string> alternatives;  // the most promising first
  double us = 0;                          // of all its steps, alone
};

class KernelTuner {
 public:
  KernelTuner(const SearchInput& input, engine::Decisions& decisions, double time_limit_s)
      : input_(input),
        decisions_(decisions),
        deadline_(Clock::now() + std::chrono::microseconds(static_cast<int64_t>(time_limit_s * 1e6))) {}

  Status run(engine::Engine& engine, const Feed& feed) {
    const std::vector<ir::Dims> dims = dims_of(feed);
    BLADE_ASSIGN_OR_RETURN(double best, time(engine, feed, dims, decisions_, kCareful));
    if (before_us_ == 0) before_us_ = best;
    BLADE_ASSIGN_OR_RETURN(std::vector<Work> works, collect(engine, feed, dims));
    for (int round = 0; round < 2; ++round) {
      for (Work& work : works) BLADE_RETURN_IF_ERROR(tune(engine, feed, dims, work, best));
    }
    if (after_us_ == 0) after_us_ = best;
    return {};
  }

  int changes() const { return changes_; }
  double before_us() const { return before_us_; }
  double after_us() const { return after_us_; }

 private:
  static constexpr int kQuick = 15, kCareful = 60;
  static constexpr size_t kMostAlternatives = 16;

  bool late() const { return Clock::now() > deadline_; }

  Result<double> time(engine::Engine& engine, const Feed& feed, std::span<const ir::Dims> dims,
                      const engine::Decisions& decisions, int repetitions) {
    BLADE_ASSIGN_OR_RETURN(auto plan, engine.trial_plan(dims, decisions));
    BLADE_ASSIGN_OR_RETURN(PlanTimer timer, PlanTimer::create(std::move(plan), feed));
    return timer.median_us(repetitions);
  }

  // Distinct work of the plan, the slowest first.
  Result<std::vector<Work>> collect(engine::Engine& engine, const Feed& feed, std::span<const ir::Dims> dims) {
    BLADE_ASSIGN_OR_RETURN(auto plan, engine.trial_plan(dims, decisions_));
    BLADE_ASSIGN_OR_RETURN(PlanTimer timer, PlanTimer::create(plan, feed));
    BLADE_ASSIGN_OR_RETURN(const std::vector<double> us, timer.step_us());
    std::map<std::string, Work> by_signature;
    for (size_t s = 0; s < plan->steps.size(); ++s) {
      const engine::Step& step = plan->steps[s];
      if (step.alternatives.size() < 2) continue;
      Work& work = by_signature[step.signature];
      work.signature = step.signature;
      work.kernel = step.kernel_name;
      work.us += us[s];
      if (work.alternatives.empty()) work.alternatives.assign(step.alternatives.begin(), step.alternatives.end());
      work.alternatives.resize(std::min(work.alternatives.size(), kMostAlternatives));
    }
    std::vector<Work> works;
    for (auto& [signature, work] : by_signature) works.push_back(std::move(work));
    std::sort(works.begin(), works.end(), [](const Work& a, const Work& b) { return a.us > b.us; });
    return works;
  }

  // A candidate must win twice: quickly against the best so far, then carefully against the best measured again.
  Status tune(engine::Engine& engine, const Feed& feed, std::span<const ir::Dims> dims, Work& work, double& best) {
    for (const std::string& name : work.alternatives) {
      if (name == work.kernel || late()) continue;
      engine::Decisions trial = decisions_;
      trial.kernels[work.signature] = name;
      BLADE_ASSIGN_OR_RETURN(const double quick, time(engine, feed, dims, trial, kQuick));
      if (quick >= best * kFaster) continue;
      BLADE_ASSIGN_OR_RETURN(const double before, time(engine, feed, dims, decisions_, kCareful));
      BLADE_ASSIGN_OR_RETURN(const double after, time(engine, feed, dims, trial, kCareful));
      best = before;
      if (after >= before * kFaster) continue;
      best = after;
      decisions_ = std::move(trial);
      work.kernel = name;
      ++changes_;
    }
    return {};
  }

  static constexpr double kFaster = 0.999;
  const SearchInput& input_;
  engine::Decisions& decisions_;
  Clock::time_point deadline_;
  int changes_ = 0;
  double before_us_ = 0, after_us_ = 0;
};

}  // namespace

Status tune_kernels(const SearchInput& input, engine::Decisions& decisions, OptimizationStep& step) {
  BLADE_ASSIGN_OR_RETURN(auto engine, region_engine(input, decisions));
  for (const Feed& feed : input.feeds) {
    BLADE_ASSIGN_OR_RETURN(const auto plan, engine->trial_plan(dims_of(feed), decisions));
    if (plan->host_arena_bytes > 0) {
      step.message = "a step runs on the host: kernels were chosen by prediction";
      return {};
    }
  }
  KernelTuner tuner(input, decisions, input.options.time_limit_s);
  int percent = 60;
  for (const Feed& feed : input.feeds) {
    if (input.progress(percent = std::min(percent + 2, 74), "tune_kernels")) break;
    BLADE_RETURN_IF_ERROR(tuner.run(*engine, feed));
  }
  step.pre_run_ms = tuner.before_us() / 1e3;
  step.post_run_ms = tuner.after_us() / 1e3;
  step.changes = tuner.changes();
  step.status = tuner.changes() > 0 ? StepStatus::kEffective : StepStatus::kPassed;
  return {};
}

}  // namespace blade::optimizer
