// Tiles for little work (9.0): all of a block's depth is asked for at once, results are plain (bias, residual, clamp),
// and what follows the wait for the layer before is short, straight, and reads no parameters: at batch 1 a layer takes
// what its instructions and parameters take to arrive, not what they compute.
#define BLADE_CONV_GROUPS
#include "backends/cuda/kernels/conv_finish.cuh"
#include "backends/cuda/kernels/conv_variants.h"
#include "backends/cuda/kernels/tensor_rows.cuh"

namespace blade::backends::cuda {
namespace {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A value that all lanes have, in registers from here on: keep() alone does not stop the assembler from reading a
// parameter again where it is used.
__device__ __forceinline__ int pinned(int value) { return __shfl_sync(~0u, value, 0); }
__device__ __forceinline__ float pinned(float value) { return __shfl_sync(~0u, value, 0); }
template <class T>
__device__ __forceinline__ T* pinned(T* value) {
  return reinterpret_cast<T*>(__shfl_sync(~0u, reinterpret_cast<uint64_t>(value), 0));
}

// One request for a chunk of pixels, ready to be made.
struct PixelRequest {
  const TensorMap* map;
  int channel, x, y, image, offset_x, offset_y;
  uint32_t to, barrier;

  __device__ __forceinline__ void prepare(const ConvParams& p, const PixelMaps& maps, int first_row, int chunk,
                                          uint32_t target, uint32_t signal) {
    const TensorRows rows(p, maps, first_row, chunk);
    map = rows.map;
    channel = kept(rows.channel);
    x = kept(rows.x);
    y = kept(rows.y);
    image = kept(rows.image);
    offset_x = kept(rows.tap_x * rows.dilation_w);
    offset_y = kept(rows.tap_y * rows.dilation_h);
    to = target;
    barrier = signal;
    keep(map);
  }
  __device__ __forceinline__ void make() const {
    copy_pixels(to, map, channel, x, y, image, offset_x, offset_y, barrier);
  }
};

// Four neighbouring results, of those that a thread finishes.
template <class Tile, int kSplit>
struct Quads {
  static constexpr int kAcross = Tile::kColumns / 4, kOwnRows = Tile::kRows / kSplit;
  static constexpr int kCount = (kOwnRows * kAcross + Tile::kThreads - 1) / Tile::kThreads;
  static_assert(Tile::kThreads % kAcross == 0);  // a thread's have the same channels
  int places[kCount];
  float4 bias;
  __half* y;
  const __half* residual;
  HalfClamp clamp;
  uint2 added[kCount] = {};

  __device__ __forceinline__ Quads(const ConvParams& p, int first_row, int first_channel)
      : bias(make_float4(0, 0, 0, 0)),
        y(pinned(static_cast<__half*>(p.y))),
        residual(pinned(static_cast<const __half*>(p.epilogue.residual))),
        clamp(p.epilogue) {
    reinterpret_cast<int&>(clamp.lo) = pinned(reinterpret_cast<int&>(clamp.lo));
    reinterpret_cast<int&>(clamp.hi) = pinned(reinterpret_cast<int&>(clamp.hi));
    const int channel = first_channel + static_cast<int>(threadIdx.x) % kAcross * 4;
    if (p.epilogue.bias != nullptr) bias = __ldg(reinterpret_cast<const float4*>(p.epilogue.bias + channel));
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int own_row = number(i) / kAcross, row = first_row + own_row;
      places[i] = own_row < kOwnRows && row < p.rows && channel < p.channels ? row * p.channels + channel : -1;
      keep(places[i]);
    }
  }
  static __device__ __forceinline__ int number(int i) { return static_cast<int>(threadIdx.x) + i * Tile::kThreads; }

  __device__ __forceinline__ void load_residuals() {
    if (residual == nullptr) return;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (places[i] >= 0) added[i] = __ldcg(reinterpret_cast<const uint2*>(residual + places[i]));
    }
  }

  // Of kParts parts, rows `pitch` floats long, parts `step` floats apart.
  template <int kParts>
  __device__ __forceinline__ void store(const float* sums, int pitch, int step) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (places[i] < 0) continue;
      float4 sum = bias;
      add_quads<kParts>(sum, sums + number(i) / kAcross * pitch + number(i) % kAcross * 4, step);
      const float2 lower = __half22float2(reinterpret_cast<const __half2&>(added[i].x));
      const float2 upper = __half22float2(reinterpret_cast<const __half2&>(added[i].y));
      uint2 out;
      reinterpret_cast<__half2&>(out.x) = clamp(sum.x + lower.x, sum.y + lower.y);
      reinterpret_cast<__half2&>(out.y) = clamp(sum.z + upper.x, sum.w + upper.y);
      *reinterpret_cast<uint2*>(y + places[i]) = out;
    }
  }
};

