// Convolution as an implicit matrix product for many pixels: blocks that stay, warps with roles (compute
// capability 9.0).
//
// One warp asks the copy engine for chunks of 64 k (pixels by a tensor map, packed weights by bulk copies), another for
// residuals; two groups of four warps multiply straight from shared memory. A block takes tile after tile, and copies
// run ahead of the products by all the shared memory there is. The groups either share a tile or take turns, and then
// one finishes its tile while the other multiplies. Results are put together in shared memory, over the residual, and
// leave by the copy engine.
#pragma once

#include "backends/cuda/kernels/ring.cuh"
#include "backends/cuda/kernels/tensor_rows.cuh"

namespace blade::backends::cuda {

inline constexpr int kPipelineStages = 16;
inline constexpr int kPipelineGroups = 2;
inline constexpr int kGroupBarrier = 1, kTurnBarrier = kGroupBarrier + kPipelineGroups;  // numbered barriers
inline constexpr int kPipelineThreads = kPipelineGroups * 128 + 64;

// A group computes kGroupRows x kColumns; kShared: the groups are two halves of one tile's rows.
template <class Element_, int kGroupRows_, int kColumns_, bool kShared_, int kBlocks_>
struct PipelineTile {
  using Element = Element_;
  static constexpr int kGroupRows = kGroupRows_, kColumns = kColumns_;
  static constexpr bool kShared = kShared_;
  static constexpr int kBlocks = kBlocks_;  // beside each other on an SM
  static constexpr int kM = kGroupRows / 64, kN = kColumns / 8;
  static constexpr int kRows = kGroupRows * (kShared ? kPipelineGroups : 1);
  static constexpr int kStageBytes = (kRows + kColumns) * 128;
  static constexpr int kBoxBytes = kGroupRows * 128;  // 64 channels of a group's results
  static constexpr int kResultBytes = kColumns / 64 * kBoxBytes;
};

template <class Tile>
struct Pipeline {
  using T = typename Tile::Element;
  const PipelineMaps& maps;
  const ConvParams& p;
  uint32_t stages, results;                          // shared memory
  uint32_t full, empty, residual_full, result_free;  // barriers
  int tiles;

  __device__ __forceinline__ uint32_t pixels(int slot) const { return stages + slot * Tile::kStageBytes; }
  __device__ __forceinline__ uint32_t weights(int slot) const { return pixels(slot) + Tile::kRows * 128; }
  __device__ __forceinline__ uint32_t result(int group) const { return results + group * Tile::kResultBytes; }
  __device__ __forceinline__ int first_row(int tile) const { return divide(tile, p.column_tiles) * Tile::kRows; }
  __device__ __forceinline__ int first_channel(int tile) const {
    return (tile - divide(tile, p.column_tiles) * static_cast<int>(p.column_tiles.divisor)) * Tile::kColumns;
  }

  // --- the thread that fills the stages ---

  __device__ __forceinline__ void copy_weights(int tile, int chunk, int slot) const {
    barrier_expect(full + 8 * slot, Tile::kStageBytes);
    copy_bulk(weights(slot), weights_at(p, chunk, first_channel(tile)), Tile::kColumns * 128, full + 8 * slot);
  }

  __device__ __forceinline__ void fill_stages() const {
    int tile = static_cast<int>(blockIdx.x);
    const int chunks = kept(p.chunks), slots = kept(p.stages);
    const int early = min(slots, chunks);  // weights that are asked for before the wait
    for (int s = 0; s < early; ++s) copy_weights(tile, s, s);
    // The next kernel begins once one thread of each block says so: not before the block's own weights are on their
    // way.
    start_later();
    TensorRows rows(p, maps.pixels, first_row(tile), 0);
    wait_for_earlier();
    RingPlace at;
    for (bool first = true; tile < tiles; tile += static_cast<int>(gridDim.x), first = false) {
      if (!first) rows = TensorRows(p, maps.pixels, first_row(tile), 0);
      for (int chunk = 0; chunk < chunks; ++chunk) {
        if (!first || chunk >= early) {
          barrier_wait(empty + 8 * at.slot, at.parity ^ 1);
          copy_weights(tile, chunk, at.slot);
        }
        rows.copy_chunk(maps.pixels, pixels(at.slot), full + 8 * at.slot);
        at.next(slots);
      }
    }
  }

