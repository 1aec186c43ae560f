// Direct convolution: every output pixel of a tile is a row whose input lies at one pointer a kernel tap.
#include "backends/cpu/matrix/conv2d.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/conv_planes.h"
#include "backends/cpu/matrix/conv_rows.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/matrix/gemm.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "backends/cpu/matrix/tile_kernel.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kBandBytes = 96 << 10;  // padded copy of input rows that a thread works on
constexpr int64_t kMaxBandDilation = 16;  // rows of the copy that no tap reads
constexpr int64_t kMinBands = 8;          // of all images, where threads share them

int64_t group_in(const Conv2DShape& s) { return s.c / s.groups; }
int64_t group_out(const Conv2DShape& s) { return s.oc / s.groups; }
int64_t align_up_to_pair(int64_t count) { return (count + 1) / 2 * 2; }

// Few channels: a kernel row is one run of kw * c elements, read from a copy of the input with its padding written out.
bool use_band(const Conv2DShape& s) {
  return s.groups == 1 && s.kw > 1 && s.c < 16 && s.dilation_w == 1 && s.dilation_h <= kMaxBandDilation;
}

bool uses_tiles_of_amx(const Conv2DShape& s) { return s.unit == MatrixUnit::kTiles; }

// Channels of a pixel in a band. Tile registers take pairs of them: with a zero behind an odd last one, so that all
// pixels of a kernel row are still one run.
int64_t band_channels(const Conv2DShape& s) { return uses_tiles_of_amx(s) ? align_up_to_pair(s.c) : s.c; }

int64_t run_count(const Conv2DShape& s) { return use_band(s) ? s.kh : s.kh * s.kw; }
int64_t run_length(const Conv2DShape& s) { return use_band(s) ? s.kw * band_channels(s) : group_in(s); }

