// Images of the depth that lie outside the volume are left out of the sums, as their taps come first or last in them.
#include "backends/cpu/matrix/conv_volume.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "backends/cpu/matrix/conv_bands.h"
#include "backends/cpu/matrix/conv_plane_plan.h"
#include "backends/cpu/matrix/gemm.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "backends/depth_taps.h"
#include "backends/machine.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

constexpr double kCyclesAProduct = 20;  // as for planes of one image
constexpr double kCopiedBytesPerCycle = 16;
constexpr double kPanelBytesPerCycle = 10;  // from L3
constexpr double kCyclesACall = 600;        // of a panel past an image
constexpr double kCyclesAFinish = 70;       // of 16 pixels and channels, in predictions
constexpr int64_t kMostFewChannels = 16;    // reads_bands() takes fewer
constexpr BFloat16 kZeros[kAmxElements] = {};

// Whether it is the product of all pixels, where they lie, with one matrix.
bool is_product(const Conv2DShape& s) {
  const DepthAxis& d = s.depth;
  return d.taps * s.kh * s.kw == 1 && d.stride * s.stride_h * s.stride_w == 1 && d.pad_before == 0 && s.pad_top == 0 &&
         s.pad_left == 0 && d.in == d.out && s.h == s.oh && s.w == s.ow;
}

// What of a volume is planes of one image of its results.
Conv2DShape image_of(const Conv2DShape& volume) {
  Conv2DShape image = volume;
  image.n = 1;
  image.depth = {};
  return image;
}

// All of them with the channels of all depth taps side by side.
Conv2DShape joined_images_of(const Conv2DShape& volume) {
  Conv2DShape images = volume;
  images.c *= volume.depth.taps;
  images.depth = {};
  images.in_pixel_stride = 0;
  return images;
}
bool has_few_channels(const Conv2DShape& volume) {
  const Conv2DShape images = joined_images_of(volume);
  return reads_bands(images);
}

// Whether planes have the channels of all depth taps side by side, where a tap's own leave much of a tile empty.
bool joins_depth(const Conv2DShape& s) {
  return s.c < kMostFewChannels && AmxBlocks(s.depth.taps * s.c).count < s.depth.taps * AmxBlocks(s.c).count;
}

// What the planes are, as a volume: whole blocks of channels, of one tap along the depth where these are joined.
Conv2DShape planes_of(const Conv2DShape& volume) {
  Conv2DShape planes = volume;
  if (joins_depth(volume)) {
    planes.c *= volume.depth.taps;
    planes.depth = {.in = volume.depth.out, .out = volume.depth.out};
  }
  // The weights of one tap are those of is_product(), too.
  if (volume.depth.taps * volume.kh * volume.kw > 1) planes.c = AmxBlocks(planes.c).elements();
  planes.in_pixel_stride = 0;
  return planes;
}

// Taps [first, last) of result `z` along the depth that lie in the volume: one at least, if only of zeros (which
// weights that are not finite make NaN).
struct DepthTaps {
  int64_t image, first, last;  // `image`: what tap 0 reads

  DepthTaps(const DepthAxis& d, int64_t z) : image(z * d.stride - d.pad_before) {
    first = std::min(ceil_div(std::max<int64_t>(0, -image), d.dilation), d.taps - 1);
    last = std::clamp(ceil_div(std::max<int64_t>(0, d.in - image), d.dilation), first + 1, d.taps);
  }
};

PackedB volume_weights(const Conv2DShape& volume, const void* packed) {
  return packed_b_view(packed_steps<BFloat16>(volume.depth.taps * volume.kh * volume.kw, volume.c), volume.oc, packed,
                       MatrixUnit::kTiles);
}

struct VolumePlan {
  const Conv2DShape& volume;
  bool joins = joins_depth(volume);
  Conv2DShape s = planes_of(volume);
  Conv2DShape image = image_of(s);
  PlanePlan plane{image};
  int64_t taps = s.kh * s.kw;  // of an image

  explicit VolumePlan(const Conv2DShape& given) : volume(given) {}
  VolumePlan(const VolumePlan&) = delete;  // `plane` points to `image`
  VolumePlan& operator=(const VolumePlan&) = delete;

