// How the tensor copy engine walks the pixels and taps of a convolution, for the thread that asks it for chunks.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/tensor_core.cuh"

namespace blade::backends::cuda {

// One thread's requests for chunks of pixels, by the tensor maps of the images.
struct TensorRows {
  const TensorMap* map;
  int image, y, x;                              // of the tile's first pixel under tap (0, 0)
  int tap_y = 0, tap_x = 0, channel, channels;  // of the next chunk
  int addend_y, addend_x;
  int kernel_h, kernel_w, dilation_h, dilation_w;

  __device__ __forceinline__ TensorRows(const ConvParams& p, const PixelMaps& maps, int first_row, int first_chunk)
      : map(&maps.image),
        channels(p.in_channels),
        kernel_h(p.kernel_h),
        kernel_w(p.kernel_w),
        dilation_h(p.dilation_h),
        dilation_w(p.dilation_w) {
    keep(channels);
    keep(kernel_h);
    keep(kernel_w);
    keep(dilation_h);
    keep(dilation_w);
    image = divide(first_row, p.out_pixels);
    const int pixel = first_row - image * static_cast<int>(p.out_pixels.divisor);
    const int out_y = divide(pixel, p.out_width), out_x = pixel - out_y * static_cast<int>(p.out_width.divisor);
    y = out_y * p.stride_h - p.pad_top;
    x = out_x * p.stride_w - p.pad_left;
    addend_y = out_y * p.addend_stride_h;
    addend_x = out_x * p.addend_stride_w;
    if (first_chunk >= p.own_chunks) {
      start_addend(maps, (first_chunk - p.own_chunks) * 64);
      return;
    }
    const int tap = divide(first_chunk * 8, p.tap_pieces);
    channel = (first_chunk * 8 - tap * p.pieces_per_tap) * 8;
    tap_y = divide(tap, p.taps_w);
    tap_x = tap - tap_y * p.kernel_w;
  }

  __device__ __forceinline__ void copy_chunk(const PixelMaps& maps, uint32_t to, uint32_t barrier) {
#if __CUDA_ARCH__ >= 900
    copy_pixels(to, map, channel, x, y, image, tap_x * dilation_w, tap_y * dilation_h, barrier);
#endif
    channel += 64;
    if (channel < channels) return;
    channel = 0;
    if (++tap_x < kernel_w) return;
    tap_x = 0;
    if (++tap_y == kernel_h) start_addend(maps, 0);
  }

 private:
  // One tap: it ends with the product.
  __device__ __forceinline__ void start_addend(const PixelMaps& maps, int first_channel) {
    map = &maps.addend;
    y = addend_y;
    x = addend_x;
    tap_y = tap_x = 0;
    channel = first_channel;
    channels = 1 << 30;
  }
};

// Where the packed weights of a chunk begin, at a channel.
__device__ __forceinline__ const char* weights_at(const ConvParams& p, int chunk, int channel) {
  const void* weights = chunk < p.own_chunks ? p.weights : p.addend_weights;
  return static_cast<const char*>(weights) + (static_cast<int64_t>(chunk) * p.channels_padded + channel) * 128;
}

}  // namespace blade::backends::cuda
