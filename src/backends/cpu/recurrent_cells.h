// What follows the products of a step of a recurrent layer, on vectors.
#pragma once

#include <cstdint>

namespace blade::backends::cpu {

// The four gates i, f, c, o of `n` cells lie `stride` floats apart.
struct Gates {
  const float* data = nullptr;
  int64_t stride = 0;
};

struct RecurrentCells {
  // cs' = sigmoid(f) * cs + sigmoid(i) * tanh(c); h = sigmoid(o) * tanh(cs'), where each gate is the sum of its part
  // from the inputs and its part from the state. `cs` is read and written.
  void (*lstm)(const Gates& from_inputs, const Gates& from_state, float* cs, float* h, int64_t n);
};

// Those for the best instruction set at hand.
const RecurrentCells& recurrent_cells();

}  // namespace blade::backends::cpu
