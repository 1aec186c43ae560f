#include "passes/sink_reshape.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "passes/constants.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::ValueId;

// A scalar or a vector of one number for each element of the last axis.
bool is_channelwise(Rewriter& rewriter, ValueId value, ir::Dim channels) {
  const ir::Shape& shape = rewriter.shape(value);
  return shape.has_rank() &&
         (shape.rank() == 0 || (shape.rank() == 1 && (shape.dim(0) == channels || shape.dim(0) == ir::Dim(1))));
}

constexpr int kMaxDepth = 8;

// Whether a matrix product or convolution could take in elementwise work on `value`.
bool ends_matrix_work(Rewriter& rewriter, ValueId value, int depth = 0) {
  const Node* producer = rewriter.producer(value);
  if (producer == nullptr || depth == kMaxDepth || !rewriter.has_one_use(value)) return false;
  if (producer->op == Op::kMatMul || producer->op == Op::kConv) return true;
  return producer->op == Op::kPointwise && std::ranges::any_of(producer->inputs, [&](ValueId input) {
           return same_shape(rewriter, input, value) && ends_matrix_work(rewriter, input, depth + 1);
         });
}

// The reshaped result of other work that `node` alone reads; kNone where it reads none.
ValueId reshaped_result(Rewriter& rewriter, const Node& node) {
  const ValueId out = node.outputs[0];
  ValueId found = ir::kNone;
  for (ValueId input : node.inputs) {
    const Node* reshape = rewriter.producer(input, Op::kReshape);
    if (reshape == nullptr || !rewriter.read_only_by(input, node.id) || !same_shape(rewriter, input, out)) continue;
    const Node* producer = rewriter.producer(reshape->inputs[0]);
    if (producer == nullptr ||
        (producer->op != Op::kMatMul && producer->op != Op::kConv && producer->op != Op::kPointwise))
      continue;
    const ir::Shape& shape = rewriter.shape(reshape->inputs[0]);
    if (!shape.has_rank() || shape.rank() < 1 || shape.dim(-1) != rewriter.shape(out).dim(-1)) continue;
    if (found == ir::kNone || ends_matrix_work(rewriter, reshape->inputs[0])) found = input;
  }
  return found;
}

// The operand as it stands beside a tensor of `shape`: itself, or what a Reshape made it from; kNone where it would
// have to be reshaped first.
ValueId as_beside(Rewriter& rewriter, ValueId value, const ir::Shape& shape) {
  if (is_channelwise(rewriter, value, shape.dim(-1))) return value;
  const Node* reshape = rewriter.producer(value, Op::kReshape);
  return reshape != nullptr && rewriter.shape(reshape->inputs[0]) == shape ? reshape->inputs[0] : ir::kNone;
}

}  // namespace

bool sink_reshape(Rewriter& rewriter, Node& node, bool and_residuals) {
  const ValueId out = node.outputs[0];
  if (!rewriter.shape(out).has_rank() || rewriter.shape(out).rank() < 1) return false;
  const ValueId reshaped = reshaped_result(rewriter, node);
  if (reshaped == ir::kNone) return false;
  const ValueId source = rewriter.producer(reshaped)->inputs[0];
  const ValueId target = rewriter.producer(reshaped)->inputs[1];
  const ir::Shape shape = rewriter.shape(source);
  const std::optional<std::vector<int64_t>> flat = reshape_target(shape);
  const bool may_reshape = and_residuals && flat && ends_matrix_work(rewriter, source);
  std::vector<ValueId> inputs;
  for (ValueId input : node.inputs) {
    inputs.push_back(input == reshaped ? source : as_beside(rewriter, input, shape));
    if (inputs.back() == ir::kNone && (!may_reshape || !same_shape(rewriter, input, out))) return false;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] != ir::kNone) continue;
    ir::TensorPtr tensor = int64_tensor(*flat);
    if (tensor == nullptr) return false;
    const ValueId dims = rewriter.add_constant(std::move(tensor), "");
    const ir::DType dtype = rewriter.dtype(node.inputs[i]);
    inputs[i] = rewriter.insert(node, Op::kReshape, {node.inputs[i], dims}, ir::EmptyAttrs{}, dtype, shape, "beside")
                    .outputs[0];
  }
  Node& moved = rewriter.insert(node, Op::kPointwise, std::move(inputs), ir::Attrs(node.attrs), rewriter.dtype(out),
                                shape, "flat");
  rewriter.swap_identity(node, moved);
  rewriter.change(node, Op::kReshape, {moved.outputs[0], target}, ir::EmptyAttrs{});
  return true;
}

}  // namespace blade::passes
