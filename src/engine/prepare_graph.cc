#include "engine/prepare_graph.h"

#include "ir/foreign_nodes.h"
#include "passes/pass.h"

namespace blade::engine {
namespace {

Status check_profile(const ir::Graph& graph, const Decisions& decisions) {
  if (!decisions.profile || decisions.profile->min.size() == graph.inputs().size()) return {};
  return invalid_argument("The profile has shapes for " + std::to_string(decisions.profile->min.size()) +
                          " inputs, the model has " + std::to_string(graph.inputs().size()) +
                          ": give one shape an input.");
}

const backends::Machine& machine_of(const EngineOptions& options) {
  return options.machine != nullptr ? *options.machine : backends::Machine::host();
}

// The type that the decisions narrow to, where this machine computes in it and the answers were checked on its kind:
// elsewhere the model runs in float32.
ir::DType narrow_type(const Decisions& decisions, const EngineOptions& options) {
  if (options.device != nullptr) {
    if (decisions.device != "gpu") return ir::DType::kInvalid;
    return decisions.precision == "fp16"   ? ir::DType::kFloat16
           : decisions.precision == "bf16" ? ir::DType::kBFloat16
                                           : ir::DType::kInvalid;
  }
  const bool native = decisions.device == "cpu" && !options.reference_only && machine_of(options).avx512_bf16;
  return decisions.precision == "bf16" && native ? ir::DType::kBFloat16 : ir::DType::kInvalid;
}

// Small constants are read in place by many kernels: give them vector alignment once.
Status align_small_constants(ir::Graph& graph) {
  constexpr size_t kSmall = size_t{64} << 10;
  for (ir::ValueId id = 0; id < graph.num_values(); ++id) {
    ir::Value& value = graph.value(id);
    if (!value.is_constant() || value.constant->bytes >= kSmall) continue;
    BLADE_ASSIGN_OR_RETURN(value.constant, ir::aligned(value.constant));
  }
  return {};
}

}  // namespace

Status run_region_passes(ir::Graph& graph, const Decisions& decisions, const EngineOptions& options) {
  passes::PassOptions pass_options;
  pass_options.on_device = options.device != nullptr;
  pass_options.narrow_type = narrow_type(decisions, options);
  pass_options.for_tiles = pass_options.narrow_type == ir::DType::kBFloat16 && decisions.for_tiles;
  pass_options.has_tiles = pass_options.for_tiles && machine_of(options).amx_bf16;
  pass_options.keep_float32 = decisions.keep_float32;
  pass_options.input_moments = &decisions.input_moments;
  return passes::run_pipeline(graph, /*whole_graph=*/false, decisions.disabled_passes, pass_options).status();
}

Status prepare_graph(ir::Graph& graph, const Decisions& decisions, const EngineOptions& options) {
  BLADE_RETURN_IF_ERROR(run_region_passes(graph, decisions, options));
  graph.remove_dead_nodes();
  BLADE_RETURN_IF_ERROR(ir::refuse_foreign(graph));
  BLADE_RETURN_IF_ERROR(check_profile(graph, decisions));
  return align_small_constants(graph);
}

}  // namespace blade::engine
