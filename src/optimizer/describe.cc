// Texts about models, engines and the machine.
#include "optimizer/describe.h"

#include <map>
#include <nlohmann/json.hpp>

#include "backends/machine.h"
#include "engine/partition.h"
#include "frontends/tensorflow/importer.h"
#include "frontends/tensorflow/model_loader.h"
#include "optimizer/load_engine.h"
#include "optimizer/tensorflow_library.h"
#include "optimizer/test_data.h"

namespace blade::optimizer {
namespace {

using json = nlohmann::ordered_json;

json tensor_json(const ir::Graph& graph, const std::string& name, ir::ValueId id) {
  const ir::Value& value = graph.value(id);
  const std::string node = name.ends_with(":0") ? name.substr(0, name.size() - 2) : name;
  return {{"name", node}, {"dtype", ir::dtype_name(value.dtype)}, {"shape", graph.symbols().to_string(value.shape)}};
}

// Per source op: how many nodes there are, and how many an engine would take.
json op_counts(const tensorflow::ImportedModel& model) {
  std::map<std::string, std::pair<int, int>> counts;
  const auto& nodes = model.source->nodes;
  for (size_t i = 0; i < nodes.size(); ++i) {
    auto& [total, covered] = counts[nodes[i]->op];
    ++total;
    covered += !model.foreign[i];
  }
  json ops = json::object();
  for (const auto& [op, count] : counts) ops[op] = {{"total", count.first}, {"covered", count.second}};
  return ops;
}

const char* location_name(engine::Location::Kind kind) {
  switch (kind) {
    case engine::Location::Kind::kArena:
      return "arena";
    case engine::Location::Kind::kInput:
      return "input";
    case engine::Location::Kind::kOutput:
      return "output";
    case engine::Location::Kind::kConstant:
      return "constant";
    case engine::Location::Kind::kFound:
      return "found";
    case engine::Location::Kind::kNone:
      return "nowhere";
  }
  return "arena";
}

json plan_json(const engine::Plan& plan) {
  json steps = json::array();
  for (const engine::Step& step : plan.steps) {
    json outputs = json::array();
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      const auto& desc = step.output_descs[i];
      outputs.push_back({{"shape", dims_to_string(desc.dims)},
                         {"dtype", ir::dtype_name(desc.dtype)},
                         {"at", location_name(step.outputs[i].kind)},
                         {"offset", step.outputs[i].offset}});
    }
    steps.push_back(
        {{"node", step.node_name}, {"op", ir::op_name(step.op)}, {"kernel", step.kernel_name}, {"outputs", outputs}});
    if (!step.refused.empty()) steps.back()["refused"] = step.refused;
  }
  return {{"steps", steps}, {"arena_bytes", plan.arena_bytes}, {"arena_bytes_without_reuse", plan.naive_arena_bytes}};
}

}  // namespace

Result<std::string> inspect_model(const std::string& path, const std::vector<std::string>& outputs) {
  BLADE_ASSIGN_OR_RETURN(tensorflow::LoadedModel model, tensorflow::load_model(path));
  tensorflow::ImportOptions import;
  import.inputs = model.inputs;
  import.outputs = outputs.empty() ? model.outputs : outputs;
  BLADE_ASSIGN_OR_RETURN(tensorflow::ImportedModel imported, tensorflow::import_graph(model.graph, import));
  json report = {{"format", model.format}, {"inputs", json::array()}, {"outputs", json::array()}};
  for (const ir::ValueId id : imported.graph.inputs()) {
    report["inputs"].push_back(tensor_json(imported.graph, imported.graph.value(id).name, id));
  }
  for (size_t i = 0; i < imported.graph.outputs().size(); ++i) {
    report["outputs"].push_back(
        tensor_json(imported.graph, imported.graph.output_names()[i], imported.graph.outputs()[i]));
  }
  report["nodes"] = imported.source->nodes.size();
  report["ops"] = op_counts(imported);
  report["notes"] = imported.notes;
  BLADE_RETURN_IF_ERROR(run_whole_graph_passes(imported.graph));
  BLADE_ASSIGN_OR_RETURN(const engine::Partition partition, engine::partition(imported.graph));
  json left = json::array();
  for (const engine::LeftBehind& node : partition.left_behind) {
    left.push_back({{"node", node.node}, {"op", node.op}, {"reason", node.reason}});
  }
  report["regions"] = partition.regions.size();
  report["nodes_in_engines"] = imported.source->nodes.size() - partition.left_behind.size();
  report["left_behind"] = left;
  return report.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::string> explain_engine(engine::Engine& engine, const std::vector<ir::Dims>* input_dims) {
  json report = {{"threads", engine.num_threads()},
                 {"packed_weight_bytes", engine.packed_bytes()},
                 {"plans_cached", engine.plans_cached()},
                 {"decisions", json::parse(engine.decisions().to_json(), nullptr, false)}};
  if (input_dims != nullptr) {
    BLADE_ASSIGN_OR_RETURN(const auto plan, engine.plan_for(*input_dims));
    report["plan"] = plan_json(*plan);
    // Where shapes depend on data: what follows, for the sizes met so far.
    BLADE_ASSIGN_OR_RETURN(const auto plans, engine.plans_for(*input_dims));
    for (size_t i = 1; i < plans.size(); ++i) report["later_plans"].push_back(plan_json(*plans[i]));
    report["packed_weight_bytes"] = engine.packed_bytes();
  }
  return report.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string doctor(const std::string& tensorflow_dir) {
  const backends::Machine& machine = backends::Machine::host();
  std::string features;
  const std::pair<bool, const char*> known[] = {{machine.avx2, "avx2"},
                                                {machine.fma, "fma"},
                                                {machine.avx512, "avx512"},
                                                {machine.avx512_bf16, "avx512_bf16"},
                                                {machine.avx512_fp16, "avx512_fp16"},
                                                {machine.avx512_vnni, "avx512_vnni"},
                                                {machine.amx_bf16, "amx_bf16"},
                                                {machine.amx_int8, "amx_int8"}};
  for (const auto& [has, name] : known) {
    if (has) features += (features.empty() ? "" : " ") + std::string(name);
  }
  const auto api = load_tensorflow(tensorflow_dir);
  const json report = {{"blade", BLADE_VERSION},
                       {"cpu", machine.model_name},
                       {"microarchitecture", machine.microarchitecture},
                       {"instruction_sets", features},
                       {"usable_cpus", machine.cpus},
                       {"cpu_engine", "usable"},
                       {"gpu_engine", "not in this build: device 'gpu' is refused, 'auto' takes the CPU"},
                       {"tensorflow", api.ok() ? std::string((*api)->TF_Version()) + " (baselines are measured in it)"
                                               : api.status().message()}};
  return report.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace blade::optimizer