  // --- the thread that fetches residuals, to where the results will be ---

  __device__ __forceinline__ void fetch_residuals() const {
    int tile = static_cast<int>(blockIdx.x), turn = 0;
    int row_of_tile = kept(first_row(tile)), channel = kept(first_channel(tile));
    wait_for_earlier();
    uint32_t parity[kPipelineGroups] = {1, 1};
    while (tile < tiles) {
#pragma unroll
      for (int group = 0; group < kPipelineGroups; ++group) {
        if (!Tile::kShared && group != (turn & 1)) continue;
        barrier_wait(result_free + 8 * group, parity[group]);
        parity[group] ^= 1;
        barrier_expect(residual_full + 8 * group, Tile::kResultBytes);
        const int row = row_of_tile + (Tile::kShared ? group * Tile::kGroupRows : 0);
        for (int box = 0; box < Tile::kColumns / 64; ++box) {
          copy_box(result(group) + box * Tile::kBoxBytes, &maps.residual, channel + box * 64, row,
                   residual_full + 8 * group);
        }
      }
      tile += static_cast<int>(gridDim.x);
      ++turn;
      row_of_tile = first_row(tile);
      channel = first_channel(tile);
    }
  }

  // --- the groups that multiply ---

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Sums = float[Tile::kM][Tile::kN][4];

  __device__ __forceinline__ void start_with_bias(Sums& sums, int channel) const {
    const int lane = static_cast<int>(threadIdx.x) & 31;
#pragma unroll
    for (int j = 0; j < Tile::kN; ++j) {
      float2 bias = make_float2(0, 0);
      if (p.epilogue.bias != nullptr) {
        bias = __ldg(reinterpret_cast<const float2*>(p.epilogue.bias + channel + j * 8 + (lane & 3) * 2));
      }
#pragma unroll
      for (int i = 0; i < Tile::kM; ++i) {
        sums[i][j][0] = sums[i][j][2] = bias.x;
        sums[i][j][1] = sums[i][j][3] = bias.y;
      }
    }
  }

  __device__ __forceinline__ void release(int slot) const {
    if ((threadIdx.x & 31) == 0) barrier_arrive(empty + 8 * slot);
  }

  // `last_wait` is called when the last chunk has arrived.
  template <class Function>
  __device__ __forceinline__ void multiply(Sums& sums, RingPlace& at, int group, int chunks, int slots,
                                           Function last_wait) const {
    int before = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      barrier_wait(full + 8 * at.slot, at.parity);
      const uint64_t a = tile_descriptor(pixels(at.slot) + (Tile::kShared ? group * Tile::kGroupRows * 128 : 0));
      const uint64_t b = tile_descriptor(weights(at.slot));
      group_fence();
#pragma unroll
      for (int q = 0; q < 4; ++q) {
#pragma unroll
        for (int i = 0; i < Tile::kM; ++i)
          GroupMultiply<Tile::kColumns, T>::run(sums[i], a + i * 512 + q * 2, b + q * 2);
      }
      group_commit();
      if (chunk == chunks - 1) last_wait();
      group_wait<1>();  // the products of the chunk before are done
      if (chunk > 0) release(before);
      before = at.slot;
      at.next(slots);
    }
    group_wait<0>();
    release(before);
  }

