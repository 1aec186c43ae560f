// ProjectBeforePool: a 1x1 convolution to fewer channels moves before the average pooling that it reads. Averages over
// pixels and sums over channels may change places, and then fewer channels are pooled.
#include <algorithm>

#include "passes/matrix_nodes.h"
#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;

bool all_are(const std::vector<int64_t>& values, int64_t value) {
  return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == value; });
}

// A 1x1 convolution of every pixel that does nothing else.
bool only_projects(Rewriter& rewriter, const Node& node) {
  if (node.op != Op::kConv || node.inputs.size() != 2) return false;
  const auto& attrs = node.get<ir::ConvAttrs>();
  const ir::Shape& weights = rewriter.shape(node.inputs[1]);
  if (attrs.groups != 1 || !attrs.epilogue.empty() || !all_are(attrs.strides, 1)) return false;
  if (!all_are(attrs.explicit_pads, 0) || !weights.is_static()) return false;
  for (int i = 0; i + 2 < weights.rank(); ++i) {
    if (weights.dim(i).value() != 1) return false;
  }
  // Fewer channels by so much that another pass over the result, for what joined the convolution, pays.
  return 2 * weights.dim(-1).value() <= weights.dim(-2).value();
}

// The pooling of as many windows as there are pixels, read by nothing else; nullptr if there is none.
const Node* average_before(Rewriter& rewriter, const Node& conv) {
  const Node* pool = rewriter.producer(conv.inputs[0], Op::kPool);
  if (pool == nullptr || !rewriter.has_one_use(conv.inputs[0])) return nullptr;
  const auto& attrs = pool->get<ir::PoolAttrs>();
  const bool averages = attrs.kind == ir::PoolKind::kAverage && all_are(attrs.strides, 1);
  return averages && attrs.padding == ir::Padding::kSame && rewriter.shape(pool->inputs[0]).has_rank() ? pool : nullptr;
}

}  // namespace

Result<PassResult> project_before_pool(ir::Graph& graph, const PassOptions& options) {
  PassResult result;
  if (options.on_device) return result;  // there what joined the convolution would be a launch of its own
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  const std::vector<ir::NodeId> order = rewriter.order();
  for (ir::NodeId id : order) {
    if (rewriter.is_dead(id) || !only_projects(rewriter, graph.node(id))) continue;
    const Node* pool = average_before(rewriter, graph.node(id));
    if (pool == nullptr) continue;
    const ir::Attrs pooling = pool->attrs;
    const ir::ValueId x = pool->inputs[0];
    const Node& conv = graph.node(id);
    ir::Shape shape = rewriter.shape(x);
    shape.set_dim(-1, rewriter.shape(conv.inputs[1]).dim(-1));
    Node& early = rewriter.insert(conv, Op::kConv, {x, conv.inputs[1]}, conv.attrs, rewriter.dtype(conv.outputs[0]),
                                  std::move(shape), "before_pool");
    Node& late = graph.node(id);
    rewriter.change(late, Op::kPool, {early.outputs[0]}, pooling);
    rewriter.swap_identity(early, late);
    ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
