// Attention of long sequences on wgmma (compute capability 9.0). A group of four warps takes 64 queries, up to three
// groups share the keys of a block. A thread of one more group asks the copy engine for chunks of keys and values, and
// the registers of that group go to the others. A group starts the scores of the next chunk and the weighted sum of
// this one together and makes weights while both run; groups start their products by turns, so that one's curves meet
// the other's products.
#include <cfloat>
#include <type_traits>

#include "backends/cuda/kernels/attention_item.cuh"
#include "backends/cuda/kernels/attention_wgmma.cuh"
#include "backends/cuda/kernels/ring.cuh"

namespace blade::backends::cuda {
namespace {

using namespace attention_kernel;

constexpr int kMostAttentionStages = 4;
template <class Element_, int kGroups_, int kDepth_, int kKeys_, int kBlocks_>
struct GroupShape {
  using Element = Element_;
  static constexpr int kGroups = kGroups_, kDepth = kDepth_, kKeys = kKeys_, kBlocks = kBlocks_;
  static constexpr int kThreads = (kGroups + 1) * 128;
  static constexpr int kBoxes = kDepth / 64;  // of 64 columns
  static constexpr int kQueryBox = kGroupQueries * 128, kKeyBox = kKeys * 128;
  static constexpr int kGroupQueryBytes = kBoxes * kQueryBox, kChunkBytes = kBoxes * kKeyBox;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int kTurnBarriers = 1;  // numbered barriers, one a group; then those of a group alone
constexpr float kLag = 8;         // a sum's base may be a power of two behind the largest score

// Of a thread at first, of one that asks for copies, and of one that computes: multiples of eight.
template <class S, GroupMasks kMasks>
struct GroupRegisters {
  static constexpr int kFirst = 65536 / (S::kThreads * S::kBlocks) / 8 * 8,
                       kAsker = kMasks == GroupMasks::kShared ? 32 : 24;
  static constexpr int kOther = (kFirst * (S::kGroups + 1) - kAsker) / S::kGroups / 8 * 8;
};

template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void leave_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ void copy_rows(uint32_t to, const void* map, int column, int row,
                                          const int (&batch)[kMappedBatchDims], uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5, %6}], [%7];" ::"r"(to),
      "l"(map), "r"(column), "r"(row), "r"(batch[0]), "r"(batch[1]), "r"(batch[2]), "r"(barrier)
      : "memory");
}

// A chunk is two places in the ring: keys and values.
template <class S>
struct GroupMemory {
  uint32_t queries, chunks;          // shared memory
  uint32_t queries_in, full, empty;  // barriers
  int stages;

  __device__ __forceinline__ uint32_t queries_of(int group) const { return queries + group * S::kGroupQueryBytes; }
  __device__ __forceinline__ uint32_t keys(int slot) const { return chunks + 2 * slot * S::kChunkBytes; }
  __device__ __forceinline__ uint32_t values(int slot) const { return keys(slot) + S::kChunkBytes; }
  // Alike for all queries, behind the chunks.
  __device__ __forceinline__ uint32_t mask(int slot) const { return keys(stages) + slot * S::kKeys * 4; }
  static __device__ __forceinline__ uint32_t of_keys(uint32_t barrier, int slot) { return barrier + 16 * slot; }
  static __device__ __forceinline__ uint32_t of_values(uint32_t barrier, int slot) { return barrier + 16 * slot + 8; }
};

