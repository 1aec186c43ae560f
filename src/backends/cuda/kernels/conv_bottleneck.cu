// A 3x3 convolution and the two 1x1 convolutions behind it, as they stand between the residuals of a ResNet, in one
// launch (9.0), by the short path; all three results are kept. A cluster takes 28 pixels. Each of its blocks multiplies
// 64 input channels under all taps by 64 channels of the 3x3 convolution, whose sums meet and whose results go to all
// blocks; then it computes its part of the wide convolution's channels, which stay in its shared memory as a part of
// the last one's depth, and the blocks add up what comes out. Without the last one it ends there.
//
// The windows' weights pass through shared memory into registers before the wait, so that two blocks find place on an
// SM: a launch fetches its weights while the one before computes.
#include <algorithm>

#include "backends/cuda/kernels/conv_bottleneck.h"
#include "backends/cuda/kernels/conv_plain.cuh"

namespace blade::backends::cuda {

// kSlabs: of 64 channels that the 3x3 convolution reads and gives. A tile is 28 / kColumns rows of kColumns pixels, as
// kPositions positions in rows of kPitch, which is how they lie in the patch. kNarrows: with the last convolution.
template <class Element, int kSlabs_, int kColumns_, bool kNarrows_>
struct BottleneckShape {
  using T = Element;
  static constexpr bool kNarrows = kNarrows_;
  static constexpr int kSlabs = kSlabs_, kColumns = kColumns_, kRows = kBottleneckPixels / kColumns;
  static constexpr int kPositions = 32, kPitch = kPositions / kRows, kTaps = 9;
  static constexpr int kCluster = kSlabs * kSlabs, kThreads = 256, kWarps = 8, kGroups = 2;
  static constexpr int kWide = 256 / kSlabs, kNarrow = 64 * kSlabs;     // channels: wide of a block, narrow of all
  static constexpr int kWideDepth = kSlabs, kNarrowDepth = kWide / 64;  // chunks, of a block
  static constexpr int kOwnPositions = kPositions / kSlabs;             // whose 64 channels a block finishes
  static constexpr int kOwn = kNarrow / kCluster;                       // narrow channels that a block finishes
  // A block's shared memory.
  static constexpr int kWindowWeights = kTaps * 64 * 128, kWeights = 32768;  // of one 1x1 convolution
  static constexpr int kWideAt = 0, kMiddleAt = kWideAt + kWeights, kMiddle = kSlabs * kPositions * 128;
  static constexpr int kNarrowAt = kMiddleAt + kMiddle, kPixelsAt = kNarrowAt + (kNarrows ? kWeights : 0);
  static constexpr int kPatchAt = kPixelsAt + kNarrowDepth * kPositions * 128;
  static constexpr int kPatch = (kRows + 2) * kPitch * 128;
  static constexpr int kWindowPitch = 68, kWindowSums = kGroups * kPositions * kWindowPitch * 4;
  static constexpr int kInboxAt = kPatchAt + kWindowSums, kInbox = kSlabs > 1 ? kPositions * 64 * 4 : 0;
  static constexpr int kLastInbox = kSlabs > 1 && kNarrows ? kBottleneckPixels* kOwn* kCluster * 4 : 0;
  static constexpr int kBarriersAt = std::max(kInboxAt + kInbox, kPatchAt + kLastInbox), kBytes = kBarriersAt + 64;
  static_assert(kPatch <= kWindowSums && kWindowWeights <= kBarriersAt);
};

// 64 channels at a time as the rows of instructions, the tile's positions as their columns: groups of warps take blocks
// of channels, or divide the depth of one.
template <class T, int kChannels_, int kDepth_>
struct TurnedProduct {
  static constexpr int kChannels = kChannels_, kBlocks = kChannels / 64;
  static constexpr int kShare = kBlocks < 2 ? 2 : 1, kEach = kBlocks < 2 ? 1 : kBlocks / 2, kDepth = kDepth_ / kShare;
  static constexpr int kPitch = kChannels + 4, kStep = 32 * kPitch;  // floats, in the exchange of sums
  float sums[kEach][4][4];

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  __device__ __forceinline__ void multiply(uint32_t pixels, uint32_t weights, int group) {
    const int share = group % kShare, first_block = group / kShare * kEach;
#pragma unroll
    for (int i = 0; i < kEach * 16; ++i) (&sums[0][0][0])[i] = 0;
    group_fence();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      const int chunk = share * kDepth + k;
      const uint64_t own_pixels = tile_descriptor(pixels + chunk * 32 * 128);
      const uint64_t own_weights = tile_descriptor(weights + (chunk * kChannels + first_block * 64) * 128);
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int q = 0; q < 4; ++q)
          GroupMultiply<32, T>::run(sums[i], own_weights + i * 64 * 128 / 16 + q * 2, own_pixels + q * 2);
      }
    }
    group_commit();
    group_wait<0>();
  }
