// Convolution as an implicit matrix product on tensor cores: fp16, bf16 or fp32 operands, fp32 sums, NHWC.
//
// A block computes kRows output pixels by kColumns channels. Chunks of 64 k (8 pieces of 8 channels) of both operands
// stand in shared memory as rows of 128 bytes whose 16-byte pieces are XORed by row & 7, so that ldmatrix meets no bank
// conflicts. Weights are packed in just this form (one bulk copy a chunk); pixels are gathered by cp.async, zeros where
// a tap lies in the padding. The blocks of a cluster may share the chunks of one tile ("split"); their sums meet in
// shared memory through st.async. Weights are fetched before the wait for the layer before.
#pragma once

#include <type_traits>

#include "backends/cuda/kernels/conv_finish.cuh"
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/tensor_core.cuh"
#include "backends/cuda/kernels/tensor_rows.cuh"

namespace blade::backends::cuda {

inline constexpr int kMaxStages = 16;

// The rows of pixels that a thread copies: always the same piece of a chunk, kThreads / 8 rows apart.
template <class Tile>
struct PixelRows {
  static constexpr int kCount = Tile::kRows * 8 / Tile::kThreads;
  int base[kCount], y[kCount], x[kCount];  // of tap (0, 0): element offset and position; y is far outside if no pixel
  int tap_y, tap_x, piece;                 // of the next chunk's piece
  using Element = typename Tile::Element;
  static constexpr int kPiece = 16 / sizeof(Element);

  __device__ __forceinline__ PixelRows(const ConvParams& p, const PixelMaps&, int first_row, int first_chunk) {
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int row = first_row + (thread >> 3) + i * (Tile::kThreads / 8);
      const int image = divide(row, p.out_pixels), pixel = row - image * static_cast<int>(p.out_pixels.divisor);
      const int out_y = divide(pixel, p.out_width), out_x = pixel - out_y * static_cast<int>(p.out_width.divisor);
      y[i] = row < p.rows ? out_y * p.stride_h - p.pad_top : -(1 << 28);
      x[i] = out_x * p.stride_w - p.pad_left;
      base[i] = ((image * p.height + out_y * p.stride_h - p.pad_top) * p.width + x[i]) * p.in_channels;
    }
    const int first = first_chunk * 8 + (thread & 7);
    const int tap = divide(first, p.tap_pieces);
    piece = first - tap * p.pieces_per_tap;
    tap_y = divide(tap, p.taps_w);
    tap_x = tap - tap_y * p.kernel_w;
  }

  __device__ __forceinline__ void copy_chunk(const ConvParams& p, uint32_t to) {
    const int thread = static_cast<int>(threadIdx.x), row = thread >> 3;
    to += row * 128 + (((thread & 7) ^ (row & 7)) << 4);
    const int dy = tap_y * p.dilation_h, dx = tap_x * p.dilation_w;
    const int offset = (dy * p.width + dx) * p.in_channels + piece * kPiece;
    const bool tap_valid = tap_y < p.kernel_h;
    const Element* from = static_cast<const Element*>(p.x);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const bool valid = tap_valid && static_cast<unsigned>(y[i] + dy) < static_cast<unsigned>(p.height) &&
                         static_cast<unsigned>(x[i] + dx) < static_cast<unsigned>(p.width);
      copy_16(to + i * (Tile::kThreads * 16), valid ? from + base[i] + offset : from, valid);
    }
    piece += 8;
    while (piece >= p.pieces_per_tap) {
      piece -= p.pieces_per_tap;
      if (++tap_x == p.kernel_w) {
        tap_x = 0;
        ++tap_y;
      }
    }
  }
};

// Instead of copies: each thread computes pieces of 8 channels of a depthwise convolution.
template <class Tile>
struct DepthwiseRows {
  using T = typename Tile::Element;
  static constexpr int kCount = Tile::kRows * 8 / Tile::kThreads;
  const DepthwiseInputParams& d;
  int image_row[kCount], y[kCount], x[kCount];  // of tap (0, 0); y is far outside if no pixel
  int channel;                                  // of the next chunk's piece

