// Rows of pixels on AMX where K is short, as in first layers: tiles pass all panels one after the other, without calls
// or lists between them.
#pragma once

#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/packed_b.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "base/half.h"

namespace blade::backends::cpu {

// A job's rows of pixels: C[y][x][n] = sum over runs of A[y * row_step + x * job.pitch + offset of the run][k] * B and
// what the epilogue does. Up to 15 pixels behind the last one of a row are read.
struct AmxBand {
  const TileJob<BFloat16>& job;
  const BFloat16* a;
  int64_t rows, row_step;  // elements
  int64_t pixels;          // of a row
};

// Whether there is a kernel: runs of whole blocks of K, whole panels, and no residual.
bool amx_band_fits(int64_t run_length, const PackedB& b, const Epilogue<BFloat16>& epilogue);
// On this thread; needs no AmxScope around it.
void amx_band(const AmxBand& band);

}  // namespace blade::backends::cpu