// Each row's sums, of all groups, to the block that finishes it.
template <class Tile, int kSplit>
__device__ __forceinline__ void send_sums(const float* exchange, uint32_t inbox, uint32_t sums_barrier, int rank) {
  constexpr int kAcross = Tile::kColumns / 4, kOwnRows = Tile::kRows / kSplit;
#pragma unroll
  for (int i = 0; i < Tile::kRows * kAcross / Tile::kThreads; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * Tile::kThreads, row = v / kAcross, column = v % kAcross * 4;
    float4 sum = make_float4(0, 0, 0, 0);
    add_quads<Tile::kWarpsK>(sum, exchange + row * Tile::kSumPitch + column, Tile::kRows * Tile::kSumPitch);
    const uint32_t to = inbox + ((rank * kOwnRows + row % kOwnRows) * Tile::kColumns + column) * 4;
    store_remote(remote_address(to, row / kOwnRows), sum, remote_address(sums_barrier, row / kOwnRows));
  }
}

#endif

template <class Tile, int kSplitLog2>
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
  const int chunks = kept(((p.chunks * (rank + 1)) >> kSplitLog2) - first_chunk);
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
  Quads<Tile, kSplit> quads(p, first_row + rank * (Tile::kRows >> kSplitLog2), first_channel);
  float* exchange = reinterpret_cast<float*>(memory + kept(chunk_bytes));
  float* inbox = exchange + Tile::kSumBytes / 4;
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
        GroupMultiply<Tile::kRows>::run(sums[0], weights + q * kStep, pixels + q * kStep);
      } else {
        GroupMultiply<Tile::kColumns>::run(sums[0], pixels + q * kStep, weights + q * kStep);
      }
    }
    group_commit();
    pixels += Tile::kStageBytes / 16;
    weights += Tile::kStageBytes / 16;
  }
  group_wait<0>();
  store_sums<Tile>(place, sums, exchange);
  __syncthreads();
  if constexpr (kSplit > 1) {
    send_sums<Tile, kSplit>(exchange, shared_address(inbox), sums_barrier, rank);
    barrier_wait(sums_barrier, 0);
    quads.template store<kSplit>(inbox, Tile::kColumns, (Tile::kRows >> kSplitLog2) * Tile::kColumns);
  } else {
    quads.template store<Tile::kWarpsK>(exchange, Tile::kSumPitch, Tile::kRows * Tile::kSumPitch);
  }
#endif
}

template <int kRows, int kColumns, int kWarpsK, int kSplitLog2>
PlainVariant variant() {
  constexpr bool kTurned = kRows < 64;
  using Tile =
      ConvTile<kRows, kColumns, kTurned ? 1 : kRows / 64, kTurned ? kColumns / 64 : 1, kWarpsK, true, false, kTurned>;
  return {kRows,           kColumns,
          kWarpsK,         kSplitLog2,
          Tile::kThreads,  Tile::kStageBytes,
          Tile::kSumBytes, reinterpret_cast<const void*>(&conv_plain_kernel<Tile, kSplitLog2>)};
}

}  // namespace

std::span<const PlainVariant> plain_variants() {
  static const PlainVariant variants[] = {
#define BLADE_PLAIN(rows, columns, warps_k)                                                                         \
  variant<rows, columns, warps_k, 0>(), variant<rows, columns, warps_k, 1>(), variant<rows, columns, warps_k, 2>(), \
      variant<rows, columns, warps_k, 3>()
      BLADE_PLAIN(16, 64, 1), BLADE_PLAIN(32, 64, 1), BLADE_PLAIN(32, 64, 2), BLADE_PLAIN(32, 128, 1),
      BLADE_PLAIN(64, 32, 1), BLADE_PLAIN(64, 32, 2), BLADE_PLAIN(64, 64, 1), BLADE_PLAIN(64, 64, 2),
#undef BLADE_PLAIN
  };
  return variants;
}

}  // namespace blade::backends::cuda
