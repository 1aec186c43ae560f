// The tiles of matrix kernels, and the way from a tile's sums to finished results.
#pragma once

#include <type_traits>

#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/tensor_core.cuh"

namespace blade::backends::cuda {

// kWarpsM x kWarpsN warps tile the block; kWarpsK of them share a tile and take turns in k.
// With kGroups a "warp" of kWarpsM and kWarpsK is a warp group of four and kWarpsN is 1. Groups read both operands from
// shared memory; pixels come by the tensor copy engine, which knows taps and padding: one thread asks for a chunk.
// With kTurned a group takes 64 channels as the rows of its instructions and all of the tile's pixels, which may be
// few, as their columns; kWarpsN groups stand side by side. Element is what operands and results are: float16,
// bfloat16, or float32, of which a chunk is 32 deep and each product three of TF32 (see multiply_floats()).
template <class Element_, int kRows_, int kColumns_, int kWarpsM_, int kWarpsN_, int kWarpsK_, bool kGroups_,
          bool kTurned_ = false>
struct ConvTile {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kWarpsM = kWarpsM_, kWarpsN = kWarpsN_, kWarpsK = kWarpsK_;
  using Element = Element_;
  static constexpr bool kGroups = kGroups_, kFloats = sizeof(Element) == 4, kTurned = kTurned_;
  static constexpr int kThreads = kWarpsM * kWarpsN * kWarpsK * 32 * (kGroups ? 4 : 1);
  static constexpr int kWarpRows = kGroups ? 16 : kRows / kWarpsM;  // of one warp
  static constexpr int kWarpColumns = kColumns / kWarpsN;
  static constexpr int kM = kWarpRows / 16, kN = (kTurned ? kRows : kWarpColumns) / 8;  // matrix instructions across
  static constexpr int kSumPitch = kColumns + (kTurned ? 4 : 8);  // floats, in the exchange of sums
  static constexpr int kStageBytes = (kRows + kColumns) * 128;
  static constexpr int kSumBytes = kWarpsK * kRows * kSumPitch * 4;
  static constexpr int kVectors = (kRows * kColumns / 8 + kThreads - 1) / kThreads;  // of 8 results, a thread
  // Few results a thread, all of a tile's depth in one warp: they go straight from the sums to memory.
  static constexpr bool kDirect = kWarpsK == 1 && kM * kN <= 8 && !kFloats && !kTurned;
  // What plain results take stands in registers from the start: where there are enough (TileFinish).
  static constexpr bool kPlain = !kFloats && kThreads * (kM * kN * 4 + kVectors * 5 + 40) <= 65536;
  static_assert(kThreads % (kColumns / 8) == 0);
  static_assert(!kGroups || !kFloats);
  static_assert(!kGroups || kTurned || (kWarpsN == 1 && kRows == 64 * kWarpsM));
  static_assert(!kTurned || (kGroups && kWarpsM == 1 && kColumns == 64 * kWarpsN));
  static_assert(kGroups || (kWarpRows % 16 == 0 && kWarpColumns % 16 == 0));
  static_assert(4 % kWarpsK == 0 && kThreads % 64 == 0 && (kGroups || kRows * 8 % kThreads == 0));
};

// Where this warp stands in its block.
template <class Tile>
struct WarpPlace {
  int m, n, k;
  __device__ __forceinline__ WarpPlace() {
    const int warp = static_cast<int>(threadIdx.x) >> 5;
    if constexpr (Tile::kGroups) {
      m = (warp >> 2) % Tile::kWarpsM;
      n = (warp >> 2) / Tile::kWarpsM % Tile::kWarpsN;
      k = (warp >> 2) / (Tile::kWarpsM * Tile::kWarpsN);
    } else {
      m = warp % (Tile::kWarpsM * Tile::kWarpsN) / Tile::kWarpsN;
      n = warp % Tile::kWarpsN;
      k = warp / (Tile::kWarpsM * Tile::kWarpsN);
    }
  }
  __device__ __forceinline__ int first_row() const {
    if constexpr (Tile::kGroups) return m * 64 + ((static_cast<int>(threadIdx.x) >> 5) & 3) * 16;
    return m * Tile::kWarpRows;
  }
  __device__ __forceinline__ int first_column() const { return n * Tile::kWarpColumns; }
};

// Eight neighbouring elements of a residual.
template <class T>
struct ResidualVector {
  uint4 bits[sizeof(T) / 2] = {};

