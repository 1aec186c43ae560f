// Decides kernels, blockings and fusion by measuring in place.
#include "optimizer/cpu_search.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "base/median.h"
#include "engine/kernel_choice.h"
#include "optimizer/choice_cache.h"
#include "optimizer/host_work.h"
#include "optimizer/in_place_timer.h"
#include "optimizer/varied_answers.h"

namespace blade::optimizer {
namespace {

using Clock = InPlaceTimer::Clock;

constexpr double kShareOfTime = 0.1;       // of config.tuning.time_limit_s
constexpr double kShareOfLateTime = 0.02;  // of it, for what checks call for
constexpr double kNotMeasured = std::numeric_limits<double>::infinity();
constexpr double kLeastUs = 0.15;   // below that the clock decides
constexpr double kInlineUs = 4;     // a step that takes longer gains nothing from one thread, on a machine at rest
constexpr double kHopeless = 1.25;  // times the best after a few rounds: not run again
constexpr double kAgreement = 0.7;  // of the rounds must say that a choice is faster
constexpr int kFirstRounds = 2, kMoreRounds = 6, kCarefulRounds = 12;
constexpr size_t kMostPackedBytes = size_t{1} << 30;  // weights packed once more for each width of panels

// What to try for each work; the first is what it has now.
using Trials = std::vector<std::vector<std::string>>;

bool has_blocking(const std::string& choice) { return choice.find(' ') != std::string::npos; }

class CpuTuner {
 public:
  // `is_busy`: whether the times of now say nothing. `may_lose`: whether it may take rows that round to bfloat16 more
  // often than the static ones.
  CpuTuner(engine::Engine& engine, const engine::Decisions& decisions, ChoiceCache& cache, BusyProbe is_busy,
           bool may_lose)
      : engine_(engine),
        untuned_(decisions),
        pool_(ThreadPool::shared(engine.num_threads())),
        cache_(cache),
        is_busy_(std::move(is_busy)),
        may_lose_(may_lose) {}

  Status run(const Feed& feed, Clock::time_point deadline, const std::function<bool()>& stop) {
    BLADE_RETURN_IF_ERROR(tune(feed, deadline, stop));
    if (busy_) drop_open();
    for (HostWork& work : works_) work.settled = true;
    return {};
  }

  // The decisions with all choices that stood.
  engine::Decisions decisions() const {
    engine::Decisions tuned = chosen();
    for (const HostWork& work : works_) {
      if (work.choice != work.static_choice) tuned.figures[work.signature] = figures(work);
    }
    return tuned;
  }
  void keep_in_cache() {
    for (const HostWork& work : works_) {
      if (!work.decided && work.measured) cache_.put(work.signature, work.alternatives, {work.choice, figures(work)});
    }
  }
  // What is taken back for another reason than its own time is not known to be slower.
  void forget(const std::function<bool(const HostWork&)>& which) {
    for (HostWork& work : works_) {
      if (!which(work)) continue;
      work.measured = false;
      work.revert();
    }
  }

  using IsRow = bool (*)(const std::string& choice);
  bool took(IsRow which) const {
    return std::any_of(works_.begin(), works_.end(), [&](const HostWork& w) { return is_taken(w, which); });
  }
  // Takes back the half of such choices that gains least, at least one, for their runners-up; false where there is
  // none.
  bool forget_half(IsRow which) {
    std::vector<HostWork*> found;
    for (HostWork& work : works_) {
      if (is_taken(work, which)) found.push_back(&work);
    }
    std::sort(found.begin(), found.end(),
              [](const HostWork* a, const HostWork* b) { return a->static_us - a->us < b->static_us - b->us; });
    found.resize((found.size() + 1) / 2);
    for (HostWork* work : found) {
      work->measured = false;
      work->fall_back();
    }
    return !found.empty();
  }

  // After some were taken back: what is left must make the run of the first feed faster, too, and the figures are its.
  Status compare_again(const Feed& feed, Clock::time_point deadline) {
    if (busy_) before_us_ = 0;                         // its figures are those of other choices
    if (before_us_ == 0 || changes() == 0) return {};  // nothing was timed, or nothing is left
    look_at(feed);
    BLADE_ASSIGN_OR_RETURN(const WholeRuns runs, time_whole(untuned_, deadline));
    if (runs.after_us > runs.before_us) forget([](const HostWork&) { return true; });
    keep_figures(runs);
    return {};
  }

