// Loads models for running without TensorFlow.
#include "optimizer/load_engine.h"

#include <algorithm>
#include <filesystem>

#include "base/mapped_file.h"
#include "engine/engine_file.h"
#include "frontends/tensorflow/assumed_values.h"
#include "frontends/tensorflow/model_loader.h"
#include "ir/foreign_nodes.h"
#include "passes/pass.h"

namespace blade::optimizer {
namespace {

// An optimized graph carries its decisions in its engines: checked here (a damaged engine is refused), then merged. The
// profile bounds only the hand-over inside TensorFlow: alone, an engine takes any shape.
Result<engine::Decisions> stored_decisions(const std::vector<tensorflow::EngineRegion>& regions) {
  engine::Decisions merged;
  for (const tensorflow::EngineRegion& region : regions) {
    auto parsed = engine::parse_engine_file(region.engine.bytes(), region.engine.owner());
    if (!parsed.ok()) return parsed.status().with_context("the engine '" + region.node + "'");
    const engine::Decisions& decisions = parsed->decisions;
    merged.blade_version = decisions.blade_version;
    merged.disabled_passes = decisions.disabled_passes;
    merged.precision = decisions.precision;
    merged.for_tiles = decisions.for_tiles;
    merged.device = decisions.device;
    merged.num_threads = decisions.num_threads;
    merged.keep_float32.insert(merged.keep_float32.end(), decisions.keep_float32.begin(), decisions.keep_float32.end());
    merged.input_moments.insert(decisions.input_moments.begin(), decisions.input_moments.end());
    merged.tuned_on = decisions.tuned_on;
    merged.kernels.insert(decisions.kernels.begin(), decisions.kernels.end());
    merged.figures.insert(decisions.figures.begin(), decisions.figures.end());
  }
  return merged;
}

// Placeholders of which the graph says nothing have the rank that an engine's profile, or a guard of `graph`, gives
// them: such a graph was optimized on the data of one rank. True where there are any.
Result<bool> take_assumed_ranks(const tensorflow::ImportedModel& model, const tensorflow::GraphDef& graph,
                                tensorflow::ImportOptions& import) {
  bool taken = false;
  const auto knows_rank = [&](const std::string& tensor) {
    for (const ir::ValueId id : model.graph.inputs()) {
      if (model.graph.value(id).name == tensor) return model.graph.value(id).shape.has_rank();
    }
    return true;  // no input
  };
  for (const auto& [tensor, rank] : tensorflow::assumed_ranks(graph)) {
    if (knows_rank(tensor)) continue;
    import.input_shapes[tensor].assign(static_cast<size_t>(rank), -1);
    taken = true;
  }
  for (const tensorflow::EngineRegion& region : model.engines) {
    if (std::ranges::all_of(region.inputs, knows_rank)) continue;
    BLADE_ASSIGN_OR_RETURN(const auto parsed, engine::parse_engine_file(region.engine.bytes(), region.engine.owner()));
    if (!parsed.decisions.profile) continue;
    const std::vector<ir::Dims>& shapes = parsed.decisions.profile->min;
    for (size_t i = 0; i < std::min(shapes.size(), region.inputs.size()); ++i) {
      if (knows_rank(region.inputs[i])) continue;
      import.input_shapes[region.inputs[i]].assign(shapes[i].size(), -1);
      taken = true;
    }
  }
  return taken;
}

// Defaults that are computed from constants alone are built in, too: `unread` gets their values.
Status find_folded_defaults(tensorflow::ImportedModel& model) {
  if (model.computed_defaults.empty()) return {};
  ir::Graph graph = model.graph.clone();
  std::vector<ir::ValueId> outputs;
  std::vector<std::string> names, others;
  for (const tensorflow::ComputedDefault& one : model.computed_defaults) {
    if (one.value == ir::kNone) continue;
    // Folding keeps what makes an output, but not what that reads.
    outputs.push_back(
        graph.add_node(ir::Op::kIdentity, graph.unique_name(one.name), {one.value}, 1, ir::IdentityAttrs{}).outputs[0]);
    names.push_back(one.name);
  }
  graph.set_outputs(outputs, names);
  graph.remove_dead_nodes();
  BLADE_RETURN_IF_ERROR(ir::infer_shapes(graph));
  for (const passes::Pass& pass : passes::pipeline()) {
    if (std::string_view(pass.name) != "TfFoldConstants") others.emplace_back(pass.name);
  }
  BLADE_RETURN_IF_ERROR(passes::run_pipeline(graph, /*whole_graph=*/true, others).status());
  for (size_t i = 0; i < names.size(); ++i) {
    const ir::TensorPtr value = graph.value(ir::behind_identities(graph, graph.outputs()[i])).constant;
    if (value == nullptr) continue;
    model.unread.push_back({names[i], value});
    std::erase_if(model.computed_defaults, [&](const auto& one) { return one.name == names[i]; });
  }
  return {};
}

// Which computed defaults need TensorFlow.
Status find_foreign_defaults(tensorflow::ImportedModel& model) {
  if (model.computed_defaults.empty()) return {};
  const ir::Graph& graph = model.graph;
  std::vector<bool> is_foreign(graph.num_node_slots());  // or reads what is
  BLADE_ASSIGN_OR_RETURN(const std::vector<ir::NodeId> order, graph.topological_order());
  for (const ir::NodeId id : order) {
    const ir::Node& node = graph.node(id);
    const auto reads_foreign = [&](ir::ValueId input) {
      const ir::NodeId producer = graph.value(input).producer;
      return producer != ir::kNone && is_foreign[producer];
    };
    is_foreign[id] = node.op == ir::Op::kForeign ||
                     std::any_of(node.inputs.begin(), node.inputs.end(), reads_foreign) ||
                     std::any_of(node.control_inputs.begin(), node.control_inputs.end(),
                                 [&](ir::NodeId control) { return is_foreign[control]; });
  }
  for (tensorflow::ComputedDefault& one : model.computed_defaults) {
    const ir::NodeId producer = one.value == ir::kNone ? ir::kNone : graph.value(one.value).producer;
    one.needs_tensorflow = one.value == ir::kNone || (producer != ir::kNone && is_foreign[producer]);
  }
  return {};
}

// What watches and orders (Assert, NoOp) needs TensorFlow, but no answer needs that: it is gone then.
Result<tensorflow::ImportedModel> import_stripped(const tensorflow::GraphDef& graph,
                                                  const tensorflow::ImportOptions& import,
                                                  const engine::EngineOptions& options) {
  BLADE_ASSIGN_OR_RETURN(tensorflow::ImportedModel imported, tensorflow::import_graph(graph, import));
  BLADE_RETURN_IF_ERROR(find_folded_defaults(imported));
  BLADE_RETURN_IF_ERROR(find_foreign_defaults(imported));
  BLADE_RETURN_IF_ERROR(options.reference_only ? strip_as_written(imported.graph)
                                               : run_whole_graph_passes(imported.graph));
  imported.graph.remove_dead_nodes();
  return imported;
}

// Where only defaults need TensorFlow (training = true, the next of an iterator), these become inputs, and no others.
class DefaultsFeeder {
 public:
  DefaultsFeeder(const tensorflow::GraphDef& graph, const tensorflow::ImportOptions& import,
                 const engine::EngineOptions& options, tensorflow::ImportedModel& imported)
      : graph_(graph), import_(import), options_(options), imported_(imported), foreign_(count(imported)) {}

