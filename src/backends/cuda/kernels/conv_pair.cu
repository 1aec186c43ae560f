// Two 1x1 convolutions, the second of the first one's results, which are kept (9.0), by the short path: each block of a
// cluster computes some of the first one's channels for the same pixels, multiplies them by their part of the second
// one's depth, and the cluster adds up what comes out.
#include <algorithm>

#include "backends/cuda/kernels/conv_plain.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {

// kGroups groups of warps compute kColumns channels of the first convolution.
template <class T, int kColumns, int kGroups>
using PairTile = PlainTile<T, kPairRows, kColumns, kGroups * 64 / kColumns>;

// How a block is cut. kChannels: of the second convolution.
template <class Tile_, int kCluster_, int kChannels_>
struct PairShape {
  using Tile = Tile_;
  static constexpr int kCluster = kCluster_, kChannels = kChannels_;
  static constexpr int kWarps = Tile::kThreads / 32, kGroups = kWarps / 4;
  static constexpr int kDepth = Tile::kColumns / 64;  // chunks of the second depth, of a block
  static constexpr int kOwn = kChannels / kCluster;   // channels of the second that a block finishes
  // Blocks of 64 channels of the second: some for each group, or groups that share one divide its depth.
  static constexpr int kBlocks = kChannels / 64;
  static constexpr int kShare = kBlocks < kGroups ? kGroups / kBlocks : 1;
  static constexpr int kEach = kBlocks < kGroups ? 1 : kBlocks / kGroups, kEachDepth = kDepth / kShare;
  static constexpr int kPitch = kChannels + 4;  // floats, in the exchange of the second sums
  // A block's shared memory: chunks of the first depth, in whose place sums and then the second one's pixels come; the
  // second one's weights; sums of the cluster's blocks.
  static constexpr int kSumBytes = std::max(Tile::kSumBytes, kShare* kPairRows* kPitch * 4);
  static constexpr int kPixelsAt = (kSumBytes + 1023) / 1024 * 1024;
  static constexpr int kKeptBytes = kPixelsAt + kDepth * kPairRows * 128;
  static constexpr int kWeightBytes = kDepth * kChannels * 128;
  static constexpr int kQuads = (kPairRows * kOwn / 4 + Tile::kThreads - 1) / Tile::kThreads;  // that a thread finishes
  static_assert(kDepth % kShare == 0 && kChannels % (64 * kGroups / kShare) == 0);
};

namespace {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Finished results of the first convolution, to memory and to shared memory as the second one's pixels.
template <class Tile>
__device__ __forceinline__ void pass_on(const Quads<Tile, 1, false>& quads, const float* sums, uint8_t* pixels) {
  constexpr int kAcross = Tile::kColumns / 4;
#pragma unroll
  for (int i = 0; i < quads.kCount; ++i) {
    const int number = quads.number(i), row = number / kAcross, quad = number % kAcross;
    const uint2 out = quads.template result<Tile::kWarpsK>(i, sums, Tile::kSumPitch, Tile::kRows * Tile::kSumPitch);
    uint8_t* chunk = pixels + quad / 16 * kPairRows * 128;
    *reinterpret_cast<uint2*>(chunk + row * 128 + ((quad % 16 / 2) ^ (row & 7)) * 16 + quad % 2 * 8) = out;
    if (quads.places[i] >= 0) *reinterpret_cast<uint2*>(quads.y + quads.places[i]) = out;
  }
}

// Four neighbouring results of the second convolution, of those that a thread finishes.
template <class Shape>
struct SecondQuads {
  using T = typename Shape::Tile::Element;
  static constexpr int kAcross = Shape::kOwn / 4;
  int places[Shape::kQuads];
  float4 bias;
  T* y;
  PairClamp<T> clamp;

