#include "optimizer/rounding_outputs.h"

#include <limits>

#include "ir/op_classes.h"

namespace blade::optimizer {
namespace {

constexpr double kAny = std::numeric_limits<double>::infinity();
constexpr Rounding kRounded = {1, 0.01}, kCompared = {1, 0.001}, kPlaced = {kAny, 0.001};

bool moves_elements(const ir::Node& node) {
  if (ir::is_view_op(node.op)) return true;
  switch (node.op) {
    case ir::Op::kTranspose:
    case ir::Op::kSlice:
    case ir::Op::kStridedSlice:
    case ir::Op::kCast:
      return true;
    default:
      return false;
  }
}

// Asking for NaN or infinity is no comparison: rounding does not decide it.
bool compares(const ir::Node& node) {
  const auto& program = node.get<ir::PointwiseAttrs>().program;
  if (program.empty()) return false;
  switch (program.code.back().op) {
    case ir::PointwiseOp::kEqual:
    case ir::PointwiseOp::kNotEqual:
    case ir::PointwiseOp::kLess:
    case ir::PointwiseOp::kLessEqual:
    case ir::PointwiseOp::kGreater:
    case ir::PointwiseOp::kGreaterEqual:
      return true;
    default:
      return false;
  }
}

std::optional<Rounding> rounding_of(const ir::Graph& graph, ir::ValueId value) {
  for (;;) {
    const ir::NodeId producer = graph.value(value).producer;
    if (producer == ir::kNone) return std::nullopt;
    const ir::Node& node = graph.node(producer);
    if (node.inputs.empty()) return std::nullopt;
    const bool of_floats = ir::is_floating(graph.value(node.inputs[0]).dtype);
    const ir::DType type = graph.value(value).dtype;
    if (node.op == ir::Op::kCast && of_floats) return type == ir::DType::kBool ? kCompared : kRounded;
    if (node.op == ir::Op::kPointwise && of_floats) return compares(node) ? std::optional(kCompared) : std::nullopt;
    if (node.op == ir::Op::kArgReduce && of_floats) return kPlaced;
    if (!moves_elements(node)) return std::nullopt;
    value = node.inputs[0];
  }
}

}  // namespace

std::map<std::string, Rounding> rounding_outputs(const ir::Graph& graph) {
  std::map<std::string, Rounding> found;
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    const ir::ValueId value = graph.outputs()[i];
    if (ir::is_floating(graph.value(value).dtype)) continue;
    if (const auto rounding = rounding_of(graph, value)) found.emplace(graph.output_names()[i], *rounding);
  }
  return found;
}

}  // namespace blade::optimizer