  int64_t images_read(int64_t results) const {
    return (results - 1) * s.depth.stride + (s.depth.taps - 1) * s.depth.dilation + 1;
  }
  // From the planes of an image to those of the next.
  int64_t image_elements(int64_t rows) const {
    return static_cast<int64_t>(plane.strip_bytes(rows) / sizeof(BFloat16));
  }
  size_t strip_bytes(const VolumeSplit& split) const {
    return static_cast<size_t>(images_read(split.images)) * plane.strip_bytes(split.rows);
  }
  // Without the part of `b` and where results go.
  TileJob<BFloat16> job(int64_t rows, const PackedB& b) const {
    TileJob<BFloat16> job = plane.job(rows, b);
    job.runs = s.depth.taps * taps;
    job.out_stride = s.output_pitch();
    return job;
  }
  size_t offset_bytes() const { return align_up(static_cast<size_t>(s.depth.taps * taps) * sizeof(int64_t), 64); }
  void fill_offsets(int64_t rows, int64_t* offsets) const {
    for (int64_t d = 0; d < s.depth.taps; ++d) {
      const int64_t from = d * s.depth.dilation * image_elements(rows);
      for (int64_t tap = 0; tap < taps; ++tap) *offsets++ = from + plane.tap_offset(rows, tap / s.kw, tap % s.kw);
    }
  }
  size_t slot_bytes(const VolumeSplit& split, const PackedB& b) const {
    const int64_t last = s.oh - (ceil_div(s.oh, split.rows) - 1) * split.rows;
    return strip_bytes(split) +
           std::max(tile_slot_scratch_bytes(job(split.rows, b)), tile_slot_scratch_bytes(job(last, b)));
  }
};

double split_cycles(const VolumePlan& plan, const PackedB& b, int threads, const VolumeSplit& split) {
  const Conv2DShape& s = plan.s;
  const int64_t units = ceil_div((split.rows - 1) * plan.plane.pitch + s.ow, kAmxRows);
  const int64_t panels = ceil_div(b.panels(), split.panel_parts);
  const int64_t products = split.images * units * panels * b.vectors * s.depth.taps * plan.taps * AmxBlocks(s.c).count;
  const int64_t volumes = s.n / s.depth.out;
  const int64_t tasks = volumes * ceil_div(s.depth.out, split.images) * ceil_div(s.oh, split.rows) * split.panel_parts;
  const auto rounds = static_cast<double>(ceil_div(tasks, int64_t{threads}));
  const auto parts = static_cast<double>(split.panel_parts), copied = static_cast<double>(plan.strip_bytes(split));
  const double weights = static_cast<double>(b.bytes()) / parts;
  const double results = static_cast<double>(split.images * split.rows * s.ow * s.oc) * sizeof(BFloat16) / parts;
  const double crossing = (1 - 1 / parts) * (copied + results) / kOtherBytesToTiles;
  return rounds * (kCyclesAProduct * static_cast<double>(products) + copied / kCopiedBytesPerCycle + crossing +
                   kCyclesACall * static_cast<double>(panels * split.images)) +
         (panels_stay(static_cast<size_t>(weights)) ? 1 : rounds) * weights / kPanelBytesPerCycle;
}

VolumeSplit choose_split(const VolumePlan& plan, int threads) {
  const Conv2DShape& s = plan.s;
  const PackedB b = volume_weights(s, nullptr);
  const size_t most_bytes = Machine::host().l2_bytes * 5 / 8;
  VolumeSplit best;
  double best_cycles = -1;
  for (int64_t parts = 1; parts <= std::min<int64_t>(threads, b.panels()); ++parts) {
    for (int64_t images = 1; images <= s.depth.out; ++images) {
      if (images > 1 && plan.strip_bytes({images, 1}) > most_bytes) break;
      for (int64_t strips = 1; strips <= s.oh;) {
        const VolumeSplit split = {images, ceil_div(s.oh, strips), parts};
        if (plan.strip_bytes(split) <= most_bytes || (images == 1 && split.rows == 1)) {
          const double cycles = split_cycles(plan, b, threads, split);
          if (best_cycles < 0 || cycles < best_cycles) {
            best_cycles = cycles;
            best = split;
          }
        }
        if (split.rows == 1) break;
        strips = ceil_div(s.oh, split.rows - 1);  // the next ones that are lower
      }
    }
  }
  return best;
}

