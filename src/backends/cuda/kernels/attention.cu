// Attention: a block takes 16 to 128 queries of an item, chunk after chunk of the keys, and keeps what their scores
// need: the largest so far, the sum of weights, the weighted sum of values. Four warps share queries and keys; the
// blocks of a cluster may divide the keys.
#include "backends/cuda/kernels/attention.h"
#include "backends/cuda/kernels/attention_sums.cuh"

namespace blade::backends::cuda {
namespace {

using namespace attention_kernel;

// kRowTiles warps stand below each other, each with kM times 16 queries; the others divide the keys.
template <class T, int kRowTiles, int kMostDepth, int kM>
struct Shape {
  static constexpr int kDepth = kMostDepth;
  static constexpr int kKeyWarps = kAttentionThreads / 32 / kRowTiles;
  static constexpr int kWarpRows = 16 * kM, kRows = kWarpRows * kRowTiles;
  // Groups of keys of a warp in a chunk.
  static constexpr int kGroups = kKeyWarps == 1 && sizeof(T) == 2 && kM == 1 ? 2 : 1;
  static constexpr int kTiles = kGroups * kGroupTiles;
  static constexpr int kKeys = kKeyWarps * kGroups * kGroup;  // of a chunk
  static constexpr int kKeyStride = kDepth + Multiplier<T>::kKeyPadding;
  static constexpr int kValueStride = kDepth + Multiplier<T>::kValuePadding;
  static constexpr int kStage = kKeys * (kKeyStride + kValueStride);  // elements
  static constexpr int kSumStride = kDepth + 8;
  static constexpr int kSumRows = kAttentionThreads / 32 * kWarpRows;
  // What stays in registers where there are enough: queries, and masks that are read before they are due.
  static constexpr bool kHoldsQueries = kM * kDepth <= 128, kHoldsMasks = kM == 1;

  // Where a row of the block is among the rows of its warps: of the first of those that divide its keys.
  static __device__ __forceinline__ int first_of(int row) {
    return row / kWarpRows * kKeyWarps * kWarpRows + row % kWarpRows;
  }
};

// What a warp knows of kM times 16 queries after some of the keys; a lane has rows lane / 4 and lane / 4 + 8 of 16.
template <class T, int kRowTiles, int kDepth, int kM>
struct Attending {
  using S = Shape<T, kRowTiles, kDepth, kM>;
  using M = Multiplier<T>;
  static constexpr int kDepthGroups = kDepth / kGroup;
  typename M::Left q[S::kHoldsQueries ? kM : 1][S::kHoldsQueries ? kDepthGroups : 1];
  float scores[kM][S::kTiles][4];
  float of_mask[S::kHoldsMasks ? kM : 1][S::kHoldsMasks ? S::kTiles : 1][4];
  float values[kM][kDepth / 8][4] = {};
  float largest[kM][2], sum[kM][2] = {};
  int query;  // the first row of the lane

  __device__ __forceinline__ explicit Attending(int first_query) : query(first_query) {
#pragma unroll
    for (int m = 0; m < kM; ++m) largest[m][0] = largest[m][1] = -INFINITY;
  }

  static __device__ __forceinline__ int quad_lane() { return static_cast<int>(threadIdx.x % 4); }