#endif
  __device__ __forceinline__ void store(float* exchange, int group) const {
    const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) >> 5;
    const int share = group % kShare, first_block = group / kShare * kEach;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int channel = (first_block + i) * 64 + (warp & 3) * 16 + (lane >> 2);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float* to = exchange + (share * 32 + j * 8 + (lane & 3) * 2) * kPitch + channel;
        to[0] = sums[i][j][0];
        to[kPitch] = sums[i][j][1];
        to[8] = sums[i][j][2];
        to[kPitch + 8] = sums[i][j][3];
      }
    }
  }
};

namespace {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// c[64x32] += a[64x16] * b[16x32] of T by four warps, each of which holds 16 rows of c and, as load_matrices() gives
// them, of a.
template <class T>
__device__ __forceinline__ void group_multiply_held(float (&c)[4][4], const uint32_t (&a)[4], uint64_t b) {
#define BLADE_C4(i) "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
#define BLADE_GROUP_MULTIPLY(type)                                                                            \
  asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32." type "." type                                    \
               " "                                                                                            \
               "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, {%16,%17,%18,%19}, %20, 1, 1, 1, 0;" \
               : BLADE_C4(0), BLADE_C4(1), BLADE_C4(2), BLADE_C4(3)                                           \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    BLADE_GROUP_MULTIPLY("bf16");
  } else {
    BLADE_GROUP_MULTIPLY("f16");
  }
#undef BLADE_GROUP_MULTIPLY
#undef BLADE_C4
}

// Which pixels a cluster takes.
template <class Shape>
struct BottleneckTile {
  int first_x, first_y, image, height, width;
  bool is_spare;  // it takes none: it keeps blocks of its launch from its SMs

  __device__ __forceinline__ explicit BottleneckTile(const ConvParams& p)
      : height(pinned(p.height)), width(pinned(p.width)) {
    const int across = width / Shape::kColumns, down = (height + Shape::kRows - 1) / Shape::kRows;
    const int tile = static_cast<int>(blockIdx.x) / Shape::kCluster, row = tile / across;
    first_x = kept((tile - row * across) * Shape::kColumns);
    image = kept(row / down);
    first_y = kept((row - image * down) * Shape::kRows);
    is_spare = image * height * width >= p.rows;
  }
  // The output pixel at a position, or -1.
  __device__ __forceinline__ int pixel(int position) const {
    const int row = position / Shape::kPitch, column = position % Shape::kPitch;
    if (column >= Shape::kColumns || first_y + row >= height) return -1;
    return (image * height + first_y + row) * width + first_x + column;
  }
  static __device__ __forceinline__ int position_of(int pixel) {
    return Shape::kRows == 1 ? pixel : pixel / Shape::kColumns * Shape::kPitch + pixel % Shape::kColumns;
  }
};

// What becomes of the sums of four neighbouring channels.
template <class T>
struct FinishQuad {
  float4 bias;
  PairClamp<T> clamp;

  __device__ __forceinline__ FinishQuad(const EpilogueParams& e, int channel)
      : bias(make_float4(0, 0, 0, 0)), clamp(e) {
    if (e.bias != nullptr) bias = __ldg(reinterpret_cast<const float4*>(e.bias + channel));
  }
  // Of kParts parts, `step` floats apart.
  template <int kParts>
  __device__ __forceinline__ uint2 run(const float* sums, int step, uint2 added = {0, 0}) const {
    float4 sum = bias;
    add_quads<kParts>(sum, sums, step);
    const float2 lower = pair_at<T>(added.x), upper = pair_at<T>(added.y);
    sum.x += lower.x, sum.y += lower.y, sum.z += upper.x, sum.w += upper.y;
    uint2 out;
    reinterpret_cast<Pair<T>&>(out.x) = clamp(sum.x, sum.y);
    reinterpret_cast<Pair<T>&>(out.y) = clamp(sum.z, sum.w);
    return out;
  }
};