// A task of conv_volume(): a strip and some of the panels.
struct VolumeTask {
  int64_t volume, first_image, images, first_row, rows, first_panel, last_panel;
};

struct VolumeRun {
  const VolumePlan& plan;
  const VolumeSplit& split;
  const BFloat16* in;
  PackedB b;
  BFloat16* out;
  const Epilogue<BFloat16>& epilogue;
  const int64_t *offsets, *last_offsets;  // of strips of split.rows rows, and of the last rows of an image

  int64_t strips() const { return ceil_div(plan.s.oh, split.rows); }
  int64_t depth_strips() const { return ceil_div(plan.s.depth.out, split.images); }
  int64_t volumes() const { return plan.s.n / plan.s.depth.out; }
  int64_t tasks() const { return volumes() * depth_strips() * strips() * split.panel_parts; }

  VolumeTask task(int64_t index) const {
    const int64_t part = index % split.panel_parts, strip = index / split.panel_parts;
    const int64_t row = strip % strips() * split.rows, image = strip / strips() % depth_strips() * split.images;
    return {strip / strips() / depth_strips(),
            image,
            std::min(split.images, plan.s.depth.out - image),
            row,
            std::min(split.rows, plan.s.oh - row),
            part * b.panels() / split.panel_parts,
            (part + 1) * b.panels() / split.panel_parts};
  }

  // Whether a tap of the strip's results reads the image.
  bool reads(const VolumeTask& task, int64_t image) const {
    const DepthAxis& depth = plan.s.depth;
    for (int64_t z = task.first_image; z < task.first_image + task.images; ++z) {
      const DepthTaps taps(depth, z);
      const int64_t behind = image - taps.image;
      if (behind % depth.dilation == 0 && behind >= taps.first * depth.dilation && behind < taps.last * depth.dilation)
        return true;
    }
    return false;
  }

  // Image `z` of a volume; one outside of few channels is zeros.
  PlanePart part(int64_t volume, int64_t z) const {
    const Conv2DShape& s = plan.volume;
    if (z < 0 || z >= s.depth.in) return {kZeros, s.c, 0};
    return {in + (volume * s.depth.in + z) * s.h * s.w * s.input_pitch(), s.c, s.input_pitch()};
  }

  // What a place of the planes of an image (a result where taps are joined) is made of: none where it is outside.
  std::span<const PlanePart> parts(int64_t volume, int64_t image, PlanePart* parts) const {
    const Conv2DShape& s = plan.volume;
    const int64_t taps = plan.joins ? s.depth.taps : 1;
    if (!plan.joins && (image < 0 || image >= s.depth.in)) return {};
    const int64_t first = plan.joins ? image * s.depth.stride - s.depth.pad_before : image;
    PlanePart* end = parts;
    for (int64_t tap = 0; tap < taps; ++tap) *end++ = part(volume, first + tap * s.depth.dilation);
    if (const int64_t rest = plan.s.c - taps * s.c; rest > 0) *end++ = {kZeros, rest, 0};
    return {parts, end};
  }

  // The planes of what the strip's taps read, each image once.
  void copy(const VolumeTask& task, BFloat16* planes) const {
    const int64_t begin = DepthTaps(plan.s.depth, task.first_image).image, step = plan.image_elements(task.rows);
    PlanePart buffer[kMostDepthTaps + 1];
    for (int64_t i = 0; i < plan.images_read(task.images); ++i, planes += step) {
      if (!reads(task, begin + i)) continue;
      const std::span<const PlanePart> from = parts(task.volume, begin + i, buffer);
      if (from.empty()) {
        std::fill_n(planes, step, BFloat16());
      } else {
        copy_strip(plan.plane, from, 0, task.first_row, task.rows, planes);
      }
    }
  }

