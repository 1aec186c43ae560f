// The order in which a chain of steps runs strip by strip: each step goes as far as its operands allow, so that no row
// is computed twice.
#pragma once

#include <span>
#include <vector>

#include "engine/strip_rows.h"

namespace blade::engine {

struct StripRows {
  struct Read {
    int step;  // an earlier one
    RowWindow window;
  };
  int64_t rows = 0;       // of the step's result
  int64_t unit = 1;       // a strip begins at multiples of it
  int64_t at_a_time = 1;  // the most rows of a strip; a multiple of the unit
  std::vector<Read> reads;
};

// Rows of each step from which some rows of the last one can be made: by those alone, or not at all.
std::vector<RowRange> rows_for(std::span<const StripRows> steps, RowRange last);

// The rows that each step makes in each strip, in this order, until it has made those of `part`; none where they cannot
// all be made.
std::vector<std::vector<RowRange>> strip_schedule(std::span<const StripRows> steps, std::span<const RowRange> part);

// The rows of a step's result that a strip's readers need or that were made for later ones: kept from the strip before,
// then made.
struct KeptRows {
  int64_t begin = 0, kept_end = 0, end = 0;
};
// By strip and step, the last step aside.
std::vector<std::vector<KeptRows>> kept_rows(std::span<const StripRows> steps, std::span<const RowRange> part,
                                             const std::vector<std::vector<RowRange>>& schedule);

}  // namespace blade::engine
