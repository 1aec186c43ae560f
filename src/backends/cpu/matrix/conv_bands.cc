// Bands, and rows woven for tile registers.
#include "backends/cpu/matrix/conv_bands.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "backends/cpu/matrix/amx_band.h"
#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kBandBytes = 96 << 10;         // padded copy of input rows that a thread works on
constexpr int64_t kFetchedBandBytes = 28 << 10;  // the same of a strip, on tile registers, which fetch the next one
constexpr int64_t kMaxBandDilation = 16;         // rows of the copy that no tap reads
constexpr int64_t kMinBands = 8;                 // of all images, where threads share them

int64_t align_up_to_pair(int64_t count) { return (count + 1) / 2 * 2; }
int64_t slot_of(int64_t y, int64_t slots) { return ((y % slots) + slots) % slots; }

bool on_tile_registers(const Conv2DShape& s) { return s.unit == MatrixUnit::kTiles; }

// Elements of a column of a band. Tile registers take pairs of them: with a zero behind an odd last one, so that all
// columns of a kernel are still one run.
int64_t band_column(const Conv2DShape& s) {
  if (!on_tile_registers(s)) return s.c;
  return align_up_to_pair(weaves_rows(s) ? s.kh * s.c : s.c);
}

template <class T>
TileJob<T> band_job(const Conv2DShape& s, const BandPlan<T>& plan, const PackedB& b, bool stays) {
  TileJob<T> job;
  job.results_stay = stays;
  job.to_half = s.to_half;
  job.b = b;
  job.rows = plan.rows_out * s.ow;
  job.runs = band_runs(s);
  job.run_length = band_run_length(s);
  job.readable_past_end = true;
  job.input_bytes = static_cast<int64_t>(plan.bytes());
  job.out_stride = s.output_pitch();
  const int64_t pitch = s.stride_w * band_column(s);
  if (on_tile_registers(s)) {
    job.stretch = s.ow;
    job.pitch = pitch;
  } else {
    set_stretch(job, s.ow, pitch);
  }
  return job;
}

template <class T, class In>
void copy_elements(const In* from, int64_t count, T* to) {
  if constexpr (std::is_same_v<T, In>) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
  } else {
    convert(from, to, count);
  }
}

// Pixels that lie one behind the other, to columns of a band.
template <class T, class In>
void copy_pixels(const In* from, int64_t pixels, int64_t c, int64_t column, T* to) {
  if (column == c) return copy_elements(from, pixels * c, to);
  if constexpr (std::is_same_v<T, BFloat16>) {
    if constexpr (std::is_same_v<In, float>) {
      amx_kernels().pad_and_narrow(from, pixels, c, to);
    } else {
      amx_kernels().pad_channels(from, pixels, c, to);
    }
  }
}

// Row y of an image with its padding, `channels` elements a pixel.
template <class T, class In>
void copy_row(const Conv2DShape& s, int64_t width, const In* image, int64_t y, int64_t channels, T* to) {
  const int64_t left = std::clamp<int64_t>(s.pad_left, 0, width);
  const int64_t from_x = std::max<int64_t>(0, -s.pad_left);
  const int64_t pixels = std::clamp<int64_t>(s.w - from_x, 0, width - left);
  if (y < 0 || y >= s.h) {
    std::fill(to, to + width * channels, T());
    return;
  }
  const In* from = image + (y * s.w + from_x) * s.input_pitch();
  std::fill(to, to + left * channels, T());
  if (s.input_pitch() == s.c) {
    copy_pixels(from, pixels, s.c, channels, to + left * channels);
  } else {
    for (int64_t x = 0; x < pixels; ++x) {
      copy_pixels(from + x * s.input_pitch(), 1, s.c, channels, to + (left + x) * channels);
    }
  }
  std::fill(to + (left + pixels) * channels, to + width * channels, T());
}

// What `rows_out` rows behind `last` read of an image that those up to it have not.
template <class In>
std::span<const std::byte> input_behind(const Conv2DShape& s, const In* image, int64_t last, int64_t rows_out) {
  const int64_t row = s.w * s.input_pitch();
  const int64_t begin = std::clamp<int64_t>(s.read_rows(last) - s.pad_top, 0, s.h);
  const int64_t end = std::clamp<int64_t>(s.read_rows(last + rows_out) - s.pad_top, begin, s.h);
  return std::as_bytes(std::span(image + begin * row, static_cast<size_t>((end - begin) * row)));
}