  // The row is inside.
  __device__ __forceinline__ void load(const ConvParams& p, int row, int channel) {
    if (p.epilogue.residual == nullptr) return;
    const T* from = static_cast<const T*>(p.epilogue.residual) + static_cast<int64_t>(row) * p.channels + channel;
    if ((p.channels & 7) == 0) {
#pragma unroll
      for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i)
        bits[i] = __ldcg(reinterpret_cast<const uint4*>(from) + i);
      return;
    }
    T* one = reinterpret_cast<T*>(bits);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (channel + i < p.channels) one[i] = from[i];
    }
  }
  __device__ __forceinline__ void add_to(float (&f)[8]) const {
    const T* one = reinterpret_cast<const T*>(bits);
#pragma unroll
    for (int i = 0; i < 8; ++i) f[i] += to_float(one[i]);
  }
};

// Bias (fetched before), activation and clamp of eight neighbouring sums, to which the residual has been added.
__device__ __forceinline__ void finish_values(const EpilogueParams& e, float (&f)[8], const float4 (&bias)[2],
                                              int channel) {
  const float* b = reinterpret_cast<const float*>(bias);
#pragma unroll
  for (int i = 0; i < 8; ++i) f[i] += b[i];
  if (e.activation != EpilogueParams::Activation::kNone) {
#pragma unroll
    for (int i = 0; i < 8; ++i) f[i] = activated(e, f[i], channel + i);
  }
  if (e.has_clamp) {
#pragma unroll
    for (int i = 0; i < 8; ++i) f[i] = f[i] != f[i] ? f[i] : fminf(fmaxf(f[i], e.lo), e.hi);
  }
}

// The same, the rest of the epilogue, and to memory: as float32 or T, of 16 bits.
template <class T>
__device__ __forceinline__ void finish_vector(const ConvParams& p, float (&f)[8], const float4 (&bias)[2], int row,
                                              int channel) {
  const EpilogueParams& e = p.epilogue;
  const int64_t at = static_cast<int64_t>(row) * p.channels + channel;
  finish_values(e, f, bias, channel);
  const int valid = min(8, p.channels - channel);
  if (e.has_program) {
    for (int i = 0; i < valid; ++i) f[i] = run_epilogue_program(e, f[i], channel + i, at + i);
  }
  if (p.y_is_float) {
    float* y = static_cast<float*>(p.y) + at;
    if ((p.channels & 7) == 0) {
      reinterpret_cast<float4*>(y)[0] = make_float4(f[0], f[1], f[2], f[3]);
      reinterpret_cast<float4*>(y)[1] = make_float4(f[4], f[5], f[6], f[7]);
      return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i < valid) y[i] = f[i];
    }
    return;
  }
  T* y = static_cast<T*>(p.y);
  if ((p.channels & 7) == 0) {
    uint4 out;
    Pair<T>* o = reinterpret_cast<Pair<T>*>(&out);
#pragma unroll
    for (int i = 0; i < 4; ++i) o[i] = to_pair<T>(f[2 * i], f[2 * i + 1]);
    *reinterpret_cast<uint4*>(y + at) = out;
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i < valid) y[at + i] = from_float<T>(f[i]);
    }
  }
}

