// How the tensor copy engine walks the pixels and taps of a convolution, for the thread that asks it for chunks.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/tensor_core.cuh"

namespace blade::backends::cuda {

// One thread's requests for chunks of pixels, by the tensor map of the image.
struct TensorRows {
  const void* map;
  int image, y, x;                  // of the tile's first pixel under tap (0, 0)
  int tap_y, tap_x, first_channel;  // of the next chunk

  __device__ __forceinline__ TensorRows(const ConvParams& p, const void* tensor_map, int first_row, int first_chunk)
      : map(tensor_map) {
    image = divide(first_row, p.out_pixels);
    const int pixel = first_row - image * static_cast<int>(p.out_pixels.divisor);
    const int out_y = divide(pixel, p.out_width);
    y = out_y * p.stride_h - p.pad_top;
    x = (pixel - out_y * static_cast<int>(p.out_width.divisor)) * p.stride_w - p.pad_left;
    const int tap = divide(first_chunk * 8, p.tap_pieces);
    first_channel = (first_chunk * 8 - tap * p.pieces_per_tap) * 8;
    tap_y = divide(tap, p.taps_w);
    tap_x = tap - tap_y * p.kernel_w;
  }

  __device__ __forceinline__ void copy_chunk(const ConvParams& p, uint32_t to, uint32_t barrier) {
#if __CUDA_ARCH__ >= 900
    copy_pixels(to, map, first_channel, x, y, image, tap_x * p.dilation_w, tap_y * p.dilation_h, barrier);
#endif
    first_channel += 64;
    if (first_channel < p.in_channels) return;
    first_channel = 0;
    if (++tap_x == p.kernel_w) {
      tap_x = 0;
      ++tap_y;
    }
  }
};

}  // namespace blade::backends::cuda
