// Recognises single elementwise instructions and their operands.
#include "passes/pointwise_match.h"

namespace blade::passes {

using ir::Node;
using ir::PointwiseOp;
using ir::ValueId;

const ir::PointwiseInstr* single_instr(const Node* node) {
  if (node == nullptr || node->op != ir::Op::kPointwise) return nullptr;
  const auto& code = node->get<ir::PointwiseAttrs>().program.code;
  return code.size() == 1 ? &code[0] : nullptr;
}

Node* pointwise_producer(Rewriter& rewriter, ValueId value, PointwiseOp op) {
  Node* node = rewriter.producer(value);
  const ir::PointwiseInstr* instr = single_instr(node);
  return instr != nullptr && instr->op == op ? node : nullptr;
}

ValueId operand(const Node& node, int i) {
  const ir::PointwiseInstr& instr = *single_instr(&node);
  return node.inputs[i == 0 ? instr.a : i == 1 ? instr.b : instr.c];
}

std::optional<ScalarAffine> scalar_affine(Rewriter& rewriter, ValueId value) {
  Node* node = rewriter.producer(value);
  const ir::PointwiseInstr* instr = single_instr(node);
  if (instr == nullptr || rewriter.dtype(value) != ir::DType::kFloat32) return std::nullopt;
  if (instr->op == PointwiseOp::kNeg) return ScalarAffine{-1, 0, operand(*node, 0), node};
  if (instr->op == PointwiseOp::kAffine) return ScalarAffine{instr->alpha, instr->beta, operand(*node, 0), node};
  return std::nullopt;
}

bool is_float32(const Rewriter& rewriter, const Node& node) {
  for (ValueId input : node.inputs) {
    if (rewriter.dtype(input) != ir::DType::kFloat32) return false;
  }
  return rewriter.dtype(node.outputs[0]) == ir::DType::kFloat32;
}

bool same_shape(const Rewriter& rewriter, ValueId a, ValueId b) {
  return rewriter.shape(a).has_rank() && rewriter.shape(a) == rewriter.shape(b);
}

}  // namespace blade::passes
