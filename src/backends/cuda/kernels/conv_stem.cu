// The first layer of image networks on tensor cores: few input channels, padded to 4 in shared memory, so that a row of
// taps is contiguous in k.
#include "backends/cuda/kernels/conv_stem.cuh"

namespace blade::backends::cuda {
namespace {

constexpr int kTileY = kStemTileHeight, kTileX = kStemTileWidth;
static_assert(kTileX == 16 && kStemThreads == kTileY * 32, "a warp takes one row of 16 pixels");

template <class T, class X>
__device__ __forceinline__ void fill_patch(const StemParams& p, const X* image, T* patch, int first_y, int first_x) {
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < p.patch_height * static_cast<int>(p.patch_width.divisor);
       i += kStemThreads) {
    const int y = divide(i, p.patch_width), x = i - y * static_cast<int>(p.patch_width.divisor);
    *reinterpret_cast<uint2*>(patch + i * 4) = stem_pixel<T>(p, image, first_y + y, first_x + x, true);
  }
}

template <class T>
__device__ __forceinline__ void fill_patch(const StemParams& p, T* patch, int image, int first_y, int first_x) {
  if (p.x_is_float) {
    fill_patch(p, image_of<float>(p, image), patch, first_y, first_x);
  } else {
    fill_patch(p, image_of<T>(p, image), patch, first_y, first_x);
  }
}

// Starts copying the packed weights of 64 channels.
template <class T>
__device__ __forceinline__ void fetch_weights(const StemParams& p, const T* weights, int first_channel, int pitch) {
  const uint4* packed =
      reinterpret_cast<const uint4*>(static_cast<const T*>(p.weights) + static_cast<int64_t>(first_channel) * pitch);
  for (int i = static_cast<int>(threadIdx.x); i < kStemColumns * pitch / 8; i += kStemThreads) {
    copy_16(shared_address(weights) + i * 16, packed + i, true);
  }
}

// The shared address of this lane's row of weights, as load_matrices() takes them.
template <class T>
__device__ __forceinline__ uint32_t weight_row(const T* weights, int pitch) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  return shared_address(weights) + ((lane & 7) + ((lane >> 4) << 3)) * pitch * 2 + ((lane >> 3) & 1) * 16;
}

// A warp's 16 pixels by 64 channels, in full lines through its part of shared memory.
template <class T>
__device__ __forceinline__ void store_lines(const StemParams& p, const StemSums& sums, uint32_t lines, int first_pixel,
                                            int pixels, int first_channel) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  put_lines<T>(p, sums, lines, true, true);
  __syncwarp();
  T* y = static_cast<T*>(p.y);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int own = i * 4 + (lane >> 3), piece = lane & 7, channel = first_channel + piece * 8;
    uint4 bits;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(bits.x), "=r"(bits.y), "=r"(bits.z), "=r"(bits.w)
                 : "r"(lines + own * 128 + ((piece ^ (own & 7)) << 4)));
    if (own < pixels && channel < p.channels) {
      *reinterpret_cast<uint4*>(y + static_cast<int64_t>(first_pixel + own) * p.channels + channel) = bits;
    }
  }
}

template <class T>
__device__ __forceinline__ void store_pairs(const StemParams& p, const StemSums& sums, int first_pixel, int pixels,
                                            int first_channel) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int own = (lane >> 2) + half * 8;
    if (own >= pixels) continue;
#pragma unroll
    for (int j = 0; j < kStemColumns / 8; ++j) {
      const int channel = first_channel + j * 8 + (lane & 3) * 2;
      if (channel >= p.channels) continue;
      finish_pair<T>(p.epilogue, p.y, p.channels, sums[j][half * 2], sums[j][half * 2 + 1], make_float2(0, 0),
                     load_pair(p.epilogue, p.channels, first_pixel + own, channel, first_pixel + own + 1),
                     first_pixel + own, channel);
    }
  }
}

