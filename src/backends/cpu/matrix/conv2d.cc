// Direct convolution: every output pixel of a tile is a row whose input lies at one pointer a kernel tap.
#include "backends/cpu/matrix/conv2d.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/conv_bands.h"
#include "backends/cpu/matrix/conv_planes.h"
#include "backends/cpu/matrix/conv_rows.h"
#include "backends/cpu/matrix/gemm.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "backends/cpu/matrix/tile_kernel.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

bool uses_tiles_of_amx(const Conv2DShape& s) { return s.unit == MatrixUnit::kTiles; }

int64_t run_count(const Conv2DShape& s) { return reads_bands(s) ? band_runs(s) : s.kh * s.kw; }
int64_t run_length(const Conv2DShape& s) { return reads_bands(s) ? band_run_length(s) : s.group_in(); }

template <class T>
PackedB group_b_view(const Conv2DShape& s, const void* data) {
  return packed_b_view(packed_steps<T>(run_count(s), run_length(s)), s.group_out(), data, s.unit, s.blocking.vectors);
}
template <class T>
size_t group_packed_bytes(const Conv2DShape& s) {
  return group_packed_bytes(group_b_view<T>(s, nullptr));
}

// A 1x1 kernel over all pixels: a plain product.
bool reads_every_pixel(const Conv2DShape& s) {
  return s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_top == 0 && s.pad_left == 0 &&
         s.oh == s.h && s.ow == s.w;
}

