// RecognizeMoments: mean and variance over the same axes as one node: group, instance and batch statistics, and layer
// normalization over more than the last axis, as tf.nn.moments and its relatives write them.
#include <algorithm>

#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::PointwiseOp;
using ir::ValueId;

// A mean that keeps the reduced dims, with the axes in order; nullptr for others.
const Node* kept_mean(Rewriter& rewriter, ValueId value, std::vector<int64_t>& axes) {
  const Node* node = rewriter.producer(value, ir::Op::kReduce);
  if (node == nullptr || !is_float32(rewriter, *node)) return nullptr;
  const auto& attrs = node->get<ir::ReduceAttrs>();
  if (attrs.kind != ir::ReduceKind::kMean || !attrs.keep_dims) return nullptr;
  axes = attrs.axes;
  std::sort(axes.begin(), axes.end());
  return node;
}

// The kernel takes two runs of reduced axes with one run of kept ones between them.
bool has_few_runs(const std::vector<int64_t>& axes, int rank) {
  int runs = 0;
  for (size_t i = 0; i < axes.size(); ++i) runs += i == 0 || axes[i] != axes[i - 1] + 1 ? 1 : 0;
  return !axes.empty() && (runs == 1 || (runs == 2 && axes.back() == rank - 1));
}

// x and its mean over `axes` where `squares` is (x - mean)^2.
struct Centred {
  ValueId x = ir::kNone, mean = ir::kNone;
};
std::optional<Centred> squared_distance(Rewriter& rewriter, ValueId squares, const std::vector<int64_t>& axes) {
  const Node* difference = pointwise_producer(rewriter, squares, PointwiseOp::kSquaredDifference);
  if (difference == nullptr) {
    const Node* square = pointwise_producer(rewriter, squares, PointwiseOp::kSquare);
    difference = square == nullptr ? nullptr : pointwise_producer(rewriter, operand(*square, 0), PointwiseOp::kSub);
  }
  if (difference == nullptr) return std::nullopt;
  for (int i = 0; i < 2; ++i) {
    const Centred found{operand(*difference, i), operand(*difference, 1 - i)};
    std::vector<int64_t> mean_axes;
    const Node* mean = kept_mean(rewriter, found.mean, mean_axes);
    if (mean != nullptr && mean->inputs[0] == found.x && mean_axes == axes) return found;
  }
  return std::nullopt;
}

bool join_moments(Rewriter& rewriter, Node& node) {
  std::vector<int64_t> axes;
  if (node.op != Op::kReduce || kept_mean(rewriter, node.outputs[0], axes) == nullptr) return false;
  const auto centred = squared_distance(rewriter, node.inputs[0], axes);
  if (!centred || rewriter.is_output(centred->mean) || rewriter.is_output(node.outputs[0])) return false;
  const ir::Shape& x = rewriter.shape(centred->x);
  if (!x.has_rank() || !has_few_runs(axes, x.rank())) return false;
  const ir::Shape shape = rewriter.shape(node.outputs[0]);
  const ValueId variance = node.outputs[0], mean = centred->mean;
  Node& moments = rewriter.insert(*rewriter.producer(mean), ir::Op::kMoments, {centred->x}, ir::AxesAttrs{axes},
                                  ir::DType::kFloat32, shape, "moments", 2);
  const ValueId new_mean = moments.outputs[0], new_variance = moments.outputs[1];
  return rewriter.replace(variance, new_variance) && rewriter.replace(mean, new_mean);
}

}  // namespace

Result<PassResult> recognize_moments(ir::Graph& graph, const PassOptions& options) {
  PassResult result;
  if (options.on_device) return result;  // whose backends have no kernel for it
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  for (ir::NodeId id : rewriter.order()) {
    if (!rewriter.is_dead(id) && join_moments(rewriter, graph.node(id))) ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
