// Convolutions with windows whose taps read one patch of pixels (9.0): wgmma may start at any row of a tile in shared
// memory, so that a tap is an offset into the patch and pixels cross from L2 once instead of once a tap.
//
// A tile is up to 64 neighbouring positions of one image, counted over rows of `patch_width` positions: the output's
// columns and the few behind them whose windows would reach into the next row; these are computed and dropped. With
// strides the patch is one plane for each (row, column) of a stride's cell. A block loads all of its depth at once; the
// blocks of a cluster divide the input channels.
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
  uint64_t channels = group_weights(place, weights);
  const uint64_t pixels = group_pixels(place, patch);
  for (int tap_y = 0; tap_y < taps.kernel_h; ++tap_y) {
    for (int tap_x = 0; tap_x < taps.kernel_w; ++tap_x) {
      multiply_chunk<Tile>(sums, pixels + taps.offset(tap_y, tap_x) / 16, channels);
      channels += Tile::kColumns * 128 / 16;
    }
  }
}

// One request for a plane of a patch, ready to be made.
struct PatchRequest {
  const TensorMap* map;
  int channel, x, y, image;
  uint32_t to, barrier;

  __device__ __forceinline__ void make() const { copy_patch(to, map, channel, x, y, image, barrier); }
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
  const PlainBlock<Tile, kSplitLog2> block(p.conv.column_tiles, p.slabs);
  const int image_index = kept(divide(block.row_tile, p.image_tiles));
  const int first = (block.row_tile - image_index * static_cast<int>(p.image_tiles.divisor)) * Tile::kRows;
  const int first_row = divide(first, p.patch_width);
  const int taps = p.conv.kernel_h * p.conv.kernel_w, planes = 1 << (p.stride_h_log2 + p.stride_w_log2);

  const uint32_t slabs_at = shared_address(memory);
  const uint32_t barrier = shared_address(barriers), sums_barrier = barrier + 8 * kMostSlabs;
  if (thread == 0) {
    prefetch_map(&image);
    const int bytes = taps * Tile::kColumns * 128 + planes * p.box_bytes;
    const int behind_patch = p.plane_bytes * planes, step = behind_patch + taps * Tile::kColumns * 128;
    begin_block<Tile, (kSplit > 1)>(barrier, sums_barrier, block.pieces, bytes, [&](int s) {
      for (int tap = 0; tap < taps; ++tap) {
        copy_bulk(slabs_at + s * step + behind_patch + tap * Tile::kColumns * 128,
                  weights_at(p.conv, tap * p.slabs + block.first_piece + s, block.first_channel), Tile::kColumns * 128,
                  barrier + 8 * s);
      }
    });
  }
  if (kSplit > 1) {
    __syncwarp();
    cluster_arrive();
  }
  const Taps tap_places(p);
  const int patch_bytes = pinned(p.plane_bytes * planes);
  const int slab_bytes = pinned(patch_bytes + taps * Tile::kColumns * 128);
  const int all_planes = pinned(block.pieces * planes);
  const TensorMap* map = &image;
  keep(map);
  const Requests<PatchRequest, kMostRequests, kWarps> requests(warp, all_planes, [&](PatchRequest& own, int number) {
    const int slab = number >> (tap_places.stride_h_log2 + tap_places.stride_w_log2), plane = number & (planes - 1);
    const int y = plane >> tap_places.stride_w_log2, x = plane - (y << tap_places.stride_w_log2);
    own = {map,
           kept((block.first_piece + slab) * 64),
           kept(x - p.conv.pad_left),
           kept((first_row << tap_places.stride_h_log2) - p.conv.pad_top + y),
           image_index,
           slabs_at + slab * slab_bytes + plane * tap_places.plane_bytes,
           barrier + 8 * slab};
  });
  const WarpPlace<Tile> place;
  const auto row_of = [&](int own_row) {
    const int position = first + block.rank * (Tile::kRows >> kSplitLog2) + own_row;
    const int y = divide(position, p.patch_width), x = position - y * static_cast<int>(p.patch_width.divisor);
    if (y >= p.out_height || x >= static_cast<int>(p.conv.out_width.divisor)) return -1;
    return (image_index * p.out_height + y) * static_cast<int>(p.conv.out_width.divisor) + x;
  };
  Quads<Tile, kSplit, false> quads(p.conv, row_of, block.first_channel);
  const int start = pinned((first - first_row * static_cast<int>(p.patch_width.divisor)) * 128);
  float* exchange = reinterpret_cast<float*>(memory + pinned(((p.slabs + kSplit - 1) >> kSplitLog2) * slab_bytes));
  float sums[Tile::kM][Tile::kN][4] = {};
  wait_for_all<(kSplit > 1)>();
  requests.make(warp, all_planes);
  quads.load_residuals();
  for (int s = 0; s < block.pieces; ++s) {
    barrier_wait(barrier + 8 * s, 0);
    const uint32_t patch = slabs_at + s * slab_bytes;
    multiply_slab<Tile>(sums, tap_places, patch + start, patch + patch_bytes, place);
  }
  group_wait<0>();
  finish_plain<Tile>(place, quads, sums, exchange, sums_barrier, block.rank);
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