bool reads_no_padding(const Conv2DShape& s) {
  return s.pad_top == 0 && s.pad_left == 0 && (s.oh - 1) * s.stride_h + (s.kh - 1) * s.dilation_h < s.h &&
         (s.ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w < s.w;
}

// `rows` output rows; `stays`: in the caller's cache.
template <class T>
TileJob<T> conv_job(const Conv2DShape& s, const PackedB& b, int64_t rows, bool stays = false) {
  TileJob<T> job;
  job.results_stay = stays;
  job.to_half = s.to_half;
  job.b = b;
  if (sizeof(T) == sizeof(float)) job.block_bytes = long_sum_block_bytes();
  job.rows = rows * s.ow;
  job.runs = run_count(s);
  job.run_length = run_length(s);
  const int64_t read_h = std::min(s.h, s.oh * std::min(s.stride_h, s.kh));
  const int64_t read_w = std::min(s.w, s.ow * std::min(s.stride_w, s.kw));
  job.input_bytes = s.n * read_h * read_w * s.group_in() * int64_t{sizeof(T)};
  if (const int64_t all = s.n * s.oh; rows != all) job.input_bytes = ceil_div(job.input_bytes * rows, all);
  job.copy_rows = job.runs == 1 && job.rows > 1 && b.panels() > 1 &&
                  pitch_aliases(s.input_pitch() * s.stride_w * int64_t{sizeof(T)}, s.unit);
  job.set_blocking(s.blocking);
  job.out_stride = s.output_pitch();
  if (reads_every_pixel(s)) {
    set_stretch(job, job.rows, s.input_pitch());
  } else if (reads_no_padding(s)) {
    set_stretch(job, s.ow, s.stride_w * s.input_pitch());
  }
  return job;
}

// ---- Offsets of the runs and the row of zeros, shared by all threads.
template <class T>
struct ConvSharedScratch {
  const Conv2DShape& s;
  size_t offset_bytes, zero_bytes;
  explicit ConvSharedScratch(const Conv2DShape& shape)
      : s(shape),
        offset_bytes(align_up(static_cast<size_t>(num_offsets()) * sizeof(int64_t), 64)),
        zero_bytes(align_up(static_cast<size_t>(s.group_in()) * sizeof(T), 64)) {}
  size_t bytes() const { return offset_bytes + zero_bytes; }
  int64_t num_offsets() const { return run_count(s); }
  int64_t* offsets(std::byte* at) const { return reinterpret_cast<int64_t*>(at); }
  T* zeros(std::byte* at) const { return reinterpret_cast<T*>(at + offset_bytes); }

  void fill(std::byte* at) const {
    for (int64_t r = 0; r < num_offsets(); ++r) {
      offsets(at)[r] = reads_bands(s) ? r * s.dilation_h * BandPlan<T>(s).row_length
                                      : (r / s.kw * s.dilation_h * s.w + r % s.kw * s.dilation_w) * s.input_pitch();
    }
    std::memset(static_cast<void*>(zeros(at)), 0, zero_bytes);
  }
};

// ---- Pixels at a pitch that aliases in L1, read several times by each tap: copied at another pitch first.
template <class T>
bool copies_input(const Conv2DShape& s) {
  return !reads_bands(s) && !uses_tiles_of_amx(s) && s.kh * s.kw > 1 &&
         pitch_aliases(s.input_pitch() * s.stride_w * int64_t{sizeof(T)}) &&
         s.group_out() >= 4 * group_b_view<T>(s, nullptr).width();
}

template <class T>
int64_t copied_pitch(const Conv2DShape& s) {
  return s.c + 64 / int64_t{sizeof(T)};
}

template <class T>
size_t input_copy_bytes(const Conv2DShape& s) {
  return align_up(static_cast<size_t>(s.n * s.h * s.w * copied_pitch<T>(s)) * sizeof(T), 64);
}

template <class T>
void copy_input(const Conv2DShape& s, const T* in, T* copy, ThreadPool& pool) {
  pool.parallel_for(pool.num_threads(), [&](int part, int) {
    const int64_t pixels = s.n * s.h * s.w;
    const int64_t last = (part + 1) * pixels / pool.num_threads();
    for (int64_t p = part * pixels / pool.num_threads(); p < last; ++p) {
      std::memcpy(copy + p * copied_pitch<T>(s), in + p * s.input_pitch(), s.c * sizeof(T));
    }
  });
}

// All groups as one product.
template <class T>
TileJob<T> all_groups_job(const Conv2DShape& s) {
  TileJob<T> job = conv_job<T>(s, group_b_view<T>(s, nullptr), s.n * s.oh);
  job.b.k *= s.groups;
  job.input_bytes *= s.groups;
  return job;
}

bool uses_planes(const Conv2DShape& s) { return uses_tiles_of_amx(s) && !reads_bands(s) && !reads_every_pixel(s); }

template <class T, class Out>
void conv_by_taps(const Conv2DShape& s, const T* in, const void* packed, Out* out, const Epilogue<T>& epilogue,
                  ThreadPool& pool, std::byte* scratch) {
  const ConvSharedScratch<T> shared(s);
  shared.fill(scratch);
  const int64_t* offsets = shared.offsets(scratch);
  const T* zeros = shared.zeros(scratch);
  scratch += shared.bytes();

  auto for_group = [&](int64_t g, auto&& run) {
    const PackedB b = group_b_view<T>(s, static_cast<const std::byte*>(packed) + g * group_packed_bytes<T>(s));
    const PartEpilogue<T> part(epilogue, 0, 1, g * s.group_out());
    TileJob<T> job = conv_job<T>(s, b, s.n * s.oh);
    job.run_offsets = offsets;
    job.set_out(out + g * s.group_out());
    job.epilogue = &part.get();
    run(job, RowsOfConv<T>{s, in + g * s.group_in(), zeros});
  };
  const size_t slot_bytes = tile_slot_scratch_bytes(conv_job<T>(s, group_b_view<T>(s, nullptr), s.n * s.oh));
  if (s.groups > 1 && !uses_tiles_of_amx(s)) {
    // Parts of the pixels go through all groups, which share lines of the input and of the results.
    const TileJob<T> all = all_groups_job<T>(s);
    const int64_t pixel_bytes = all.input_bytes + s.output_pixels() * s.oc * int64_t{sizeof(T)};
    run_parts(choose_group_split(all, pixel_bytes, pool.num_threads()), tile_count(all), all.b.panels(), pool,
              [&](const TileRange& part, int slot) {
                for (int64_t g = 0; g < s.groups; ++g) {
                  for_group(g, [&](const TileJob<T>& job, const RowsOfConv<T>& rows) {
                    run_tile_range(job, part, rows, scratch + slot * slot_bytes);
                  });
                }
              });
    return;
  }
  for (int64_t g = 0; g < s.groups; ++g) {
    for_group(g, [&](const TileJob<T>& job, const RowsOfConv<T>& rows) {
      if constexpr (sizeof(T) < sizeof(float)) {
        if (uses_tiles_of_amx(s) && reads_every_pixel(s)) {
          gemm(job.rows, s.group_in(), rows.in, s.input_pitch(), job.b, out + g * s.group_out(), job.out_stride,
               *job.epilogue, pool, scratch, s.blocking);
          return;
        }
      }
      if (!reads_every_pixel(s)) {
        run_tiles(job, rows, pool, scratch);
        return;
      }
      const auto dense = [&](int64_t first, int count, const T** pointers) {
        for (int i = 0; i < count; ++i) pointers[i] = rows.in + (first + i) * s.input_pitch();
        return true;
      };
      run_tiles(job, dense, pool, scratch);
    });
  }
}

}  // namespace