// The thread that asks for copies: chunks from the last to the first, the keys of one before the values of the one
// before.
template <class S>
__device__ __forceinline__ void fill_chunks(const GroupMemory<S>& memory, const AttentionMaps& maps,
                                            const AttentionParams& p, int item, int first_query, int chunks) {
  int q_at[kMappedBatchDims] = {}, k_at[kMappedBatchDims] = {}, v_at[kMappedBatchDims] = {};
#pragma unroll
  for (int d = kMappedBatchDims - 1; d >= 0; --d) {
    if (d >= p.batch_rank) continue;
    const int rest = divide(item, p.batch_dims[d]);
    const int at = item - rest * static_cast<int>(p.batch_dims[d].divisor);
    q_at[d] = p.q.batch[d] != 0 ? at : 0;
    k_at[d] = p.k.batch[d] != 0 ? at : 0;
    v_at[d] = p.v.batch[d] != 0 ? at : 0;
    item = rest;
  }
  wait_for_earlier();
  RingPlace keys_at, values_at;
  const auto copy_chunk = [&](RingPlace& at, int which, const TensorMap& map, int chunk,
                              const int(&batch)[kMappedBatchDims]) {
    const uint32_t barrier = memory.full + 16 * at.slot + 8 * which;
    barrier_wait(memory.empty + 16 * at.slot + 8 * which, at.parity ^ 1);
    barrier_expect(barrier, S::kChunkBytes);
    const uint32_t to = memory.keys(at.slot) + which * S::kChunkBytes;
#pragma unroll
    for (int box = 0; box < S::kBoxes; ++box) {
      copy_rows(to + box * S::kKeyBox, &map, box * 64, chunk * S::kKeys, batch, barrier);
    }
    at.next(memory.stages);
  };
  for (int group = 0; group < S::kGroups; ++group) {
    barrier_expect(memory.queries_in + 8 * group, S::kGroupQueryBytes);
#pragma unroll
    for (int box = 0; box < S::kBoxes; ++box) {
      copy_rows(memory.queries_of(group) + box * S::kQueryBox, &maps.q, box * 64, first_query + group * kGroupQueries,
                q_at, memory.queries_in + 8 * group);
    }
    if (group == 0) copy_chunk(keys_at, 0, maps.k, chunks - 1, k_at);
  }
  for (int chunk = chunks - 1; chunk >= 0; --chunk) {
    if (chunk > 0) copy_chunk(keys_at, 0, maps.k, chunk - 1, k_at);
    copy_chunk(values_at, 1, maps.v, chunk, v_at);
  }
}

// Of a mask, as exponents of two are; what is finite stays finite.
__device__ __forceinline__ float in_log2(float mask) {
  return isinf(mask) ? mask : fminf(fmaxf(mask * kLog2E, -FLT_MAX), FLT_MAX);
}

// The warp that brings the mask of a chunk's keys where it is alike for all queries: times log2(e).
template <class S>
__device__ __forceinline__ void fill_masks(const GroupMemory<S>& memory, const AttentionParams& p, int item,
                                           int chunks) {
  constexpr int kEach = S::kKeys / 32;
  int64_t offset = 0;
  for (int d = p.batch_rank - 1; d >= 0; --d) {
    const int rest = divide(item, p.batch_dims[d]);
    offset += static_cast<int64_t>(item - rest * static_cast<int>(p.batch_dims[d].divisor)) * p.mask.batch[d];
    item = rest;
  }
  const int lane = static_cast<int>(threadIdx.x) & 31;
  RingPlace at;
  wait_for_earlier();
  for (int chunk = chunks - 1; chunk >= 0; --chunk) {
    float values[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int64_t key = min(chunk * S::kKeys + i * 32 + lane, p.keys - 1);
      const int64_t element = offset + key * p.mask.column;
      values[i] =
          in_log2(p.mask.is_float ? __ldcg(static_cast<const float*>(p.mask.data) + element)
                                  : to_float(__ldcg(static_cast<const typename S::Element*>(p.mask.data) + element)));
    }
    barrier_wait(GroupMemory<S>::of_keys(memory.empty, at.slot), at.parity ^ 1);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      asm volatile("st.shared.f32 [%0], %1;" ::"r"(memory.mask(at.slot) + (i * 32 + lane) * 4), "f"(values[i])
                   : "memory");
    }
    barrier_arrive(GroupMemory<S>::of_keys(memory.full, at.slot));
    at.next(memory.stages);
  }
}

