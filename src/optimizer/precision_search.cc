// Tries the narrow type on the whole model, then without the nodes that break it.
#include "optimizer/precision_search.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>

#include "backends/machine.h"
#include "engine/coverage.h"
#include "ir/half_types.h"
#include "ir/op_classes.h"
#include "optimizer/accuracy.h"
#include "optimizer/input_moments.h"
#include "optimizer/runners.h"
#include "optimizer/varied_answers.h"

namespace blade::optimizer {
namespace {

constexpr int kMaxTrials = 48;  // engines made while looking for nodes to blame
constexpr size_t kVariedFeeds = 32;
constexpr double kShareOfVariedData = 0.02;  // of config.tuning.time_limit_s, to answer data like the test data
constexpr double kRoomToSpare = 0.5;
constexpr double kMuchLess = 0.8;

// How nodes are looked for that stay float32.
struct Sparing {
  double most;           // of the nodes in a narrow type, beyond which the gain is not worth it
  double share_of_time;  // of config.tuning.time_limit_s
  bool on_varied;        // the answers must hold on data like the test data, too
};
constexpr Sparing kForTestData = {0.5, 0.25, false};
constexpr Sparing kForDataLikeThem = {0.125, 0.1, true};

// A node of a matrix product, and its arithmetic on the test data: what it costs in float32.
struct NarrowNode {
  std::string name;
  double flops;
};
double all_flops(const std::vector<NarrowNode>& nodes) {
  double flops = 0;
  for (const NarrowNode& node : nodes) flops += node.flops;
  return flops;
}

// Nodes that stay float32, and the engine whose answers hold so; null: none was found.
struct SparedNodes {
  std::vector<NarrowNode> nodes;
  std::shared_ptr<engine::Engine> engine;
};

// On a GPU a model keeps the type that most of it computes in: what bfloat16 holds may be too large for float16.
std::string narrow_precision(const OptimizeOptions& options, bool on_gpu) {
  if (!on_gpu) return "bf16";
  if (options.gpu_precision != "auto") return options.gpu_precision;
  return options.model_in_bfloat16 ? "bf16" : "fp16";
}

class PrecisionSearch {
 public:
  PrecisionSearch(const SearchInput& input, engine::Decisions& decisions, OptimizationStep& step)
      : input_(input), decisions_(decisions), step_(step), on_gpu_(input.device != nullptr) {}

  Status run() {
    if (const std::string reason = reason_against(); !reason.empty()) {
      step_.message = reason;
      return {};
    }
    engine::Decisions half = decisions_;
    half.precision = narrow_precision(input_.options, on_gpu_);
    half.for_tiles = !on_gpu_ && backends::Machine::host().amx_bf16;
    BLADE_ASSIGN_OR_RETURN(auto engine, region_engine(input_, half));
    if (narrow_nodes(*engine).empty()) {
      if (is_asked()) tell("no product of the model can be in " + half.precision);
      return {};
    }
    AccuracyResult accuracy = check(engine);
    if (accuracy.holds && unasked()) {
      BLADE_ASSIGN_OR_RETURN(accuracy, check_on_varied_data(engine));
    }
    if (!accuracy.holds && unasked()) return roll_back("the answers do not hold in bf16: " + accuracy.message());
    if (!unasked()) {
      BLADE_ASSIGN_OR_RETURN(engine, what_holds(std::move(engine), accuracy, half));
      if (engine == nullptr)
        return roll_back("the answers do not hold in " + half.precision + ": " + accuracy.message());
    }
    varied_ = {};  // what is timed may need its memory
    BLADE_ASSIGN_OR_RETURN(const bool slower, is_slower(std::move(engine)));
    if (slower) return roll_back("the model is faster in float32");
    decisions_ = std::move(half);
    step_.status = StepStatus::kEffective;
    if (on_gpu_) tell("products are in " + decisions_.precision + why_this_type());
    if (!decisions_.keep_float32.empty()) {
      tell(std::to_string(decisions_.keep_float32.size()) +
           " nodes stay float32, without which the answers do not hold: " + names(decisions_.keep_float32));
    }
    if (!decisions_.input_moments.empty())
      tell("weights are rounded by the means and variances of what they multiply on the test data");
    return {};
  }

 private:
  using Clock = std::chrono::steady_clock;

