// Writes elementwise programs as CUDA C++ for NVRTC: straight-line code in place of an interpreter, and vectors in
// place of elements.
#pragma once

#include <string>
#include <vector>

#include "backends/cuda/kernel_params.h"
#include "ir/ops/pointwise.h"

namespace blade::backends::cuda {

// Everything that the code depends on; dims and strides are parameters, so that other batch sizes take the same code.
struct PointwiseSource {
  const ir::PointwiseProgram* program = nullptr;
  std::vector<ElementType> types;  // one an input
  ElementType output = ElementType::kFloat32;
  int vector = 1;                        // elements that a thread takes from the innermost dim
  std::vector<std::vector<bool>> moves;  // one an input, one a dim: whether its stride is not 0
};

inline constexpr int kGeneratedThreads = 256;
inline constexpr int kGeneratedVectors = 2;  // of a thread, a block apart
inline constexpr const char* kGeneratedName = "blade_pointwise";

// A kernel of one parameter, a struct of: the inputs' pointers, the output's; int: the number of vectors; for each dim
// but the first a FastDivisor, the last dim counted in vectors; for each input and dim an int stride, in elements.
std::string pointwise_source(const PointwiseSource& spec);

}  // namespace blade::backends::cuda
