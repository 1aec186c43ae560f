// FoldPad: zero padding of spatial dims before a convolution becomes the convolution's own padding; before a max pool
// only where the padding can never be the maximum (below all data, or zero before data that is never negative).
#include <algorithm>
#include <cmath>
#include <limits>

#include "passes/constants.h"
#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::Padding;
using ir::PointwiseOp;
using ir::ValueId;

// Begin and end of each spatial dim of a constant Pad that leaves batch and channels alone.
std::optional<std::vector<int64_t>> spatial_padding(const Rewriter& rewriter, const Node& pad, size_t spatial_rank) {
  if (pad.get<ir::PadAttrs>().mode != ir::PadMode::kConstant) return std::nullopt;
  const auto all = integers(rewriter.graph(), pad.inputs[1]);
  if (!all || all->size() != 2 * (spatial_rank + 2)) return std::nullopt;
  if ((*all)[0] != 0 || (*all)[1] != 0 || (*all)[all->size() - 2] != 0 || all->back() != 0) return std::nullopt;
  if (std::any_of(all->begin(), all->end(), [](int64_t p) { return p < 0; })) return std::nullopt;
  return std::vector<int64_t>(all->begin() + 2, all->end() - 2);
}

std::optional<double> padding_value(const Rewriter& rewriter, const Node& pad) {
  if (pad.inputs.size() < 3) return 0.0;
  return uniform_value(rewriter.graph(), pad.inputs[2]);
}

// The padding that `padding` adds to an input of the given (already padded) shape; nullopt where that is not known.
std::optional<std::vector<int64_t>> own_padding(Padding padding, const std::vector<int64_t>& explicit_pads,
                                                const ir::Shape& input, const std::vector<int64_t>& window,
                                                const std::vector<int64_t>& strides,
                                                const std::vector<int64_t>& dilations) {
  if (padding == Padding::kExplicit) return explicit_pads;
  std::vector<int64_t> pads(2 * window.size(), 0);
  if (padding == Padding::kValid) return pads;
  for (size_t i = 0; i < window.size(); ++i) {
    const ir::Dim dim = input.dim(static_cast<int>(i) + 1);
    if (!dim.is_known()) return std::nullopt;
    const int64_t outputs = (dim.value() + strides[i] - 1) / strides[i];
    const int64_t total =
        std::max<int64_t>(0, (outputs - 1) * strides[i] + (window[i] - 1) * dilations[i] + 1 - dim.value());
    pads[2 * i] = total / 2;
    pads[2 * i + 1] = total - total / 2;
  }
  return pads;
}

std::vector<int64_t> sum(std::vector<int64_t> a, const std::vector<int64_t>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

bool fold_into_conv(Rewriter& rewriter, Node& conv) {
  const Node* pad = rewriter.producer(conv.inputs[0], Op::kPad);
  ir::ConvAttrs attrs = conv.get<ir::ConvAttrs>();
  if (pad == nullptr || padding_value(rewriter, *pad) != 0.0) return false;
  const auto outer = spatial_padding(rewriter, *pad, attrs.strides.size());
  const ir::Shape& weights = rewriter.shape(conv.inputs[1]);
  if (!outer || !weights.has_rank()) return false;
  std::vector<int64_t> window;
  for (size_t i = 0; i < attrs.strides.size(); ++i) {
    const ir::Dim dim = weights.dim(static_cast<int>(i));
    if (!dim.is_known()) return false;
    window.push_back(dim.value());
  }
  const auto own = own_padding(attrs.padding, attrs.explicit_pads, rewriter.shape(conv.inputs[0]), window,
                               attrs.strides, attrs.dilations);
  if (!own) return false;
  attrs.padding = Padding::kExplicit;
  attrs.explicit_pads = sum(*own, *outer);
  std::vector<ValueId> inputs = conv.inputs;
  inputs[0] = pad->inputs[0];
  rewriter.change(conv, Op::kConv, std::move(inputs), std::move(attrs));
  return true;
}

bool is_never_negative(Rewriter& rewriter, ValueId value, int depth) {
  const Node* node = depth > 0 ? rewriter.producer(value) : nullptr;
  if (node == nullptr) return false;
  if (node->op == Op::kSoftmax) return !node->get<ir::SoftmaxAttrs>().log;
  if (node->op == Op::kPool || node->op == Op::kReshape) return is_never_negative(rewriter, node->inputs[0], depth - 1);
  if (node->op == Op::kConcat) {
    return std::all_of(node->inputs.begin(), node->inputs.end(),
                       [&](ValueId input) { return is_never_negative(rewriter, input, depth - 1); });
  }
  if (node->op != Op::kPointwise) return false;
  const ir::PointwiseInstr& last = node->get<ir::PointwiseAttrs>().program.code.back();
  switch (last.op) {
    case PointwiseOp::kRelu:
    case PointwiseOp::kRelu6:
    case PointwiseOp::kSigmoid:
    case PointwiseOp::kHardSigmoid:
    case PointwiseOp::kAbs:
    case PointwiseOp::kSquare:
    case PointwiseOp::kExp:
      return true;
    case PointwiseOp::kClip:
      return last.alpha >= 0 && last.beta >= 0;
    default:
      return false;
  }
}

bool fold_into_max_pool(Rewriter& rewriter, Node& pool) {
  const Node* pad = rewriter.producer(pool.inputs[0], Op::kPad);
  ir::PoolAttrs attrs = pool.get<ir::PoolAttrs>();
  if (pad == nullptr || attrs.kind != ir::PoolKind::kMax || !ir::is_floating(rewriter.dtype(pool.inputs[0])))
    return false;
  const auto outer = spatial_padding(rewriter, *pad, attrs.window.size());
  const auto value = padding_value(rewriter, *pad);
  if (!outer || !value) return false;
  const bool below_all = *value == -std::numeric_limits<double>::infinity();
  if (!below_all && !(*value == 0 && is_never_negative(rewriter, pad->inputs[0], 8))) return false;
  const auto own = own_padding(attrs.padding, attrs.explicit_pads, rewriter.shape(pool.inputs[0]), attrs.window,
                               attrs.strides, std::vector<int64_t>(attrs.window.size(), 1));
  if (!own) return false;
  attrs.padding = Padding::kExplicit;
  attrs.explicit_pads = sum(*own, *outer);
  // Every window must see some data. Of sizes that only a run tells that is taken for granted: an image without rows
  // gives minus infinity, where a padding of zeros would have given zeros.
  for (size_t i = 0; i < attrs.window.size(); ++i) {
    if (attrs.explicit_pads[2 * i] >= attrs.window[i] || attrs.explicit_pads[2 * i + 1] >= attrs.window[i])
      return false;
    const ir::Dim dim = rewriter.shape(pad->inputs[0]).dim(static_cast<int>(i) + 1);
    if (dim == ir::Dim(0)) return false;
  }
  rewriter.change(pool, Op::kPool, {pad->inputs[0]}, std::move(attrs));
  return true;
}

}  // namespace

Result<PassResult> fold_pad(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  for (ir::NodeId id : rewriter.order()) {
    if (rewriter.is_dead(id)) continue;
    Node& node = graph.node(id);
    if (node.op == Op::kConv) result.changes += fold_into_conv(rewriter, node) ? 1 : 0;
    if (node.op == Op::kPool) result.changes += fold_into_max_pool(rewriter, node) ? 1 : 0;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