  // Why the narrow type is not tried at all; empty if it is.
  std::string reason_against() const {
    if (on_gpu_) return input_.options.gpu_precision == "fp32" ? "config.gpu_config.precision is 'fp32'" : "";
    if (input_.options.precision == "fp32") return "config.cpu_config.precision is 'fp32'";
    if (!backends::Machine::host().avx512_bf16) return "this processor has no bfloat16 arithmetic";
    if (input_.options.precision == "auto" && !input_.options.check_speed) {
      return "not tried: config.tuning.disable_perf_check leaves open whether it is faster";
    }
    return "";
  }

  // bfloat16 that nobody asked for must keep to the tolerance of float32, which a model does whole or not at all.
  bool unasked() const { return !on_gpu_ && !is_asked(); }

  bool is_asked() const { return (on_gpu_ ? input_.options.gpu_precision : input_.options.precision) != "auto"; }

  std::string why_this_type() const {
    if (is_asked()) return ", which was asked for";
    return input_.options.model_in_bfloat16 ? ", as most of them are in the model itself" : "";
  }

  Status roll_back(const std::string& why) {
    step_.status = StepStatus::kRolledBack;
    tell(why);
    return {};
  }

  void tell(const std::string& sentence) { step_.message += (step_.message.empty() ? "" : "; ") + sentence; }

  bool checks_accuracy() const { return !on_gpu_ || input_.options.check_fp16_accuracy; }
  bool checks_speed() const {
    if (on_gpu_) return input_.options.check_fp16_speed && input_.options.gpu_precision == "auto";
    return input_.options.check_speed && input_.options.precision != "bf16";
  }

  // Nodes of matrix products, attention among them, that compute in the narrow type.
  std::vector<NarrowNode> narrow_nodes(const engine::Engine& engine) const {
    std::vector<NarrowNode> nodes;
    const ir::Graph& graph = engine.graph();
    const std::optional<ir::Graph> likely = engine::likely_graph(graph, shapes_of(input_.feeds[0]));
    for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
      if (!graph.is_live(id)) continue;
      const ir::Node& node = graph.node(id);
      if (!ir::multiplies_matrices(node.op) && node.op != ir::Op::kAttention) continue;
      const ir::DType dtype = graph.value(node.outputs[0]).dtype;
      if (is_half(dtype)) nodes.push_back({node.name, engine::likely_flops(likely, id).value_or(0)});
    }
    return nodes;
  }

  AccuracyResult check(const std::shared_ptr<engine::Engine>& engine) const {
    AccuracyResult accuracy;
    if (!checks_accuracy()) return accuracy;
    const auto runner = make_engine_runner(engine);
    for (size_t i = 0; i < input_.feeds.size() && accuracy.holds; ++i) {
      const auto& expected = input_.expected[i];
      accuracy = check_run(*runner, input_.feeds[i], answer_names(input_, expected.size()), expected,
                           accuracy_in(narrow_precision(input_.options, on_gpu_), input_.options));
    }
    return accuracy;
  }

  // Test data are few: bfloat16 that nobody asked for has to hold with room to spare on data like them, too.
  Result<AccuracyResult> check_on_varied_data(const std::shared_ptr<engine::Engine>& engine) const {
    BLADE_ASSIGN_OR_RETURN(auto wide, region_engine(input_, decisions_));
    const auto expected = make_engine_runner(std::move(wide)), runner = make_engine_runner(engine);
    AccuracyOptions strict = input_.options.accuracy;
    strict.rtol *= kRoomToSpare;
    strict.atol *= kRoomToSpare;
    constexpr const char* kOutput = "on varied data";
    AccuracyResult accuracy;
    bool takes_any = false;
    for (size_t i = 0; i < kVariedFeeds && accuracy.holds; ++i) {
      BLADE_ASSIGN_OR_RETURN(const Feed feed, vary_feed(input_.feeds[i % input_.feeds.size()], i));
      const auto want = expected->outputs(feed);
      if (!want.ok()) continue;  // sizes in an order that the model does not take
      takes_any = true;
      accuracy = check_run(*runner, feed, std::vector<std::string>(want->size(), kOutput), *want, strict);
    }
    return takes_any ? accuracy : does_not_hold(kOutput, "the model takes none");
  }

