#include "backends/cpu/matrix/conv_planes.h"

#include <algorithm>

#include "backends/cpu/matrix/gemm.h"
#include "backends/machine.h"

namespace blade::backends::cpu {
namespace {

size_t offset_bytes(const Conv2DShape& s) { return align_up(static_cast<size_t>(s.kh * s.kw) * sizeof(int64_t), 64); }

void fill_offsets(const PlanePlan& plan, int64_t rows_out, int64_t* offsets) {
  for (int64_t i = 0; i < plan.s.kh; ++i) {
    for (int64_t j = 0; j < plan.s.kw; ++j) *offsets++ = plan.tap_offset(rows_out, i, j);
  }
}

// Of all groups; `b`: the first one.
size_t weight_bytes(const Conv2DShape& s, const PackedB& b) {
  return group_packed_bytes(b) * static_cast<size_t>(s.groups);
}

PackedB weights_of_group(const PackedB& first, int64_t group) {
  PackedB b = first;
  b.data += static_cast<int64_t>(group_packed_bytes(first) / sizeof(float)) * group;
  return b;
}

TileJob<BFloat16> conv_planes_job(const PlanePlan& plan, int64_t rows_out, const PackedB& b) {
  TileJob<BFloat16> job = plan.job(rows_out, b);
  job.runs = plan.s.kh * plan.s.kw;
  job.out_stride = plan.s.output_pitch();
  return job;
}

// Rows of the strips of a split: of the `index`-th of an image (or of its group of images), and of the last one of all,
// which may have fewer.
struct StripRows {
  const PlanePlan& plan;
  const PlaneSplit& split;
  int64_t groups = ceil_div(plan.s.n, split.images);