  int changes() const {
    return static_cast<int>(
        std::count_if(works_.begin(), works_.end(), [](const HostWork& w) { return w.choice != w.static_choice; }));
  }
  size_t works() const { return works_.size(); }
  size_t from_cache() const {
    return static_cast<size_t>(
        std::count_if(works_.begin(), works_.end(), [](const HostWork& w) { return w.decided; }));
  }
  bool busy() const { return busy_; }  // found so when there was something to measure; nothing was measured since
  double before_us() const { return before_us_; }
  double after_us() const { return changes() > 0 ? after_us_ : before_us_; }

 private:
  static engine::TunedFigures figures(const HostWork& work) { return {work.static_choice, work.static_us, work.us}; }

  static bool is_taken(const HostWork& work, IsRow which) {
    return work.choice != work.static_choice && which(work.choice);
  }

  void look_at(const Feed& feed) {
    feed_ = &feed;
    dims_ = shapes_of(feed);
  }

  Status tune(const Feed& feed, Clock::time_point deadline, const std::function<bool()>& stop) {
    look_at(feed);
    stop_ = stop;
    const Clock::time_point start = Clock::now();
    const auto share = [&](double part) {
      return start + std::chrono::duration_cast<Clock::duration>((deadline - start) * part);
    };
    BLADE_ASSIGN_OR_RETURN(const auto plan, engine_.trial_plan(dims_, untuned_));
    collect(*plan);
    if (std::none_of(works_.begin(), works_.end(), [](const HostWork& w) { return w.is_open(); })) return {};
    if (busy_ || (busy_ = is_busy_(*pool_))) return {};
    BLADE_RETURN_IF_ERROR(try_rows(/*pairs=*/false, share(0.3)));
    BLADE_RETURN_IF_ERROR(try_rows(/*pairs=*/true, share(0.45)));
    BLADE_RETURN_IF_ERROR(try_blockings(share(0.75)));
    BLADE_RETURN_IF_ERROR(confirm(share(0.95)));
    if ((busy_ = is_busy_(*pool_))) return {};
    return compare_whole(deadline);
  }

  // What this feed asked for is left to prediction; what earlier feeds and the cache decided stays.
  void drop_open() {
    for (HostWork& work : works_) {
      if (!work.is_open()) continue;
      work.measured = false;
      work.revert();
    }
  }

  void collect(const engine::Plan& plan) {
    for (const engine::Step& step : plan.steps) {
      std::vector<std::string> rows;
      for (const std::string& one : step.alternatives) {
        if (!has_blocking(one)) rows.push_back(one);
      }
      if (step.alternatives.size() > 1) add(step.signature, step.choice, std::move(rows), step.nodes, false);
    }
    for (const engine::PossiblePair& pair : plan.possible_pairs)
      add(pair.signature, engine::kApart, pair.alternatives, pair.nodes, true);
  }

  void add(const std::string& signature, const std::string& choice, std::vector<std::string> alternatives,
           const std::vector<std::string>& nodes, bool is_possible_pair) {
    auto work = std::find_if(works_.begin(), works_.end(), [&](const HostWork& w) { return w.signature == signature; });
    if (work != works_.end()) {
      if (work->is_open()) work->places.push_back(nodes);
      return;
    }
    if (!may_lose_) {
      std::erase_if(alternatives, [&](const std::string& one) { return one != choice && is_narrow_winograd(one); });
    }
    HostWork made{signature, choice, choice, std::move(alternatives), {nodes}, is_possible_pair};
    if (const auto cached = cache_.find(signature, made.alternatives, choice)) {
      made.choice = cached->choice;
      made.static_us = cached->figures.static_us;
      made.us = cached->figures.us;
      made.decided = true;
    }
    works_.push_back(std::move(made));
  }

  engine::Decisions chosen(bool (*which)(const HostWork&) = [](const HostWork&) { return true; }) const {
    engine::Decisions decisions = untuned_;
    for (const HostWork& work : works_) {
      if (work.choice != work.static_choice && which(work)) decisions.kernels[work.signature] = work.choice;
    }
    return decisions;
  }

  bool late(Clock::time_point deadline) const { return Clock::now() > deadline || stop_(); }

