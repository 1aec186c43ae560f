// FoldBatchNorm: batch normalization and other constant scales and shifts of channels go into the weights of the
// convolution or matrix product before or after them, computed in double; a batch normalization that stands alone
// becomes one multiplication and one addition.
#include "passes/channel_affine.h"
#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::PointwiseAttrs;
using ir::PointwiseOp;
using ir::PointwiseProgram;
using ir::ValueId;

bool has_foldable_weights(const Rewriter& rewriter, const Node& node) {
  if (!is_matrix_node(&node) || !epilogue_of(node).empty()) return false;
  const ir::Value& weights = rewriter.graph().value(node.inputs[1]);
  return weights.is_constant() && weights.dtype == ir::DType::kFloat32 && rewriter.has_one_use(weights.id);
}

ir::TensorPtr narrowed(const std::vector<double>& values) {
  return float_tensor({static_cast<int64_t>(values.size())}, std::vector<float>(values.begin(), values.end()));
}

// The constant that stands for `tensor` made for the sake of `node`; kNone where memory was short.
ValueId add_folded(Rewriter& rewriter, const Node& node, ir::TensorPtr tensor, const char* what) {
  if (tensor == nullptr) return ir::kNone;
  return rewriter.add_constant(std::move(tensor), node.name + "/folded_" + what);
}

// matrix -> scale, shift, scale, ... as matrix with other weights -> one shift. Returns the nodes that went.
int fold_after(Rewriter& rewriter, Node& matrix) {
  const auto channels = output_channels(rewriter, matrix);
  if (!channels) return 0;
  ChannelAffine all = ChannelAffine::identity(*channels);
  Node* last = nullptr;
  int length = 0;
  for (ValueId value = matrix.outputs[0]; rewriter.has_one_use(value) && !rewriter.is_output(value);) {
    Node& reader = rewriter.graph().node(rewriter.readers(value)[0]);
    ValueId x = ir::kNone;
    const auto step = channel_affine(rewriter, reader, *channels, x);
    if (!step) break;
    const ChannelAffine both = all.then(*step);
    if (!both.is_finite()) break;
    all = both;
    last = &reader;
    value = reader.outputs[0];
    ++length;
  }
  if (last == nullptr || (length == 1 && !all.has_scale() && all.has_shift())) return 0;
  std::vector<ValueId> inputs = matrix.inputs;
  const ir::Tensor& weights = *rewriter.graph().value(inputs[1]).constant;
  const auto axis = output_axis(matrix, weights.dims);
  if (!axis) return 0;
  if (all.has_scale()) {
    inputs[1] = add_folded(rewriter, matrix, scaled_weights(weights, *axis, all.scale), "weights");
    if (inputs[1] == ir::kNone) return 0;
  }
  if (!all.has_shift()) {  // the last node of the chain takes over the matrix product itself
    rewriter.swap_identity(matrix, *last);
    rewriter.change(*last, matrix.op, std::move(inputs), ir::Attrs(matrix.attrs));
    return length;
  }
  const ValueId bias = add_folded(rewriter, matrix, narrowed(all.shift), "bias");
  if (bias == ir::kNone) return 0;
  rewriter.graph().value(matrix.outputs[0]).name.clear();  // no longer the tensor that the source graph calls so
  rewriter.set_inputs(matrix, std::move(inputs));
  rewriter.change(*last, Op::kPointwise, {matrix.outputs[0], bias},
                  PointwiseAttrs{PointwiseProgram::binary(PointwiseOp::kAdd)});
  return length;
}

// True where no element of padding ever meets the weights.
bool is_without_padding(const Node& node, const ir::Dims& weight_dims) {
  if (node.op != Op::kConv) return true;
  const auto& attrs = node.get<ir::ConvAttrs>();
  if (attrs.padding == ir::Padding::kValid) return true;
  if (attrs.padding == ir::Padding::kSame) return product(weight_dims, 0, weight_dims.size() - 2) == 1;
  for (int64_t pad : attrs.explicit_pads) {
    if (pad != 0) return false;
  }
  return true;
}

// What the weights make of an input that is shift[c] everywhere.
std::vector<double> response_to(const std::vector<float>& weights, const ir::Dims& dims, const Node& node,
                                const ChannelAxis& in, const std::vector<double>& shift) {
  const ChannelAxis out = *output_axis(node, dims);
  std::vector<double> response(static_cast<size_t>(out.channels), 0.0);
  const auto count = static_cast<int64_t>(weights.size());
  for (int64_t i = 0; i < count; ++i) {
    response[static_cast<size_t>(i / out.inner % out.channels)] +=
        weights[static_cast<size_t>(i)] * shift[static_cast<size_t>(i / in.inner % in.channels)];
  }
  return response;
}

