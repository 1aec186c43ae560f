// Blocks of tiles stay in L2 while the panels pass by; each panel stays in L1 or L2 while the tiles of a block use it.
#include "backends/cpu/matrix/tile_driver.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <span>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/amx_panels.h"
#include "backends/cpu/matrix/amx_rows.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/matrix/tile_kernel.h"
#include "backends/machine.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kBlockPointers = 8192;
constexpr int64_t kMaxBlockTiles = 256;
constexpr int64_t kPitchPad = 64;                   // bytes: moves each copied row to the next cache set
constexpr int64_t kResidentPanelBytes = 384 << 10;  // panels that stay in L2 once read need no further prefetch
constexpr int64_t kManyTiles = 8;                   // enough to forget that the first of them met cold panels
constexpr int64_t kFewRows = 8;
constexpr int64_t kGenericFloats = 2048;  // results in L1 that the rest of an epilogue takes at once
constexpr int64_t kMaxHeldColumns = 512;  // wider rows of float32 results are not held back for that
constexpr int64_t kLookAheadBytes = 4096;
constexpr int64_t kStreamAheadBytes = 6144;  // for a few rows, which only wait for memory
constexpr int64_t kShortSum = 96;  // elements of K: with more of them, finding rows and starting tiles is no cost

// Rows that a tile has a multiple of, but for the last tile.
template <class T>
int64_t unit_rows(const TileJob<T>& job) {
  return job.on_tiles() ? job.unit_rows : 1;
}

// How the rows of a job are cut: each stretch into tiles of nearly the same height.
struct TileRows {
  int64_t rows;
  int64_t stretch;  // rows
  int64_t unit;     // rows that a tile has a multiple of
  int64_t tiles;    // of a stretch
  int64_t height;   // of a tile, in units
  int64_t taller;   // so many tiles at the front of a stretch have one unit more

  template <class T>
  explicit TileRows(const TileJob<T>& job)
      : rows(job.rows),
        stretch(std::max<int64_t>(1, job.stretch > 0 ? job.stretch : job.rows)),
        unit(unit_rows(job)),
        tiles(ceil_div(stretch, int64_t{max_tile_rows(job)})),
        height(ceil_div(stretch, unit) / tiles),
        taller(ceil_div(stretch, unit) % tiles) {}

  int64_t tiles_in_all() const { return ceil_div(rows, stretch) * tiles; }
  int64_t first(int64_t tile) const {
    const int64_t i = tile % tiles;
    return std::min(rows, tile / tiles * stretch + (i * height + std::min(i, taller)) * unit);
  }
  int count(int64_t tile) const { return static_cast<int>(first(tile + 1) - first(tile)); }
  // Tiles from this one to the end of its stretch that are as tall as it is.
  int64_t alike(int64_t tile) const {
    const int64_t i = tile % tiles;
    return (i < taller ? taller : tiles) - i;
  }
};

template <class T>
int64_t pointer_bytes(const TileJob<T>& job) {
  if (job.on_tiles()) return 0;
  return static_cast<int64_t>(
      align_up(static_cast<size_t>(tiles_per_block(job) * max_tile_rows(job) * job.runs) * sizeof(T*), 64));
}

template <class T>
int64_t copy_pitch(const TileJob<T>& job) {
  return job.run_length + kPitchPad / int64_t{sizeof(T)};
}

template <class T>
int64_t copy_bytes(const TileJob<T>& job) {
  if constexpr (sizeof(T) < sizeof(float)) {
    if (job.on_tiles()) {
      const AmxLayout layout(job);
      return std::max(tiles_per_block(job) * layout.tile_bytes(), layout.few_rows_bytes());
    }
  }
  if (!job.copy_rows) return 0;
  return static_cast<int64_t>(
      align_up(static_cast<size_t>(tiles_per_block(job) * max_tile_rows(job) * copy_pitch(job)) * sizeof(T), 64));
}

