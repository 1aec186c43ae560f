// Tries each region pass.
#include "optimizer/search.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "optimizer/accuracy.h"
#include "optimizer/cpu_search.h"
#include "optimizer/gpu_search.h"
#include "optimizer/precision_search.h"
#include "optimizer/runners.h"
#include "passes/pass.h"

namespace blade::optimizer {
namespace {

constexpr double kShareOfPasses = 1.0 / 3;  // of config.tuning.time_limit_s

// The answers to every feed against those expected: of the first that do not hold, or of the last.
AccuracyResult judge_answers(const SearchInput& input, Runner& runner, const std::string& precision) {
  const AccuracyOptions accuracy = accuracy_in(precision, input.options);
  AccuracyResult result;
  for (size_t i = 0; i < input.feeds.size() && result.holds; ++i) {
    const auto& expected = input.expected[i];
    result = check_run(runner, input.feeds[i], answer_names(input, expected.size()), expected, accuracy);
  }
  return result;
}

class Search {
 public:
  Search(const SearchInput& input, engine::Decisions decisions) : input_(input) {
    result_.decisions = std::move(decisions);
  }

  Result<SearchResult> run() {
    BLADE_RETURN_IF_ERROR(count_changes());
    const bool whole = input_.partition.regions.size() == 1 && input_.partition.left_behind.empty();
    // Precision first: passes and tiles are worth something else in half than in full.
    OptimizationStep& precision = step_of(mixed_precision_pass(input_.device));
    if (whole) {
      BLADE_RETURN_IF_ERROR(search_precision(input_, result_.decisions, precision));
    } else {
      precision.message = "not tried: the model is not one region, so its parts cannot be measured alone";
    }
    std::unique_ptr<Runner> kept;
    if (whole) {
      BLADE_ASSIGN_OR_RETURN(kept, engine_with(result_.decisions.disabled_passes));
      answers_ = judge_answers(input_, *kept, result_.decisions.precision);
      if (input_.options.check_speed) BLADE_RETURN_IF_ERROR(measure_each(kept));
      kept = nullptr;  // tuning may need its memory
    }
    if (answers_.run_failed) result_.failed_run = answers_.message();
    if (input_.device == nullptr && !input_.options.check_speed) return std::move(result_);
    BLADE_RETURN_IF_ERROR(tune(whole));
    return std::move(result_);
  }

 private:
  // What each pass would do in the regions, summed.
  Status count_changes() {
    for (const passes::Pass& pass : passes::pipeline()) {
      if (!pass.on_whole_graph) result_.steps.push_back({pass.name, StepStatus::kPassed, {}, {}, "", 0});
    }
    for (const engine::Region& region : input_.partition.regions) {
      BLADE_ASSIGN_OR_RETURN(ir::Graph graph, engine::extract_region(input_.graph, region));
      BLADE_ASSIGN_OR_RETURN(const auto reports, passes::run_pipeline(graph, /*whole_graph=*/false, {}));
      for (const auto& report : reports) step_of(report.pass).changes += report.result.changes;
    }
    for (OptimizationStep& step : result_.steps) {
      if (step.changes > 0) step.status = StepStatus::kEffective;
    }
    return {};
  }

  OptimizationStep& step_of(const std::string& pass) {
    return *std::find_if(result_.steps.begin(), result_.steps.end(),
                         [&](const auto& step) { return step.name == pass; });
  }

  Result<std::unique_ptr<Runner>> engine_with(const std::vector<std::string>& disabled) const {
    engine::Decisions decisions = result_.decisions;
    decisions.disabled_passes = disabled;
    BLADE_ASSIGN_OR_RETURN(auto engine, region_engine(input_, std::move(decisions)));
    return make_engine_runner(std::move(engine));
  }

  // The kept set against the kept set without one pass, for each pass that changed something.
  Status measure_each(std::unique_ptr<Runner>& kept) {
    auto& disabled = result_.decisions.disabled_passes;
    int percent = 40;
    // Engines of large models take seconds to make, whatever is measured then.
    const Clock::time_point end = input_.time_for(kShareOfPasses);
    for (OptimizationStep& step : result_.steps) {
      if (step.status != StepStatus::kEffective || step.name == mixed_precision_pass(input_.device)) continue;
      if (answers_.holds && Clock::now() > end) {  // what breaks the answers is found whatever it takes
        step.message = "kept unmeasured: the others took the time that config.tuning.time_limit_s leaves for passes";
        continue;
      }
      if (input_.progress(percent = std::min(percent + 4, 70), step.name.c_str())) return {};
      std::vector<std::string> without = disabled;
      without.push_back(step.name);
      BLADE_ASSIGN_OR_RETURN(std::unique_ptr<Runner> other, engine_with(without));
      AccuracyResult others = judge_answers(input_, *other, result_.decisions.precision);
      Comparison times;
      if (!answers_.run_failed && !others.run_failed) {
        BLADE_ASSIGN_OR_RETURN(times, time(*other, *kept));
        step.pre_run_ms = times.before_ms;
        step.post_run_ms = times.after_ms;
      }
      const bool breaks = !answers_.holds && others.holds;
      bool faster_without = times.slower && others.holds;
      if (faster_without && !breaks) {  // other processes make one comparison wrong now and then
        BLADE_ASSIGN_OR_RETURN(const Comparison again, time(*other, *kept));
        faster_without = again.slower;
      }
      if (!breaks && !faster_without) continue;
      step.status = StepStatus::kRolledBack;
      step.message = breaks ? "the answers hold only without it" : "the model is faster without it";
      disabled = std::move(without);
      kept = std::move(other);
      answers_ = std::move(others);
    }
    return {};
  }

