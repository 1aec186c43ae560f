// A 3x3 convolution and one or two 1x1 ones behind it as one launch, as the host side sees it: clusters for
// kBottleneckPixels pixels.
#pragma once

#include <span>

#include "backends/cuda/kernel_params.h"

namespace blade::backends::cuda {

inline constexpr int kBottleneckPixels = 28;

// What a cluster reads in boxes of 64 channels, and rows of a tile of the wide result.
struct BottleneckMaps {
  TensorMap image, residual, wide;
};

struct BottleneckVariant {
  int channels, cluster;  // of the 3x3 convolution and the last one, a quarter of the other's; blocks
  int columns, rows;      // pixels of a cluster's tile
  int pitch;              // pixels of a patch's rows
  int threads, shared_bytes;
  bool narrows;         // has the last convolution
  KernelForms kernels;  // take BottleneckMaps and three ConvParams
};

std::span<const BottleneckVariant, 4> bottleneck_variants();

}  // namespace blade::backends::cuda
