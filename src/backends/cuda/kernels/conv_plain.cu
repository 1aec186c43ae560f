// Tiles for little work (9.0): all of a block's depth is asked for at once, results are plain (conv_plain.cuh).
#define BLADE_CONV_GROUPS
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
  const int tile = static_cast<int>(blockIdx.x) >> kSplitLog2, rank = static_cast<int>(blockIdx.x) & (kSplit - 1);
  const int row_tile = divide(tile, p.column_tiles), first_row = row_tile * Tile::kRows;
  const int first_channel = (tile - row_tile * static_cast<int>(p.column_tiles.divisor)) * Tile::kColumns;
  const int first_chunk = (p.chunks * rank) >> kSplitLog2;
  const int chunks = pinned(((p.chunks * (rank + 1)) >> kSplitLog2) - first_chunk);
  const int chunk_bytes = ((p.chunks + kSplit - 1) >> kSplitLog2) * Tile::kStageBytes;  // of any block

  const uint32_t stages = shared_address(memory), barrier = shared_address(barriers);
  const uint32_t sums_barrier = barrier + 8 * kMostPlainChunks;
  if (thread == 0) {
    for (int s = 0; s < chunks; ++s) barrier_init(barrier + 8 * s, 1);
    if (kSplit > 1) barrier_init(sums_barrier, 1);
    prefetch_map(&maps.image);
    if (p.own_chunks < p.chunks) prefetch_map(&maps.addend);
    barrier_init_fence();
    if (kSplit > 1) barrier_expect(sums_barrier, Tile::kRows * Tile::kColumns * 4);
    for (int s = 0; s < chunks; ++s) {
      barrier_expect(barrier + 8 * s, Tile::kStageBytes);
      copy_bulk(stages + s * Tile::kStageBytes + Tile::kRows * 128, weights_at(p, first_chunk + s, first_channel),
                Tile::kColumns * 128, barrier + 8 * s);
    }
    start_later();
  }
  if (kSplit > 1) {
    __syncwarp();
    cluster_arrive();
  }
  // Each warp asks for every kWarps-th chunk.
  PixelRequest requests[kMostRequests];
#pragma unroll
  for (int i = 0; i < kMostRequests; ++i) {
    const int s = warp + i * kWarps;
    if (s < chunks) {
      requests[i].prepare(p, maps, first_row, first_chunk + s, stages + s * Tile::kStageBytes, barrier + 8 * s);
    }
  }
  const WarpPlace<Tile> place;
  const auto row_of = [&](int own_row) {
    const int row = first_row + rank * (Tile::kRows >> kSplitLog2) + own_row;
    return row < p.rows ? row : -1;
  };
  Quads<Tile, kSplit, kMore> quads(p, row_of, first_channel);
  float* exchange = reinterpret_cast<float*>(memory + pinned(chunk_bytes));
  float sums[Tile::kM][Tile::kN][4] = {};
  if (kSplit > 1) cluster_wait();  // the others have begun, so their memory may be written
  __syncthreads();
  wait_for_earlier();
  if ((thread & 31) == 0) {
#pragma unroll
    for (int i = 0; i < kMostRequests; ++i) {
      if (warp + i * kWarps < chunks) requests[i].make();
    }
  }
  quads.load_residuals();
  constexpr int kStep = Tile::kWarpsK * 2;
  uint64_t pixels = tile_descriptor(stages + place.m * 64 * 128) + place.k * 2;
  uint64_t weights = tile_descriptor(stages + (Tile::kRows + place.n * 64) * 128) + place.k * 2;
#pragma unroll 1
  for (int k = 0; k < chunks; ++k) {
    barrier_wait(barrier + 8 * k, 0);
    group_fence();
#pragma unroll
    for (int q = 0; q < 4 / Tile::kWarpsK; ++q) {
      if constexpr (Tile::kTurned) {
        GroupMultiply<Tile::kRows, typename Tile::Element>::run(sums[0], weights + q * kStep, pixels + q * kStep);
      } else {
        GroupMultiply<Tile::kColumns, typename Tile::Element>::run(sums[0], pixels + q * kStep, weights + q * kStep);
      }
    }
    group_commit();
    pixels += Tile::kStageBytes / 16;
    weights += Tile::kStageBytes / 16;
  }
  group_wait<0>();
  finish_plain<Tile>(place, quads, sums, exchange, sums_barrier, rank);
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
