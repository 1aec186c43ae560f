// NVIDIA's convolutions, where the machine has the library: the PyPI package nvidia-cudnn-cu13 beside Blade, PyTorch's
// in the same process, or the system's. A convolution and the elementwise work on its sums are one graph of operations,
// which the library compiles into one kernel or has one for.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "ir/ops/pointwise.h"

namespace blade::backends::cuda {

struct CudnnConv {
  struct Dim {
    int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad_before = 0;
  };
  bool bfloat16 = false;  // image, weights, result and operands shaped like it; else float16. Sums are float32
  int64_t images = 1, in_channels = 0, channels = 0, groups = 1;
  std::vector<Dim> dims;  // 2 or 3; everything channels last, weights [channels, window..., in_channels / groups]
  ir::PointwiseProgram program;  // on each sum, of instructions that CudnnPlan takes
  // Of the program's operands 1...: one a channel; else shaped like the result.
  std::vector<bool> by_channel;
  // Whether the library may compile a kernel for the very graph, which takes it up to a second. Operands of one value a
  // channel are float32 then, else of the result's type, as the kernels that it holds want them.
  bool may_compile = false;
};

// Adds the residual before the bias, as the kernels that the library holds do, where the two sums allow it.
void put_residual_first(CudnnConv& conv);

struct CudnnOperands {
  const void *x = nullptr, *weights = nullptr;
  std::vector<const void*> operands;  // of the program, from 1 on
  void* y = nullptr;
  void* workspace = nullptr;
  void* stream = nullptr;
};

// With the engine that the library's heuristic names first among those that give the same bits every time, sum in
// float32 and need little memory. Immutable; runs may share it.
class CudnnPlan {
 public:
  // Where the library lies, or why there is none.
  static const Result<std::string>& library();
  static bool takes(const ir::PointwiseInstr& instr);
  // For the current card of this thread; loads the library at the first call. kUnavailable where it does not start, has
  // no engine, or fails. Plans and refusals are kept: the same convolution is compiled once. Failures are tried again.
  static Result<std::shared_ptr<const CudnnPlan>> create(const CudnnConv& conv);
  virtual ~CudnnPlan() = default;
  virtual size_t workspace_bytes() const = 0;
  virtual Status run(const CudnnOperands& operands) const = 0;
};

}  // namespace blade::backends::cuda
