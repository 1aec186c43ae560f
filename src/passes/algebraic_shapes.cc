// Rewrites of shape and data-movement operations: what moves nothing goes, chains of reshapes and transposes become
// one.
#include <algorithm>

#include "passes/algebraic_rules.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::ValueId;

// Nothing in a region checks or watches, so every kind of Identity is a copy.
bool drop_identity(Rewriter& rewriter, Node& node) { return rewriter.replace(node.outputs[0], node.inputs[0]); }

// Operations that keep all elements in order whenever they keep the shape.
bool drop_same_shape(Rewriter& rewriter, Node& node) { return forward(rewriter, node, node.inputs[0]); }

bool drop_strided_slice(Rewriter& rewriter, Node& node) {
  const std::optional<std::vector<int64_t>> strides = integers(rewriter.graph(), node.inputs[3]);
  if (!strides || std::any_of(strides->begin(), strides->end(), [](int64_t s) { return s < 1; })) return false;
  return forward(rewriter, node, node.inputs[0]);
}

bool drop_tile(Rewriter& rewriter, Node& node) {
  const std::optional<std::vector<int64_t>> multiples = integers(rewriter.graph(), node.inputs[1]);
  if (!multiples || std::any_of(multiples->begin(), multiples->end(), [](int64_t m) { return m != 1; })) return false;
  return forward(rewriter, node, node.inputs[0]);
}

bool drop_split(Rewriter& rewriter, Node& node) {
  return node.outputs.size() == 1 && forward(rewriter, node, node.inputs[0]);
}

bool drop_reverse(Rewriter& rewriter, Node& node) {
  return node.get<ir::AxesAttrs>().axes.empty() && forward(rewriter, node, node.inputs[0]);
}

bool drop_pool(Rewriter& rewriter, Node& node) {
  const auto& attrs = node.get<ir::PoolAttrs>();
  const auto is_one = [](int64_t v) { return v == 1; };
  const bool trivial =
      std::all_of(attrs.window.begin(), attrs.window.end(), is_one) &&
      std::all_of(attrs.strides.begin(), attrs.strides.end(), is_one) &&
      std::all_of(attrs.explicit_pads.begin(), attrs.explicit_pads.end(), [](int64_t p) { return p == 0; });
  return trivial && forward(rewriter, node, node.inputs[0]);
}

// A window over the whole input, as classifiers and squeeze-and-excite blocks have it, is a reduction.
bool reduce_global_pool(Rewriter& rewriter, Node& node) {
  const auto& attrs = node.get<ir::PoolAttrs>();
  const ir::Shape& shape = rewriter.graph().value(node.inputs[0]).shape;
  if (!shape.has_rank() || attrs.padding == ir::Padding::kExplicit) return false;
  ir::ReduceAttrs reduce;
  for (int i = 1; i + 1 < shape.rank(); ++i) {
    const size_t spatial = static_cast<size_t>(i - 1);
    const bool one_step = attrs.padding == ir::Padding::kValid || attrs.strides[spatial] >= attrs.window[spatial];
    if (shape.dim(i) != ir::Dim(attrs.window[spatial]) || !one_step) return false;
    reduce.axes.push_back(i);
  }
  reduce.kind = attrs.kind == ir::PoolKind::kMax ? ir::ReduceKind::kMax : ir::ReduceKind::kMean;
  reduce.keep_dims = true;
  node.op = Op::kReduce;
  node.attrs = std::move(reduce);
  return true;
}