template <class T>
int64_t conv2d_band_rows(const Conv2DShape& s) {
  return reads_bands(s) ? BandPlan<T>(s).rows_out : 0;
}

template <class T>
size_t packed_conv_bytes(const Conv2DShape& s) {
  return group_packed_bytes<T>(s) * static_cast<size_t>(s.groups);
}

template <class T>
void pack_conv_weights(const Conv2DShape& s, const T* weights, void* to) {
  if (weaves_rows(s)) return pack_woven_weights(s, weights, to);
  // Pairs of channels of each tap: where a band has a zero behind an odd last channel, they are those of its runs.
  const bool in_pairs = reads_bands(s) && uses_tiles_of_amx(s);
  const int64_t runs = in_pairs ? s.kh * s.kw : run_count(s), length = in_pairs ? s.c : run_length(s);
  for (int64_t g = 0; g < s.groups; ++g) {
    pack_runs(weights + g * s.group_out(), runs, length, s.group_out(), s.oc, 1,
              static_cast<std::byte*>(to) + g * group_packed_bytes<T>(s), s.blocking.vectors);
  }
}

PlaneSplits conv2d_splits(const Conv2DShape& s, int threads) {
  if (s.output_pixels() <= 0 || s.oc <= 0 || !uses_planes(s)) return {};
  return conv_planes_splits(s, threads);
}

template <class T>
size_t conv2d_scratch_bytes(const Conv2DShape& s, int threads, const PlaneSplits& splits) {
  if (s.output_pixels() <= 0 || s.oc <= 0) return 0;
  if (uses_planes(s)) return conv_planes_scratch_bytes(s, splits.empty() ? conv_planes_splits(s, threads) : splits);
  const PackedB b = group_b_view<T>(s, nullptr);
  const ConvSharedScratch<T> shared(s);
  if (reads_bands(s))
    return shared.bytes() + static_cast<size_t>(threads) * band_slot_bytes(s, BandPlan<T>(s), b, /*stays=*/false);
  return shared.bytes() + static_cast<size_t>(threads) * tile_slot_scratch_bytes(conv_job<T>(s, b, s.n * s.oh)) +
         (copies_input<T>(s) ? input_copy_bytes<T>(s) : 0);
}

template <class T, class In, class Out>
void conv2d(const Conv2DShape& s, const In* in, const void* packed, Out* out, const Epilogue<T>& epilogue,
            ThreadPool& pool, std::byte* scratch, const PlaneSplits& splits) {
  if (s.output_pixels() <= 0 || s.oc <= 0) return;
  if (reads_bands(s)) {
    const ConvSharedScratch<T> shared(s);
    shared.fill(scratch);
    conv_by_bands(s, in, group_b_view<T>(s, packed), out, epilogue, pool, shared.offsets(scratch),
                  scratch + shared.bytes());
    return;
  }
  if constexpr (std::is_same_v<In, BFloat16>) {
    if (uses_planes(s)) {
      const PlanePart all[] = {{in, s.c, s.input_pitch()}};
      const int threads = pool.num_threads();
      const PlaneSplit split =
          splits.empty() ? conv_planes_split(s, threads) : splits[static_cast<size_t>(threads - 1)];
      conv_by_planes(s, split, all, group_b_view<T>(s, packed), out, epilogue, pool, scratch);
      return;
    }
  }
  if constexpr (std::is_same_v<In, T>) {
    if (!copies_input<T>(s)) {
      conv_by_taps(s, in, packed, out, epilogue, pool, scratch);
      return;
    }
    auto* copy = reinterpret_cast<T*>(scratch);
    copy_input(s, in, copy, pool);
    Conv2DShape of_copy = s;
    of_copy.in_pixel_stride = copied_pitch<T>(s);
    conv_by_taps(of_copy, copy, packed, out, epilogue, pool, scratch + input_copy_bytes<T>(s));
  }
}

template <class T>
const char* conv2d_rows_refusal(const Conv2DShape& s) {
  if (s.groups != 1) return "the convolution is grouped";
  if (uses_planes(s)) return "tile registers read copies of the input";
  return copies_input<T>(s) ? "the convolution copies its input" : nullptr;
}

