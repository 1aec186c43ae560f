// Convolution of float32 by pieces of bfloat16 on AMX (amx_split.h), whose rows are found tap by tap.
#pragma once

#include <cstddef>

#include "backends/cpu/matrix/conv2d.h"

namespace blade::backends::cpu {

// nullptr, or why the shape cannot go so.
const char* split_conv_refusal(const Conv2DShape& shape);
size_t split_conv_scratch_bytes(const Conv2DShape& shape, int threads);
// `packed`: by pack_split_b() of all taps, one below the other.
void split_conv(const Conv2DShape& shape, const float* in, const std::byte* packed, float* out,
                const EpilogueF32& epilogue, ThreadPool& pool, std::byte* scratch);
double split_conv_us(const Conv2DShape& shape, int threads);

}  // namespace blade::backends::cpu
