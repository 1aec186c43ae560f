// Floating-point operations and bytes of one node with static shapes: for cost models and rooflines.
#include <algorithm>

#include "ir/op_classes.h"
#include "ir/ops/einsum.h"
#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

double count(const Graph& graph, ValueId id) {
  return static_cast<double>(graph.value(id).shape.element_count().value_or(0));
}

double all_dims(const Shape& shape, int from, int to) {
  double out = 1;
  for (int i = from; i < to; ++i) out *= shape.dim(i).is_known() ? static_cast<double>(shape.dim(i).value()) : 0;
  return out;
}

// Expensive functions count as about as many operations as their polynomials take.
double instruction_flops(PointwiseOp op) {
  using P = PointwiseOp;
  switch (op) {
    case P::kExp:
    case P::kExpm1:
    case P::kLog:
    case P::kLog1p:
    case P::kSin:
    case P::kCos:
    case P::kTanh:
    case P::kSigmoid:
    case P::kErf:
    case P::kSwish:
    case P::kElu:
    case P::kSelu:
    case P::kSoftplus:
      return 16;
    case P::kGeluErf:
    case P::kGeluTanh:
    case P::kPow:
    case P::kTan:
      return 24;
    case P::kAffine:
    case P::kHardSigmoid:
    case P::kHardSwish:
      return 2;
    default:
      return 1;
  }
}

double program_flops(const PointwiseProgram& program) {
  double out = 0;
  for (const PointwiseInstr& instr : program.code) out += instruction_flops(instr.op);
  return out;
}

double epilogue_flops(const Node& node, double elements) {
  const PointwiseProgram* program = nullptr;
  if (const auto* a = std::get_if<ConvAttrs>(&node.attrs)) program = &a->epilogue;
  if (const auto* a = std::get_if<ConvTransposeAttrs>(&node.attrs)) program = &a->epilogue;
  if (const auto* a = std::get_if<MatMulAttrs>(&node.attrs)) program = &a->epilogue;
  return program ? program_flops(*program) * elements : 0;
}

// Two products over the keys, and the exponentials of their scores.
double attention_flops(const Graph& graph, const Node& node) {
  const auto& attrs = node.get<AttentionAttrs>();
  const Shape &q = graph.value(node.inputs[0]).shape, &k = graph.value(node.inputs[1]).shape;
  if (!q.has_rank() || !k.has_rank()) return 0;
  const Dim keys = k.dim(static_cast<int>(attrs.key_perm[attrs.key_perm.size() - 2]));
  const Dim depth = q.dim(static_cast<int>(attrs.query_perm.back()));
  if (!keys.is_known() || !depth.is_known() || depth.value() == 0) return 0;
  const double queries = count(graph, node.inputs[0]);
  const double scores = queries / static_cast<double>(depth.value()) * static_cast<double>(keys.value());
  return 2 * static_cast<double>(keys.value()) * (queries + count(graph, node.outputs[0])) + 20 * scores;
}

// A product and a sum for every combination of labels.
double einsum_flops(const Graph& graph, const Node& node) {
  const auto equation = parse_einsum(node.get<EinsumAttrs>().equation);
  if (!equation.ok() || equation->inputs.size() != node.inputs.size()) return 0;
  double combinations = 1, ellipsis = 1;
  std::string seen;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Shape& shape = graph.value(node.inputs[i]).shape;
    const std::string& term = equation->inputs[i];
    const bool dots = term.find('.') != std::string::npos;
    const int covered = shape.rank() - static_cast<int>(term.size()) + (dots ? 1 : 0);
    int axis = 0;
    for (char label : term) {
      const int width = label == '.' ? std::max(covered, 0) : 1;
      const double size = axis + width <= shape.rank() ? all_dims(shape, axis, axis + width) : 0;
      if (label == '.') {
        ellipsis = std::max(ellipsis, size);
      } else if (seen.find(label) == std::string::npos) {
        combinations *= size;
        seen += label;
      }
      axis += width;
    }
  }
  return (node.inputs.size() > 1 ? 2 : 1) * combinations * ellipsis;
}

