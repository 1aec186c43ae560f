// Decides tiles by measuring on the device.
#include "optimizer/gpu_search.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "base/cache_folder.h"
#include "base/median.h"
#include "engine/device_run_context.h"
#include "optimizer/runners.h"
#include "optimizer/scratch_outputs.h"

namespace blade::optimizer {
namespace {

using Clock = std::chrono::steady_clock;

// The stretch of steps around `step`, at most `most` to either side, that run on the device.
std::pair<size_t, size_t> device_stretch(const engine::Plan& plan, size_t step, size_t most) {
  size_t first = step, last = step + 1;
  while (first > 0 && step - first < most && !plan.steps[first - 1].on_host) --first;
  while (last < plan.steps.size() && last - step - 1 < most && !plan.steps[last].on_host) ++last;
  return {first, last};
}

// Device microseconds of the steps of one plan.
class PlanTimer {
 public:
  static Result<PlanTimer> create(std::shared_ptr<const engine::Plan> plan, const Feed& feed) {
    PlanTimer timer;
    timer.context_ = std::make_unique<engine::DeviceRunContext>(plan);
    BLADE_RETURN_IF_ERROR(timer.context_->prepare());
    for (size_t i = 0; i < feed.size(); ++i) timer.context_->set_input(static_cast<int>(i), feed[i].tensor->data);
    for (size_t i = 0; i < plan->outputs.size(); ++i) {
      timer.outputs_.push_back(AlignedBuffer::allocate(plan->outputs[i].bytes() + 1));  // of found ones nothing
      timer.context_->set_output(static_cast<int>(i), timer.outputs_.back().data());
    }
    timer.arena_ = AlignedBuffer::allocate(plan->host_arena_bytes);
    timer.pool_ = ThreadPool::shared(1);
    ScratchOutputs found;
    BLADE_RETURN_IF_ERROR(timer.context_->run(timer.arena_.data(), *timer.pool_, nullptr, &found));
    return timer;
  }

  // Of all that runs on the device.
  Result<double> median_us(int repetitions) {
    double sum = 0;
    for (size_t s = 0; s < plan().steps.size();) {
      const size_t last = plan().steps[s].on_host ? s + 1 : device_stretch(plan(), s, plan().steps.size()).second;
      if (!plan().steps[s].on_host) {
        BLADE_ASSIGN_OR_RETURN(const double us, steps_us(s, last, 1, repetitions));
        sum += us;
      }
      s = last;
    }
    return sum;
  }

  // One pass over steps [first, last), repeated by themselves.
  Result<double> steps_us(size_t first, size_t last, int copies, int repetitions) {
    std::vector<double> times;
    BLADE_RETURN_IF_ERROR(context_->time_steps(first, last, copies, repetitions, &times));
    return median(std::move(times)) / copies;
  }

  const engine::Plan& plan() const { return context_->plan(); }

 private:
  std::unique_ptr<engine::DeviceRunContext> context_;
  std::vector<AlignedBuffer> outputs_;
  AlignedBuffer arena_;
  std::shared_ptr<ThreadPool> pool_;
};

// One piece of work that occurs in a plan, once or more.
struct Work {
  std::string signature, kernel;
  size_t step = 0;  // where it comes first
  int occurrences = 0;
  std::vector<std::string> alternatives;
  std::vector<double> us;  // of each alternative, repeated alone, then among neighbours; infinite if not measured
};

// A row for a piece of work, by its number.
struct Trial {
  size_t work = 0;
  std::string name;
};

// Which of the rows that take a piece of work are tried, and in which order.
struct RowOrder {
  std::set<std::string> refused, early, compiling;

  RowOrder(const backends::Device& device, bool compile) {
    for (const backends::KernelEntry& row : device.kernels()) {
      if (row.has(backends::kCompiles)) (compile ? compiling : refused).insert(row.name);
      if (row.has(backends::kTriedEarly)) early.insert(row.name);
    }
  }
  // The most likely one stays the first.
  std::vector<std::string> of(std::span<const std::string> likely) const {
    std::vector<std::string> names;
    for (const std::string& name : likely) {
      if (refused.contains(name)) continue;
      names.insert(early.contains(name) && !names.empty() ? names.begin() + 1 : names.end(), name);
    }
    return names;
  }
};

constexpr double kNever = std::numeric_limits<double>::infinity();

// First every alternative alone, all works in the same few plans; then the best of each between its neighbours, which
// overlap it and whose shared memory it takes or leaves; then the best of these in the whole run.
class KernelTuner {
 public:
  KernelTuner(engine::Decisions& decisions, engine::Engine& engine, RowOrder order)
      : decisions_(decisions), engine_(engine), order_(std::move(order)) {}

