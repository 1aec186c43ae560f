// The loop of optimize(): load, measure the baseline, rewrite, build engines, check, time, keep or roll back.
#include "optimizer/optimize.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>

#include "backends/cuda/loader.h"
#include "backends/machine.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "base/paths.h"
#include "engine/kernel_choice.h"
#include "frontends/tensorflow/node_index.h"
#include "optimizer/candidate.h"
#include "optimizer/cpu_comparison.h"
#include "optimizer/import_knowing_shapes.h"
#include "optimizer/import_model.h"
#include "optimizer/load_engine.h"
#include "optimizer/lost_signatures.h"
#include "optimizer/measuring_data.h"
#include "optimizer/option_table.h"
#include "optimizer/output_place.h"
#include "optimizer/precision_search.h"
#include "optimizer/runners.h"
#include "optimizer/search.h"
#include "passes/pass.h"

namespace blade::optimizer {
namespace {

class Optimizer {
 public:
  explicit Optimizer(const OptimizeRequest& request) : request_(request), options_(request.options) {
    if (options_.verbose) log_level_.emplace(LogLevel::kInfo);
  }

  Result<OptimizeResult> run() {
    BLADE_RETURN_IF_ERROR(open_device());
    BLADE_RETURN_IF_ERROR(check_places());
    BLADE_RETURN_IF_ERROR(load());
    BLADE_RETURN_IF_ERROR(prepare_data());
    progress(10, "baseline");
    BLADE_RETURN_IF_ERROR(open_tensorflow());
    BLADE_RETURN_IF_ERROR(compute_expected());
    BLADE_RETURN_IF_ERROR(run_graph_passes());
    progress(35, "partition");
    BLADE_RETURN_IF_ERROR(partition_graph());
    log_info(std::to_string(report_.nodes_in_engines) + " of " + std::to_string(report_.nodes_total) +
             " nodes run in " + std::to_string(report_.regions) + " engines");
    BLADE_RETURN_IF_ERROR(build_engines());
    progress(100, "done");
    return finish();
  }

 private:
  // Tells how far; remembers that the user asked to stop.
  void progress(int percent, const char* phase) {
    if (request_.progress && request_.progress(percent, phase)) stopped_ = true;
  }

  // Also what the report says of it before anything runs.
  Status open_device() {
    auto device = engine::device_by_name(options_.device);
    if (!device.ok()) return device.status();
    device_ = *device;
    options_.device = device_ != nullptr ? "gpu" : "cpu";
    report_.device_type = options_.device;
    report_.microarchitecture = device_ != nullptr ? device_->info().name + " (" + device_->info().architecture + ")"
                                                   : backends::Machine::host().microarchitecture;
    report_.user_config = options_.user_config;
    report_.model = options_.model_name;
    report_.software.emplace_back("blade", BLADE_VERSION);
    if (device_ != nullptr) report_.software.emplace_back("cuda", backends::cuda_version());
    for (std::string& sentence : without_effect(options_.changed, options_.device))
      report_.messages.push_back(std::move(sentence));
    report_.messages.insert(report_.messages.end(), options_.notes.begin(), options_.notes.end());
    if (options_.level == "o2") report_.messages.push_back("level o2: int8 is not available yet; o1 was applied");
    return {};
  }

  // What cannot be written is found out before minutes of work.
  Status check_places() const {
    std::error_code error;
    if (!request_.model_path.empty() && !std::filesystem::exists(request_.model_path, error))
      return {};  // load() says so
    const bool directory = !request_.model_path.empty() && std::filesystem::is_directory(request_.model_path, error);
    std::vector<std::string> read = options_.also_read, written = options_.also_written;
    read.insert(read.end(), options_.custom_ops.begin(), options_.custom_ops.end());
    if (!options_.output.empty()) written.insert(written.begin(), options_.output);
    const std::string& model = options_.original_path.empty() ? request_.model_path : options_.original_path;
    BLADE_RETURN_IF_ERROR(check_apart(model, read, written));
    if (!options_.output.empty()) BLADE_RETURN_IF_ERROR(check_output_place(options_.output, directory));
    for (const std::string& path : options_.also_written) {
      const bool stream = std::filesystem::is_other(path, error) || std::filesystem::is_character_file(path, error);
      if (!stream) BLADE_RETURN_IF_ERROR(check_output_place(path, false));
    }
    return {};
  }

