// Attention of few queries in float16 or bfloat16 (decoder steps), whose time is that of reading keys and values. Each
// warp takes 16 keys after 16 keys through a ring of its own in shared memory, several steps under way at once, and
// waits for no other before its end. Keys and columns of values are the rows of what is multiplied, the queries its
// eight columns. The blocks of a cluster may divide the keys.
#include "backends/cuda/kernels/attention_sums.cuh"

namespace blade::backends::cuda {
namespace {

using namespace attention_kernel;

constexpr int kStepKeys = 16;
constexpr int kStreamWarps = kStreamThreads / 32;

// Of a warp: in each of the ring's places the keys of a step, then their values, rows in pieces of 16 bytes that are
// XORed by row & 7.
template <int kDepth>
struct StreamShape {
  static constexpr int kPieces = kDepth / 8, kRowBytes = kDepth * 2, kTileBytes = kStepKeys * kRowBytes;
  static constexpr int kStages = 3 * kMostAttentionDepth / kDepth;
  static constexpr int kRingBytes = kStages * 2 * kTileBytes;
  static constexpr int kSumStride = kDepth + 4;  // floats, of sums in the ring's place
  static_assert(kStreamQueries * kSumStride * 4 <= kRingBytes);

  static __device__ __forceinline__ uint32_t offset(int row, int piece) {
    return static_cast<uint32_t>(row * kRowBytes + ((piece ^ (row & 7)) << 4));
  }
};

__device__ __forceinline__ uint32_t transposed(uint32_t matrix) {
  uint32_t r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(matrix));
  return r;
}

// Masks of a lane's scores as they stand in memory: nothing waits for them where they are loaded.
template <class T>
struct RawMask {
  uint32_t bits[4];
  __device__ __forceinline__ float at(int i, bool is_float) const {
    return is_float ? __uint_as_float(bits[i]) : pair_at<T>(bits[i]).x;
  }
};

// A lane has keys lane / 4 and lane / 4 + 8 of the scores, columns lane / 4 and lane / 4 + 8 of each 16 of the weighted
// sums, of both the queries 2 * (lane % 4) and the next.
template <class T, int kDepth, bool kMasked>
struct Streaming {
  using S = StreamShape<kDepth>;
  static constexpr int kTiles = kDepth / 16;
  const Item<T>& item;
  const int lane = static_cast<int>(threadIdx.x) % 32, group = lane / 4, pair = lane % 4 * 2;
  const int query;      // the first of the lane
  const uint32_t ring;  // shared memory
  uint32_t queries[kTiles][2];
  RawMask<T> mask;
  float scores[4], sums[kTiles][4] = {};
  float largest[2] = {-INFINITY, -INFINITY}, total[2] = {};

  __device__ __forceinline__ Streaming(const Item<T>& of, int first_query, uint32_t memory)
      : item(of), query(first_query + pair), ring(memory) {}

