// Kernels over rows that a warp takes whole, by address.
#pragma once

#include "backends/cuda/kernel_params.h"

namespace blade::backends::cuda {

inline constexpr int kRowWarps = 8;      // of a block
inline constexpr int kMostRowFours = 8;  // a lane holds up to as many times four elements
inline constexpr int kMostWarpColumns = 128 * kMostRowFours;

// y[row] of x[row, column].
struct RowReduceParams {
  const void* x = nullptr;
  void* y = nullptr;
  int64_t rows = 0;
  int columns = 0;  // a multiple of 4, like ColumnReduceParams::inner
  float scale = 1;
  ReduceOp op = ReduceOp::kSum;
  ElementType result_type = ElementType::kFloat32;
};

// [outer, reduced, inner] -> [outer, gridDim.y, inner].
struct ColumnReduceParams {
  const void* x = nullptr;
  void* y = nullptr;
  int reduced = 0, inner = 0;
  FastDivisor inner_blocks;  // of 128 columns
  float scale = 1;
  ReduceOp op = ReduceOp::kSum;
  ElementType result_type = ElementType::kFloat32;
};

// Any axes: a result is at `kept` of the dims that stay, and folds all positions of the reduced ones.
struct StridedReduceParams {
  const void* x = nullptr;
  void* y = nullptr;
  int results = 0, reduced = 0;
  int kept_rank = 0, reduced_rank = 0;
  FastDivisor kept_dims[kMaxRank], reduced_dims[kMaxRank];
  int kept_strides[kMaxRank] = {}, reduced_strides[kMaxRank] = {};
  float scale = 1;
  ReduceOp op = ReduceOp::kSum;
  ElementType type = ElementType::kFloat32, result_type = ElementType::kFloat32;
};

const void* softmax_warp_kernel(int fours);  // RowParams; 1, 2, 4 or 8 of a lane
// RowParams, whose rows and types are the kernel's: to itself, and between float32 and the others.
const void* layer_norm_warp_kernel(int fours, ElementType from, ElementType to);
const void* reduce_warp_kernel(ElementType type);
const void* reduce_columns_kernel(ElementType type);
const void* reduce_strided_kernel();  // StridedReduceParams; a block of 32 * kRowWarps a result

}  // namespace blade::backends::cuda
