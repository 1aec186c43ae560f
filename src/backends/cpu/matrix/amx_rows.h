// Finds the rows of A for tiles of AMX: in place where they can be loaded so, else in copies.
#pragma once

#include <algorithm>
#include <cassert>
#include <limits>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/tile_driver.h"

namespace blade::backends::cpu {

// How the rows of a job reach tile registers, and what a tile of it needs in scratch.
struct AmxLayout {
  const TileJob<BFloat16>& job;
  AmxBlocks blocks;
  bool copies;       // all of each row
  bool copies_last;  // only the last block of each run

  explicit AmxLayout(const TileJob<BFloat16>& j)
      : job(j),
        blocks(j.run_length, j.b.padded),
        copies(j.copy_rows || (j.rows < kAmxRows && !j.readable_past_end)),
        copies_last(!copies && blocks.elements() != j.run_length) {
    assert(j.unit_rows == kAmxRows || j.readable_past_end);
  }

  // At most of a tile. Those of a short job are few: no more than few_rows_bytes() keeps ready for it.
  int64_t units() const { return std::min(amx_units(job.b.vectors), ceil_div(job.rows, job.unit_rows)); }
  int64_t unit_elements() const {
    if (copies) return kAmxRows * blocks.copy_pitch();
    return copies_last ? job.runs * kAmxRows * kAmxElements : 0;
  }
  int64_t tile_bytes() const { return units() * unit_elements() * int64_t{sizeof(BFloat16)}; }
  // Of a job that is cut down to so few rows that they are copied.
  int64_t few_rows_bytes() const {
    return job.readable_past_end ? 0 : kAmxRows * blocks.copy_pitch() * int64_t{sizeof(BFloat16)};
  }

  // Rows [first, last) of the job as a tile, whose copies lie at `scratch` (tile_bytes()).
  void prepare(int64_t first, int64_t last, RowFinder<BFloat16> find_rows, BFloat16* scratch, AmxTile& tile) const {
    tile.num_units = ceil_div(last - first, job.unit_rows);
    tile.num_kept = 0;
    for (int64_t u = 0; u < tile.num_units; ++u, scratch += unit_elements()) {
      const int64_t row = first + u * job.unit_rows, count = std::min(job.unit_rows, last - row);
      const int64_t start = prepare_unit(row, count, find_rows, scratch, tile, tile.units[u]);
      keep(row, count, u * kAmxRows + row - start, tile);
    }
  }

 private:
  // Rows [first, first + count); the row that the unit begins with.
  int64_t prepare_unit(int64_t first, int64_t count, RowFinder<BFloat16> find_rows, BFloat16* scratch, AmxTile& tile,
                       AmxUnit& unit) const {
    unit.last = nullptr;
    const BFloat16* rows[kAmxRows];
    if (copies) {
      find_rows(first, static_cast<int>(count), rows);
      tile.pitch = blocks.copy_pitch();
      unit.base = scratch;
      for (int64_t i = 0; i < count; ++i)
        amx_kernels().gather_row(rows[i], job.run_length, blocks, scratch + i * tile.pitch);
      return first;
    }
    // The last unit begins earlier, among rows that others keep, where nothing may be read past the end.
    const int64_t start = job.readable_past_end ? first : std::min(first, job.rows - kAmxRows);
    find_rows(start, job.pitch > 0 ? 1 : 2, rows);
    unit.base = rows[0];
    tile.pitch = job.pitch > 0 ? job.pitch : rows[1] - rows[0];
    if (!copies_last) return start;
    for (int64_t r = 0; r < job.runs; ++r) {
      const int64_t offset = job.run_offsets != nullptr ? job.run_offsets[r] : 0;
      amx_kernels().gather_last(unit.base + offset, tile.pitch, job.run_length, blocks,
                                scratch + r * kAmxRows * kAmxElements);
    }
    unit.last = scratch;
    return start;
  }

  // Those of `count` rows from `first` on that are results, which lie from row `at` of the sums on.
  void keep(int64_t first, int64_t count, int64_t at, AmxTile& tile) const {
    if (job.row_pitch == 1 && job.image_places == std::numeric_limits<int64_t>::max()) {  // all of them
      for (int64_t i = 0; i < count; ++i) tile.kept[tile.num_kept + i] = static_cast<uint8_t>(at + i);
      tile.num_kept += count;
      return;
    }
    int64_t in_image = first % job.image_pitch, place = in_image % job.row_pitch;
    for (int64_t i = 0; i < count; ++i) {
      if (place < job.row_results && in_image < job.image_places)
        tile.kept[tile.num_kept++] = static_cast<uint8_t>(at + i);
      if (++place == job.row_pitch) place = 0;
      if (++in_image == job.image_pitch) in_image = place = 0;
    }
  }
};

}  // namespace blade::backends::cpu
