// Layout: transposes around channels-last operations move toward the outputs until they meet their opposites and
// vanish; reshapes that keep the channels move behind elementwise work, so that it can join the matrix product before
// them.
#include <algorithm>

#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"
#include "passes/sink_reshape.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::PermAttrs;
using ir::ValueId;
using Perm = std::vector<int64_t>;

constexpr int kMaxLayoutSweeps =
    64;  // a transpose moves through everything below it in one sweep; the bound is for termination

bool is_identity(const Perm& perm) {
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

Perm inverse(const Perm& perm) {
  Perm result(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) result[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return result;
}

ir::Shape permuted(const ir::Shape& shape, const Perm& perm) {
  std::vector<ir::Dim> dims;
  for (int64_t axis : perm) dims.push_back(shape.dim(static_cast<int>(axis)));
  return ir::Shape(std::move(dims));
}

const Perm* perm_of(Rewriter& rewriter, ValueId value) {
  const Node* node = rewriter.producer(value, Op::kTranspose);
  return node == nullptr ? nullptr : &node->get<PermAttrs>().perm;
}

// Transpose of Transpose as one, and the identity as nothing.
bool cancel(Rewriter& rewriter, Node& node) {
  const Perm perm = node.get<PermAttrs>().perm;
  const ValueId out = node.outputs[0];
  if (is_identity(perm)) {
    return same_shape(rewriter, out, node.inputs[0]) && rewriter.replace(out, node.inputs[0]);
  }
  const Perm* first = perm_of(rewriter, node.inputs[0]);
  if (first == nullptr || first->size() != perm.size()) return false;
  Perm both;
  for (int64_t axis : perm) both.push_back((*first)[static_cast<size_t>(axis)]);
  const ValueId source = rewriter.producer(node.inputs[0])->inputs[0];
  if (is_identity(both) && same_shape(rewriter, out, source) && rewriter.replace(out, source)) return true;
  rewriter.change(node, Op::kTranspose, {source}, PermAttrs{std::move(both)});
  return true;
}

// A Transpose that only moves dims of 1 is a Reshape.
bool transpose_to_reshape(Rewriter& rewriter, Node& node) {
  const ir::Shape& in = rewriter.shape(node.inputs[0]);
  const Perm& perm = node.get<PermAttrs>().perm;
  if (!in.has_rank() || in.rank() != static_cast<int>(perm.size())) return false;
  int64_t last = -1;
  for (int64_t axis : perm) {
    if (in.dim(static_cast<int>(axis)) == ir::Dim(1)) continue;
    if (axis < last) return false;
    last = axis;
  }
  const auto target = reshape_target(rewriter.shape(node.outputs[0]));
  if (!target) return false;
  ir::TensorPtr tensor = int64_tensor(*target);
  if (tensor == nullptr) return false;
  rewriter.change(node, Op::kReshape, {node.inputs[0], rewriter.add_constant(std::move(tensor), "")}, ir::EmptyAttrs{});
  return true;
}

// The transposes that `node` reads, if all its other inputs are constants and moving one transpose behind it does not
// leave more of them than before.
const Perm* shared_perm(Rewriter& rewriter, const Node& node, size_t num_data_inputs) {
  const Perm* perm = nullptr;
  bool one_goes = false;
  for (size_t i = 0; i < num_data_inputs; ++i) {
    const ValueId input = node.inputs[i];
    if (rewriter.graph().value(input).is_constant()) continue;
    const Perm* other = perm_of(rewriter, input);
    if (other == nullptr || (perm != nullptr && *other != *perm)) return nullptr;
    perm = other;
    one_goes |= rewriter.read_only_by(input, node.id);
  }
  return one_goes ? perm : nullptr;
}

// A constant operand of an elementwise node as it must be before the transpose; kNone where that cannot be.
ValueId untransposed(Rewriter& rewriter, ValueId value, const Perm& perm) {
  ir::TensorPtr tensor = rewriter.graph().value(value).constant;
  if (tensor->element_count() == 1 || tensor->dims.empty()) return value;
  if (tensor->dims.size() > perm.size()) return ir::kNone;
  ir::Dims dims(perm.size() - tensor->dims.size(), 1);
  dims.insert(dims.end(), tensor->dims.begin(), tensor->dims.end());
  tensor = transposed(with_dims(tensor, dims), inverse(perm));
  return tensor == nullptr ? ir::kNone : rewriter.add_constant(std::move(tensor), "");
}

// Puts `op` over `inputs` before a transpose by `perm` that takes over node's place.
void sink(Rewriter& rewriter, Node& node, std::vector<ValueId> inputs, ir::Attrs attrs, const Perm& perm) {
  const ValueId out = node.outputs[0];
  Node& moved = rewriter.insert(node, node.op, std::move(inputs), std::move(attrs), rewriter.dtype(out),
                                permuted(rewriter.shape(out), inverse(perm)), "channels_last");
  rewriter.swap_identity(node, moved);
  rewriter.change(node, Op::kTranspose, {moved.outputs[0]}, PermAttrs{perm});
}

ValueId before_transpose(Rewriter& rewriter, ValueId value) { return rewriter.producer(value)->inputs[0]; }

bool sink_through_pointwise(Rewriter& rewriter, Node& node) {
  const Perm* shared = shared_perm(rewriter, node, node.inputs.size());
  const ir::Shape& out = rewriter.shape(node.outputs[0]);
  if (shared == nullptr || !out.has_rank() || out.rank() != static_cast<int>(shared->size())) return false;
  const Perm perm = *shared;
  std::vector<ValueId> inputs;
  for (ValueId input : node.inputs) {
    const bool constant = rewriter.graph().value(input).is_constant();
    inputs.push_back(constant ? untransposed(rewriter, input, perm) : before_transpose(rewriter, input));
    if (inputs.back() == ir::kNone) return false;
  }
  sink(rewriter, node, std::move(inputs), ir::Attrs(node.attrs), perm);
  return true;
}

bool sink_through_concat(Rewriter& rewriter, Node& node) {
  const Perm* shared = shared_perm(rewriter, node, node.inputs.size());
  if (shared == nullptr || !rewriter.shape(node.outputs[0]).has_rank()) return false;
  const Perm perm = *shared;
  std::vector<ValueId> inputs;
  for (ValueId input : node.inputs) {
    if (rewriter.graph().value(input).is_constant()) return false;
    inputs.push_back(before_transpose(rewriter, input));
  }
  const int64_t axis = perm[static_cast<size_t>(node.get<ir::AxisAttrs>().axis)];
  sink(rewriter, node, std::move(inputs), ir::AxisAttrs{axis}, perm);
  return true;
}

// Pad and Slice with constant operands: `width` numbers a dim move with it.
bool sink_through_dimwise(Rewriter& rewriter, Node& node, size_t num_operands, size_t width) {
  const Perm* shared = shared_perm(rewriter, node, 1);
  if (shared == nullptr || !rewriter.shape(node.outputs[0]).has_rank()) return false;
  const Perm perm = *shared;
  std::vector<ValueId> inputs = node.inputs;
  inputs[0] = before_transpose(rewriter, node.inputs[0]);
  for (size_t i = 1; i <= num_operands; ++i) {
    const auto numbers = integers(rewriter.graph(), node.inputs[i]);
    if (!numbers || numbers->size() != width * perm.size()) return false;
    std::vector<int64_t> moved(numbers->size());
    for (size_t d = 0; d < perm.size(); ++d) {
      for (size_t k = 0; k < width; ++k) moved[static_cast<size_t>(perm[d]) * width + k] = (*numbers)[d * width + k];
    }
    const ir::Value& operand_value = rewriter.graph().value(node.inputs[i]);
    ir::TensorPtr tensor = operand_value.dtype == ir::DType::kInt32 ? int32_tensor(moved) : int64_tensor(moved);
    if (tensor == nullptr) return false;
    inputs[i] = rewriter.add_constant(with_dims(tensor, operand_value.constant->dims), "");
  }
  sink(rewriter, node, std::move(inputs), ir::Attrs(node.attrs), perm);
  return true;
}

bool sink_through_pad(Rewriter& rewriter, Node& node) { return sink_through_dimwise(rewriter, node, 1, 2); }
bool sink_through_slice(Rewriter& rewriter, Node& node) { return sink_through_dimwise(rewriter, node, 2, 1); }
bool sink_through_cast(Rewriter& rewriter, Node& node) { return sink_through_dimwise(rewriter, node, 0, 0); }

bool sink_through_reduce(Rewriter& rewriter, Node& node) {
  const Perm* shared = shared_perm(rewriter, node, 1);
  const ir::Shape& out = rewriter.shape(node.outputs[0]);
  if (shared == nullptr || !out.has_rank()) return false;
  const Perm perm = *shared;
  ir::ReduceAttrs attrs = node.get<ir::ReduceAttrs>();
  for (int64_t& axis : attrs.axes) axis = perm[static_cast<size_t>(axis)];
  std::sort(attrs.axes.begin(), attrs.axes.end());
  const ValueId source = before_transpose(rewriter, node.inputs[0]);
  if (attrs.keep_dims) {
    sink(rewriter, node, {source}, attrs, perm);
    return true;
  }
  // The order of the dims that are left, numbered among themselves.
  Perm left;
  for (int64_t axis : perm) {
    if (!std::binary_search(attrs.axes.begin(), attrs.axes.end(), axis)) left.push_back(axis);
  }
  for (int64_t& axis : left)
    axis -= std::count_if(attrs.axes.begin(), attrs.axes.end(), [&](int64_t a) { return a < axis; });
  if (is_identity(left)) {
    rewriter.change(node, Op::kReduce, {source}, attrs);
  } else {
    sink(rewriter, node, {source}, attrs, left);
  }
  return true;
}

bool sink_channelwise(Rewriter& rewriter, Node& node) { return sink_reshape(rewriter, node, /*and_residuals=*/false); }

struct Move {
  Op op;
  bool (*apply)(Rewriter&, Node&);
};
constexpr Move kMoves[] = {
    {Op::kTranspose, cancel},
    {Op::kTranspose, transpose_to_reshape},
    {Op::kPointwise, sink_through_pointwise},
    {Op::kConcat, sink_through_concat},
    {Op::kPad, sink_through_pad},
    {Op::kSlice, sink_through_slice},
    {Op::kCast, sink_through_cast},
    {Op::kReduce, sink_through_reduce},
    {Op::kPointwise, sink_channelwise},
};

int sweep_layout(Rewriter& rewriter) {
  int changes = 0;
  for (ir::NodeId id : rewriter.order()) {
    for (const Move& move : kMoves) {
      if (rewriter.is_dead(id)) break;
      Node& node = rewriter.graph().node(id);
      if (node.op == move.op && move.apply(rewriter, node)) ++changes;
    }
  }
  return changes;
}

}  // namespace

Result<PassResult> layout(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  for (int i = 0; i < kMaxLayoutSweeps; ++i) {
    BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
    const int changes = sweep_layout(rewriter);
    rewriter.finish();
    result.changes += changes;
    if (changes == 0) break;
  }
  return result;
}

}  // namespace blade::passes