// Each warp group's sums to its place in the exchange: rows of kSumPitch floats.
template <class Tile>
__device__ __forceinline__ void store_sums(const WarpPlace<Tile>& place, const float (&sums)[Tile::kM][Tile::kN][4],
                                           float* exchange) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  if constexpr (Tile::kTurned) {
    const int channel = place.first_column() + ((static_cast<int>(threadIdx.x) >> 5) & 3) * 16 + (lane >> 2);
#pragma unroll
    for (int j = 0; j < Tile::kN; ++j) {
      float* to = exchange + (place.k * Tile::kRows + j * 8 + (lane & 3) * 2) * Tile::kSumPitch + channel;
      to[0] = sums[0][j][0];
      to[Tile::kSumPitch] = sums[0][j][1];
      to[8] = sums[0][j][2];
      to[Tile::kSumPitch + 8] = sums[0][j][3];
    }
  } else {
#pragma unroll
    for (int i = 0; i < Tile::kM; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kN; ++j) {
        float* to = exchange + (place.k * Tile::kRows + place.first_row() + i * 16 + (lane >> 2)) * Tile::kSumPitch +
                    place.first_column() + j * 8 + (lane & 3) * 2;
        *reinterpret_cast<float2*>(to) = make_float2(sums[i][j][0], sums[i][j][1]);
        *reinterpret_cast<float2*>(to + 8 * Tile::kSumPitch) = make_float2(sums[i][j][2], sums[i][j][3]);
      }
    }
  }
}

// The sum of kParts parts, `step` floats apart, of eight neighbouring elements.
template <int kParts>
__device__ __forceinline__ void add_parts(float (&f)[8], const float* from, int step) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const float4 lower = *reinterpret_cast<const float4*>(from + part * step);
    const float4 upper = *reinterpret_cast<const float4*>(from + part * step + 4);
    f[0] += lower.x, f[1] += lower.y, f[2] += lower.z, f[3] += lower.w;
    f[4] += upper.x, f[5] += upper.y, f[6] += upper.z, f[7] += upper.w;
  }
}

// The same of four.
template <int kParts>
__device__ __forceinline__ void add_quads(float4& sum, const float* from, int step) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const float4 one = *reinterpret_cast<const float4*>(from + part * step);
    sum.x += one.x, sum.y += one.y, sum.z += one.z, sum.w += one.w;
  }
}

// Four results through the activation side by side, once in a kernel's code: inlined it would stand there many times.
static __device__ __noinline__ float4 activated_four(float4 v, EpilogueParams::Activation activation, float slope) {
  const auto each = [&](auto&& fn) { v = make_float4(fn(v.x), fn(v.y), fn(v.z), fn(v.w)); };
  switch (activation) {
    case EpilogueParams::Activation::kLeakyRelu:
      each([&](float x) { return x > 0 ? x : slope * x; });
      break;
    case EpilogueParams::Activation::kSigmoid:
      each([](float x) { return 1.0f / (1.0f + __expf(-x)); });
      break;
    case EpilogueParams::Activation::kSwish:
      each([](float x) { return x / (1.0f + __expf(-x)); });
      break;
    case EpilogueParams::Activation::kHardSwish:
      each([&](float x) { return x * fminf(fmaxf(x + 3.0f, 0.0f), 6.0f) * slope; });
      break;
    case EpilogueParams::Activation::kGeluErf:
      each(gelu_erf_inline);
      break;
    case EpilogueParams::Activation::kGeluTanh:
      each(gelu_tanh_inline);
      break;
    default:
      break;
  }
  return v;
}

// What becomes of a tile's sums: sums of several warps or blocks meet in shared memory, then bias, residual and the
// rest of the epilogue. RowOf gives the output pixel of a row of the tile, or -1.
template <class Tile, class RowOf>
class TileFinish {
  // Of plain results, which are no floats.
  using T = std::conditional_t<Tile::kFloats, __half, typename Tile::Element>;

