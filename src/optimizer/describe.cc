// Texts about models, engines and the machine.
#include "optimizer/describe.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "backends/cuda/loader.h"
#include "backends/machine.h"
#include "engine/coverage.h"
#include "engine/kernel_choice.h"
#include "frontends/tensorflow/importer.h"
#include "frontends/tensorflow/model_loader.h"
#include "frontends/tensorflow/node_index.h"
#include "frontends/tensorflow/op_table.h"
#include "ir/plain_text.h"
#include "optimizer/import_knowing_shapes.h"
#include "optimizer/load_engine.h"
#include "optimizer/tensorflow_library.h"
#include "optimizer/test_data.h"

namespace blade::optimizer {
namespace {

using json = nlohmann::ordered_json;

json tensor_json(const ir::Graph& graph, const std::string& name, ir::ValueId id) {
  const ir::Value& value = graph.value(id);
  const std::string node = name.ends_with(":0") ? name.substr(0, name.size() - 2) : name;
  return {{"name", node}, {"dtype", ir::dtype_name(value.dtype)}, {"shape", ir::plain_text(value.shape)}};
}

// Per source op, most frequent first: how many nodes there are, how many an engine would take, why the others stay and
// what they cost.
json coverage_table(const tensorflow::ImportedModel& model, const engine::Partition& partition,
                    const engine::Coverage& cost) {
  struct Row {
    int nodes = 0, left = 0;
    double flops_left = 0;
    bool estimated = true;
    std::vector<std::string> reasons;
  };
  std::map<std::string, Row> rows;
  for (const tensorflow::NodeDef& node : model.source->nodes) ++rows[node->op].nodes;
  for (size_t i = 0; i < partition.left_behind.size(); ++i) {
    const engine::LeftBehind& left = partition.left_behind[i];
    Row& row = rows[left.op];
    ++row.left;
    row.flops_left += cost.left_flops[i].value_or(0);
    row.estimated = row.estimated && cost.left_flops[i].has_value();
    if (std::find(row.reasons.begin(), row.reasons.end(), left.reason) == row.reasons.end())
      row.reasons.push_back(left.reason);
  }
  json table = json::array();
  for (const auto& [op, row] : rows) {
    table.push_back({{"op", op}, {"nodes", row.nodes}, {"covered", row.nodes - row.left}, {"reasons", row.reasons}});
    json& entry = table.back();
    entry["nodes_share_left"] = static_cast<double>(row.left) / static_cast<double>(model.source->nodes.size());
    if (row.estimated) {
      entry["flops_share_left"] = cost.flops > 0 ? row.flops_left / cost.flops : 0;
    } else {
      entry["flops_share_left"] = nullptr;  // only TensorFlow knows its work
    }
  }
  std::stable_sort(table.begin(), table.end(),
                   [](const json& a, const json& b) { return a.at("nodes") > b.at("nodes"); });
  return table;
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
    if (step.choice != step.kernel_name) steps.back()["choice"] = step.choice;
    if (step.tuned) {
      steps.back()["tuned"] = {
          {"static_choice", step.tuned->static_choice}, {"static_us", step.tuned->static_us}, {"us", step.tuned->us}};
    }
    if (step.on_host) steps.back()["on_host"] = true;
    if (!step.refused.empty()) steps.back()["refused"] = step.refused;
  }
  return {{"steps", steps}, {"arena_bytes", plan.arena_bytes}, {"arena_bytes_without_reuse", plan.naive_arena_bytes}};
}

}  // namespace