  // `plain`, which has this accuracy on the test data, if its answers hold on these and on data like them; else an
  // engine by other decisions whose answers do; else one whose answers hold on the test data alone, which is said; else
  // null.
  Result<std::shared_ptr<engine::Engine>> what_holds(std::shared_ptr<engine::Engine> plain,
                                                     const AccuracyResult& accuracy, engine::Decisions& half) {
    const std::vector<NarrowNode> nodes = narrow_nodes(*plain);
    AccuracyResult on_varied;
    if (!on_gpu_) {
      BLADE_ASSIGN_OR_RETURN(varied_,
                             VariedAnswers::of_float32(input_, decisions_, input_.time_for(kShareOfVariedData)));
      on_varied = varied_.check(input_, *make_engine_runner(plain));
    }
    auto engine = std::move(plain);
    if (!accuracy.holds || !on_varied.holds) {
      if (!accuracy.holds) engine = nullptr;  // trials need its memory
      BLADE_ASSIGN_OR_RETURN(auto rounded, round_by_inputs(on_varied, half));
      if (rounded != nullptr) return told_of_varied(std::move(rounded));
    }
    const engine::Decisions none_spared = half;
    if (engine == nullptr) {
      BLADE_ASSIGN_OR_RETURN(engine, spare_nodes(half, nodes, kForTestData));
      if (engine == nullptr) return engine;
      on_varied = varied_.check(input_, *make_engine_runner(engine));
    }
    if (on_varied.holds) return told_of_varied(std::move(engine));
    engine::Decisions for_varied = none_spared;
    BLADE_ASSIGN_OR_RETURN(auto spared, spare_nodes(for_varied, nodes, kForDataLikeThem));
    if (spared == nullptr) {
      tell("the answers hold on the test data, but not on all data like them: " + on_varied.message());
      return engine;
    }
    half = std::move(for_varied);
    return told_of_varied(std::move(spared));
  }

  std::shared_ptr<engine::Engine> told_of_varied(std::shared_ptr<engine::Engine> engine) {
    if (varied_.size() > 0)
      tell("the answers hold on " + std::to_string(varied_.size()) + " data like the test data, too");
    return engine;
  }

  // An engine whose answers hold, or null: one that cannot be made does not hold, but others may.
  std::shared_ptr<engine::Engine> holding_engine(const engine::Decisions& decisions, bool on_varied) {
    ++trials_;
    auto engine = region_engine(input_, decisions);
    if (!engine.ok() || !check(*engine).holds) return nullptr;
    if (on_varied && !varied_.hold(input_, *make_engine_runner(*engine))) return nullptr;
    return *std::move(engine);
  }

  // An engine whose weights are rounded by what they multiply on a part of the test data, if its answers hold on all of
  // them and on others like them, where it must also lose much less than without (`on_varied`): what was fitted to few
  // data may suit no others. Otherwise null, and half.input_moments is empty.
  Result<std::shared_ptr<engine::Engine>> round_by_inputs(const AccuracyResult& on_varied, engine::Decisions& half) {
    const std::shared_ptr<engine::Engine> none;
    if (varied_.size() == 0 || input_.progress(36, "round_weights_by_inputs")) return none;
    auto moments = measure_input_moments(input_, half);
    if (!moments.ok()) {
      tell("weights are not rounded by what they multiply, which could not be measured: " + moments.status().message());
      return none;
    }
    half.input_moments = *std::move(moments);
    if (half.input_moments.empty()) return none;
    const auto engine = region_engine(input_, half);
    if (engine.ok()) {
      const AccuracyResult after = varied_.check(input_, *make_engine_runner(*engine));
      if (check(*engine).holds && after.holds && shares_of_allowed(after) < kMuchLess * shares_of_allowed(on_varied))
        return *engine;
    }
    half.input_moments.clear();
    return none;
  }

  // All largest differences, in units of what is allowed, together.
  static double shares_of_allowed(const AccuracyResult& accuracy) {
    double sum = 0;
    for (const OutputDifference& output : accuracy.outputs)
      sum += output.max_difference / std::max(output.allowed, std::numeric_limits<double>::min());
    return sum;
  }

  // Sets half.keep_float32 to a small set of nodes without which the answers hold, and gives the engine. Null where
  // more than that share, and more than one, are left. Which set is found depends on the order: in the model's, and
  // with what costs most in float32 let go first; the one with less arithmetic is taken.
  Result<std::shared_ptr<engine::Engine>> spare_nodes(engine::Decisions& half, std::vector<NarrowNode> nodes,
                                                      const Sparing& sparing) {
    const Clock::time_point deadline = input_.time_for(sparing.share_of_time);
    const double least = std::min(1.0, kForTestData.most * static_cast<double>(nodes.size()));
    const double most = std::max(least, sparing.most * static_cast<double>(nodes.size()));
    const auto let_go = [&] {
      SparedNodes spared = let_nodes_go(half, nodes, sparing.on_varied, deadline);
      if (static_cast<double>(spared.nodes.size()) > most) spared.engine = nullptr;
      return spared;
    };
    SparedNodes spared = let_go();
    std::stable_sort(nodes.begin(), nodes.end(), [](const auto& a, const auto& b) { return a.flops > b.flops; });
    if (spared.engine == nullptr || all_flops(spared.nodes) > nodes.back().flops) {
      SparedNodes cheap = let_go();
      const bool better = spared.engine == nullptr || all_flops(cheap.nodes) < all_flops(spared.nodes);
      if (cheap.engine != nullptr && better) spared = std::move(cheap);
    }
    if (spared.engine == nullptr) return std::shared_ptr<engine::Engine>();
    for (const NarrowNode& node : spared.nodes) half.keep_float32.push_back(node.name);
    return spared.engine;
  }