 public:
  // Fetches what is constant.
  __device__ __forceinline__ TileFinish(const ConvParams& p, const WarpPlace<Tile>& place, const RowOf& row_of,
                                        int first_channel, int rank)
      : p_(p),
        place_(place),
        row_of_(row_of),
        part_(divide(first_channel, p.part_channels)),
        first_channel_(first_channel - part_ * static_cast<int>(p.part_channels.divisor)),
        rank_(rank),
        split_log2_(kept(p.split_log2)),
        own_rows_(Tile::kRows >> split_log2_),
        direct_(Tile::kDirect && split_log2_ == 0),
        plain_(Tile::kPlain && kept(is_plain(p, direct_)) != 0),
        activation_(static_cast<EpilogueParams::Activation>(kept(static_cast<int>(p.epilogue.activation)))),
        clamp_(p.epilogue) {
    const int thread = static_cast<int>(threadIdx.x);
    if (plain_) prepare_plain();
    bias_[0] = bias_[1] = make_float4(0, 0, 0, 0);  // all vectors of a thread have the same channels
    if (quads() && p.epilogue.bias != nullptr) {
      bias_[0] = __ldg(reinterpret_cast<const float4*>(p.epilogue.bias + first_channel + thread % kQuadsAcross * 4));
    } else if (!direct_ && p.epilogue.bias != nullptr) {
      const float* from = p.epilogue.bias + first_channel + thread % (Tile::kColumns / 8) * 8;
      bias_[0] = __ldg(reinterpret_cast<const float4*>(from));
      bias_[1] = __ldg(reinterpret_cast<const float4*>(from) + 1);
    }
    if constexpr (Tile::kDirect) {
      if (direct_) {
#pragma unroll
        for (int j = 0; j < Tile::kN; ++j) {
          pair_bias_[j] = p.epilogue.bias == nullptr
                              ? make_float2(0, 0)
                              : __ldg(reinterpret_cast<const float2*>(p.epilogue.bias + first_channel - first_channel_ +
                                                                      pair_channel(j)));
        }
      }
    }
    if (p.epilogue.slopes != nullptr && thread < Tile::kColumns / 8)
      touch(p.epilogue.slopes + first_channel + thread * 8);
  }

  // After the wait for earlier kernels.
  __device__ __forceinline__ void load_residuals() {
    if (plain_) return load_plain_residuals();
    if (!direct_) {
#pragma unroll
      for (int i = 0; i < Tile::kVectors; ++i) {
        const int v = static_cast<int>(threadIdx.x) + i * Tile::kThreads;
        const int row = v < own_vectors() ? row_of_(rank_ * own_rows_ + v / (Tile::kColumns / 8)) : -1;
        const int channel = first_channel_ + v % (Tile::kColumns / 8) * 8;
        if (row >= 0 && channel < p_.channels) residual_[i].load(p_, row, channel);
      }
    }
    if constexpr (Tile::kDirect) {
      if (direct_) {
#pragma unroll
        for (int i = 0; i < Tile::kM * 2; ++i) {
          const int row = row_of_(pair_row(i));
#pragma unroll
          for (int j = 0; j < Tile::kN; ++j) {
            pair_residual_[i * Tile::kN + j] =
                row < 0 ? 0 : load_pair(p_.epilogue, p_.channels, row, pair_channel(j), row + 1);
          }
        }
      }
    }
  }

  // `memory`: the block's, whose first chunk_bytes held chunks; other blocks' sums come behind these.
  __device__ __forceinline__ void run(float (&sums)[Tile::kM][Tile::kN][4], uint8_t* memory, int chunk_bytes,
                                      [[maybe_unused]] uint32_t sums_barrier) {
    if constexpr (Tile::kDirect) {
      if (direct_) return plain_ ? store_plain_pairs(sums) : store_pairs(sums);
    }
    __syncthreads();  // all chunks have been read
    float* exchange = reinterpret_cast<float*>(memory);
    store_sums<Tile>(place_, sums, exchange);
    __syncthreads();
    const float* received = reinterpret_cast<const float*>(memory + max(chunk_bytes, Tile::kSumBytes));
#if __CUDA_ARCH__ >= 900
    if (split_log2_ > 0) {
      send(exchange, received, sums_barrier);
      barrier_wait(sums_barrier, 0);
    }
#endif
    if (quads()) return store_quads(received);
    if (plain_) return store_plain_vectors(exchange, received);
    store_vectors(exchange, received);
  }