  __device__ __forceinline__ SecondQuads(const ConvParams& p, int first_row, int rank)
      : bias(make_float4(0, 0, 0, 0)), y(pinned(static_cast<T*>(p.y))), clamp(p.epilogue) {
    const int channel = rank * Shape::kOwn + static_cast<int>(threadIdx.x) % kAcross * 4;
    if (p.epilogue.bias != nullptr) bias = __ldg(reinterpret_cast<const float4*>(p.epilogue.bias + channel));
#pragma unroll
    for (int i = 0; i < Shape::kQuads; ++i) {
      const int row = number(i) / kAcross;
      places[i] = row < kPairRows && first_row + row < p.rows ? (first_row + row) * p.channels + channel : -1;
      keep(places[i]);
    }
  }
  static __device__ __forceinline__ int number(int i) {
    return static_cast<int>(threadIdx.x) + i * Shape::Tile::kThreads;
  }
  template <int kParts>
  __device__ __forceinline__ void store(const float* sums, int pitch, int step) const {
#pragma unroll
    for (int i = 0; i < Shape::kQuads; ++i) {
      if (places[i] < 0) continue;
      float4 sum = bias;
      add_quads<kParts>(sum, sums + number(i) / kAcross * pitch + number(i) % kAcross * 4, step);
      uint2 out;
      reinterpret_cast<Pair<T>&>(out.x) = clamp(sum.x, sum.y);
      reinterpret_cast<Pair<T>&>(out.y) = clamp(sum.z, sum.w);
      *reinterpret_cast<uint2*>(y + places[i]) = out;
    }
  }
};

// The second product of a block's part of its depth, to the exchange: rows of kPitch floats.
template <class Shape>
__device__ __forceinline__ void multiply_second(uint32_t pixels, uint32_t weights, float* exchange) {
  using Tile = typename Shape::Tile;
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) >> 5, 0), lane = static_cast<int>(threadIdx.x) & 31;
  const int group = warp >> 2, share = group % Shape::kShare, first_block = group / Shape::kShare * Shape::kEach;
  float sums[Shape::kEach][Tile::kN][4] = {};
  group_fence();
#pragma unroll
  for (int k = 0; k < Shape::kEachDepth; ++k) {
    const int chunk = share * Shape::kEachDepth + k;
    const uint64_t own_pixels = tile_descriptor(pixels + chunk * kPairRows * 128);
    const uint64_t own_weights = tile_descriptor(weights + (chunk * Shape::kChannels + first_block * 64) * 128);
#pragma unroll
    for (int i = 0; i < Shape::kEach; ++i) {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        GroupMultiply<kPairRows, typename Tile::Element>::run(sums[i], own_weights + i * 64 * 128 / 16 + q * 2,
                                                              own_pixels + q * 2);
      }
    }
  }
  group_commit();
  group_wait<0>();
#pragma unroll
  for (int i = 0; i < Shape::kEach; ++i) {
    const int channel = (first_block + i) * 64 + (warp & 3) * 16 + (lane >> 2);
#pragma unroll
    for (int j = 0; j < Tile::kN; ++j) {
      float* to = exchange + (share * kPairRows + j * 8 + (lane & 3) * 2) * Shape::kPitch + channel;
      to[0] = sums[i][j][0];
      to[Shape::kPitch] = sums[i][j][1];
      to[8] = sums[i][j][2];
      to[Shape::kPitch + 8] = sums[i][j][3];
    }
  }
}

// A block's sums of the second convolution to the blocks that finish them. What a warp sends at once is for one block.
template <class Shape>
__device__ __forceinline__ void send_second(const float* exchange, uint32_t inbox, uint32_t sums_barrier, int rank) {
  constexpr int kAcross = Shape::kOwn / 4, kRowsAtOnce = 32 / kAcross, kPieces = kPairRows / kRowsAtOnce;
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) >> 5;
  // Of 16 channels, eight neighbouring lanes read rows that are four apart: other banks.
  const int own_row = kAcross == 4 ? (lane >> 3) + (lane >> 2 & 1) * 4 : lane / kAcross;
#pragma unroll
  for (int i = 0; i < Shape::kCluster * kPieces / Shape::kWarps; ++i) {
    const int piece = warp + i * Shape::kWarps, to = (piece / kPieces + rank) % Shape::kCluster;
    const int row = piece % kPieces * kRowsAtOnce + own_row, channel = lane % kAcross * 4;
    float4 sum = make_float4(0, 0, 0, 0);
    add_quads<Shape::kShare>(sum, exchange + row * Shape::kPitch + to * Shape::kOwn + channel,
                             kPairRows * Shape::kPitch);
    store_remote(remote_address(inbox + ((rank * kPairRows + row) * Shape::kOwn + channel) * 4, to), sum,
                 remote_address(sums_barrier, to));
  }
}

#endif

