// The first layer of image networks on tensor cores: few input channels, padded to 4 in shared memory, so that a row of
// taps is contiguous in k.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/cuda/kernels/tensor_core.cuh"

namespace blade::backends::cuda {
namespace {

constexpr int kTileY = kStemTileHeight, kTileX = kStemTileWidth;
static_assert(kTileX == 16 && kStemThreads == kTileY * 32, "a warp takes one row of 16 pixels");

template <class T>
__device__ __forceinline__ void fill_patch(const StemParams& p, __half* patch, int image, int first_y, int first_x) {
  const T* x = static_cast<const T*>(p.x) + static_cast<int64_t>(image) * p.height * p.width * p.in_channels;
  for (int i = static_cast<int>(threadIdx.x); i < p.patch_height * p.patch_width; i += kStemThreads) {
    const int y = first_y + i / p.patch_width, column = first_x + i % p.patch_width;
    const bool inside = y >= 0 && y < p.height && column >= 0 && column < p.width;
    const T* pixel = x + (static_cast<int64_t>(y) * p.width + column) * p.in_channels;
    __half values[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      values[c] = __float2half_rn(inside && c < p.in_channels ? to_float(__ldcg(pixel + c)) : 0.0f);
    }
    *reinterpret_cast<uint2*>(patch + i * 4) = *reinterpret_cast<const uint2*>(values);
  }
}

// A block computes 8 x 16 pixels by 64 channels.
__global__ void __launch_bounds__(kStemThreads) stem(const __grid_constant__ StemParams p) {
  extern __shared__ __align__(16) uint8_t memory[];
  const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, warp = thread >> 5;
  const int pitch = p.kernel_h * p.row_k + 8;  // halves: an odd number of 16-byte units, so rows meet other banks
  __half* weights = reinterpret_cast<__half*>(memory);
  __half* patch = weights + kStemColumns * pitch;
  const int first_channel = static_cast<int>(blockIdx.y) * kStemColumns;
  const uint4* packed = reinterpret_cast<const uint4*>(static_cast<const __half*>(p.weights) +
                                                       static_cast<int64_t>(first_channel) * pitch);
  for (int i = thread; i < kStemColumns * pitch / 8; i += kStemThreads) {
    copy_16(shared_address(weights) + i * 16, packed + i, true);
  }
  start_later();
  int rest = static_cast<int>(blockIdx.x);
  const int tile_x = rest % p.tiles_x;
  rest /= p.tiles_x;
  const int tile_y = rest % p.tiles_y, image = rest / p.tiles_y;
  const int out_y = tile_y * kTileY + warp, first_out_x = tile_x * kTileX;
  wait_for_earlier();
  const int first_y = tile_y * kTileY * p.stride_h - p.pad_top, first_x = first_out_x * p.stride_w - p.pad_left;
  if (p.x_is_float) {
    fill_patch<float>(p, patch, image, first_y, first_x);
  } else {
    fill_patch<__half>(p, patch, image, first_y, first_x);
  }
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();

  float sums[kStemColumns / 8][4] = {};
  const __half* row = patch + ((warp * p.stride_h) * p.patch_width + (lane >> 2) * p.stride_w) * 4 + (lane & 3) * 2;
  const int eight_pixels = 8 * p.stride_w * 4;
  const uint32_t b_row =
      shared_address(weights) + ((lane & 7) + ((lane >> 4) << 3)) * pitch * 2 + ((lane >> 3) & 1) * 16;
  for (int kh = 0; kh < p.kernel_h; ++kh, row += p.patch_width * 4) {
    for (int k = 0; k < p.row_k; k += 16) {
      const auto word = [&](int at) { return *reinterpret_cast<const uint32_t*>(row + k + at); };
      const uint32_t a[4] = {word(0), word(eight_pixels), word(8), word(eight_pixels + 8)};
#pragma unroll
      for (int j = 0; j < kStemColumns / 16; ++j) {
        uint32_t b[4];
        load_matrices(b, b_row + (j * 16 * pitch + kh * p.row_k + k) * 2);
        multiply_16x8x16(sums[2 * j], a, b[0], b[1]);
        multiply_16x8x16(sums[2 * j + 1], a, b[2], b[3]);
      }
    }
  }
  if (out_y >= p.out_height) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int out_x = first_out_x + (lane >> 2) + half * 8;
    if (out_x >= p.out_width) continue;
    const int pixel = (image * p.out_height + out_y) * p.out_width + out_x;
#pragma unroll
    for (int j = 0; j < kStemColumns / 8; ++j) {
      const int channel = first_channel + j * 8 + (lane & 3) * 2;
      if (channel < p.channels) {
        finish_pair(p.epilogue, p.y, p.channels, sums[j][half * 2], sums[j][half * 2 + 1], pixel, channel);
      }
    }
  }
}

}  // namespace

const void* stem_kernel() { return reinterpret_cast<const void*>(&stem); }

}  // namespace blade::backends::cuda
