// The micro-kernel of AMX: up to four tile registers of sums, 16 rows each, over the panels that the AVX512-BF16
// kernels read too. It has no row pointers: the 16 rows of a register lie at one pitch.
#pragma once

#include <cstdint>
#include <span>

#include "backends/cpu/matrix/packed_b.h"
#include "backends/cpu/matrix/tile_kernel.h"
#include "base/checked_math.h"
#include "base/half.h"

namespace blade::backends::cpu {

inline constexpr int64_t kAmxRows = 16;      // of a tile register
inline constexpr int64_t kAmxElements = 32;  // bfloat16 in a row of a tile register
inline constexpr int64_t kMaxAmxUnits = 4;   // tile registers of sums, one above the other
inline constexpr int64_t kAmxWideUnits = 2;  // the same where panels have more than one vector: 2 x 2 registers

// As few units as `rows` take, all of nearly one height: how high the highest is. Products take a cycle a row. (More
// units that leave out more rows lose: each pair of them reads all of B.)
constexpr int64_t even_unit_rows(int64_t rows) {
  return rows <= 0 ? kAmxRows : ceil_div(rows, ceil_div(rows, kAmxRows));
}

constexpr int64_t amx_units(int vectors) { return vectors == 1 ? kMaxAmxUnits : kAmxWideUnits; }

// Whether all panels are whole pairs of vectors, for tile registers, and bias, residual and clamp is all that follows.
inline bool takes_whole_panels(const PackedB& b, const Epilogue<BFloat16>& e) {
  return b.unit == MatrixUnit::kTiles && b.vectors == 2 && b.n % b.width() == 0 && is_plain(e) && e.generic == nullptr;
}

// How a run along K is cut into blocks, one tile register each: all of the same depth, as the configuration says. A
// last one that does not fit begins earlier, over pairs of weights that the block before it has had: A has zeros there.
// Not so where zeros follow the pairs of weights (`padded`): an infinite one times zero would be NaN.
struct AmxBlocks {
  int64_t steps = 0;  // pairs of a run of weights
  int64_t count = 0;
  int64_t depth = 1;  // pairs of a block

  explicit AmxBlocks(int64_t run_length, bool padded = false) : steps(ceil_div(run_length, int64_t{2})) {
    constexpr int64_t kMost = kAmxElements / 2;
    count = ceil_div(steps, kMost);
    if (count == 1) {
      depth = steps;
    } else if (count > 1) {  // divisions would be felt: this is asked for each tile
      depth = steps % kMost == 0 || steps % count != 0 ? kMost : steps / count;
    }
    if (padded) steps = count * depth;
  }
  int64_t overlap() const { return count * depth - steps; }  // pairs that the last two blocks share
  int64_t elements() const { return count * depth * 2; }
  // Elements from one row to the next of a copy by AmxKernels::gather_row.
  int64_t copy_pitch() const { return (ceil_div(elements(), kAmxElements) + 1) * kAmxElements; }
};

// 16 rows of A.
struct AmxUnit {
  const BFloat16* base;
  const BFloat16* last;  // [runs][16][kAmxElements]: copies of the last block of each run; null: read in place
};

// The rows of one tile of C, at most amx_units() units; those kept follow each other in the output.
struct AmxTile {
  AmxUnit units[kMaxAmxUnits];
  int64_t num_units;
  int64_t pitch;                                      // elements from one row to the next
  alignas(64) uint8_t kept[kAmxRows * kMaxAmxUnits];  // the rows that are results
  int64_t num_kept;
  int64_t first;  // of the results: rows behind the one that the arguments of a kernel point to
};

// Sums of two vectors of columns, or of one, that wait while the next are made: first in tile registers, until those
// are used again, then in L1. They are finished between the products of the next.
struct AmxPending {
  static constexpr int64_t kMaxSums = 2 * kAmxRows * 2 * 16;

  alignas(64) float sums[kMaxSums];
  alignas(64) uint8_t rows[kAmxRows * kMaxAmxUnits];  // of the sums, for each row of results
  int64_t count = 0, done = 0;                        // rows of results
  int units_held = 0, vectors_held = 0;               // of the sums, where tile registers still have them
  BFloat16* out;
  int64_t out_stride;
  const BFloat16* residual;  // null: none
  int64_t residual_stride;
  int64_t residual_columns;  // columns from here on have no residual
  bool residual_last;
  const float* bias;   // never null
  const float* slope;  // null: none; never with a clamp or a gate, nor these with one another
  float lo, hi;
  Gate gate;
  int vectors;      // of a row of sums
  int64_t columns;  // of a row of results
  bool to_half;     // TileJob::to_half
  bool is_plain;    // in bfloat16, two whole vectors, with bias, residual and clamp alone
};

// All null where the instruction set chosen by Highway has no kernels; the instructions of AMX themselves are not asked
// for here, see Machine::amx_bf16.
struct AmxKernels {
  // As a TileKernel for a panel of so many vectors; `rows` and `row_step` of the arguments are not read. Finishes what
  // is pending; its own last results may be pending afterwards, unless they go to `wide_out`.
  void (*tile)(const TileArgs<BFloat16>& args, const AmxTile& tile, int vectors, AmxPending& pending) = nullptr;
  // The same for tiles one after the other, of one unit or two, whose results may all wait. Panels of two vectors,
  // all of their columns; the epilogue: bias, residual of all columns and clamp; runs of whole blocks.
  void (*tiles)(const TileArgs<BFloat16>& args, std::span<const AmxTile* const> tiles, AmxPending& pending) = nullptr;
  void (*finish)(AmxPending& pending) = nullptr;
  // Copies a row, one run, into blocks. Writes less than copy_pitch() elements.
  void (*gather_row)(const BFloat16* row, int64_t run_length, const AmxBlocks& blocks, BFloat16* to) = nullptr;
  // Copies the last block of a run at `run` to AmxUnit::last.
  void (*gather_last)(const BFloat16* run, int64_t pitch, int64_t run_length, const AmxBlocks& blocks,
                      BFloat16* to) = nullptr;
  // Copies pixels of an odd number of channels, under 16, with a zero behind each.
  void (*pad_channels)(const BFloat16* from, int64_t pixels, int64_t channels, BFloat16* to) = nullptr;
  void (*pad_and_narrow)(const float* from, int64_t pixels, int64_t channels, BFloat16* to) = nullptr;
  // Weaves `count` rows of pixels, at most kAmxElements: a column of all of them, in pairs, then the next. Reads and
  // writes up to kAmxElements past the last column.
  void (*weave_rows)(const BFloat16* const* rows, int64_t count, int64_t channels, int64_t columns,
                     BFloat16* to) = nullptr;
};
const AmxKernels& amx_kernels();

// Configures this thread's tile registers for blocks of `depth` pairs, and `rows` rows of A and of sums, until it is
// destroyed: then nothing is pending, and they hold nothing that the system must save.
class AmxScope {
 public:
  explicit AmxScope(int64_t depth, int64_t rows = kAmxRows);
  ~AmxScope();
  AmxScope(const AmxScope&) = delete;
  AmxScope& operator=(const AmxScope&) = delete;

  AmxPending pending;
};

}  // namespace blade::backends::cpu
