// Transposed convolution on the tile registers of AMX: each phase of the stride is a convolution of stride 1 over one
// copy of the input, and a strip's results of a row of phases are put in place together.
#pragma once

#include <cstddef>

#include "backends/cpu/matrix/conv_transpose.h"

namespace blade::backends::cpu {

size_t conv_transpose_tiles_scratch_bytes(const ConvTransposeShape& shape, int threads);
// `packed`: the panels of one phase after the other.
void conv_transpose_by_tiles(const ConvTransposeShape& shape, const BFloat16* in, const void* packed, BFloat16* out,
                             const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