  Status run(const Feed& feed, Clock::time_point deadline) {
    feed_ = &feed;
    dims_ = shapes_of(feed);
    deadline_ = deadline;
    const engine::Decisions at_first = decisions_;
    const int changes_before = changes_;
    BLADE_ASSIGN_OR_RETURN(PlanTimer first, timer_with(decisions_));
    std::vector<Work> works = collect(first.plan());
    BLADE_RETURN_IF_ERROR(measure_alone(works));
    double all_us = 0;
    for (const Work& work : works) all_us += share_us(work);
    for (Work& work : works) {
      const bool is_heavy = share_us(work) > kHeavyShare * all_us;
      BLADE_RETURN_IF_ERROR(tune(work, kNeighbours));
      // What is fast alone need not be among others, nor where weights come from memory because all do not fit into L2.
      keep_best(work, is_heavy ? kMostHeavyInWhole : kMostInWhole);
    }
    for (int round = 0; round < kRoundsInWhole; ++round) {
      for (Work& work : works) {
        BLADE_RETURN_IF_ERROR(tune(work, first.plan().steps.size()));
        keep_best(work, kMostInWhole);
      }
    }
    now_.reset();
    BLADE_ASSIGN_OR_RETURN(PlanTimer last, timer_with(decisions_));
    std::vector<double> before, after;
    for (int i = 0; i < 5; ++i) {
      BLADE_ASSIGN_OR_RETURN(const double one, first.median_us(kCareful));
      BLADE_ASSIGN_OR_RETURN(const double other, last.median_us(kCareful));
      before.push_back(one);
      after.push_back(other);
    }
    if (before_us_ == 0) before_us_ = median(before);
    const bool is_slower = median(after) > median(before);
    if (is_slower) {
      decisions_ = at_first;
      changes_ = changes_before;
      after = before;
    }
    store(works, is_slower ? first.plan() : last.plan());
    if (after_us_ == 0) after_us_ = median(after);
    return {};
  }

  int changes() const { return changes_; }
  double before_us() const { return before_us_; }
  double after_us() const { return after_us_; }

 private:
  static constexpr int kQuick = 9, kCareful = 30, kRoundsInWhole = 2;
  static constexpr size_t kMostAlternatives = 40, kMostInContext = 10, kMostInWhole = 3, kNeighbours = 2;
  static constexpr size_t kMostHeavyInWhole = 6;
  static constexpr double kHeavyShare = 0.05;  // of all works
  static constexpr double kFaster = 0.995, kFasterInWhole = 0.998;

  // Of the whole run, as far as measured.
  static double share_us(const Work& work) { return work.us[0] == kNever ? 0 : work.us[0] * work.occurrences; }

  bool late() const { return Clock::now() > deadline_; }

  Result<PlanTimer> timer_with(const engine::Decisions& decisions) {
    BLADE_ASSIGN_OR_RETURN(auto plan, engine_.trial_plan(dims_, decisions));
    return PlanTimer::create(std::move(plan), *feed_);
  }

  // As many copies as make a recording long against the start of one.
  static int copies_for(double us) { return std::clamp(static_cast<int>(150.0 / std::max(us, 1.0)), 1, 12); }

  std::vector<Work> collect(const engine::Plan& plan) const {
    std::vector<Work> works;
    for (size_t s = 0; s < plan.steps.size(); ++s) {
      const engine::Step& step = plan.steps[s];
      if (step.alternatives.size() < 2) continue;
      auto work =
          std::find_if(works.begin(), works.end(), [&](const Work& w) { return w.signature == step.signature; });
      if (work == works.end()) {
        work = works.insert(works.end(), Work{step.signature, step.kernel_name, s, 0, {}, {}});
        work->alternatives = order_.of(step.alternatives);
        work->alternatives.resize(std::min(work->alternatives.size(), kMostAlternatives));
        work->us.assign(work->alternatives.size(), kNever);
      }
      ++work->occurrences;
    }
    return works;
  }

