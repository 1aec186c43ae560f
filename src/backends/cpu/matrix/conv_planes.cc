// Pixels between the rows of a strip are computed and dropped: with a shared column of zeros there are few of them.
#include "backends/cpu/matrix/conv_planes.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kStripPlanesBytes = 256 << 10;  // of L2, beside panels of weights and the output
constexpr double kCyclesAProduct = 20;            // of tile registers
constexpr double kCopiedBytesPerCycle = 16;
constexpr double kPanelBytesPerCycle = 16;

// One dimension of the planes: place x of phase p is input x * stride + p - pad.
struct PlaneAxis {
  int64_t in, out, taps, stride, dilation, pad;

  int64_t phase(int64_t tap) const { return tap * dilation % stride; }
  int64_t offset(int64_t tap) const { return tap * dilation / stride; }
  int64_t reach() const { return offset(taps - 1); }  // places behind the one of an output that its taps read
  // Phases that some tap reads are numbered in their order.
  bool used(int64_t p) const {
    for (int64_t tap = 0; tap < taps; ++tap) {
      if (phase(tap) == p) return true;
    }
    return false;
  }
  int64_t used_before(int64_t p) const {
    int64_t count = 0;
    for (int64_t q = 0; q < p; ++q) count += used(q) ? 1 : 0;
    return count;
  }
};

struct PlanePlan {
  const Conv2DShape& s;
  PlaneAxis y, x;
  int64_t pitch;   // places of a row of a plane
  int64_t shared;  // zeros that end a row and begin the next: places left out
  int64_t planes;

  explicit PlanePlan(const Conv2DShape& shape)
      : s(shape),
        y{s.h, s.oh, s.kh, s.stride_h, s.dilation_h, s.pad_top},
        x{s.w, s.ow, s.kw, s.stride_w, s.dilation_w, s.pad_left},
        planes(y.used_before(y.stride) * x.used_before(x.stride)) {
    const int64_t places = x.out + x.reach();
    const int64_t zeros_before = std::max<int64_t>(0, x.pad / x.stride);
    const int64_t zeros_behind = places - std::min(places, ceil_div(std::max<int64_t>(0, x.pad + x.in), x.stride));
    shared = std::min({zeros_before, zeros_behind, x.reach()});
    pitch = places - shared;
  }

  int64_t plane_rows(int64_t rows_out) const { return rows_out + y.reach(); }
  int64_t plane_elements(int64_t rows_out) const { return (plane_rows(rows_out) * pitch + shared) * s.c; }
  // Units of 16 pixels read past the end.
  int64_t strip_elements(int64_t rows_out) const { return planes * plane_elements(rows_out) + kAmxRows * s.c; }
  size_t strip_bytes(int64_t rows_out) const {
    return align_up(static_cast<size_t>(strip_elements(rows_out)) * sizeof(BFloat16), 64);
  }
  // The tallest strip that fits its share of L2.
  int64_t max_rows() const {
    const int64_t row_bytes = planes * pitch * s.c * int64_t{sizeof(BFloat16)};
    return std::clamp<int64_t>(kStripPlanesBytes / row_bytes - y.reach(), 1, s.oh);
  }
  size_t offset_bytes() const { return align_up(static_cast<size_t>(s.kh * s.kw) * sizeof(int64_t), 64); }

  void fill_offsets(int64_t rows_out, int64_t* offsets) const {
    const int64_t columns = x.used_before(x.stride);
    for (int64_t i = 0; i < s.kh; ++i) {
      for (int64_t j = 0; j < s.kw; ++j) {
        const int64_t plane = y.used_before(y.phase(i)) * columns + x.used_before(x.phase(j));
        *offsets++ = plane * plane_elements(rows_out) + (y.offset(i) * pitch + x.offset(j)) * s.c;
      }
    }
  }

