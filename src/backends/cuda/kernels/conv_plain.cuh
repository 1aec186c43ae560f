// Plain results (bias, residual, a curve without operands, clamp) of tiles for little work. What follows the wait for
// the layer before is short and straight and reads no parameters: at batch 1 a layer takes what its instructions and
// parameters take to arrive.
#pragma once

#include "backends/cuda/kernels/conv_finish.cuh"
#include "backends/cuda/kernels/tensor_rows.cuh"

namespace blade::backends::cuda {

// Tiles of less than 64 rows have channels as the rows of their instructions.
template <class T, int kRows, int kColumns, int kWarpsK>
using PlainTile = ConvTile<T, kRows, kColumns, (kRows < 64 ? 1 : kRows / 64), (kRows < 64 ? kColumns / 64 : 1), kWarpsK,
                           true, (kRows < 64)>;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Which tile a block computes, and which of its depth's pieces (chunks, slabs) it sums.
template <class Tile, int kSplitLog2>
struct PlainBlock {
  int row_tile, first_channel, rank, first_piece, pieces;

  __device__ __forceinline__ PlainBlock(const FastDivisor& column_tiles, int all_pieces)
      : rank(static_cast<int>(blockIdx.x) & ((1 << kSplitLog2) - 1)) {
    const int tile = static_cast<int>(blockIdx.x) >> kSplitLog2;
    row_tile = divide(tile, column_tiles);
    first_channel = (tile - row_tile * static_cast<int>(column_tiles.divisor)) * Tile::kColumns;
    first_piece = (all_pieces * rank) >> kSplitLog2;
    pieces = pinned(((all_pieces * (rank + 1)) >> kSplitLog2) - first_piece);
  }
};

// Makes a barrier for each piece, each of which waits for `bytes`, and one for sums behind them where a tile is split,
// asks for weights and lets the next kernel begin. For one thread.
template <class Tile, bool kSplit, class AskForWeights>
__device__ __forceinline__ void begin_block(uint32_t barrier, uint32_t sums_barrier, int pieces, int bytes,
                                            const AskForWeights& ask_for_weights) {
  for (int s = 0; s < pieces; ++s) barrier_init(barrier + 8 * s, 1);
  if (kSplit) barrier_init(sums_barrier, 1);
  barrier_init_fence();
  if (kSplit) barrier_expect(sums_barrier, Tile::kRows * Tile::kColumns * 4);
  for (int s = 0; s < pieces; ++s) {
    barrier_expect(barrier + 8 * s, bytes);
    ask_for_weights(s);
  }
  start_later();
}

// What warps ask for behind the wait, ready before it: each warp for every kWarps-th of `count`.
template <class Request, int kEach, int kWarps>
struct Requests {
  Request own[kEach];

  template <class Prepare>
  __device__ __forceinline__ Requests(int warp, int count, const Prepare& prepare) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (warp + i * kWarps < count) prepare(own[i], warp + i * kWarps);
    }
  }
  __device__ __forceinline__ void make(int warp, int count) const {
    if ((threadIdx.x & 31) != 0) return;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (warp + i * kWarps >= count) return;
      own[i].make();
    }
  }
};

// Where the layer before is done and, of a cluster, all blocks have begun, so that their memory may be written.
template <bool kSplit>
__device__ __forceinline__ void wait_for_all() {
  if (kSplit) cluster_wait();
  __syncthreads();
  wait_for_earlier();
}

// Descriptors of a tile's rows in shared memory: those that this thread's group of warps multiplies.
template <class Tile>
__device__ __forceinline__ uint64_t group_pixels(const WarpPlace<Tile>& place, uint32_t pixels) {
  return tile_descriptor(pixels + place.m * 64 * 128) + place.k * 2;
}
template <class Tile>
__device__ __forceinline__ uint64_t group_weights(const WarpPlace<Tile>& place, uint32_t weights) {
  return tile_descriptor(weights + place.n * 64 * 128) + place.k * 2;
}