  __device__ __forceinline__ DepthwiseRows(const ConvParams& p, const DepthwiseInputParams& depthwise, int first_row,
                                           int first_chunk)
      : d(depthwise), channel(first_chunk * 64 + (static_cast<int>(threadIdx.x) & 7) * 8) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int row = first_row + (static_cast<int>(threadIdx.x) >> 3) + i * (Tile::kThreads / 8);
      const int image = divide(row, d.out_pixels), pixel = row - image * static_cast<int>(d.out_pixels.divisor);
      const int out_y = divide(pixel, d.out_width), out_x = pixel - out_y * static_cast<int>(d.out_width.divisor);
      image_row[i] = image * d.height;
      y[i] = row < p.rows ? out_y * d.stride_h - d.pad_top : -(1 << 28);
      x[i] = out_x * d.stride_w - d.pad_left;
    }
  }

  // kSize: the window's where it is square and known, else 0.
  template <int kSize>
  __device__ __forceinline__ void add_taps(const ConvParams& p, int i, float (&sums)[8]) const {
    const int kernel_h = kSize > 0 ? kSize : d.kernel_h, kernel_w = kSize > 0 ? kSize : d.kernel_w;
#pragma unroll(kSize == 3 ? 3 : 1)
    for (int ky = 0; ky < kernel_h; ++ky) {
      const int in_y = y[i] + ky * d.dilation_h;
#pragma unroll
      for (int kx = 0; kx < kernel_w; ++kx) {
        const int in_x = x[i] + kx * d.dilation_w;
        const bool valid = static_cast<unsigned>(in_y) < static_cast<unsigned>(d.height) &&
                           static_cast<unsigned>(in_x) < static_cast<unsigned>(d.width);
        const T* pixel = static_cast<const T*>(p.x) +
                         (static_cast<int64_t>(image_row[i] + in_y) * d.width + in_x) * p.in_channels + channel;
        const T* tap = static_cast<const T*>(d.weights) + (ky * kernel_w + kx) * p.in_channels + channel;
        const uint4 values = valid ? __ldcg(reinterpret_cast<const uint4*>(pixel)) : make_uint4(0, 0, 0, 0);
        const uint4 weights = __ldg(reinterpret_cast<const uint4*>(tap));
        const T *v = reinterpret_cast<const T*>(&values), *w = reinterpret_cast<const T*>(&weights);
#pragma unroll
        for (int c = 0; c < 8; ++c) sums[c] += to_float(v[c]) * to_float(w[c]);
      }
    }
  }

  __device__ __forceinline__ void copy_chunk(const ConvParams& p, uint8_t* to) {
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      float sums[8] = {};
      const bool inside = channel < p.in_channels && y[i] > -(1 << 27);
      if (inside) {
        if (d.kernel_h == 3 && d.kernel_w == 3) {
          add_taps<3>(p, i, sums);
        } else if (d.kernel_h == 5 && d.kernel_w == 5) {
          add_taps<5>(p, i, sums);
        } else {
          add_taps<0>(p, i, sums);
        }
      }
      uint4 packed;
      Pair<T>* pairs = reinterpret_cast<Pair<T>*>(&packed);
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        if (inside && d.bias != nullptr) sums[c] += __ldg(d.bias + channel + c);
        if (d.has_clamp) sums[c] = sums[c] != sums[c] ? sums[c] : fminf(fmaxf(sums[c], d.lo), d.hi);
      }
#pragma unroll
      for (int c = 0; c < 4; ++c) pairs[c] = to_pair<T>(sums[2 * c], sums[2 * c + 1]);
      const int row = (thread >> 3) + i * (Tile::kThreads / 8);
      *reinterpret_cast<uint4*>(to + row * 128 + (((thread & 7) ^ (row & 7)) << 4)) = packed;
    }
    channel += 64;
  }
};

// The warp's share of one chunk, added to sums. Products of warp groups run on after the call, until
// finish_products().
template <class Tile>
struct Multiplier {
  static constexpr int kSteps = 4 / Tile::kWarpsK;
  uint32_t pixel_row, swizzle, half;  // of this lane's row of ldmatrix
  int first_k, column;

  __device__ __forceinline__ explicit Multiplier(const WarpPlace<Tile>& place) : first_k(place.k) {
    const int lane = static_cast<int>(threadIdx.x) & 31, row = place.first_row() + (lane & 15);
    pixel_row = (Tile::kGroups ? place.m * 64 : row) * 128;
    swizzle = row & 7;
    half = lane >> 4;
    column = place.first_column() + (lane & 7) + ((lane >> 4) << 3);
  }

