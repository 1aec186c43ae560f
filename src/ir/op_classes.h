// Classes of ops that several folders ask for.
#pragma once

#include "ir/op.h"

namespace blade::ir {

// Whose result are sums of products with its operand 1, most often weights. Attention and Einsum are left out: they
// have no such operand.
inline bool multiplies_matrices(Op op) { return op == Op::kConv || op == Op::kConvTranspose || op == Op::kMatMul; }

// Whose result always is the bytes of operand 0, under another shape or under the same.
inline bool is_view_op(Op op) {
  return op == Op::kIdentity || op == Op::kEnsureShape || op == Op::kReshape || op == Op::kExpandDims ||
         op == Op::kSqueeze;
}

}  // namespace blade::ir