// The products of 64 k; they run on.
template <class Tile>
__device__ __forceinline__ void multiply_chunk(float (&sums)[Tile::kM][Tile::kN][4], uint64_t pixels,
                                               uint64_t weights) {
  constexpr int kStep = Tile::kWarpsK * 2;
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
// kMore: with a curve, or columns that are several tensors.
template <class Tile, int kSplit, bool kMore>
struct Quads {
  using T = typename Tile::Element;
  static constexpr int kAcross = Tile::kColumns / 4, kOwnRows = Tile::kRows / kSplit;
  static constexpr int kCount = (kOwnRows * kAcross + Tile::kThreads - 1) / Tile::kThreads;
  static_assert(Tile::kThreads % kAcross == 0);  // a thread's have the same channels
  int places[kCount];
  float4 bias;
  T* y;
  const T* residual;
  EpilogueParams::Activation activation = EpilogueParams::Activation::kNone;
  float slope = 0;
  PairClamp<T> clamp;
  uint2 added[kCount] = {};

  // RowOf gives the output pixel of a row that this block finishes, or -1.
  template <class RowOf>
  __device__ __forceinline__ Quads(const ConvParams& p, const RowOf& row_of, int first_channel)
      : bias(make_float4(0, 0, 0, 0)), residual(pinned(static_cast<const T*>(p.epilogue.residual))), clamp(p.epilogue) {
    int before = 0, channels = p.channels;
    void* to = p.y;
    if constexpr (kMore) {
      activation = static_cast<EpilogueParams::Activation>(pinned(static_cast<int>(p.epilogue.activation)));
      slope = pinned(p.epilogue.slope);
      const int part = divide(first_channel, p.part_channels);
      before = part * static_cast<int>(p.part_channels.divisor);
      channels = min(channels, static_cast<int>(p.part_channels.divisor));
      if (part > 0) to = p.more_y[part - 1];
    }
    y = pinned(static_cast<T*>(to));
    const int channel = first_channel + static_cast<int>(threadIdx.x) % kAcross * 4;
    if (p.epilogue.bias != nullptr) bias = __ldg(reinterpret_cast<const float4*>(p.epilogue.bias + channel));
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int own_row = number(i) / kAcross;
      const int row = own_row < kOwnRows && channel - before < channels ? row_of(own_row) : -1;
      places[i] = row < 0 ? -1 : row * channels + channel - before;
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
  __device__ __forceinline__ uint2 result(int i, const float* sums, int pitch, int step) const {
    float4 sum = bias;
    add_quads<kParts>(sum, sums + number(i) / kAcross * pitch + number(i) % kAcross * 4, step);
    const float2 lower = pair_at<T>(added[i].x), upper = pair_at<T>(added[i].y);
    sum.x += lower.x, sum.y += lower.y, sum.z += upper.x, sum.w += upper.y;
    if constexpr (kMore) {
      if (activation != EpilogueParams::Activation::kNone) sum = activated_four(sum, activation, slope);
    }
    uint2 out;
    reinterpret_cast<Pair<T>&>(out.x) = clamp(sum.x, sum.y);
    reinterpret_cast<Pair<T>&>(out.y) = clamp(sum.z, sum.w);
    return out;
  }
  template <int kParts>
  __device__ __forceinline__ void store(const float* sums, int pitch, int step) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (places[i] >= 0) *reinterpret_cast<uint2*>(y + places[i]) = result<kParts>(i, sums, pitch, step);
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

// What becomes of a block's sums: those of its groups, and of the cluster's blocks, meet in shared memory.
template <class Tile, int kSplit, bool kMore>
__device__ __forceinline__ void finish_plain(const WarpPlace<Tile>& place, const Quads<Tile, kSplit, kMore>& quads,
                                             const float (&sums)[Tile::kM][Tile::kN][4], float* exchange,
                                             uint32_t sums_barrier, int rank) {
  store_sums<Tile>(place, sums, exchange);
  __syncthreads();
  if constexpr (kSplit > 1) {
    const float* inbox = exchange + Tile::kSumBytes / 4;
    send_sums<Tile, kSplit>(exchange, shared_address(inbox), sums_barrier, rank);
    barrier_wait(sums_barrier, 0);
    quads.template store<kSplit>(inbox, Tile::kColumns, Tile::kRows / kSplit * Tile::kColumns);
  } else {
    quads.template store<Tile::kWarpsK>(exchange, Tile::kSumPitch, Tile::kRows * Tile::kSumPitch);
  }
}

#endif

}  // namespace blade::backends::cuda