  // Median microseconds of each work under each of its trials, all works at once in as few plans as the longest list
  // needs; kNotMeasured where it was not measured.
  Result<std::vector<std::vector<double>>> measure(const Trials& trials, Clock::time_point deadline) {
    InPlaceTimer timer(*feed_, pool_);
    size_t longest = 0;
    for (const auto& list : trials) longest = std::max(longest, list.size());
    for (size_t k = 0; k < longest && (k < 2 || !late(deadline)); ++k) {
      engine::Decisions decisions = chosen();
      for (size_t w = 0; w < works_.size(); ++w) {
        if (k < trials[w].size()) decisions.kernels[works_[w].signature] = trials[w][k];
      }
      BLADE_ASSIGN_OR_RETURN(auto plan, engine_.trial_plan(dims_, decisions));
      BLADE_RETURN_IF_ERROR(timer.add(std::move(plan)));
    }
    BLADE_RETURN_IF_ERROR(timer.run(kFirstRounds, deadline));
    auto table = medians(timer, trials);
    for (size_t k = 1; k < timer.size(); ++k) {
      if (!is_promising(table, k)) timer.drop(k);
    }
    BLADE_RETURN_IF_ERROR(timer.run(kMoreRounds, deadline));
    return medians(timer, trials);
  }

  static bool is_promising(const std::vector<std::vector<double>>& table, size_t k) {
    return std::any_of(table.begin(), table.end(), [&](const std::vector<double>& row) {
      return k < row.size() && row[k] < kHopeless * *std::min_element(row.begin(), row.end());
    });
  }

  std::vector<std::vector<double>> medians(const InPlaceTimer& timer, const Trials& trials) const {
    std::vector<std::vector<double>> table(trials.size());
    for (size_t w = 0; w < trials.size(); ++w) {
      const std::vector<std::string> nodes = works_[w].nodes();
      for (size_t k = 0; k < trials[w].size(); ++k) {
        const bool there = k < timer.size() && stands(timer.plan(k), works_[w], trials[w][k]);
        table[w].push_back(there ? median(timer.steps_us(k, timer.steps_of(k, nodes))) : kNotMeasured);
      }
    }
    return table;
  }

  // Whether the plan computes the work so: a pair may be broken up by what was chosen for its neighbours.
  static bool stands(const engine::Plan& plan, const HostWork& work, const std::string& choice) {
    for (const auto& nodes : work.places) {
      const auto step = std::find_if(plan.steps.begin(), plan.steps.end(),
                                     [&](const engine::Step& s) { return s.node_name == nodes.back(); });
      if (step == plan.steps.end()) return false;
      const bool together = step->nodes == nodes, is_work = step->signature == work.signature;
      if (choice == engine::kApart ? together : !together || !is_work || step->choice != choice) return false;
    }
    return true;
  }

  Status take_best(const Trials& trials, Clock::time_point deadline) {
    if (late(deadline)) {
      cut_short(trials);
      return {};
    }
    BLADE_ASSIGN_OR_RETURN(const auto table, measure(trials, deadline));
    if (late(deadline)) cut_short(trials);
    for (size_t w = 0; w < works_.size(); ++w) {
      if (trials[w].size() < 2 || table[w][0] == kNotMeasured) continue;
      const size_t best = static_cast<size_t>(std::min_element(table[w].begin(), table[w].end()) - table[w].begin());
      if (table[w][best] < (1 - kGain) * table[w][0]) works_[w].take(trials[w], table[w], best);
    }
    return {};
  }

  void cut_short(const Trials& trials) {
    for (size_t w = 0; w < works_.size(); ++w) {
      if (trials[w].size() > 1) works_[w].measured = false;
    }
  }
  void cut_short() {
    for (HostWork& work : works_) {
      if (work.is_open()) work.measured = false;
    }
  }

  // Every row that takes the work.
  Status try_rows(bool pairs, Clock::time_point deadline) {
    Trials trials(works_.size());
    bool any = false;
    for (size_t w = 0; w < works_.size(); ++w) {
      const HostWork& work = works_[w];
      if (!work.is_open() || work.is_possible_pair != pairs || work.alternatives.size() < 2) continue;
      trials[w].push_back(work.choice);
      for (const std::string& one : work.alternatives) {
        if (one != work.choice) trials[w].push_back(one);
      }
      any = true;
    }
    return any ? take_best(trials, deadline) : Status();
  }

