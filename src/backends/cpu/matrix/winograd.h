// Winograd's convolution F(m, r): tiles of m outputs of r taps, along both dims for 3x3 and 5x5 kernels or along the
// one of 1xr and rx1 kernels, at stride 1. 2.25 or 4 times fewer multiplications than direct for 3x3, 2.8 for 7 taps in
// one dim, at the price of transforms and of slightly larger rounding errors (Lavin and Gray, arXiv:1509.09308).
#pragma once

#include <cstddef>

#include "backends/cpu/matrix/conv2d.h"

namespace blade::backends::cpu {

// How a convolution in T loses by an algorithm.
enum class WinogradRounding {
  kFine,    // nothing that matters: the choice is one of time alone
  kCoarse,  // several times what rounding the operands loses: only where the answers are known to hold
  kNever
};
// T: float or BFloat16, where transforms and sums are in float32, transformed tiles and weights in bfloat16.
template <class T>
WinogradRounding winograd_rounding(const Conv2DShape& shape, ConvAlgorithm algorithm);

// `algorithm` is kWinograd2 or kWinograd4, conv_algorithm_refusal() is null for it and winograd_rounding() not kNever.
// The packed weights depend on the taps, depth's included, the channels and the algorithm alone.
template <class T>
size_t packed_winograd_bytes(const Conv2DShape& shape, ConvAlgorithm algorithm);
// From [depth.taps][kh][kw][c][oc]; transformed in double.
template <class T>
void pack_winograd_weights(const Conv2DShape& shape, ConvAlgorithm algorithm, const T* weights, void* to);
// Tiles of all images.
int64_t winograd_tiles(const Conv2DShape& shape, ConvAlgorithm algorithm);
// Tiles that a thread (or, with large weights, all of them) takes through the transforms and the products at a time.
template <class T>
int64_t winograd_pass_tiles(const Conv2DShape& shape, ConvAlgorithm algorithm, int threads);
template <class T>
size_t winograd_scratch_bytes(const Conv2DShape& shape, ConvAlgorithm algorithm, int threads);
// As conv2d().
template <class T>
void winograd_conv2d(const Conv2DShape& shape, ConvAlgorithm algorithm, const T* in, const void* packed, T* out,
                     const Epilogue<T>& epilogue, ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
