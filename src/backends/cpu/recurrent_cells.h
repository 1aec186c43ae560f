// What follows the products of a step of a recurrent layer, on vectors.
#pragma once

#include <cstdint>

namespace blade::backends::cpu {

// The gates of `n` cells, in the order of ir::RecurrentCell, lie `stride` floats apart.
struct Gates {
  const float* data = nullptr;
  int64_t stride = 0;
  float hard_slope = 0;  // of the part from the inputs: see ir::RecurrenceAttrs
  const float* gate(int i) const { return data + i * stride; }
};

// Each gate is the sum of its part from the inputs and its part from the state.
struct RecurrentCells {
  // h = tanh(the only gate).
  void (*plain)(const Gates& from_inputs, const Gates& from_state, float* h, int64_t n);
  // cs' = sigmoid(f) * cs + sigmoid(i) * tanh(g); h = sigmoid(o) * tanh(cs'). `cs` is read and written.
  void (*lstm)(const Gates& from_inputs, const Gates& from_state, float* cs, float* h, int64_t n);
  // h' = sigmoid(z) * h + (1 - sigmoid(z)) * tanh(g), where sigmoid(r) scales g's part from the state and its `bias`.
  void (*gru)(const Gates& from_inputs, const Gates& from_state, const float* bias, const float* h, float* next,
              int64_t n);
  // A GRU that scales h by sigmoid(r): first that, then, with the product in gate 2 of `from_state`, h'.
  void (*reset)(const Gates& from_inputs, const Gates& from_state, const float* h, float* scaled, int64_t n);
  void (*gru_after_reset)(const Gates& from_inputs, const Gates& from_state, const float* h, float* next, int64_t n);
};

// Those for the best instruction set at hand.
const RecurrentCells& recurrent_cells();

}  // namespace blade::backends::cpu
