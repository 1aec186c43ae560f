// Transposed convolution on the tile registers of AMX: each phase of the stride is a convolution of stride 1 over one
// copy of the input, and a strip's results of a row of phases are put in place together.
#pragma once

#include <cstddef>

#include "backends/cpu/matrix/conv_transpose.h"

namespace blade::backends::cpu {

PlaneSplit conv_transpose_tiles_split(const ConvTransposeShape& shape, int threads);
PlaneSplits conv_transpose_tiles_splits(const ConvTransposeShape& shape, int threads);
// For each of these, on as many threads as it is for.
size_t conv_transpose_tiles_scratch_bytes(const ConvTransposeShape& shape, const PlaneSplits& splits);
// `split`: for the threads of the pool. `packed`: the panels of one phase after the other.
void conv_transpose_by_tiles(const ConvTransposeShape& shape, const PlaneSplit& split, const BFloat16* in,
                             const void* packed, BFloat16* out, const Epilogue<BFloat16>& epilogue, ThreadPool& pool,
                             std::byte* scratch);

}  // namespace blade::backends::cpu