// Where a lane's scores stand: queries lane / 4 and lane / 4 + 8 of the warp, keys 2 * (lane % 4) and the next of each
// tile of eight.
template <class S, GroupMasks kMasks>
struct GroupAttending {
  using T = typename S::Element;
  static constexpr int kTiles = S::kKeys / 8, kWidth = S::kDepth / 8, kSteps = S::kKeys / 16;
  float scores[kTiles][4] = {}, values[kWidth][4] = {};
  uint32_t weights[kSteps][4];
  float masks[kMasks == GroupMasks::kEach ? kTiles : 1][4];
  float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  float factors[2];

  static __device__ __forceinline__ int first_key_of_lane() { return static_cast<int>(threadIdx.x & 3) * 2; }

  // Under way after it, like start_values().
  __device__ __forceinline__ void start_scores(uint64_t queries, uint64_t keys) {
    group_fence();
#pragma unroll
    for (int g = 0; g < S::kDepth / 16; ++g) {
      GroupScores<S::kKeys, T>::run(scores, queries + g / 4 * (S::kQueryBox / 16) + g % 4 * 2,
                                    keys + g / 4 * (S::kKeyBox / 16) + g % 4 * 2, g > 0);
    }
    group_commit();
  }
  __device__ __forceinline__ void start_values(uint64_t rows) {
    group_fence();
#pragma unroll
    for (int s = 0; s < kSteps; ++s) GroupValues<S::kDepth, T>::run(values, weights[s], rows + s * 128);
    group_commit();
  }
  // Nothing of what was under way is read before.
  __device__ __forceinline__ void keep_scores() {
#pragma unroll
    for (int i = 0; i < kTiles * 4; ++i) keep((&scores[0][0])[i]);
  }
  __device__ __forceinline__ void keep_values() {
#pragma unroll
    for (int i = 0; i < kWidth * 4; ++i) keep((&values[0][0])[i]);
  }

  // Of whole chunks, or (kTail) of the last one: both queries of a lane at `row`.
  template <bool kTail, class Element>
  __device__ __forceinline__ void load_mask_of(const Mask<T>& mask, const int (&rows)[2], int first_key, int keys) {
    const auto* data = static_cast<const Element*>(mask.data);
    const auto alignment = static_cast<uintptr_t>(2 * sizeof(Element));
    const bool in_pairs = mask.column == 1 && mask.row % 2 == 0 && reinterpret_cast<uintptr_t>(data) % alignment == 0;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Element* row = data + mask.offset(rows[r], kTail ? 0 : first_key);
      if (r == 1 && mask.row == 0) {
#pragma unroll
        for (int t = 0; t < kTiles; ++t) masks[t][2] = masks[t][0], masks[t][3] = masks[t][1];
      } else if (!kTail && in_pairs) {
        using Two = std::conditional_t<sizeof(Element) == 4, float2, Pair<T>>;
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          const Two pair = __ldcg(reinterpret_cast<const Two*>(row) + t * 4);
          masks[t][2 * r] = to_float(pair.x), masks[t][2 * r + 1] = to_float(pair.y);
        }
      } else {
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int key = t * 8 + i;
            masks[t][2 * r + i] = to_float(
                __ldcg(row + static_cast<int64_t>(kTail ? min(first_key + key, keys - 1) : key) * mask.column));
          }
        }
      }
    }
  }
  template <bool kTail>
  __device__ __forceinline__ void load_mask(const Item<T>& item, const Mask<T>& mask, int query, int chunk) {
    const int first_key = chunk * S::kKeys + first_key_of_lane();
    const int rows[2] = {min(query, item.q.rows - 1), min(query + 8, item.q.rows - 1)};
    if (mask.is_float) {
      load_mask_of<kTail, float>(mask, rows, first_key, item.k.rows);
    } else {
      load_mask_of<kTail, T>(mask, rows, first_key, item.k.rows);
    }
  }
  // The first mask, before the scores are there.
  template <bool kTail>
  __device__ __forceinline__ void fetch_mask(const Item<T>& item, int query, int chunk) {
    if constexpr (kMasks == GroupMasks::kEach) load_mask<kTail>(item, item.mask, query, chunk);
  }
  static __device__ __forceinline__ float masked(float score, float mask, float scale, bool replaces) {
    return replaces && mask != 0 ? mask : fmaf(score, scale, replaces ? 0.0f : mask);
  }
  // Scores times `scale`, which without masks weigh() sees to, and what masks make of them; `shared`: where the mask of
  // all queries stands, times log2(e) as `scale` is there.
  template <bool kTail>
  __device__ __forceinline__ void apply_masks(const Item<T>& item, uint32_t shared, int query, int chunk, float scale,
                                              bool replaces) {
    if constexpr (kMasks == GroupMasks::kShared) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        float pair[2];
        asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
                     : "=f"(pair[0]), "=f"(pair[1])
                     : "r"(shared + (t * 8 + first_key_of_lane()) * 4));