  void multiply(const VolumeTask& task, const BFloat16* planes, bool panels_stay, std::byte* scratch) const {
    const Conv2DShape& s = plan.s;
    const int64_t step = plan.image_elements(task.rows), tap_steps = plan.taps * packed_steps<BFloat16>(1, s.c);
    TileJob<BFloat16> job = plan.job(task.rows, b);
    job.run_offsets = task.rows == split.rows ? offsets : last_offsets;
    // A panel meets all images before the next one is read.
    const int64_t at_once = task.images == 1 ? task.last_panel - task.first_panel : 1;
    for (int64_t p = task.first_panel; p < task.last_panel; p += at_once) {
      for (int64_t i = 0; i < task.images; ++i) {
        const int64_t z = task.first_image + i;
        const DepthTaps taps(s.depth, z);
        const BFloat16* const from = planes + (i * s.depth.stride + taps.first * s.depth.dilation) * step;
        const int64_t pixel = ((task.volume * s.depth.out + z) * s.oh + task.first_row) * s.ow;
        const PartEpilogue<BFloat16> part(epilogue, pixel);
        job.runs = (taps.last - taps.first) * plan.taps;
        const bool all_taps = taps.last - taps.first == s.depth.taps;
        job.b = all_taps ? b : b.piece(taps.first * tap_steps, taps.last * tap_steps);
        job.epilogue = &part.get();
        job.set_out(out + pixel * s.output_pitch());
        const bool is_last = i + 1 == task.images;
        job.panels_warm = p > task.first_panel || i > 0;
        job.panels_stay = panels_stay || (i > 0 && !is_last);
        job.prefetch_after = is_last && p + at_once < task.last_panel;
        multiply_image(job, from, p, p + at_once, scratch);
      }
    }
  }

  void multiply_image(const TileJob<BFloat16>& job, const BFloat16* from, int64_t first_panel, int64_t last_panel,
                      std::byte* scratch) const {
    const int64_t pitch = plan.s.c;
    if (job.runs == 1 && plan.plane.is_matrix()) {
      gemm_on_caller(job, from, pitch, first_panel, last_panel, scratch);
      return;
    }
    run_tile_range(
        job, {0, tile_count(job), first_panel, last_panel},
        [&](int64_t row, int count, const BFloat16** pointers) {
          for (int k = 0; k < count; ++k) pointers[k] = from + (row + k) * pitch;
          return true;
        },
        scratch);
  }
};

void conv_by_volume_planes(const Conv2DShape& volume, const VolumeSplit& split, const BFloat16* in, const void* packed,
                           BFloat16* out, const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch) {
  const VolumePlan plan(volume);
  const Conv2DShape& s = plan.s;
  auto* const offsets = reinterpret_cast<int64_t*>(scratch);
  auto* const last_offsets = reinterpret_cast<int64_t*>(scratch + plan.offset_bytes());
  scratch += 2 * plan.offset_bytes();
  const VolumeRun run = {plan, split, in, volume_weights(s, packed), out, epilogue, offsets, last_offsets};
  plan.fill_offsets(split.rows, offsets);
  plan.fill_offsets(s.oh - (run.strips() - 1) * split.rows, last_offsets);
  const size_t slot_bytes = plan.slot_bytes(split, run.b);
  const auto tasks = static_cast<int>(run.tasks());
  // Most often a thread takes strips one behind the other.
  const auto first_thread = [&](int task) { return int64_t{task} * pool.num_threads() / tasks; };
  pool.parallel_for(tasks, [&](int index, int slot) {
    const VolumeTask task = run.task(index);
    auto* const planes = reinterpret_cast<BFloat16*>(scratch + static_cast<size_t>(slot) * slot_bytes);
    run.copy(task, planes);
    const bool stay = split.panel_parts == 1 && panels_stay(run.b.bytes()) && index > 0 &&
                      first_thread(index - 1) == first_thread(index);
    run.multiply(task, planes, stay, reinterpret_cast<std::byte*>(planes) + plan.strip_bytes(split));
  });
}

// ---- Few channels.

// Where the pixels lie that a tap along the depth reads, `pitch` elements apart: 0 for those of zeros.
struct TapPixels {
  const BFloat16* at;
  int64_t pitch;
};

