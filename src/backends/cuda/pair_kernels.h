// Convolutions that stand one behind the other as one launch, which the plan does not know: each is a step. Two 1x1
// convolutions, or a 3x3 convolution and one or two 1x1 ones behind it.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "backends/cuda/conv_problem.h"

namespace blade::backends::cuda {

// A convolution as a launch of several takes it.
struct PairPart {
  ConvProblem problem, addend;  // without an addend the problem itself
  ConvOperands operands;
  ConvParams params;
  ElementType type = ElementType::kFloat16;
  bool is_plain = false;            // results need no more than bias, residual and clamp
  std::vector<size_t> input_bytes;  // of the kernel's inputs
  size_t output_bytes = 0;
  int multiprocessors = 0;  // of the card
};

// All of it but what the kernel itself decides: whether results are plain. The parameters are for one tile of columns.
Result<PairPart> pair_part(const KernelRequest& request, PackCache& packs);

class PairedKernel : public Kernel {
 public:
  bool can_join() const override { return true; }
  bool can_run_in_place(int input) const override {
    return input < 32 && (part_.operands.epilogue.in_place_inputs() >> input & 1u) != 0;
  }
  bool reads_input(int input) const override {
    return input >= 32 || (part_.operands.unread_inputs >> input & 1u) == 0;
  }
  int holds_operands() const override;
  const PairPart& part() const { return part_; }

 protected:
  explicit PairedKernel(PairPart part) : part_(std::move(part)) {}

 private:
  PairPart part_;
};

bool can_pair(const BoundKernel& kernel);
// As Device::join(), where the first can_pair().
Result<std::unique_ptr<JoinedKernels>> pair_kernels(const Device& device, std::span<const BoundKernel> kernels,
                                                    size_t* taken);

}  // namespace blade::backends::cuda
