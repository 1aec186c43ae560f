// Winograd's convolution F(m x m, 3 x 3), m = 2 or 4, for 3x3 kernels at stride 1: 2.25 or 4 times fewer
// multiplications than direct, at the price of transforms and of slightly larger rounding errors (Lavin and Gray,
// arXiv:1509.09308).
#pragma once

#include <cstddef>

#include "backends/cpu/matrix/conv2d.h"

namespace blade::backends::cpu {

// `algorithm` is kWinograd2 or kWinograd4, and conv_algorithm_refusal() is null for it. The packed weights depend on
// the channels and the algorithm alone.
size_t packed_winograd_bytes(const Conv2DShape& shape, ConvAlgorithm algorithm);
// From HWIO [3][3][c][oc]; transformed in double.
void pack_winograd_weights(const Conv2DShape& shape, ConvAlgorithm algorithm, const float* weights, void* to);
// Tiles that a thread (or, with large weights, all of them) takes through the transforms and the products at a time.
int64_t winograd_pass_tiles(const Conv2DShape& shape, ConvAlgorithm algorithm, int threads);
size_t winograd_scratch_bytes(const Conv2DShape& shape, ConvAlgorithm algorithm, int threads);
// As conv2d_f32().
void winograd_conv2d_f32(const Conv2DShape& shape, ConvAlgorithm algorithm, const float* in, const void* packed,
                         float* out, const EpilogueF32& epilogue, ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