// Float32 results that wait for the rest of the epilogue before they are rounded.
template <class T>
int64_t held_bytes(const TileJob<T>& job) {
  if (sizeof(T) == sizeof(float)) return 0;
  const int64_t n = std::max<int64_t>(1, job.b.n);
  const int64_t rows = max_tile_rows(job) + (n <= kMaxHeldColumns ? ceil_div(kGenericFloats, n) : 0);
  const int64_t columns = n <= kMaxHeldColumns ? n : job.b.width();
  return static_cast<int64_t>(align_up(static_cast<size_t>(rows * columns) * sizeof(float), 64));
}

// One tile, its rows found. Without initialisers: arrays of it are written before they are read.
template <class T>
struct FoundTile {
  int64_t first;
  int count;
  const T** pointers;
  bool strided;
  int64_t tiles;  // of so many rows, for pitched kernels: pointers has the first row alone; 0: for the others
  std::conditional_t<sizeof(T) < sizeof(float), AmxTile, char> amx;  // where AMX multiplies
};

// A part of the sums over K: some of the runs, or a part of the only one.
struct SumPiece {
  int64_t first_run = 0, runs = 0;
  int64_t first = 0, run_length = 0;
  int64_t first_step = 0, steps = 0;
  bool begins = true, ends = true;
};

// Sums of the pieces so far wait in the output: the first adds bias and residual, the last does the rest.
template <class T>
int64_t sum_pieces(const TileJob<T>& job, int64_t tiles) {
  if (sizeof(T) < sizeof(float) || tiles < 2 || job.b.k < 2 * kSumSteps) return 1;
  if (job.epilogue->residual != nullptr && job.epilogue->residual_last) return 1;
  const int64_t pieces = ceil_div(job.b.k, kSumSteps);
  return job.runs == 1 ? pieces : std::min(pieces, job.runs);
}

template <class T>
SumPiece sum_piece(const TileJob<T>& job, int64_t index, int64_t pieces) {
  SumPiece p{0, job.runs, 0, job.run_length, 0, job.b.k, index == 0, index + 1 == pieces};
  if (pieces == 1) return p;
  if (job.runs == 1) {
    p.first = index * job.run_length / pieces;
    p.run_length = (index + 1) * job.run_length / pieces - p.first;
  } else {
    p.first_run = index * job.runs / pieces;
    p.runs = (index + 1) * job.runs / pieces - p.first_run;
  }
  p.first_step = p.first_run * job.run_length + p.first;  // of float
  p.steps = p.runs * p.run_length;
  return p;
}

// One thread's walk over its part of a job.
template <class T>
struct Walk {
  static constexpr bool kNarrow = sizeof(T) < sizeof(float);

  const TileJob<T>& job;
  RowFinder<T> find_rows;
  std::byte* scratch;
  AmxPending* pending;  // where AMX multiplies
  const TileKernels<T>& kernels = tile_kernels<T>();
  TileArgs<T> args = common_args(job);
  TileRows cut{job};
  int64_t rows = max_tile_rows(job);
  bool generic_later = false;                              // for several tiles at once, where they are whole rows
  std::span<const std::byte> next_input = job.next_input;  // what is left to fetch of it
  int64_t finished = 0;                                    // the first row that waits for `generic`
  float* held = reinterpret_cast<float*>(scratch + pointer_bytes(job));  // held_bytes(job)
  int64_t copies_at = pointer_bytes(job) + held_bytes(job);              // what depends on the rows most comes last

  // Finds (and copies) the rows of a tile, the index-th of its block.
  void prepare(int64_t tile, int64_t index, FoundTile<T>& t) const {
    t.tiles = 0;
    if (job.on_tiles()) {
      prepare_amx(tile, index, t);
      return;
    }
    t.first = cut.first(tile);
    t.count = cut.count(tile);
    t.pointers = reinterpret_cast<const T**>(scratch) + index * rows * job.runs;
    t.strided = find_rows(t.first, t.count, t.pointers);
    if (!job.copy_rows) return;
    T* copy = reinterpret_cast<T*>(scratch + copies_at) + index * rows * copy_pitch(job);
    for (int i = 0; i < t.count; ++i, copy += copy_pitch(job)) {
      std::memcpy(copy, t.pointers[i], job.run_length * sizeof(T));
      t.pointers[i] = copy;
    }
  }