  // Starting from all of `nodes` in float32, ever smaller pieces are let go, in that order, where the answers hold
  // without. Making an engine is most of a trial and takes seconds for large models: none is begun that would end late.
  SparedNodes let_nodes_go(const engine::Decisions& half, const std::vector<NarrowNode>& nodes, bool on_varied,
                           Clock::time_point deadline) {
    trials_ = 0;
    SparedNodes spared = {nodes, nullptr};
    Clock::duration longest{};
    for (size_t piece = (nodes.size() + 1) / 2; piece > 0; piece /= 2) {
      for (size_t begin = 0; begin < spared.nodes.size();) {
        const Clock::time_point start = Clock::now();
        if (trials_ >= kMaxTrials || start + longest > deadline) break;
        if (input_.progress(38, "find_nodes_that_need_float32")) break;
        std::vector<NarrowNode> without = spared.nodes;
        const size_t end = std::min(begin + piece, without.size());
        without.erase(without.begin() + static_cast<ptrdiff_t>(begin), without.begin() + static_cast<ptrdiff_t>(end));
        engine::Decisions trial = half;
        for (const NarrowNode& node : without) trial.keep_float32.push_back(node.name);
        auto held = holding_engine(trial, on_varied);
        longest = std::max(longest, Clock::now() - start);
        if (held != nullptr) {
          spared = {std::move(without), std::move(held)};
        } else {
          begin = end;
        }
      }
    }
    return spared;
  }

  Result<bool> is_slower(std::shared_ptr<engine::Engine> narrow) {
    BLADE_ASSIGN_OR_RETURN(auto wide, region_engine(input_, decisions_));
    const auto full = make_engine_runner(std::move(wide)), half = make_engine_runner(std::move(narrow));
    BLADE_ASSIGN_OR_RETURN(const Runnable before, full->runnable(input_.feeds[0]));
    BLADE_ASSIGN_OR_RETURN(const Runnable after, half->runnable(input_.feeds[0]));
    TimingOptions timing;
    timing.rounds = 3;
    timing.block_s = 0.05;
    BLADE_ASSIGN_OR_RETURN(const Comparison times, compare(before, after, timing));
    step_.pre_run_ms = times.before_ms;
    step_.post_run_ms = times.after_ms;
    return checks_speed() && (on_gpu_ ? times.slower : !times.faster);
  }

  static std::string names(const std::vector<std::string>& nodes) {
    constexpr size_t kShown = 8;
    std::string text;
    for (size_t i = 0; i < std::min(kShown, nodes.size()); ++i) text += (i > 0 ? ", " : "") + nodes[i];
    return nodes.size() > kShown ? text + ", ..." : text;
  }

  const SearchInput& input_;
  engine::Decisions& decisions_;
  OptimizationStep& step_;
  VariedAnswers varied_;  // what answers must hold on beside the test data
  bool on_gpu_;
  int trials_ = 0;
};

}  // namespace

const char* mixed_precision_pass(const backends::Device* device) {
  return device != nullptr ? "TfAutoMixedPrecisionGpu" : "TfAutoMixedPrecisionCpu";
}

AccuracyOptions accuracy_in(const std::string& precision, const OptimizeOptions& options) {
  const bool asked = options.device == "gpu" || options.precision == "bf16";  // a GPU has it for nobody else
  const double narrow = precision == "fp16" ? 10 : precision == "bf16" && asked ? 20 : 1;
  const double factor = std::max(narrow, options.tolerance_factor);
  AccuracyOptions accuracy = options.accuracy;
  accuracy.rtol *= factor;
  accuracy.atol *= factor;
  return accuracy;
}

Status search_precision(const SearchInput& input, engine::Decisions& decisions, OptimizationStep& step) {
  const Status status = PrecisionSearch(input, decisions, step).run();
  if (status.ok()) return {};
  // The model goes on in float32, in which it may well run.
  step.status = StepStatus::kFailed;
  step.message = "float32 stays: " + status.message();
  return {};
}

}  // namespace blade::optimizer
