// Convolution on the tile registers of AMX, which read 16 pixels at one pitch: strips of the input are copied with
// their padding, one plane for each phase of the stride, so that each tap of all pixels of a strip lies at one pitch.
#pragma once

#include <cstddef>
#include <span>

#include "backends/cpu/matrix/conv2d.h"
#include "backends/cpu/matrix/conv_plane_plan.h"

namespace blade::backends::cpu {

// Bytes from the packed weights of one group, `b`, to those of the next.
inline size_t group_packed_bytes(const PackedB& b) { return align_up(b.bytes(), 64); }

// What pack_conv_weights() wrote for a shape not of few channels: the first group.
inline PackedB conv_planes_weights(const Conv2DShape& shape, const void* packed) {
  return packed_b_view(packed_steps<BFloat16>(shape.kh * shape.kw, shape.group_in()), shape.group_out(), packed,
                       MatrixUnit::kTiles);
}
PlaneSplit conv_planes_split(const Conv2DShape& shape, int threads);
PlaneSplits conv_planes_splits(const Conv2DShape& shape, int threads);
// For each of these, on as many threads as it is for.
size_t conv_planes_scratch_bytes(const Conv2DShape& shape, const PlaneSplits& splits);
// `split`: for the threads of the pool. `in`: the channels of the input, in one or several parts. `b`: the panels of
// [kh * kw] runs of the channels of the first group. Out: BFloat16 or float.
template <class Out>
void conv_by_planes(const Conv2DShape& shape, const PlaneSplit& split, std::span<const PlanePart> in, const PackedB& b,
                    Out* out, const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
