// RecognizeNormalization: layer normalization and softmax over the last axis from the pieces that exporters write them
// in.
#include <algorithm>

#include "passes/channel_affine.h"
#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::PointwiseOp;
using ir::ValueId;

constexpr int kMaxFactorDepth = 5;

// The input of a reduction of `kind` over the last axis that keeps it.
std::optional<ValueId> reduced(Rewriter& rewriter, ValueId value, ir::ReduceKind kind) {
  const Node* node = rewriter.producer(value, Op::kReduce);
  if (node == nullptr) return std::nullopt;
  const auto& attrs = node->get<ir::ReduceAttrs>();
  const ir::Shape& shape = rewriter.shape(node->inputs[0]);
  if (attrs.kind != kind || !attrs.keep_dims || attrs.axes.size() != 1 || !shape.has_rank()) return std::nullopt;
  return attrs.axes[0] == shape.rank() - 1 ? std::optional(node->inputs[0]) : std::nullopt;
}

std::optional<ValueId> argument(Rewriter& rewriter, ValueId value, PointwiseOp op) {
  const Node* node = pointwise_producer(rewriter, value, op);
  return node == nullptr ? std::nullopt : std::optional(operand(*node, 0));
}

// True where `value` is x minus its own mean; `mean` gets the mean.
bool is_centered(Rewriter& rewriter, ValueId value, ValueId x, ValueId& mean) {
  const Node* sub = pointwise_producer(rewriter, value, PointwiseOp::kSub);
  if (sub == nullptr || operand(*sub, 0) != x) return false;
  mean = operand(*sub, 1);
  return reduced(rewriter, mean, ir::ReduceKind::kMean) == x;
}

struct Variance {
  ValueId x = ir::kNone, mean = ir::kNone;
  float epsilon = 0;
};

// mean((x - mean(x))^2) + epsilon.
std::optional<Variance> as_variance(Rewriter& rewriter, ValueId value) {
  Variance found;
  if (const auto affine = scalar_affine(rewriter, value)) {
    if (affine->alpha != 1 || affine->beta < 0) return std::nullopt;
    found.epsilon = affine->beta;
    value = affine->inner;
  }
  const auto squares = reduced(rewriter, value, ir::ReduceKind::kMean);
  if (!squares) return std::nullopt;
  if (const Node* difference = pointwise_producer(rewriter, *squares, PointwiseOp::kSquaredDifference)) {
    for (int i = 0; i < 2; ++i) {
      found.x = operand(*difference, i);
      found.mean = operand(*difference, 1 - i);
      if (reduced(rewriter, found.mean, ir::ReduceKind::kMean) == found.x) return found;
    }
    return std::nullopt;
  }
  const auto centered = argument(rewriter, *squares, PointwiseOp::kSquare);
  const Node* sub = centered ? pointwise_producer(rewriter, *centered, PointwiseOp::kSub) : nullptr;
  if (sub == nullptr) return std::nullopt;
  found.x = operand(*sub, 0);
  return is_centered(rewriter, *centered, found.x, found.mean) ? std::optional(found) : std::nullopt;
}

// A product as its factors and, for the square roots it is divided by, what is under each root.
struct Factors {
  std::vector<ValueId> factors, roots;
};

void collect(Rewriter& rewriter, ValueId value, int depth, Factors& product) {
  const Node* node = depth > 0 ? rewriter.producer(value) : nullptr;
  const ir::PointwiseInstr* instr = single_instr(node);
  if (instr != nullptr && instr->op == PointwiseOp::kMul) {
    collect(rewriter, operand(*node, 0), depth - 1, product);
    collect(rewriter, operand(*node, 1), depth - 1, product);
    return;
  }
  if (instr != nullptr && instr->op == PointwiseOp::kRsqrt) {
    product.roots.push_back(operand(*node, 0));
    return;
  }
  if (instr != nullptr && instr->op == PointwiseOp::kDiv) {
    if (const auto root = argument(rewriter, operand(*node, 1), PointwiseOp::kSqrt)) {
      product.roots.push_back(*root);
      collect(rewriter, operand(*node, 0), depth - 1, product);
      return;
    }
  }
  product.factors.push_back(value);
}

// scale * what / sqrt(variance(x) + epsilon); scale kNone where there is none.
struct Scaled {
  Variance variance;
  ValueId what = ir::kNone, scale = ir::kNone;
};

// A vector of one number a channel, or a constant that can be seen as one.
bool is_channel_vector(Rewriter& rewriter, ValueId value, ir::Dim channels) {
  const ir::Shape& shape = rewriter.shape(value);
  if (!shape.has_rank() || shape.rank() < 1 || shape.dim(-1) != channels) return false;
  if (shape.rank() == 1) return true;
  return rewriter.graph().value(value).is_constant() && shape.element_count() == channels.value();
}

ValueId as_vector(Rewriter& rewriter, ValueId value) {
  if (rewriter.shape(value).rank() == 1) return value;
  const ir::TensorPtr& tensor = rewriter.graph().value(value).constant;
  return rewriter.add_constant(with_dims(tensor, {tensor->element_count()}), "");
}

