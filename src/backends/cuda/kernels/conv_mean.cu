// A convolution of few pixels and their mean (9.0): a block holds all pixels of its channels, so that what a network's
// head averages never exists. All chunks of its depth are loaded at once.
#include "backends/cuda/kernels/conv_plain.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

template <class T, int kColumns, int kWarpsK>
using MeanTile = PlainTile<T, kMeanRows, kColumns, kWarpsK>;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// What follows the products, in registers before the wait.
template <class T>
struct MeanPlaces {
  int rows, channels;
  float lo, hi;
  T* y;
  const T* residual;

  __device__ __forceinline__ explicit MeanPlaces(const ConvParams& p)
      : rows(pinned(p.rows)),
        channels(pinned(p.channels)),
        lo(pinned(p.epilogue.has_clamp ? p.epilogue.lo : -INFINITY)),
        hi(pinned(p.epilogue.has_clamp ? p.epilogue.hi : INFINITY)),
        y(pinned(static_cast<T*>(p.y))),
        residual(pinned(static_cast<const T*>(p.epilogue.residual))) {}
};

// Finished results of one thread's eight channels, added up over its rows.
template <class Tile>
__device__ __forceinline__ void add_rows(const MeanPlaces<typename Tile::Element>& at, const float* exchange,
                                         const float4 (&bias)[2],
                                         const ResidualVector<typename Tile::Element> (&residual)[Tile::kVectors],
                                         float (&total)[8]) {
  constexpr int kAcross = Tile::kColumns / 8;
#pragma unroll
  for (int i = 0; i < Tile::kVectors; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * Tile::kThreads, row = v / kAcross;
    if (row >= at.rows) break;
    float f[8] = {};
#pragma unroll
    for (int w = 0; w < Tile::kWarpsK; ++w) {
      const float* from = exchange + (w * Tile::kRows + row) * Tile::kSumPitch + v % kAcross * 8;
#pragma unroll
      for (int c = 0; c < 8; ++c) f[c] += from[c];
    }
    residual[i].add_to(f);
    const float* b = reinterpret_cast<const float*>(bias);
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      f[c] += b[c];
      f[c] = f[c] != f[c] ? f[c] : fminf(fmaxf(f[c], at.lo), at.hi);
    }
#pragma unroll
    for (int c = 0; c < 8; ++c) total[c] += f[c];
  }
}

// The threads' totals of all rows to memory, divided by their number. `parts`: kThreads / 32 rows of kColumns floats.
template <class Tile>
__device__ __forceinline__ void store_mean(const MeanPlaces<typename Tile::Element>& at, float (&total)[8],
                                           float* parts, int first_channel) {
  constexpr int kAcross = Tile::kColumns / 8;
  const int thread = static_cast<int>(threadIdx.x), lane = thread & 31;
#pragma unroll
  for (int d = 16; d >= kAcross; d >>= 1) {
#pragma unroll
    for (int c = 0; c < 8; ++c) total[c] += __shfl_xor_sync(~0u, total[c], d);
  }
  if (lane < kAcross) {
#pragma unroll
    for (int c = 0; c < 8; ++c) parts[thread / 32 * Tile::kColumns + lane * 8 + c] = total[c];
  }
  __syncthreads();
  if (thread >= Tile::kColumns || first_channel + thread >= at.channels) return;
  float sum = 0;
#pragma unroll
  for (int w = 0; w < Tile::kThreads / 32; ++w) sum += parts[w * Tile::kColumns + thread];
  at.y[first_channel + thread] = from_float<typename Tile::Element>(sum / static_cast<float>(at.rows));
}

#endif

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    conv_mean_kernel(const __grid_constant__ PixelMaps maps, const __grid_constant__ ConvParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using T = typename Tile::Element;
  extern __shared__ __align__(1024) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[kMostMeanChunks];
  __shared__ float parts[Tile::kThreads / 32 * Tile::kColumns];
  constexpr int kAcross = Tile::kColumns / 8, kWarps = Tile::kThreads / 32;
  const int thread = static_cast<int>(threadIdx.x), warp = __shfl_sync(~0u, thread >> 5, 0);
  const PlainBlock<Tile, 0> block(p.column_tiles, p.chunks);
  const int first_channel = block.first_channel, chunks = block.pieces;
  const uint32_t stages = shared_address(memory), barrier = shared_address(barriers);
  if (thread == 0) {
    prefetch_map(&maps.image);
    begin_block<Tile, false>(barrier, 0, chunks, Tile::kStageBytes, [&](int k) {
      copy_bulk(stages + k * Tile::kStageBytes + Tile::kRows * 128, weights_at(p, k, first_channel),
                Tile::kColumns * 128, barrier + 8 * k);
    });
  }
  const WarpPlace<Tile> place;
  float4 bias[2] = {};
  if (p.epilogue.bias != nullptr) {
    const float* from = p.epilogue.bias + first_channel + thread % kAcross * 8;
    bias[0] = __ldg(reinterpret_cast<const float4*>(from));
    bias[1] = __ldg(reinterpret_cast<const float4*>(from) + 1);
  }
  const Requests<PixelRequest, kMostMeanChunks / kWarps, kWarps> requests(warp, chunks, [&](PixelRequest& own, int k) {
    own.prepare(p, maps, 0, k, stages + k * Tile::kStageBytes, barrier + 8 * k);
  });
  const MeanPlaces<T> places(p);
  float sums[Tile::kM][Tile::kN][4] = {};
  wait_for_all<false>();
  requests.make(warp, chunks);
  ResidualVector<T> residual[Tile::kVectors];
#pragma unroll
  for (int i = 0; i < Tile::kVectors; ++i) {
    const int v = thread + i * Tile::kThreads, channel = first_channel + v % kAcross * 8;
    if (places.residual != nullptr && v / kAcross < places.rows && channel < places.channels) {
      const T* from = places.residual + v / kAcross * places.channels + channel;
      residual[i].bits[0] = __ldcg(reinterpret_cast<const uint4*>(from));
    }
  }
  uint64_t pixels = group_pixels(place, stages), weights = group_weights(place, stages + Tile::kRows * 128);
  for (int k = 0; k < chunks; ++k) {
    barrier_wait(barrier + 8 * k, 0);
    multiply_chunk<Tile>(sums, pixels, weights);
    pixels += Tile::kStageBytes / 16;
    weights += Tile::kStageBytes / 16;
  }
  group_wait<0>();
  __syncthreads();  // all chunks have been read: sums take their place
  float* exchange = reinterpret_cast<float*>(memory);
  store_sums<Tile>(place, sums, exchange);
  __syncthreads();
  float total[8] = {};
  add_rows<Tile>(places, exchange, bias, residual, total);
  store_mean<Tile>(places, total, parts, first_channel);
#endif
}

template <int kColumns, int kWarpsK>
MeanVariant variant() {
  using Tile = MeanTile<__half, kColumns, kWarpsK>;
  return {kColumns, Tile::kThreads, Tile::kStageBytes, Tile::kSumBytes, half_forms([&]<class T>() {
            return reinterpret_cast<const void*>(&conv_mean_kernel<MeanTile<T, kColumns, kWarpsK>>);
          })};
}

}  // namespace

std::span<const MeanVariant, 3> mean_variants() {
  static const MeanVariant variants[] = {variant<16, 1>(), variant<16, 2>(), variant<32, 2>()};
  return variants;
}

}  // namespace blade::backends::cuda
