// How products are cut into tasks: which of rows and columns, and into how many.
#include <gtest/gtest.h>

#include <mutex>
#include <set>

#include "backends/cpu/matrix/tile_driver.h"

namespace blade::backends::cpu {
namespace {

// Of `rows` x `k` by `k` x `n` bfloat16 on tile registers, whose speed does not depend on the machine at hand.
TileJob<BFloat16> product(int64_t rows, int64_t k, int64_t n) {
  TileJob<BFloat16> job;
  job.rows = rows;
  job.run_length = k;
  job.input_bytes = rows * k * int64_t{sizeof(BFloat16)};
  job.b.k = packed_steps<BFloat16>(1, k);
  job.b.n = n;
  job.b.lanes = 16;
  job.b.vectors = 2;
  job.b.unit = MatrixUnit::kTiles;
  return job;
}

std::pair<int, int> parts(const TileJob<BFloat16>& job, int threads) {
  const TileSplit split = choose_split(job, threads);
  return {split.tile_parts, split.panel_parts};
}

TEST(TileSplit, LittleWorkIsOneTask) { EXPECT_EQ(parts(product(32, 32, 32), 8), std::pair(1, 1)); }

TEST(TileSplit, OneThreadHasOneTask) { EXPECT_EQ(parts(product(50176, 576, 64), 1), std::pair(1, 1)); }

TEST(TileSplit, RowsAreCutWhereWeightsAreFew) {
  EXPECT_EQ(parts(product(196, 256, 1024), 2), std::pair(2, 1));
  EXPECT_EQ(parts(product(784, 128, 512), 4), std::pair(4, 1));
}

TEST(TileSplit, ColumnsAreCutWhereWeightsAreMost) {
  EXPECT_EQ(parts(product(49, 512, 2048), 2), std::pair(1, 2));
  EXPECT_EQ(parts(product(1, 2048, 1001), 2), std::pair(1, 2));
}

TEST(TileSplit, LongPartsAreSeveralTasks) { EXPECT_EQ(parts(product(50176, 576, 64), 2), std::pair(8, 1)); }

TEST(TileSplit, AStoredBlockingIsTakenAsFarAsItGoes) {
  TileJob<BFloat16> job = product(100, 64, 96);  // four tiles of 32 rows and less, three panels
  job.set_blocking({.tile_parts = 3, .panel_parts = 2});
  EXPECT_EQ(parts(job, 2), std::pair(3, 2));
  job.set_blocking({.tile_parts = 100, .panel_parts = 100});
  EXPECT_EQ(parts(job, 2), std::pair(4, 3));
}

// Three groups of 80 channels, 1x1: as much for each thread.
TEST(TileSplit, PartsOfGroupsAreSharedEvenly) {
  TileJob<BFloat16> all = product(29 * 32, 3 * 96, 80);
  const auto parts_of = [&](int64_t pixel_bytes, int threads) {
    const TileSplit split = choose_group_split(all, pixel_bytes, threads);
    return std::pair(split.tile_parts, split.panel_parts);
  };
  EXPECT_EQ(parts_of(900 << 10, 2), std::pair(2, 1));  // of four, three have eight tiles each
  EXPECT_EQ(parts_of(400 << 10, 1), std::pair(2, 1));
  EXPECT_EQ(parts_of(200 << 10, 1), std::pair(1, 1));

  all = product(29 * 32, 9 * 2048, 512);  // weights of 19 MB
  EXPECT_EQ(parts_of(4 << 20, 1), std::pair(1, 1));
}

TEST(TileSplit, AStoredBlockingOfGroupsHasWorkForAllThreads) {
  TileJob<BFloat16> all = product(29 * 32, 3 * 96, 32);  // one panel
  all.set_blocking({.tile_parts = 1, .panel_parts = 2});
  EXPECT_EQ(choose_group_split(all, 900 << 10, 2).tile_parts, 2);
  all.set_blocking({.tile_parts = 4, .panel_parts = 1});
  EXPECT_EQ(choose_group_split(all, 900 << 10, 2).tile_parts, 4);
}

TEST(TileSplit, PartsAreAllOfItOnce) {
  ThreadPool pool(2);
  std::mutex mutex;
  std::multiset<std::pair<int64_t, int64_t>> seen;
  run_parts({3, 2, 1e6}, 7, 5, pool, [&](const TileRange& part, int) {
    const std::lock_guard<std::mutex> lock(mutex);
    for (int64_t tile = part.first_tile; tile < part.last_tile; ++tile) {
      for (int64_t panel = part.first_panel; panel < part.last_panel; ++panel) seen.emplace(tile, panel);
    }
  });
  EXPECT_EQ(seen.size(), 35u);
  EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), 35u);
}

}  // namespace
}  // namespace blade::backends::cpu
