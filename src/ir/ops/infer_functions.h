// Declares the inference function of every op in ops.inc; each op family's file defines its own.
#pragma once

#include "ir/op.h"

namespace blade::ir {

// Functions shared by several ops are declared once an op: repeating a declaration is harmless.
#define BLADE_OP(name, attrs, infer) Status infer(InferContext& c);
#include "ir/ops/ops.inc"
#undef BLADE_OP

}  // namespace blade::ir