  Status load() {
    progress(1, "load");
    BLADE_ASSIGN_OR_RETURN(model_, import_model(request_, options_));
    report_.input_format = model_.loaded.format;
    std::ranges::move(model_.messages, std::back_inserter(report_.messages));
    report_.inferred = model_.imported.notes;
    for (const ir::ValueId id : model_.imported.graph.inputs()) {
      const ir::Value& value = model_.imported.graph.value(id);
      inputs_.push_back({node_name(value.name), value.dtype, value.shape});
      report_.inputs.push_back(inputs_.back().name);
    }
    for (const std::string& name : model_.imported.graph.output_names()) {
      output_tensors_.push_back(name.find(':') == std::string::npos ? name + ":0" : name);
      report_.outputs.push_back(name);
    }
    if (model_.loaded.graph.untouched()) {
      original_ = model_.loaded.graph.wire();
    } else {  // .pbtxt
      BLADE_ASSIGN_OR_RETURN(std::string wire, tensorflow::serialize(model_.loaded.graph));
      original_ = tensorflow::SharedBytes::own(std::move(wire));
    }
    report_.original_bytes = original_.size();
    return options_.output.empty() ? Status() : check_output_space(options_.output, original_.size());
  }

  // The test data without values for placeholders that the outputs do not need.
  std::vector<Feed> needed_values() const {
    std::vector<Feed> feeds = model_.test_data;
    for (Feed& feed : feeds) {
      std::erase_if(feed, [&](const NamedTensor& value) {
        const std::string name = node_name(value.name);
        const bool is_input =
            std::any_of(inputs_.begin(), inputs_.end(), [&](const auto& i) { return i.name == name; });
        if (model_.import_options.fixed.contains(name)) return true;
        return !is_input && std::any_of(model_.imported.source->nodes.begin(), model_.imported.source->nodes.end(),
                                        [&](const auto& n) { return n->name == name && n->op == "Placeholder"; });
      });
    }
    return feeds;
  }

  Status prepare_data() {
    std::vector<Feed> given = needed_values();
    std::set<std::string> strings;
    for (const tensorflow::NodeDef& node : model_.imported.source->nodes) {
      if (tensorflow::is_string_placeholder(node)) strings.insert(node->name);
    }
    const std::set<std::string> needless = needless_inputs(model_.imported.graph, strings);
    BLADE_RETURN_IF_ERROR(add_needless_values(inputs_, needless, options_.tuning_shapes.min, given));
    BLADE_ASSIGN_OR_RETURN(MeasuringData data, make_measuring_data(options_, inputs_, needless, given));
    feeds_ = std::move(data.feeds);
    profile_ = std::move(data.profile);
    report_.test_data_source = data.source;
    report_.test_data_info = std::move(data.description);
    report_.shape_variation = data.shape_variation;
    std::ranges::move(data.messages, std::back_inserter(report_.messages));
    return {};
  }

  Status open_tensorflow() {
    auto api = load_tensorflow(options_.tensorflow_dir);
    if (!api.ok()) {
      report_.baseline_note = api.status().message();
      return {};
    }
    api_ = *api;
    report_.software.insert(report_.software.begin(), {"tensorflow", api_->TF_Version()});
    for (const std::string& library : options_.custom_ops) BLADE_RETURN_IF_ERROR(load_op_library(*api_, library));
    BLADE_RETURN_IF_ERROR(
        load_op_library(*api_, options_.op_library.empty() ? default_op_library() : options_.op_library));
    BLADE_ASSIGN_OR_RETURN(model_.imported, import_knowing_shapes(*api_, model_.loaded.graph, model_.import_options,
                                                                  std::move(model_.imported)));
    report_.inferred = model_.imported.notes;
    return {};
  }

