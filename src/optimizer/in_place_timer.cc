// Blocks of whole runs, steps timed by the run context.
#include "optimizer/in_place_timer.h"

#include <algorithm>

#include "base/float_mode.h"
#include "base/median.h"
#include "optimizer/scratch_outputs.h"

namespace blade::optimizer {
namespace {

constexpr double kBlockUs = 1500;
constexpr int kFewestRuns = 2, kMostRuns = 12;  // of a block, after one that warms up

double us_since(InPlaceTimer::Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(InPlaceTimer::Clock::now() - start).count();
}

}  // namespace

struct InPlaceTimer::Timed {
  explicit Timed(std::shared_ptr<const engine::Plan> p) : plan(std::move(p)), context(plan) {}
  std::shared_ptr<const engine::Plan> plan;
  engine::HostRunContext context;
  std::vector<AlignedBuffer> outputs;
  ScratchOutputs found;
  bool dropped = false;
  double run_us = 0;
  std::vector<double> step_us;                           // of the last run
  std::vector<std::vector<std::vector<double>>> rounds;  // [round][run][step]
};

InPlaceTimer::InPlaceTimer(const Feed& feed, std::shared_ptr<ThreadPool> pool) : feed_(feed), pool_(std::move(pool)) {}
InPlaceTimer::~InPlaceTimer() = default;

const engine::Plan& InPlaceTimer::plan(size_t k) const { return *timed_[k]->plan; }
void InPlaceTimer::drop(size_t k) { timed_[k]->dropped = true; }

Status InPlaceTimer::add(std::shared_ptr<const engine::Plan> plan) {
  auto timed = std::make_unique<Timed>(std::move(plan));
  timed->step_us.resize(timed->plan->num_times());
  for (size_t i = 0; i < feed_.size(); ++i) timed->context.set_input(static_cast<int>(i), feed_[i].tensor->data);
  for (size_t i = 0; i < timed->plan->outputs.size(); ++i) {
    timed->outputs.push_back(AlignedBuffer::allocate(timed->plan->outputs[i].bytes() + 1));
    timed->context.set_output(static_cast<int>(i), timed->outputs.back().data());
  }
  if (arena_.size() < timed->plan->host_arena_bytes) {
    arena_ = AlignedBuffer();
    arena_ = AlignedBuffer::allocate(timed->plan->host_arena_bytes);
    if (arena_.data() == nullptr) return resource_exhausted("There is no memory to run the model for tuning.");
  }
  const FlushDenormals mode;
  const ThreadPool::RunScope scope(*pool_);
  for (int i = 0; i < 2; ++i) {
    const Clock::time_point start = Clock::now();
    BLADE_RETURN_IF_ERROR(timed->context.run(arena_.data(), *pool_, timed->step_us.data(), &timed->found));
    timed->run_us = us_since(start);
  }
  timed_.push_back(std::move(timed));
  return {};
}

Status InPlaceTimer::run_block(Timed& timed) {
  const FlushDenormals mode;
  const ThreadPool::RunScope scope(*pool_);
  const int runs = std::clamp(static_cast<int>(kBlockUs / std::max(1.0, timed.run_us)), kFewestRuns, kMostRuns);
  auto& round = timed.rounds.emplace_back();
  for (int i = 0; i <= runs; ++i) {
    BLADE_RETURN_IF_ERROR(timed.context.run(arena_.data(), *pool_, timed.step_us.data(), &timed.found));
    if (i > 0) round.push_back(timed.step_us);
  }
  return {};
}

Status InPlaceTimer::run(int rounds, Clock::time_point deadline) {
  for (int r = 0; r < rounds && (r == 0 || Clock::now() < deadline); ++r) {
    for (auto& timed : timed_) {
      if (!timed->dropped) BLADE_RETURN_IF_ERROR(run_block(*timed));
    }
  }
  return {};
}

std::vector<double> InPlaceTimer::steps_us(size_t k, const std::vector<size_t>& steps) const {
  std::vector<double> medians;
  for (const auto& round : timed_[k]->rounds) {
    std::vector<double> sums;
    for (const std::vector<double>& run : round) {
      double sum = 0;
      for (size_t s : steps) sum += run[s];
      sums.push_back(sum);
    }
    medians.push_back(median(std::move(sums)));
  }
  return medians;
}

std::vector<size_t> InPlaceTimer::steps_of(size_t k, const std::vector<std::string>& nodes) const {
  std::vector<size_t> found;
  const auto& steps = plan(k).steps;
  for (size_t s = 0; s < steps.size(); ++s) {
    const auto is_wanted = [&](const std::string& node) {
      return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
    };
    if (std::any_of(steps[s].nodes.begin(), steps[s].nodes.end(), is_wanted)) found.push_back(s);
  }
  return found;
}

std::vector<double> InPlaceTimer::total_us(size_t k) const {
  std::vector<size_t> all(plan(k).steps.size());
  for (size_t s = 0; s < all.size(); ++s) all[s] = s;
  return steps_us(k, all);
}

}  // namespace blade::optimizer