// Pixels of some images side by side. Few channels are moved by whole words, whose ends the next pixel overwrites.
void join_pixels(std::span<const TapPixels> taps, int64_t pixels, int64_t channels, BFloat16* to) {
  constexpr int64_t kWord = 4;
  const int64_t by_words = channels <= kWord ? std::max<int64_t>(0, pixels - kWord) : 0;
  for (int64_t x = 0; x < by_words; ++x) {
    for (const TapPixels& tap : taps) {
      std::memcpy(to, tap.at + x * tap.pitch, kWord * sizeof(BFloat16));
      to += channels;
    }
  }
  for (int64_t x = by_words; x < pixels; ++x) {
    for (const TapPixels& tap : taps) to = std::copy_n(tap.at + x * tap.pitch, channels, to);
  }
}

// Rows [first, last) of the images that result `index` reads.
void join_images(const Conv2DShape& s, const BFloat16* in, int64_t index, int64_t first, int64_t last, BFloat16* to) {
  const DepthTaps taps(s.depth, index % s.depth.out);
  TapPixels pixels[kMostFewChannels];
  for (int64_t tap = 0; tap < s.depth.taps; ++tap) {
    const int64_t z = taps.image + tap * s.depth.dilation, image = index / s.depth.out * s.depth.in + z;
    const bool inside = z >= 0 && z < s.depth.in;
    pixels[tap] =
        inside ? TapPixels{in + (image * s.h + first) * s.w * s.input_pitch(), s.input_pitch()} : TapPixels{kZeros, 0};
  }
  join_pixels({pixels, static_cast<size_t>(s.depth.taps)}, (last - first) * s.w, s.c, to);
}

PackedB joined_weights(const Conv2DShape& image, const void* packed) {
  return packed_b_view(packed_steps<BFloat16>(band_runs(image), band_run_length(image)), image.oc, packed,
                       MatrixUnit::kTiles);
}
size_t joined_rows_bytes(const Conv2DShape& image, const BandPlan<BFloat16>& plan) {
  const int64_t rows = std::min(image.h, image.read_rows(plan.rows_out));
  return align_up(static_cast<size_t>(rows * image.w * image.c) * sizeof(BFloat16), 64);
}
size_t joined_slot_bytes(const Conv2DShape& image, const BandPlan<BFloat16>& plan) {
  return joined_rows_bytes(image, plan) + band_slot_bytes(image, plan, joined_weights(image, nullptr), false);
}
size_t band_offset_bytes(const Conv2DShape& image) {
  return align_up(static_cast<size_t>(band_runs(image)) * sizeof(int64_t), 64);
}

void conv_by_volume_bands(const Conv2DShape& s, const BFloat16* in, const void* packed, BFloat16* out,
                          const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch) {
  const Conv2DShape image = joined_images_of(s);
  const BandPlan<BFloat16> plan(image);
  const PackedB b = joined_weights(image, packed);
  auto* const offsets = reinterpret_cast<int64_t*>(scratch);
  for (int64_t r = 0; r < band_runs(image); ++r) offsets[r] = r * image.dilation_h * plan.row_length;
  scratch += band_offset_bytes(image);
  const size_t slot_bytes = joined_slot_bytes(image, plan);
  pool.parallel_for(static_cast<int>(s.n * plan.bands), [&](int task, int slot) {
    const int64_t index = task / plan.bands, y = task % plan.bands * plan.rows_out;
    const int64_t rows = std::min(plan.rows_out, s.oh - y), first_y = y * s.stride_h - s.pad_top;
    if (rows <= 0) return;
    const int64_t first = std::clamp<int64_t>(first_y, 0, s.h);
    const int64_t last = std::clamp<int64_t>(first_y + image.read_rows(rows), first, s.h);
    std::byte* const own = scratch + static_cast<size_t>(slot) * slot_bytes;
    auto* const joined = reinterpret_cast<BFloat16*>(own);
    join_images(s, in, index, first, last, joined);
    // The copied rows as an image of their own.
    Conv2DShape part = image;
    part.h = last - first;
    part.pad_top = first - first_y;
    const int64_t pixel = (index * s.oh + y) * s.ow;
    const PartEpilogue<BFloat16> part_epilogue(epilogue, pixel);
    run_band(part, plan, b, joined, out + pixel * s.output_pitch(), part_epilogue.get(), 0, rows, /*next_rows=*/0,
             offsets, /*stays=*/false, own + joined_rows_bytes(image, plan));
  });
}

}  // namespace

