// MeanBeforeConv: where only the mean of all of a convolution's results is asked for, its inputs are averaged first.
// Each weight meets the mean of the pixels that it would have met one by one: a pooling with the window of the image
// gives these means, one for each tap, and the convolution has one result left.
#include <algorithm>

#include "passes/channel_affine.h"
#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;

constexpr int64_t kMostPixels = 1024;  // what a window of a pooling takes
constexpr int64_t kFewChannels = 4;    // of results: there the convolution costs as little as the pooling

bool is_mean_of_pixels(const Rewriter& rewriter, const Node& node) {
  const auto& attrs = node.get<ir::ReduceAttrs>();
  const ir::Shape& shape = rewriter.shape(node.inputs[0]);
  if (attrs.kind != ir::ReduceKind::kMean || !shape.has_rank() || shape.rank() < 3) return false;
  std::vector<int64_t> axes = attrs.axes;
  std::sort(axes.begin(), axes.end());
  if (axes.size() != static_cast<size_t>(shape.rank()) - 2) return false;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] != static_cast<int64_t>(i) + 1) return false;
  }
  return true;
}

// One dim of the image: the pooling's window moves from tap to tap.
struct Axis {
  int64_t in = 1, out = 1, taps = 1, dilation = 1, pad_before = 0, pad_after = 0;

  // Pixels inside the image that a tap meets.
  int64_t met_by(int64_t tap) const {
    const int64_t first = tap * dilation - pad_before;
    return std::min(in, first + out) - std::max<int64_t>(0, first);
  }
  bool all_meet_some() const {
    for (int64_t tap = 0; tap < taps; ++tap) {
      if (met_by(tap) <= 0) return false;
    }
    return true;
  }
};

// Empty where that is not known, or where the pooling could not stand for it.
std::vector<Axis> axes_of(const Rewriter& rewriter, const Node& conv) {
  const auto& attrs = conv.get<ir::ConvAttrs>();
  const ir::Shape &in = rewriter.shape(conv.inputs[0]), &out = rewriter.shape(conv.outputs[0]);
  const ir::Shape& weights = rewriter.shape(conv.inputs[1]);
  if (!in.has_rank() || !out.has_rank() || !weights.is_static()) return {};
  std::vector<Axis> axes;
  int64_t pixels = 1;
  for (size_t i = 0; i < attrs.strides.size(); ++i) {
    const ir::Dim from = in.dim(static_cast<int>(i) + 1), to = out.dim(static_cast<int>(i) + 1);
    if (attrs.strides[i] != 1 || !from.is_known() || !to.is_known()) return {};
    Axis axis{from.value(), to.value(), weights.dim(static_cast<int>(i)).value(), attrs.dilations[i], 0, 0};
    const int64_t padding = axis.out - axis.in + (axis.taps - 1) * axis.dilation;
    axis.pad_before = attrs.padding == ir::Padding::kExplicit ? attrs.explicit_pads[2 * i] : padding / 2;
    axis.pad_after = padding - axis.pad_before;
    if (!axis.all_meet_some()) return {};
    pixels *= axis.out;
    if (pixels > kMostPixels) return {};
    axes.push_back(axis);
  }
  return pixels > 1 ? axes : std::vector<Axis>{};
}

// Each weight times the share of all results in which it meets a pixel, where the pooling counts pixels alone.
ir::TensorPtr weights_of_means(const std::vector<float>& weights, const ir::Dims& dims, const std::vector<Axis>& axes) {
  std::vector<float> shares(weights.size());
  const int64_t taps = product(dims, 0, axes.size()), per_tap = product(dims, axes.size(), dims.size());
  for (int64_t tap = 0; tap < taps; ++tap) {
    double share = 1;
    int64_t rest = tap;
    for (size_t i = axes.size(); i-- > 0; rest /= axes[i].taps) {
      share *= static_cast<double>(axes[i].met_by(rest % axes[i].taps)) / static_cast<double>(axes[i].out);
    }
    for (int64_t i = tap * per_tap; i < (tap + 1) * per_tap; ++i) {
      shares[static_cast<size_t>(i)] = static_cast<float>(share * weights[static_cast<size_t>(i)]);
    }
  }
  return float_tensor(dims, shares);
}