  void prepare_amx(int64_t tile, int64_t index, FoundTile<T>& t) const {
    if constexpr (kNarrow) {
      t.amx.first = 0;  // the arguments point to its own results
      const AmxLayout layout(job);
      const int64_t first = cut.first(tile), last = cut.first(tile + 1);
      t.first = job.results_before(first);
      t.count = static_cast<int>(job.results_before(last) - t.first);
      layout.prepare(first, last, find_rows, reinterpret_cast<T*>(scratch + copies_at + index * layout.tile_bytes()),
                     t.amx);
    }
  }

  // Arguments that no tile changes.
  static TileArgs<T> common_args(const TileJob<T>& job) {
    const Epilogue<T>& e = *job.epilogue;
    TileArgs<T> a;
    a.runs = job.runs;
    a.run_length = job.run_length;
    a.padded = job.b.padded;
    a.out_stride = job.out_stride;
    a.residual_stride = e.residual_row_stride;
    a.lo = e.clamp_lo;
    a.hi = e.clamp_hi;
    a.gate = e.gate;
    a.residual_last = e.residual_last;
    a.adds_first = is_plain(e) && (e.residual == nullptr || !e.residual_last);
    a.row_pitch = job.pitch;
    a.results_stay = job.results_stay;
    a.to_half = job.to_half;
    return a;
  }

  void run(const FoundTile<T>& tile, int64_t panel, const char* prefetch, int prefetch_lines,
           const SumPiece* piece = nullptr) {
    if (tile.count == 0) return;
    const Epilogue<T>& e = *job.epilogue;
    const int64_t column = panel * job.b.width();
    const bool strided = job.on_tiles() ? !job.copy_rows : tile.strided;
    args.rows = tile.pointers;
    args.row_step = strided ? 0 : tile.count;
    args.run_offsets = strided ? job.run_offsets : nullptr;
    args.panel = job.b.panel(panel);
    args.columns = job.b.columns(panel);
    if constexpr (kNarrow) {
      if (job.wide_out != nullptr) {  // NOLINT(bugprone-branch-clone): branches that are not compiled look alike
        args.wide_out = job.wide_out + tile.first * job.out_stride + column;
      } else if (e.generic != nullptr) {
        args.out_stride = generic_later ? job.b.n : args.columns;
        args.wide_out = held + (generic_later ? (tile.first - finished) * args.out_stride + column : 0);
      }
    }
    if (args.wide_out == nullptr) args.out = job.out + tile.first * job.out_stride + column;
    const bool has_residual = e.residual != nullptr && e.residual_channels > column;
    args.residual = has_residual ? e.residual + tile.first * e.residual_row_stride + column : nullptr;
    args.residual_columns = std::min<int64_t>(e.residual_channels - column, args.columns);
    args.bias = e.bias != nullptr ? e.bias + column : nullptr;
    args.slope = e.slope != nullptr ? e.slope + column : nullptr;
    args.scale = e.scale != nullptr ? e.scale + column : nullptr;
    args.shift = e.scale != nullptr ? e.shift + column : nullptr;
    args.prefetch = prefetch;
    args.prefetch_lines = prefetch_lines;
    const int vectors = job.b.panel_vectors(panel);
    if (piece != nullptr) {
      kernels.kernel[vectors][tile.count](part_of(*piece, vectors));
      if (!piece->ends) return;
    } else {
      multiply(tile, vectors);
    }
    if (e.generic == nullptr || generic_later) return;
    finish(tile.first, tile.count * std::max<int64_t>(1, tile.tiles), column, args.columns);
  }