  TileJob<BFloat16> job(int64_t rows_out, const PackedB& b) const {
    TileJob<BFloat16> job;
    job.rows = (rows_out - 1) * pitch + s.ow;
    job.runs = s.kh * s.kw;
    job.run_length = s.c;
    job.readable_past_end = true;
    job.row_pitch = pitch;
    job.row_results = s.ow;
    job.input_bytes = static_cast<int64_t>(strip_bytes(rows_out));
    job.b = b;
    job.out_stride = s.output_pitch();
    return job;
  }
};

// One row of a plane, of input row `from` (null: outside the image) and of phase `phase`.
void copy_plane_row(const PlanePlan& plan, const BFloat16* from, int64_t phase, BFloat16* to) {
  const int64_t c = plan.s.c, stride = plan.x.stride, first_x = phase - plan.x.pad;
  // Places [first, last) lie in the image.
  const int64_t first = std::clamp<int64_t>(ceil_div(std::max<int64_t>(0, -first_x), stride), 0, plan.pitch);
  const int64_t last =
      std::clamp<int64_t>(ceil_div(std::max<int64_t>(0, plan.x.in - first_x), stride), first, plan.pitch);
  if (from == nullptr || first == last) {
    std::fill_n(to, plan.pitch * c, BFloat16());
    return;
  }
  std::fill_n(to, first * c, BFloat16());
  const int64_t pixel = plan.s.input_pitch();
  from += (first * stride + first_x) * pixel;
  if (stride * pixel == c) {
    std::memcpy(to + first * c, from, static_cast<size_t>((last - first) * c) * sizeof(BFloat16));
  } else {
    for (int64_t p = first; p < last; ++p, from += stride * pixel) {
      std::memcpy(to + p * c, from, static_cast<size_t>(c) * sizeof(BFloat16));
    }
  }
  std::fill_n(to + last * c, (plan.pitch - last) * c, BFloat16());
}

// The planes of output rows [first, first + rows) of an image.
void copy_strip(const PlanePlan& plan, const BFloat16* image, int64_t first, int64_t rows, BFloat16* to) {
  const Conv2DShape& s = plan.s;
  for (int64_t py = 0; py < s.stride_h; ++py) {
    if (!plan.y.used(py)) continue;
    for (int64_t px = 0; px < s.stride_w; ++px) {
      if (!plan.x.used(px)) continue;
      for (int64_t row = 0; row < plan.plane_rows(rows); ++row, to += plan.pitch * s.c) {
        const int64_t y = (first + row) * s.stride_h + py - s.pad_top;
        const bool inside = y >= 0 && y < s.h;
        copy_plane_row(plan, inside ? image + y * s.w * s.input_pitch() : nullptr, px, to);
      }
      to = std::fill_n(to, plan.shared * s.c, BFloat16());
    }
  }
}

// How the rows of each image and the panels are cut into tasks.
struct PlaneSplit {
  int64_t rows = 1;  // of a strip
  int64_t strips = 1;
  int64_t panel_parts = 1;
};

double task_cycles(const PlanePlan& plan, const PackedB& b, int64_t rows, int64_t panel_parts) {
  const int64_t units = ceil_div((rows - 1) * plan.pitch + plan.s.ow, kAmxRows);
  const int64_t vectors = ceil_div(b.panels(), panel_parts) * b.vectors;
  const int64_t products = units * vectors * plan.s.kh * plan.s.kw * AmxBlocks(plan.s.c).count;
  return kCyclesAProduct * static_cast<double>(products) +
         static_cast<double>(plan.strip_bytes(rows)) / kCopiedBytesPerCycle +
         static_cast<double>(b.bytes()) / static_cast<double>(panel_parts) / kPanelBytesPerCycle;
}

PlaneSplit choose_plane_split(const PlanePlan& plan, const PackedB& b, int threads) {
  PlaneSplit best;
  double best_cycles = -1;
  const int64_t fewest = ceil_div(plan.s.oh, plan.max_rows());
  for (int64_t parts = 1; parts <= std::min<int64_t>(threads, b.panels()); ++parts) {
    for (int64_t strips = fewest; strips <= std::min<int64_t>(plan.s.oh, fewest + 2 * threads); ++strips) {
      const int64_t rows = ceil_div(plan.s.oh, strips);
      const int64_t rounds = ceil_div(plan.s.n * ceil_div(plan.s.oh, rows) * parts, int64_t{threads});
      const double cycles = static_cast<double>(rounds) * task_cycles(plan, b, rows, parts);
      if (best_cycles >= 0 && cycles >= best_cycles) continue;
      best_cycles = cycles;
      best = {rows, ceil_div(plan.s.oh, rows), parts};
    }
  }
  return best;
}

}  // namespace