template <class T>
PackedB group_b_view(const Conv2DShape& s, const void* data) {
  return packed_b_view(packed_steps<T>(run_count(s), run_length(s)), group_out(s), data, s.unit, s.blocking.vectors);
}
template <class T>
size_t group_packed_bytes(const Conv2DShape& s) {
  return align_up(group_b_view<T>(s, nullptr).bytes(), 64);
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
  job.input_bytes = s.n * read_h * read_w * group_in(s) * int64_t{sizeof(T)};
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

// ---- Bands: the padded copy of a few input rows, for few channels.
template <class T>
struct BandPlan {
  int64_t width = 0;       // pixels of a padded row
  int64_t rows_out = 0;    // output rows of a band, at most
  int64_t rows_in = 0;     // input rows of a band
  int64_t bands = 0;       // of one image
  int64_t row_length = 0;  // elements
  int64_t elements_behind = 0;

  explicit BandPlan(const Conv2DShape& s) {
    width = (s.ow - 1) * s.stride_w + s.kw;
    row_length = width * band_channels(s);
    // Tile registers read 16 pixels at once, which may begin with the last of the band.
    elements_behind = uses_tiles_of_amx(s) ? kAmxRows * s.stride_w * band_channels(s) : 0;
    const int64_t row_bytes = row_length * int64_t{sizeof(T)};
    rows_out = std::clamp<int64_t>(kBandBytes / (row_bytes * s.stride_h), 1, std::max<int64_t>(1, s.oh));
    bands = std::max(ceil_div(s.oh, rows_out),
                     std::min(s.oh, ceil_div(s.is_shared ? kMinBands : 1, std::max<int64_t>(1, s.n))));
    if (s.blocking.strip > 0)
      bands = ceil_div(s.oh, std::clamp<int64_t>(s.blocking.strip, 1, std::max<int64_t>(1, s.oh)));
    rows_out = ceil_div(s.oh, std::max<int64_t>(1, bands));
    rows_in = (rows_out - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1;
  }
  size_t bytes() const { return static_cast<size_t>(rows_in * row_length + elements_behind) * sizeof(T); }
};

template <class T>
TileJob<T> band_job(const Conv2DShape& s, const BandPlan<T>& plan, const PackedB& b, bool stays) {
  TileJob<T> job;
  job.results_stay = stays;
  job.to_half = s.to_half;
  job.b = b;
  job.rows = plan.rows_out * s.ow;
  job.runs = run_count(s);
  job.run_length = run_length(s);
  job.readable_past_end = true;
  job.input_bytes = static_cast<int64_t>(plan.bytes());
  job.out_stride = s.output_pitch();
  const int64_t pitch = s.stride_w * band_channels(s);
  if (uses_tiles_of_amx(s)) {
    job.stretch = s.ow;
    job.pitch = pitch;
  } else {
    set_stretch(job, s.ow, pitch);
  }
  return job;
}

template <class T>
size_t band_slot_bytes(const Conv2DShape& s, const BandPlan<T>& plan, const PackedB& b, bool stays) {
  return align_up(plan.bytes(), 64) + tile_slot_scratch_bytes(band_job(s, plan, b, stays));
}

template <class T, class In>
void copy_elements(const In* from, int64_t count, T* to) {
  if constexpr (std::is_same_v<T, In>) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
  } else {
    convert(from, to, count);
  }
}

// Pixels that lie one behind the other, to those of a band.
template <class T, class In>
void copy_pixels(const In* from, int64_t pixels, int64_t c, int64_t band_channels, T* to) {
  if (band_channels == c) return copy_elements(from, pixels * c, to);
  if constexpr (std::is_same_v<T, BFloat16>) {
    constexpr int64_t kPixels = 64;
    alignas(64) T some[kPixels * 16 + kAmxElements];
    for (; pixels > 0; pixels -= kPixels, from += kPixels * c, to += kPixels * band_channels) {
      const int64_t count = std::min(kPixels, pixels);
      copy_elements(from, count * c, some);
      amx_kernels().pad_channels(some, count, c, to);
    }
  }
}

template <class T, class In>
void copy_band(const Conv2DShape& s, const BandPlan<T>& plan, const In* image, int64_t first_y, int64_t rows, T* band) {
  const int64_t channels = band_channels(s);
  const int64_t left = std::clamp<int64_t>(s.pad_left, 0, plan.width);
  const int64_t from_x = std::max<int64_t>(0, -s.pad_left);
  const int64_t pixels = std::clamp<int64_t>(s.w - from_x, 0, plan.width - left);
  for (int64_t r = 0; r < rows; ++r, band += plan.row_length) {
    const int64_t y = first_y + r;
    if (y < 0 || y >= s.h) {
      std::fill(band, band + plan.row_length, T());
      continue;
    }
    const In* from = image + (y * s.w + from_x) * s.input_pitch();
    std::fill(band, band + left * channels, T());
    if (s.input_pitch() == s.c) {
      copy_pixels(from, pixels, s.c, channels, band + left * channels);
    } else {
      for (int64_t x = 0; x < pixels; ++x) {
        copy_pixels(from + x * s.input_pitch(), 1, s.c, channels, band + (left + x) * channels);
      }
    }
    std::fill(band + (left + pixels) * channels, band + plan.row_length, T());
  }
}

// ---- Offsets of the runs and the row of zeros, shared by all threads.
template <class T>
struct ConvSharedScratch {
  const Conv2DShape& s;
  size_t offset_bytes, zero_bytes;
  explicit ConvSharedScratch(const Conv2DShape& shape)
      : s(shape),
        offset_bytes(align_up(static_cast<size_t>(num_offsets()) * sizeof(int64_t), 64)),
        zero_bytes(align_up(static_cast<size_t>(group_in(s)) * sizeof(T), 64)) {}
  size_t bytes() const { return offset_bytes + zero_bytes; }
  int64_t num_offsets() const { return use_band(s) ? s.kh : run_count(s); }
  int64_t* offsets(std::byte* at) const { return reinterpret_cast<int64_t*>(at); }
  T* zeros(std::byte* at) const { return reinterpret_cast<T*>(at + offset_bytes); }

  void fill(std::byte* at) const {
    for (int64_t r = 0; r < num_offsets(); ++r) {
      offsets(at)[r] = use_band(s) ? r * s.dilation_h * BandPlan<T>(s).row_length
                                   : (r / s.kw * s.dilation_h * s.w + r % s.kw * s.dilation_w) * s.input_pitch();
    }
    std::memset(static_cast<void*>(zeros(at)), 0, zero_bytes);
  }
};

// At most plan.rows_out output rows from row `first` of all images on; they lie in one image.
template <class T, class In, class Out>
void run_band(const Conv2DShape& s, const BandPlan<T>& plan, const PackedB& b, const In* in, Out* out,
              const Epilogue<T>& epilogue, int64_t first, int64_t rows_out, const int64_t* offsets, bool stays,
              std::byte* scratch) {
  const int64_t image = first / s.oh, y0 = first % s.oh;
  auto* band = reinterpret_cast<T*>(scratch);
  const int64_t rows_in = (rows_out - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1;
  copy_band(s, plan, in + image * s.h * s.w * s.input_pitch(), y0 * s.stride_h - s.pad_top, rows_in, band);

  const PartEpilogue<T> part(epilogue, first * s.ow);
  TileJob<T> job = band_job(s, plan, b, stays);
  job.rows = rows_out * s.ow;
  job.run_offsets = offsets;
  job.set_out(out);
  job.epilogue = &part.get();
  run_tile_range(
      job, {0, tile_count(job), 0, b.panels()},
      [&](int64_t pixel_of_band, int count, const T** rows) {
        const int64_t step = s.stride_w * band_channels(s);
        int64_t left = s.ow - pixel_of_band % s.ow;  // in the row
        const T* row = band + pixel_of_band / s.ow * s.stride_h * plan.row_length;
        const T* pixel = row + (s.ow - left) * step;
        for (int i = 0; i < count; ++i, pixel += step) {
          if (left-- == 0) {
            row += s.stride_h * plan.row_length;
            pixel = row;
            left = s.ow - 1;
          }
          rows[i] = pixel;
        }
        return true;
      },
      scratch + align_up(plan.bytes(), 64));
}

template <class T, class In, class Out>
void conv_by_bands(const Conv2DShape& s, const In* in, const PackedB& b, Out* out, const Epilogue<T>& epilogue,
                   ThreadPool& pool, std::byte* scratch) {
  const BandPlan<T> plan(s);
  const ConvSharedScratch<T> shared(s);
  shared.fill(scratch);
  const size_t slot_bytes = band_slot_bytes(s, plan, b, /*stays=*/false);
  pool.parallel_for(static_cast<int>(s.n * plan.bands), [&](int index, int slot) {
    const int64_t band = index % plan.bands, y = band * s.oh / plan.bands;
    const int64_t rows = (band + 1) * s.oh / plan.bands - y, first = index / plan.bands * s.oh + y;
    if (rows <= 0) return;
    run_band(s, plan, b, in, out + first * s.ow * s.output_pitch(), epilogue, first, rows, shared.offsets(scratch),
             /*stays=*/false, scratch + shared.bytes() + slot * slot_bytes);
  });
}

// ---- Pixels at a pitch that aliases in L1, read several times by each tap: copied at another pitch first.
template <class T>
bool copies_input(const Conv2DShape& s) {
  return !use_band(s) && !uses_tiles_of_amx(s) && s.kh * s.kw > 1 &&
         pitch_aliases(s.input_pitch() * s.stride_w * int64_t{sizeof(T)}) &&
         group_out(s) >= 4 * group_b_view<T>(s, nullptr).width();
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

bool uses_planes(const Conv2DShape& s) { return uses_tiles_of_amx(s) && !use_band(s) && !reads_every_pixel(s); }

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
    const PartEpilogue<T> part(epilogue, 0, 1, g * group_out(s));
    TileJob<T> job = conv_job<T>(s, b, s.n * s.oh);
    job.run_offsets = offsets;
    job.set_out(out + g * group_out(s));
    job.epilogue = &part.get();
    run(job, RowsOfConv<T>{s, in + g * group_in(s), zeros});
  };
  const size_t slot_bytes = tile_slot_scratch_bytes(conv_job<T>(s, group_b_view<T>(s, nullptr), s.n * s.oh));
  if (s.groups >= pool.num_threads() && s.groups > 1) {
    pool.parallel_for(static_cast<int>(s.groups), [&](int g, int slot) {
      for_group(g, [&](const TileJob<T>& job, const RowsOfConv<T>& rows) {
        run_tile_range(job, {0, tile_count(job), 0, job.b.panels()}, rows, scratch + slot * slot_bytes);
      });
    });
    return;
  }
  for (int64_t g = 0; g < s.groups; ++g) {
    for_group(g, [&](const TileJob<T>& job, const RowsOfConv<T>& rows) {
      if constexpr (sizeof(T) < sizeof(float)) {
        if (uses_tiles_of_amx(s) && reads_every_pixel(s)) {
          gemm(job.rows, s.c, rows.in, s.input_pitch(), job.b, out, job.out_stride, *job.epilogue, pool, scratch,
               s.blocking);
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

bool rounds_input(const Conv2DShape& s) { return use_band(s); }

const char* conv_tiles_refusal(const Conv2DShape& s) {
  return s.groups != 1 ? "tile registers are not used for grouped convolutions" : nullptr;
}

template <class T>
int64_t conv2d_band_rows(const Conv2DShape& s) {
  return use_band(s) ? BandPlan<T>(s).rows_out : 0;
}

template <class T>
size_t packed_conv_bytes(const Conv2DShape& s) {
  return group_packed_bytes<T>(s) * static_cast<size_t>(s.groups);
}

template <class T>
void pack_conv_weights(const Conv2DShape& s, const T* weights, void* to) {
  // Pairs of channels of each tap: where a band has a zero behind an odd last channel, they are those of its runs.
  const bool in_pairs = use_band(s) && uses_tiles_of_amx(s);
  const int64_t runs = in_pairs ? s.kh * s.kw : run_count(s), length = in_pairs ? s.c : run_length(s);
  for (int64_t g = 0; g < s.groups; ++g) {
    pack_runs(weights + g * group_out(s), runs, length, group_out(s), s.oc, 1,
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
  if (use_band(s))
    return shared.bytes() + static_cast<size_t>(threads) * band_slot_bytes(s, BandPlan<T>(s), b, /*stays=*/false);
  return shared.bytes() + static_cast<size_t>(threads) * tile_slot_scratch_bytes(conv_job<T>(s, b, s.n * s.oh)) +
         (copies_input<T>(s) ? input_copy_bytes<T>(s) : 0);
}

template <class T, class In, class Out>
void conv2d(const Conv2DShape& s, const In* in, const void* packed, Out* out, const Epilogue<T>& epilogue,
            ThreadPool& pool, std::byte* scratch, const PlaneSplits& splits) {
  if (s.output_pixels() <= 0 || s.oc <= 0) return;
  if (use_band(s)) {
    conv_by_bands(s, in, group_b_view<T>(s, packed), out, epilogue, pool, scratch);
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
  return use_band(s) ? band_slot_bytes(s, BandPlan<T>(s), b, /*stays=*/true)
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
  if (use_band(s)) {
    const BandPlan<T> plan(s);
    for (int64_t r = 0; r < rows; r += plan.rows_out) {
      run_band(s, plan, b, in, out + r * s.ow * s.output_pitch(), epilogue, first + r,
               std::min(plan.rows_out, rows - r), layout.offsets(shared), /*stays=*/true, slot);
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
      gemm_on_caller(job, in + first * s.ow * s.input_pitch(), s.input_pitch(), slot);
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