  // The arguments for a piece of the sums.
  TileArgs<T> part_of(const SumPiece& piece, int vectors) const {
    TileArgs<T> a = args;
    a.runs = piece.runs;
    a.run_length = piece.run_length;
    a.panel += piece.first_step * vectors * job.b.lanes;
    a.rows += piece.first_run * a.row_step;
    if (a.run_offsets != nullptr) a.run_offsets += piece.first_run;
    if (job.runs == 1) a.run_offsets = &piece.first;
    if (!piece.begins) {
      a.bias = nullptr;
      a.residual = a.out;
      a.residual_stride = a.out_stride;
      a.residual_columns = a.columns;
      a.residual_last = false;
    }
    if (!piece.ends) {
      a.slope = a.scale = a.shift = nullptr;
      a.lo = -std::numeric_limits<float>::infinity();
      a.hi = std::numeric_limits<float>::infinity();
      a.gate = Gate();
      a.adds_first = true;  // nothing is split where a residual comes last
    }
    return a;
  }

  void multiply(const FoundTile<T>& tile, int vectors) {
    if constexpr (kNarrow) {
      if (job.on_tiles()) {
        amx_kernels().tile(args, tile.amx, vectors, *pending);
        return;
      }
    }
    args.tiles = tile.tiles;
    const auto& table = tile.tiles > 0 ? kernels.pitched : kernels.kernel;
    table[vectors][tile.count](args);
  }

  // The rest of the epilogue for results that lack only that.
  void finish(int64_t first, int64_t count, int64_t column, int64_t columns) const {
    const Epilogue<T>& e = *job.epilogue;
    const int64_t at = first * job.out_stride + column;
    if constexpr (!kNarrow) {  // NOLINT(bugprone-branch-clone): as above
      e.generic(e.context, {job.out + at, job.out_stride, first, 1, count, column, columns});
    } else if (job.wide_out != nullptr) {
      e.generic(e.context, {job.wide_out + at, job.out_stride, first, 1, count, column, columns});
    } else {
      e.generic(e.context, {held, columns, first, 1, count, column, columns});
      for (int64_t i = 0; i < count; ++i) narrow(held + i * columns, job.out + at + i * job.out_stride, columns);
    }
  }

  // Panels that stay in L2: each tile meets all of them, so that whole rows of the output are written (and of the
  // residual read) front to back.
  void tile_by_tile(const TileRange& range) {
    const bool by_pitch = job.stretch > 0 && !job.on_tiles() && !job.copy_rows && kernels.pitched[1][1] != nullptr;
    generic_later = job.epilogue->generic != nullptr && range.first_panel == 0 && range.last_panel == job.b.panels() &&
                    (!kNarrow || job.b.n <= kMaxHeldColumns) && (!by_pitch || job.b.panels() == 1);
    if (by_pitch) {
      for (int64_t panel = range.first_panel; panel < range.last_panel; ++panel)
        pitched({range.first_tile, range.last_tile, panel, panel + 1});
    } else {
      one_by_one(range);
    }
    generic_later = false;
  }

  void one_by_one(const TileRange& range) {
    FoundTile<T> tile;
    finished = job.results_before(cut.first(range.first_tile));
    const int64_t steps = std::max<int64_t>(1, job.run_length / kStepDepth<T> / 4);
    const int64_t panels = range.last_panel - range.first_panel;
    const auto lines = static_cast<int>(ceil_div(rows * job.run_length * int64_t{sizeof(T)}, 64 * steps * panels));
    for (int64_t t = range.first_tile; t < range.last_tile; ++t) {
      prepare(t, 0, tile);
      const char* next = t + 1 < range.last_tile ? next_dense_tile(tile) : nullptr;
      for (int64_t p = range.first_panel; p < range.last_panel; ++p) {
        run(tile, p, next, next != nullptr ? lines : 0);
        if (next != nullptr) next += lines * steps * 64;
      }
      const int64_t pending = tile.first + tile.count - finished;
      if (!generic_later || (pending * job.b.n < kGenericFloats && t + 1 < range.last_tile)) continue;
      finish(finished, pending, 0, job.b.n);
      finished += pending;
    }
  }

  // Tiles that a call of a kernel may take: results that wait for the rest of the epilogue stay in L1.
  int64_t most_at_once(const TileRange& range) const {
    if (kNarrow && job.epilogue->generic != nullptr && !generic_later) return 1;
    const int64_t most = range.last_tile - range.first_tile;
    return generic_later ? std::clamp<int64_t>(kGenericFloats / (rows * job.b.n), 1, most) : most;
  }