  // visit(m, tile, i, query, key) for all scores of the lane in groups from `first_key`, places inside the operands.
  template <class Visit>
  __device__ __forceinline__ void each(int first_key, int queries, int keys, const Visit& visit) const {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int t = 0; t < S::kTiles; ++t) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int key = first_key + t * 8 + quad_lane() * 2 + i % 2;
          visit(m, t, i, min(query + m * 16 + i / 2 * 8, queries - 1), min(key, keys - 1));
        }
      }
    }
  }

  __device__ __forceinline__ void load_mask(const Item<T>& item, int first_key) {
    if (!S::kHoldsMasks || item.mask.data == nullptr) return;
    if (item.mask.is_float) {
      load_mask_of<float>(item, first_key);
    } else {
      load_mask_of<T>(item, first_key);
    }
  }
  // All elements are under way at once: no condition between them.
  template <class Element>
  __device__ __forceinline__ void load_mask_of(const Item<T>& item, int first_key) {
    const auto* data = static_cast<const Element*>(item.mask.data);
    each(first_key, item.q.rows, item.k.rows, [&](int m, int t, int i, int at_query, int at_key) {
      of_mask[m][t][i] = to_float(__ldcg(data + item.mask.offset(at_query, at_key)));
    });
  }

  // `rows`: the warp's queries.
  __device__ __forceinline__ void load_queries(const T* rows) {
    if constexpr (S::kHoldsQueries) {
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int g = 0; g < kDepthGroups; ++g) {
          M::load_left(q[m][g], rows + m * 16 * S::kKeyStride, S::kKeyStride, g * kGroup);
        }
      }
    }
  }

  // Shared memory holds zeros beyond the operands' columns: without a condition the products overlap.
  __device__ __forceinline__ void score(const T* rows, const T* keys) {
#pragma unroll
    for (int i = 0; i < kM * S::kTiles * 4; ++i) (&scores[0][0][0])[i] = 0;
#pragma unroll
    for (int g = 0; g < kDepthGroups; ++g) {
      if constexpr (!S::kHoldsQueries) {
        typename M::Left here[kM];
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          M::load_left(here[m], rows + m * 16 * S::kKeyStride, S::kKeyStride, g * kGroup);
        }
        add_products(keys, g, [&](int m) -> const typename M::Left& { return here[m]; });
      } else {
        add_products(keys, g, [&](int m) -> const typename M::Left& { return q[m][g]; });
      }
    }
  }

  template <class LeftOf>
  __device__ __forceinline__ void add_products(const T* keys, int g, const LeftOf& left_of) {
#pragma unroll
    for (int t = 0; t < S::kTiles; ++t) {
      typename M::Right b;
      M::load_keys(b, keys + t * 8 * S::kKeyStride + g * kGroup, S::kKeyStride);
#pragma unroll
      for (int m = 0; m < kM; ++m) M::multiply(scores[m][t], left_of(m), b);
    }
  }

  __device__ __forceinline__ void apply_masks(const Item<T>& item, int first_key, float scale, bool replaces) {
    const bool masked = item.mask.data != nullptr, adds = item.added.data != nullptr;
#pragma unroll
    for (int i = 0; i < kM * S::kTiles * 4; ++i) (&scores[0][0][0])[i] *= scale;
    if (masked || adds) {
      each(first_key, item.q.rows, item.k.rows, [&](int m, int t, int i, int at_query, int at_key) {
        float& s = scores[m][t][i];
        if (masked) {
          float mask;
          if constexpr (S::kHoldsMasks) {
            mask = of_mask[m][t][i];
          } else {
            mask = item.mask.at(at_query, at_key);
          }
          s = replaces ? (mask != 0 ? mask : s) : s + mask;
        }
        if (adds) s += item.added.at(at_query, at_key);
      });
    }
    if (first_key + S::kTiles * 8 <= item.k.rows) return;
    each(first_key, item.q.rows, item.k.rows, [&](int m, int t, int i, int, int) {
      if (first_key + t * 8 + quad_lane() * 2 + i % 2 >= item.k.rows) scores[m][t][i] = -INFINITY;
    });
  }

  // Scores of 16 queries to weights; returns by what earlier sums of both rows are to be multiplied.
  __device__ __forceinline__ float2 weigh(int m) {
    float factors[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float most = largest[m][r];
#pragma unroll
      for (int t = 0; t < S::kTiles; ++t) most = fmaxf(most, fmaxf(scores[m][t][2 * r], scores[m][t][2 * r + 1]));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      const float base = most == -INFINITY ? 0.0f : most;  // all hidden so far
      factors[r] = power_of_e(largest[m][r] - base);
      largest[m][r] = most;
      float part = 0;
#pragma unroll
      for (int t = 0; t < S::kTiles; ++t) {
#pragma unroll
        for (int i = 2 * r; i < 2 * r + 2; ++i) {
          scores[m][t][i] = power_of_e(scores[m][t][i] - base);
          part += scores[m][t][i];
        }
      }
      sum[m][r] = sum[m][r] * factors[r] + part;
    }
    return {factors[0], factors[1]};
  }

  __device__ __forceinline__ void add_values(const T* rows, const float2 (&factors)[kM]) {
    typename M::Left weights[kM][S::kGroups];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int g = 0; g < S::kGroups; ++g) M::to_left(weights[m][g], &scores[m][g * kGroupTiles]);
    }
