// Cuts a product into parts for threads: by what its arithmetic costs and by what each core has to bring in.
#include <algorithm>

#include "backends/cpu/matrix/tile_driver.h"
#include "backends/machine.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

constexpr double kMinPartCycles = 750;     // of one thread
constexpr double kCyclesPerNs = 3;         // with what surrounds the arithmetic of short products
constexpr double kBytesPerCycle = 8;       // weights from L3 or memory, a core
constexpr double kOwnBytesPerCycle = 32;   // what this core wrote before
constexpr double kOtherBytesPerCycle = 6;  // what another core wrote before
constexpr double kAmxSpeed = 13;           // steps along K that AMX takes where vectors take one
constexpr double kTaskCycles = 200e3;      // tasks of about this length even out what other processes take

// What a core brings in for its part. Layers before and after are most often cut by rows: a part with some of the
// columns reads rows that other cores wrote, and its results are read by them.
template <class T>
double transfer_cycles(const TileJob<T>& job, const TileSplit& split) {
  const double weights = static_cast<double>(job.b.bytes()) / split.panel_parts;
  const double input = static_cast<double>(job.input_bytes) / split.tile_parts;
  const double output = static_cast<double>(job.rows * job.b.n) * sizeof(T) / split.tile_parts / split.panel_parts;
  const double others = 1 - 1.0 / split.panel_parts;
  const double from_others = job.on_tiles() ? kOtherBytesToTiles : kOtherBytesPerCycle;
  return weights / kBytesPerCycle + input * (1 - others) / kOwnBytesPerCycle + (input + output) * others / from_others;
}

}  // namespace

template <class T>
TileSplit choose_split(const TileJob<T>& job, int threads) {
  const int64_t tiles = tile_count(job);
  const int64_t panels = job.b.panels();
  const double speed = job.on_tiles() ? kAmxSpeed : Machine::host().fma_per_cycle;
  const double tile_cycles = static_cast<double>(job.b.k * max_tile_rows(job) * job.b.vectors) / speed;
  const double cycles = tile_cycles * static_cast<double>(tiles * panels);
  if (job.tile_parts > 0 && job.panel_parts > 0) {
    return {static_cast<int>(std::min<int64_t>(job.tile_parts, tiles)),
            static_cast<int>(std::min<int64_t>(job.panel_parts, panels)), cycles};
  }
  TileSplit best{1, 1, cycles};
  threads = static_cast<int>(std::clamp(cycles / kMinPartCycles, 1.0, std::max(1.0, static_cast<double>(threads))));
  double best_cost = -1;
  for (int t = 1; t <= threads; ++t) {
    const auto tile_parts = static_cast<int>(std::min<int64_t>(t, tiles));
    const auto panel_parts = static_cast<int>(std::min<int64_t>(std::max(1, threads / t), panels));
    const double work = tile_cycles * static_cast<double>(ceil_div(tiles, tile_parts) * ceil_div(panels, panel_parts));
    const double cost = work + transfer_cycles(job, {tile_parts, panel_parts, cycles});
    if (best_cost < 0 || cost < best_cost) {
      best_cost = cost;
      best = {tile_parts, panel_parts, cycles};
    }
  }
  if (threads > 1 && best.panel_parts == 1) {
    const int64_t tiles_per_part = tiles / best.tile_parts;
    const double part_cycles = tile_cycles * static_cast<double>(tiles_per_part * panels);
    const auto pieces = std::min<int64_t>({4, static_cast<int64_t>(part_cycles / kTaskCycles), tiles_per_part / 4});
    if (pieces > 1) best.tile_parts *= static_cast<int>(pieces);
  }
  return best;
}

template <class T>
TileSplit choose_group_split(TileJob<T> all, int64_t pixel_bytes, int threads) {
  constexpr int64_t kPartBytes = 256 << 10;  // of pixels, in L2 from group to group
  constexpr int64_t kLeastTiles = 8;
  const int64_t tiles = tile_count(all);
  TileSplit split = choose_split(all, threads);
  if (all.tile_parts > 0) {
    if (split.tile_parts * split.panel_parts >= std::min<int64_t>(threads, tiles)) return split;
    all.tile_parts = all.panel_parts = 0;
    split = choose_split(all, threads);
  }
  if (split.panel_parts > 1) return split;
  // Each part reads all weights: no more parts than pixels make up for.
  const auto weight_bytes = std::max<int64_t>(1, static_cast<int64_t>(all.b.bytes()));
  const int64_t parts = std::min({ceil_div(pixel_bytes, kPartBytes), pixel_bytes / weight_bytes, tiles / kLeastTiles});
  split.tile_parts = static_cast<int>(std::max<int64_t>(1, parts / split.tile_parts)) * split.tile_parts;
  return split;
}

void run_parts(const TileSplit& split, int64_t tiles, int64_t panels, ThreadPool& pool,
               FunctionRef<void(const TileRange& part, int slot)> fn) {
  pool.parallel_for(split.tile_parts * split.panel_parts, split.cycles / kCyclesPerNs, [&](int task, int slot) {
    const int tile_part = task % split.tile_parts;
    const int panel_part = task / split.tile_parts;
    TileRange range;
    range.first_tile = tile_part * tiles / split.tile_parts;
    range.last_tile = (tile_part + 1) * tiles / split.tile_parts;
    range.first_panel = panel_part * panels / split.panel_parts;
    range.last_panel = (panel_part + 1) * panels / split.panel_parts;
    fn(range, slot);
  });
}

template TileSplit choose_split(const TileJob<float>&, int);
template TileSplit choose_split(const TileJob<BFloat16>&, int);
template TileSplit choose_group_split(TileJob<float>, int64_t, int);
template TileSplit choose_group_split(TileJob<BFloat16>, int64_t, int);

}  // namespace blade::backends::cpu
