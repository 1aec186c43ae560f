// Where the largest and smallest numbers of rows and columns of floats are.
#pragma once

#include <cstdint>

namespace blade::backends::cpu {

// Where in each row, or column of a matrix, the first of its largest (smallest) numbers is, as TensorFlow has it: 0
// where none is above the lowest finite number (below the highest).
struct ArgFunctions {
  void (*rows)(const float* x, int64_t rows, int64_t length, bool largest, int32_t* out);
  void (*columns)(const float* x, int64_t pitch, int64_t length, bool largest, int32_t* out, int64_t columns);
};

// For the best instruction set at hand.
const ArgFunctions& arg_functions();

}  // namespace blade::backends::cpu