  Status tune(bool whole) {
    OptimizationStep tuning{"BladeTuneKernels", StepStatus::kPassed, {}, {}, "", 0};
    if (answers_.run_failed) {
      tuning.message = "not tried: a run on the test data fails";
    } else if (whole && input_.device != nullptr) {
      BLADE_RETURN_IF_ERROR(tune_on_gpu(input_, result_.decisions, tuning));
    } else if (whole) {
      BLADE_RETURN_IF_ERROR(tune_on_cpu(input_, result_.decisions, tuning));
    } else {
      tuning.message = "not tried: the model is not one region, so its parts cannot be measured alone";
    }
    result_.steps.push_back(std::move(tuning));
    return {};
  }

  Result<Comparison> time(Runner& before, Runner& after) const {
    BLADE_ASSIGN_OR_RETURN(const Runnable a, before.runnable(input_.feeds[0]));
    BLADE_ASSIGN_OR_RETURN(const Runnable b, after.runnable(input_.feeds[0]));
    TimingOptions timing;
    timing.rounds = 3;
    timing.block_s = 0.05;
    timing.min_runs_in_block = 3;
    timing.time_limit_s =
        std::max(0.2, kShareOfPasses * input_.options.time_limit_s / static_cast<double>(result_.steps.size()));
    return compare(a, b, timing);
  }

  using Clock = std::chrono::steady_clock;
  const SearchInput& input_;
  SearchResult result_;
  AccuracyResult answers_;  // of what is kept, where it can be run alone
};

}  // namespace

namespace {

// Where the region is the whole model: with the model's inputs and outputs in their order, which is that of feeds and
// expected answers.
engine::Region in_model_order(const ir::Graph& graph, engine::Region region) {
  const auto all_in = [](const std::vector<ir::ValueId>& some, const std::vector<ir::ValueId>& all) {
    return std::all_of(some.begin(), some.end(),
                       [&](ir::ValueId v) { return std::find(all.begin(), all.end(), v) != all.end(); });
  };
  if (all_in(region.inputs, graph.inputs())) region.inputs = graph.inputs();
  if (all_in(region.outputs, graph.outputs())) {
    std::vector<ir::ValueId> outputs;
    for (const size_t i : outputs_of_region(graph, region)) outputs.push_back(graph.outputs()[i]);
    region.outputs = std::move(outputs);
  }
  return region;
}

}  // namespace

std::chrono::steady_clock::time_point SearchInput::time_for(double share) const {
  using Clock = std::chrono::steady_clock;
  constexpr double kMost = 1e9;  // decades: what counts in nanoseconds must not overflow
  const std::chrono::duration<double> seconds(std::min(share * options.time_limit_s, kMost));
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(seconds);
}

std::vector<size_t> outputs_of_region(const ir::Graph& graph, const engine::Region& region) {
  std::vector<size_t> given;
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    if (std::find(region.outputs.begin(), region.outputs.end(), graph.outputs()[i]) != region.outputs.end())
      given.push_back(i);
  }
  return given;
}

Result<ir::Graph> region_graph(const SearchInput& input) {
  return engine::extract_region(input.graph, in_model_order(input.graph, input.partition.regions[0]));
}

Result<std::shared_ptr<engine::Engine>> region_engine(const SearchInput& input, engine::Decisions decisions) {
  engine::EngineOptions options;
  options.num_threads = input.options.num_threads;
  options.device = input.device;
  BLADE_ASSIGN_OR_RETURN(ir::Graph graph, region_graph(input));
  return engine::Engine::create(std::move(graph), std::move(decisions), options);
}

Result<bool> answers_hold(const SearchInput& input, const engine::Decisions& decisions) {
  BLADE_ASSIGN_OR_RETURN(auto engine, region_engine(input, decisions));
  return judge_answers(input, *make_engine_runner(std::move(engine)), decisions.precision).holds;
}

std::vector<std::string> answer_names(const SearchInput& input, size_t count) {
  std::vector<std::string> names;
  for (const size_t i : outputs_of_region(input.graph, input.partition.regions[0]))
    names.push_back(input.graph.output_names()[i]);
  names.resize(count);
  return names;
}

Result<SearchResult> search_passes(const SearchInput& input, engine::Decisions decisions) {
  return Search(input, std::move(decisions)).run();
}

}  // namespace blade::optimizer