  void run() {
    feed_what_helps();
    if (foreign_ == 0) let_go();
  }

 private:
  static size_t count(const tensorflow::ImportedModel& model) { return ir::foreign_nodes(model.graph).size(); }

  // Defaults that need TensorFlow all at once, which takes one import; all else, and these where that does not do, one
  // by one. A switch that is no longer built in has both of its branches, which may need more of TensorFlow.
  void feed_what_helps() {
    std::vector<std::string> foreign, others;
    for (const tensorflow::ComputedDefault& one : imported_.computed_defaults)
      (one.needs_tensorflow ? foreign : others).push_back(one.name);
    for (const tensorflow::UnreadPlaceholder& one : imported_.unread) {
      if (one.value != nullptr && one.value->dtype == ir::DType::kBool) others.push_back(one.name);
    }
    if (foreign.empty() || !try_feeding(foreign, foreign_)) feed_each(foreign);
    feed_each(others);
  }

  void feed_each(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      if (foreign_ == 0) return;
      std::vector<std::string> more = import_.fed;
      more.push_back(name);
      try_feeding(std::move(more), foreign_);
    }
  }

  // What can go without a node in TensorFlow, the last first.
  void let_go() {
    for (size_t i = import_.fed.size(); i-- > 0 && import_.fed.size() > 1;) {
      std::vector<std::string> fewer = import_.fed;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
      try_feeding(std::move(fewer), 0);
    }
  }

  // Keeps the import in which `names` are fed, if no more than `most_foreign` nodes need TensorFlow in it.
  bool try_feeding(std::vector<std::string> names, size_t most_foreign) {
    std::swap(import_.fed, names);
    auto fed = import_stripped(graph_, import_, options_);
    if (fed.ok() && count(*fed) <= most_foreign) {
      imported_ = std::move(fed).value();
      foreign_ = count(imported_);
      return true;
    }
    std::swap(import_.fed, names);
    return false;
  }

