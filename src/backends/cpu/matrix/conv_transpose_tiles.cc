#include "backends/cpu/matrix/conv_transpose_tiles.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/conv_plane_plan.h"
#include "backends/cpu/matrix/conv_transpose_phases.h"
#include "backends/cpu/matrix/convert.h"

namespace blade::backends::cpu {
namespace {

// Rows and columns of the planes are those of the phases with most outputs; what others lack is dropped.
struct TransposedPlan {
  const ConvTransposeShape& s;
  UnionAxis y, x;
  Conv2DShape conv;
  PlanePlan plan;

  explicit TransposedPlan(const ConvTransposeShape& shape)
      : s(shape),
        y(s.kh, s.oh, s.stride_h, s.pad_top),
        x(s.kw, s.ow, s.stride_w, s.pad_left),
        conv(conv_of_axes(s, y, x, s.oc)),
        plan(conv) {}
  TransposedPlan(const TransposedPlan&) = delete;  // `plan` refers to `conv`
  TransposedPlan& operator=(const TransposedPlan&) = delete;

  // A kernel as large as its stride: the planes would be the image.
  bool reads_in_place() const {
    return y.taps * x.taps == 1 && y.pad == 0 && x.pad == 0 && x.outputs == s.w && y.outputs <= s.h;
  }
  size_t planes_bytes(int64_t rows) const { return reads_in_place() ? 0 : plan.strip_bytes(rows); }

  TileJob<BFloat16> job(int64_t rows, const Phase& phase, const void* packed) const {
    TileJob<BFloat16> job = plan.job(rows, phase_layout<BFloat16>(s, phase, packed));
    job.runs = std::max<int64_t>(1, phase.taps());
    if (phase.taps() == 0) job.run_length = 0;  // a stride beyond the kernel leaves outputs without any tap
    job.readable_past_end = !reads_in_place();
    if (reads_in_place()) job.unit_rows = kAmxRows;
    job.out_stride = s.stride_w * s.oc;
    return job;
  }
  size_t tile_bytes(int64_t rows) const {
    size_t bytes = 0;
    for (int64_t i = 0; i < phase_count(s); ++i)
      bytes = std::max(bytes, tile_slot_scratch_bytes(job(rows, Phase(s, i), nullptr)));
    return bytes;
  }

  // Of results of a strip, in which the phases of a row are neighbours.
  int64_t row_elements() const { return x.outputs * s.stride_w * s.oc; }
  int64_t row_result_bytes() const {
    return row_elements() * (s.finishes_later ? int64_t{sizeof(float)} : int64_t{sizeof(BFloat16)});
  }
  size_t results_bytes(int64_t rows) const { return align_up(static_cast<size_t>(rows * row_result_bytes()), 64); }
  size_t slot_bytes(int64_t rows) const { return planes_bytes(rows) + results_bytes(rows) + tile_bytes(rows); }
  size_t slot_bytes(const PlaneSplit& split) const {
    return std::max(slot_bytes(split.rows), slot_bytes(split.last_rows(y.outputs)));
  }

  // Of the taps of all phases; a phase without any has one that nothing is read at.
  int64_t num_offsets() const { return s.kh * s.kw + phase_count(s); }
  void fill_offsets(int64_t rows, int64_t* offsets) const {
    for (int64_t i = 0; i < phase_count(s); ++i) {
      const Phase phase(s, i);
      *offsets = 0;
      for (int64_t t = 0; t < phase.taps(); ++t) {
        offsets[t] =
            plan.tap_offset(rows, t / phase.x.taps + y.pad - phase.y.pad, t % phase.x.taps + x.pad - phase.x.pad);
      }
      offsets += std::max<int64_t>(1, phase.taps());
    }
  }

