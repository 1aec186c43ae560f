// Programs in the form that a kernel interprets for several elements at once.
#pragma once

#include "backends/cuda/kernel_params.h"
#include "ir/ops/pointwise.h"

namespace blade::backends::cuda {

// A program that runs on kVectorElements elements a thread: each operand of an instruction is an input (by number), the
// last result, or a kept value in shared memory.
inline constexpr int kVectorElements = 8;
inline constexpr int kLastResult = 127, kFirstKept = 64;
struct VectorInstr {
  uint8_t op;
  int8_t a, b, c;    // -1: none
  int8_t keep = -1;  // the kept value that the result becomes
  float alpha, beta;
};
struct VectorProgramParams {
  const void* inputs[kMaxProgramInputs] = {};
  void* output = nullptr;
  ElementType input_types[kMaxProgramInputs] = {};
  ElementType output_type = ElementType::kFloat32;
  int num_inputs = 0, num_code = 0;
  int8_t keep_input[kMaxProgramInputs] = {};  // the kept value that an input becomes before all else; -1: none
  uint32_t vectors = 0;  // bit i: input i goes through the last dim; others repeat an element there
  int units = 0;         // groups of elements that stand together
  int rank = 0;
  FastDivisor dims[kMaxRank];  // the last one in units
  int strides[kMaxProgramInputs][kMaxRank] = {};
  VectorInstr code[kMaxProgramCode];
};

// Fills the code of `params`, and gives the number of kept values: results that later instructions than the next one
// read, and inputs that are read more than once. Everything else of `params` is as new.
int encode_program(const ir::PointwiseProgram& program, VectorProgramParams& params);

}  // namespace blade::backends::cuda