  __device__ __forceinline__ void run(float (&sums)[Tile::kM][Tile::kN][4], uint32_t pixels, uint32_t weights) {
    if constexpr (Tile::kGroups) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
      const uint64_t a = tile_descriptor(pixels + pixel_row) + first_k * 2, b = tile_descriptor(weights) + first_k * 2;
      group_fence();
#pragma unroll
      for (int q = 0; q < kSteps; ++q) {
        GroupMultiply<Tile::kColumns, typename Tile::Element>::run(sums[0], a + q * Tile::kWarpsK * 2,
                                                                   b + q * Tile::kWarpsK * 2);
      }
      group_commit();
#endif
    } else if constexpr (Tile::kFloats) {
      // Tensor cores cut off what they add: a chunk is summed by itself, so that little is lost.
      float chunk_sums[Tile::kM][Tile::kN][4] = {};
      add_products(chunk_sums, pixels, weights);
#pragma unroll
      for (int i = 0; i < Tile::kM * Tile::kN * 4; ++i) (&sums[0][0][0])[i] += (&chunk_sums[0][0][0])[i];
    } else {
      add_products(sums, pixels, weights);
    }
  }

  __device__ __forceinline__ void add_products(float (&sums)[Tile::kM][Tile::kN][4], uint32_t pixels,
                                               uint32_t weights) {
    const int lane = static_cast<int>(threadIdx.x) & 31;
#pragma unroll
    for (int q = 0; q < kSteps; ++q) {
      const int step = q * Tile::kWarpsK + first_k;  // 16 halves or 8 floats deep
      uint32_t left[Tile::kM][4];
#pragma unroll
      for (int i = 0; i < Tile::kM; ++i) {
        load_matrices(left[i], pixels + pixel_row + i * 16 * 128 + (((step * 2 + half) ^ swizzle) << 4));
      }
#pragma unroll
      for (int j = 0; j < Tile::kN / 2; ++j) {
        uint32_t b[4];
        const int n = column + j * 16;
        load_matrices(b, weights + n * 128 + (((step * 2 + ((lane >> 3) & 1)) ^ (n & 7)) << 4));
#pragma unroll
        for (int i = 0; i < Tile::kM; ++i) {
          if constexpr (Tile::kFloats) {
            multiply_floats(sums[i][2 * j], left[i], b[0], b[1]);
            multiply_floats(sums[i][2 * j + 1], left[i], b[2], b[3]);
          } else {
            multiply_16x8x16<typename Tile::Element>(sums[i][2 * j], left[i], b[0], b[1]);
            multiply_16x8x16<typename Tile::Element>(sums[i][2 * j + 1], left[i], b[2], b[3]);
          }
        }
      }
    }
  }

  // Waits until at most kPending runs are unfinished.
  template <int kPending>
  __device__ __forceinline__ void finish_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    if constexpr (Tile::kGroups) group_wait<kPending>();
#endif
  }
};

// What a layer waits for before it reads what an earlier one wrote, as a launch of its own.
struct WaitForEarlierLaunch {
  __device__ __forceinline__ void operator()() const { wait_for_earlier(); }
};