template <class Is>
std::optional<Scaled> as_scaled(Rewriter& rewriter, ValueId value, Is is_wanted) {
  Factors product;
  collect(rewriter, value, kMaxFactorDepth, product);
  if (product.roots.size() != 1 || product.factors.empty() || product.factors.size() > 2) return std::nullopt;
  Scaled found;
  const auto variance = as_variance(rewriter, product.roots[0]);
  if (!variance) return std::nullopt;
  found.variance = *variance;
  for (size_t i = 0; i < product.factors.size(); ++i) {
    const ValueId other = product.factors.size() == 2 ? product.factors[1 - i] : ir::kNone;
    if (!is_wanted(found.variance, product.factors[i])) continue;
    const ir::Dim channels = rewriter.shape(found.variance.x).dim(-1);
    if (!channels.is_known() || (other != ir::kNone && !is_channel_vector(rewriter, other, channels)))
      return std::nullopt;
    found.what = product.factors[i];
    found.scale = other;
    return found;
  }
  return std::nullopt;
}

bool become_layer_norm(Rewriter& rewriter, Node& node, const Scaled& scaled, ValueId offset) {
  const ValueId x = scaled.variance.x;
  const ir::Dim channels = rewriter.shape(x).dim(-1);
  if (!same_shape(rewriter, x, node.outputs[0]) || !channels.is_known()) return false;
  if (offset != ir::kNone && !is_channel_vector(rewriter, offset, channels)) return false;
  const auto vector_or = [&](ValueId value, float fill) {
    if (value != ir::kNone) return as_vector(rewriter, value);
    ir::TensorPtr tensor =
        float_tensor({channels.value()}, std::vector<float>(static_cast<size_t>(channels.value()), fill));
    return tensor == nullptr ? ir::kNone : rewriter.add_constant(std::move(tensor), "");
  };
  const ValueId scale = vector_or(scaled.scale, 1), shift = vector_or(offset, 0);
  if (scale == ir::kNone || shift == ir::kNone) return false;
  rewriter.change(node, Op::kLayerNorm, {x, scale, shift}, ir::LayerNormAttrs{scaled.variance.epsilon});
  return true;
}

// True where `value` is mean * inv * scale of the layer normalization whose x * inv * scale is `plain`; where
// `negated`, -mean stands for the mean.
bool is_scaled_mean(Rewriter& rewriter, ValueId value, const Scaled& plain, bool negated) {
  const auto found = as_scaled(rewriter, value, [&](const Variance& v, ValueId f) {
    return negated ? argument(rewriter, f, PointwiseOp::kNeg) == v.mean : f == v.mean;
  });
  return found && found->variance.x == plain.variance.x && found->variance.mean == plain.variance.mean &&
         found->variance.epsilon == plain.variance.epsilon && found->scale == plain.scale;
}

// The offset where `rest` is what is added to `plain`: offset - mean * inv * scale, or (Keras 3) -mean * inv * scale +
// offset; kNone where there is none.
std::optional<ValueId> offset_in(Rewriter& rewriter, ValueId rest, const Scaled& plain) {
  if (is_scaled_mean(rewriter, rest, plain, true)) return ir::kNone;
  if (const Node* sub = pointwise_producer(rewriter, rest, PointwiseOp::kSub)) {
    return is_scaled_mean(rewriter, operand(*sub, 1), plain, false) ? std::optional(operand(*sub, 0)) : std::nullopt;
  }
  const Node* add = pointwise_producer(rewriter, rest, PointwiseOp::kAdd);
  for (int i = 0; add != nullptr && i < 2; ++i) {
    if (is_scaled_mean(rewriter, operand(*add, i), plain, true)) return operand(*add, 1 - i);
  }
  return std::nullopt;
}

// (x - mean) * inv * scale + offset, and x * inv * scale + (offset - mean * inv * scale), where inv is 1 /
// sqrt(variance).
bool layer_norm_from_sum(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || instr->op != PointwiseOp::kAdd || !is_float32(rewriter, node)) return false;
  for (int i = 0; i < 2; ++i) {
    const ValueId product = operand(node, i), rest = operand(node, 1 - i);
    ValueId mean = ir::kNone;
    const auto centered =
        as_scaled(rewriter, product, [&](const Variance& v, ValueId f) { return is_centered(rewriter, f, v.x, mean); });
    if (centered && become_layer_norm(rewriter, node, *centered, rest)) return true;
    const auto plain = as_scaled(rewriter, product, [](const Variance& v, ValueId f) { return f == v.x; });
    const auto offset = plain ? offset_in(rewriter, rest, *plain) : std::nullopt;
    if (offset && become_layer_norm(rewriter, node, *plain, *offset)) return true;
  }
  return false;
}

// The same without an offset, and without a scale.
bool layer_norm_from_product(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || (instr->op != PointwiseOp::kMul && instr->op != PointwiseOp::kDiv)) return false;
  if (!is_float32(rewriter, node)) return false;
  ValueId mean = ir::kNone;
  const auto centered = as_scaled(rewriter, node.outputs[0],
                                  [&](const Variance& v, ValueId f) { return is_centered(rewriter, f, v.x, mean); });
  return centered && become_layer_norm(rewriter, node, *centered, ir::kNone);
}