  // What each work that was measured uses, static choices too: else the override of another size would decide there.
  void store(const std::vector<Work>& works, const engine::Plan& plan) {
    for (const Work& work : works) {
      if (work.us[0] != kNever) decisions_.kernels[work.signature] = plan.steps[work.step].kernel_name;
    }
  }

  // Whether the plan computes the work so: a row may find out only when it is made that it cannot.
  static bool stands(const engine::Plan& plan, const Work& work, const std::string& name) {
    const engine::Step& step = plan.steps[work.step];
    return !step.on_host && step.signature == work.signature && step.kernel_name == name;
  }

  // The next alternative of each work, but of each row that compiles no more than end in time.
  std::vector<Trial> next_trials(const std::vector<Work>& works, const std::vector<size_t>& tried,
                                 const std::map<std::string, int>& most) const {
    std::vector<Trial> trials;
    std::map<std::string, int> compiled;
    for (size_t w = 0; w < works.size(); ++w) {
      if (tried[w] == works[w].alternatives.size()) continue;
      const std::string& name = works[w].alternatives[tried[w]];
      const auto limit = most.find(name);
      if (limit != most.end() && compiled[name]++ >= limit->second) continue;
      trials.push_back({w, name});
    }
    return trials;
  }

  // As many of a row that compiles in a plan as take half a second, by the last plan with some.
  static void limit_compiled(const std::vector<Trial>& trials, Clock::duration took, std::map<std::string, int>& most) {
    constexpr double kSeconds = 0.5, kMost = 16;
    for (auto& [name, limit] : most) {
      const auto count = std::ranges::count(trials, name, &Trial::name);
      if (count == 0) continue;
      const double each = std::chrono::duration<double>(took).count() / static_cast<double>(count);
      limit = static_cast<int>(std::clamp(kSeconds / std::max(each, 1e-3), 1.0, kMost));
    }
  }

  // An alternative of all works at once, each timed by itself; the likely ones come first.
  Status measure_alone(std::vector<Work>& works) {
    std::vector<size_t> tried(works.size(), 0);
    std::map<std::string, int> most_compiled;
    for (const std::string& name : order_.compiling) most_compiled[name] = 1;
    while (!late()) {
      const std::vector<Trial> trials = next_trials(works, tried, most_compiled);
      if (trials.empty()) break;
      engine::Decisions decisions = decisions_;
      for (const Trial& trial : trials) decisions.kernels[works[trial.work].signature] = trial.name;
      const Clock::time_point start = Clock::now();
      BLADE_ASSIGN_OR_RETURN(PlanTimer timer, timer_with(decisions));
      limit_compiled(trials, Clock::now() - start, most_compiled);
      for (const Trial& trial : trials) {
        BLADE_RETURN_IF_ERROR(measure_step(timer, works[trial.work], tried[trial.work]++));
      }
    }
    for (Work& work : works) keep_best(work, kMostInContext);
    // What takes most of the run first.
    std::sort(works.begin(), works.end(),
              [](const Work& a, const Work& b) { return a.us[0] * a.occurrences > b.us[0] * b.occurrences; });
    return {};
  }

  Status measure_step(PlanTimer& timer, Work& work, size_t k) {
    if (!stands(timer.plan(), work, work.alternatives[k])) return {};
    BLADE_ASSIGN_OR_RETURN(const double once, timer.steps_us(work.step, work.step + 1, 1, 3));
    BLADE_ASSIGN_OR_RETURN(work.us[k],
                           timer.steps_us(work.step, work.step + 1, copies_for(once), once < 200 ? kQuick : 3));
    return {};
  }

  static void keep_best(Work& work, size_t most) {
    std::vector<size_t> order(work.alternatives.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return work.us[a] < work.us[b]; });
    Work kept = work;
    kept.alternatives.clear();
    kept.us.clear();
    for (size_t i : order) {
      const bool far_off = !kept.us.empty() && work.us[i] > 1.3 * kept.us[0];
      if (kept.us.size() == most || work.us[i] == kNever || (far_off && kept.us.size() > 1)) break;
      kept.alternatives.push_back(work.alternatives[i]);
      kept.us.push_back(work.us[i]);
    }
    if (kept.us.empty()) kept.us.push_back(kNever);
    work = std::move(kept);
  }

