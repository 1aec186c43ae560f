// An attention node as heads of matrices where they lie: what its rows have in common.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/attention_block.h"
#include "backends/kernel.h"

namespace blade::backends::cpu {

// A matrix for each item of the batch: where they begin, and strides between rows and columns.
struct MatrixBatch {
  std::vector<int64_t> offsets;
  int64_t row = 0, column = 0;

  // From row `first` on of the matrix of an item.
  template <class T>
  StridedMatrix<T> at(const T* data, size_t item, int64_t first) const {
    return {data + offsets[item] + first * row, row, column};
  }
};

struct AttentionPlan {
  int64_t items = 0, queries = 0, keys = 0, depth = 0, width = 0;  // width: of a value
  MatrixBatch q, k, v, out, mask[2];
  int masks = 0;
  bool mask_replaces = false;
  float scale = 1;

  explicit AttentionPlan(const KernelRequest& request);
  bool same_head(size_t item, size_t other) const {
    return k.offsets[item] == k.offsets[other] && v.offsets[item] == v.offsets[other];
  }
};

// The mask operands of a run; null where there are none.
struct AttentionMasks {
  const float* data[2] = {nullptr, nullptr};

  AttentionMasks(const AttentionPlan& plan, const KernelArgs& args);
  // Into a block of queries of an item, from row `row` on.
  template <class Block>
  void bind(const AttentionPlan& plan, size_t item, int64_t row, Block& block) const {
    if (data[0] != nullptr) block.mask = plan.mask[0].at(data[0], item, row);
    if (data[1] != nullptr) block.added = plan.mask[1].at(data[1], item, row);
    block.mask_replaces = plan.mask_replaces;
    block.scale = plan.scale;
  }
};

// Operands of type T, masks of float32, elements of queries and results side by side, nothing empty.
template <class T>
Support supports_attention(const KernelRequest& request);

}  // namespace blade::backends::cpu