  PlaneSplit split(int threads) const {
    int64_t taps = 0;
    size_t bytes = 0;
    for (int64_t i = 0; i < phase_count(s); ++i) {
      const Phase phase(s, i);
      taps += phase.taps();
      bytes += phase_bytes<BFloat16>(s, phase);
    }
    const PackedB b = phase_layout<BFloat16>(s, Phase(s, 0), nullptr);
    return choose_plane_split(plan, plan.max_rows_with(row_result_bytes()), taps, bytes, b, threads);
  }
};

// A strip of an image, and the columns that a task makes of it.
struct TransposedStrip {
  int64_t image, first, rows;  // rows of a phase
  int64_t first_panel, last_panel;
  int64_t first_column, last_column;
};

// A row of the image of the columns that a task has made; R: BFloat16, or float where something is left to do.
template <class R>
void put_row(const TransposedPlan& plan, const TransposedStrip& strip, R* row, int64_t first_pixel, BFloat16* out,
             const Epilogue<BFloat16>& epilogue) {
  const ConvTransposeShape& s = plan.s;
  const int64_t first = strip.first_column, columns = strip.last_column - first;
  BFloat16* to = out + first_pixel * s.oc;
  if constexpr (std::is_same_v<R, float>) {
    if (epilogue.residual != nullptr)
      finish_with_residual(epilogue, row, first_pixel, s.ow, s.oc, first, strip.last_column);
    if (epilogue.generic != nullptr)
      epilogue.generic(epilogue.context, {row + first, s.oc, first_pixel, 1, s.ow, first, columns});
  }
  const bool whole = columns == s.oc;
  const int64_t runs = whole ? 1 : s.ow, length = whole ? s.ow * s.oc : columns;
  for (int64_t i = 0; i < runs; ++i) {
    const int64_t at = i * s.oc + first;
    if constexpr (std::is_same_v<R, float>) {
      convert(row + at, to + at, length);
    } else {
      std::memcpy(to + at, row + at, static_cast<size_t>(length) * sizeof(R));
    }
  }
}

template <class R>
void run_transposed_strip(const TransposedPlan& plan, const TransposedStrip& strip, const BFloat16* in,
                          const void* packed, const int64_t* offsets, BFloat16* out, const Epilogue<BFloat16>& epilogue,
                          std::byte* scratch) {
  const ConvTransposeShape& s = plan.s;
  const BFloat16* planes = in + (strip.image * s.h + strip.first) * s.w * s.c;
  if (!plan.reads_in_place()) {
    const PlanePart all[] = {{in, s.c, s.c}};
    copy_strip(plan.plan, all, strip.image, strip.first, strip.rows, reinterpret_cast<BFloat16*>(scratch));
    planes = reinterpret_cast<const BFloat16*>(scratch);
  }
  scratch += plan.planes_bytes(strip.rows);
  auto* const results = reinterpret_cast<R*>(scratch);
  scratch += plan.results_bytes(strip.rows);
  const Epilogue<BFloat16> before = epilogue_before_spreading(epilogue);
  const auto* weights = static_cast<const std::byte*>(packed);
  for (int64_t i = 0; i < phase_count(s); ++i) {
    const Phase phase(s, i);
    TileJob<BFloat16> job = plan.job(strip.rows, phase, weights);
    weights += phase_bytes<BFloat16>(s, phase);
    job.run_offsets = offsets;
    offsets += job.runs;
    job.set_out(results + i % s.stride_w * s.oc);
    job.epilogue = &before;
    run_tile_range(
        job, {0, tile_count(job), strip.first_panel, strip.last_panel},
        [&](int64_t row, int count, const BFloat16** pointers) {
          for (int j = 0; j < count; ++j) pointers[j] = planes + (row + j) * s.c;
          return true;
        },
        scratch);
    if (i % s.stride_w + 1 < s.stride_w) continue;
    for (int64_t r = 0; r < strip.rows; ++r) {
      const int64_t y_out = (strip.first + r) * s.stride_h + i / s.stride_w;
      if (y_out >= s.oh) break;
      put_row(plan, strip, results + r * plan.row_elements(), (strip.image * s.oh + y_out) * s.ow, out, epilogue);
    }
  }
}

}  // namespace

PlaneSplit conv_transpose_tiles_split(const ConvTransposeShape& s, int threads) {
  return TransposedPlan(s).split(threads);
}

PlaneSplits conv_transpose_tiles_splits(const ConvTransposeShape& s, int threads) {
  const TransposedPlan plan(s);
  PlaneSplits splits;
  for (int t = 1; t <= std::max(1, threads); ++t) splits.push_back(plan.split(t));
  return splits;
}

size_t conv_transpose_tiles_scratch_bytes(const ConvTransposeShape& s, const PlaneSplits& splits) {
  const TransposedPlan plan(s);
  size_t bytes = 0;
  for (size_t i = 0; i < splits.size(); ++i) bytes = std::max(bytes, (i + 1) * plan.slot_bytes(splits[i]));
  return 2 * align_up(static_cast<size_t>(plan.num_offsets()) * sizeof(int64_t), 64) + bytes;
}

void conv_transpose_by_tiles(const ConvTransposeShape& s, const PlaneSplit& split, const BFloat16* in,
                             const void* packed, BFloat16* out, const Epilogue<BFloat16>& epilogue, ThreadPool& pool,
                             std::byte* scratch) {
  const TransposedPlan plan(s);
  const int64_t last_rows = split.last_rows(plan.y.outputs);
  const size_t offset_bytes = align_up(static_cast<size_t>(plan.num_offsets()) * sizeof(int64_t), 64);
  auto* offsets = reinterpret_cast<int64_t*>(scratch);
  auto* last_offsets = reinterpret_cast<int64_t*>(scratch + offset_bytes);
  plan.fill_offsets(split.rows, offsets);
  plan.fill_offsets(last_rows, last_offsets);
  scratch += 2 * offset_bytes;
  const size_t slot_bytes = plan.slot_bytes(split);
  const PackedB b = phase_layout<BFloat16>(s, Phase(s, 0), nullptr);
  pool.parallel_for(static_cast<int>(s.n * split.strips * split.panel_parts), [&](int task, int slot) {
    const int64_t part = task % split.panel_parts, strip_index = task / split.panel_parts % split.strips;
    TransposedStrip strip;
    strip.image = task / split.panel_parts / split.strips;
    strip.first = strip_index * split.rows;
    strip.rows = std::min(split.rows, plan.y.outputs - strip.first);
    strip.first_panel = part * b.panels() / split.panel_parts;
    strip.last_panel = (part + 1) * b.panels() / split.panel_parts;
    strip.first_column = strip.first_panel * b.width();
    strip.last_column = std::min(s.oc, strip.last_panel * b.width());
    const int64_t* of_strip = strip.rows == split.rows ? offsets : last_offsets;
    const auto run = s.finishes_later ? run_transposed_strip<float> : run_transposed_strip<BFloat16>;
    run(plan, strip, in, packed, of_strip, out, epilogue, scratch + static_cast<size_t>(slot) * slot_bytes);
  });
}

}  // namespace blade::backends::cpu
