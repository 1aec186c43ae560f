// Convolutions with windows whose taps read one patch of pixels (9.0): wgmma may start at any row of a tile in shared
// memory, so that a tap is an offset into the patch and pixels cross from L2 once instead of once a tap.
//
// A tile is up to 64 neighbouring positions of one image, counted over rows of `patch_width` positions: the output's
// columns and the few behind them whose windows would reach into the next row; these are computed and dropped. With
// strides the patch is one plane for each (row, column) of a stride's cell. A block loads all of its depth at once; the
// blocks of a cluster divide the input channels.
#define BLADE_CONV_GROUPS
#include "backends/cuda/kernels/conv_plain.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Where taps find their pixels in a patch.
struct Taps {
  int kernel_h, kernel_w, stride_h_log2, stride_w_log2, row_bytes, column_bytes, plane_bytes;

  __device__ __forceinline__ explicit Taps(const PatchParams& p)
      : kernel_h(pinned(p.conv.kernel_h)),
        kernel_w(pinned(p.conv.kernel_w)),
        stride_h_log2(pinned(p.stride_h_log2)),
        stride_w_log2(pinned(p.stride_w_log2)),
        row_bytes(pinned(p.conv.dilation_h * static_cast<int>(p.patch_width.divisor) * 128)),
        column_bytes(pinned(p.conv.dilation_w * 128)),
        plane_bytes(pinned(p.plane_bytes)) {}

  __device__ __forceinline__ int offset(int tap_y, int tap_x) const {
    const int row = tap_y >> stride_h_log2, column = tap_x >> stride_w_log2;
    const int plane = ((tap_y - (row << stride_h_log2)) << stride_w_log2) + tap_x - (column << stride_w_log2);
    return plane * plane_bytes + row * row_bytes + column * column_bytes;
  }
};

// The products of one slab of 64 channels with all taps; they run on.
template <class Tile>
__device__ __forceinline__ void multiply_slab(float (&sums)[Tile::kM][Tile::kN][4], const Taps& taps, uint32_t patch,
                                              uint32_t weights, const WarpPlace<Tile>& place) {
  constexpr int kStep = Tile::kWarpsK * 2;
  uint64_t channels = tile_descriptor(weights + place.n * 64 * 128) + place.k * 2;
  const uint64_t pixels = tile_descriptor(patch) + place.k * 2;
  for (int tap_y = 0; tap_y < taps.kernel_h; ++tap_y) {
    for (int tap_x = 0; tap_x < taps.kernel_w; ++tap_x) {
      const uint64_t tap = pixels + taps.offset(tap_y, tap_x) / 16;
      group_fence();
#pragma unroll
      for (int q = 0; q < 4 / Tile::kWarpsK; ++q) {
        if constexpr (Tile::kTurned) {
          GroupMultiply<Tile::kRows, typename Tile::Element>::run(sums[0], channels + q * kStep, tap + q * kStep);
        } else {
          GroupMultiply<Tile::kColumns, typename Tile::Element>::run(sums[0], tap + q * kStep, channels + q * kStep);
        }
      }
      group_commit();
      channels += Tile::kColumns * 128 / 16;
    }
  }
}

// One request for a plane of a patch, ready to be made.
struct PatchRequest {
  int channel, x, y;
  uint32_t to, barrier;
};

#endif