template <class T>
size_t conv2d_rows_shared_bytes(const Conv2DShape& s) {
  return ConvSharedScratch<T>(s).bytes();
}
template <class T>
size_t conv2d_rows_slot_bytes(const Conv2DShape& s) {
  const PackedB b = group_b_view<T>(s, nullptr);
  return reads_bands(s) ? band_slot_bytes(s, BandPlan<T>(s), b, /*stays=*/true)
                        : tile_slot_scratch_bytes(conv_job<T>(s, b, s.n * s.oh));
}
template <class T>
void conv2d_rows_prepare(const Conv2DShape& s, std::byte* shared) {
  ConvSharedScratch<T>(s).fill(shared);
}

template <class T, class In>
void conv2d_rows(const Conv2DShape& s, const In* in, const void* packed, T* out, const Epilogue<T>& epilogue,
                 int64_t first, int64_t rows, std::byte* shared, std::byte* slot) {
  const ConvSharedScratch<T> layout(s);
  const PackedB b = group_b_view<T>(s, packed);
  if (reads_bands(s)) {
    const BandPlan<T> plan(s);
    for (int64_t r = 0, next; r < rows; r = next) {
      next = std::min(rows, r + plan.rows_out);
      run_band(s, plan, b, in, out + r * s.ow * s.output_pitch(), epilogue, first + r, next - r,
               std::min(plan.rows_out, rows - next), layout.offsets(shared), /*stays=*/true, slot);
    }
    return;
  }
  if constexpr (std::is_same_v<In, T>) {
    const PartEpilogue<T> part(epilogue, first * s.ow);
    TileJob<T> job = conv_job<T>(s, b, rows, /*stays=*/true);
    job.run_offsets = layout.offsets(shared);
    job.set_out(out);
    job.epilogue = &part.get();
    if (reads_every_pixel(s)) {
      gemm_on_caller(job, in + first * s.ow * s.input_pitch(), s.input_pitch(), 0, b.panels(), slot);
      return;
    }
    const RowsOfConv<T> find{s, in, layout.zeros(shared)};
    run_tile_range(
        job, {0, tile_count(job), 0, b.panels()},
        [&](int64_t pixel, int count, const T** pointers) { return find(first * s.ow + pixel, count, pointers); },
        slot);
  }
}

#define BLADE_INSTANTIATE(T, In, Out)                                                                                 \
  template void conv2d<T, In, Out>(const Conv2DShape&, const In*, const void*, Out*, const Epilogue<T>&, ThreadPool&, \
                                   std::byte*, const PlaneSplits&);
BLADE_INSTANTIATE(float, float, float)
BLADE_INSTANTIATE(BFloat16, BFloat16, BFloat16)
BLADE_INSTANTIATE(BFloat16, BFloat16, float)
BLADE_INSTANTIATE(BFloat16, float, BFloat16)
BLADE_INSTANTIATE(BFloat16, float, float)
#undef BLADE_INSTANTIATE
#define BLADE_INSTANTIATE(T, In)                                                                                \
  template void conv2d_rows<T, In>(const Conv2DShape&, const In*, const void*, T*, const Epilogue<T>&, int64_t, \
                                   int64_t, std::byte*, std::byte*);
BLADE_INSTANTIATE(float, float)
BLADE_INSTANTIATE(BFloat16, BFloat16)
BLADE_INSTANTIATE(BFloat16, float)
#undef BLADE_INSTANTIATE
#define BLADE_INSTANTIATE(T)                                                            \
  template size_t packed_conv_bytes<T>(const Conv2DShape&);                             \
  template int64_t conv2d_band_rows<T>(const Conv2DShape&);                             \
  template void pack_conv_weights<T>(const Conv2DShape&, const T*, void*);              \
  template size_t conv2d_scratch_bytes<T>(const Conv2DShape&, int, const PlaneSplits&); \
  template const char* conv2d_rows_refusal<T>(const Conv2DShape&);                      \
  template size_t conv2d_rows_shared_bytes<T>(const Conv2DShape&);                      \
  template size_t conv2d_rows_slot_bytes<T>(const Conv2DShape&);                        \
  template void conv2d_rows_prepare<T>(const Conv2DShape&, std::byte*);
BLADE_INSTANTIATE(float)
BLADE_INSTANTIATE(BFloat16)
#undef BLADE_INSTANTIATE

}  // namespace blade::backends::cpu
