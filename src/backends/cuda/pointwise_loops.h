// The loops of an elementwise step, and how many neighbouring elements a thread may take at once.
#pragma once

#include "backends/cuda/kernel_support.h"

namespace blade::backends::cuda {

struct PointwiseLoops {
  ir::Dims dims;                  // merged; at least one
  std::vector<ir::Dims> strides;  // one an input, in elements
  // A power of two that divides the last dim and every other stride; 16 bytes of the widest operand at most. 1 where an
  // operand goes through the last dim in other steps than 0 and 1.
  int vector = 1;
  int64_t vectors() const { return product(dims) / vector; }
};

PointwiseLoops pointwise_loops(const KernelRequest& request);

}  // namespace blade::backends::cuda
