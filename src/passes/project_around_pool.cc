// ProjectAroundPool: a 1x1 convolution and an average pooling beside it change places where that leaves less to do.
// Averages over pixels and sums over channels commute: to fewer channels it moves before a pooling that it reads, so
// that fewer are pooled, and behind one that leaves fewer pixels.
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
  return true;
}

// Fewer channels by so much that another pass over the result, for what joined the convolution, pays.
bool has_few_results(Rewriter& rewriter, const Node& conv) {
  const ir::Shape& weights = rewriter.shape(conv.inputs[1]);
  return 2 * weights.dim(-1).value() <= weights.dim(-2).value();
}

// Averages of elements of the tensor, never of none.
bool only_averages(Rewriter& rewriter, const Node& node) {
  const auto& attrs = node.get<ir::PoolAttrs>();
  return attrs.kind == ir::PoolKind::kAverage && attrs.padding != ir::Padding::kExplicit &&
         rewriter.shape(node.inputs[0]).has_rank() && rewriter.shape(node.outputs[0]).has_rank();
}

// As many windows as there are pixels.
bool keeps_pixels(const Node& pool) {
  const auto& attrs = pool.get<ir::PoolAttrs>();
  return all_are(attrs.strides, 1) && attrs.padding == ir::Padding::kSame;
}

// Pooling more channels costs less than what products of the pixels that it leaves out cost.
bool leaves_few_pixels(Rewriter& rewriter, const Node& pool, const Node& conv) {
  constexpr int64_t kFewChannels = 8;
  const auto& strides = pool.get<ir::PoolAttrs>().strides;
  const bool skips = std::any_of(strides.begin(), strides.end(), [](int64_t stride) { return stride > 1; });
  return skips && rewriter.shape(conv.inputs[1]).dim(-1).value() >= kFewChannels;
}

// The second of two neighbours becomes the first; `channels` lie between them then.
void exchange(Rewriter& rewriter, ir::NodeId first_id, ir::NodeId second_id, ir::Dim channels) {
  const Node& first = rewriter.graph().node(first_id);
  const Node& second = rewriter.graph().node(second_id);
  const Op first_op = first.op;
  const ir::Attrs first_attrs = first.attrs;
  std::vector<ir::ValueId> early_inputs = second.inputs, late_inputs = first.inputs;
  early_inputs[0] = first.inputs[0];
  ir::Shape shape = rewriter.shape(second.op == Op::kConv ? first.inputs[0] : second.outputs[0]);
  shape.set_dim(-1, channels);
  Node& early = rewriter.insert(second, second.op, std::move(early_inputs), second.attrs,
                                rewriter.dtype(second.outputs[0]), std::move(shape), "around_pool");
  late_inputs[0] = early.outputs[0];
  Node& late = rewriter.graph().node(second_id);
  rewriter.change(late, first_op, std::move(late_inputs), first_attrs);
  rewriter.swap_identity(early, late);
  rewriter.swap_identity(late, rewriter.graph().node(first_id));  // which is dead now
}

}  // namespace

Result<PassResult> project_around_pool(ir::Graph& graph, const PassOptions& options) {
  PassResult result;
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  const std::vector<ir::NodeId> order = rewriter.order();
  for (ir::NodeId id : order) {
    if (rewriter.is_dead(id)) continue;
    const Node& node = graph.node(id);
    if (node.op != Op::kConv && node.op != Op::kPool) continue;
    const Node* before = rewriter.producer(node.inputs[0], node.op == Op::kConv ? Op::kPool : Op::kConv);
    if (before == nullptr || !rewriter.has_one_use(node.inputs[0])) continue;
    const bool pools_first = before->op == Op::kPool;
    const Node &conv = pools_first ? node : *before, &pool = pools_first ? *before : node;
    if (!only_projects(rewriter, conv) || !only_averages(rewriter, pool)) continue;
    // On a device what joins a convolution that moves forward would be a launch of its own.
    const bool pays = pools_first ? !options.on_device && keeps_pixels(pool) && has_few_results(rewriter, conv)
                                  : leaves_few_pixels(rewriter, pool, conv);
    if (!pays) continue;
    exchange(rewriter, before->id, id, rewriter.shape(conv.inputs[1]).dim(pools_first ? -1 : -2));
    ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
