// Elementwise work moves before the Reshape that it reads, next to what made the numbers.
#pragma once

#include "passes/rewriter.h"

namespace blade::passes {

// `node` is a Pointwise node. Its operands beside the reshaped one are scalars, channel vectors, or, with
// `and_residuals` and behind matrix work, tensors of the result's shape, which are reshaped instead. False where
// nothing was changed.
bool sink_reshape(Rewriter& rewriter, ir::Node& node, bool and_residuals);

}  // namespace blade::passes
