#include "backends/cpu/matrix/conv_planes.h"

#include <algorithm>

namespace blade::backends::cpu {
namespace {

size_t offset_bytes(const Conv2DShape& s) { return align_up(static_cast<size_t>(s.kh * s.kw) * sizeof(int64_t), 64); }

void fill_offsets(const PlanePlan& plan, int64_t rows_out, int64_t* offsets) {
  for (int64_t i = 0; i < plan.s.kh; ++i) {
    for (int64_t j = 0; j < plan.s.kw; ++j) *offsets++ = plan.tap_offset(rows_out, i, j);
  }
}

TileJob<BFloat16> conv_planes_job(const PlanePlan& plan, int64_t rows_out, const PackedB& b) {
  TileJob<BFloat16> job = plan.job(rows_out, b);
  job.runs = plan.s.kh * plan.s.kw;
  job.out_stride = plan.s.output_pitch();
  return job;
}

}  // namespace

size_t conv_planes_scratch_bytes(const Conv2DShape& s, int threads) {
  const PlanePlan plan(s);
  const PackedB b = conv_planes_weights(s, nullptr);
  size_t slot_bytes = 0;  // strips of fewer rows may have larger blocks of tiles
  const auto add = [&](int64_t rows) {
    slot_bytes = std::max(slot_bytes, plan.strip_bytes(rows) + tile_slot_scratch_bytes(conv_planes_job(plan, rows, b)));
  };
  for (int64_t rows = 1; rows <= plan.max_rows(); ++rows) add(rows);
  for (int t = 1; t <= threads; ++t) {  // the pool may have fewer than it was planned for
    const PlaneSplit split = choose_plane_split(plan, s.kh * s.kw, b.bytes(), b, t, s.n);
    for (int64_t images = 1; images <= split.images; ++images) add(plan.rows_of(images));
  }
  return offset_bytes(s) * 2 + static_cast<size_t>(threads) * slot_bytes;
}

template <class Out>
void conv_by_planes(const Conv2DShape& s, std::span<const PlanePart> in, const PackedB& b, Out* out,
                    const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch) {
  const PlanePlan plan(s);
  const PlaneSplit split = choose_plane_split(plan, s.kh * s.kw, b.bytes(), b, pool.num_threads(), s.n);
  const int64_t groups = ceil_div(s.n, split.images);
  const auto rows_of = [&](int64_t group, int64_t first) {
    return split.images == 1 ? std::min(split.rows, s.oh - first)
                             : plan.rows_of(std::min(split.images, s.n - group * split.images));
  };
  // The last strip may have fewer rows, and then its planes lie elsewhere.
  const int64_t last_rows = rows_of(groups - 1, (split.strips - 1) * split.rows);
  auto* offsets = reinterpret_cast<int64_t*>(scratch);
  auto* last_offsets = reinterpret_cast<int64_t*>(scratch + offset_bytes(s));
  fill_offsets(plan, split.rows, offsets);
  fill_offsets(plan, last_rows, last_offsets);
  scratch += 2 * offset_bytes(s);
  const size_t slot_bytes =
      plan.strip_bytes(split.rows) + std::max(tile_slot_scratch_bytes(conv_planes_job(plan, split.rows, b)),
                                              tile_slot_scratch_bytes(conv_planes_job(plan, last_rows, b)));
  pool.parallel_for(static_cast<int>(groups * split.strips * split.panel_parts), [&](int task, int slot) {
    const int64_t part = task % split.panel_parts, strip = task / split.panel_parts % split.strips;
    const int64_t group = task / split.panel_parts / split.strips, image = group * split.images;
    const int64_t first = strip * split.rows, rows = rows_of(group, first);
    auto* planes = reinterpret_cast<BFloat16*>(scratch + static_cast<size_t>(slot) * slot_bytes);
    copy_strip(plan, in, image, first, rows, planes);
    const int64_t first_pixel = (image * s.oh + first) * s.ow;
    const PartEpilogue<BFloat16> part_epilogue(epilogue, first_pixel);
    TileJob<BFloat16> job = conv_planes_job(plan, rows, b);
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

template void conv_by_planes<BFloat16>(const Conv2DShape&, std::span<const PlanePart>, const PackedB&, BFloat16*,
                                       const Epilogue<BFloat16>&, ThreadPool&, std::byte*);
template void conv_by_planes<float>(const Conv2DShape&, std::span<const PlanePart>, const PackedB&, float*,
                                    const Epilogue<BFloat16>&, ThreadPool&, std::byte*);

}  // namespace blade::backends::cpu