  // Other ways in which the row that was taken can cut the work.
  Status try_blockings(Clock::time_point deadline) {
    if (late(deadline)) {
      cut_short();
      return {};
    }
    BLADE_ASSIGN_OR_RETURN(const auto plan, engine_.trial_plan(dims_, chosen()));
    const bool may_pack = engine_.packed_bytes() < kMostPackedBytes;
    InPlaceTimer timer(*feed_, pool_);
    BLADE_RETURN_IF_ERROR(timer.add(plan));
    BLADE_RETURN_IF_ERROR(timer.run(kFirstRounds, deadline));
    Trials trials(works_.size());
    bool any = false;
    for (size_t w = 0; w < works_.size(); ++w) {
      const HostWork& work = works_[w];
      if (!work.is_open() || work.choice == engine::kApart) continue;
      const double each =
          median(timer.steps_us(0, timer.steps_of(0, work.nodes()))) / static_cast<double>(work.places.size());
      const auto step = std::find_if(plan->steps.begin(), plan->steps.end(),
                                     [&](const engine::Step& s) { return s.signature == work.signature; });
      if (step == plan->steps.end()) continue;
      trials[w].push_back(work.choice);
      for (const std::string& one : step->alternatives) {
        const bool packs = one.find(" vectors=") != std::string::npos;
        const bool is_inline = one.find(" threads=1") != std::string::npos;
        if (!has_blocking(one) || one == work.choice || (packs && !may_pack) || (is_inline && each > kInlineUs))
          continue;
        trials[w].push_back(one);
      }
      any = any || trials[w].size() > 1;
    }
    return any ? take_best(trials, deadline) : Status();
  }

  // Static against tuned, each work with the step behind it, which finds its result in other places; what does not
  // bring enough goes.
  Status confirm(Clock::time_point deadline) {
    InPlaceTimer timer(*feed_, pool_);
    BLADE_ASSIGN_OR_RETURN(auto before,
                           engine_.trial_plan(dims_, chosen([](const HostWork& w) { return !w.is_open(); })));
    BLADE_ASSIGN_OR_RETURN(auto after, engine_.trial_plan(dims_, chosen()));
    BLADE_RETURN_IF_ERROR(timer.add(std::move(before)));
    BLADE_RETURN_IF_ERROR(timer.add(std::move(after)));
    BLADE_RETURN_IF_ERROR(timer.run(kCarefulRounds, deadline));
    if (late(deadline)) cut_short();
    for (HostWork& work : works_) {
      if (!work.is_open()) continue;
      const std::vector<std::string> nodes = work.nodes();
      work.static_us = work.us = median(timer.steps_us(0, timer.steps_of(0, nodes)));
      if (work.choice == work.static_choice) continue;
      work.us = median(timer.steps_us(1, timer.steps_of(1, nodes)));
      if (!stands(timer.plan(1), work, work.choice) || !gains(timer, work)) work.revert();
    }
    return {};
  }

  bool gains(const InPlaceTimer& timer, const HostWork& work) const {
    std::vector<std::string> window = work.nodes();
    const std::vector<size_t> own = timer.steps_of(0, window);
    for (size_t s : own) {
      if (s + 1 < timer.plan(0).steps.size()) window.push_back(timer.plan(0).steps[s + 1].node_name);
    }
    const std::vector<double> before = timer.steps_us(0, timer.steps_of(0, window)),
                              after = timer.steps_us(1, timer.steps_of(1, window));
    const size_t rounds = std::min(before.size(), after.size());
    size_t faster = 0;
    for (size_t r = 0; r < rounds; ++r) faster += after[r] < before[r] ? 1 : 0;
    const double gained = median(before) - median(after);
    const double least = std::max(kLeastUs, kGain * work.static_us);
    return gained >= least && work.static_us - work.us >= least &&
           static_cast<double>(faster) >= kAgreement * static_cast<double>(rounds);
  }

  struct WholeRuns {
    double before_us = 0, after_us = 0;
  };
  Result<WholeRuns> time_whole(const engine::Decisions& without, Clock::time_point deadline) {
    InPlaceTimer timer(*feed_, pool_);
    BLADE_ASSIGN_OR_RETURN(auto before, engine_.trial_plan(dims_, without));
    BLADE_ASSIGN_OR_RETURN(auto after, engine_.trial_plan(dims_, chosen()));
    BLADE_RETURN_IF_ERROR(timer.add(std::move(before)));
    BLADE_RETURN_IF_ERROR(timer.add(std::move(after)));
    BLADE_RETURN_IF_ERROR(timer.run(kCarefulRounds, deadline));
    return WholeRuns{median(timer.total_us(0)), median(timer.total_us(1))};
  }
  void keep_figures(const WholeRuns& runs) {
    before_us_ = runs.before_us;
    after_us_ = std::min(runs.before_us, runs.after_us);
  }

