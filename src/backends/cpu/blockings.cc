// A handful a row: each is a plan that tuning runs.
#include "backends/cpu/blockings.h"

#include <algorithm>

#include "backends/cpu/matrix/packed_b.h"

namespace blade::backends::cpu {

std::vector<Blocking> panel_blockings(int64_t n) {
  std::vector<Blocking> blockings;
  for (int vectors : other_panel_vectors(n)) {
    blockings.emplace_back();
    blockings.back().vectors = vectors;
  }
  return blockings;
}

std::vector<Blocking> product_blockings(const KernelRequest& request, int64_t n) {
  std::vector<Blocking> blockings = panel_blockings(n);
  const int threads = request.num_threads;
  if (threads == 1) return blockings;
  const std::pair<int, int> splits[] = {{threads, 1}, {1, threads}, {2 * threads, 1}, {4 * threads, 1}};
  for (const auto& [tile_parts, panel_parts] : splits) {
    blockings.emplace_back();
    blockings.back().tile_parts = tile_parts;
    blockings.back().panel_parts = panel_parts;
  }
  return blockings;
}

void add_strips(std::vector<Blocking>& to, int64_t rows, int64_t most) {
  int64_t last = std::max<int64_t>(1, rows);
  for (const int64_t other : {rows / 4, rows / 2, rows * 2, rows * 4}) {
    const int64_t strip = std::clamp<int64_t>(other, 1, std::max<int64_t>(1, most));
    if (strip == rows || strip == last) continue;
    to.emplace_back();
    to.back().strip = static_cast<int>(last = strip);
  }
}

}  // namespace blade::backends::cpu
