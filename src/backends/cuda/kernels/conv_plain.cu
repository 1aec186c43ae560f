// Tiles for little work (9.0): all of a block's depth is asked for at once, results are plain (conv_plain.cuh).
#include "backends/cuda/kernels/conv_plain.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

template <class Tile, int kSplitLog2, bool kMore>
__global__ void __launch_bounds__(Tile::kThreads)
    conv_plain_kernel(const __grid_constant__ PixelMaps maps, const __grid_constant__ ConvParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr int kSplit = 1 << kSplitLog2, kWarps = Tile::kThreads / 32;
  extern __shared__ __align__(1024) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[kMostPlainChunks + 1];
  const int thread = static_cast<int>(threadIdx.x), warp = __shfl_sync(~0u, thread >> 5, 0);
  const PlainBlock<Tile, kSplitLog2> block(p.column_tiles, p.chunks);
  const int first_row = block.row_tile * Tile::kRows;
  const int chunk_bytes = ((p.chunks + kSplit - 1) >> kSplitLog2) * Tile::kStageBytes;  // of any block

  const uint32_t stages = shared_address(memory), barrier = shared_address(barriers);
  const uint32_t sums_barrier = barrier + 8 * kMostPlainChunks;
  if (thread == 0) {
    prefetch_map(&maps.image);
    if (p.own_chunks < p.chunks) prefetch_map(&maps.addend);
    begin_block<Tile, (kSplit > 1)>(barrier, sums_barrier, block.pieces, Tile::kStageBytes, [&](int s) {
      copy_bulk(stages + s * Tile::kStageBytes + Tile::kRows * 128,
                weights_at(p, block.first_piece + s, block.first_channel), Tile::kColumns * 128, barrier + 8 * s);
    });
  }
  if (kSplit > 1) {
    __syncwarp();
    cluster_arrive();
  }
  const Requests<PixelRequest, kMostRequests, kWarps> requests(warp, block.pieces, [&](PixelRequest& own, int s) {
    own.prepare(p, maps, first_row, block.first_piece + s, stages + s * Tile::kStageBytes, barrier + 8 * s);
  });
  const WarpPlace<Tile> place;
  const auto row_of = [&](int own_row) {
    const int row = first_row + block.rank * (Tile::kRows >> kSplitLog2) + own_row;
    return row < p.rows ? row : -1;
  };
  Quads<Tile, kSplit, kMore> quads(p, row_of, block.first_channel);
  float* exchange = reinterpret_cast<float*>(memory + pinned(chunk_bytes));
  float sums[Tile::kM][Tile::kN][4] = {};
  wait_for_all<(kSplit > 1)>();
  requests.make(warp, block.pieces);
  quads.load_residuals();
  uint64_t pixels = group_pixels(place, stages), weights = group_weights(place, stages + Tile::kRows * 128);
#pragma unroll 1
  for (int k = 0; k < block.pieces; ++k) {
    barrier_wait(barrier + 8 * k, 0);
    multiply_chunk<Tile>(sums, pixels, weights);
    pixels += Tile::kStageBytes / 16;
    weights += Tile::kStageBytes / 16;
  }
  group_wait<0>();
  finish_plain<Tile>(place, quads, sums, exchange, sums_barrier, block.rank);
#endif
}

template <int kRows, int kColumns, int kWarpsK, int kSplitLog2, bool kMore>
KernelForms plain_forms() {
  return half_forms([&]<class T>() {
    using Tile = PlainTile<T, kRows, kColumns, kWarpsK>;
    return reinterpret_cast<const void*>(&conv_plain_kernel<Tile, kSplitLog2, kMore>);
  });
}

template <int kRows, int kColumns, int kWarpsK, int kSplitLog2>
PlainVariant variant() {
  using Tile = PlainTile<__half, kRows, kColumns, kWarpsK>;
  return {kRows,
          kColumns,
          kWarpsK,
          kSplitLog2,
          Tile::kThreads,
          Tile::kStageBytes,
          Tile::kSumBytes,
          plain_forms<kRows, kColumns, kWarpsK, kSplitLog2, false>(),
          plain_forms<kRows, kColumns, kWarpsK, kSplitLog2, true>()};
}

}  // namespace

std::span<const PlainVariant, 44> plain_variants() {
  static const PlainVariant variants[] = {
#define BLADE_PLAIN(rows, columns, warps_k)                                                                         \
  variant<rows, columns, warps_k, 0>(), variant<rows, columns, warps_k, 1>(), variant<rows, columns, warps_k, 2>(), \
      variant<rows, columns, warps_k, 3>()
      BLADE_PLAIN(16, 64, 1), BLADE_PLAIN(32, 64, 1), BLADE_PLAIN(32, 64, 2), BLADE_PLAIN(32, 128, 1),
      BLADE_PLAIN(64, 32, 1), BLADE_PLAIN(64, 32, 2), BLADE_PLAIN(64, 64, 1), BLADE_PLAIN(64, 64, 2),
      BLADE_PLAIN(32, 64, 4), BLADE_PLAIN(64, 64, 4), BLADE_PLAIN(16, 64, 2),
#undef BLADE_PLAIN
  };
  return variants;
}

}  // namespace blade::backends::cuda
