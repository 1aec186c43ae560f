// Products of many rows on AMX. Sums over K go in pieces whose part of a panel stays in L1 while the rows of a block,
// read where they lie in L2, pass by it; sums wait in L1 from piece to piece.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/packed_b.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "base/half.h"

namespace blade::backends::cpu {

// C[m][n] = A[m][k] * B and what the epilogue does, in units of rows: one tile register of sums above the other. The
// last of them may begin among the rows of the one before.
struct AmxProduct {
  int64_t m = 0, k = 0;
  int64_t unit_rows = 0;
  const BFloat16* a = nullptr;
  int64_t a_row = 0;  // elements
  PackedB b;
  BFloat16* c = nullptr;
  float* wide_c = nullptr;  // instead of `c`
  int64_t c_row = 0;
  const Epilogue<BFloat16>* epilogue = nullptr;

  int64_t units() const { return (m + unit_rows - 1) / unit_rows; }
};

// Whether there is a kernel: whole tile registers along K, at least two of rows, and no scale, slope or block program
// in the epilogue.
bool amx_product_fits(int64_t m, int64_t k, const PackedB& b, const Epilogue<BFloat16>& epilogue);
// One thread's part, whose tiles are units; needs an AmxScope for whole tiles of unit_rows rows.
void amx_product_part(const AmxProduct& product, const TileRange& part);

}  // namespace blade::backends::cpu
