// Finds the rows of A for tiles of AMX: in place where they can be loaded so, else in copies.
#pragma once

#include <algorithm>

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
        blocks(j.run_length),
        copies(j.copy_rows || (j.rows < kAmxRows && !j.readable_past_end)),
        copies_last(!copies && blocks.elements() != j.run_length) {}

  int64_t units() const { return amx_units(job.b.vectors); }
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
    tile.num_units = ceil_div(last - first, kAmxRows);
    for (int64_t u = 0; u < tile.num_units; ++u, scratch += unit_elements()) {
      const int64_t row = first + u * kAmxRows;
      prepare_unit(row, std::min(kAmxRows, last - row), find_rows, scratch, tile, tile.units[u]);
    }
  }

 private:
  void prepare_unit(int64_t first, int64_t count, RowFinder<BFloat16> find_rows, BFloat16* scratch, AmxTile& tile,
                    AmxUnit& unit) const {
    unit.last = nullptr;
    const BFloat16* rows[kAmxRows];
    if (copies) {
      find_rows(first, static_cast<int>(count), rows);
      tile.pitch = blocks.copy_pitch();
      unit.base = scratch;
      unit.keep = kept(first, first, count);
      const int64_t length = job.run_length / job.copied_runs;
      for (int64_t i = 0; i < count; ++i)
        amx_kernels().gather_row(rows[i], job.run_offsets, job.copied_runs, length, scratch + i * tile.pitch);
      return;
    }
    // The last unit begins earlier, among rows that others keep, where nothing may be read past the end.
    const int64_t start = job.readable_past_end ? first : std::min(first, job.rows - kAmxRows);
    find_rows(start, 2, rows);
    unit.base = rows[0];
    tile.pitch = rows[1] - rows[0];
    unit.keep = kept(start, first, count);
    if (!copies_last) return;
    for (int64_t r = 0; r < job.runs; ++r) {
      const int64_t offset = job.run_offsets != nullptr ? job.run_offsets[r] : 0;
      amx_kernels().gather_last(unit.base + offset, tile.pitch, job.run_length, scratch + r * kAmxRows * kAmxElements);
    }
    unit.last = scratch;
  }

  // Of the unit that begins at row `start`, those of [first, first + count) that are results.
  uint32_t kept(int64_t start, int64_t first, int64_t count) const {
    uint32_t keep = 0;
    for (int64_t row = first; row < first + count; ++row) {
      if (job.is_result(row)) keep |= 1u << (row - start);
    }
    return keep;
  }
};

}  // namespace blade::backends::cpu
