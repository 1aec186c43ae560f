// Strips are as tall as their share of L2 allows, and as many as the threads can share.
#include "backends/cpu/matrix/conv_plane_plan.h"

#include <cstring>
#include <limits>

#include "backends/machine.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kImagesPlanesBytes = 1 << 20;           // of several images, while panels pass
constexpr double kStayingPanelsBytes = 1.25 * (1 << 20);  // weights that stay in L2 from strip to strip
constexpr double kCyclesAProduct = 20;                    // of tile registers
constexpr double kCopiedBytesPerCycle = 16;
constexpr double kPanelBytesPerCycle = 10;  // from L3

// A quarter of L2, beside panels of weights and the output.
int64_t strip_planes_bytes() { return static_cast<int64_t>(Machine::host().l2_bytes) / 4; }

// Whole cache lines are moved in registers.
void copy_pixels_apart(const BFloat16* from, int64_t from_step, int64_t channels, int64_t pixels, BFloat16* to,
                       int64_t to_step) {
  constexpr int64_t kLine = 64 / int64_t{sizeof(BFloat16)};
  if (channels % kLine != 0) {
    for (; pixels > 0; --pixels, from += from_step, to += to_step)
      std::memcpy(to, from, static_cast<size_t>(channels) * sizeof(BFloat16));
    return;
  }
  for (; pixels > 0; --pixels, from += from_step, to += to_step) {
    for (int64_t c = 0; c < channels; c += kLine) std::memcpy(to + c, from + c, kLine * sizeof(BFloat16));
  }
}

// One row of a plane, of row `y` of an image that lies `image` images behind the first and of phase `phase`.
void copy_plane_row(const PlanePlan& plan, std::span<const PlanePart> parts, int64_t image, int64_t y, int64_t phase,
                    BFloat16* to) {
  const Conv2DShape& s = plan.s;
  const int64_t c = s.c, stride = plan.x.stride, first_x = phase - plan.x.pad;
  // Places [first, last) lie in the image.
  const int64_t first = std::clamp<int64_t>(ceil_div(std::max<int64_t>(0, -first_x), stride), 0, plan.pitch);
  const int64_t last =
      std::clamp<int64_t>(ceil_div(std::max<int64_t>(0, plan.x.in - first_x), stride), first, plan.pitch);
  if (y < 0 || y >= s.h || first == last) {
    std::fill_n(to, plan.pitch * c, BFloat16());
    return;
  }
  std::fill_n(to, first * c, BFloat16());
  BFloat16* part_to = to + first * c;
  for (const PlanePart& part : parts) {
    const BFloat16* from = part.data + ((image * s.h + y) * s.w + first * stride + first_x) * part.pitch;
    if (stride * part.pitch == c && part.channels == c) {
      std::memcpy(part_to, from, static_cast<size_t>((last - first) * c) * sizeof(BFloat16));
    } else {
      copy_pixels_apart(from, stride * part.pitch, part.channels, last - first, part_to, c);
    }
    part_to += part.channels;
  }
  std::fill_n(to + last * c, (plan.pitch - last) * c, BFloat16());
}

// Places of zeros that end what taps read along an axis and begin what they read of the next row, or image.
int64_t shared_zeros(const PlaneAxis& axis) {
  const int64_t places = axis.out + axis.reach(), zeros_before = std::max<int64_t>(0, axis.pad / axis.stride);
  const int64_t behind = places - std::min(places, ceil_div(std::max<int64_t>(0, axis.pad + axis.in), axis.stride));
  return std::min({zeros_before, behind, axis.reach()});
}

}  // namespace

PlanePlan::PlanePlan(const Conv2DShape& shape)
    : s(shape),
      y{s.h, s.oh, s.kh, s.stride_h, s.dilation_h, s.pad_top},
      x{s.w, s.ow, s.kw, s.stride_w, s.dilation_w, s.pad_left},
      planes(y.used_before(y.stride) * x.used_before(x.stride)) {
  shared = shared_zeros(x);
  pitch = x.out + x.reach() - shared;
  image_step = y.out + y.reach() - shared_zeros(y);
}

int64_t PlanePlan::max_rows() const {
  return std::clamp<int64_t>(strip_planes_bytes() / row_bytes() - y.reach(), 1, s.oh);
}

int64_t PlanePlan::max_rows_with(int64_t result_bytes) const {
  const int64_t both = 2 * strip_planes_bytes() - y.reach() * row_bytes();
  return std::clamp<int64_t>(both / (row_bytes() + result_bytes), 1, max_rows());
}