// Those of a convolution that a thread finishes and stores: kAcross quads a row.
template <class Shape, int kAcross, int kCount>
struct StoredQuads {
  using T = typename Shape::T;
  int places[kCount];
  T* y;
  FinishQuad<T> one;

  // PixelOf gives the output pixel of a row of quads, or -1.
  template <class PixelOf>
  __device__ __forceinline__ StoredQuads(const ConvParams& p, int first_channel, const PixelOf& pixel_of)
      : y(pinned(static_cast<T*>(p.y))), one(p.epilogue, first_channel + static_cast<int>(threadIdx.x) % kAcross * 4) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int pixel = pixel_of(number(i) / kAcross);
      places[i] = pixel < 0 ? -1 : pixel * p.channels + first_channel + static_cast<int>(threadIdx.x) % kAcross * 4;
      keep(places[i]);
    }
  }
  static __device__ __forceinline__ int number(int i) { return static_cast<int>(threadIdx.x) + i * Shape::kThreads; }
  template <int kParts>
  __device__ __forceinline__ uint2 finish(int i, const float* sums, int step) const {
    const uint2 out = one.template run<kParts>(sums, step);
    if (places[i] >= 0) *reinterpret_cast<uint2*>(y + places[i]) = out;
    return out;
  }
};

// Where four results stand in a chunk in shared memory.
__device__ __forceinline__ uint2& quad_at(uint8_t* chunk, int row, int quad) {
  return *reinterpret_cast<uint2*>(chunk + row * 128 + ((quad / 2) ^ (row & 7)) * 16 + quad % 2 * 8);
}

// What the last convolution's results need, of those that a thread finishes.
template <class Shape>
struct LastQuads : StoredQuads<Shape, Shape::kOwn / 4,
                               (kBottleneckPixels * Shape::kOwn / 4 + Shape::kThreads - 1) / Shape::kThreads> {
  static constexpr int kAcross = Shape::kOwn / 4;
  static constexpr int kCount = (kBottleneckPixels * kAcross + Shape::kThreads - 1) / Shape::kThreads;

  __device__ __forceinline__ LastQuads(const ConvParams& p, const BottleneckTile<Shape>& tile, int rank)
      : StoredQuads<Shape, kAcross, kCount>(p, rank * Shape::kOwn, [&](int row) {
          return row < kBottleneckPixels ? tile.pixel(tile.position_of(row)) : -1;
        }) {}
};

// The last product, of the wide results that a block has, and its sums.
template <class Shape>
__device__ __forceinline__ void multiply_last(const LastQuads<Shape>& last, uint32_t base, uint8_t* memory, int rank,
                                              uint32_t narrow_barrier, uint32_t last_barrier) {
  constexpr bool kSplit = Shape::kSlabs > 1;
  constexpr int kAcross = LastQuads<Shape>::kAcross, kCount = LastQuads<Shape>::kCount;
  const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, warp = __shfl_sync(~0u, thread >> 5, 0);
  float* sums_at = reinterpret_cast<float*>(memory);
  using Product = TurnedProduct<typename Shape::T, Shape::kNarrow, Shape::kNarrowDepth>;
  Product product;
  barrier_wait(narrow_barrier, 0);
  product.multiply(base + Shape::kPixelsAt, base + Shape::kNarrowAt, warp >> 2);
  product.store(sums_at, warp >> 2);
  __syncthreads();
  if constexpr (kSplit) {
    const uint32_t inbox = base + Shape::kPatchAt;
    // A warp sends to as many blocks as there are for it, one behind the other.
    constexpr int kTo = Shape::kCluster >= Shape::kWarps ? Shape::kCluster / Shape::kWarps : 1;
    constexpr int kWarpsEach = Shape::kCluster >= Shape::kWarps ? 1 : Shape::kWarps / Shape::kCluster;
    constexpr int kQuads = kBottleneckPixels * kAcross, kStride = 32 * kWarpsEach;
#pragma unroll
    for (int i = 0; i < kTo; ++i) {
      const int to = (warp / kWarpsEach * kTo + i + rank) % Shape::kCluster;
#pragma unroll
      for (int first = 0; first < kQuads; first += kStride) {
        const int number = first + warp % kWarpsEach * 32 + lane;
        // Of 16 channels, eight neighbouring lanes read rows that are four apart: other banks.
        int row = number / kAcross;
        if (kAcross == 4 && first + kStride <= kQuads) row = (row & ~7) + (row >> 1 & 3) + (row & 1) * 4;
        if (first + kStride > kQuads && number >= kQuads) continue;
        const int quad = number % kAcross;
        const float* from =
            sums_at + BottleneckTile<Shape>::position_of(row) * Product::kPitch + to * Shape::kOwn + quad * 4;
        float4 sum = make_float4(0, 0, 0, 0);
        add_quads<Product::kShare>(sum, from, Product::kStep);
        store_remote(remote_address(inbox + ((rank * kBottleneckPixels + row) * Shape::kOwn + quad * 4) * 4, to), sum,
                     remote_address(last_barrier, to));
      }
    }
    barrier_wait(last_barrier, 0);
    const float* received = reinterpret_cast<const float*>(memory + Shape::kPatchAt);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (last.places[i] >= 0)
        last.template finish<Shape::kCluster>(i, received + last.number(i) * 4, kBottleneckPixels * Shape::kOwn);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int number = last.number(i);
      if (last.places[i] < 0) continue;
      const float* from =
          sums_at + BottleneckTile<Shape>::position_of(number / kAcross) * Product::kPitch + number % kAcross * 4;
      last.template finish<Product::kShare>(i, from, Product::kStep);
    }
  }
}

