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

// Of batches of matrices, the last two dims: the elements before the matrix that each item of the output reads.
std::vector<int64_t> batch_offsets(const ir::Dims& operand, const ir::Dims& out);

// A place in the dims of a plan but for the last, and where the operands are there.
class RowPosition {
 public:
  RowPosition(const BroadcastPlan& plan, int64_t row) : plan_(plan) {
    for (size_t d = plan.dims.size() - 1; d-- > 0;) {
      index_[d] = row % plan.dims[d];
      row /= plan.dims[d];
      for (size_t k = 0; k < plan.strides.size(); ++k) offsets_[k] += index_[d] * plan.strides[k][d];
    }
  }
  const std::array<int64_t, kMaxOperands>& offsets() const { return offsets_; }
  void next() {
    for (size_t d = plan_.dims.size() - 1; d-- > 0;) {
      for (size_t k = 0; k < plan_.strides.size(); ++k) offsets_[k] += plan_.strides[k][d];
      if (++index_[d] < plan_.dims[d]) return;
      for (size_t k = 0; k < plan_.strides.size(); ++k) offsets_[k] -= plan_.strides[k][d] * plan_.dims[d];
      index_[d] = 0;
    }
  }

 private:
  const BroadcastPlan& plan_;
  std::array<int64_t, 256> index_;  // of as many dims as there may be
  std::array<int64_t, kMaxOperands> offsets_{};
};

// Calls fn(first output element, element count, offsets of the operands) for pieces of rows that cover the output; a
// row longer than `max_piece` comes in several pieces. `work` as in parallel_ranges.
template <class Fn>
void for_each_row(ThreadPool* pool, const BroadcastPlan& plan, int64_t max_piece, double work, Fn&& fn) {
  const int64_t inner = plan.inner();
  const int64_t rows = plan.rows();
  if (inner == 0 || rows == 0) return;
  const int64_t pieces = ceil_div(inner, max_piece);
  parallel_ranges(pool, rows * pieces, work * static_cast<double>(std::min(inner, max_piece)),
                  [&](int64_t begin, int64_t end) {
                    RowPosition position(plan, begin / pieces);
                    std::array<int64_t, kMaxOperands> of_piece;
                    int64_t row = begin / pieces, piece = begin % pieces * max_piece;
                    for (int64_t unit = begin; unit < end; ++unit) {
                      const int64_t* offsets = position.offsets().data();
                      if (piece > 0) {
                        for (size_t k = 0; k < plan.strides.size(); ++k)
                          of_piece[k] = offsets[k] + piece * plan.strides[k].back();
                        offsets = of_piece.data();
                      }
                      fn(row * inner + piece, std::min(max_piece, inner - piece), offsets);
                      piece += max_piece;
                      if (piece < inner) continue;
                      piece = 0;
                      ++row;
                      position.next();
                    }
                  });
}

}  // namespace blade::backends::cpu