#pragma unroll
        for (int i = 0; i < 4; ++i) scores[t][i] = masked(scores[t][i], pair[i % 2], scale, replaces);
      }
    } else if constexpr (kMasks == GroupMasks::kEach) {
#pragma unroll
      for (int i = 0; i < kTiles * 4; ++i) {
        float& s = (&scores[0][0])[i];
        s = masked(s, (&masks[0][0])[i], scale, replaces);
      }
      if (item.added.data == nullptr) return;
      load_mask<kTail>(item, item.added, query, chunk);
#pragma unroll
      for (int i = 0; i < kTiles * 4; ++i) (&scores[0][0])[i] += (&masks[0][0])[i];
    }
  }
  // Of the last chunk: keys that do not exist.
  __device__ __forceinline__ void hide_from(int key_count) {
    const int first_key = first_key_of_lane();
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (first_key + t * 8 + i % 2 >= key_count) scores[t][i] = -INFINITY;
      }
    }
  }

  // Exponents of two. Without masks one product that is rounded once, from a base that is a rounded product. Masks make
  // scores of -1e9 and less, of which the largest must be exactly as large as its base: there the base is a score, and
  // scores are exponents before (kShared) or multiplied behind the subtraction (kEach).
  static __device__ __forceinline__ float base_of(float score, float to_log2) {
    return kMasks == GroupMasks::kNone ? __fmul_rn(score, to_log2) : score;
  }
  static __device__ __forceinline__ float exponent_of(float distance, float to_log2) {
    return kMasks == GroupMasks::kEach ? distance * to_log2 : distance;
  }
  static __device__ __forceinline__ float exponent(float score, float base, float to_log2) {
    if constexpr (kMasks == GroupMasks::kNone) return fmaf(score, to_log2, -base);
    return exponent_of(score - base, to_log2);
  }

  // Scores to weights: powers of two of their distance from a base, which follows the largest score only where it is
  // more than 2^kLag behind, so that sums are seldom rescaled.
  __device__ __forceinline__ void weigh(float to_log2) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float most[2] = {scores[0][2 * r], scores[0][2 * r + 1]};