// Source: where pixels come from beside p.x: PixelMaps, or DepthwiseInputParams of what makes them.
template <class Tile, class Source, class Wait = WaitForEarlierLaunch>
__device__ __forceinline__ void conv_body(const ConvParams& p, [[maybe_unused]] const Source& maps,
                                          const Wait& wait = {}) {
  [[maybe_unused]] constexpr bool kDepthwise = std::is_same_v<Source, DepthwiseInputParams>;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(BLADE_CONV_GROUPS)
  extern __shared__ __align__(1024) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[kMaxStages + 1];
  const int thread = static_cast<int>(threadIdx.x);
  const int split = 1 << p.split_log2;
  const int tile = static_cast<int>(blockIdx.x) >> p.split_log2, rank = static_cast<int>(blockIdx.x) & (split - 1);
  const int row_tile = divide(tile, p.column_tiles);
  const int first_row = row_tile * Tile::kRows;
  const int first_channel = (tile - row_tile * static_cast<int>(p.column_tiles.divisor)) * Tile::kColumns;
  const int first_chunk = (p.chunks * rank) >> p.split_log2, last_chunk = (p.chunks * (rank + 1)) >> p.split_log2;
  int chunks = last_chunk - first_chunk, stages = p.stages;
  keep(chunks);
  keep(stages);
  const int prologue = min(stages, chunks);

  const uint32_t pixels = shared_address(memory), weights = pixels + stages * Tile::kRows * 128;
  const uint32_t barrier = shared_address(barriers);
  [[maybe_unused]] const uint32_t sums_barrier = barrier + 8 * kMaxStages;

  [[maybe_unused]] constexpr uint32_t kExpectedBytes = (Tile::kColumns + (Tile::kGroups ? Tile::kRows : 0)) * 128;
  if (thread == 0) {
    for (int s = 0; s < prologue; ++s)
      barrier_init(barrier + 8 * s, Tile::kGroups ? 1 : Tile::kThreads + kBulkArrivals);
#if __CUDA_ARCH__ >= 900
    if (split > 1) barrier_init(sums_barrier, 1);
    if constexpr (Tile::kGroups) {
      prefetch_map(&maps.image);
      if (p.own_chunks < p.chunks) prefetch_map(&maps.addend);
    }
    barrier_init_fence();
    if (split > 1) barrier_expect(sums_barrier, Tile::kRows * Tile::kColumns * 4);
    for (int s = 0; s < prologue; ++s) {
      barrier_expect(barrier + 8 * s, kExpectedBytes);
      copy_bulk(weights + s * Tile::kColumns * 128, weights_at(p, first_chunk + s, first_channel), Tile::kColumns * 128,
                barrier + 8 * s);
    }
    // The next kernel begins once one thread of each block says so: not before the block's own weights are on their
    // way.
    start_later();
#endif
  }
#if __CUDA_ARCH__ >= 900
  if (split > 1) {
    __syncwarp();
    cluster_arrive();
  }
#endif

  using Copies = std::conditional_t<Tile::kGroups, TensorRows, PixelRows<Tile>>;
  std::conditional_t<kDepthwise, DepthwiseRows<Tile>, Copies> rows(p, maps, first_row, first_chunk);
  const auto copy_pixels_of = [&](int slot) {
    [[maybe_unused]] const uint32_t to = pixels + slot * Tile::kRows * 128;
    if constexpr (kDepthwise) {
      rows.copy_chunk(p, memory + slot * Tile::kRows * 128);
      barrier_arrive(barrier + 8 * slot);
    } else if constexpr (Tile::kGroups) {
      if (thread == 0) rows.copy_chunk(maps, to, barrier + 8 * slot);
    } else {
      rows.copy_chunk(p, to);
      barrier_arrive_after_copies(barrier + 8 * slot);
    }
  };
  const WarpPlace<Tile> place;
  const auto row_of = [&](int row) { return first_row + row < p.rows ? first_row + row : -1; };
  TileFinish<Tile, decltype(row_of)> finish(p, place, row_of, first_channel, rank);
  float sums[Tile::kM][Tile::kN][4] = {};
#if __CUDA_ARCH__ >= 900
  if (split > 1) cluster_wait();  // the others have begun, so their memory may be written
#endif
  __syncthreads();

  const auto copy_weights = [&](int chunk, int slot) {
#if __CUDA_ARCH__ < 900
    for (int i = thread; i < Tile::kColumns * 8; i += Tile::kThreads) {
      copy_16(weights + slot * Tile::kColumns * 128 + i * 16,
              weights_at(p, first_chunk + chunk, first_channel) + i * 16, true);
    }
#else
    if (thread == 0) {
      barrier_expect(barrier + 8 * slot, kExpectedBytes);
      copy_bulk(weights + slot * Tile::kColumns * 128, weights_at(p, first_chunk + chunk, first_channel),
                Tile::kColumns * 128, barrier + 8 * slot);
    }
#endif
  };
  wait();
  for (int s = 0; s < prologue; ++s) {
#if __CUDA_ARCH__ < 900
    copy_weights(s, s);
#endif
    copy_pixels_of(s);
  }
  finish.load_residuals();

  Multiplier<Tile> multiplier(place);
  int slot = 0, done_slot = 0;
  uint32_t parity = 0;
  for (int k = 0; k < chunks; ++k) {
    barrier_wait(barrier + 8 * slot, parity);
    multiplier.run(sums, pixels + slot * Tile::kRows * 128, weights + slot * Tile::kColumns * 128);
    if (++slot == stages) {
      slot = 0;
      parity ^= 1;
    }
    // Products of the chunk before are done now (of this one, where they do not run on): its slot takes the next.
    multiplier.template finish_products<1>();
    const int done = Tile::kGroups ? k - 1 : k;
    if (done < 0) continue;
    if (done + stages < chunks) {
      __syncthreads();  // for all warps
      copy_weights(done + stages, done_slot);
      copy_pixels_of(done_slot);
    }
    if (++done_slot == stages) done_slot = 0;
  }
  multiplier.template finish_products<0>();

  finish.run(sums, memory, stages * Tile::kStageBytes, sums_barrier);
#endif
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads) conv_kernel(const __grid_constant__ ConvParams p) {
  conv_body<Tile>(p, PixelMaps());
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    conv_depthwise_kernel(const __grid_constant__ DepthwiseInputParams depthwise,
                          const __grid_constant__ ConvParams p) {
#if __CUDA_ARCH__ >= 900
  conv_body<Tile>(p, depthwise);
#endif
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    conv_tensor_kernel(const __grid_constant__ PixelMaps maps, const __grid_constant__ ConvParams p) {
  conv_body<Tile>(p, maps);
}

}  // namespace blade::backends::cuda