// A block computes tiles of 8 x 16 pixels by 64 channels, one after another.
template <class T>
__global__ void __launch_bounds__(kStemThreads) stem(const __grid_constant__ StemParams p) {
  extern __shared__ __align__(16) uint8_t memory[];
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) >> 5;
  const int pitch = p.kernel_h * p.row_k + 8;  // halves: an odd number of 16-byte units, so rows meet other banks
  T* weights = reinterpret_cast<T*>(memory + kStemLineBytes);
  T* patch = weights + kStemColumns * pitch;
  const uint32_t lines = shared_address(memory) + warp * (kStemLineBytes / kTileY);
  const int first_channel = static_cast<int>(blockIdx.y) * kStemColumns;
  fetch_weights(p, weights, first_channel, pitch);
  start_later();
  const int patch_width = static_cast<int>(p.patch_width.divisor);
  const T* own_row = patch + ((warp * p.stride_h) * patch_width + (lane >> 2) * p.stride_w) * 4 + (lane & 3) * 2;
  const int eight_pixels = 8 * p.stride_w * 4;
  const uint32_t b_row = weight_row(weights, pitch);
  const EpilogueParams& e = p.epilogue;
  const bool in_lines = !e.has_program && e.activation == EpilogueParams::Activation::kNone && e.residual == nullptr &&
                        (p.channels & 7) == 0;
  wait_for_earlier();
  for (int tile = static_cast<int>(blockIdx.x); tile < p.tiles; tile += static_cast<int>(gridDim.x)) {
    const int row_of_tiles = divide(tile, p.tiles_x);
    const int tile_x = tile - row_of_tiles * static_cast<int>(p.tiles_x.divisor);
    const int image = divide(row_of_tiles, p.tiles_y);
    const int tile_y = row_of_tiles - image * static_cast<int>(p.tiles_y.divisor);
    const int out_y = tile_y * kTileY + warp, first_out_x = tile_x * kTileX;
    const int first_y = tile_y * kTileY * p.stride_h - p.pad_top, first_x = first_out_x * p.stride_w - p.pad_left;
    fill_patch(p, patch, image, first_y, first_x);
    StemSums sums;
    start_with_bias(p, sums, first_channel);
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
    const T* row = own_row;
    for (int kh = 0; kh < p.kernel_h; ++kh, row += patch_width * 4) {
      for (int k = 0; k < p.row_k; k += 16) {
        const auto word = [&](int at) { return *reinterpret_cast<const uint32_t*>(row + k + at); };
        const uint32_t a[4] = {word(0), word(eight_pixels), word(8), word(eight_pixels + 8)};
#pragma unroll
        for (int j = 0; j < kStemColumns / 16; ++j) {
          uint32_t b[4];
          load_matrices(b, b_row + (j * 16 * pitch + kh * p.row_k + k) * 2);
          multiply_16x8x16<T>(sums[2 * j], a, b[0], b[1]);
          multiply_16x8x16<T>(sums[2 * j + 1], a, b[2], b[3]);
        }
      }
    }
    __syncthreads();  // the patch may be filled again
    if (out_y >= p.out_height) continue;
    const int first_pixel = (image * p.out_height + out_y) * p.out_width + first_out_x;
    const int pixels = min(kTileX, p.out_width - first_out_x);
    if (in_lines) {
      store_lines<T>(p, sums, lines, first_pixel, pixels, first_channel);
      __syncwarp();
    } else {
      store_pairs<T>(p, sums, first_pixel, pixels, first_channel);
    }
  }
}