Result<std::string> inspect_model(const std::string& path, const Wanted& wanted) {
  BLADE_ASSIGN_OR_RETURN(tensorflow::LoadedModel model, tensorflow::load_model(path, wanted.signature));
  tensorflow::ImportOptions import;
  import.inputs = model.inputs;
  import.outputs = outputs_of(model, tensorflow::ModelNames(model), wanted);
  import.may_feed_defaults = true;
  BLADE_ASSIGN_OR_RETURN(tensorflow::ImportedModel imported, tensorflow::import_graph(model.graph, import));
  const bool any_stays = std::find(imported.foreign.begin(), imported.foreign.end(), 1) != imported.foreign.end();
  if (any_stays && !wanted.tensorflow_dir.empty()) {
    if (const auto api = load_tensorflow(wanted.tensorflow_dir); api.ok()) {
      BLADE_ASSIGN_OR_RETURN(imported, import_knowing_shapes(**api, model.graph, import, std::move(imported)));
    }
  }
  json report = {{"format", model.format}, {"inputs", json::array()}, {"outputs", json::array()}};
  for (const ir::ValueId id : imported.graph.inputs()) {
    report["inputs"].push_back(tensor_json(imported.graph, imported.graph.value(id).name, id));
  }
  for (size_t i = 0; i < imported.graph.outputs().size(); ++i) {
    report["outputs"].push_back(
        tensor_json(imported.graph, imported.graph.output_names()[i], imported.graph.outputs()[i]));
  }
  report["nodes"] = imported.source->nodes.size();
  report["notes"] = imported.notes;
  BLADE_RETURN_IF_ERROR(run_whole_graph_passes(imported.graph));
  BLADE_ASSIGN_OR_RETURN(const engine::Partition partition, partition_model(imported, {}));
  const engine::Coverage cost = engine::measure_coverage(imported.graph, partition, {});
  report["ops"] = coverage_table(imported, partition, cost);
  json left = json::array();
  for (const engine::LeftBehind& node : partition.left_behind) {
    left.push_back({{"node", node.node}, {"op", node.op}, {"reason", node.reason}});
  }
  report["regions"] = partition.regions.size();
  report["nodes_in_engines"] = imported.source->nodes.size() - partition.left_behind.size();
  report["flops_share"] = cost.flops > 0 ? 1 - cost.flops_left / cost.flops : 1;
  report["boundary_bytes"] = cost.boundary_bytes;
  report["left_behind"] = left;
  return report.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::string> placeholder_types(const std::string& path, std::string_view graph_def,
                                      const std::string& signature) {
  tensorflow::LoadedModel model;
  if (path.empty()) {
    BLADE_ASSIGN_OR_RETURN(model.graph,
                           tensorflow::parse_graph_def(tensorflow::SharedBytes::borrow(graph_def), "graph_def"));
  } else {
    BLADE_ASSIGN_OR_RETURN(model, tensorflow::load_model(path, signature));
  }
  json types = json::object();
  for (const tensorflow::NodeDef& node : model.graph->nodes) {
    if (!tensorflow::is_placeholder(node)) continue;
    BLADE_ASSIGN_OR_RETURN(const tensorflow::DataType type, tensorflow::type_attr(node, "dtype"));
    const ir::DType dtype = tensorflow::to_ir(tensorflow::base_type(type));
    if (dtype == ir::DType::kOpaque) continue;
    types[node->name] = types[node->name + ":0"] = ir::dtype_name(dtype);
  }
  const json of_tensors = types;
  const tensorflow::ModelNames names(model);
  for (const std::string& key : model.input_keys) {
    for (const std::string& name : {key, key + ":0"}) {
      const Result<std::string> tensor = names.input(name);
      if (tensor.ok() && of_tensors.contains(*tensor)) types[name] = of_tensors[*tensor];
    }
  }
  return types.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::string> explain_engine(engine::Engine& engine, const std::vector<ir::Dims>* input_dims) {
  engine::Decisions decisions = engine.decisions();
  decisions.input_moments.clear();  // a number for each channel
  json report = {{"threads", engine.num_threads()},
                 {"packed_weight_bytes", engine.packed_bytes()},
                 {"plans_cached", engine.plans_cached()},
                 {"machine", engine::machine_signature(engine.device(), engine.num_threads())},
                 {"decisions", json::parse(decisions.to_json(), nullptr, false)}};
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

namespace {

std::string gpu_text() {
  const Result<backends::Device*>& card = backends::cuda_device();
  if (!card.ok()) return "not usable: " + card.status().message() + "; device 'auto' takes the CPU";
  const backends::DeviceInfo& info = (*card)->info();
  return "usable: " + info.name + " (" + info.architecture + ", " + std::to_string(info.multiprocessors) +
         " multiprocessors, " + std::to_string(info.memory_bytes >> 30) + " GiB)";
}

}  // namespace

std::string doctor(const std::string& tensorflow_dir) {
  const backends::Machine& machine = backends::Machine::host();
  const auto api = load_tensorflow(tensorflow_dir);
  const json report = {{"blade", BLADE_VERSION},
                       {"cpu", machine.model_name},
                       {"microarchitecture", machine.microarchitecture},
                       {"instruction_sets", machine.instruction_sets()},
                       {"usable_cpus", machine.cpus},
                       {"cpu_engine", "usable"},
                       {"gpu_engine", gpu_text()},
                       {"tensorflow", api.ok() ? std::string((*api)->TF_Version()) + " (baselines are measured in it)"
                                               : api.status().message()}};
  return report.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace blade::optimizer
