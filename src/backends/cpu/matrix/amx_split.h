// Products of float32 on AMX, as exact as those on vectors. Each number is the sum of three of bfloat16, its pieces; of
// the nine products of two numbers' pieces the six largest are made, and the others lie below the last digit of
// float32. A tile register of pieces takes part in two to six products, so that loads are few beside them. AMX takes
// denormal numbers for zero: weights below 2^-100, numbers below it beside larger ones in a row, and products below it
// lose digits that vectors keep; what comes within 2^-8 of the largest float32 may become infinite.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "base/thread_pool.h"

namespace blade::backends::cpu {

// What multiplies C[m][n] = A[m][k] * B.
struct SplitProduct {
  int64_t m = 0, k = 0, n = 0;
  const float* a = nullptr;
  int64_t a_row = 0;             // elements
  const std::byte* b = nullptr;  // what pack_split_b() wrote
  float* c = nullptr;
  int64_t c_row = 0;
  const EpilogueF32* epilogue = nullptr;
  // Where k is a part of what was packed: all of that (0: k is all), and the block of 32 that it begins with.
  int64_t packed_k = 0, first_block = 0;
  // Instead of `a`: finds rows, of one run or of several of whole blocks (packed_k says how long all of them are).
  const RowFinder<float>* find_rows = nullptr;
  const int64_t* run_offsets = nullptr;
  int64_t run_length = 0;
};
inline constexpr int64_t kMostSplitRuns = 64;

// False where the instruction set chosen by Highway has no such kernel; the instructions of AMX are not asked for here.
bool has_split_products();

// B as pieces; 64-byte aligned.
size_t packed_split_bytes(int64_t k, int64_t n);
void pack_split_b(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t col_stride, void* to);

size_t split_product_scratch_bytes(int64_t m, int64_t k, int threads);
// The residual may be C. Results do not depend on timing, nor those of a row on other rows.
void split_product(const SplitProduct& product, ThreadPool& pool, std::byte* scratch);
// Predicted microseconds, to be compared with conv_cost_us() of a 1x1 convolution of m pixels.
double split_product_us(int64_t m, int64_t k, int64_t n, int threads);

}  // namespace blade::backends::cpu
