// Numpy broadcasting reduced to the fewest loops: adjacent dims are merged wherever every operand allows it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "backends/cpu/kernel_support.h"

namespace blade::backends::cpu {

inline constexpr int kMaxOperands = 16;

struct BroadcastPlan {
  ir::Dims dims;                  // of the output, merged; at least one dim
  std::vector<ir::Dims> strides;  // of each operand over `dims`, in elements; the last one is 0 or 1

  int64_t inner() const { return dims.back(); }
  int64_t rows() const { return product(dims, 0, dims.size() - 1); }
  bool flat() const { return dims.size() == 1; }
};

BroadcastPlan plan_broadcast(const ir::Dims& out, const std::vector<ir::Dims>& operands);

// Calls fn(first output element, element count, offsets of the operands) for pieces of rows that cover the output; a
// row longer than `max_piece` comes in several pieces. `work` as in parallel_ranges.
template <class Fn>
void for_each_row(ThreadPool* pool, const BroadcastPlan& plan, int64_t max_piece, double work, Fn&& fn) {
  const int64_t inner = plan.inner();
  const int64_t rows = plan.rows();
  if (inner == 0 || rows == 0) return;
  const int64_t pieces = ceil_div(inner, max_piece);
  const size_t outer_rank = plan.dims.size() - 1;
  parallel_ranges(pool, rows * pieces, work * static_cast<double>(std::min(inner, max_piece)),
                  [&](int64_t begin, int64_t end) {
                    std::array<int64_t, kMaxOperands> offsets{};
                    for (int64_t unit = begin; unit < end; ++unit) {
                      const int64_t row = unit / pieces, piece = unit % pieces * max_piece;
                      for (size_t k = 0; k < plan.strides.size(); ++k) offsets[k] = piece * plan.strides[k].back();
                      int64_t rest = row;
                      for (size_t d = outer_rank; d-- > 0;) {
                        const int64_t index = rest % plan.dims[d];
                        rest /= plan.dims[d];
                        for (size_t k = 0; k < plan.strides.size(); ++k) offsets[k] += index * plan.strides[k][d];
                      }
                      fn(row * inner + piece, std::min(max_piece, inner - piece), offsets.data());
                    }
                  });
}

}  // namespace blade::backends::cpu