  SessionConfig session_config(bool as_written) const {
    SessionConfig config{options_.num_threads, as_written, {}, {}};
    for (const auto& [name, value] : model_.import_options.fixed) config.fixed.push_back({name + ":0", value});
    for (const tensorflow::NodeDef& node : model_.imported.source->nodes) {
      if (tensorflow::is_table_initializer(node)) config.initializers.push_back(node->name);
    }
    return config;
  }

  // What the graph as written answers, to each feed; never TensorFlow's own rewrite of it. A model that TensorFlow
  // cannot run here (NCHW on a CPU) is judged by the reference kernels, if they can.
  Status compute_expected() {
    if (api_ != nullptr) {
      report_.accuracy_reference = "TensorFlow, graph as written";
      Status status = compute_expected_in_tensorflow();
      if (status.ok()) return {};
      if (!compute_expected_by_reference().ok()) return refused_data(status);
      report_.baseline_note = "TensorFlow cannot run this model on this machine (" + status.message() + ")";
      report_.messages.push_back(report_.baseline_note + ": the result runs without TensorFlow (blade.Engine, C, C++)");
      api_ = nullptr;
    } else {
      BLADE_RETURN_IF_ERROR(compute_expected_by_reference());
    }
    // A GPU is judged by the CPU's kernels, in float32 and without any rewriting; the CPU by the naive ones.
    report_.accuracy_reference =
        device_ != nullptr ? "Blade's CPU engine, graph as written" : "Blade's reference kernels, graph as written";
    return {};
  }

  // What TensorFlow says of values that the user never saw must tell where they come from.
  Status refused_data(const Status& status) const {
    if (report_.test_data_source != std::string_view("generated")) return status;
    std::string shapes = report_.test_data_info;
    std::ranges::replace(shapes, '\n', ',');
    return invalid_argument(status.message() + "; the values were generated (" + shapes +
                            "): give test_data, or input_shapes that the model can take");
  }

  Status compute_expected_in_tensorflow() {
    BLADE_ASSIGN_OR_RETURN(
        std::unique_ptr<Runner> reference,
        make_tensorflow_runner(*api_, original_.view(), session_config(/*as_written=*/true), output_tensors_));
    return compute_expected_with(*reference);
  }

  Status compute_expected_by_reference() {
    engine::EngineOptions naive;
    naive.reference_only = device_ == nullptr;
    engine::Decisions as_written;
    if (device_ != nullptr) {
      for (const passes::Pass& pass : passes::pipeline()) as_written.disabled_passes.emplace_back(pass.name);
    }
    ir::Graph graph = model_.imported.graph.clone();
    BLADE_RETURN_IF_ERROR(strip_as_written(graph));
    BLADE_ASSIGN_OR_RETURN(auto engine, engine::Engine::create(std::move(graph), std::move(as_written), naive));
    return compute_expected_with(*make_engine_runner(std::move(engine)));
  }

  Status compute_expected_with(Runner& reference) {
    expected_.clear();
    for (const Feed& feed : feeds_) {
      BLADE_ASSIGN_OR_RETURN(std::vector<ir::TensorPtr> answers, reference.outputs(feed));
      expected_.push_back(std::move(answers));
    }
    return {};
  }

  Status run_graph_passes() {
    report_.nodes_folded = count_source_nodes(model_.imported.graph);
    int percent = 20;
    for (const passes::Pass& pass : passes::pipeline()) {
      if (!pass.on_whole_graph) continue;
      progress(percent += 3, pass.name);
      std::vector<std::string> others;
      for (const passes::Pass& other : passes::pipeline()) {
        if (other.on_whole_graph && other.name != pass.name) others.emplace_back(other.name);
      }
      BLADE_ASSIGN_OR_RETURN(const auto results,
                             passes::run_pipeline(model_.imported.graph, /*whole_graph=*/true, others));
      OptimizationStep step{pass.name, StepStatus::kPassed, {}, {}, "", 0};
      for (const auto& result : results) step.changes += result.result.changes;
      if (step.changes > 0) step.status = StepStatus::kEffective;
      log_info(to_string(step));
      graph_steps_.push_back(std::move(step));
    }
    return {};
  }

