// One pointwise instruction over a block of floats: the vector functions that programs are made of.
#pragma once

#include <cstdint>

#include "ir/ops/pointwise.h"

namespace blade::backends::cpu {

inline constexpr int64_t kBlockMultiple = 16;  // block lengths are multiples of the widest vector

// Booleans inside a program are 0 and 1. `out` may be `a`, `b` or `c`.
struct BlockArgs {
  const float* a = nullptr;
  const float* b = nullptr;
  const float* c = nullptr;
  float* out = nullptr;
  int64_t count = 0;  // a multiple of kBlockMultiple
  float alpha = 0, beta = 0;
};
using BlockFunction = void (*)(const BlockArgs&);

// For the best instruction set at hand; nullptr where floats have no such instruction (shifts).
BlockFunction block_function(ir::PointwiseOp op);
// Cost of an element relative to loading and storing it.
double block_cost(ir::PointwiseOp op);

}  // namespace blade::backends::cpu