  const tensorflow::GraphDef& graph_;
  tensorflow::ImportOptions import_;
  const engine::EngineOptions& options_;
  tensorflow::ImportedModel& imported_;
  size_t foreign_;  // nodes of `imported_` that need TensorFlow
};

Result<std::shared_ptr<engine::Engine>> engine_of(const tensorflow::GraphDef& graph, tensorflow::ImportOptions import,
                                                  const engine::EngineOptions& options,
                                                  std::vector<tensorflow::UnreadPlaceholder>* unread = nullptr) {
  import.without_tensorflow = true;
  BLADE_ASSIGN_OR_RETURN(tensorflow::ImportedModel imported, import_stripped(graph, import, options));
  BLADE_ASSIGN_OR_RETURN(const bool knows_more, take_assumed_ranks(imported, graph, import));
  if (knows_more) {
    BLADE_ASSIGN_OR_RETURN(imported, import_stripped(graph, import, options));
  }
  if (Status refused = ir::refuse_foreign(imported.graph); !refused.ok()) {
    if (!import.inputs.empty()) return refused;
    DefaultsFeeder(graph, import, options, imported).run();
    if (!ir::refuse_foreign(imported.graph).ok()) return refused;
  }
  BLADE_ASSIGN_OR_RETURN(engine::Decisions decisions, stored_decisions(imported.engines));
  if (unread != nullptr) *unread = std::move(imported.unread);
  return engine::Engine::create(std::move(imported.graph), std::move(decisions), options);
}

}  // namespace

Status strip_as_written(ir::Graph& graph) {
  const std::string fold[] = {"TfFoldConstants"};
  BLADE_ASSIGN_OR_RETURN([[maybe_unused]] const auto reports, passes::run_pipeline(graph, /*whole_graph=*/true, fold));
  return {};
}

Status run_whole_graph_passes(ir::Graph& graph) {
  BLADE_ASSIGN_OR_RETURN([[maybe_unused]] const auto reports, passes::run_pipeline(graph, /*whole_graph=*/true, {}));
  return {};
}

Result<engine::Partition> partition_model(const tensorflow::ImportedModel& model,
                                          const std::vector<ir::Dims>& input_dims) {
  engine::PartitionOptions options;
  options.input_dims = input_dims;
  BLADE_ASSIGN_OR_RETURN(engine::Partition partition, engine::partition(model.graph, options));
  const auto& nodes = model.source->nodes;
  for (engine::LeftBehind& left : partition.left_behind) {
    if (left.origin < 0 || static_cast<size_t>(left.origin) >= nodes.size()) continue;
    left.node = nodes[left.origin]->name;
    left.op = nodes[left.origin]->op;
  }
  return partition;
}

std::vector<std::string> outputs_of(const tensorflow::LoadedModel& model, const tensorflow::ModelNames& names,
                                    const Wanted& wanted) {
  if (wanted.outputs.empty()) return model.outputs;
  std::vector<std::string> outputs;
  for (const std::string& name : wanted.outputs) outputs.push_back(names.output(name));
  return outputs;
}

Result<LoadedEngine> load_engine(const std::string& path, const Wanted& wanted, const engine::EngineOptions& options) {
  LoadedEngine loaded;
  if (std::filesystem::is_regular_file(path)) {
    BLADE_ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
    if (engine::has_engine_magic(file->bytes())) {
      BLADE_ASSIGN_OR_RETURN(loaded.engine, engine::Engine::load(file->bytes(), file, options));
      loaded.input_keys.resize(loaded.engine->inputs().size());
      return loaded;
    }
  }
  BLADE_ASSIGN_OR_RETURN(tensorflow::LoadedModel model, tensorflow::load_model(path, wanted.signature));
  tensorflow::ImportOptions import;
  import.inputs = model.inputs;
  loaded.names = tensorflow::ModelNames(model);
  import.outputs = outputs_of(model, loaded.names, wanted);
  import.fixed = tensorflow::assumed_values(model.graph);
  auto engine = engine_of(model.graph, import, options, &loaded.unread);
  if (!engine.ok()) return engine.status().with_context(path);
  loaded.engine = std::move(engine).value();
  for (const engine::TensorInfo& input : loaded.engine->inputs()) {
    const auto same = [&](const std::string& tensor) { return tensor == input.name || tensor == input.name + ":0"; };
    const auto found = std::find_if(model.inputs.begin(), model.inputs.end(), same);
    const auto index = static_cast<size_t>(found - model.inputs.begin());
    loaded.input_keys.push_back(index < model.input_keys.size() ? model.input_keys[index] : "");
  }
  if (wanted.outputs.empty()) loaded.output_keys = model.output_keys;
  return loaded;
}

Result<std::shared_ptr<engine::Engine>> load_engine_from_graph(std::string_view graph_def,
                                                               const std::vector<std::string>& outputs,
                                                               const std::map<std::string, ir::TensorPtr>& fixed,
                                                               const engine::EngineOptions& options) {
  BLADE_ASSIGN_OR_RETURN(
      const tensorflow::GraphDef graph,
      tensorflow::parse_graph_def(tensorflow::SharedBytes::borrow(graph_def), "the optimized graph"));
  tensorflow::ImportOptions import;
  import.outputs = outputs;
  import.fixed = fixed;
  return engine_of(graph, import, options);
}

}  // namespace blade::optimizer