  static int count_source_nodes(const ir::Graph& graph) {
    std::vector<int32_t> origins;
    for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
      if (graph.is_live(id) && graph.node(id).origin >= 0) origins.push_back(graph.node(id).origin);
    }
    std::sort(origins.begin(), origins.end());
    return static_cast<int>(std::unique(origins.begin(), origins.end()) - origins.begin());
  }

  Status partition_graph() {
    BLADE_ASSIGN_OR_RETURN(partition_, partition_model(model_.imported, shapes_of(feeds_[0])));
    report_.cost = engine::measure_coverage(model_.imported.graph, partition_, shapes_of(feeds_[0]));
    report_.left_behind = partition_.left_behind;
    report_.regions = static_cast<int>(partition_.regions.size());
    report_.nodes_total = count_source_nodes(model_.imported.graph);
    report_.nodes_folded -= report_.nodes_total;
    report_.nodes_in_engines = report_.nodes_total - static_cast<int>(partition_.left_behind.size());
    return {};
  }

  Status build_engines() {
    engine_step_.name = device_ != nullptr ? "BladeCudaEngine" : "BladeCpuEngine";
    if (partition_.regions.empty()) {
      engine_step_.message = "no part of the graph is large enough for an engine; see coverage for each node's reason";
      return measure_unchanged();
    }
    engine::Decisions decisions;
    decisions.blade_version = BLADE_VERSION;
    decisions.tuned_on = engine::machine_signature(device_, options_.num_threads);
    decisions.profile = profile_;
    decisions.device = options_.device;
    decisions.num_threads = options_.asked_threads;
    const std::vector<std::vector<ir::TensorPtr>> expected = expected_of_region();
    SearchInput search{model_.imported.graph,
                       partition_,
                       feeds_,
                       expected,
                       options_,
                       [this](int p, const char* phase) {
                         progress(p, phase);
                         return stopped_;
                       },
                       device_};
    BLADE_ASSIGN_OR_RETURN(SearchResult found, search_passes(search, decisions));
    pass_steps_ = std::move(found.steps);
    for (const OptimizationStep& step : pass_steps_) log_info(to_string(step));
    if (!found.failed_run.empty()) {  // in TensorFlow the original graph would run in the engine's place
      roll_back("the engine fails: " + found.failed_run);
      return measure_unchanged();
    }
    BLADE_ASSIGN_OR_RETURN(Candidate candidate, build_candidate(model_.imported, partition_, found.decisions));
    progress(75, "check_accuracy");
    BLADE_RETURN_IF_ERROR(judge(std::move(candidate.graph_def), found.decisions));
    const bool kept = engine_step_.status == StepStatus::kEffective;
    if (device_ == nullptr || !options_.check_speed || !is_one_engine() || !kept || stopped_) return {};
    std::string sentence = faster_on_cpu(model_.imported.graph, feeds_[0], found.decisions, engine_options());
    if (!sentence.empty()) report_.messages.push_back(std::move(sentence));
    return {};
  }

  // What the search compares with, where it does: one region is all.
  std::vector<std::vector<ir::TensorPtr>> expected_of_region() const {
    std::vector<std::vector<ir::TensorPtr>> expected;
    if (!is_one_engine()) return expected;
    const std::vector<size_t> given = outputs_of_region(model_.imported.graph, partition_.regions[0]);
    for (const auto& all : expected_) {
      auto& some = expected.emplace_back();
      for (const size_t i : given) some.push_back(all[i]);
    }
    return expected;
  }

  bool is_one_engine() const { return partition_.regions.size() == 1 && partition_.left_behind.empty(); }