#pragma unroll
    for (int n = 0; n < kDepth / 8; ++n) {
      float c[kM][4];
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          c[m][i] = M::kSumsInPlace ? values[m][n][i] * (i < 2 ? factors[m].x : factors[m].y) : 0.0f;
        }
      }
#pragma unroll
      for (int g = 0; g < S::kGroups; ++g) {
        typename M::Right b;
        M::load_values(b, rows + g * kGroup * S::kValueStride + n * 8, S::kValueStride);
#pragma unroll
        for (int m = 0; m < kM; ++m) M::multiply(c[m], weights[m][g], b);
      }
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          values[m][n][i] =
              M::kSumsInPlace ? c[m][i] : fmaf(values[m][n][i], i < 2 ? factors[m].x : factors[m].y, c[m][i]);
        }
      }
    }
  }

  // To [row of the warp][column] and (largest, sum) of each row.
  __device__ __forceinline__ void store(float* sums, float2* totals, int width) {
    const int row = static_cast<int>(threadIdx.x % 32 / 4);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float total = sum[m][r];
        total += __shfl_xor_sync(~0u, total, 1);
        total += __shfl_xor_sync(~0u, total, 2);
        const int at = m * 16 + row + 8 * r;
        float* to = sums + at * S::kSumStride + quad_lane() * 2;
#pragma unroll
        for (int n = 0; n < kDepth / 8; ++n) {
          if (n * 8 < width) *reinterpret_cast<float2*>(to + n * 8) = {values[m][n][2 * r], values[m][n][2 * r + 1]};
        }
        if (quad_lane() == 0) totals[at] = {largest[m][r], total};
      }
    }
  }
};

// visit(row of the block, column, the row's first among those of its warps, what the warps have summed): pieces of rows
// and columns that exist.
template <class S, class T, class Visit>
__device__ __forceinline__ void each_piece(const Item<T>& item, const float* sums, const float2* totals,
                                           int first_query, const Visit& visit) {
  constexpr int kPieces = S::kDepth / 8;
  for (int i = static_cast<int>(threadIdx.x); i < S::kRows * kPieces; i += kAttentionThreads) {
    const int row = i / kPieces, column = i % kPieces * 8;
    if (first_query + row >= item.q.rows || column >= item.v.columns) continue;
    const int first = S::first_of(row);
    PieceSum sum;
    sum.add<S::kKeyWarps>([&](int w) { return totals[first + w * S::kWarpRows]; },
                          [&](int w, int half) {
                            return *reinterpret_cast<const float4*>(sums + (first + w * S::kWarpRows) * S::kSumStride +
                                                                    column + 4 * half);
                          });
    visit(row, column, first, sum);
  }
}

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ float2 load_remote_pair(uint32_t address) {
  float2 v;
  asm volatile("ld.shared::cluster.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(address) : "memory");
  return v;
}
__device__ __forceinline__ float4 load_remote(uint32_t address) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
__device__ __forceinline__ void cluster_meet() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  cluster_wait();
}