  // Against the choice so far, by turns, each with as many steps before and behind it.
  Status tune(Work& work, size_t neighbours) {
    const bool in_whole = neighbours > kNeighbours;
    std::vector<double> us(work.us.size(), kNever);
    bool measured = false;
    for (size_t k = 0; k < work.alternatives.size(); ++k) {
      const std::string& name = work.alternatives[k];
      if (name == work.kernel || late()) continue;
      engine::Decisions trial = decisions_;
      trial.kernels[work.signature] = name;
      if (!now_) {
        BLADE_ASSIGN_OR_RETURN(now_, timer_with(decisions_));
      }
      BLADE_ASSIGN_OR_RETURN(PlanTimer then, timer_with(trial));
      if (!stands(then.plan(), work, name)) continue;
      const auto [first, last] = device_stretch(now_->plan(), work.step, neighbours);
      BLADE_ASSIGN_OR_RETURN(const double once, now_->steps_us(first, last, 1, 3));
      std::vector<double> before, after;
      for (int i = 0; i < (in_whole ? 5 : 3); ++i) {
        BLADE_ASSIGN_OR_RETURN(const double one, now_->steps_us(first, last, copies_for(once), kQuick));
        BLADE_ASSIGN_OR_RETURN(const double other, then.steps_us(first, last, copies_for(once), kQuick));
        before.push_back(one);
        after.push_back(other);
      }
      measured = true;
      us[k] = median(after);
      for (size_t i = 0; i < us.size(); ++i) {
        if (work.alternatives[i] == work.kernel) us[i] = median(before);
      }
      if (us[k] >= median(before) * (in_whole ? kFasterInWhole : kFaster)) continue;
      decisions_ = std::move(trial);
      now_ = std::move(then);
      work.kernel = name;
      ++changes_;
    }
    if (measured && !late()) work.us = std::move(us);
    return {};
  }

  engine::Decisions& decisions_;
  engine::Engine& engine_;
  RowOrder order_;
  const Feed* feed_ = nullptr;
  std::vector<ir::Dims> dims_;
  Clock::time_point deadline_;
  std::optional<PlanTimer> now_;  // of the choices so far
  int changes_ = 0;
  double before_us_ = 0, after_us_ = 0;
};

// What is compiled meanwhile is kept where the options say; engines loaded later use the user's folder, as before.
class TuningFolder {
 public:
  TuningFolder(backends::Device& device, const std::string& dir) : device_(device) {
    device_.keep_compiled_in(cache_folder(dir).string());
  }
  ~TuningFolder() { device_.keep_compiled_in(user_cache_folder().string()); }
  TuningFolder(const TuningFolder&) = delete;
  TuningFolder& operator=(const TuningFolder&) = delete;

 private:
  backends::Device& device_;
};

}  // namespace

Status tune_on_gpu(const SearchInput& input, engine::Decisions& decisions, OptimizationStep& step) {
  const TuningFolder folder(*input.device, input.options.cache_dir);
  BLADE_ASSIGN_OR_RETURN(auto engine, region_engine(input, decisions));
  KernelTuner tuner(decisions, *engine, RowOrder(*input.device, input.options.compile_chains));
  const Clock::time_point end = input.time_for(1);
  int percent = 60;
  for (size_t i = 0; i < input.feeds.size(); ++i) {
    if (input.progress(percent = std::min(percent + 2, 74), "tune_kernels")) break;
    const auto left = std::max(end - Clock::now(), Clock::duration::zero());  // shared by the feeds that remain
    BLADE_RETURN_IF_ERROR(
        tuner.run(input.feeds[i], Clock::now() + left / static_cast<int64_t>(input.feeds.size() - i)));
  }
  step.pre_run_ms = tuner.before_us() / 1e3;
  step.post_run_ms = tuner.after_us() / 1e3;
  step.changes = tuner.changes();
  if (const Status compiler = input.device->can_compile(); input.options.compile_chains && !compiler.ok()) {
    step.message = "elementwise chains are interpreted: " + compiler.message();
  }
  step.status = tuner.changes() > 0 ? StepStatus::kEffective : StepStatus::kPassed;
  return {};
}

}  // namespace blade::optimizer