  // Residual and clamp; sums become results in shared memory.
  __device__ __forceinline__ void finish(const Sums& sums, uint32_t to, bool add, const PairClamp<T>& clamp) const {
    const int thread = static_cast<int>(threadIdx.x), lane = thread & 31;
    const int row = ((thread >> 5) & 3) * 16 + (lane & 15);
#pragma unroll
    for (int i = 0; i < Tile::kM; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kN; j += 2) {
        const int piece = (j & 7) + (lane >> 4);
        const uint32_t at = to + (j >> 3) * Tile::kBoxBytes + (i * 64 + row) * 128 + ((piece ^ (row & 7)) << 4);
        float f[8] = {sums[i][j][0],     sums[i][j][1],     sums[i][j][2],     sums[i][j][3],
                      sums[i][j + 1][0], sums[i][j + 1][1], sums[i][j + 1][2], sums[i][j + 1][3]};
        uint32_t bits[4];
        if (add) {
          load_matrices(bits, at);
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            const float2 both = pair_at<T>(bits[k]);
            f[2 * k] += both.x;
            f[2 * k + 1] += both.y;
          }
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const Pair<T> both = clamp(f[2 * k], f[2 * k + 1]);
          bits[k] = reinterpret_cast<const uint32_t&>(both);
        }
        store_matrices(at, bits);
      }
    }
  }

  __device__ __forceinline__ void compute() const {
    const int group = static_cast<int>(threadIdx.x) >> 7;
    const bool stores = (threadIdx.x & 127) == 0;
    const int chunks = kept(p.chunks), slots = kept(p.stages), rows = kept(p.rows), channels = kept(p.channels);
    const int turns = chunks / slots, rest = chunks % slots;
    const bool add = kept(p.epilogue.residual != nullptr) != 0;
    const PairClamp<T> clamp(p.epilogue);
    uint32_t residual_parity = 0;
    RingPlace at;
    int turn = 0;
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x), ++turn) {
      if (!Tile::kShared && (turn & 1) != group) {
        at.skip(slots, turns, rest);
        continue;
      }
      Sums sums;
      const int row = kept(first_row(tile) + (Tile::kShared ? group * Tile::kGroupRows : 0));
      const int column = kept(first_channel(tile));
      start_with_bias(sums, column);
      // Parities tell a turn of the ring from the one before only: a group waits at the barriers for its chunks after
      // the other has seen those before.
      if (!Tile::kShared && turn > 0) sync_threads_of(kTurnBarrier + group, 256);
      multiply(sums, at, group, chunks, slots, [&] {
        if (!Tile::kShared && tile + static_cast<int>(gridDim.x) < tiles) {
          arrive_for_threads_of(kTurnBarrier + (group ^ 1), 256);
        }
      });
      if (add) {
        barrier_wait(residual_full + 8 * group, residual_parity);
        residual_parity ^= 1;
      } else {
        if (stores) stores_wait_read();
        sync_threads_of(kGroupBarrier + group, 128);
      }
      finish(sums, result(group), add, clamp);
      fence_for_copies();
      sync_threads_of(kGroupBarrier + group, 128);
      if (!stores) continue;
      for (int box = 0; box < Tile::kColumns / 64; ++box) {
        const int channel = column + box * 64;
        if (channel < channels && row < rows) {
          const int part = divide(channel, p.part_channels);
          store_box(&maps.results[part], channel - part * static_cast<int>(p.part_channels.divisor), row,
                    result(group) + box * Tile::kBoxBytes);
        }
      }
      stores_commit();
      if (add) {
        stores_wait_read();
        barrier_arrive(result_free + 8 * group);
      }
    }
    if (stores) stores_wait_read();  // that they are done is part of the end of the launch
  }
#endif
};

template <class Tile>
__global__ void __launch_bounds__(kPipelineThreads, Tile::kBlocks)
    conv_pipeline_kernel(const __grid_constant__ PipelineMaps maps, const __grid_constant__ ConvParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[2 * kPipelineStages + 2 * kPipelineGroups];
  const uint32_t barrier = shared_address(barriers), stages = shared_address(memory);
  const uint32_t empty = barrier + 8 * kPipelineStages, residual_full = empty + 8 * kPipelineStages;
  const Pipeline<Tile> pipeline{maps,         p,     stages,        stages + kept(p.stages * Tile::kStageBytes),
                                barrier,      empty, residual_full, residual_full + 8 * kPipelineGroups,
                                kept(p.tiles)};
  if (threadIdx.x == 0) {
    prefetch_map(&maps.pixels.image);
    prefetch_map(&maps.results[0]);
    for (int s = 0; s < p.stages; ++s) {
      barrier_init(barrier + 8 * s, 1);
      barrier_init(empty + 8 * s, 4 * (Tile::kShared ? kPipelineGroups : 1));
    }
    for (int s = 0; s < 2 * kPipelineGroups; ++s) barrier_init(residual_full + 8 * s, 1);
    barrier_init_fence();
  }
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x) >> 5, lane = threadIdx.x & 31;
  if (warp < 4 * kPipelineGroups) {
    pipeline.compute();
  } else if (warp == 4 * kPipelineGroups) {
    if (lane == 0) pipeline.fill_stages();
  } else if (lane == 0 && p.epilogue.residual != nullptr) {
    pipeline.fetch_residuals();
  }
#endif
}

}  // namespace blade::backends::cuda