// The blocks of a cluster have divided the keys: each puts together what its warps have, then a share of the pieces of
// all blocks.
template <class S, int kBlocks, class T>
__device__ __forceinline__ void finish_together(const Item<T>& item, float* sums, const float2* totals, float2* own,
                                                int first_query, int rank) {
  constexpr int kPieces = S::kDepth / 8;
  each_piece<S>(item, sums, totals, first_query, [&](int row, int column, int first, const PieceSum& sum) {
    auto* to = reinterpret_cast<float4*>(sums + first * S::kSumStride + column);
    to[0] = make_float4(sum.f[0], sum.f[1], sum.f[2], sum.f[3]);
    to[1] = make_float4(sum.f[4], sum.f[5], sum.f[6], sum.f[7]);
    if (column == 0) own[row] = make_float2(sum.largest, sum.total);
  });
  cluster_meet();
  const uint32_t sums_at = shared_address(sums), own_at = shared_address(own);
  for (int i = static_cast<int>(threadIdx.x) * kBlocks + rank; i < S::kRows * kPieces;
       i += kAttentionThreads * kBlocks) {
    const int row = i / kPieces, column = i % kPieces * 8;
    if (first_query + row >= item.q.rows || column >= item.v.columns) continue;
    const int first = S::first_of(row);
    PieceSum sum;
    sum.add<kBlocks>([&](int b) { return load_remote_pair(remote_address(own_at + row * 8, b)); },
                     [&](int b, int half) {
                       return load_remote(remote_address(sums_at + (first * S::kSumStride + column + 4 * half) * 4, b));
                     });
    sum.store(item, first_query + row, column);
  }
  cluster_meet();  // nobody reads this block's memory any more
}
#endif

template <class T, int kRowTiles, int kDepth, int kM>
__global__ void __launch_bounds__(kAttentionThreads) attention(const __grid_constant__ AttentionParams p) {
  using S = Shape<T, kRowTiles, kDepth, kM>;
  extern __shared__ __align__(128) char shared[];
  auto* queries = reinterpret_cast<T*>(shared);
  T* chunks = queries + S::kRows * S::kKeyStride;
  const int warp = static_cast<int>(threadIdx.x / 32), row_tile = warp / S::kKeyWarps, key_warp = warp % S::kKeyWarps;
  const int split_log2 = kept(p.split_log2), rank = static_cast<int>(blockIdx.x) & ((1 << split_log2) - 1);
  const int block = static_cast<int>(blockIdx.x) >> split_log2;
  const int item_number = divide(block, p.row_blocks);
  const int first_query = (block - item_number * static_cast<int>(p.row_blocks.divisor)) * S::kRows;
  const Item<T> item(p, item_number);
  const int stages = kept(p.stages), all_chunks = (item.k.rows + S::kKeys - 1) / S::kKeys;
  const int first_chunk = (all_chunks * rank) >> split_log2, chunk_count = (all_chunks * (rank + 1)) >> split_log2;
  float scale = p.scale;
  keep(scale);
  const bool replaces = p.mask_replaces;
  const auto copy_keys = [&](int chunk) {
    T* to = chunks + (chunk & (stages - 1)) * S::kStage;
    if (chunk < chunk_count) item.k.template copy<S::kKeys, kDepth>(to, S::kKeyStride, chunk * S::kKeys);
    copies_commit();
  };
  const auto copy_values = [&](int chunk) {
    T* to = chunks + (chunk & (stages - 1)) * S::kStage + S::kKeys * S::kKeyStride;
    if (chunk < chunk_count) item.v.template copy<S::kKeys, kDepth>(to, S::kValueStride, chunk * S::kKeys);
    copies_commit();
  };
  Attending<T, kRowTiles, kDepth, kM> attending(first_query + row_tile * S::kWarpRows +
                                                static_cast<int>(threadIdx.x % 32 / 4));
  const T* own_queries = queries + row_tile * S::kWarpRows * S::kKeyStride;
  start_later();
  wait_for_earlier();
  item.q.template copy<S::kRows, kDepth>(queries, S::kKeyStride, first_query);
  copy_keys(first_chunk);
  copy_values(first_chunk);
  for (int chunk = first_chunk; chunk < chunk_count; ++chunk) {
    // Always two groups of copies, empty ones where they come later.
    copy_keys(stages > 1 ? chunk + 1 : chunk_count);
    copy_values(stages > 1 ? chunk + 1 : chunk_count);
    const T* keys = chunks + (chunk & (stages - 1)) * S::kStage;
    const int own_key = key_warp * S::kGroups * kGroup, first_key = chunk * S::kKeys + own_key;
    attending.load_mask(item, first_key);
    copies_wait<3>();
    __syncthreads();
    if (chunk == first_chunk) attending.load_queries(own_queries);
    attending.score(own_queries, keys + own_key * S::kKeyStride);
    attending.apply_masks(item, first_key, scale, replaces);
    float2 factors[kM];
#pragma unroll
    for (int m = 0; m < kM; ++m) factors[m] = attending.weigh(m);
    copies_wait<2>();
    __syncthreads();
    attending.add_values(keys + S::kKeys * S::kKeyStride + own_key * S::kValueStride, factors);
    __syncthreads();
    if (stages == 1) {
      copy_keys(chunk + 1);
      copy_values(chunk + 1);
    }
  }
  auto* sums = reinterpret_cast<float*>(shared);
  auto* totals = reinterpret_cast<float2*>(sums + S::kSumRows * S::kSumStride);
  copies_wait<0>();
  attending.store(sums + warp * S::kWarpRows * S::kSumStride, totals + warp * S::kWarpRows, item.v.columns);
  __syncthreads();
#if __CUDA_ARCH__ >= 900
  if constexpr (S::kRows == 16) {  // the only form whose keys are divided among blocks
    float2* own = totals + S::kSumRows;
    switch (split_log2) {
      case 1:
        return finish_together<S, 2>(item, sums, totals, own, first_query, rank);
      case 2:
        return finish_together<S, 4>(item, sums, totals, own, first_query, rank);
      case 3:
        return finish_together<S, 8>(item, sums, totals, own, first_query, rank);
      default:
        break;
    }
  }
#endif
  each_piece<S>(item, sums, totals, first_query,
                [&](int row, int column, int, PieceSum& sum) { sum.store(item, first_query + row, column); });
}