  // Keeps the candidate if its answers hold and it is faster, both in TensorFlow where that is present.
  Status judge(std::string graph_def, const engine::Decisions& decisions) {
    report_.optimized_bytes = graph_def.size();
    if (decisions.profile) report_.profile_json = profile_text(decisions);
    std::unique_ptr<Runner> optimized;
    if (api_ != nullptr) {
      // TensorFlow's rewriting copies all weights at every step, and finds nothing to do where only an engine is left.
      const SessionConfig config = session_config(/*as_written=*/is_one_engine());
      BLADE_ASSIGN_OR_RETURN(optimized, make_tensorflow_runner(*api_, graph_def, config, output_tensors_));
    } else {
      BLADE_ASSIGN_OR_RETURN(auto engine, load_engine_from_graph(graph_def, report_.outputs,
                                                                 model_.import_options.fixed, engine_options()));
      optimized = make_engine_runner(std::move(engine));
    }
    for (size_t i = 0; i < feeds_.size(); ++i) {
      const auto got = optimized->outputs(feeds_[i]);
      if (!got.ok()) {
        roll_back("the optimized model fails: " + got.status().message());
        return measure_unchanged();
      }
      if (device_ != nullptr && decisions.precision != "fp32" && !options_.check_fp16_accuracy) break;
      AccuracyResult accuracy =
          check_accuracy(report_.outputs, expected_[i], *got, accuracy_in(decisions.precision, options_));
      if (const std::string blind = accuracy.nothing_compared(); !blind.empty())
        report_.messages.push_back("test data " + std::to_string(i) + " proves nothing about the answers: " + blind);
      if (i == 0 || !accuracy.holds) report_.accuracy = std::move(accuracy);
      if (report_.accuracy.holds) continue;
      roll_back("the answers do not hold: " + report_.accuracy.message());
      return measure_unchanged();
    }
    progress(80, "measure");
    if (api_ == nullptr) return measure_alone(*optimized, std::move(graph_def));
    BLADE_ASSIGN_OR_RETURN(
        auto baseline,
        make_tensorflow_runner(*api_, original_.view(), session_config(/*as_written=*/false), output_tensors_));
    return measure_against(*baseline, *optimized, std::move(graph_def));
  }

  engine::EngineOptions engine_options() const {
    engine::EngineOptions options;
    options.num_threads = options_.num_threads;
    options.device = device_;
    return options;
  }

  static std::string profile_text(const engine::Decisions& decisions);

  Status measure_against(Runner& baseline, Runner& optimized, std::string graph_def) {
    std::string slower;
    for (size_t i = 0; i < feeds_.size(); ++i) {
      if (i > 0 && stopped_) break;
      BLADE_ASSIGN_OR_RETURN(const Runnable before, baseline.runnable(feeds_[i]));
      BLADE_ASSIGN_OR_RETURN(const Runnable after, optimized.runnable(feeds_[i]));
      TimingOptions timing;
      timing.time_limit_s =
          std::max(1.0, options_.time_limit_s / (i == 0 ? 3 : 3 * static_cast<double>(feeds_.size())));
      if (i > 0) timing.rounds = 3;
      if (!options_.check_speed) timing = {.rounds = 2, .block_s = 0.01, .min_runs_in_block = 2};
      BLADE_ASSIGN_OR_RETURN(const Comparison times, compare(before, after, timing));
      if (i == 0) {
        report_.baseline_ms = engine_step_.pre_run_ms = times.before_ms;
        report_.optimized_ms = engine_step_.post_run_ms = times.after_ms;
        if (!times.faster) slower = "the engine is not faster than the original outside the noise";
      } else if (times.slower) {
        slower = "the engine is slower than the original at " + shapes_to_string(feeds_[i]);
      }
    }
    if (!slower.empty() && !options_.check_speed) {
      report_.messages.push_back("kept although " + slower + ": the check of speed is disabled");
      slower.clear();
    }
    if (!slower.empty()) {
      roll_back(slower);
      report_.optimized_ms = report_.baseline_ms;
      return {};
    }
    engine_step_.status = StepStatus::kEffective;
    optimized_ = std::move(graph_def);
    return {};
  }

