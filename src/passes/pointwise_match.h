// Small questions about elementwise nodes that several passes ask.
#pragma once

#include "passes/constants.h"
#include "passes/rewriter.h"

namespace blade::passes {

// The instruction of a Pointwise node with a single one; nullptr otherwise.
const ir::PointwiseInstr* single_instr(const ir::Node* node);
// The producer of `value` where it is a single-instruction Pointwise node doing `op`; nullptr otherwise.
ir::Node* pointwise_producer(Rewriter& rewriter, ir::ValueId value, ir::PointwiseOp op);
// Input `i` of a single-instruction node in the order of the instruction's operands (0: a, 1: b, 2: c).
ir::ValueId operand(const ir::Node& node, int i);
// alpha and beta where `value` is alpha * x + beta (Affine, Neg), x in `inner`.
struct ScalarAffine {
  float alpha = 1, beta = 0;
  ir::ValueId inner = ir::kNone;
  ir::Node* node = nullptr;
};
std::optional<ScalarAffine> scalar_affine(Rewriter& rewriter, ir::ValueId value);

bool is_float32(const Rewriter& rewriter, const ir::Node& node);  // all inputs and the first output
// Both have a known rank and equal dims.
bool same_shape(const Rewriter& rewriter, ir::ValueId a, ir::ValueId b);

}  // namespace blade::passes