// For each output row the rows that it reads, woven column by column.
template <class In>
void weave_band(const Conv2DShape& s, const BandPlan<BFloat16>& plan, const In* image, int64_t first_y,
                int64_t rows_out, BFloat16* band) {
  BFloat16* const unwoven = band + plan.elements();
  const BFloat16* rows[kAmxElements];
  int64_t copied = first_y;  // rows before it are there
  for (int64_t r = 0; r < rows_out; ++r, first_y += s.stride_h, band += plan.row_length) {
    for (copied = std::max(copied, first_y); copied < first_y + s.kh; ++copied)
      copy_row(s, plan.width, image, copied, s.c, unwoven + slot_of(copied, s.kh) * plan.unwoven_length);
    for (int64_t kh = 0; kh < s.kh; ++kh) rows[kh] = unwoven + slot_of(first_y + kh, s.kh) * plan.unwoven_length;
    amx_kernels().weave_rows(rows, s.kh, s.c, plan.width, band);
  }
}

template <class T, class In>
void copy_band(const Conv2DShape& s, const BandPlan<T>& plan, const In* image, int64_t first_y, int64_t rows_out,
               T* band) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (weaves_rows(s)) return weave_band(s, plan, image, first_y, rows_out, band);
  }
  for (int64_t r = 0; r < s.read_rows(rows_out); ++r, band += plan.row_length)
    copy_row(s, plan.width, image, first_y + r, band_column(s), band);
}

}  // namespace

bool reads_bands(const Conv2DShape& s) {
  return s.groups == 1 && s.kw > 1 && s.c < 16 && s.dilation_w == 1 && s.dilation_h <= kMaxBandDilation;
}

bool rounds_input(const Conv2DShape& s) { return reads_bands(s); }

bool weaves_rows(const Conv2DShape& s) {
  return reads_bands(s) && on_tile_registers(s) && s.kh > 1 && s.dilation_h == 1 &&
         s.kw * align_up_to_pair(s.kh * s.c) <= kAmxElements;
}

int64_t band_runs(const Conv2DShape& s) { return weaves_rows(s) ? 1 : s.kh; }
int64_t band_run_length(const Conv2DShape& s) { return s.kw * band_column(s); }

bool bands_go_at_once(const Conv2DShape& s, const PackedB& b, const Epilogue<BFloat16>& epilogue) {
  return reads_bands(s) && !s.to_half && amx_band_fits(band_run_length(s), b, epilogue);
}

template <class T>
BandPlan<T>::BandPlan(const Conv2DShape& s) {
  width = (s.ow - 1) * s.stride_w + s.kw;
  row_length = width * band_column(s);
  row_step = weaves_rows(s) ? row_length : row_length * s.stride_h;
  // Tile registers read 16 pixels at once, which may begin with the last of the band.
  elements_behind = on_tile_registers(s) ? kAmxRows * s.stride_w * band_column(s) : 0;
  if (weaves_rows(s)) unwoven_length = align_up_to_pair(width * s.c) + kAmxElements;
  const int64_t bytes = on_tile_registers(s) && !s.is_shared ? kFetchedBandBytes : kBandBytes;
  rows_out = std::clamp<int64_t>(bytes / (row_step * int64_t{sizeof(T)}), 1, std::max<int64_t>(1, s.oh));
  bands = std::max(ceil_div(s.oh, rows_out),
                   std::min(s.oh, ceil_div(s.is_shared ? kMinBands : 1, std::max<int64_t>(1, s.n))));
  if (s.blocking.strip > 0)
    bands = ceil_div(s.oh, std::clamp<int64_t>(s.blocking.strip, 1, std::max<int64_t>(1, s.oh)));
  rows_out = ceil_div(s.oh, std::max<int64_t>(1, bands));
  rows_in = weaves_rows(s) ? rows_out : s.read_rows(rows_out);
  unwoven_rows = weaves_rows(s) ? s.kh : 0;
}

template <class T>
size_t band_slot_bytes(const Conv2DShape& s, const BandPlan<T>& plan, const PackedB& b, bool stays) {
  return align_up(plan.bytes(), 64) + tile_slot_scratch_bytes(band_job(s, plan, b, stays));
}