#pragma unroll
      for (int t = 1; t < kTiles; ++t) {
        most[0] = fmaxf(most[0], scores[t][2 * r]);
        most[1] = fmaxf(most[1], scores[t][2 * r + 1]);
      }
      float all = fmaxf(most[0], most[1]);
      all = fmaxf(all, __shfl_xor_sync(~0u, all, 1));
      all = fmaxf(all, __shfl_xor_sync(~0u, all, 2));
      const float before = base_of(largest[r], to_log2);
      if (exponent(all, before, to_log2) > kLag) largest[r] = all;
      const float base = largest[r] == -INFINITY ? 0.0f : base_of(largest[r], to_log2);  // all hidden so far
      factors[r] = power_of_two(exponent_of(before - base, to_log2));
      float part[2] = {};
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& s = scores[t][2 * r + i];
          s = power_of_two(exponent(s, base, to_log2));
          part[i] += s;
        }
      }
      sum[r] = fmaf(sum[r], factors[r], part[0] + part[1]);
    }
  }

  // For the next weighted sum, once the one before is done.
  __device__ __forceinline__ void take_weights() {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair = &scores[2 * s + i / 2][i % 2 * 2];
        weights[s][i] = to_pair_bits<T>(pair[0], pair[1]);
      }
    }
  }
  __device__ __forceinline__ void rescale() {
    if (!__any_sync(~0u, factors[0] != 1 || factors[1] != 1)) return;
#pragma unroll
    for (int n = 0; n < kWidth; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) values[n][i] *= factors[i / 2];
    }
  }

  // The group's results, through the shared memory of its queries, each warp its own rows.
  __device__ __forceinline__ void store(const Item<T>& item, uint32_t lines, int first_query) {
    const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, first_row = ((thread >> 5) & 3) * 16;
    float share[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float total = sum[r];
      total += __shfl_xor_sync(~0u, total, 1);
      total += __shfl_xor_sync(~0u, total, 2);
      share[r] = 1.0f / total;
    }
    const int own = first_row + (lane & 15);
#pragma unroll
    for (int n = 0; n < kWidth; n += 2) {
      uint32_t bits[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float* pair = &values[n + k / 2][k % 2 * 2];
        bits[k] = to_pair_bits<T>(pair[0] * share[k % 2], pair[1] * share[k % 2]);
      }
      store_matrices(lines + n / 8 * S::kQueryBox + own * 128 + (((n & 7) + (lane >> 4)) ^ (own & 7)) * 16, bits);
    }
    __syncwarp();
    constexpr int kPieces = S::kDepth / 8;
#pragma unroll
    for (int i = lane; i < 16 * kPieces; i += 32) {
      const int row = first_row + i / kPieces, piece = i % kPieces, column = piece * 8;
      if (first_query + row >= item.q.rows || column >= item.v.columns) continue;
      uint4 bits;
      asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(bits.x), "=r"(bits.y), "=r"(bits.z), "=r"(bits.w)
                   : "r"(lines + piece / 8 * S::kQueryBox + row * 128 + ((piece & 7) ^ (row & 7)) * 16));
      T* to = item.out + static_cast<int64_t>(first_query + row) * item.out_row + column;
      if (item.out_in_pieces) {
        *reinterpret_cast<uint4*>(to) = bits;
        continue;
      }
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        if (column + k < item.v.columns) to[k] = reinterpret_cast<const T*>(&bits)[k];
      }
    }
  }
};

// A group waits until the one before it has started its products.
template <class S>
__device__ __forceinline__ void wait_for_turn(int group) {
  if constexpr (S::kGroups > 1) sync_threads_of(kTurnBarriers + group, 256);
}
template <class S>
__device__ __forceinline__ void give_turn(int group) {
  if constexpr (S::kGroups > 1) arrive_for_threads_of(kTurnBarriers + (group + 1) % S::kGroups, 256);
}