// scale, shift, ... -> matrix as matrix with other weights -> shift; shifts only where padding does not see them.
int fold_before(Rewriter& rewriter, Node& matrix) {
  const ir::TensorPtr weights = rewriter.graph().value(matrix.inputs[1]).constant;
  const auto axis = input_axis(matrix, weights->dims);
  if (!axis) return 0;
  const bool may_shift = is_without_padding(matrix, weights->dims);
  ChannelAffine all = ChannelAffine::identity(axis->channels);
  ValueId source = matrix.inputs[0];
  int length = 0;
  for (;;) {
    const Node* node = rewriter.producer(source);
    ValueId x = ir::kNone;
    if (node == nullptr || !rewriter.has_one_use(source)) break;
    const auto step = channel_affine(rewriter, *node, axis->channels, x);
    if (!step || (step->has_shift() && !may_shift)) break;
    const ChannelAffine both = step->then(all);
    if (!both.is_finite()) break;
    // A shift right after a matrix product is its bias: it costs nothing there.
    if (is_matrix_node(rewriter.producer(x)) && rewriter.has_one_use(x)) break;
    all = both;
    source = x;
    ++length;
  }
  if (length == 0) return 0;
  std::vector<ValueId> inputs = matrix.inputs;
  inputs[0] = source;
  inputs[1] = add_folded(rewriter, matrix, scaled_weights(*weights, *axis, all.scale), "weights");
  if (inputs[1] == ir::kNone) return 0;
  if (!all.has_shift()) {
    rewriter.set_inputs(matrix, std::move(inputs));
    return length;
  }
  const std::vector<float> values = float_values(rewriter.graph(), matrix.inputs[1]);
  const ValueId bias =
      add_folded(rewriter, matrix, narrowed(response_to(values, weights->dims, matrix, *axis, all.shift)), "bias");
  if (bias == ir::kNone) return 0;
  Node& folded = rewriter.insert(matrix, matrix.op, std::move(inputs), ir::Attrs(matrix.attrs), ir::DType::kFloat32,
                                 rewriter.shape(matrix.outputs[0]), "shifted");
  rewriter.swap_identity(matrix, folded);
  rewriter.change(matrix, Op::kPointwise, {folded.outputs[0], bias},
                  PointwiseAttrs{PointwiseProgram::binary(PointwiseOp::kAdd)});
  return length;
}

// x * scale + shift in one elementwise program.
bool lower_batch_norm(Rewriter& rewriter, Node& node) {
  const ir::Shape& shape = rewriter.shape(node.inputs[0]);
  if (!shape.has_rank() || shape.rank() < 1 || !shape.dim(-1).is_known()) return false;
  ValueId x = ir::kNone;
  const auto affine = channel_affine(rewriter, node, shape.dim(-1).value(), x);
  if (!affine) return false;
  const ValueId scale = add_folded(rewriter, node, narrowed(affine->scale), "scale");
  const ValueId shift = add_folded(rewriter, node, narrowed(affine->shift), "shift");
  if (scale == ir::kNone || shift == ir::kNone) return false;
  const PointwiseProgram program =
      ir::compose(PointwiseProgram::binary(PointwiseOp::kMul), PointwiseProgram::binary(PointwiseOp::kAdd), 0);
  rewriter.change(node, Op::kPointwise, {x, scale, shift}, PointwiseAttrs{program});
  return true;
}

}  // namespace

Result<PassResult> fold_batch_norm(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  for (int sweep = 0; sweep < 3; ++sweep) {  // a bias that came out of one fold may take part in the next
    const int before = result.changes;
    BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
    for (ir::NodeId id : rewriter.order()) {
      if (rewriter.is_dead(id) || !has_foldable_weights(rewriter, graph.node(id))) continue;
      result.changes += fold_before(rewriter, graph.node(id));
    }
    for (ir::NodeId id = 0, end = graph.num_node_slots(); id < end; ++id) {
      if (!graph.is_live(id) || rewriter.is_dead(id) || !has_foldable_weights(rewriter, graph.node(id))) continue;
      result.changes += fold_after(rewriter, graph.node(id));
    }
    for (ir::NodeId id : rewriter.order()) {
      if (rewriter.is_dead(id) || graph.node(id).op != Op::kBatchNorm) continue;
      result.changes += lower_batch_norm(rewriter, graph.node(id)) ? 1 : 0;
    }
    rewriter.finish();
    if (result.changes == before) break;
  }
  return result;
}

}  // namespace blade::passes