template <class T, int kRowTiles, int kDepth, int kM>
AttentionVariant variant() {
  using S = Shape<T, kRowTiles, kDepth, kM>;
  constexpr int kSize = static_cast<int>(sizeof(T));
  return {reinterpret_cast<const void*>(&attention<T, kRowTiles, kDepth, kM>), S::kKeys,
          S::kRows * S::kKeyStride * kSize, S::kStage * kSize,
          (S::kSumRows * (S::kSumStride + 2) + 2 * S::kRows) * static_cast<int>(sizeof(float))};
}

// Not all forms are compiled for all types.
template <class T, int kDepth>
AttentionVariant variant_of_rows(int rows) {
  constexpr bool kHalf = sizeof(T) == 2, kBFloat16 = std::is_same_v<T, __nv_bfloat16>;
  if (rows == 16) return variant<T, 1, kDepth, 1>();
  if (rows == 64) return variant<T, 4, kDepth, 1>();
  if constexpr (!kBFloat16) {
    if (rows == 32) return variant<T, 2, kDepth, 1>();
  }
  if constexpr (kHalf && !kBFloat16) {
    if (rows == 128) return variant<T, 4, kDepth, 2>();
  }
  return {};
}

template <class T>
AttentionVariant variant_of_type(int rows, int depth) {
  return depth <= 64 ? variant_of_rows<T, 64>(rows) : variant_of_rows<T, 128>(rows);
}

}  // namespace

AttentionVariant attention_variant(ElementType type, int rows, int depth) {
  switch (type) {
    case ElementType::kFloat16:
      return variant_of_type<__half>(rows, depth);
    case ElementType::kBFloat16:
      return variant_of_type<__nv_bfloat16>(rows, depth);
    default:
      return variant_of_type<float>(rows, depth);
  }
}

}  // namespace blade::backends::cuda