template <class T, class In, class Out>
void run_band(const Conv2DShape& s, const BandPlan<T>& plan, const PackedB& b, const In* in, Out* out,
              const Epilogue<T>& epilogue, int64_t first, int64_t rows_out, int64_t next_rows, const int64_t* offsets,
              bool stays, std::byte* scratch) {
  const int64_t y0 = first % s.oh;
  const In* const image = in + first / s.oh * s.h * s.w * s.input_pitch();
  auto* band = reinterpret_cast<T*>(scratch);
  copy_band(s, plan, image, y0 * s.stride_h - s.pad_top, rows_out, band);

  const PartEpilogue<T> part(epilogue, first * s.ow);
  TileJob<T> job = band_job(s, plan, b, stays);
  job.rows = rows_out * s.ow;
  job.run_offsets = offsets;
  job.set_out(out);
  job.epilogue = &part.get();
  job.next_input = input_behind(s, image, y0 + rows_out, next_rows);
  if constexpr (std::is_same_v<Out, BFloat16>) {
    if (bands_go_at_once(s, b, part.get())) return amx_band({job, band, rows_out, plan.row_step, s.ow});
  }
  run_tile_range(
      job, {0, tile_count(job), 0, b.panels()},
      [&](int64_t pixel_of_band, int count, const T** rows) {
        const int64_t step = s.stride_w * band_column(s);
        int64_t left = s.ow - pixel_of_band % s.ow;  // in the row
        const T* row = band + pixel_of_band / s.ow * plan.row_step;
        const T* pixel = row + (s.ow - left) * step;
        for (int i = 0; i < count; ++i, pixel += step) {
          if (left-- == 0) {
            row += plan.row_step;
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
                   ThreadPool& pool, const int64_t* offsets, std::byte* slots) {
  const BandPlan<T> plan(s);
  const size_t slot_bytes = band_slot_bytes(s, plan, b, /*stays=*/false);
  pool.parallel_for(static_cast<int>(s.n * plan.bands), [&](int index, int slot) {
    const int64_t band = index % plan.bands, y = band * s.oh / plan.bands;
    const int64_t rows = (band + 1) * s.oh / plan.bands - y, first = index / plan.bands * s.oh + y;
    if (rows <= 0) return;
    run_band(s, plan, b, in, out + first * s.ow * s.output_pitch(), epilogue, first, rows,
             /*next_rows=*/rows, offsets, /*stays=*/false, slots + slot * slot_bytes);
  });
}

template <class T>
void pack_woven_weights(const Conv2DShape& s, const T* weights, void* to) {
  const int64_t tap = s.c * s.oc;
  std::vector<T> turned(static_cast<size_t>(s.kh * s.kw * tap));
  for (int64_t kw = 0; kw < s.kw; ++kw) {
    for (int64_t kh = 0; kh < s.kh; ++kh)
      std::copy_n(weights + (kh * s.kw + kw) * tap, tap, turned.begin() + (kw * s.kh + kh) * tap);
  }
  pack_runs(turned.data(), s.kw, s.kh * s.c, s.oc, s.oc, 1, to, s.blocking.vectors);
}

#define BLADE_INSTANTIATE(T, In, Out)                                                                                  \
  template void run_band<T, In, Out>(const Conv2DShape&, const BandPlan<T>&, const PackedB&, const In*, Out*,          \
                                     const Epilogue<T>&, int64_t, int64_t, int64_t, const int64_t*, bool, std::byte*); \
  template void conv_by_bands<T, In, Out>(const Conv2DShape&, const In*, const PackedB&, Out*, const Epilogue<T>&,     \
                                          ThreadPool&, const int64_t*, std::byte*);
BLADE_INSTANTIATE(float, float, float)
BLADE_INSTANTIATE(BFloat16, BFloat16, BFloat16)
BLADE_INSTANTIATE(BFloat16, BFloat16, float)
BLADE_INSTANTIATE(BFloat16, float, BFloat16)
BLADE_INSTANTIATE(BFloat16, float, float)
#undef BLADE_INSTANTIATE
#define BLADE_INSTANTIATE(T)                                                                        \
  template struct BandPlan<T>;                                                                      \
  template size_t band_slot_bytes<T>(const Conv2DShape&, const BandPlan<T>&, const PackedB&, bool); \
  template void pack_woven_weights<T>(const Conv2DShape&, const T*, void*);
BLADE_INSTANTIATE(float)
BLADE_INSTANTIATE(BFloat16)
#undef BLADE_INSTANTIATE

}  // namespace blade::backends::cpu
