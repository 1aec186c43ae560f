// NVIDIA's matrix products, where the machine has the library: a toolkit's, the PyPI package nvidia-cublas beside
// Blade, or PyTorch's in the same process.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"

namespace blade::backends::cuda {

// Column-major, as the library counts: d[rows, columns] = act(op(a)[rows, depth] * op(b)[depth, columns] + c +
// bias[rows]).
struct LtProblem {
  enum class Activation { kNone, kRelu, kGelu };
  bool bfloat16 = false;  // all operands; else float16. Sums and their parts are float32
  int64_t rows = 0, columns = 0, depth = 0;
  bool transpose_a = false, transpose_b = false;
  int64_t batches = 1, a_stride = 0, b_stride = 0;  // in elements; d is dense
  bool has_addend = false;
  const void* bias = nullptr;  // constant, outlives the product
  Activation activation = Activation::kNone;
};

struct LtOperands {
  const void *a = nullptr, *b = nullptr, *addend = nullptr;
  void* d = nullptr;
  void* workspace = nullptr;
  void* stream = nullptr;
};

// A product with the algorithm that the library's heuristic names first. Immutable; runs may share it.
class LtProduct {
 public:
  // Where the library lies, or why there is none.
  static const Result<std::string>& library();
  // Loads the library at the first call. kUnavailable where it does not start or has no algorithm.
  static Result<std::unique_ptr<LtProduct>> create(const LtProblem& problem);
  virtual ~LtProduct() = default;
  virtual size_t workspace_bytes() const = 0;
  virtual Status run(const LtOperands& operands) const = 0;
};

}  // namespace blade::backends::cuda
