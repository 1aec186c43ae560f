// Convolution of volumes on tile registers: the planes of the images that a strip reads lie side by side, so that each
// tap along the depth is some runs more, and what a panel of weights multiplies are all images of the strip. Channels
// that leave much of a tile empty lie side by side for all depth taps; so few that they are those of a first layer go
// image by image as these do. 1x1x1 kernels that read every pixel are a product.
#pragma once

#include <cstddef>
#include <vector>

#include "backends/cpu/matrix/conv2d.h"

namespace blade::backends::cpu {

// Strips are `rows` rows of `images` results along the depth.
struct VolumeSplit {
  int64_t images = 1, rows = 1, panel_parts = 1;
};
// For 1, 2, ... threads, as PlaneSplits; none where no planes are copied.
using VolumeSplits = std::vector<VolumeSplit>;

size_t packed_volume_bytes(const Conv2DShape& volume);
// Weights: [depth.taps][kh][kw][c][oc].
void pack_volume_weights(const Conv2DShape& volume, const BFloat16* weights, void* to);

// Predicted microseconds on `threads` cores: pure arithmetic.
double conv_volume_us(const Conv2DShape& volume, int threads);
VolumeSplits conv_volume_splits(const Conv2DShape& volume, int threads);
// For each of these, on as many threads as it is for.
size_t conv_volume_scratch_bytes(const Conv2DShape& volume, int threads, const VolumeSplits& splits);
// `out` overlaps `in` nowhere; it may be the residual.
void conv_volume(const Conv2DShape& volume, const VolumeSplits& splits, const BFloat16* in, const void* packed,
                 BFloat16* out, const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