  // The same for one panel where rows lie at one pitch: several tiles at once.
  void pitched(const TileRange& range) {
    const int64_t most = most_at_once(range);
    const int64_t steps = job.run_length / kStepDepth<T> / 4;
    // The tile that follows comes into L2 meanwhile, where rows lie one after the other: hardware prefetchers follow
    // few of the streams that a tile reads.
    const bool fetches = job.runs == 1 && job.pitch == job.run_length && steps > 0;
    const auto lines =
        static_cast<int>(ceil_div(rows * job.run_length * int64_t{sizeof(T)}, 64 * std::max<int64_t>(1, steps)));
    FoundTile<T> group;
    group.pointers = reinterpret_cast<const T**>(scratch);
    group.strided = true;
    for (int64_t t = range.first_tile; t < range.last_tile; t += group.tiles) {
      const int64_t left = range.last_tile - t;
      // The last tile goes alone: behind it lies another thread's work.
      const bool fetch = fetches && left > 1;
      group.first = finished = cut.first(t);
      group.count = cut.count(t);
      group.tiles = std::min({most, cut.alike(t), fetch ? left - 1 : left});
      find_rows(group.first, 1, group.pointers);
      const T* next = group.pointers[0] + group.count * job.pitch;
      run(group, range.first_panel, fetch ? reinterpret_cast<const char*>(next) : nullptr, fetch ? lines : 0);
      if (generic_later) finish(group.first, group.count * group.tiles, 0, job.b.n);
    }
  }

  // Where the rows of the tile after this one lie, if all rows lie one after the other: hardware prefetchers follow few
  // of the streams that a tile reads.
  const char* next_dense_tile(const FoundTile<T>& tile) const {
    if (job.runs != 1 || job.copy_rows || job.on_tiles() || tile.count < 2) return nullptr;
    if (tile.pointers[1] - tile.pointers[0] != job.run_length) return nullptr;
    return reinterpret_cast<const char*>(tile.pointers[0] + tile.count * job.run_length);
  }

  bool goes_by_blocks() const {
    if constexpr (kNarrow) return has_plain_panels(job);
    return false;
  }
  void run_together(std::span<const AmxTile* const> tiles, int64_t panel, const char* prefetch, int lines) {
    if constexpr (kNarrow) {
      set_panel(job, panel, args);
      args.prefetch = prefetch;
      args.prefetch_lines = lines;
      amx_kernels().tiles(args, tiles, *pending);
    }
  }

  // The same, while the next part of what the job behind this one reads comes.
  void run_fetching_input(std::span<const AmxTile* const> tiles, int64_t panel, int64_t steps) {
    const int64_t all_steps = steps * tile_count(job) * job.b.panels();
    const auto lines = static_cast<int>(ceil_div(static_cast<int64_t>(job.next_input.size()), 64 * all_steps));
    const auto bytes = std::min(next_input.size(), tiles.size() * static_cast<size_t>(steps * lines) * 64);
    run_together(tiles, panel, bytes > 0 ? reinterpret_cast<const char*>(next_input.data()) : nullptr, lines);
    next_input = next_input.subspan(bytes);
  }

  // Panels that do not: a block of tiles shares each (or each piece of it), while the next comes into L2.
  void panel_by_panel(const TileRange& range) {
    FoundTile<T> block[kMaxBlockTiles];
    const AmxTile* of_block[kMaxBlockTiles];
    const int64_t step = tiles_per_block(job);
    const bool by_blocks = goes_by_blocks();
    for (int64_t t0 = range.first_tile; t0 < range.last_tile; t0 += step) {
      const int64_t count = std::min(step, range.last_tile - t0);
      int64_t together = 0;  // tiles
      for (int64_t i = 0; i < count; ++i) {
        prepare(t0 + i, i, block[i]);
        if constexpr (kNarrow) {
          if (!by_blocks || block[i].count == 0) continue;
          block[i].amx.first = block[i].first;
          of_block[together++] = &block[i].amx;
        }
      }
      const int64_t pieces = sum_pieces(job, count);
      bool cold = t0 == range.first_tile && !job.panels_warm && !job.panels_stay;
      for (int64_t p = range.first_panel; p < range.last_panel; ++p) {
        for (int64_t k = 0; k < pieces; ++k) {
          const bool last = p + 1 == range.last_panel && k + 1 == pieces;
          run_block({block, static_cast<size_t>(count)}, {of_block, static_cast<size_t>(together)}, p,
                    sum_piece(job, k, pieces), cold, !last || job.prefetch_after);
          cold = false;
        }
      }
    }
  }

