// Kernels of so little work that one block does many of them in one launch: what a row says of its work, beside how to
// launch it alone.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backends/cuda/kernel_params.h"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/kernel.h"

namespace blade::backends::cuda {

struct SmallOperand {
  int argument = 0;  // of the kernel's inputs or outputs
  int type = 0;      // ElementType; of casts an ir::DType
  int64_t offset = 0;
  ir::Dims strides;  // one a dim of the piece
};

// As SmallEntry says, with the operands by number.
struct SmallPiece {
  SmallKind kind = SmallKind::kCopy;
  int unit = 0;
  ElementType whole = ElementType::kInt64;  // what integer results wrap to
  ReduceOp op = ReduceOp::kSum;
  int64_t depth = 1, depth_strides[2] = {0, 0};
  float scale = 1;
  ir::Dims dims;
  std::vector<SmallOperand> inputs;
  SmallOperand output;
  Program program;
};

// Rows of a softmax or an arg-reduction, one a block, without the operands.
struct RowWork {
  RowsBesideParams::Part part;
  int blocks = 0;
};

// The pieces of one kernel, which do not depend on each other, or its rows; empty where it is not small.
struct SmallWork {
  std::vector<SmallPiece> pieces;
  std::optional<RowWork> rows;
  std::vector<size_t> input_bytes, output_bytes;  // of the kernel's operands
};

// What a row makes of its pieces: nothing if one of them is too much for a part of a block's time.
SmallWork small_work(const KernelRequest& request, std::vector<SmallPiece> pieces);
SmallWork row_work(const KernelRequest& request, const RowsBesideParams::Part& part, int blocks);

// A kernel that can be joined.
class SmallKernel {
 public:
  virtual ~SmallKernel() = default;
  virtual const SmallWork& work() const = 0;
};

Result<std::unique_ptr<JoinedKernels>> join_kernels(Device& device, std::span<const BoundKernel> kernels,
                                                    size_t* taken);

}  // namespace blade::backends::cuda
