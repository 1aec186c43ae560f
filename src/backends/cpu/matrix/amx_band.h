// Rows of pixels on AMX where K is short, as in first layers: tiles pass all panels one after the other, without calls
// or lists between them.
#pragma once

#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/packed_b.h"
#include "base/half.h"

namespace blade::backends::cpu {

// C[y][x][n] = sum over runs of A[y * row_step + x * pitch + offset of the run][k] * B and what the epilogue does. Up
// to 15 pixels behind the last one of a row are read.
struct AmxBand {
  const BFloat16* a = nullptr;
  int64_t rows = 0, row_step = 0;  // elements
  int64_t pixels = 0, pitch = 0;   // of a row
  const int64_t* run_offsets = nullptr;
  int64_t runs = 1, run_length = 0;
  PackedB b;
  BFloat16* c = nullptr;
  int64_t c_pitch = 0;  // elements from a pixel to the next, of all rows
  const Epilogue<BFloat16>* epilogue = nullptr;
};

// Whether there is a kernel: runs of whole blocks of K, whole panels, and no residual.
bool amx_band_fits(int64_t run_length, const PackedB& b, const Epilogue<BFloat16>& epilogue);
// On this thread; needs no AmxScope around it.
void amx_band(const AmxBand& band);

}  // namespace blade::backends::cpu