  // Zeros beyond the rows and columns.
  __device__ __forceinline__ void load_queries(int first_query) {
    const int row = first_query + group;
#pragma unroll
    for (int i = 0; i < kTiles * 2; ++i) {
      const int column = i * 8 + pair;
      const bool valid = row < item.q.rows && column < item.q.columns;
      const T* from = item.q.data + static_cast<int64_t>(valid ? row : 0) * item.q.row + (valid ? column : 0);
      queries[i / 2][i % 2] = valid ? __ldcg(reinterpret_cast<const uint32_t*>(from)) : 0u;
    }
  }
  __device__ __forceinline__ void copy(const Matrix<T>& m, uint32_t to, int first_row) const {
    const int piece = lane % S::kPieces;
    const bool inside = piece * 8 < m.columns;
#pragma unroll
    for (int r = lane / S::kPieces; r < kStepKeys; r += 32 / S::kPieces) {
      const bool valid = inside && first_row + r < m.rows;
      copy_16(to + S::offset(r, piece), m.data + (valid ? static_cast<int64_t>(first_row + r) * m.row + piece * 8 : 0),
              valid);
    }
  }
  // A group of copies in any case.
  __device__ __forceinline__ void copy_step(int step, int last, int place) const {
    if (step < last) {
      const uint32_t to = ring + place * 2 * S::kTileBytes;
      copy(item.k, to, step * kStepKeys);
      copy(item.v, to + S::kTileBytes, step * kStepKeys);
    }
    copies_commit();
  }
  __device__ __forceinline__ void load_mask([[maybe_unused]] int step) {
    if constexpr (kMasked) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = min(step * kStepKeys + group + i / 2 * 8, item.k.rows - 1);
        const int64_t at = item.mask.offset(min(query + i % 2, item.q.rows - 1), key);
        mask.bits[i] = item.mask.is_float ? __ldcg(static_cast<const uint32_t*>(item.mask.data) + at)
                                          : __ldcg(static_cast<const uint16_t*>(item.mask.data) + at);
      }
    }
  }

  __device__ __forceinline__ void score(int step, int place, float scale, bool replaces) {
    const uint32_t keys = ring + place * 2 * S::kTileBytes;
    float parts[2][4] = {};
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      uint32_t a[4];
      load_matrices(a, keys + S::offset(lane & 15, 2 * i + (lane >> 4)));
      multiply_16x8x16<T>(parts[i % 2], a, queries[i][0], queries[i][1]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float s = (parts[0][i] + parts[1][i]) * scale;
      const int key = step * kStepKeys + group + i / 2 * 8;
      if constexpr (kMasked) {
        const float m = mask.at(i, item.mask.is_float);
        s = replaces ? (m != 0 ? m : s) : s + m;
        if (item.added.data != nullptr) {
          s += item.added.at(min(query + i % 2, item.q.rows - 1), min(key, item.k.rows - 1));
        }
      }
      scores[i] = key < item.k.rows ? s : -INFINITY;
    }
  }

  // Scores to weights; sums so far are rescaled.
  __device__ __forceinline__ void weigh() {
    float factors[2];
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      float most = fmaxf(scores[q], scores[q + 2]);
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, lanes));
      most = fmaxf(most, largest[q]);
      const float base = most == -INFINITY ? 0.0f : most;  // all hidden so far
      factors[q] = power_of_e(largest[q] - base);
      largest[q] = most;
      scores[q] = power_of_e(scores[q] - base);
      scores[q + 2] = power_of_e(scores[q + 2] - base);
      total[q] = fmaf(total[q], factors[q], scores[q] + scores[q + 2]);
    }
    if (!__any_sync(~0u, factors[0] != 1 || factors[1] != 1)) return;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[n][i] *= factors[i % 2];
    }
  }

  __device__ __forceinline__ void add_values(int place) {
    const uint32_t values = ring + (place * 2 + 1) * S::kTileBytes;
    uint32_t weights[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      weights[r] = transposed(to_pair_bits<T>(scores[2 * r], scores[2 * r + 1]));
    }
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      uint32_t a[4];
      load_matrices_transposed(a, values + S::offset((lane & 7) + (lane >> 4) * 8, 2 * i + ((lane >> 3) & 1)));
      multiply_16x8x16<T>(sums[i], a, weights[0], weights[1]);
    }
  }

  // To [query][column] and (largest, total) of each of `count` queries.
  __device__ __forceinline__ void store(float* to, float2* totals, int count) const {
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      float all = total[q];
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2) all += __shfl_xor_sync(~0u, all, lanes);
      if (pair + q >= count) continue;
      if (group == 0) totals[pair + q] = {largest[q], all};
      float* row = to + (pair + q) * S::kSumStride + group;
#pragma unroll
      for (int i = 0; i < kTiles; ++i) row[i * 16] = sums[i][q], row[i * 16 + 8] = sums[i][q + 2];
    }
  }
};

#if __CUDA_ARCH__ >= 900
// What the blocks of a cluster send to the one that puts a piece together: eight sums, (largest, total).
constexpr int kSentFloats = 12, kSentBytes = kSentFloats * 4;
constexpr int kMostPieces = kStreamQueries * kMostAttentionDepth / 8;

__device__ __forceinline__ void send_piece(const PieceSum& sum, uint32_t to, uint32_t barrier) {
  store_remote(to, make_float4(sum.f[0], sum.f[1], sum.f[2], sum.f[3]), barrier);
  store_remote(to + 16, make_float4(sum.f[4], sum.f[5], sum.f[6], sum.f[7]), barrier);
  store_remote(to + 32, make_float4(sum.largest, sum.total, 0, 0), barrier);
}

template <int kBlocks, class T>
__device__ __forceinline__ void finish_sent(const Item<T>& item, const float* inbox, uint32_t barrier, int rank,
                                            int first_query, int pieces, int all_pieces) {
  for (int i = static_cast<int>(threadIdx.x); i * kBlocks + rank < all_pieces; i += kStreamThreads) {
    barrier_wait(barrier, 0);
    const float* own = inbox + i * kBlocks * kSentFloats;
    PieceSum sum;
    sum.add<kBlocks>(
        [&](int b) { return *reinterpret_cast<const float2*>(own + b * kSentFloats + 8); },
        [&](int b, int half) { return *reinterpret_cast<const float4*>(own + b * kSentFloats + 4 * half); });
    const int row = (i * kBlocks + rank) / pieces;
    sum.store(item, first_query + row, (i * kBlocks + rank - row * pieces) * 8);
  }
}
#endif