 private:
  // Plain results of a split tile, of which a block finishes but a part: four neighbouring ones at a time, so that more
  // threads take a share. A thread's have the same channels.
  static constexpr int kQuadsAcross = Tile::kColumns / 4;
  static constexpr int kQuads = Tile::kVectors;  // of a thread: half a tile's at most
  static constexpr bool kTakesQuads = Tile::kPlain && Tile::kThreads % kQuadsAcross == 0;
  __device__ __forceinline__ bool quads() const { return kTakesQuads && plain_ && split_log2_ > 0; }

  // Where a thread's vectors or quads of results stand, or -1: the rows of pairs where those are stored.
  static constexpr int kPlaces = Tile::kDirect && Tile::kM * 2 > Tile::kVectors ? Tile::kM * 2 : Tile::kVectors;

  static __device__ __forceinline__ bool is_plain(const ConvParams& p, bool direct) {
    using enum EpilogueParams::Activation;
    return !p.y_is_float && !p.epilogue.has_program && (p.channels & 7) == 0 &&
           (p.epilogue.activation == kNone || (!direct && p.epilogue.activation != kPRelu));
  }

  __device__ __forceinline__ void prepare_plain() {
    y_ = static_cast<T*>(part_ == 0 ? p_.y : p_.more_y[part_ - 1]);
    channels_ = min(p_.channels, static_cast<int>(p_.part_channels.divisor));
    slope_ = p_.epilogue.slope;
    keep(slope_);
    plain_residual_ = static_cast<const T*>(p_.epilogue.residual);
    keep(plain_residual_);
    keep(y_);
    keep(channels_);
    if constexpr (Tile::kDirect) {
      if (direct_) {
#pragma unroll
        for (int i = 0; i < Tile::kM * 2; ++i) {
          const int row = row_of_(pair_row(i));
          places_[i] = row < 0 ? -1 : row * channels_;
          keep(places_[i]);
        }
        return;
      }
    }
    if (quads()) {
#pragma unroll
      for (int i = 0; i < kQuads; ++i) {
        const int q = static_cast<int>(threadIdx.x) + i * Tile::kThreads;
        const int row = q < own_rows_ * kQuadsAcross ? row_of_(rank_ * own_rows_ + q / kQuadsAcross) : -1;
        const int channel = first_channel_ + q % kQuadsAcross * 4;
        places_[i] = row < 0 || channel >= channels_ ? -1 : row * channels_ + channel;
        keep(places_[i]);
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < Tile::kVectors; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * Tile::kThreads;
      const int row = v < own_vectors() ? row_of_(rank_ * own_rows_ + v / (Tile::kColumns / 8)) : -1;
      const int channel = first_channel_ + v % (Tile::kColumns / 8) * 8;
      places_[i] = row < 0 || channel >= channels_ ? -1 : row * channels_ + channel;
      keep(places_[i]);
    }
  }

  __device__ __forceinline__ void load_plain_residuals() {
    const T* residual = plain_residual_;
    if (residual == nullptr) return;
    if constexpr (Tile::kDirect) {
      if (direct_) {
#pragma unroll
        for (int i = 0; i < Tile::kM * 2 * Tile::kN; ++i) {
          const int row = places_[i / Tile::kN], channel = pair_channel(i % Tile::kN);
          if (row >= 0 && channel < channels_) {
            pair_residual_[i] = __ldcg(reinterpret_cast<const unsigned*>(residual + row + channel));
          }
        }
        return;
      }
    }
    if (quads()) {
#pragma unroll
      for (int i = 0; i < kQuads; ++i) {
        if (places_[i] < 0) continue;
        const uint2 bits = __ldcg(reinterpret_cast<const uint2*>(residual + places_[i]));
        residual_[i].bits[0] = make_uint4(bits.x, bits.y, 0, 0);
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < Tile::kVectors; ++i) {
      if (places_[i] >= 0) residual_[i].bits[0] = __ldcg(reinterpret_cast<const uint4*>(residual + places_[i]));
    }
  }

  __device__ __forceinline__ void store_plain_pairs(const float (&sums)[Tile::kM][Tile::kN][4]) const {
#pragma unroll
    for (int i = 0; i < Tile::kM * 2; ++i) {
      if (places_[i] < 0) continue;
#pragma unroll
      for (int j = 0; j < Tile::kN; ++j) {
        const float2 bias = pair_bias_[j];
        const float2 residual = pair_at<T>(pair_residual_[i * Tile::kN + j]);
        const float* pair = &sums[i / 2][j][i % 2 * 2];
        if (pair_channel(j) < channels_) {
          *reinterpret_cast<Pair<T>*>(y_ + places_[i] + pair_channel(j)) =
              clamp_(pair[0] + bias.x + residual.x, pair[1] + bias.y + residual.y);
        }
      }
    }
  }

  __device__ __forceinline__ void store_plain_vectors(const float* exchange, const float* received) const {
    const float* bias = reinterpret_cast<const float*>(bias_);
#pragma unroll
    for (int i = 0; i < Tile::kVectors; ++i) {
      if (places_[i] < 0) continue;
      const int v = static_cast<int>(threadIdx.x) + i * Tile::kThreads;
      float f[8] = {};
      sum_parts(f, exchange, received, v / (Tile::kColumns / 8), v % (Tile::kColumns / 8) * 8);
      residual_[i].add_to(f);
#pragma unroll
      for (int k = 0; k < 8; ++k) f[k] += bias[k];
      if (activation_ != EpilogueParams::Activation::kNone) {
#pragma unroll
        for (int k = 0; k < 8; k += 4) {
          const float4 four = activated_four(make_float4(f[k], f[k + 1], f[k + 2], f[k + 3]), activation_, slope_);
          f[k] = four.x, f[k + 1] = four.y, f[k + 2] = four.z, f[k + 3] = four.w;
        }
      }
      uint4 out;
      Pair<T>* o = reinterpret_cast<Pair<T>*>(&out);
#pragma unroll
      for (int k = 0; k < 4; ++k) o[k] = clamp_(f[2 * k], f[2 * k + 1]);
      *reinterpret_cast<uint4*>(y_ + places_[i]) = out;
    }
  }

  __device__ __forceinline__ void store_quads(const float* received) const {
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      if (places_[i] < 0) continue;
      const int q = static_cast<int>(threadIdx.x) + i * Tile::kThreads;
      const float* from = received + q * 4;
      const int step = own_rows_ * Tile::kColumns;
      float4 sum = bias_[0];
      switch (split_log2_) {
        case 1:
          add_quads<2>(sum, from, step);
          break;
        case 2:
          add_quads<4>(sum, from, step);
          break;
        default:
          add_quads<8>(sum, from, step);
      }
      const float2 lower = pair_at<T>(residual_[i].bits[0].x), upper = pair_at<T>(residual_[i].bits[0].y);
      sum.x += lower.x, sum.y += lower.y, sum.z += upper.x, sum.w += upper.y;
      if (activation_ != EpilogueParams::Activation::kNone) sum = activated_four(sum, activation_, slope_);
      uint2 out;
      reinterpret_cast<Pair<T>&>(out.x) = clamp_(sum.x, sum.y);
      reinterpret_cast<Pair<T>&>(out.y) = clamp_(sum.z, sum.w);
      *reinterpret_cast<uint2*>(y_ + places_[i]) = out;
    }
  }

  // All warps' or blocks' parts of eight sums of a row that this block finishes.
  __device__ __forceinline__ void sum_parts(float (&f)[8], const float* exchange, const float* received, int own_row,
                                            int column) const {
    const float* from = received + own_row * Tile::kColumns + column;
    const int step = own_rows_ * Tile::kColumns;
    switch (split_log2_) {
      case 0:
        return add_parts<Tile::kWarpsK>(f, exchange + own_row * Tile::kSumPitch + column,
                                        Tile::kRows * Tile::kSumPitch);
      case 1:
        return add_parts<2>(f, from, step);
      case 2:
        return add_parts<4>(f, from, step);
      default:
        return add_parts<8>(f, from, step);
    }
  }

  __device__ __forceinline__ int own_vectors() const { return own_rows_ * (Tile::kColumns / 8); }
  __device__ __forceinline__ int pair_row(int i) const {
    return place_.first_row() + i * 8 + ((static_cast<int>(threadIdx.x) & 31) >> 2);
  }
  __device__ __forceinline__ int pair_channel(int j) const {
    return first_channel_ + place_.first_column() + j * 8 + (static_cast<int>(threadIdx.x) & 3) * 2;
  }

  __device__ __forceinline__ void store_pairs(float (&sums)[Tile::kM][Tile::kN][4]) {
#pragma unroll
    for (int i = 0; i < Tile::kM * 2; ++i) {
      const int row = row_of_(pair_row(i));
      if (row < 0) continue;
#pragma unroll
      for (int j = 0; j < Tile::kN; ++j) {
        if (pair_channel(j) >= p_.channels) continue;
        const float* pair = &sums[i / 2][j][i % 2 * 2];
        finish_pair<T>(p_.epilogue, p_.y, p_.channels, pair[0], pair[1], pair_bias_[j],
                       pair_residual_[i * Tile::kN + j], row, pair_channel(j), p_.y_is_float);
      }
    }
  }

#if __CUDA_ARCH__ >= 900
  // Each row's sums to the block that finishes it.
  __device__ __forceinline__ void send(const float* exchange, const float* received, uint32_t sums_barrier) {
    const uint32_t inbox = shared_address(received);
    for (int v = static_cast<int>(threadIdx.x); v < Tile::kRows * (Tile::kColumns / 4); v += Tile::kThreads) {
      const int row = v / (Tile::kColumns / 4), column = v % (Tile::kColumns / 4) * 4;
      float4 sum = *reinterpret_cast<const float4*>(exchange + row * Tile::kSumPitch + column);
#pragma unroll
      for (int w = 1; w < Tile::kWarpsK; ++w) {
        const float4 other =
            *reinterpret_cast<const float4*>(exchange + (w * Tile::kRows + row) * Tile::kSumPitch + column);
        sum.x += other.x, sum.y += other.y, sum.z += other.z, sum.w += other.w;
      }
      const int owner = (row << split_log2_) / Tile::kRows, own_row = row - owner * own_rows_;
      const uint32_t to = inbox + ((rank_ * own_rows_ + own_row) * Tile::kColumns + column) * 4;
      store_remote(remote_address(to, owner), sum, remote_address(sums_barrier, owner));
    }
  }
#endif

  __device__ __forceinline__ void store_vectors(const float* exchange, const float* received) {
#pragma unroll
    for (int i = 0; i < Tile::kVectors; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * Tile::kThreads;
      const int own_row = v / (Tile::kColumns / 8), column = v % (Tile::kColumns / 8) * 8;
      const int row = v < own_vectors() ? row_of_(rank_ * own_rows_ + own_row) : -1, channel = first_channel_ + column;
      if (row < 0 || channel >= p_.channels) continue;
      float f[8] = {};
      sum_parts(f, exchange, received, own_row, column);
      residual_[i].add_to(f);
      finish_vector<T>(p_, f, bias_, row, channel);
    }
  }

  const ConvParams& p_;
  const WarpPlace<Tile>& place_;
  const RowOf& row_of_;
  const int part_, first_channel_, rank_, split_log2_, own_rows_;  // the first channel in its part
  const bool direct_;  // straight from the sums to memory, in pairs of channels
  // Of 16 bits, and nothing to do but bias, residual, a curve without operands (not of pairs) and clamp: then what that
  // takes is in registers before the wait.
  const bool plain_;
  const EpilogueParams::Activation activation_;
  float slope_ = 0;
  int channels_ = 0, places_[kPlaces];
  T* y_ = nullptr;
  const T* plain_residual_ = nullptr;
  const PairClamp<T> clamp_;
  float4 bias_[2];
  ResidualVector<typename Tile::Element> residual_[Tile::kVectors];
  float2 pair_bias_[Tile::kDirect ? Tile::kN : 1];
  uint32_t pair_residual_[Tile::kDirect ? Tile::kM * Tile::kN * 2 : 1] = {};
};

}  // namespace blade::backends::cuda
