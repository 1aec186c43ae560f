// Attention of a few queries of one head: two small products with softmax between, for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace blade::backends::cpu {

// A matrix where it lies; strides in elements.
template <class T = float>
struct StridedMatrix {
  const T* data = nullptr;
  int64_t row = 0, column = 0;
};

// out[queries][width] = softmax(scale * q * transposed(k) + mask + added) * v, with a mask that is added, or whose
// numbers other than zero replace scores. Rows without a score above -inf become NaN, as in TensorFlow.
struct AttentionBlock {
  int64_t queries = 0, keys = 0, depth = 0, width = 0;
  StridedMatrix<> q, k, v, mask, added;  // mask.data, added.data: null where there is none
  bool mask_replaces = false;
  float scale = 1;
  float* out = nullptr;  // a row's elements side by side
  int64_t out_row = 0;
};

inline constexpr int64_t kAttentionVectors = 2;

// Functions for the best instruction set at hand.
struct AttentionFunctions {
  int64_t lanes = 0;  // queries in a vector; a block has at most kAttentionVectors of them
  size_t (*scratch_bytes)(int64_t keys, int64_t depth, int64_t width) = nullptr;
  void (*attend)(const AttentionBlock& block, std::byte* scratch) = nullptr;  // scratch: 64-byte aligned
};
const AttentionFunctions& attention_functions();

}  // namespace blade::backends::cpu
