// Rows of a depthwise convolution, written wherever the caller wants them: to the output, or to a strip in cache that
// the next convolution reads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/depthwise.h"
#include "backends/cpu/matrix/depthwise_kernel.h"

namespace blade::backends::cpu {

// Output rows are numbered over all images: image * oh + y.
template <class T>
class DepthwiseRows {
 public:
  // `ring`: 0, or how many rows of the current image `in` has room for; row y is then at y % ring. `not_finite`: see
  // DepthwiseArgs.
  DepthwiseRows(const DepthwiseShape& shape, const T* in, const DepthwiseWeights& weights, const Epilogue<T>& epilogue,
                const T* zeros, int64_t ring = 0, bool* not_finite = nullptr)
      : s_(shape),
        in_(in),
        weights_(weights),
        epilogue_(epilogue),
        zeros_(zeros),
        ring_(ring),
        not_finite_(not_finite) {}

  struct Block {
    int64_t first_row = 0, rows = 0;  // of one image, at most as many as scratch_bytes() was told
    int64_t first_x = 0, columns = 0;
    int64_t first_channel = 0, channels = 0;  // 0: all; fewer only where can_part_channels() says so
  };
  // Computes a block into to[row][column][channel], dense but for channels that are left out. `scratch` has room for
  // scratch_bytes().
  void run(const Block& block, T* to, std::byte* scratch) const;
  bool can_part_channels() const {
    return s_.multiplier == 1 && (sizeof(T) == sizeof(float) || epilogue_.generic == nullptr);
  }
  static size_t table_bytes(const DepthwiseShape& shape, int64_t rows);  // of it: pointers to pixels
  static size_t scratch_bytes(const DepthwiseShape& shape, int64_t rows);
  // Rows that `first_row` may be computed together with: to the end of its image, at most `most`.
  static int64_t rows_together(const DepthwiseShape& shape, int64_t first_row, int64_t most);

 private:
  void fill_table(const Block& block, int64_t width, const T** table) const;
  void finish_row(const Block& block, int64_t row, float* to) const;
  DepthwiseArgs<T> common_args(const Block& block, int64_t width) const;
  // All rows of a block, some channels at a time.
  void run_rows(const Block& block, int64_t width, T* to, const T* const* table) const;
  // The same for channels [first, last) by kernels for one row and (or null) for two.
  void run_channels(const Block& block, DepthwiseArgs<T>& args, int64_t first, int64_t last,
                    const DepthwiseKernel<T>* one, const DepthwiseKernel<T>* two, T* to, const T* const* table) const;
  // One row, or two where `kernels` says so: outputs of a whole row, in pieces. Results go to `wide` where that is not
  // null, else to `to`.
  void run_pieces(const Block& block, int64_t row, DepthwiseArgs<T>& a, const DepthwiseKernel<T>* kernels, T* to,
                  float* wide, const T* const* table) const;
  void run_row_with_multiplier(const Block& block, int64_t row, float* to) const;

  const DepthwiseShape& s_;
  const T* in_;
  const DepthwiseWeights weights_;
  const Epilogue<T>& epilogue_;
  const T* zeros_;  // as many as there are input channels
  const int64_t ring_;
  bool* const not_finite_;
};

}  // namespace blade::backends::cpu