TileJob<BFloat16> PlanePlan::job(int64_t rows_out, const PackedB& b) const {
  TileJob<BFloat16> job;
  job.rows = (rows_out - 1) * pitch + s.ow;
  job.run_length = s.group_in();
  job.readable_past_end = true;
  job.unit_rows = even_unit_rows(job.rows);
  job.row_pitch = pitch;
  job.row_results = s.ow;
  job.image_pitch = image_step * pitch;
  job.image_places = s.oh * pitch;
  job.input_bytes = static_cast<int64_t>(strip_bytes(rows_out));
  job.block_bytes = std::numeric_limits<int64_t>::max();  // each panel is read once
  job.b = b;
  return job;
}

void copy_strip(const PlanePlan& plan, std::span<const PlanePart> parts, int64_t image, int64_t first, int64_t rows,
                BFloat16* to) {
  const Conv2DShape& s = plan.s;
  for (int64_t py = 0; py < s.stride_h; ++py) {
    if (!plan.y.used(py)) continue;
    for (int64_t px = 0; px < s.stride_w; ++px) {
      if (!plan.x.used(px)) continue;
      for (int64_t row = 0; row < plan.plane_rows(rows); ++row, to += plan.pitch * s.c) {
        const int64_t behind = (first + row) / plan.image_step;  // images
        const int64_t y = (first + row) % plan.image_step * s.stride_h + py - s.pad_top;
        copy_plane_row(plan, parts, image + behind, y, px, to);
      }
      to = std::fill_n(to, plan.shared * s.c, BFloat16());
    }
  }
}

bool panels_stay(size_t weight_bytes) { return static_cast<double>(weight_bytes) <= kStayingPanelsBytes; }

PlaneSplit choose_plane_split(const PlanePlan& plan, int64_t max_rows, int64_t taps, size_t weight_bytes,
                              const PackedB& b, int threads, int64_t most_images) {
  const int64_t panels = plan.s.groups * b.panels();
  const auto cycles_of = [&](const PlaneSplit& split) {
    const int64_t units = ceil_div((split.rows - 1) * plan.pitch + plan.s.ow, kAmxRows);
    const int64_t vectors = ceil_div(panels, split.panel_parts) * b.vectors;
    const int64_t products = units * vectors * taps * AmxBlocks(plan.s.group_in()).count;
    const int64_t tasks = ceil_div(plan.s.n, split.images) * split.strips * split.panel_parts;
    const auto rounds = static_cast<double>(ceil_div(tasks, int64_t{threads}));
    const auto parts = static_cast<double>(split.panel_parts),
               copied = static_cast<double>(plan.strip_bytes(split.rows));
    // What stays in L2 is there for the images that follow.
    const double weights = static_cast<double>(weight_bytes) / parts;
    // Layers before and after are most often cut by rows.
    const double results = static_cast<double>(split.rows * plan.s.ow * plan.s.oc) * sizeof(BFloat16) / parts;
    const double crossing = (1 - 1 / parts) * (copied + results) / kOtherBytesToTiles;
    return rounds * (kCyclesAProduct * static_cast<double>(products) + copied / kCopiedBytesPerCycle + crossing) +
           (weights > kStayingPanelsBytes ? rounds : 1) * weights / kPanelBytesPerCycle;
  };
  PlaneSplit best;
  double best_cycles = -1;
  const auto consider = [&](const PlaneSplit& split) {
    const double cycles = cycles_of(split);
    if (best_cycles >= 0 && cycles >= best_cycles) return;
    best_cycles = cycles;
    best = split;
  };
  const int64_t fewest = ceil_div(plan.s.oh, max_rows);
  const int64_t most = std::min<int64_t>(plan.s.oh, fewest + 2 * threads);
  for (int64_t parts = 1; parts <= std::min<int64_t>(threads, panels); ++parts) {
    for (int64_t strips = fewest; strips <= most;) {
      const int64_t rows = ceil_div(plan.s.oh, strips);
      consider({rows, ceil_div(plan.s.oh, rows), parts, 1});
      if (rows == 1) break;
      strips = ceil_div(plan.s.oh, rows - 1);  // the next ones that are lower
    }
    for (int64_t images = 2; images <= std::min(plan.s.n, most_images); ++images) {
      const int64_t rows = plan.rows_of(images);
      if (plan.strip_bytes(rows) > kImagesPlanesBytes) break;
      consider({rows, 1, parts, images});
    }
  }
  return best;
}

}  // namespace blade::backends::cpu
