// Convolution nodes as the shapes of the raw kernels: shared by the rows for Conv and ConvTranspose.
#pragma once

#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/conv2d.h"
#include "backends/cpu/matrix/conv3d_f32.h"
#include "backends/cpu/matrix/conv_transpose.h"
#include "backends/cpu/matrix/conv_transpose3d_f32.h"
#include "backends/cpu/matrix/depthwise.h"

namespace blade::backends::cpu {

// Whether the machine has the instructions of the matrix kernels of T, float or BFloat16.
template <class T>
Support machine_support(const KernelRequest& request);
template <>
Support machine_support<float>(const KernelRequest& request);
template <>
Support machine_support<BFloat16>(const KernelRequest& request);

// Whether the tile registers of AMX can be used, for kernels that support the request with vectors.
Support tiles_support(const KernelRequest& request);
// The same for products of float32 that go by pieces of bfloat16.
Support split_support(const KernelRequest& request);

// Data of T, one or two spatial dims, nothing of size 0, and an epilogue that can be lowered.
template <class T = float>
Support conv_node_support(const KernelRequest& request);
// The same with three spatial dims and one group.
template <class T = float>
Support conv3d_node_support(const KernelRequest& request);
template <class T>
Support conv_transpose_node_support(const KernelRequest& request);
Support conv_transpose3d_node_support(const KernelRequest& request);
// Only for supported nodes; a third spatial dim becomes the depth axis.
Conv2DShape conv_shape(const KernelRequest& request, MatrixUnit unit = MatrixUnit::kVectors);
// What was chosen; tile registers take panels of one width only.
Blocking blocking_for(const KernelRequest& request, MatrixUnit unit);
Conv3DShape conv3d_shape(const KernelRequest& request);
DepthwiseShape depthwise_shape(const KernelRequest& request);
ConvTransposeShape conv_transpose_shape(const KernelRequest& request, MatrixUnit unit = MatrixUnit::kVectors);
ConvTranspose3DShape conv_transpose3d_shape(const KernelRequest& request);
// Whether each thread has images of its own, which it takes through chains of steps in strips.
inline bool has_images_for_all(int64_t images, int threads) { return threads > 1 && images % threads == 0; }
inline constexpr double kDepthwiseFlopsPerUs = 24e3;  // of one thread, in float32
// Predicted microseconds of a depthwise convolution on `threads` cores.
double depthwise_cost_us(const Conv2DShape& shape, int threads, double flops_per_us = kDepthwiseFlopsPerUs);
bool is_depthwise(const KernelRequest& request);
// KernelEntry::row_unit of rows on the tile driver. Sums are added up in another order where a thread has less than two
// whole tiles, where they are long enough to go in pieces, and where few columns lie along lanes.
int64_t product_row_unit(const KernelRequest& request);
bool sums_keep_order(int64_t pixels, int64_t sum, int threads);
// True for a 1x1 convolution of every pixel, in one group.
bool is_pointwise_conv(const Conv2DShape& shape);

inline bool weights_constant(const KernelRequest& request) {
  return request.constants.size() > 1 && request.constants[1] != nullptr;
}

}  // namespace blade::backends::cpu
