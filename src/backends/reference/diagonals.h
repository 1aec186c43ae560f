// Where the elements of packed diagonals stand in a matrix: shared by the reference and the CPU kernels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ir/ops/attrs.h"

namespace blade::backends {

// Diagonals [lower, upper] of a rows x columns matrix, packed from the highest down, each `longest` elements long.
struct Diagonals {
  int64_t lower = 0, upper = 0, rows = 0, columns = 0, longest = 0;
  ir::DiagAttrs align;

  Diagonals(const std::vector<int64_t>& k, int64_t rows_in, int64_t columns_in, const ir::DiagAttrs& attrs)
      : lower(k.front()), upper(k.back()), rows(rows_in), columns(columns_in), align(attrs) {
    longest = std::max<int64_t>(0, std::min(rows + std::min<int64_t>(upper, 0), columns - std::max<int64_t>(lower, 0)));
  }
  int64_t count() const { return upper - lower + 1; }
  // Elements of packed row `d`, and the first column of that row that holds one.
  int64_t length(int64_t d) const {
    const int64_t k = upper - d;
    return std::max<int64_t>(0, std::min(rows + std::min<int64_t>(k, 0), columns - std::max<int64_t>(k, 0)));
  }
  int64_t first(int64_t d) const {
    const int64_t k = upper - d;
    const bool left = (k >= 0 && align.super_left) || (k <= 0 && align.sub_left);
    return left ? 0 : longest - length(d);
  }
  // Position in the matrix of packed element (d, i), -1 for padding.
  int64_t position(int64_t d, int64_t i) const {
    const int64_t k = upper - d, n = i - first(d);
    if (n < 0 || n >= length(d)) return -1;
    return (n + std::max<int64_t>(-k, 0)) * columns + n + std::max<int64_t>(k, 0);
  }
};

}  // namespace blade::backends