// A block computes tiles of pooled pixels by 64 channels, one after another; a warp kFragments times 16 pixels of the
// convolution at once.
template <class T, int kFragments>
__global__ void __launch_bounds__(kStemThreads) pooled_stem(const __grid_constant__ PooledStemParams q) {
  extern __shared__ __align__(16) uint8_t memory[];
  fetch_parameters(q);
  const StemParams& p = q.conv;
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) >> 5;
  const int pitch = p.kernel_h * p.row_k + 8;
  const int fragments = (q.conv_pixels + 15) / 16;
  T* weights = reinterpret_cast<T*>(memory + fragments * 16 * 128);
  T* patch = weights + kStemColumns * pitch;
  const int first_channel = static_cast<int>(blockIdx.y) * kStemColumns;
  fetch_weights(p, weights, first_channel, pitch);
  start_later();
  const int patch_width = static_cast<int>(p.patch_width.divisor), conv_width = static_cast<int>(q.conv_width.divisor);
  const uint32_t b_row = weight_row(weights, pitch);
  StemSums bias;
  start_with_bias(p, bias, first_channel);
  wait_for_earlier();
  for (int tile = static_cast<int>(blockIdx.x); tile < p.tiles; tile += static_cast<int>(gridDim.x)) {
    const int row_of_tiles = divide(tile, p.tiles_x);
    const int tile_x = tile - row_of_tiles * static_cast<int>(p.tiles_x.divisor);
    const int image = divide(row_of_tiles, p.tiles_y);
    const int tile_y = row_of_tiles - image * static_cast<int>(p.tiles_y.divisor);
    const int first_y = tile_y * q.tile_height, first_x = tile_x * static_cast<int>(q.tile_width.divisor);
    const int conv_y = first_y * q.stride_h - q.pad_top, conv_x = first_x * q.stride_w - q.pad_left;
    fill_patch(p, patch, image, conv_y * p.stride_h - p.pad_top, conv_x * p.stride_w - p.pad_left);
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
    for (int fragment = warp * kFragments; fragment < fragments; fragment += kStemThreads / 32 * kFragments) {
      const T* rows[kFragments][2];  // of this lane's two pixels of a fragment
      bool inside[kFragments][2];
      StemSums sums[kFragments];
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
#pragma unroll
        for (int i = 0; i < kStemColumns / 2; ++i) (&sums[f][0][0])[i] = (&bias[0][0])[i];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int pixel = min((fragment + f) * 16 + half * 8 + (lane >> 2), q.conv_pixels - 1);
          const int y = divide(pixel, q.conv_width), x = pixel - y * conv_width;
          rows[f][half] = patch + (y * p.stride_h * patch_width + x * p.stride_w) * 4 + (lane & 3) * 2;
          inside[f][half] = static_cast<unsigned>(conv_y + y) < static_cast<unsigned>(p.out_height) &&
                            static_cast<unsigned>(conv_x + x) < static_cast<unsigned>(p.out_width);
        }
      }
      for (int kh = 0; kh < p.kernel_h; ++kh) {
        for (int k = 0; k < p.row_k; k += 16) {
          const int at = kh * patch_width * 4 + k;
          uint32_t a[kFragments][4];
#pragma unroll
          for (int f = 0; f < kFragments; ++f) {
#pragma unroll
            for (int i = 0; i < 4; ++i) a[f][i] = *reinterpret_cast<const uint32_t*>(rows[f][i & 1] + at + i / 2 * 8);
          }
#pragma unroll
          for (int j = 0; j < kStemColumns / 16; ++j) {
            uint32_t b[4];
            load_matrices(b, b_row + (j * 16 * pitch + kh * p.row_k + k) * 2);
#pragma unroll
            for (int f = 0; f < kFragments; ++f) {
              multiply_16x8x16<T>(sums[f][2 * j], a[f], b[0], b[1]);
              multiply_16x8x16<T>(sums[f][2 * j + 1], a[f], b[2], b[3]);
            }
          }
        }
      }
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
        if (fragment + f >= fragments) continue;
        put_lines<T>(p, sums[f], shared_address(memory) + (fragment + f) * 16 * 128, inside[f][0], inside[f][1]);
      }
    }
    __syncthreads();
    pool_lines<T>(q, memory, image, first_y, first_x, first_channel);
  }
}

}  // namespace

const void* stem_kernel(ElementType type) {
  return half_forms([&]<class T>() { return reinterpret_cast<const void*>(&stem<T>); }).of(type);
}

const void* pooled_stem_kernel(ElementType type, int fragments) {
  const auto form = [&]<class T>() {
    return fragments == 1 ? reinterpret_cast<const void*>(&pooled_stem<T, 1>)
                          : reinterpret_cast<const void*>(&pooled_stem<T, 2>);
  };
  return half_forms(form).of(type);
}

}  // namespace blade::backends::cuda