ir::ValueId insert_means(Rewriter& rewriter, const Node& conv, const std::vector<Axis>& axes) {
  ir::PoolAttrs attrs{ir::PoolKind::kAverage, {}, {}, ir::Padding::kExplicit, {}};
  ir::Shape shape = rewriter.shape(conv.inputs[0]);
  for (size_t i = 0; i < axes.size(); ++i) {
    attrs.window.push_back(axes[i].out);
    attrs.strides.push_back(axes[i].dilation);
    attrs.explicit_pads.insert(attrs.explicit_pads.end(), {axes[i].pad_before, axes[i].pad_after});
    shape.set_dim(static_cast<int>(i) + 1, ir::Dim(axes[i].taps));
  }
  const bool one_tap = std::all_of(axes.begin(), axes.end(), [](const Axis& axis) { return axis.taps == 1; });
  if (one_tap) {
    ir::ReduceAttrs mean{ir::ReduceKind::kMean, {}, true};
    for (size_t i = 0; i < axes.size(); ++i) mean.axes.push_back(static_cast<int64_t>(i) + 1);
    return rewriter.insert(conv, Op::kReduce, {conv.inputs[0]}, mean, ir::DType::kFloat32, shape, "mean").outputs[0];
  }
  return rewriter.insert(conv, Op::kPool, {conv.inputs[0]}, attrs, ir::DType::kFloat32, shape, "means").outputs[0];
}

// What only multiplies and shifts channels between a convolution and the mean; `conv` becomes the convolution, or null.
Node* find_affine(Rewriter& rewriter, ir::ValueId value, Node*& conv) {
  conv = rewriter.producer(value, Op::kConv);
  if (conv != nullptr) return nullptr;
  Node* affine = rewriter.producer(value);
  const ir::Shape& shape = rewriter.shape(value);
  if (affine == nullptr || !shape.dim(-1).is_known()) return nullptr;
  ir::ValueId x = ir::kNone;
  if (!channel_affine(rewriter, *affine, shape.dim(-1).value(), x) || !rewriter.has_one_use(x)) return nullptr;
  conv = rewriter.producer(x, Op::kConv);
  return affine;
}

bool is_plain(const Rewriter& rewriter, const Node& conv) {
  const auto& attrs = conv.get<ir::ConvAttrs>();
  return conv.inputs.size() == 2 && attrs.groups == 1 && attrs.epilogue.empty() && is_float32(rewriter, conv) &&
         rewriter.graph().value(conv.inputs[1]).constant != nullptr;
}

bool move_mean(Rewriter& rewriter, Node& mean) {
  if (!is_mean_of_pixels(rewriter, mean) || !rewriter.has_one_use(mean.inputs[0])) return false;
  const auto target = reshape_target(rewriter.shape(mean.outputs[0]));
  Node* conv = nullptr;
  Node* affine = find_affine(rewriter, mean.inputs[0], conv);
  if (conv == nullptr || !target || !is_plain(rewriter, *conv)) return false;
  const std::vector<Axis> axes = axes_of(rewriter, *conv);
  const ir::Dims dims = rewriter.graph().value(conv->inputs[1]).constant->dims;
  if (axes.empty() || dims.back() < kFewChannels) return false;
  const std::vector<float> weights = float_values(rewriter.graph(), conv->inputs[1]);
  if (weights.empty()) return false;

  const ir::NodeId conv_id = conv->id, mean_id = mean.id, affine_id = affine == nullptr ? mean_id : affine->id;
  const ir::ValueId scaled = rewriter.add_constant(weights_of_means(weights, dims, axes), conv->name + "/shares");
  const ir::ValueId means = insert_means(rewriter, rewriter.graph().node(conv_id), axes);
  ir::ConvAttrs attrs = rewriter.graph().node(conv_id).get<ir::ConvAttrs>();
  attrs.padding = ir::Padding::kValid;
  attrs.explicit_pads.clear();
  std::fill(attrs.dilations.begin(), attrs.dilations.end(), 1);
  rewriter.change(rewriter.graph().node(conv_id), Op::kConv, {means, scaled}, attrs);
  for (ir::NodeId id : {conv_id, affine_id}) {
    if (id == mean_id) continue;
    ir::Shape& shape = rewriter.graph().value(rewriter.graph().node(id).outputs[0]).shape;
    for (size_t i = 0; i < axes.size(); ++i) shape.set_dim(static_cast<int>(i) + 1, ir::Dim(1));
  }
  Node& last = rewriter.graph().node(mean_id);
  const ir::ValueId shape = rewriter.add_constant(int64_tensor(*target), last.name + "/shape");
  rewriter.change(rewriter.graph().node(mean_id), Op::kReshape, {rewriter.graph().node(mean_id).inputs[0], shape},
                  ir::EmptyAttrs{});
  return true;
}

}  // namespace

Result<PassResult> mean_before_conv(ir::Graph& graph, const PassOptions& options) {
  PassResult result;
  if (options.on_device) return result;  // there convolutions and their means are one kernel
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  const std::vector<ir::NodeId> order = rewriter.order();
  for (ir::NodeId id : order) {
    if (rewriter.is_dead(id) || graph.node(id).op != Op::kReduce) continue;
    if (move_mean(rewriter, graph.node(id))) ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