  // One panel, or a piece of it. `cold`: nobody has read or fetched it; `more`: another follows. `together`: tiles of
  // the block that go through it in one call, or none.
  void run_block(std::span<const FoundTile<T>> block, std::span<const AmxTile* const> together, int64_t panel,
                 const SumPiece& piece, bool cold, bool more) {
    constexpr int64_t kWordBytes = sizeof(float);
    const bool whole = piece.begins && piece.ends;
    const int64_t bytes = piece.steps * job.b.width() * kWordBytes;
    const int64_t steps = std::max<int64_t>(1, piece.runs * (piece.run_length / kStepDepth<T> / 4));
    const auto count = static_cast<int64_t>(block.size());
    const bool many_rows = job.rows >= kFewRows, prefetch = many_rows && !job.panels_stay;
    const bool streams = !many_rows && job.b.bytes() > Machine::host().l2_bytes;
    const auto own_lines = static_cast<int>(ceil_div(bytes, 64 * steps));
    const auto lines = static_cast<int>(prefetch && more ? ceil_div(bytes, 64 * steps * count) : 0);
    const auto* at = reinterpret_cast<const char*>(job.b.panel(panel)) +
                     piece.first_step * job.b.panel_vectors(panel) * job.b.lanes * kWordBytes;
    const char* next =
        piece.ends && panel + 1 < job.b.panels() ? reinterpret_cast<const char*>(job.b.panel(panel + 1)) : at + bytes;
    if (!together.empty()) {
      if (streams || (prefetch && cold)) {
        const size_t colds = streams ? together.size() : 1;
        run_together(together.first(colds), panel, at + (streams ? kStreamAheadBytes : kLookAheadBytes), own_lines);
        together = together.subspan(colds);
      }
      // The next panel is fetched by the first tiles, as many as that takes.
      const size_t fetching =
          lines == 0 ? 0 : std::min(together.size(), static_cast<size_t>(ceil_div(bytes, 64 * steps * lines)));
      if (fetching > 0) run_together(together.first(fetching), panel, next, lines);
      if (fetching < together.size()) run_fetching_input(together.subspan(fetching), panel, steps);
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      const auto tile = static_cast<size_t>(i);
      const SumPiece* const part = whole ? nullptr : &piece;
      // The first panel of all is cold: its first reader fetches it a little ahead of itself.
      if (streams || (prefetch && cold && i == 0)) {
        run(block[tile], panel, at + (streams ? kStreamAheadBytes : kLookAheadBytes), own_lines, part);
      } else {
        run(block[tile], panel, lines > 0 ? next + i * lines * steps * 64 : nullptr, lines, part);
      }
    }
  }
};

}  // namespace

// Tile registers read 32 rows at once, vectors 14.
bool pitch_aliases(int64_t row_stride_bytes, MatrixUnit unit) {
  return row_stride_bytes % 2048 == 0 && row_stride_bytes >= (unit == MatrixUnit::kTiles ? 2048 : 4096);
}

int64_t long_sum_block_bytes() {
  return std::clamp<int64_t>(static_cast<int64_t>(Machine::host().l2_bytes) * 5 / 8, 128 << 10, 640 << 10);
}