template <class S, GroupMasks kMasks>
__device__ __forceinline__ void attend(const GroupMemory<S>& memory, const AttentionParams& p, int item_number,
                                       int first_query, int chunks) {
  using M = GroupMemory<S>;
  const int group = static_cast<int>(threadIdx.x) >> 7;
  const bool speaks = (threadIdx.x & 31) == 0;  // for its warp
  // Each lane says itself that it has read its part of a mask.
  const bool gives_keys = speaks || kMasks == GroupMasks::kShared;
  const Item<typename S::Element> item(p, item_number);
  const int query =
      first_query + static_cast<int>((threadIdx.x >> 5) & 3) * 16 + static_cast<int>(threadIdx.x & 31) / 4;
  float scale = kMasks == GroupMasks::kShared ? p.scale * kLog2E : p.scale,
        to_log2 = kMasks == GroupMasks::kNone ? p.scale * kLog2E : kLog2E;
  keep(scale);
  keep(to_log2);
  const bool replaces = p.mask_replaces;
  GroupAttending<S, kMasks> attending;
  const uint64_t queries = tile_descriptor(memory.queries_of(group));
  const auto values_of = [&](int slot) { return column_descriptor(memory.values(slot), S::kKeyBox); };
  RingPlace keys_at, values_at;
  if (group == S::kGroups - 1 && chunks > 1) give_turn<S>(group);
  wait_for_earlier();
  barrier_wait(memory.queries_in + 8 * group, 0);
  int chunk = chunks - 1;
  attending.template fetch_mask<true>(item, query, chunk);
  barrier_wait(M::of_keys(memory.full, 0), 0);
  attending.start_scores(queries, tile_descriptor(memory.keys(0)));
  group_wait<0>();
  attending.keep_scores();
  attending.template apply_masks<true>(item, memory.mask(0), query, chunk, scale, replaces);
  if (gives_keys) barrier_arrive(M::of_keys(memory.empty, 0));
  keys_at.next(memory.stages);
  attending.hide_from(item.k.rows - chunk * S::kKeys);
  attending.weigh(to_log2);
  attending.take_weights();
  while (--chunk >= 0) {
    attending.template fetch_mask<false>(item, query, chunk);
    barrier_wait(M::of_keys(memory.full, keys_at.slot), keys_at.parity);
    wait_for_turn<S>(group);
    attending.start_scores(queries, tile_descriptor(memory.keys(keys_at.slot)));
    barrier_wait(M::of_values(memory.full, values_at.slot), values_at.parity);
    attending.start_values(values_of(values_at.slot));
    if (group != S::kGroups - 1 || chunk > 0) give_turn<S>(group);
    group_wait<1>();
    attending.keep_scores();
    attending.template apply_masks<false>(item, memory.mask(keys_at.slot), query, chunk, scale, replaces);
    if (gives_keys) barrier_arrive(M::of_keys(memory.empty, keys_at.slot));
    keys_at.next(memory.stages);
    attending.weigh(to_log2);
    group_wait<0>();
    attending.keep_values();
    if (speaks) barrier_arrive(M::of_values(memory.empty, values_at.slot));
    values_at.next(memory.stages);
    attending.take_weights();
    attending.rescale();
  }
  barrier_wait(M::of_values(memory.full, values_at.slot), values_at.parity);
  attending.start_values(values_of(values_at.slot));
  group_wait<0>();
  attending.keep_values();
  sync_threads_of(kTurnBarriers + S::kGroups + group, 128);  // nobody reads the group's queries any more
  attending.store(item, memory.queries_of(group), first_query);
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <class S, GroupMasks kMasks>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks)
    attention_groups(const __grid_constant__ AttentionMaps maps, const __grid_constant__ AttentionParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t shared[];
  __shared__ __align__(8) uint64_t barriers[S::kGroups + 4 * kMostAttentionStages];
  const uint32_t first = shared_address(shared), barrier = shared_address(barriers);
  const GroupMemory<S> memory{first,
                              first + S::kGroups * S::kGroupQueryBytes,
                              barrier,
                              barrier + 8 * S::kGroups,
                              barrier + 8 * (S::kGroups + 2 * kMostAttentionStages),
                              kept(p.stages)};
  if (threadIdx.x == 0) {
    prefetch_map(&maps.q);
    prefetch_map(&maps.k);
    prefetch_map(&maps.v);
    for (int i = 0; i < S::kGroups; ++i) barrier_init(barrier + 8 * i, 1);
    for (int i = 0; i < kMostAttentionStages; ++i) {
      barrier_init(memory.of_keys(memory.full, i), kMasks == GroupMasks::kShared ? 1 + 32 : 1);
      barrier_init(memory.of_values(memory.full, i), 1);
    }
    for (int i = 0; i < kMostAttentionStages; ++i) {
      barrier_init(memory.of_keys(memory.empty, i), (kMasks == GroupMasks::kShared ? 128 : 4) * S::kGroups);
      barrier_init(memory.of_values(memory.empty, i), 4 * S::kGroups);
    }
    barrier_init_fence();
  }
  const int block = static_cast<int>(blockIdx.x), item = divide(block, p.row_blocks);
  const int first_query = (block - item * static_cast<int>(p.row_blocks.divisor)) * S::kGroups * kGroupQueries;
  const int chunks = (kept(p.keys) + S::kKeys - 1) / S::kKeys;
  __syncthreads();
  start_later();
  const int warp = static_cast<int>(threadIdx.x) >> 5;
  if (warp < 4 * S::kGroups) {
    take_registers<GroupRegisters<S, kMasks>::kOther>();
    attend<S, kMasks>(memory, p, item, first_query + (warp >> 2) * kGroupQueries, chunks);
  } else {
    leave_registers<GroupRegisters<S, kMasks>::kAsker>();
    if (threadIdx.x == S::kGroups * 128) fill_chunks(memory, maps, p, item, first_query, chunks);
    if constexpr (kMasks == GroupMasks::kShared) {
      if (warp == 4 * S::kGroups + 1) fill_masks(memory, p, item, chunks);
    }
  }
#endif
}

