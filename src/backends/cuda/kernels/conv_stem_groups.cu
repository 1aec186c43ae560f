// The first layer of image networks and its max pool for many pixels (compute capability 9.0). With 4 channels and a
// stride of 2 pixels of 8 bytes, the taps of neighbouring results begin 16 bytes apart: without a swizzle wgmma reads
// them as rows of a matrix right from the patch, whose rows are kept apart by their parity. Half of a block's threads
// fill the next tile's patch meanwhile.
#include "backends/cuda/kernels/conv_stem.cuh"

namespace blade::backends::cuda {
namespace {

static_assert(kStemThreads == 256 && kStemGroupThreads == 2 * kStemThreads, "two groups multiply, as many fill");

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
constexpr int kMultiplyBarrier = 1;  // numbered barrier of those that multiply

// 64 rows of 16 k, not swizzled: pieces of 16 bytes whose neighbours along k are `k_bytes` apart; those of eight rows
// follow each other.
__device__ __forceinline__ uint64_t plain_descriptor(uint32_t address, uint32_t k_bytes) {
  return static_cast<uint64_t>(address >> 4) | (static_cast<uint64_t>(k_bytes >> 4) << 16) | (8ull << 32);
}

// Of a patch, those of one parity where the stride is 2.
__device__ __forceinline__ int plane_rows(const StemParams& p) {
  return (p.patch_height + p.stride_h - 1) >> (p.stride_h - 1);
}

// Packed weights of 64 channels, in shared memory as [16 bytes of k][channel].
__device__ __forceinline__ void fetch_group_weights(const StemParams& p, uint32_t weights, int first_channel) {
  const int pieces = p.kernel_h * p.row_k / 8, pitch = pieces * 8 + 8;
  const auto* packed = static_cast<const uint16_t*>(p.weights) + static_cast<int64_t>(first_channel) * pitch;
  for (int i = static_cast<int>(threadIdx.x); i < kStemColumns * pieces; i += kStemGroupThreads) {
    const int channel = i % kStemColumns, piece = i / kStemColumns;
    copy_16(weights + i * 16, packed + channel * pitch + piece * 8, true);
  }
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// Where a tile stands.
struct StemTile {
  int image, first_y, first_x, conv_y, conv_x;  // pooled pixels, pixels of the convolution
  __device__ __forceinline__ StemTile(const PooledStemParams& q, int tile) {
    const int row_of_tiles = divide(tile, q.conv.tiles_x);
    const int tile_x = tile - row_of_tiles * static_cast<int>(q.conv.tiles_x.divisor);
    image = divide(row_of_tiles, q.conv.tiles_y);
    const int tile_y = row_of_tiles - image * static_cast<int>(q.conv.tiles_y.divisor);
    first_y = tile_y * q.tile_height;
    first_x = tile_x * static_cast<int>(q.tile_width.divisor);
    conv_y = first_y * q.stride_h - q.pad_top;
    conv_x = first_x * q.stride_w - q.pad_left;
  }
};

template <class T>
struct StemMemory {
  uint8_t* lines;
  uint32_t weights;
  T* patches;
  int patch_bytes;
  uint32_t full, empty;  // barriers
};

// Neither what begins a sum comes after its products begin, nor what reads it before they end.
__device__ __forceinline__ void keep_sums(StemSums& sums) {
#pragma unroll
  for (int i = 0; i < kStemColumns / 2; ++i) keep((&sums[0][0])[i]);
}

// A tile's patch, its rows apart by their parity where the stride is 2. Many pixels of a thread are under way at once.
template <class X, class T>
__device__ __forceinline__ void fill_planes(const PooledStemParams& q, const StemTile& at, T* patch) {
  constexpr int kAtOnce = 12;
  const StemParams& p = q.conv;
  const X* image = image_of<X>(p, at.image);
  const int width = static_cast<int>(p.patch_width.divisor), pixels = p.patch_height * width;
  const int first_y = at.conv_y * p.stride_h - p.pad_top, first_x = at.conv_x * 2 - p.pad_left;
  const int of_plane = plane_rows(p) * width, by_parity = p.stride_h - 1;
  for (int first = static_cast<int>(threadIdx.x) - kStemThreads; first < pixels; first += kAtOnce * kStemThreads) {
    uint2 values[kAtOnce];
    int places[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int i = first + k * kStemThreads, y = divide(i, p.patch_width), x = i - y * width;
      values[k] = stem_pixel<T>(p, image, first_y + y, first_x + x, i < pixels);
      places[k] = i < pixels ? (y & by_parity) * of_plane + (y >> by_parity) * width + x : -1;
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if (places[k] >= 0) *reinterpret_cast<uint2*>(patch + places[k] * 4) = values[k];
    }
  }
}

template <class T>
__device__ __forceinline__ void fill_patches(const PooledStemParams& q, const StemMemory<T>& memory) {
  int turn = 0;
  for (int tile = static_cast<int>(blockIdx.x); tile < q.conv.tiles; tile += static_cast<int>(gridDim.x), ++turn) {
    const StemTile at(q, tile);
    const int slot = turn % kStemGroupSlots;
    T* patch = memory.patches + slot * (memory.patch_bytes / 2);
    barrier_wait(memory.empty + 8 * slot, static_cast<uint32_t>(turn / kStemGroupSlots & 1) ^ 1);
    if (q.conv.x_is_float) {
      fill_planes<float>(q, at, patch);
    } else {
      fill_planes<T>(q, at, patch);
    }
    fence_for_copies();  // wgmma reads what this thread wrote
    barrier_arrive(memory.full + 8 * slot);
  }
}

// kSteps: of 16 k, in a row of taps; kRows: of taps, 0: as the launch says.
template <int kSteps, int kRows, class T>
__device__ __forceinline__ void multiply_patches(const PooledStemParams& q, const StemMemory<T>& memory,
                                                 int first_channel) {
  const StemParams& p = q.conv;
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) >> 5, group = warp >> 2;
  const int conv_width = static_cast<int>(q.conv_width.divisor), by_parity = p.stride_h - 1;
  const int rows_of_plane = kept(plane_rows(p));
  const uint64_t weights = plain_descriptor(memory.weights, kStemColumns * 16);
  StemSums bias;
  start_with_bias(p, bias, first_channel);
  int turn = 0;
  for (int tile = static_cast<int>(blockIdx.x); tile < p.tiles; tile += static_cast<int>(gridDim.x), ++turn) {
    const StemTile at(q, tile);
    const int slot = turn % kStemGroupSlots;
    const uint64_t patch = plain_descriptor(shared_address(memory.patches) + slot * memory.patch_bytes, 16);
    barrier_wait(memory.full + 8 * slot, static_cast<uint32_t>(turn / kStemGroupSlots & 1));
    for (int first = group * kGroupPixels; first < q.conv_pixels; first += 2 * kGroupPixels) {
      StemSums sums;
#pragma unroll
      for (int i = 0; i < kStemColumns / 2; ++i) (&sums[0][0])[i] = (&bias[0][0])[i];
      keep_sums(sums);
      group_fence();
      const auto multiply_row = [&](int kh) {
        const int row = (kh & by_parity) * rows_of_plane + (kh >> by_parity);
        const uint64_t a = patch + static_cast<uint64_t>(row * conv_width + first);
        const uint64_t b = weights + static_cast<uint64_t>(kh * kSteps * 2 * kStemColumns);
#pragma unroll
        for (int k = 0; k < kSteps; ++k) GroupMultiply<64, T>::run(sums, a + k * 2, b + k * 2 * kStemColumns);
      };
      if constexpr (kRows > 0) {
#pragma unroll
        for (int kh = 0; kh < kRows; ++kh) multiply_row(kh);
      } else {
#pragma unroll 1
        for (int kh = 0; kh < p.kernel_h; ++kh) multiply_row(kh);
      }
      group_commit();
      group_wait<0>();
      keep_sums(sums);
      bool inside[2];
      const int own = first + (warp & 3) * 16;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int pixel = own + half * 8 + (lane >> 2), y = divide(pixel, q.conv_width), x = pixel - y * conv_width;
        inside[half] = static_cast<unsigned>(at.conv_y + y) < static_cast<unsigned>(p.out_height) &&
                       static_cast<unsigned>(at.conv_x + x) < static_cast<unsigned>(p.out_width);
      }
      put_lines<T>(p, sums, shared_address(memory.lines) + own * kStemColumns * 2, inside[0], inside[1]);
    }
    if (lane == 0) barrier_arrive(memory.empty + 8 * slot);
    sync_threads_of(kMultiplyBarrier, kStemThreads);
    pool_lines<T>(q, memory.lines, at.image, at.first_y, at.first_x, first_channel);
    sync_threads_of(kMultiplyBarrier, kStemThreads);  // lines may be written again
  }
}
#endif

template <class T, int kSteps, int kRows>
__global__ void __launch_bounds__(kStemGroupThreads, 1) pooled_stem_groups(const __grid_constant__ PooledStemParams q) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[2 * kStemGroupSlots];
  fetch_parameters(q);
  const StemParams& p = q.conv;
  const int line_bytes = (q.conv_pixels + kGroupPixels - 1) / kGroupPixels * kGroupPixels * kStemColumns * 2;
  const int weight_bytes = p.kernel_h * p.row_k * kStemColumns * 2;
  const int patch_bytes = p.stride_h * plane_rows(p) * static_cast<int>(p.patch_width.divisor) * 8;
  const uint32_t barrier = shared_address(barriers);
  const StemMemory<T> parts{memory,
                            shared_address(memory) + line_bytes,
                            reinterpret_cast<T*>(memory + line_bytes + weight_bytes),
                            patch_bytes,
                            barrier,
                            barrier + 8 * kStemGroupSlots};
  const int first_channel = static_cast<int>(blockIdx.y) * kStemColumns;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStemGroupSlots; ++i) {
      barrier_init(parts.full + 8 * i, kStemThreads);
      barrier_init(parts.empty + 8 * i, kStemThreads / 32);
    }
  }
  fetch_group_weights(p, parts.weights, first_channel);
  fence_for_copies();
  start_later();
  __syncthreads();
  wait_for_earlier();
  if (threadIdx.x < kStemThreads) {
    multiply_patches<kSteps, kRows>(q, parts, first_channel);
  } else {
    fill_patches(q, parts);
  }
#endif
}

}  // namespace

const void* pooled_stem_groups_kernel(ElementType type, int kernel_h, int row_k) {
  const auto form = [&]<class T>() {
    if (row_k == 16) return reinterpret_cast<const void*>(&pooled_stem_groups<T, 1, 0>);
    return kernel_h == 7 ? reinterpret_cast<const void*>(&pooled_stem_groups<T, 2, 7>)
                         : reinterpret_cast<const void*>(&pooled_stem_groups<T, 2, 0>);
  };
  return half_forms(form).of(type);
}

}  // namespace blade::backends::cuda
