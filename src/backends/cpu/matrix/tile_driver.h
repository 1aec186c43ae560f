// Walks the tiles of a matrix product in cache-sized blocks and splits them over threads: shared by products and
// convolutions, which differ only in how the rows of a tile are found.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>

#include "backends/blocking.h"
#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/packed_b.h"
#include "base/thread_pool.h"

namespace blade::backends::cpu {

// Finds the input rows of output rows [first, first + count): fills `rows` with `count` pointers and returns true when
// run_offsets lead from them to every run, or fills runs * count pointers ([run][row]) and returns false.
template <class T>
using RowFinder = FunctionRef<bool(int64_t first, int count, const T** rows)>;

// T: float or BFloat16, what A and C are stored as and what `b` was packed from.
template <class T>
struct TileJob {
  int64_t rows = 0;  // output rows (pixels)
  int64_t runs = 1;
  int64_t run_length = 0;  // packed_steps<T>(runs, run_length) == b.k
  const int64_t* run_offsets = nullptr;
  // Where the rows of each stretch of so many lie at one pitch, in elements, and run_offsets lead to all runs: tiles
  // then end with their stretch, and rows are found a stretch at a time.
  int64_t stretch = 0;
  int64_t pitch = 0;
  bool results_stay = false;  // in cache, so that nothing is lost by writing them a panel at a time
  bool copy_rows = false;     // one run only: copy rows to scratch at a pitch that does not alias in L1
  // For tiles of AMX whose epilogue is bias and one of clamp, slope and gate: `out` points to float16.
  bool to_half = false;
  // For tiles of AMX, whose rows lie at one pitch unless they are copied.
  bool readable_past_end = false;  // 15 rows behind the last may be read
  int64_t unit_rows = 16;          // of a tile register; fewer only where rows may be read past the end
  int64_t row_pitch = 1;           // of so many rows in turn only the first `row_results` are results
  int64_t row_results = 1;
  int64_t image_pitch = std::numeric_limits<int64_t>::max();  // and of so many only what the first `image_places` hold
  int64_t image_places =
      std::numeric_limits<int64_t>::max();  // a multiple of row_pitch, where there are several images
  int64_t input_bytes = 0;                  // of all rows, each byte counted once
  int64_t block_bytes = 192 << 10;          // of A in L2, beside panels of B and the output
  PackedB b;
  int tile_parts = 0, panel_parts = 0;    // how run_tiles() cuts it; 0: by choose_split()
  bool prefetch_after = false;            // this thread reads what lies behind the last panel next
  bool panels_warm = false;               // the first panel was prefetched by the job before
  bool panels_stay = false;               // all panels are in this core's L2
  std::span<const std::byte> next_input;  // of the job behind this one, where it comes from beyond L2
  T* out = nullptr;
  float* wide_out = nullptr;  // where results go as float32, instead of to `out`
  int64_t out_stride = 0;
  const Epilogue<T>* epilogue = nullptr;

  bool on_tiles() const { return sizeof(T) < sizeof(float) && b.unit == MatrixUnit::kTiles; }
  // Results among the first `row` rows: where row `row` goes in the output.
  int64_t results_before(int64_t row) const {
    const int64_t images = row / image_pitch, place = std::min(row % image_pitch, image_places);
    const int64_t before = images == 0 ? 0 : images * (image_places / row_pitch * row_results);
    return before + place / row_pitch * row_results + std::min(place % row_pitch, row_results);
  }
  void set_out(T* to) { out = to; }
  void set_blocking(const Blocking& blocking) {
    tile_parts = blocking.tile_parts;
    panel_parts = blocking.panel_parts;
  }
  // For jobs in bfloat16 whose results are read as float32.
  void set_out(float* to) requires(sizeof(T) < sizeof(float)) { wide_out = to; }
};

// Tiles and panels that one task walks.
struct TileRange {
  int64_t first_tile = 0, last_tile = 0;
  int64_t first_panel = 0, last_panel = 0;
};

// How the tiles and the panels of a job are cut into tasks.
struct TileSplit {
  int tile_parts = 1;
  int panel_parts = 1;
  double cycles = 0;  // of all its arithmetic on one thread, about
};

// Bytes a cycle of what another core wrote, or has read and gives back, to tiles of AMX, whose products are over before
// it arrives.
inline constexpr double kOtherBytesToTiles = 2;

// Rows at such a pitch compete for the same few sets of L1.
bool pitch_aliases(int64_t row_stride_bytes, MatrixUnit unit = MatrixUnit::kVectors);

// Longer sums are made in pieces of so many elements of K, whose panels stay in L2 for a block of tiles.
inline constexpr int64_t kSumSteps = 1024;

// A block_bytes for float32 and long sums: each panel is read once for up to a hundred rows or two.
int64_t long_sum_block_bytes();

// Tells a job whose other fields are set that each stretch of `rows` rows lies at one pitch, so that tiles of short
// sums end with it, unless that makes them much lower.
template <class T>
void set_stretch(TileJob<T>& job, int64_t rows, int64_t pitch);

// Of the highest tile.
template <class T>
int64_t max_tile_rows(const TileJob<T>& job);
template <class T>
int64_t tile_count(const TileJob<T>& job);
// Of tiles that each panel is read for at once.
template <class T>
int64_t tiles_per_block(const TileJob<T>& job);
template <class T>
TileSplit choose_split(const TileJob<T>& job, int threads);
// For parts that each go through all groups of a convolution: `all` is the groups as one product whose K is the sum of
// theirs, `pixel_bytes` what is read and written. A stored blocking that leaves threads idle is not taken.
template <class T>
TileSplit choose_group_split(TileJob<T> all, int64_t pixel_bytes, int threads);
// fn(part, slot) for each part of a cut, on all threads.
void run_parts(const TileSplit& split, int64_t tiles, int64_t panels, ThreadPool& pool,
               FunctionRef<void(const TileRange& part, int slot)> fn);
// One thread's part; `scratch` is that thread's, tile_slot_scratch_bytes(job) bytes.
template <class T>
size_t tile_slot_scratch_bytes(const TileJob<T>& job);
template <class T>
void run_tile_range(const TileJob<T>& job, const TileRange& range, std::type_identity_t<RowFinder<T>> find_rows,
                    std::byte* scratch);
// The whole job on all threads; scratch of threads * tile_slot_scratch_bytes(job) bytes.
template <class T>
void run_tiles(const TileJob<T>& job, std::type_identity_t<RowFinder<T>> find_rows, ThreadPool& pool,
               std::byte* scratch);

}  // namespace blade::backends::cpu
