// Two 1x1 convolutions that stand one behind the other as one launch, which the plan does not know: each is a step.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backends/cuda/conv_problem.h"

namespace blade::backends::cuda {

// A convolution as a launch of two takes it.
struct PairPart {
  ConvProblem problem, addend;  // without an addend the problem itself
  ConvOperands operands;
  ConvParams params;
  ElementType type = ElementType::kFloat16;
  bool is_plain = false;            // results need no more than bias, residual and clamp
  std::vector<size_t> input_bytes;  // of the kernel's inputs
  size_t output_bytes = 0;
};

class PairedKernel : public Kernel {
 public:
  bool is_small() const override { return true; }
  virtual const PairPart& part() const = 0;
};

bool can_pair(const BoundKernel& kernel);
// As Device::join(), where the first can_pair().
Result<std::unique_ptr<JoinedKernels>> pair_kernels(const Device& device, std::span<const BoundKernel> kernels,
                                                    size_t* taken);

}  // namespace blade::backends::cuda
