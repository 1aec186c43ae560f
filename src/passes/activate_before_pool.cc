// ActivateBeforePool: an activation of a max pool's result moves before the pool, where it joins the epilogue of the
// convolution: the largest of activated elements is the activation of the largest, if the activation never falls.
#include "passes/matrix_nodes.h"
#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::PointwiseOp;

bool never_falls(const ir::PointwiseInstr& instr) {
  switch (instr.op) {
    case PointwiseOp::kRelu:
    case PointwiseOp::kRelu6:
      return true;
    case PointwiseOp::kLeakyRelu:
      return instr.alpha >= 0;
    case PointwiseOp::kClip:
      return instr.alpha <= instr.beta;
    default:
      return false;
  }
}

// Every window holds an element, so that the pool makes up none of its own.
bool pools_elements(const Node& node) {
  const auto& attrs = node.get<ir::PoolAttrs>();
  return attrs.kind == ir::PoolKind::kMax && attrs.padding != ir::Padding::kExplicit;
}

// The activation that alone reads the pool's result; nullptr if it may not move.
Node* movable_activation(Rewriter& rewriter, const Node& pool) {
  const Node* producer = rewriter.producer(pool.inputs[0]);
  const bool joins = producer != nullptr && (is_matrix_node(producer) || producer->op == Op::kPointwise);
  if (!joins || !pools_elements(pool) || !rewriter.has_one_use(pool.inputs[0])) return nullptr;
  const ir::ValueId result = pool.outputs[0];
  if (!rewriter.has_one_use(result) || rewriter.is_output(result)) return nullptr;
  Node* activation = &rewriter.graph().node(rewriter.readers(result)[0]);
  const ir::PointwiseInstr* instr = single_instr(activation);
  const bool moves = instr != nullptr && activation->inputs.size() == 1 && never_falls(*instr) &&
                     is_float32(rewriter, *activation) && !rewriter.is_output(activation->outputs[0]);
  return moves ? activation : nullptr;
}

}  // namespace

Result<PassResult> activate_before_pool(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  const std::vector<ir::NodeId> order = rewriter.order();
  for (ir::NodeId id : order) {
    if (rewriter.is_dead(id) || graph.node(id).op != Op::kPool) continue;
    Node* activation = movable_activation(rewriter, graph.node(id));
    if (activation == nullptr) continue;
    const ir::ValueId x = graph.node(id).inputs[0], late = activation->outputs[0];
    const ir::ValueId early = rewriter
                                  .insert(*activation, Op::kPointwise, {x}, activation->attrs, rewriter.dtype(x),
                                          rewriter.shape(x), "before_pool")
                                  .outputs[0];
    rewriter.set_inputs(graph.node(id), {early});
    rewriter.replace(late, graph.node(id).outputs[0]);
    ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