template <class T, int kDepth, bool kMasked>
__global__ void __launch_bounds__(kStreamThreads, 2) attention_stream(const __grid_constant__ AttentionParams p) {
  using S = StreamShape<kDepth>;
  extern __shared__ __align__(128) uint8_t memory[];
  __shared__ float2 totals[kStreamWarps * kStreamQueries];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int split_log2 = kept(p.split_log2), rank = static_cast<int>(blockIdx.x) & ((1 << split_log2) - 1);
  const int block = static_cast<int>(blockIdx.x) >> split_log2;
  const int item_number = divide(block, p.row_blocks);
  const int first_query = (block - item_number * static_cast<int>(p.row_blocks.divisor)) * kStreamQueries;
  const Item<T> item(p, item_number);
  const int steps = (item.k.rows + kStepKeys - 1) / kStepKeys, last = (steps * (rank + 1)) >> split_log2;
  const int count = min(item.q.rows - first_query, kStreamQueries);  // queries of this block
  const int pieces = (item.v.columns + 7) / 8, all_pieces = count * pieces;
  float scale = p.scale;
  keep(scale);
  const bool replaces = p.mask_replaces;
#if __CUDA_ARCH__ >= 900
  __shared__ __align__(16) float inbox[(kMostPieces + kMostStreamBlocks) * kSentFloats];
  __shared__ __align__(8) uint64_t inbox_barrier[1];
  const uint32_t barrier = shared_address(inbox_barrier);
  const int blocks = 1 << split_log2, own_pieces = (all_pieces - rank + blocks - 1) >> split_log2;
  if (split_log2 > 0) {
    if (threadIdx.x == 0) {
      barrier_init(barrier, 1);
      barrier_init_fence();
      if (own_pieces > 0) barrier_expect(barrier, static_cast<uint32_t>(own_pieces * blocks * kSentBytes));
    }
    __syncwarp();
    cluster_arrive();
  }
#endif
  uint8_t* ring = memory + warp * S::kRingBytes;
  Streaming<T, kDepth, kMasked> streaming(item, first_query, shared_address(ring));
  start_later();
  wait_for_earlier();
  int step = ((steps * rank) >> split_log2) + warp;
  streaming.load_queries(first_query);
  if (step < last) streaming.load_mask(step);
#pragma unroll
  for (int place = 0; place < S::kStages; ++place) streaming.copy_step(step + place * kStreamWarps, last, place);
  for (int place = 0; step < last; step += kStreamWarps) {
    copies_wait<S::kStages - 1>();
    __syncwarp();
    streaming.score(step, place, scale, replaces);
    if (step + kStreamWarps < last) streaming.load_mask(step + kStreamWarps);
    streaming.weigh();
    streaming.add_values(place);
    __syncwarp();  // before the place is filled again
    streaming.copy_step(step + S::kStages * kStreamWarps, last, place);
    place = place + 1 == S::kStages ? 0 : place + 1;
  }
  copies_wait<0>();
  __syncwarp();
  streaming.store(reinterpret_cast<float*>(ring), totals + warp * kStreamQueries, count);
#if __CUDA_ARCH__ >= 900
  if (split_log2 > 0) cluster_wait();  // the others have begun, so their memory may be written
#endif
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < all_pieces; i += kStreamThreads) {
    const int row = i / pieces, column = (i - row * pieces) * 8;
    PieceSum sum;
    sum.add<kStreamWarps>([&](int w) { return totals[w * kStreamQueries + row]; },
                          [&](int w, int half) {
                            const auto* sums = reinterpret_cast<const float*>(memory + w * S::kRingBytes);
                            return *reinterpret_cast<const float4*>(sums + row * S::kSumStride + column + 4 * half);
                          });
    if (split_log2 == 0) {
      sum.store(item, first_query + row, column);
      continue;
    }
#if __CUDA_ARCH__ >= 900
    const int owner = i & (blocks - 1), place = ((i >> split_log2) << split_log2) + rank;
    send_piece(sum, remote_address(shared_address(inbox) + place * kSentBytes, owner), remote_address(barrier, owner));
#endif
  }
#if __CUDA_ARCH__ >= 900
  switch (split_log2) {
    case 1:
      return finish_sent<2>(item, inbox, barrier, rank, first_query, pieces, all_pieces);
    case 2:
      return finish_sent<4>(item, inbox, barrier, rank, first_query, pieces, all_pieces);
    case 3:
      return finish_sent<8>(item, inbox, barrier, rank, first_query, pieces, all_pieces);
    case 4:
      return finish_sent<16>(item, inbox, barrier, rank, first_query, pieces, all_pieces);
    default:
      break;
  }
#endif
}

template <int kDepth>
AttentionStreamVariant variant_of_depth(ElementType type, bool masked) {
  const auto form = [&]<class T>() {
    return masked ? reinterpret_cast<const void*>(&attention_stream<T, kDepth, true>)
                  : reinterpret_cast<const void*>(&attention_stream<T, kDepth, false>);
  };
  return {half_forms(form).of(type), kStreamWarps * StreamShape<kDepth>::kRingBytes};
}

}  // namespace

AttentionStreamVariant attention_stream_variant(ElementType type, int depth, bool masked) {
  return depth <= 64 ? variant_of_depth<64>(type, masked) : variant_of_depth<128>(type, masked);
}

}  // namespace blade::backends::cuda
