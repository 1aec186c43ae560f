// The ordered list of all graph passes, and the loop that runs them with checks after each.
#include <algorithm>

#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

// Cleanup before recognition (patterns are written for clean graphs), folding before fusion (a fused scale cannot be
// folded), epilogues before elementwise fusion (what joins a matrix product costs nothing), precision last (the choice
// is by the fused nodes).
constexpr Pass kPipeline[] = {
    {"TfStripUnusedNodes", "Removes nodes that no output needs.", true, strip_unused_nodes},
    {"TfStripDebugOps", "Removes Identity, StopGradient, CheckNumerics, Assert and Print nodes.", true,
     strip_debug_ops},
    {"TfSimplifyControlFlow", "Moves constants into loops and branches and drops what these do not need.", true,
     simplify_control_flow},
    {"TfFoldConstants", "Computes what depends on constants and known shapes alone.", true, fold_constants},
    {"WidenHalves", "Computes in float32 what is stored in float16 or bfloat16.", false, widen_halves},
    {"ShapesOfInputs", "Asks inputs for sizes and not what is computed from them.", false, shapes_of_inputs},
    {"CommonSubexpressions", "Merges nodes that compute the same from the same.", false, common_subexpressions},
    {"AlgebraicCleanup", "Removes operations that do nothing and replaces others by cheaper equals.", false,
     algebraic_cleanup},
    {"FoldDilation", "Finds dilated convolutions in SpaceToBatch, convolution and BatchToSpace.", false, fold_dilation},
    {"Layout", "Cancels transposes and moves reshapes behind elementwise work.", false, layout},
    {"MergeSteps", "Does at once what is done slice by slice, as unrolled loops over time do.", false, merge_steps},
    {"RecognizeActivations", "Finds PReLU, hard swish, swish, GELU and others in their pieces.", false,
     recognize_activations},
    {"RecognizeNormalization", "Finds layer normalization and softmax in their pieces.", false,
     recognize_normalization},
    {"RecognizeAttention", "Finds attention and the transposes around it.", false, recognize_attention},
    {"RecognizeMoments", "Finds mean and variance over the same axes.", false, recognize_moments},
    {"RecognizeRecurrence", "Finds recurrent layers in loops over time.", false, recognize_recurrence},
    {"TakeSingleTurns", "Puts the body of a loop that turns exactly once in its place.", false, take_single_turns},
    {"HoistInvariants", "Computes before a loop what is the same in all its iterations.", false, hoist_invariants},
    {"FoldBatchNorm", "Folds batch normalization and channel scales into weights.", false, fold_batch_norm},
    {"FoldPad", "Folds zero padding into convolutions and max pools.", false, fold_pad},
    {"ActivateBeforePool", "Moves the activation of a max pool's result before the pool.", false, activate_before_pool},
    {"ProjectAroundPool", "Lets a 1x1 convolution and an average pooling change places where that saves work.", false,
     project_around_pool},
    {"MeanBeforeConv", "Averages what a convolution reads where only the mean of its results is asked for.", false,
     mean_before_conv},
    {"FuseEpilogue", "Joins bias, activation, residual and scale to the matrix product before them.", false,
     fuse_epilogue},
    {"JoinProducts", "Computes matrix products of the same rows as one, on a GPU in 16 bits.", false, join_products},
    {"FusePointwise", "Joins trees of elementwise operations into one.", false, fuse_pointwise},
    {"TfAutoMixedPrecisionGpu", "Turns matrix work and what lies between into float16 or bfloat16, on a GPU.", false,
     mixed_precision_gpu},
    {"TfAutoMixedPrecisionCpu", "Turns matrix work and what lies between into bfloat16, on a CPU that has it.", false,
     mixed_precision_cpu},
};

}  // namespace

std::span<const Pass> pipeline() { return kPipeline; }

namespace {

// One report a pass.
void add_report(std::vector<PipelineReport>& reports, PipelineReport report) {
  const auto same = std::find_if(reports.begin(), reports.end(),
                                 [&](const PipelineReport& other) { return other.pass == report.pass; });
  if (same == reports.end()) {
    reports.push_back(std::move(report));
    return;
  }
  same->result.changes += report.result.changes;
  for (std::string& note : report.result.notes) same->result.notes.push_back(std::move(note));
}

// The same passes over the graphs that nodes hold; what they did is added to `reports`.
Status run_inside(ir::Graph& graph, bool whole_graph, std::span<const std::string> disabled, const PassOptions& options,
                  std::vector<PipelineReport>& reports) {
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id)) continue;
    auto* attrs = std::get_if<ir::SubGraphsAttrs>(&graph.node(id).attrs);
    for (size_t i = 0; attrs != nullptr && i < attrs->graphs.size(); ++i) {
      ir::Graph inner = attrs->graphs[i]->clone();
      PassOptions inside_options = options;
      inside_options.input_moments = nullptr;                                   // which goes by the names outside
      if (options.on_device) inside_options.narrow_type = ir::DType::kInvalid;  // loops and branches run on the host
      auto inside = run_pipeline(inner, whole_graph, disabled, inside_options);
      if (!inside.ok()) return inside.status().with_context("Inside '" + graph.node(id).name + "'");
      inner.remove_dead_nodes();
      attrs->graphs[i] = std::make_shared<const ir::Graph>(std::move(inner));
      for (PipelineReport& report : *inside) add_report(reports, std::move(report));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<PipelineReport>> run_pipeline(ir::Graph& graph, bool whole_graph,
                                                 std::span<const std::string> disabled, const PassOptions& options) {
  std::vector<PipelineReport> reports;
  for (size_t next = 0; next < pipeline().size();) {
    const Pass& pass = pipeline()[next++];
    if (pass.on_whole_graph != whole_graph) continue;
    if (std::find(disabled.begin(), disabled.end(), pass.name) != disabled.end()) continue;
    const std::string context = std::string("Pass ") + pass.name;
    auto result = pass.run(graph, options);
    if (!result.ok()) return result.status().with_context(context);
    if (result->changes > 0) {
      BLADE_RETURN_IF_ERROR(ir::infer_shapes(graph).with_context(context));
      BLADE_RETURN_IF_ERROR(ir::verify(graph).with_context(context));
    }
    if (result->run_again) next = 0;
    add_report(reports, {pass.name, std::move(*result)});
  }
  BLADE_RETURN_IF_ERROR(run_inside(graph, whole_graph, disabled, options, reports));
  return reports;
}

}  // namespace blade::passes