// LayerNorm(x, s, o) * g + b with constant channels as LayerNorm(x, s g, o g + b), also behind a Reshape that keeps the
// last dim: the form of Keras 2.
bool absorb_affine(Rewriter& rewriter, Node& node) {
  if (single_instr(&node) == nullptr || !is_float32(rewriter, node)) return false;
  const ir::Shape& shape = rewriter.shape(node.outputs[0]);
  if (!shape.has_rank() || shape.rank() < 1 || !shape.dim(-1).is_known()) return false;
  const int64_t channels = shape.dim(-1).value();
  ValueId x = ir::kNone;
  const auto affine = channel_affine(rewriter, node, channels, x);
  if (!affine || !affine->is_finite() || !rewriter.has_one_use(x)) return false;
  Node* reshape = rewriter.producer(x, Op::kReshape);
  const ValueId normalized = reshape != nullptr ? reshape->inputs[0] : x;
  const Node* norm = rewriter.producer(normalized, Op::kLayerNorm);
  if (norm == nullptr || !rewriter.has_one_use(normalized) || rewriter.shape(normalized).dim(-1) != shape.dim(-1))
    return false;
  const auto scale = channel_values(rewriter.graph(), norm->inputs[1], channels);
  const auto offset = channel_values(rewriter.graph(), norm->inputs[2], channels);
  if (!scale || !offset) return false;
  const ChannelAffine all = ChannelAffine{*scale, *offset}.then(*affine);
  const auto constant = [&](const std::vector<double>& values) {
    ir::TensorPtr tensor = float_tensor({channels}, std::vector<float>(values.begin(), values.end()));
    return tensor == nullptr ? ir::kNone : rewriter.add_constant(std::move(tensor), "");
  };
  const ValueId new_scale = constant(all.scale), new_offset = constant(all.shift);
  if (new_scale == ir::kNone || new_offset == ir::kNone) return false;
  const ir::LayerNormAttrs attrs = norm->get<ir::LayerNormAttrs>();
  const ValueId source = norm->inputs[0];
  if (reshape == nullptr) {
    rewriter.change(node, Op::kLayerNorm, {source, new_scale, new_offset}, attrs);
    return true;
  }
  const ValueId target = reshape->inputs[1];
  const ir::Shape inner = rewriter.shape(normalized);
  const ValueId inserted = rewriter
                               .insert(node, Op::kLayerNorm, {source, new_scale, new_offset}, attrs,
                                       ir::DType::kFloat32, inner, "layer_norm")
                               .outputs[0];
  rewriter.change(node, Op::kReshape, {inserted, target}, ir::EmptyAttrs{});
  return true;
}

// x where `value` is exp(x); exp(x - max(x)) counts as exp(x), since softmax does not see the difference.
std::optional<ValueId> softmax_argument(Rewriter& rewriter, ValueId value) {
  const Node* sub = pointwise_producer(rewriter, value, PointwiseOp::kSub);
  if (sub != nullptr && reduced(rewriter, operand(*sub, 1), ir::ReduceKind::kMax) == operand(*sub, 0))
    return operand(*sub, 0);
  return value;
}

// exp(x) / sum(exp(x)), and x - log(sum(exp(x))).
bool softmax(Rewriter& rewriter, Node& node) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || !is_float32(rewriter, node) || node.inputs.size() != 2) return false;
  const ValueId a = operand(node, 0);
  ValueId sum = operand(node, 1);
  std::optional<ValueId> argument_of_exp;
  if (instr->op == PointwiseOp::kDiv) {
    argument_of_exp = argument(rewriter, a, PointwiseOp::kExp);
    if (reduced(rewriter, sum, ir::ReduceKind::kSum) != a) return false;
  } else if (instr->op == PointwiseOp::kSub) {
    const auto logged = argument(rewriter, sum, PointwiseOp::kLog);
    const auto exps = logged ? reduced(rewriter, *logged, ir::ReduceKind::kSum) : std::nullopt;
    argument_of_exp = exps ? argument(rewriter, *exps, PointwiseOp::kExp) : std::nullopt;
    if (argument_of_exp != a) return false;
  }
  if (!argument_of_exp) return false;
  const ValueId x = *softmax_argument(rewriter, *argument_of_exp);
  if (!same_shape(rewriter, x, node.outputs[0])) return false;
  rewriter.change(node, Op::kSoftmax, {x}, ir::SoftmaxAttrs{instr->op == PointwiseOp::kSub});
  return true;
}

}  // namespace

Result<PassResult> recognize_normalization(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  for (const auto pattern :
       {layer_norm_from_sum, layer_norm_from_product, absorb_affine, softmax}) {  // a product may be part of a sum
    BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
    for (ir::NodeId id : rewriter.order()) {
      if (!rewriter.is_dead(id) && pattern(rewriter, graph.node(id))) ++result.changes;
    }
    rewriter.finish();
  }
  return result;
}

}  // namespace blade::passes
