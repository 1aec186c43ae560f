// How convolutions on tile registers are cut into tasks.
#pragma once

#include <cstdint>
#include <vector>

namespace blade::backends::cpu {

// How the rows of each image and the panels are cut. Of small images several make a strip, so that weights are read
// once for all of them.
struct PlaneSplit {
  int64_t rows = 1;  // of a strip
  int64_t strips = 1;
  int64_t panel_parts = 1;
  int64_t images = 1;  // of a strip

  int64_t last_rows(int64_t all) const { return all - (strips - 1) * rows; }
};

// For 1, 2, ... threads, as a pool may have fewer than a kernel is planned for: searched for once and kept with it.
using PlaneSplits = std::vector<PlaneSplit>;

}  // namespace blade::backends::cpu
