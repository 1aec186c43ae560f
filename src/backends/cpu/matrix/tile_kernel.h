// The micro-kernels: one tile of the product, rows given by pointers, times one packed panel of weights. One source,
// compiled for each instruction set and chosen at run time.
#pragma once

#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "base/half.h"

namespace blade::backends::cpu {

// C[row][0..columns) = clamp(sum over runs r and k < run_length of
//                            rows[r * row_step + row][run_offsets[r] + k] * panel[r * run_length + k][column]
//                            + bias[column] + residual[row][column], lo, hi)
// T is what activations and weights are stored as; sums and the epilogue are float32, rounded once when they are
// stored.
template <class T>
struct TileArgs {
  const T* const* rows = nullptr;
  int64_t row_step = 0;  // pointers from one run to the next; 0: all runs share one set of rows
  // For `pitched` kernels: elements from a row to the next, where only rows[0] is read; and how many tiles, one below
  // the other, the call takes.
  int64_t row_pitch = 0;
  int64_t tiles = 1;
  const int64_t* run_offsets = nullptr;  // elements added to every row pointer of a run
  int64_t runs = 1;
  int64_t run_length = 0;
  bool padded = false;           // PackedB::padded
  const float* panel = nullptr;  // PackedB's words: [runs * steps of a run][vectors * lanes], 64-byte aligned
  T* out = nullptr;
  float* wide_out = nullptr;  // where results go unrounded, instead of to `out`
  int64_t out_stride = 0;
  const T* residual = nullptr;
  int64_t residual_stride = 0;
  int64_t residual_columns = 0;  // columns from here on have no residual
  const float* bias = nullptr;
  const float* slope = nullptr;  // of negative sums, a column
  float lo = 0;
  float hi = 0;
  bool residual_last = false;  // added after scale and shift
  bool adds_first = false;     // known to be plain (is_plain()), without a residual behind the clamp
  Gate gate;
  const float* scale = nullptr;  // after the clamp, a column; and `shift` with it
  const float* shift = nullptr;
  int columns = 0;            // in (0, vectors * lanes]
  bool results_stay = false;  // in cache, where they need no fetching
  bool to_half = false;       // of tile registers: TileJob::to_half
  // Next panel to pull into L2: `prefetch_lines` cache lines every four k steps.
  const char* prefetch = nullptr;
  int prefetch_lines = 0;
};

template <class T>
using TileKernel = void (*)(const TileArgs<T>&);

// Elements of K that one step of a kernel takes: panels of bfloat16 hold pairs of rows.
template <class T>
inline constexpr int64_t kStepDepth = static_cast<int64_t>(sizeof(float) / sizeof(T));

inline constexpr int kMaxVectors = 4;  // vectors in a panel's row
inline constexpr int kMaxRows = 14;    // rows in a tile

// The kernels of one instruction set; `lanes` is 0 where it has none for T.
template <class T = float>
struct TileKernels {
  int lanes = 0;                                             // floats in a vector
  int max_vectors = 0;                                       // widest panel, in vectors
  int max_rows[kMaxVectors + 1] = {};                        // tallest tile by vectors
  float efficiency[kMaxVectors + 1] = {};                    // share of the peak a full tile of so many vectors reaches
  TileKernel<T> kernel[kMaxVectors + 1][kMaxRows + 1] = {};  // [vectors][rows]
  // The same for several tiles whose rows lie at one pitch that all runs share; null in all places where there are
  // none.
  TileKernel<T> pitched[kMaxVectors + 1][kMaxRows + 1] = {};
};

// Those for the best instruction set of this processor (or of hwy::SetSupportedTargetsForTest).
template <class T = float>
const TileKernels<T>& tile_kernels();

}  // namespace blade::backends::cpu
