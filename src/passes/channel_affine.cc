// Reads channel-wise scales and shifts off the nodes that apply them.
#include "passes/channel_affine.h"

#include <algorithm>
#include <cmath>

#include "passes/pointwise_match.h"

namespace blade::passes {

using ir::Node;
using ir::PointwiseOp;
using ir::ValueId;

ChannelAffine ChannelAffine::identity(int64_t channels) {
  const auto count = static_cast<size_t>(channels);
  return {std::vector<double>(count, 1.0), std::vector<double>(count, 0.0)};
}

bool ChannelAffine::is_finite() const {
  const auto finite = [](double v) { return std::isfinite(v) && std::fabs(v) < 1e37; };
  return std::all_of(scale.begin(), scale.end(), finite) && std::all_of(shift.begin(), shift.end(), finite);
}

bool ChannelAffine::has_scale() const {
  return std::any_of(scale.begin(), scale.end(), [](double v) { return v != 1; });
}

bool ChannelAffine::has_shift() const {
  return std::any_of(shift.begin(), shift.end(), [](double v) { return v != 0; });
}

ChannelAffine ChannelAffine::then(const ChannelAffine& next) const {
  ChannelAffine both = *this;
  for (size_t c = 0; c < scale.size(); ++c) {
    both.scale[c] = next.scale[c] * scale[c];
    both.shift[c] = next.scale[c] * shift[c] + next.shift[c];
  }
  return both;
}

namespace {

std::optional<ChannelAffine> from_batch_norm(const Rewriter& rewriter, const Node& node, int64_t channels) {
  std::vector<std::vector<double>> parameters;
  for (size_t i = 1; i < 5; ++i) {
    auto values = channel_values(rewriter.graph(), node.inputs[i], channels);
    if (!values) return std::nullopt;
    parameters.push_back(std::move(*values));
  }
  ChannelAffine result = ChannelAffine::identity(channels);
  const double epsilon = node.get<ir::BatchNormAttrs>().epsilon;
  for (size_t c = 0; c < result.scale.size(); ++c) {
    result.scale[c] = parameters[0][c] / std::sqrt(parameters[3][c] + epsilon);
    result.shift[c] = parameters[1][c] - parameters[2][c] * result.scale[c];
  }
  return result;
}

ChannelAffine uniform(int64_t channels, double scale, double shift) {
  const auto count = static_cast<size_t>(channels);
  return {std::vector<double>(count, scale), std::vector<double>(count, shift)};
}

// x is operand `1 - at`, the constant operand `at`.
std::optional<ChannelAffine> from_binary(PointwiseOp op, int at, const std::vector<double>& constant) {
  ChannelAffine result = ChannelAffine::identity(static_cast<int64_t>(constant.size()));
  for (size_t c = 0; c < constant.size(); ++c) {
    switch (op) {
      case PointwiseOp::kAdd:
        result.shift[c] = constant[c];
        break;
      case PointwiseOp::kMul:
        result.scale[c] = constant[c];
        break;
      case PointwiseOp::kSub:
        result.scale[c] = at == 1 ? 1 : -1;
        result.shift[c] = at == 1 ? -constant[c] : constant[c];
        break;
      case PointwiseOp::kDiv:
        if (at == 0) return std::nullopt;
        result.scale[c] = 1 / constant[c];
        break;
      default:
        return std::nullopt;
    }
  }
  return result;
}

std::optional<ChannelAffine> from_pointwise(const Rewriter& rewriter, const Node& node, int64_t channels, ValueId& x) {
  const ir::PointwiseInstr* instr = single_instr(&node);
  if (instr == nullptr || !is_float32(rewriter, node)) return std::nullopt;
  x = operand(node, 0);
  if (instr->op == PointwiseOp::kAffine) return uniform(channels, instr->alpha, instr->beta);
  if (instr->op == PointwiseOp::kNeg) return uniform(channels, -1, 0);
  if (node.inputs.size() != 2) return std::nullopt;
  for (int at = 0; at < 2; ++at) {
    const auto constant = channel_values(rewriter.graph(), operand(node, at), channels);
    if (!constant) continue;
    x = operand(node, 1 - at);
    return from_binary(instr->op, at, *constant);
  }
  return std::nullopt;
}

}  // namespace

std::optional<ChannelAffine> channel_affine(const Rewriter& rewriter, const Node& node, int64_t channels, ValueId& x) {
  std::optional<ChannelAffine> found;
  if (node.op == ir::Op::kBatchNorm && is_float32(rewriter, node)) {
    x = node.inputs[0];
    found = from_batch_norm(rewriter, node, channels);
  } else if (node.op == ir::Op::kPointwise) {
    found = from_pointwise(rewriter, node, channels, x);
  }
  if (!found || !found->is_finite() || !same_shape(rewriter, x, node.outputs[0])) return std::nullopt;
  return found;
}

}  // namespace blade::passes