  // All choices of this feed together must make the run faster too.
  Status compare_whole(Clock::time_point deadline) {
    BLADE_ASSIGN_OR_RETURN(const WholeRuns runs,
                           time_whole(chosen([](const HostWork& w) { return w.settled; }), deadline));
    if (runs.after_us > runs.before_us) forget([](const HostWork& w) { return !w.settled; });
    if (before_us_ == 0) keep_figures(runs);  // they are of the first feed
    return {};
  }

  engine::Engine& engine_;
  const engine::Decisions untuned_;
  std::shared_ptr<ThreadPool> pool_;
  ChoiceCache& cache_;
  const BusyProbe is_busy_;
  const bool may_lose_;
  const Feed* feed_ = nullptr;
  std::vector<ir::Dims> dims_;
  std::function<bool()> stop_;
  std::vector<HostWork> works_;
  bool busy_ = false;
  double before_us_ = 0, after_us_ = 0;
};

// Takes choices back until the answers hold: on the test data and, with rows that lose more than the static ones, on
// data like them.
Status keep_what_holds(const SearchInput& input, const engine::Decisions& untuned, CpuTuner& tuner) {
  std::optional<VariedAnswers> varied;
  if (tuner.took(is_narrow_winograd)) {
    BLADE_ASSIGN_OR_RETURN(varied, VariedAnswers::of_bfloat16(input, untuned, input.time_for(kShareOfLateTime)));
  }
  for (;;) {
    const bool loses = tuner.took(is_narrow_winograd);
    BLADE_ASSIGN_OR_RETURN(bool holds, answers_hold(input, tuner.decisions()));
    if (holds && loses) {
      BLADE_ASSIGN_OR_RETURN(auto engine, region_engine(input, tuner.decisions()));
      holds = varied->size() > 0 && varied->hold(input, *make_engine_runner(std::move(engine)));
    }
    if (holds) return {};
    if (tuner.forget_half(loses ? is_narrow_winograd : is_winograd)) continue;
    tuner.forget([](const HostWork&) { return true; });
    return {};
  }
}

std::string message_of(const CpuTuner& tuner) {
  std::string message;
  if (tuner.from_cache() > 0) {
    message = std::to_string(tuner.from_cache()) + " of " + std::to_string(tuner.works()) +
              " pieces of work were known from earlier runs";
  }
  if (!tuner.busy()) return message;
  return message + (message.empty() ? "" : "; ") +
         "other processes take the processors' time: kernels of what was not measured before are chosen by prediction";
}

}  // namespace

Status tune_on_cpu(const SearchInput& input, engine::Decisions& decisions, OptimizationStep& step,
                   const BusyProbe& is_busy) {
  BLADE_ASSIGN_OR_RETURN(auto engine, region_engine(input, decisions));
  ChoiceCache cache(input.options.cache_dir, engine::machine_signature(nullptr, input.options.num_threads));
  // bfloat16 that nobody asked for held with room to spare as the static rows round.
  const bool unasked = decisions.precision == "bf16" && input.options.precision != "bf16";
  CpuTuner tuner(*engine, decisions, cache, is_busy, /*may_lose=*/!unasked);
  const Clock::time_point end = input.time_for(kShareOfTime);
  bool stopped = false;
  const auto stop = [&] { return stopped = stopped || input.progress(72, "tune_kernels"); };
  for (size_t i = 0; i < input.feeds.size() && !stop(); ++i) {
    const auto left = std::max(end - Clock::now(), Clock::duration::zero());  // shared by the feeds that remain
    const Status status =
        tuner.run(input.feeds[i], Clock::now() + left / static_cast<int64_t>(input.feeds.size() - i), stop);
    if (status.code() == StatusCode::kUnimplemented) {
      step.message = "not tried: " + status.message();
      return {};
    }
    BLADE_RETURN_IF_ERROR(status);
  }
  const int found = tuner.changes();
  BLADE_RETURN_IF_ERROR(keep_what_holds(input, decisions, tuner));
  if (tuner.changes() < found) {
    BLADE_RETURN_IF_ERROR(tuner.compare_again(input.feeds[0], input.time_for(kShareOfLateTime)));
  }
  if (!stopped) {
    tuner.keep_in_cache();
    cache.write();
  }
  decisions = tuner.decisions();
  step.changes = tuner.changes();
  step.status = step.changes > 0 ? StepStatus::kEffective : StepStatus::kPassed;
  step.message = message_of(tuner);
  if (tuner.before_us() > 0) {
    step.pre_run_ms = tuner.before_us() / 1e3;
    step.post_run_ms = tuner.after_us() / 1e3;
  }
  return {};
}

}  // namespace blade::optimizer
