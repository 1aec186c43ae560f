// The attention kernel: what it is told, and its forms.
#pragma once

#include "backends/cuda/kernel_params.h"

namespace blade::backends::cuda {

// Attention of items (heads of a batch): strides in elements, 0 where an operand repeats.
struct AttentionParams {
  struct Operand {
    const void* data = nullptr;
    int row = 0, column = 0;
    bool in_pieces = false;  // columns side by side, rows and items at multiples of 16 bytes
    bool is_float = false;
    int batch[kMaxRank] = {};
  };
  Operand q, k, v, mask, added, out;
  float scale = 1;
  int queries = 0, keys = 0, depth = 0, width = 0;
  bool mask_replaces = false;
  int stages = 1;      // chunks of keys on their way at once
  int split_log2 = 0;  // the blocks of a cluster divide the keys: of the forms of 8 and 16 queries
  FastDivisor row_blocks;
  int batch_rank = 0;
  FastDivisor batch_dims[kMaxRank];
};

inline constexpr int kAttentionThreads = 128;
inline constexpr int kMostAttentionDepth = 128;  // of queries and of values

struct AttentionVariant {
  const void* kernel = nullptr;                         // AttentionParams; nullptr: not compiled
  int keys = 0;                                         // of a chunk
  int query_bytes = 0, stage_bytes = 0, sum_bytes = 0;  // of shared memory; sums take the place of the rest
};

// rows: queries of a block, 16, 32 (not of bfloat16), 64 or (of float16) 128; blocks of fewer divide the keys among
// more warps. type: of q, k, v and the result.
AttentionVariant attention_variant(ElementType type, int rows, int depth);

// Attention of few queries, whose keys and values stream from memory: operands in pieces, float16 or
// bfloat16.
inline constexpr int kStreamThreads = 128, kStreamQueries = 8;  // of a block
inline constexpr int kMostStreamBlocks = 16;                    // of a cluster

struct AttentionStreamVariant {
  const void* kernel;  // AttentionParams
  int shared_bytes;
};
AttentionStreamVariant attention_stream_variant(ElementType type, int depth, bool masked);

// Attention by groups of four warps, each with 64 queries (compute capability 9.0): what its copies go by, dims
// [columns, rows, three of batch].
struct AttentionMaps {
  TensorMap q, k, v;
};
inline constexpr int kMappedBatchDims = 3;
inline constexpr int kGroupQueries = 64;

struct AttentionGroupVariant {
  const void* kernel;  // AttentionMaps, AttentionParams; nullptr: not compiled
  int keys;            // of a chunk
  int threads;
  int query_bytes, stage_bytes;  // of shared memory
  int stages;                    // at most
  int blocks;                    // beside each other on a multiprocessor
};

// What is added to scores or replaces them: nothing, one mask alike for all queries, or any others.
enum class GroupMasks : uint8_t { kNone, kShared, kEach };
// groups: 1 to 3 of a block.
AttentionGroupVariant attention_group_variant(ElementType type, int groups, int depth, GroupMasks masks);

}  // namespace blade::backends::cuda
