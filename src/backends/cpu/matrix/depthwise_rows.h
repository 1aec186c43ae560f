// Rows of a depthwise convolution, written wherever the caller wants them: to the output, or to a strip in cache that
// the next convolution reads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/depthwise_f32.h"

namespace blade::backends::cpu {

// Output rows are numbered over all images: image * oh + y.
class DepthwiseRows {
 public:
  DepthwiseRows(const DepthwiseShape& shape, const float* in, const float* weights, const EpilogueF32& epilogue,
                const float* zeros)
      : s_(shape), in_(in), weights_(weights), epilogue_(epilogue), zeros_(zeros) {}

  struct Block {
    int64_t first_row = 0, rows = 0;  // of one image, at most as many as table_bytes() was told
    int64_t first_x = 0, columns = 0;
  };
  // Computes a block into to[row][column][channel], dense. `table` has room for table_bytes().
  void run(const Block& block, float* to, const float** table) const;
  static size_t table_bytes(const DepthwiseShape& shape, int64_t rows);
  // Rows that `first_row` may be computed together with: to the end of its image, at most `most`.
  static int64_t rows_together(const DepthwiseShape& shape, int64_t first_row, int64_t most);

 private:
  void fill_table(const Block& block, int64_t width, const float** table) const;
  void run_row(const Block& block, int64_t row, int64_t width, float* to, const float* const* table) const;
  void run_row_with_multiplier(const Block& block, int64_t row, float* to) const;

  const DepthwiseShape& s_;
  const float* in_;
  const float* weights_;
  const EpilogueF32& epilogue_;
  const float* zeros_;  // as many as there are input channels
};

}  // namespace blade::backends::cpu