// A box of shared memory to an image [image, y, x, channel], by a CUtensorMap in tiled form; nothing outside.
__device__ __forceinline__ void store_patch(const void* map, int channel, int x, int y, int image, uint32_t from) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%1, %2, %3, %4}], [%5];" ::"l"(map),
               "r"(channel), "r"(x), "r"(y), "r"(image), "r"(from)
               : "memory");
}

#endif

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 2)
    conv_bottleneck_kernel(const __grid_constant__ BottleneckMaps maps, const __grid_constant__ ConvParams window,
                           const __grid_constant__ ConvParams wide, const __grid_constant__ ConvParams narrow) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using T = typename Shape::T;
  constexpr int kSlabs = Shape::kSlabs, kPositions = Shape::kPositions, kThreads = Shape::kThreads;
  constexpr bool kSplit = kSlabs > 1;
  extern __shared__ __align__(1024) uint8_t memory[];
  const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, warp = __shfl_sync(~0u, thread >> 5, 0);
  const int group = warp >> 2;
  const int rank = static_cast<int>(blockIdx.x) % Shape::kCluster, slab = rank % kSlabs, part = rank / kSlabs;

  const uint32_t base = shared_address(memory), barrier = base + Shape::kBarriersAt;
  const uint32_t window_barrier = barrier, wide_barrier = barrier + 8, narrow_barrier = barrier + 16;
  const uint32_t patch_barrier = barrier + 24, sums_barrier = barrier + 32, middle_barrier = barrier + 40;
  const uint32_t last_barrier = barrier + 48, residual_barrier = barrier + 56;
  const BottleneckTile<Shape> tile(window);
  if (tile.is_spare) {
    start_later();
    wait_for_earlier();
    return;
  }
  if (thread == 0) {
    prefetch_map(&maps.image);
    prefetch_map(&maps.residual);
    prefetch_map(&maps.wide);
    for (int i = 0; i < 8; ++i) barrier_init(barrier + 8 * i, 1);
    barrier_init_fence();
    barrier_expect(window_barrier, Shape::kWindowWeights);
    for (int tap = 0; tap < Shape::kTaps; ++tap) {
      copy_bulk(base + tap * 64 * 128, weights_at(window, tap * kSlabs + slab, part * 64), 64 * 128, window_barrier);
    }
    barrier_expect(patch_barrier, Shape::kPatch);
    barrier_expect(residual_barrier, Shape::kNarrowDepth * kPositions * 128);
    if (kSplit) {
      barrier_expect(sums_barrier, Shape::kInbox);
      barrier_expect(middle_barrier, Shape::kMiddle - Shape::kOwnPositions * 128);
      if (Shape::kNarrows) barrier_expect(last_barrier, Shape::kLastInbox);
    }
    start_later();
  }
  constexpr int kMiddleQuads = (Shape::kOwnPositions * 16 + kThreads - 1) / kThreads;
  const int first_own = slab * Shape::kOwnPositions;
  StoredQuads<Shape, 16, kMiddleQuads> middle(
      window, part * 64, [&](int row) { return row < Shape::kOwnPositions ? tile.pixel(first_own + row) : -1; });
  const FinishQuad<T> out(wide.epilogue, rank * Shape::kWide + thread % (Shape::kWide / 4) * 4);
  const bool adds = pinned(static_cast<int>(wide.epilogue.residual != nullptr)) != 0;
  const LastQuads<Shape> last(narrow, tile, rank);
  const BottleneckMaps* map = &maps;
  keep(map);

  __syncthreads();
  barrier_wait(window_barrier, 0);
  uint32_t weights[18][4];  // of 16 channels, by halves of a tap's 64 channels of the image
  {
    const int row = (warp & 3) * 16 + (lane & 15);
#pragma unroll
    for (int i = 0; i < 18; ++i) {
      const int step = group * 2 + i % 2;
      load_matrices(weights[i], base + (i / 2 * 64 + row) * 128 + (((step * 2 + (lane >> 4)) ^ (row & 7)) << 4));
    }
  }
  __syncthreads();
  if (thread == 0) {
    fence_for_copies();
    barrier_expect(wide_barrier, Shape::kWeights);
    for (int k = 0; k < Shape::kWideDepth; ++k) {
      copy_bulk(base + Shape::kWideAt + k * Shape::kWide * 128, weights_at(wide, k, rank * Shape::kWide),
                Shape::kWide * 128, wide_barrier);
    }
    if (Shape::kNarrows) barrier_expect(narrow_barrier, Shape::kWeights);
    for (int k = 0; k < Shape::kNarrowDepth && Shape::kNarrows; ++k) {
      copy_bulk(base + Shape::kNarrowAt + k * Shape::kNarrow * 128,
                weights_at(narrow, rank * Shape::kNarrowDepth + k, 0), Shape::kNarrow * 128, narrow_barrier);
    }
  }
  if (kSplit) {
    __syncwarp();
    cluster_arrive();
  }
  wait_for_all<kSplit>();
  if (thread == 0) {
    copy_patch(base + Shape::kPatchAt, &map->image, slab * 64, tile.first_x - 1, tile.first_y - 1, tile.image,
               patch_barrier);
    for (int k = 0; k < Shape::kNarrowDepth && adds; ++k) {
      copy_patch(base + Shape::kPixelsAt + k * kPositions * 128, &map->residual, rank * Shape::kWide + k * 64,
                 tile.first_x, tile.first_y, tile.image, residual_barrier);
    }
  }
  barrier_wait(patch_barrier, 0);
  float* exchange = reinterpret_cast<float*>(memory + Shape::kPatchAt);
  {
    float sums[4][4] = {};
    const uint64_t patch = tile_descriptor(base + Shape::kPatchAt) + group * 4;
    group_fence();
#pragma unroll
    for (int i = 0; i < 18; ++i) {
      const int tap = i / 2;
      group_multiply_held<T>(sums, weights[i], patch + (tap / 3 * Shape::kPitch + tap % 3) * 128 / 16 + i % 2 * 2);
    }
    group_commit();
    group_wait<0>();
    __syncthreads();  // the patch has been read: sums take its place
    const int channel = (warp & 3) * 16 + (lane >> 2);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float* to = exchange + (group * kPositions + j * 8 + (lane & 3) * 2) * Shape::kWindowPitch + channel;
      to[0] = sums[j][0];
      to[Shape::kWindowPitch] = sums[j][1];
      to[8] = sums[j][2];
      to[Shape::kWindowPitch + 8] = sums[j][3];
    }
  }
  __syncthreads();
  uint8_t* middle_chunk = memory + Shape::kMiddleAt + part * kPositions * 128;
  if constexpr (kSplit) {
    const uint32_t inbox = base + Shape::kInboxAt;
#pragma unroll
    for (int i = 0; i < kPositions * 16 / kThreads; ++i) {
      const int v = thread + i * kThreads, row = v / 16, channel = v % 16 * 4;
      const int to = part * kSlabs + row / Shape::kOwnPositions;
      float4 sum = make_float4(0, 0, 0, 0);
      add_quads<2>(sum, exchange + row * Shape::kWindowPitch + channel, kPositions * Shape::kWindowPitch);
      store_remote(
          remote_address(inbox + ((slab * Shape::kOwnPositions + row % Shape::kOwnPositions) * 64 + channel) * 4, to),
          sum, remote_address(sums_barrier, to));
    }
    barrier_wait(sums_barrier, 0);
    const float* received = reinterpret_cast<const float*>(memory + Shape::kInboxAt);
#pragma unroll
    for (int i = 0; i < kMiddleQuads; ++i) {
      const int number = middle.number(i);
      if (number < Shape::kOwnPositions * 16) {
        const uint2 values = middle.template finish<kSlabs>(i, received + number * 4, Shape::kOwnPositions * 64);
        quad_at(middle_chunk, first_own + number / 16, number % 16) = values;
      }
    }
    fence_for_copies();
    __syncthreads();
    constexpr int kPieces = Shape::kOwnPositions * 8;
    const uint32_t at = static_cast<uint32_t>(middle_chunk - memory) + first_own * 128 + thread % kPieces * 16;
    const float4 piece = *reinterpret_cast<const float4*>(memory + at);
#pragma unroll
    for (int i = 0; i < kSlabs; ++i) {
      const int ahead = 1 + thread / kPieces + i * kSlabs, to = (rank + ahead) % Shape::kCluster;
      if (ahead < Shape::kCluster)
        store_remote(remote_address(base + at, to), piece, remote_address(middle_barrier, to));
    }
    barrier_wait(wide_barrier, 0);
    barrier_wait(middle_barrier, 0);
    fence_for_copies();
  } else {
#pragma unroll
    for (int i = 0; i < kMiddleQuads; ++i) {
      const int number = middle.number(i), row = number / 16;
      const uint2 values = middle.template finish<2>(i, exchange + row * Shape::kWindowPitch + number % 16 * 4,
                                                     kPositions * Shape::kWindowPitch);
      quad_at(middle_chunk, row, number % 16) = values;
    }
    fence_for_copies();
    __syncthreads();
    barrier_wait(wide_barrier, 0);
  }

  float* sums_at = reinterpret_cast<float*>(memory);
  {
    using Product = TurnedProduct<T, Shape::kWide, Shape::kWideDepth>;
    Product product;
    product.multiply(base + Shape::kMiddleAt, base + Shape::kWideAt, group);
    __syncthreads();  // sums take the place of weights and pixels
    product.store(sums_at, group);
    __syncthreads();
    if (adds) barrier_wait(residual_barrier, 0);
    constexpr int kAcross = Shape::kWide / 4;
#pragma unroll
    for (int i = 0; i < kPositions * kAcross / kThreads; ++i) {
      const int number = thread + i * kThreads, row = number / kAcross, quad = number % kAcross;
      uint2& values = quad_at(memory + Shape::kPixelsAt + quad / 16 * kPositions * 128, row, quad % 16);
      values = out.template run<Product::kShare>(sums_at + row * Product::kPitch + quad * 4, Product::kStep,
                                                 adds ? values : make_uint2(0, 0));
    }
    fence_for_copies();
    __syncthreads();
    if (thread == 0) {
      for (int k = 0; k < Shape::kNarrowDepth; ++k) {
        for (int row = 0; row < Shape::kRows; ++row) {
          store_patch(&map->wide, rank * Shape::kWide + k * 64, tile.first_x, tile.first_y + row, tile.image,
                      base + Shape::kPixelsAt + (k * kPositions + row * Shape::kPitch) * 128);
        }
      }
      stores_commit();
    }
  }
  if constexpr (Shape::kNarrows) multiply_last(last, base, memory, rank, narrow_barrier, last_barrier);
  if (thread == 0) stores_wait_read();
#endif
}

template <int kSlabs, int kColumns, bool kNarrows>
BottleneckVariant variant() {
  using Shape = BottleneckShape<__half, kSlabs, kColumns, kNarrows>;
  return {
      kSlabs * 64,
      Shape::kCluster,
      kColumns,
      Shape::kRows,
      Shape::kPitch,
      Shape::kThreads,
      Shape::kBytes,
      kNarrows,
      half_forms([&]<class T>() {
        return reinterpret_cast<const void*>(&conv_bottleneck_kernel<BottleneckShape<T, kSlabs, kColumns, kNarrows>>);
      })};
}

}  // namespace

std::span<const BottleneckVariant, 4> bottleneck_variants() {
  static const BottleneckVariant variants[] = {variant<1, 28, true>(), variant<2, 28, true>(), variant<4, 14, true>(),
                                               variant<4, 14, false>()};
  return variants;
}

}  // namespace blade::backends::cuda