bool is_identity(const std::vector<int64_t>& perm) {
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

// Transpose of Transpose as one; the identity permutation as nothing.
bool merge_transpose(Rewriter& rewriter, Node& node) {
  const std::vector<int64_t>& perm = node.get<ir::PermAttrs>().perm;
  if (is_identity(perm)) return forward(rewriter, node, node.inputs[0]);
  const Node* inner = rewriter.producer(node.inputs[0], Op::kTranspose);
  if (inner == nullptr) return false;
  const std::vector<int64_t>& first = inner->get<ir::PermAttrs>().perm;
  if (first.size() != perm.size()) return false;
  std::vector<int64_t> both;
  for (int64_t axis : perm) both.push_back(first[axis]);
  if (is_identity(both) && forward(rewriter, node, inner->inputs[0])) return true;
  rewriter.change(node, Op::kTranspose, {inner->inputs[0]}, ir::PermAttrs{std::move(both)});
  return true;
}

bool is_reshape(const Node* node) {
  return node != nullptr && (node->op == Op::kReshape || node->op == Op::kSqueeze || node->op == Op::kExpandDims);
}

// A chain of Reshape, Squeeze and ExpandDims as one Reshape of what it started from, or as nothing.
bool merge_reshape(Rewriter& rewriter, Node& node) {
  if (forward(rewriter, node, node.inputs[0])) return true;
  const Node* inner = rewriter.producer(node.inputs[0]);
  if (!is_reshape(inner)) return false;
  const ValueId source = inner->inputs[0];
  if (forward(rewriter, node, source)) return true;
  if (node.op == Op::kReshape) {
    rewriter.change(node, Op::kReshape, {source, node.inputs[1]}, ir::EmptyAttrs{});
    return true;
  }
  const std::optional<std::vector<int64_t>> target = reshape_target(rewriter.shape(node.outputs[0]));
  if (!target) return false;
  ir::TensorPtr shape = int64_tensor(*target);
  if (shape == nullptr) return false;
  rewriter.change(node, Op::kReshape, {source, rewriter.add_constant(std::move(shape), "")}, ir::EmptyAttrs{});
  return true;
}

// A Reshape whose result is known up to one dim needs no computed shape.
bool constant_reshape_target(Rewriter& rewriter, Node& node) {
  if (rewriter.graph().value(node.inputs[1]).is_constant()) return false;
  const std::optional<std::vector<int64_t>> target = reshape_target(rewriter.shape(node.outputs[0]));
  if (!target) return false;
  ir::TensorPtr shape = int64_tensor(*target);
  if (shape == nullptr) return false;
  rewriter.change(node, Op::kReshape, {node.inputs[0], rewriter.add_constant(std::move(shape), "")}, ir::EmptyAttrs{});
  return true;
}

// Concat of one tensor, empty parts of a Concat, and a Concat that only another one on the same axis reads.
bool simplify_concat(Rewriter& rewriter, Node& node) {
  const int64_t axis = node.get<ir::AxisAttrs>().axis;
  if (node.inputs.size() == 1) return forward(rewriter, node, node.inputs[0]);
  std::vector<ValueId> parts;
  bool changed = false;
  for (ValueId input : node.inputs) {
    const ir::Shape& shape = rewriter.shape(input);
    const bool empty = shape.has_rank() && axis < shape.rank() && shape.dim(static_cast<int>(axis)) == ir::Dim(0);
    const Node* inner = rewriter.producer(input, Op::kConcat);
    const bool joins = inner != nullptr && inner->get<ir::AxisAttrs>().axis == axis && rewriter.has_one_use(input);
    if (joins) parts.insert(parts.end(), inner->inputs.begin(), inner->inputs.end());
    if (!joins && !empty) parts.push_back(input);
    changed |= joins || empty;
  }
  if (!changed || parts.empty()) return false;
  rewriter.change(node, Op::kConcat, std::move(parts), ir::AxisAttrs{axis});
  return true;
}

// Pack of one tensor is ExpandDims.
bool pack_of_one(Rewriter& rewriter, Node& node) {
  if (node.inputs.size() != 1) return false;
  rewriter.change(node, Op::kExpandDims, {node.inputs[0]}, ir::AxisAttrs{node.get<ir::AxisAttrs>()});
  return true;
}

// A reduction over no dims, or over dims of 1: the elements as they are.
bool drop_reduce(Rewriter& rewriter, Node& node) {
  const ir::ReduceAttrs attrs = node.get<ir::ReduceAttrs>();
  const ir::Shape& shape = rewriter.shape(node.inputs[0]);
  if (!shape.has_rank()) return false;
  for (int64_t axis : attrs.axes) {
    if (shape.dim(static_cast<int>(axis)) != ir::Dim(1)) return false;
  }
  if (attrs.keep_dims || attrs.axes.empty()) return forward(rewriter, node, node.inputs[0]);
  rewriter.change(node, Op::kSqueeze, {node.inputs[0]}, ir::AxesAttrs{attrs.axes});
  return true;
}

// Every dim that is asked for is known to be so.
bool drop_ensured(Rewriter& rewriter, Node& node) {
  const ir::Shape& shape = rewriter.shape(node.inputs[0]);
  const auto& wanted = node.get<ir::EnsureShapeAttrs>().dims;
  if (!shape.has_rank()) return false;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] >= 0 && shape.dim(static_cast<int>(i)) != ir::Dim(wanted[i])) return false;
  }
  return forward(rewriter, node, node.inputs[0]);
}

// 0, 1, ...
bool counts_up(Rewriter& rewriter, ValueId value) {
  const Node* range = rewriter.producer(value, Op::kRange);
  return range != nullptr && uniform_value(rewriter.graph(), range->inputs[0]) == 0.0 &&
         uniform_value(rewriter.graph(), range->inputs[2]) == 1.0;
}

// All rows in order, as TensorArrays of TensorFlow 1 are filled and read.
bool drop_gather(Rewriter& rewriter, Node& node) {
  return node.get<ir::GatherAttrs>() == ir::GatherAttrs{} && counts_up(rewriter, node.inputs[1]) &&
         forward(rewriter, node, node.inputs[0]);
}
bool drop_set_rows(Rewriter& rewriter, Node& node) {
  return counts_up(rewriter, node.inputs[1]) && forward(rewriter, node, node.inputs[2]);
}

constexpr Rule kShapeRules[] = {
    {Op::kIdentity, drop_identity},   {Op::kEnsureShape, drop_ensured},
    {Op::kCast, drop_same_shape},     {Op::kSlice, drop_same_shape},
    {Op::kPad, drop_same_shape},      {Op::kBroadcastTo, drop_same_shape},
    {Op::kResize, drop_same_shape},   {Op::kStridedSlice, drop_strided_slice},
    {Op::kTile, drop_tile},           {Op::kSplit, drop_split},
    {Op::kReverse, drop_reverse},     {Op::kPool, drop_pool},
    {Op::kPool, reduce_global_pool},  {Op::kTranspose, merge_transpose},
    {Op::kReshape, merge_reshape},    {Op::kSqueeze, merge_reshape},
    {Op::kExpandDims, merge_reshape}, {Op::kReshape, constant_reshape_target},
    {Op::kConcat, simplify_concat},   {Op::kPack, pack_of_one},
    {Op::kReduce, drop_reduce},       {Op::kGather, drop_gather},
    {Op::kSetRows, drop_set_rows},
};

}  // namespace

std::span<const Rule> shape_rules() { return kShapeRules; }

}  // namespace blade::passes