size_t conv_planes_scratch_bytes(const Conv2DShape& s, int threads) {
  const PlanePlan plan(s);
  const PackedB b = packed_b_view(packed_steps<BFloat16>(s.kh * s.kw, s.c), s.oc, nullptr, MatrixUnit::kTiles);
  size_t slot_bytes = 0;  // strips of fewer rows may have larger blocks of tiles
  for (int64_t rows = 1; rows <= plan.max_rows(); ++rows) {
    slot_bytes = std::max(slot_bytes, plan.strip_bytes(rows) + tile_slot_scratch_bytes(plan.job(rows, b)));
  }
  return plan.offset_bytes() * 2 + static_cast<size_t>(threads) * slot_bytes;
}

template <class Out>
void conv_by_planes(const Conv2DShape& s, const BFloat16* in, const PackedB& b, Out* out,
                    const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch) {
  const PlanePlan plan(s);
  const PlaneSplit split = choose_plane_split(plan, b, pool.num_threads());
  // The last strip of an image may have fewer rows, and then its planes lie elsewhere.
  const int64_t last_rows = s.oh - (split.strips - 1) * split.rows;
  auto* offsets = reinterpret_cast<int64_t*>(scratch);
  auto* last_offsets = reinterpret_cast<int64_t*>(scratch + plan.offset_bytes());
  plan.fill_offsets(split.rows, offsets);
  plan.fill_offsets(last_rows, last_offsets);
  scratch += 2 * plan.offset_bytes();
  const size_t slot_bytes = plan.strip_bytes(split.rows) + std::max(tile_slot_scratch_bytes(plan.job(split.rows, b)),
                                                                    tile_slot_scratch_bytes(plan.job(last_rows, b)));
  pool.parallel_for(static_cast<int>(s.n * split.strips * split.panel_parts), [&](int task, int slot) {
    const int64_t part = task % split.panel_parts, strip = task / split.panel_parts % split.strips;
    const int64_t image = task / split.panel_parts / split.strips;
    const int64_t first = strip * split.rows, rows = std::min(split.rows, s.oh - first);
    auto* planes = reinterpret_cast<BFloat16*>(scratch + static_cast<size_t>(slot) * slot_bytes);
    copy_strip(plan, in + image * s.h * s.w * s.input_pitch(), first, rows, planes);
    const int64_t first_pixel = (image * s.oh + first) * s.ow;
    const PartEpilogue<BFloat16> part_epilogue(epilogue, first_pixel);
    TileJob<BFloat16> job = plan.job(rows, b);
    job.run_offsets = rows == split.rows ? offsets : last_offsets;
    job.set_out(out + first_pixel * s.output_pitch());
    job.epilogue = &part_epilogue.get();
    const TileRange range{0, tile_count(job), part * b.panels() / split.panel_parts,
                          (part + 1) * b.panels() / split.panel_parts};
    run_tile_range(
        job, range,
        [&](int64_t row, int count, const BFloat16** pointers) {
          for (int i = 0; i < count; ++i) pointers[i] = planes + (row + i) * s.c;
          return true;
        },
        reinterpret_cast<std::byte*>(planes) + plan.strip_bytes(split.rows));
  });
}

template void conv_by_planes<BFloat16>(const Conv2DShape&, const BFloat16*, const PackedB&, BFloat16*,
                                       const Epilogue<BFloat16>&, ThreadPool&, std::byte*);
template void conv_by_planes<float>(const Conv2DShape&, const BFloat16*, const PackedB&, float*,
                                    const Epilogue<BFloat16>&, ThreadPool&, std::byte*);

}  // namespace blade::backends::cpu
