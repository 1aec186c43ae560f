// Channel axes of weights in the layouts of Conv, ConvTranspose and MatMul.
#include "passes/matrix_nodes.h"

#include <cmath>
#include <cstring>

#include "ir/op_classes.h"

namespace blade::passes {

using ir::Node;
using ir::Op;

bool is_matrix_node(const Node* node) { return node != nullptr && ir::multiplies_matrices(node->op); }

ir::PointwiseProgram& epilogue_of(Node& node) {
  if (node.op == Op::kConv) return node.get<ir::ConvAttrs>().epilogue;
  if (node.op == Op::kConvTranspose) return node.get<ir::ConvTransposeAttrs>().epilogue;
  return node.get<ir::MatMulAttrs>().epilogue;
}

const ir::PointwiseProgram& epilogue_of(const Node& node) { return epilogue_of(const_cast<Node&>(node)); }

int first_epilogue_input(const Node& node) { return node.op == Op::kConvTranspose ? 3 : 2; }

std::optional<int64_t> output_channels(const Rewriter& rewriter, const Node& node) {
  const ir::Shape& shape = rewriter.shape(node.outputs[0]);
  if (!shape.has_rank() || shape.rank() < 1 || !shape.dim(-1).is_known()) return std::nullopt;
  return shape.dim(-1).value();
}

namespace {

ChannelAxis axis_of(const ir::Dims& dims, size_t axis) {
  return {product(dims, 0, axis), dims[axis], product(dims, axis + 1, dims.size())};
}

}  // namespace

std::optional<ChannelAxis> output_axis(const Node& node, const ir::Dims& dims) {
  if (dims.size() < 2 || (node.op == Op::kMatMul && dims.size() != 2)) return std::nullopt;
  const bool second_to_last =
      node.op == Op::kConvTranspose || (node.op == Op::kMatMul && node.get<ir::MatMulAttrs>().transpose_b);
  return axis_of(dims, dims.size() - (second_to_last ? 2 : 1));
}

std::optional<ChannelAxis> input_axis(const Node& node, const ir::Dims& dims) {
  if (dims.size() < 2 || node.op == Op::kConvTranspose) return std::nullopt;
  if (node.op == Op::kMatMul) {
    const auto& attrs = node.get<ir::MatMulAttrs>();
    if (dims.size() != 2 || attrs.transpose_a) return std::nullopt;
    return axis_of(dims, attrs.transpose_b ? 1 : 0);
  }
  const int64_t groups = node.get<ir::ConvAttrs>().groups;
  if (groups == 1) return axis_of(dims, dims.size() - 2);
  const int64_t per_group = dims[dims.size() - 2], outputs = dims.back();
  if (per_group != 1 || groups < 1 || outputs % groups != 0) return std::nullopt;
  return ChannelAxis{product(dims, 0, dims.size() - 2), groups, outputs / groups};  // depthwise
}

ir::TensorPtr scaled_weights(const ir::Tensor& weights, const ChannelAxis& axis, const std::vector<double>& factors) {
  auto made = ir::allocate_tensor(weights.dtype, weights.dims);
  if (!made.ok() || weights.dtype != ir::DType::kFloat32) return nullptr;
  auto* out = reinterpret_cast<float*>(made->data);
  std::memcpy(out, weights.data, weights.bytes);
  bool finite = true;
  for (int64_t o = 0; o < axis.outer; ++o) {
    for (int64_t c = 0; c < axis.channels; ++c) {
      const double factor = factors[static_cast<size_t>(c)];
      for (int64_t i = 0; i < axis.inner; ++i, ++out) {
        *out = static_cast<float>(*out * factor);
        finite &= std::isfinite(*out);
      }
    }
  }
  return finite ? made->tensor : nullptr;
}

}  // namespace blade::passes
