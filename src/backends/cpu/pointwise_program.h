// A pointwise program compiled to block functions: runs chunk by chunk, so that every intermediate stays in L1. Used
// for pointwise nodes and for the epilogues of matrix kernels.
#pragma once

#include <string>
#include <vector>

#include "backends/cpu/pointwise_blocks.h"
#include "backends/kernel.h"

namespace blade::backends::cpu {

class ProgramF32 {
 public:
  // Refuses (with a reason) dtypes other than float32, float16, bfloat16 and bool, and integer instructions.
  static Support supports(const ir::PointwiseProgram& program, std::span<const ir::DType> inputs, ir::DType output);
  // Only if supported.
  ProgramF32(const ir::PointwiseProgram& program, std::span<const ir::DType> inputs, ir::DType output);

  // One program input for a run over consecutive elements.
  struct Source {
    const void* data = nullptr;
    bool repeats = false;  // the same element every time
  };
  // out[i] = program(sources[...][i]) for i < count. `out` may be one of the sources if that has the output's dtype.
  void run(const Source* sources, void* out, int64_t count) const;

  // One program input for rows: row r begins row_stride elements of its type after row r - 1.
  struct RowSource {
    const void* data = nullptr;
    int64_t row_stride = 0;
    bool repeats = false;  // the same element everywhere
  };
  // out[r * out_stride + i] = program(sources[...] at row r, element i) for r < rows and i < columns; the
  // output's dtype must be float32. `out` may be one of the sources. Short rows are gathered, so that vectors are full.
  void run_rows(const RowSource* sources, float* out, int64_t out_stride, int64_t rows, int64_t columns) const;
  double cost() const { return cost_; }  // of an element, as in parallel_ranges
  int num_inputs() const { return static_cast<int>(input_dtypes_.size()); }

 private:
  struct Step {
    BlockFunction function;
    int a, b, c, out;  // values; inputs come first
    float alpha, beta;
  };

  void run_steps(const float* const* values, float* buffer, float* to, int64_t count) const;

  std::vector<Step> steps_;
  std::vector<int> registers_;  // of each value
  std::vector<ir::DType> input_dtypes_;
  ir::DType output_dtype_;
  int num_registers_ = 0;
  int64_t block_ = 0;
  double cost_ = 1;
};

}  // namespace blade::backends::cpu