template <class T, int kGroups, int kDepth, GroupMasks kMasks>
AttentionGroupVariant typed_variant() {
  constexpr bool kSmall = kDepth <= 64, kNone = kMasks == GroupMasks::kNone;  // masks take registers
  constexpr int kKeys = kGroups == 1   ? 64
                        : kGroups == 2 ? (kMasks == GroupMasks::kEach ? 64 : 128)
                                       : (kSmall && kNone ? 128 : 64);
  using S = GroupShape<T, kGroups, kDepth, kKeys, (kGroups > 1 ? 1 : kSmall ? 3 : 2)>;
  return {reinterpret_cast<const void*>(&attention_groups<S, kMasks>),
          S::kKeys,
          S::kThreads,
          S::kGroups * S::kGroupQueryBytes,
          2 * S::kChunkBytes + (kMasks == GroupMasks::kShared ? S::kKeys * 4 : 0),
          S::kBlocks > 1 ? 2 : kMostAttentionStages,
          S::kBlocks};
}

template <int kGroups, int kDepth, GroupMasks kMasks>
AttentionGroupVariant group_variant(ElementType type) {
  if (type == ElementType::kFloat16) return typed_variant<__half, kGroups, kDepth, kMasks>();
  // Masks of their own for each query take long to compile: in bfloat16 one form of them.
  if constexpr (kMasks != GroupMasks::kEach || kGroups == 1) {
    return typed_variant<__nv_bfloat16, kGroups, kDepth, kMasks>();
  }
  return {};
}

template <int kDepth, GroupMasks kMasks>
AttentionGroupVariant variant_of_groups(ElementType type, int groups) {
  switch (groups) {
    case 1:
      return group_variant<1, kDepth, kMasks>(type);
    case 2:
      return group_variant<2, kDepth, kMasks>(type);
    default:
      return group_variant<3, kDepth, kMasks>(type);
  }
}

template <GroupMasks kMasks>
AttentionGroupVariant variant_of_depth(ElementType type, int groups, int depth) {
  return depth <= 64 ? variant_of_groups<64, kMasks>(type, groups) : variant_of_groups<128, kMasks>(type, groups);
}

}  // namespace

AttentionGroupVariant attention_group_variant(ElementType type, int groups, int depth, GroupMasks masks) {
  switch (masks) {
    case GroupMasks::kNone:
      return variant_of_depth<GroupMasks::kNone>(type, groups, depth);
    case GroupMasks::kShared:
      return variant_of_depth<GroupMasks::kShared>(type, groups, depth);
    default:
      return variant_of_depth<GroupMasks::kEach>(type, groups, depth);
  }
}

}  // namespace blade::backends::cuda
