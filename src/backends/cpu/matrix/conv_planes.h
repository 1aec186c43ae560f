// Convolution on the tile registers of AMX, which read 16 pixels at one pitch: strips of the input are copied with
// their padding, one plane for each phase of the stride, so that each tap of all pixels of a strip lies at one pitch.
#pragma once

#include <cstddef>

#include "backends/cpu/matrix/conv2d.h"

namespace blade::backends::cpu {

size_t conv_planes_scratch_bytes(const Conv2DShape& shape, int threads);
// `b`: the panels of [kh * kw] runs of c elements. One group. Out: BFloat16 or float.
template <class Out>
void conv_by_planes(const Conv2DShape& shape, const BFloat16* in, const PackedB& b, Out* out,
                    const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