template <class Tile, int kSplitLog2>
__global__ void __launch_bounds__(Tile::kThreads)
    conv_patch_kernel(const __grid_constant__ TensorMap image, const __grid_constant__ PatchParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr int kSplit = 1 << kSplitLog2, kWarps = Tile::kThreads / 32;
  extern __shared__ __align__(1024) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[kMostSlabs + 1];
  const int thread = static_cast<int>(threadIdx.x), warp = __shfl_sync(~0u, thread >> 5, 0);
  const int tile = static_cast<int>(blockIdx.x) >> kSplitLog2, rank = static_cast<int>(blockIdx.x) & (kSplit - 1);
  const int row_tile = divide(tile, p.conv.column_tiles);
  const int first_channel = (tile - row_tile * static_cast<int>(p.conv.column_tiles.divisor)) * Tile::kColumns;
  const int image_index = kept(divide(row_tile, p.image_tiles));
  const int first = (row_tile - image_index * static_cast<int>(p.image_tiles.divisor)) * Tile::kRows;
  const int first_row = divide(first, p.patch_width);
  const int first_slab = p.slabs * rank >> kSplitLog2;
  const int slabs = pinned((p.slabs * (rank + 1) >> kSplitLog2) - first_slab);
  const int taps = p.conv.kernel_h * p.conv.kernel_w;
  const Taps tap_places(p);
  const int planes = 1 << (p.stride_h_log2 + p.stride_w_log2);
  const int patch_bytes = pinned(p.plane_bytes * planes);
  const int slab_bytes = pinned(patch_bytes + taps * Tile::kColumns * 128);

  const uint32_t slabs_at = shared_address(memory);
  const uint32_t barrier = shared_address(barriers), sums_barrier = barrier + 8 * kMostSlabs;
  if (thread == 0) {
    for (int s = 0; s < slabs; ++s) barrier_init(barrier + 8 * s, 1);
    if (kSplit > 1) barrier_init(sums_barrier, 1);
    prefetch_map(&image);
    barrier_init_fence();
    if (kSplit > 1) barrier_expect(sums_barrier, Tile::kRows * Tile::kColumns * 4);
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
  if (kSplit > 1) {
    __syncwarp();
    cluster_arrive();
  }
  // Each warp asks for every kWarps-th plane.
  const int all_planes = pinned(slabs * planes);
  PatchRequest requests[kMostRequests];
#pragma unroll
  for (int i = 0; i < kMostRequests; ++i) {
    const int number = warp + i * kWarps, slab = number >> (p.stride_h_log2 + p.stride_w_log2);
    const int plane = number & (planes - 1), y = plane >> p.stride_w_log2, x = plane - (y << p.stride_w_log2);
    requests[i].channel = kept((first_slab + slab) * 64);
    requests[i].x = kept(x - p.conv.pad_left);
    requests[i].y = kept((first_row << p.stride_h_log2) - p.conv.pad_top + y);
    requests[i].to = slabs_at + slab * slab_bytes + plane * p.plane_bytes;
    requests[i].barrier = barrier + 8 * slab;
  }
  const WarpPlace<Tile> place;
  const auto row_of = [&](int own_row) {
    const int position = first + rank * (Tile::kRows >> kSplitLog2) + own_row, y = divide(position, p.patch_width);
    const int x = position - y * static_cast<int>(p.patch_width.divisor);
    if (y >= p.out_height || x >= static_cast<int>(p.conv.out_width.divisor)) return -1;
    return (image_index * p.out_height + y) * static_cast<int>(p.conv.out_width.divisor) + x;
  };
  Quads<Tile, kSplit, false> quads(p.conv, row_of, first_channel);
  const int start = pinned((first - first_row * static_cast<int>(p.patch_width.divisor)) * 128);
  float* exchange = reinterpret_cast<float*>(memory + pinned(((p.slabs + kSplit - 1) >> kSplitLog2) * slab_bytes));
  float sums[Tile::kM][Tile::kN][4] = {};
  if (kSplit > 1) cluster_wait();  // the others have begun, so their memory may be written
  __syncthreads();
  wait_for_earlier();
  if ((thread & 31) == 0) {
#pragma unroll
    for (int i = 0; i < kMostRequests; ++i) {
      if (warp + i * kWarps >= all_planes) break;
      const PatchRequest& r = requests[i];
      copy_patch(r.to, &image, r.channel, r.x, r.y, image_index, r.barrier);
    }
  }
  quads.load_residuals();
  for (int s = 0; s < slabs; ++s) {
    barrier_wait(barrier + 8 * s, 0);
    const uint32_t patch = slabs_at + s * slab_bytes;
    multiply_slab<Tile>(sums, tap_places, patch + start, patch + patch_bytes, place);
  }
  group_wait<0>();
  finish_plain<Tile>(place, quads, sums, exchange, sums_barrier, rank);
#endif
}

template <int kRows, int kColumns, int kWarpsK, int kSplitLog2>
PatchVariant variant() {
  using Tile = PlainTile<__half, kRows, kColumns, kWarpsK>;
  return {kRows, kColumns, kWarpsK, kSplitLog2, Tile::kThreads, Tile::kSumBytes, half_forms([&]<class T>() {
            using Typed = PlainTile<T, kRows, kColumns, kWarpsK>;
            return reinterpret_cast<const void*>(&conv_patch_kernel<Typed, kSplitLog2>);
          })};
}

}  // namespace

std::span<const PatchVariant, 32> patch_variants() {
  static const PatchVariant variants[] = {
#define BLADE_PATCH(rows, columns, warps_k)                                                                         \
  variant<rows, columns, warps_k, 0>(), variant<rows, columns, warps_k, 1>(), variant<rows, columns, warps_k, 2>(), \
      variant<rows, columns, warps_k, 3>()
      BLADE_PATCH(64, 32, 1), BLADE_PATCH(64, 32, 2), BLADE_PATCH(64, 32, 4), BLADE_PATCH(64, 64, 1),
      BLADE_PATCH(64, 64, 2), BLADE_PATCH(32, 64, 1), BLADE_PATCH(32, 64, 2), BLADE_PATCH(32, 64, 4),
#undef BLADE_PATCH
  };
  return variants;
}

}  // namespace blade::backends::cuda