  int64_t of(int64_t group, int64_t index) const {
    return split.images == 1 ? std::min(split.rows, plan.s.oh - index * split.rows)
                             : plan.rows_of(std::min(split.images, plan.s.n - group * split.images));
  }
  int64_t last() const { return of(groups - 1, split.strips - 1); }
};

// The input of a strip that begins with row `first` of an image.
std::span<const std::byte> strip_input(const PlanePlan& plan, const PlanePart& in, const StripRows& strips,
                                       int64_t group, int64_t strip) {
  const Conv2DShape& s = plan.s;
  const int64_t images = std::min(strips.split.images, s.n - group * strips.split.images);
  const int64_t y = strip * strips.split.rows * s.stride_h - s.pad_top;
  const int64_t first = std::clamp<int64_t>(y, 0, s.h);
  const int64_t end = y + s.read_rows(strips.of(group, strip));
  const int64_t last = images > 1 ? images * s.h : std::clamp<int64_t>(end, first, s.h);
  const BFloat16* const from = in.data + (group * strips.split.images * s.h + first) * s.w * in.pitch;
  return std::as_bytes(std::span(from, static_cast<size_t>((last - first) * s.w * in.pitch)));
}

size_t conv_planes_slot_bytes(const StripRows& rows, const PackedB& b) {
  const PlanePlan& plan = rows.plan;
  return plan.strip_bytes(rows.split.rows) +
         std::max(tile_slot_scratch_bytes(conv_planes_job(plan, rows.split.rows, b)),
                  tile_slot_scratch_bytes(conv_planes_job(plan, rows.last(), b)));
}

// Panels [first, last) of a group whose channels lie at `planes`.
void run_group(const PlanePlan& plan, const TileJob<BFloat16>& job, const BFloat16* planes, int64_t first, int64_t last,
               std::byte* scratch) {
  const int64_t pitch = plan.s.c;
  if (plan.is_matrix()) {
    gemm_on_caller(job, planes, pitch, first, last, scratch);
    return;
  }
  run_tile_range(
      job, {0, tile_count(job), first, last},
      [&](int64_t row, int count, const BFloat16** pointers) {
        for (int i = 0; i < count; ++i) pointers[i] = planes + (row + i) * pitch;
        return true;
      },
      scratch);
}

}  // namespace

PlaneSplit conv_planes_split(const Conv2DShape& s, int threads) {
  const PlanePlan plan(s);
  const PackedB b = conv_planes_weights(s, nullptr);
  return choose_plane_split(plan, plan.max_rows(), s.kh * s.kw, weight_bytes(s, b), b, threads, s.n);
}

PlaneSplits conv_planes_splits(const Conv2DShape& s, int threads) {
  PlaneSplits splits;
  for (int t = 1; t <= std::max(1, threads); ++t) splits.push_back(conv_planes_split(s, t));
  return splits;
}

size_t conv_planes_scratch_bytes(const Conv2DShape& s, const PlaneSplits& splits) {
  const PlanePlan plan(s);
  const PackedB b = conv_planes_weights(s, nullptr);
  size_t bytes = 0;
  for (size_t i = 0; i < splits.size(); ++i)
    bytes = std::max(bytes, (i + 1) * conv_planes_slot_bytes(StripRows{plan, splits[i]}, b));
  return offset_bytes(s) * 2 + bytes;
}

template <class Out>
void conv_by_planes(const Conv2DShape& s, const PlaneSplit& split, std::span<const PlanePart> in, const PackedB& b,
                    Out* out, const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch) {
  const PlanePlan plan(s);
  const StripRows rows_of{plan, split};
  // The last strip may have fewer rows, and then its planes lie elsewhere.
  auto* offsets = reinterpret_cast<int64_t*>(scratch);
  auto* last_offsets = reinterpret_cast<int64_t*>(scratch + offset_bytes(s));
  fill_offsets(plan, split.rows, offsets);
  fill_offsets(plan, rows_of.last(), last_offsets);
  scratch += 2 * offset_bytes(s);
  const size_t slot_bytes = conv_planes_slot_bytes(rows_of, b);
  const auto tasks = static_cast<int>(rows_of.groups * split.strips * split.panel_parts);
  // Most often a thread takes strips one behind the other.
  const auto first_thread = [&](int task) { return int64_t{task} * pool.num_threads() / tasks; };
  const bool fetches =
      in.size() == 1 && split.panel_parts == 1 && plan.planes == s.stride_h * s.stride_w &&
      s.n * s.h * s.w * in[0].pitch * int64_t{sizeof(BFloat16)} > static_cast<int64_t>(Machine::host().l2_bytes);
  pool.parallel_for(tasks, [&](int task, int slot) {
    const int64_t part = task % split.panel_parts, strip = task / split.panel_parts % split.strips;
    const int64_t group = task / split.panel_parts / split.strips, image = group * split.images;
    const int64_t first = strip * split.rows, rows = rows_of.of(group, strip);
    auto* planes = reinterpret_cast<BFloat16*>(scratch + static_cast<size_t>(slot) * slot_bytes);
    copy_strip(plan, in, image, first, rows, planes);
    const int64_t first_pixel = (image * s.oh + first) * s.ow;
    TileJob<BFloat16> job = conv_planes_job(plan, rows, b);
    job.run_offsets = rows == split.rows ? offsets : last_offsets;
    job.panels_stay = split.panel_parts == 1 && panels_stay(weight_bytes(s, b)) && task > 0 &&
                      first_thread(task - 1) == first_thread(task);
    if (fetches && task + 1 < tasks && first_thread(task + 1) == first_thread(task)) {
      job.next_input = strip_input(plan, in[0], rows_of, (task + 1) / split.strips, (task + 1) % split.strips);
    }
    const int64_t panels = s.groups * b.panels();
    const int64_t first_panel = part * panels / split.panel_parts;
    const int64_t last_panel = (part + 1) * panels / split.panel_parts;
    auto* const rest = reinterpret_cast<std::byte*>(planes) + plan.strip_bytes(split.rows);
    for (int64_t g = first_panel / b.panels(); g * b.panels() < last_panel; ++g) {
      const PartEpilogue<BFloat16> part_epilogue(epilogue, first_pixel, 1, g * s.group_out());
      job.epilogue = &part_epilogue.get();
      job.b = weights_of_group(b, g);
      job.set_out(out + first_pixel * s.output_pitch() + g * s.group_out());
      run_group(plan, job, planes + g * s.group_in(), std::max<int64_t>(0, first_panel - g * b.panels()),
                std::min(b.panels(), last_panel - g * b.panels()), rest);
    }
  });
}

template void conv_by_planes<BFloat16>(const Conv2DShape&, const PlaneSplit&, std::span<const PlanePart>,
                                       const PackedB&, BFloat16*, const Epilogue<BFloat16>&, ThreadPool&, std::byte*);
template void conv_by_planes<float>(const Conv2DShape&, const PlaneSplit&, std::span<const PlanePart>, const PackedB&,
                                    float*, const Epilogue<BFloat16>&, ThreadPool&, std::byte*);

}  // namespace blade::backends::cpu