template <class T>
void set_stretch(TileJob<T>& job, int64_t rows, int64_t pitch) {
  const int64_t most = max_tile_rows(job);
  // Several panels: tile by tile, so that rows of results are written front to back.
  const bool by_tiles = job.b.panels() > 1 && !job.results_stay;
  if (job.on_tiles() || by_tiles || job.runs * job.run_length > kShortSum) return;
  if (rows <= 0 || pitch <= 0 || (rows < job.rows && 4 * (rows / ceil_div(rows, most)) < 3 * most)) return;
  job.stretch = rows;
  job.pitch = pitch;
}

template <class T>
int64_t max_tile_rows(const TileJob<T>& job) {
  if (job.on_tiles()) return job.unit_rows * amx_units(job.b.vectors);
  return tile_kernels<T>().max_rows[job.b.vectors];
}

template <class T>
int64_t tile_count(const TileJob<T>& job) {
  return TileRows(job).tiles_in_all();
}

template <class T>
int64_t tiles_per_block(const TileJob<T>& job) {
  const int64_t rows = max_tile_rows(job);
  const int64_t bytes_per_row = std::max<int64_t>(sizeof(T), job.input_bytes / std::max<int64_t>(1, job.rows));
  const int64_t by_bytes = job.block_bytes / (rows * bytes_per_row);
  const int64_t by_pointers =
      job.on_tiles() ? kMaxBlockTiles : std::min(kMaxBlockTiles, kBlockPointers / (rows * job.runs));
  return std::max<int64_t>(1, std::min({by_bytes, by_pointers, tile_count(job)}));
}

template <class T>
size_t tile_slot_scratch_bytes(const TileJob<T>& job) {
  return align_up(static_cast<size_t>(pointer_bytes(job) + copy_bytes(job) + held_bytes(job)), 64);
}

template <class T>
void run_tile_range(const TileJob<T>& job, const TileRange& range, std::type_identity_t<RowFinder<T>> find_rows,
                    std::byte* scratch) {
  std::optional<AmxScope> tile_registers;
  if (job.on_tiles()) tile_registers.emplace(AmxBlocks(job.run_length).depth, job.unit_rows);
  Walk<T> walk{job, find_rows, scratch, tile_registers ? &tile_registers->pending : nullptr};
  const int64_t panel_bytes = job.b.k * job.b.width() * int64_t{sizeof(float)};
  const bool resident = (range.last_panel - range.first_panel) * panel_bytes <= kResidentPanelBytes;
  const bool one_call = job.stretch > 0 && job.b.panels() == 1;
  if (resident && !walk.goes_by_blocks() && (one_call || range.last_tile - range.first_tile >= kManyTiles)) {
    walk.tile_by_tile(range);
  } else {
    walk.panel_by_panel(range);
  }
}

template <class T>
void run_tiles(const TileJob<T>& job, std::type_identity_t<RowFinder<T>> find_rows, ThreadPool& pool,
               std::byte* scratch) {
  if (job.rows <= 0 || job.b.n <= 0) return;
  const size_t slot_bytes = tile_slot_scratch_bytes(job);
  run_parts(
      choose_split(job, pool.num_threads()), tile_count(job), job.b.panels(), pool,
      [&](const TileRange& part, int slot) { run_tile_range(job, part, find_rows, scratch + slot * slot_bytes); });
}

#define BLADE_INSTANTIATE(T)                                                                      \
  template void set_stretch(TileJob<T>&, int64_t, int64_t);                                       \
  template int64_t max_tile_rows(const TileJob<T>&);                                              \
  template int64_t tile_count(const TileJob<T>&);                                                 \
  template int64_t tiles_per_block(const TileJob<T>&);                                            \
  template size_t tile_slot_scratch_bytes(const TileJob<T>&);                                     \
  template void run_tile_range<T>(const TileJob<T>&, const TileRange&, RowFinder<T>, std::byte*); \
  template void run_tiles<T>(const TileJob<T>&, RowFinder<T>, ThreadPool&, std::byte*);
BLADE_INSTANTIATE(float)
BLADE_INSTANTIATE(BFloat16)
#undef BLADE_INSTANTIATE

}  // namespace blade::backends::cpu