size_t packed_volume_bytes(const Conv2DShape& s) {
  return has_few_channels(s) ? joined_weights(joined_images_of(s), nullptr).bytes()
                             : volume_weights(planes_of(s), nullptr).bytes();
}

void pack_volume_weights(const Conv2DShape& s, const BFloat16* weights, void* to) {
  const int64_t taps = s.kh * s.kw, row = s.c * s.oc;
  const bool few = has_few_channels(s), joins = few || joins_depth(s);
  const Conv2DShape planes = few ? joined_images_of(s) : planes_of(s);
  // [taps of `planes`][its channels][oc]
  const int64_t step = planes.c * s.oc;
  std::vector<BFloat16> placed(static_cast<size_t>(planes.depth.taps * taps * step));
  for (int64_t d = 0; d < s.depth.taps; ++d) {
    for (int64_t tap = 0; tap < taps; ++tap, weights += row)
      std::copy_n(weights, row, placed.begin() + (joins ? tap * step + d * row : (d * taps + tap) * step));
  }
  if (few) {
    pack_conv_weights(planes, placed.data(), to);
  } else {
    pack_runs(placed.data(), planes.depth.taps * taps, planes.c, s.oc, s.oc, 1, to);
  }
}

double conv_volume_us(const Conv2DShape& s, int threads) {
  if (has_few_channels(s)) return conv_cost_us<BFloat16>(joined_images_of(s), ConvAlgorithm::kDirect, threads);
  Conv2DShape images = s;
  images.depth = {};
  const double as_images = conv_cost_us<BFloat16>(images, ConvAlgorithm::kDirect, threads);
  if (is_product(s)) return as_images;
  const VolumePlan plan(s);
  const int64_t finished = ceil_div(s.output_pixels(), kAmxRows) * ceil_div(s.oc, kAmxRows);
  const double cycles = split_cycles(plan, volume_weights(plan.s, nullptr), threads, choose_split(plan, threads)) +
                        kCyclesAFinish * static_cast<double>(finished) / threads;
  return std::max(cycles / kTileCyclesPerUs, as_images);
}

VolumeSplits conv_volume_splits(const Conv2DShape& s, int threads) {
  if (has_few_channels(s) || is_product(s)) return {};
  const VolumePlan plan(s);
  VolumeSplits splits;
  for (int t = 1; t <= std::max(1, threads); ++t) splits.push_back(choose_split(plan, t));
  return splits;
}

size_t conv_volume_scratch_bytes(const Conv2DShape& s, int threads, const VolumeSplits& splits) {
  if (is_product(s)) return gemm_scratch_bytes<BFloat16>(s.output_pixels(), s.c, s.oc, threads, MatrixUnit::kTiles);
  if (has_few_channels(s)) {
    const Conv2DShape image = joined_images_of(s);
    return band_offset_bytes(image) +
           static_cast<size_t>(std::max(1, threads)) * joined_slot_bytes(image, BandPlan<BFloat16>(image));
  }
  const VolumePlan plan(s);
  size_t bytes = 0;
  for (size_t i = 0; i < splits.size(); ++i)
    bytes = std::max(bytes, (i + 1) * plan.slot_bytes(splits[i], volume_weights(plan.s, nullptr)));
  return 2 * plan.offset_bytes() + bytes;
}

void conv_volume(const Conv2DShape& s, const VolumeSplits& splits, const BFloat16* in, const void* packed,
                 BFloat16* out, const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch) {
  if (is_product(s)) {
    gemm(s.output_pixels(), s.c, in, s.input_pitch(), volume_weights(planes_of(s), packed), out, s.output_pitch(),
         epilogue, pool, scratch);
    return;
  }
  if (has_few_channels(s)) return conv_by_volume_bands(s, in, packed, out, epilogue, pool, scratch);
  const VolumeSplit& split = splits[static_cast<size_t>(pool.num_threads() - 1)];
  conv_by_volume_planes(s, split, in, packed, out, epilogue, pool, scratch);
}

}  // namespace blade::backends::cpu