double compute_flops(const Graph& graph, const Node& node) {
  const double out = node.outputs.empty() ? 0 : count(graph, node.outputs[0]);
  const auto in = [&](size_t i) -> const Shape& { return graph.value(node.inputs[i]).shape; };
  switch (node.op) {
    case Op::kPointwise:
      return out * program_flops(node.get<PointwiseAttrs>().program);
    case Op::kConv:
      // Each output element sums window * c_in / groups products.
      return 2 * out * all_dims(in(1), 0, in(1).rank() - 1) + epilogue_flops(node, out);
    case Op::kConvTranspose:
      return 2 * count(graph, node.inputs[0]) * all_dims(in(1), 0, in(1).rank() - 1) + epilogue_flops(node, out);
    case Op::kMatMul: {
      const Dim k =
          in(0).has_rank() && in(0).rank() >= 2 ? in(0).dim(node.get<MatMulAttrs>().transpose_a ? -2 : -1) : Dim(0);
      return 2 * out * (k.is_known() ? static_cast<double>(k.value()) : 0) + epilogue_flops(node, out);
    }
    case Op::kAttention:
      return attention_flops(graph, node);
    case Op::kEinsum:
      return einsum_flops(graph, node);
    case Op::kPool: {
      double window = 1;
      for (int64_t w : node.get<PoolAttrs>().window) window *= static_cast<double>(w);
      return out * window;
    }
    case Op::kMaxPoolArgmax: {
      double window = 1;
      for (int64_t w : node.get<MaxPoolArgmaxAttrs>().window) window *= static_cast<double>(w);
      return out * window;
    }
    case Op::kDilation:
      return 2 * out * all_dims(in(1), 0, 2);
    case Op::kCropAndResize:
      return 8 * out;
    case Op::kSegmentReduce:
      return count(graph, node.inputs[0]);
    case Op::kBlockLstm:
      return 2 * all_dims(in(1), 0, 2) * count(graph, node.inputs[4]) + 80 * out;
    case Op::kRecurrence:
      return 2 * all_dims(in(0), 0, 2) * (count(graph, node.inputs[1]) + count(graph, node.inputs[3])) + 80 * out;
    case Op::kBatchNorm:
      return 2 * out;
    case Op::kLayerNorm:
      return 8 * out;
    case Op::kSoftmax:
      return 20 * out;
    case Op::kLrn:
      return out * (24 + 2.0 * static_cast<double>(2 * node.get<LrnAttrs>().depth_radius + 1));
    case Op::kMoments:
      return 4 * count(graph, node.inputs[0]);
    case Op::kReduce:
    case Op::kArgReduce:
    case Op::kCumulative:
      return count(graph, node.inputs[0]);
    case Op::kScaleAndTranslate:
      return out * 24;
    case Op::kResize:
      return out * (node.get<ResizeAttrs>().kind == ResizeKind::kBicubic ? 32 : 8);
    default:
      return 0;
  }
}

// Reads of ops that look at part of their input are no larger than what they write.
bool reads_only_what_it_writes(Op op) {
  return op == Op::kGather || op == Op::kGatherNd || op == Op::kSlice || op == Op::kStridedSlice;
}

}  // namespace

Cost node_cost(const Graph& graph, const Node& node) {
  Cost cost;
  const auto bytes_of = [&](ValueId id) {
    return count(graph, id) * static_cast<double>(dtype_size(graph.value(id).dtype));
  };
  if (node.op == Op::kForeign) return cost;
  double written = 0;
  for (ValueId output : node.outputs) {
    written += bytes_of(output);
    if (!graph.value(output).shape.is_static()) return cost;
  }
  for (ValueId input : node.inputs) {
    if (!graph.value(input).shape.is_static()) return cost;
  }
  if (is_view_op(node.op) || node.op == Op::kShapeOf) return cost;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const double read = bytes_of(node.inputs[i]);
    cost.bytes += i == 0 && reads_only_what_it_writes(node.op) ? std::min(read, written) : read;
  }
  cost.bytes += written;
  cost.flops = compute_flops(graph, node);
  return cost;
}

}  // namespace blade::ir
