// Convolutions with windows whose taps read one patch of pixels (9.0): wgmma may start at any row of a tile in shared
// memory, so that a tap is an offset into the patch and pixels cross from L2 once instead of once a tap.
//
// A tile is 64 neighbouring positions of one image, counted over rows of `patch_width` positions: the output's columns
// and the few behind them whose windows would reach into the next row; these are computed and dropped. With strides the
// patch is one plane for each (row, column) of a stride's cell. A block loads all of its depth at once; the blocks of a
// cluster divide the input channels.
#define BLADE_CONV_GROUPS
#include "backends/cuda/kernels/conv_finish.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

constexpr int kRows = kPatchRows;

template <int kColumns, int kWarpsK>
using PatchTile = ConvTile<kRows, kColumns, 1, 1, kWarpsK, true>;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Where taps find their pixels in a patch.
struct Taps {
  int kernel_h, kernel_w, stride_h_log2, stride_w_log2, row_bytes, column_bytes, plane_bytes;

  __device__ __forceinline__ explicit Taps(const PatchParams& p)
      : kernel_h(kept(p.conv.kernel_h)),
        kernel_w(kept(p.conv.kernel_w)),
        stride_h_log2(kept(p.stride_h_log2)),
        stride_w_log2(kept(p.stride_w_log2)),
        row_bytes(kept(p.conv.dilation_h * static_cast<int>(p.patch_width.divisor) * 128)),
        column_bytes(kept(p.conv.dilation_w * 128)),
        plane_bytes(kept(p.plane_bytes)) {}

  __device__ __forceinline__ int offset(int tap_y, int tap_x) const {
    const int row = tap_y >> stride_h_log2, column = tap_x >> stride_w_log2;
    const int plane = ((tap_y - (row << stride_h_log2)) << stride_w_log2) + tap_x - (column << stride_w_log2);
    return plane * plane_bytes + row * row_bytes + column * column_bytes;
  }
};

// The products of one slab of 64 channels with all taps; they run on.
template <class Tile>
__device__ __forceinline__ void multiply_slab(float (&sums)[Tile::kM][Tile::kN][4], const Taps& taps, uint32_t patch,
                                              uint32_t weights, int group) {
  for (int tap_y = 0; tap_y < taps.kernel_h; ++tap_y) {
    for (int tap_x = 0; tap_x < taps.kernel_w; ++tap_x) {
      const uint64_t a = tile_descriptor(patch + taps.offset(tap_y, tap_x)) + group * 2;
      const uint64_t b = tile_descriptor(weights) + group * 2;
      group_fence();
#pragma unroll
      for (int q = 0; q < 4 / Tile::kWarpsK; ++q) {
        GroupMultiply<Tile::kColumns>::run(sums[0], a + q * Tile::kWarpsK * 2, b + q * Tile::kWarpsK * 2);
      }
      group_commit();
      weights += Tile::kColumns * 128;
    }
  }
}

