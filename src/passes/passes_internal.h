// The run functions of all passes, one a file; pipeline.cc lists them.
#pragma once

#include "passes/pass.h"

namespace blade::passes {

Result<PassResult> strip_unused_nodes(ir::Graph& graph, const PassOptions& options);
Result<PassResult> strip_debug_ops(ir::Graph& graph, const PassOptions& options);
Result<PassResult> simplify_control_flow(ir::Graph& graph, const PassOptions& options);
Result<PassResult> fold_constants(ir::Graph& graph, const PassOptions& options);
Result<PassResult> take_single_turns(ir::Graph& graph, const PassOptions& options);
Result<PassResult> shapes_of_inputs(ir::Graph& graph, const PassOptions& options);
Result<PassResult> common_subexpressions(ir::Graph& graph, const PassOptions& options);
Result<PassResult> widen_halves(ir::Graph& graph, const PassOptions& options);
Result<PassResult> hoist_invariants(ir::Graph& graph, const PassOptions& options);
Result<PassResult> fold_dilation(ir::Graph& graph, const PassOptions& options);
Result<PassResult> layout(ir::Graph& graph, const PassOptions& options);
Result<PassResult> merge_steps(ir::Graph& graph, const PassOptions& options);
Result<PassResult> algebraic_cleanup(ir::Graph& graph, const PassOptions& options);
Result<PassResult> recognize_activations(ir::Graph& graph, const PassOptions& options);
Result<PassResult> recognize_normalization(ir::Graph& graph, const PassOptions& options);
Result<PassResult> recognize_attention(ir::Graph& graph, const PassOptions& options);
Result<PassResult> recognize_moments(ir::Graph& graph, const PassOptions& options);
Result<PassResult> recognize_recurrence(ir::Graph& graph, const PassOptions& options);
Result<PassResult> fold_batch_norm(ir::Graph& graph, const PassOptions& options);
Result<PassResult> fold_pad(ir::Graph& graph, const PassOptions& options);
Result<PassResult> activate_before_pool(ir::Graph& graph, const PassOptions& options);
Result<PassResult> project_around_pool(ir::Graph& graph, const PassOptions& options);
Result<PassResult> mean_before_conv(ir::Graph& graph, const PassOptions& options);
Result<PassResult> fuse_epilogue(ir::Graph& graph, const PassOptions& options);
Result<PassResult> fuse_pointwise(ir::Graph& graph, const PassOptions& options);
Result<PassResult> join_products(ir::Graph& graph, const PassOptions& options);
Result<PassResult> mixed_precision_gpu(ir::Graph& graph, const PassOptions& options);
Result<PassResult> mixed_precision_cpu(ir::Graph& graph, const PassOptions& options);

}  // namespace blade::passes
