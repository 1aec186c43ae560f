// Rows of a depthwise convolution, written wherever the caller wants them: to the output, or to a strip in cache that
// the next convolution reads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/depthwise.h"

namespace blade::backends::cpu {

// Output rows are numbered over all images: image * oh + y.
template <class T>
class DepthwiseRows {
 public:
  DepthwiseRows(const DepthwiseShape& shape, const T* in, const float* weights, const Epilogue<T>& epilogue,
                const T* zeros)
      : s_(shape), in_(in), weights_(weights), epilogue_(epilogue), zeros_(zeros) {}

  struct Block {
    int64_t first_row = 0, rows = 0;  // of one image, at most as many as scratch_bytes() was told
    int64_t first_x = 0, columns = 0;
  };
  // Computes a block into to[row][column][channel], dense. `scratch` has room for scratch_bytes().
  void run(const Block& block, T* to, std::byte* scratch) const;
  static size_t table_bytes(const DepthwiseShape& shape, int64_t rows);  // of it: pointers to pixels
  static size_t scratch_bytes(const DepthwiseShape& shape, int64_t rows);
  // Rows that `first_row` may be computed together with: to the end of its image, at most `most`.
  static int64_t rows_together(const DepthwiseShape& shape, int64_t first_row, int64_t most);

 private:
  void fill_table(const Block& block, int64_t width, const T** table) const;
  // Results go to `wide` where that is not null, else to `to`.
  void run_row(const Block& block, int64_t row, int64_t width, T* to, float* wide, const T* const* table) const;
  void run_row_with_multiplier(const Block& block, int64_t row, float* to) const;

  const DepthwiseShape& s_;
  const T* in_;
  const float* weights_;
  const Epilogue<T>& epilogue_;
  const T* zeros_;  // as many as there are input channels
};

}  // namespace blade::backends::cpu