template <class Shape>
__global__ void __launch_bounds__(Shape::Tile::kThreads)
    conv_pair_kernel(const __grid_constant__ PixelMaps maps, const __grid_constant__ ConvParams p,
                     const __grid_constant__ ConvParams then) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Tile = typename Shape::Tile;
  constexpr bool kSplit = Shape::kCluster > 1;
  constexpr int kRows = Tile::kRows;
  extern __shared__ __align__(1024) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[kMostPairChunks + 2];
  const int thread = static_cast<int>(threadIdx.x), warp = __shfl_sync(~0u, thread >> 5, 0);
  const int rank = static_cast<int>(blockIdx.x) % Shape::kCluster;
  const int first_row = static_cast<int>(blockIdx.x) / Shape::kCluster * kRows;
  const int first_channel = rank * Tile::kColumns, chunks = pinned(p.chunks);
  const int weights_from = pinned(max(Shape::kKeptBytes, chunks * Tile::kStageBytes));

  const uint32_t stages = shared_address(memory), barrier = shared_address(barriers);
  const uint32_t weights_barrier = barrier + 8 * kMostPairChunks, sums_barrier = weights_barrier + 8;
  if (thread == 0) {
    prefetch_map(&maps.image);
    if (p.own_chunks < p.chunks) prefetch_map(&maps.addend);
    barrier_init(weights_barrier, 1);
    barrier_init(sums_barrier, 1);
    for (int s = 0; s < chunks; ++s) barrier_init(barrier + 8 * s, 1);
    barrier_init_fence();
    if (kSplit) barrier_expect(sums_barrier, kRows * Shape::kChannels * 4);
    for (int s = 0; s < chunks; ++s) {
      barrier_expect(barrier + 8 * s, Tile::kStageBytes);
      copy_bulk(stages + s * Tile::kStageBytes + kRows * 128, weights_at(p, s, first_channel), Tile::kColumns * 128,
                barrier + 8 * s);
    }
    barrier_expect(weights_barrier, Shape::kWeightBytes);
    for (int k = 0; k < Shape::kDepth; ++k) {
      copy_bulk(stages + weights_from + k * Shape::kChannels * 128, weights_at(then, rank * Shape::kDepth + k, 0),
                Shape::kChannels * 128, weights_barrier);
    }
    start_later();
  }
  if (kSplit) {
    __syncwarp();
    cluster_arrive();
  }
  const Requests<PixelRequest, (kMostPairChunks + Shape::kWarps - 1) / Shape::kWarps, Shape::kWarps> requests(
      warp, chunks, [&](PixelRequest& own, int s) {
        own.prepare(p, maps, first_row, s, stages + s * Tile::kStageBytes, barrier + 8 * s);
      });
  const WarpPlace<Tile> place;
  const auto row_of = [&](int own_row) { return first_row + own_row < p.rows ? first_row + own_row : -1; };
  Quads<Tile, 1, false> quads(p, row_of, first_channel);
  const SecondQuads<Shape> second(then, first_row, rank);
  float* exchange = reinterpret_cast<float*>(memory);
  const float* inbox = reinterpret_cast<const float*>(memory + weights_from + Shape::kWeightBytes);
  float sums[Tile::kM][Tile::kN][4] = {};
  wait_for_all<kSplit>();
  requests.make(warp, chunks);
  quads.load_residuals();
  uint64_t pixels = group_pixels(place, stages), weights = group_weights(place, stages + kRows * 128);
#pragma unroll 1
  for (int k = 0; k < chunks; ++k) {
    barrier_wait(barrier + 8 * k, 0);
    multiply_chunk<Tile>(sums, pixels, weights);
    pixels += Tile::kStageBytes / 16;
    weights += Tile::kStageBytes / 16;
  }
  group_wait<0>();
  __syncthreads();  // all chunks have been read: sums take their place
  store_sums<Tile>(place, sums, exchange);
  __syncthreads();
  pass_on(quads, exchange, memory + Shape::kPixelsAt);
  fence_for_copies();
  __syncthreads();
  barrier_wait(weights_barrier, 0);
  multiply_second<Shape>(stages + Shape::kPixelsAt, stages + weights_from, exchange);
  __syncthreads();
  if constexpr (kSplit) {
    send_second<Shape>(exchange, shared_address(inbox), sums_barrier, rank);
    barrier_wait(sums_barrier, 0);
    second.template store<Shape::kCluster>(inbox, Shape::kOwn, kRows * Shape::kOwn);
  } else {
    second.template store<Shape::kShare>(exchange, Shape::kPitch, kRows * Shape::kPitch);
  }
#endif
}

template <int kCluster, int kColumns, int kGroups, int kChannels>
PairVariant variant() {
  using Shape = PairShape<PairTile<__half, kColumns, kGroups>, kCluster, kChannels>;
  return {kCluster,
          kColumns,
          kChannels,
          Shape::Tile::kThreads,
          Shape::Tile::kStageBytes,
          Shape::kKeptBytes,
          Shape::kWeightBytes + (kCluster > 1 ? kPairRows * kChannels * 4 : 0),
          half_forms([&]<class T>() {
            return reinterpret_cast<const void*>(
                &conv_pair_kernel<PairShape<PairTile<T, kColumns, kGroups>, kCluster, kChannels>>);
          })};
}

}  // namespace

std::span<const PairVariant, 7> pair_variants() {
  static const PairVariant variants[] = {variant<1, 256, 4, 64>(), variant<1, 256, 4, 128>(), variant<4, 128, 2, 128>(),
                                         variant<8, 64, 2, 128>(), variant<4, 128, 2, 256>(), variant<8, 64, 2, 256>(),
                                         variant<16, 64, 2, 256>()};
  return variants;
}

}  // namespace blade::backends::cuda