  // Without TensorFlow there is no baseline to beat: the checked engine is kept and the report says so.
  Status measure_alone(Runner& optimized, std::string graph_def) {
    BLADE_ASSIGN_OR_RETURN(const Runnable run, optimized.runnable(feeds_[0]));
    BLADE_ASSIGN_OR_RETURN(report_.optimized_ms, measure(run, TimingOptions()));
    engine_step_.status = StepStatus::kEffective;
    engine_step_.post_run_ms.reset();
    optimized_ = std::move(graph_def);
    return {};
  }

  Status measure_unchanged() {
    if (api_ == nullptr) return {};
    BLADE_ASSIGN_OR_RETURN(
        auto baseline,
        make_tensorflow_runner(*api_, original_.view(), session_config(/*as_written=*/false), output_tensors_));
    BLADE_ASSIGN_OR_RETURN(const Runnable run, baseline->runnable(feeds_[0]));
    BLADE_ASSIGN_OR_RETURN(report_.baseline_ms, measure(run, TimingOptions()));
    report_.optimized_ms = report_.baseline_ms;
    return {};
  }

  void roll_back(const std::string& why) {
    engine_step_.status = StepStatus::kRolledBack;
    engine_step_.message = why;
    for (auto* steps : {&graph_steps_, &pass_steps_}) {
      for (OptimizationStep& step : *steps) {
        if (step.status != StepStatus::kEffective) continue;
        step.status = StepStatus::kRolledBack;
        step.message = "the original graph is given back";
      }
    }
    report_.messages.push_back("the original graph is given back: " + why);
  }

  Result<OptimizeResult> finish() {
    if (stopped_) report_.messages.push_back("stopped by the user: the best result so far is given");
    log_info(to_string(engine_step_));
    for (const std::string& message : report_.messages) log_info(message);
    report_.optimizations.push_back(engine_step_);
    report_.optimizations.insert(report_.optimizations.end(), graph_steps_.begin(), graph_steps_.end());
    report_.optimizations.insert(report_.optimizations.end(), pass_steps_.begin(), pass_steps_.end());
    if (optimized_.empty()) {
      optimized_ = original_.view();
      report_.optimized_bytes = optimized_.size();
      for (const auto& [name, value] : model_.import_options.fixed)
        report_.inputs.push_back(name);  // it is fed them as before
    }
    std::string lost = about_lost_signatures(model_.loaded, options_.original_path, request_.model_path, optimized_,
                                             model_.imported.outputs);
    if (!lost.empty()) report_.messages.push_back(std::move(lost));
    return OptimizeResult{std::move(optimized_), std::move(report_), request_.model_path,
                          tensorflow::Offered{model_.loaded.signature, model_.imported.outputs}};
  }

  const OptimizeRequest& request_;
  OptimizeOptions options_;
  std::optional<ScopedLogLevel> log_level_;
  Report report_;
  bool stopped_ = false;
  ModelToOptimize model_;
  tensorflow::SharedBytes original_;
  std::string optimized_;
  std::vector<engine::TensorInfo> inputs_;
  std::vector<std::string> output_tensors_;
  std::optional<engine::Profile> profile_;
  std::vector<Feed> feeds_;
  std::vector<std::vector<ir::TensorPtr>> expected_;
  const TensorFlowApi* api_ = nullptr;
  backends::Device* device_ = nullptr;
  engine::Partition partition_;
  OptimizationStep engine_step_;
  std::vector<OptimizationStep> graph_steps_, pass_steps_;
};

std::string Optimizer::profile_text(const engine::Decisions& decisions) {
  engine::Decisions shown = decisions;
  shown.kernels.clear();  // hundreds, on a GPU
  shown.figures.clear();
  shown.input_moments.clear();
  return shown.to_json();
}

}  // namespace

Result<OptimizeResult> optimize(const OptimizeRequest& request) { return Optimizer(request).run(); }

}  // namespace blade::optimizer