#endif

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    conv_patch_kernel(const __grid_constant__ TensorMap image, const __grid_constant__ PatchParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[kMostSlabs + 1];
  const int thread = static_cast<int>(threadIdx.x);
  const int split = 1 << p.conv.split_log2;
  const int tile = static_cast<int>(blockIdx.x) >> p.conv.split_log2;
  const int rank = static_cast<int>(blockIdx.x) & (split - 1);
  const int row_tile = divide(tile, p.conv.column_tiles);
  const int first_channel = (tile - row_tile * static_cast<int>(p.conv.column_tiles.divisor)) * Tile::kColumns;
  const int image_index = divide(row_tile, p.image_tiles);
  const int first = (row_tile - image_index * static_cast<int>(p.image_tiles.divisor)) * kRows;
  const int first_row = divide(first, p.patch_width);
  const int first_slab = p.slabs * rank >> p.conv.split_log2;
  const int slabs = kept((p.slabs * (rank + 1) >> p.conv.split_log2) - first_slab);
  const int taps = p.conv.kernel_h * p.conv.kernel_w;
  const Taps tap_places(p);
  const int planes = 1 << (tap_places.stride_h_log2 + tap_places.stride_w_log2);
  const int patch_bytes = kept(p.plane_bytes << (p.stride_h_log2 + p.stride_w_log2));
  const int slab_bytes = kept(patch_bytes + taps * Tile::kColumns * 128);

  const uint32_t slabs_at = shared_address(memory);
  const uint32_t barrier = shared_address(barriers), sums_barrier = barrier + 8 * kMostSlabs;
  if (thread == 0) {
    for (int s = 0; s < slabs; ++s) barrier_init(barrier + 8 * s, 1);
    if (split > 1) barrier_init(sums_barrier, 1);
    prefetch_map(&image);
    barrier_init_fence();
    if (split > 1) barrier_expect(sums_barrier, Tile::kRows * Tile::kColumns * 4);
    for (int s = 0; s < slabs; ++s) {
      barrier_expect(barrier + 8 * s, taps * Tile::kColumns * 128 + planes * p.box_bytes);
      for (int tap = 0; tap < taps; ++tap) {
        const int64_t chunk = tap * p.slabs + first_slab + s;
        copy_bulk(slabs_at + s * slab_bytes + patch_bytes + tap * Tile::kColumns * 128,
                  static_cast<const char*>(p.conv.weights) + (chunk * p.conv.channels_padded + first_channel) * 128,
                  Tile::kColumns * 128, barrier + 8 * s);
      }
    }
    start_later();
  }
  if (split > 1) {
    __syncwarp();
    cluster_arrive();
  }
  const WarpPlace<Tile> place;
  const auto row_of = [&](int row) {
    const int y = divide(first + row, p.patch_width), x = first + row - y * static_cast<int>(p.patch_width.divisor);
    if (y >= p.out_height || x >= static_cast<int>(p.conv.out_width.divisor)) return -1;
    return (image_index * p.out_height + y) * static_cast<int>(p.conv.out_width.divisor) + x;
  };
  TileFinish<Tile, decltype(row_of)> finish(p.conv, place, row_of, first_channel, rank);
  float sums[Tile::kM][Tile::kN][4] = {};
  const int patch_x = kept(-p.conv.pad_left), patch_y = kept((first_row << p.stride_h_log2) - p.conv.pad_top);
  const int start = kept((first - first_row * static_cast<int>(p.patch_width.divisor)) * 128);
  const int exchange_bytes = kept(((p.slabs + split - 1) >> p.conv.split_log2) * slab_bytes);
  if (split > 1) cluster_wait();  // the others have begun, so their memory may be written
  __syncthreads();
  wait_for_earlier();
  if (thread == 0) {
    for (int s = 0; s < slabs; ++s) {
      for (int plane = 0; plane < planes; ++plane) {
        const int y = plane >> tap_places.stride_w_log2, x = plane - (y << tap_places.stride_w_log2);
        copy_patch(slabs_at + s * slab_bytes + plane * tap_places.plane_bytes, &image, (first_slab + s) * 64,
                   patch_x + x, patch_y + y, image_index, barrier + 8 * s);
      }
    }
  }
  finish.load_residuals();
  for (int s = 0; s < slabs; ++s) {
    barrier_wait(barrier + 8 * s, 0);
    const uint32_t patch = slabs_at + s * slab_bytes;
    multiply_slab<Tile>(sums, tap_places, patch + start, patch + patch_bytes, place.k);
  }
  group_wait<0>();
  finish.run(sums, memory, exchange_bytes, sums_barrier);
#endif
}

template <int kColumns, int kWarpsK>
PatchVariant variant() {
  using Tile = PatchTile<kColumns, kWarpsK>;
  return {kColumns,        kWarpsK,       Tile::kThreads,
          Tile::kSumBytes, Tile::kDirect, reinterpret_cast<const void*>(&conv_patch_kernel<Tile>)};
}

}  // namespace

std::span<const PatchVariant> patch_variants() {
  static const PatchVariant variants[] = {variant<32, 1>(), variant<32, 2>(), variant<32, 4>(),
                                          variant<64, 1>(), variant<64, 2>(), variant<128, 1>()};
  return variants;
}

}  // namespace blade::backends::cuda
