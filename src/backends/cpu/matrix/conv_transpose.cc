// Gather form: the outputs whose coordinates agree modulo the stride see the same taps, so each such phase is an
// ordinary convolution of stride 1 over the input with every stride-th tap, reversed. Few output channels: all phases
// are one convolution with phases * channels outputs, whose pixels are then spread over the image.
#include "backends/cpu/matrix/conv_transpose.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/conv2d.h"
#include "backends/cpu/matrix/conv_rows.h"
#include "backends/cpu/matrix/conv_transpose_phases.h"
#include "backends/cpu/matrix/conv_transpose_tiles.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "backends/cpu/matrix/tile_kernel.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

template <class T>
TileJob<T> phase_job(const ConvTransposeShape& s, const Phase& phase, const PackedB& b) {
  TileJob<T> job;
  job.rows = phase.x.outputs;
  job.runs = std::max<int64_t>(1, phase.taps());
  job.run_length = phase.taps() == 0 ? 0 : s.c;  // a stride beyond the kernel leaves outputs without any tap
  job.input_bytes = job.rows * s.c * std::max<int64_t>(1, phase.y.taps) * int64_t{sizeof(T)};
  job.b = b;
  job.out_stride = s.stride_w * s.oc;
  return job;
}

// One tap is a range of the steps of a phase: packing it shifted by its first one puts it there.
void pack_tap(const float* tap, int64_t channels, int64_t t, const PackedB& layout, void* to) {
  pack_b_rows(tap - t * channels, 1, channels, t * channels, (t + 1) * channels, layout, to);
}
void pack_tap(const BFloat16* tap, int64_t channels, int64_t t, const PackedB& layout, void* to) {
  const int64_t steps = packed_steps<BFloat16>(1, channels);
  pack_pairs(tap - t * channels, channels, 1, channels, t * steps, (t + 1) * steps, layout, to);
}

// A row of the image, where what is stored is rounded from it.
template <class T>
size_t image_row_bytes(const ConvTransposeShape& s) {
  return sizeof(T) == sizeof(float) ? 0 : align_up(static_cast<size_t>(s.ow * s.oc) * sizeof(float), 64);
}

// ---- All phases as one convolution. Its taps are the union of theirs; weights that a phase lacks are zero.
template <class T>
struct Union {
  const ConvTransposeShape& s;
  UnionAxis y, x;
  explicit Union(const ConvTransposeShape& shape)
      : s(shape), y(s.kh, s.oh, s.stride_h, s.pad_top), x(s.kw, s.ow, s.stride_w, s.pad_left) {}
  int64_t columns() const { return phase_count(s) * s.oc; }
  PackedB layout(const void* data) const {
    return packed_b_view(packed_steps<T>(y.taps * x.taps, s.c), columns(), data);
  }
  Conv2DShape conv() const { return conv_of_axes(s, y, x, columns()); }
  // Results are float32 until they are spread.
  TileJob<T> job(const void* packed) const {
    TileJob<T> job;
    job.rows = x.outputs;
    job.runs = y.taps * x.taps;
    job.run_length = s.c;
    job.input_bytes = job.rows * s.c * y.taps * int64_t{sizeof(T)};
    job.b = layout(packed);
    job.out_stride = columns();
    const bool one_tap = job.runs == 1 && y.pad == 0 && x.pad == 0 && y.outputs <= s.h && x.outputs <= s.w;
    if (one_tap) set_stretch(job, job.rows, s.c);
    return job;
  }
  size_t row_bytes() const { return align_up(static_cast<size_t>(x.outputs * columns()) * sizeof(float), 64); }
  size_t slot_bytes() const { return row_bytes() + image_row_bytes<T>(s) + tile_slot_scratch_bytes(job(nullptr)); }
};

// Worth it where the vectors that few channels leave half empty cost more than the zero weights.
bool use_union(const ConvTransposeShape& s) {
  if (s.unit == MatrixUnit::kTiles) return false;
  const Union<float> all(s);
  const int64_t lanes = packed_b_view(1, 1, nullptr).lanes;
  int64_t apart = 0;
  for (int64_t i = 0; i < phase_count(s); ++i) apart += Phase(s, i).taps() * ceil_div(s.oc, lanes);
  return all.y.taps * all.x.taps * ceil_div(all.columns(), lanes) < apart;
}

template <class T>
void pack_union(const ConvTransposeShape& s, const T* weights, void* to) {
  constexpr int64_t kDepth = kStepDepth<T>;
  const Union<T> all(s);
  const PackedB layout = all.layout(to);
  const int64_t tap_steps = packed_steps<T>(1, s.c);
  auto* packed = static_cast<T*>(to);
  std::memset(to, 0, layout.bytes());
  for (int64_t i = 0; i < phase_count(s); ++i) {
    const Phase phase(s, i);
    for (int64_t t = 0; t < phase.taps(); ++t) {
      const int64_t ty = t / phase.x.taps, tx = t % phase.x.taps;
      const int64_t kh = phase.y.tap + (phase.y.taps - 1 - ty) * s.stride_h;
      const int64_t kw = phase.x.tap + (phase.x.taps - 1 - tx) * s.stride_w;
      const int64_t tap = (ty + all.y.pad - phase.y.pad) * all.x.taps + tx + all.x.pad - phase.x.pad;
      for (int64_t o = 0; o < s.oc; ++o) {
        const int64_t column = i * s.oc + o, panel = column / layout.width();
        const int64_t width = int64_t{layout.panel_vectors(panel)} * layout.lanes;
        T* at =
            packed + kDepth * (panel * layout.k * layout.width() + tap * tap_steps * width + column % layout.width());
        for (int64_t c = 0; c < s.c; ++c) {
          at[c / kDepth * kDepth * width + c % kDepth] = weights[((kh * s.kw + kw) * s.oc + o) * s.c + c];
        }
      }
    }
  }
}

// Per-channel operands repeated for every phase.
const float* repeat_channels(const ConvTransposeShape& s, const float* from, float* to) {
  if (from == nullptr) return nullptr;
  for (int64_t i = 0; i < phase_count(s); ++i) std::copy_n(from, s.oc, to + i * s.oc);
  return to;
}

// Stores row `row` of the images, which `take(to)` puts together from sums, and does what the epilogue leaves for then.
// `image_row`: image_row_bytes().
template <class T, class Take>
void store_row(const ConvTransposeShape& s, int64_t row, float* image_row, T* out, const Epilogue<T>& epilogue,
               const Take& take) {
  const int64_t first_pixel = row * s.ow;
  T* stored = out + first_pixel * s.oc;
  float* to = image_row;
  if constexpr (std::is_same_v<T, float>) to = stored;
  take(to);
  if (epilogue.residual != nullptr) finish_with_residual(epilogue, to, first_pixel, s.ow, s.oc, 0, s.oc);
  if (epilogue.generic != nullptr) epilogue.generic(epilogue.context, {to, s.oc, first_pixel, 1, s.ow, 0, s.oc});
  if constexpr (!std::is_same_v<T, float>) convert(to, stored, s.ow * s.oc);
}

// to[0, count * kRun): the first kRun floats of `count` pixels, `step` floats apart.
template <int64_t kRun>
void gather_runs(const float* from, int64_t step, int64_t count, float* to) {
  for (int64_t x = 0; x < count; ++x, from += step, to += kRun) std::memcpy(to, from, kRun * sizeof(float));
}
void gather_runs(const float* from, int64_t step, int64_t count, int64_t run, float* to) {
  switch (run) {  // lengths that a copy of constant size moves in a register
    case 2:
      return gather_runs<2>(from, step, count, to);
    case 4:
      return gather_runs<4>(from, step, count, to);
    case 8:
      return gather_runs<8>(from, step, count, to);
    default:
      for (int64_t x = 0; x < count; ++x, from += step, to += run) std::copy_n(from, run, to);
  }
}

// Pixels of all phases, one row of the convolution, to the rows of the image that they belong to.
// `image_row`: image_row_bytes().
template <class T>
void spread_row(const Union<T>& all, const float* products, int64_t row, float* image_row, T* out,
                const Epilogue<T>& epilogue) {
  const ConvTransposeShape& s = all.s;
  const int64_t image = row / all.y.outputs, y0 = row % all.y.outputs * s.stride_h;
  const int64_t run = s.stride_w * s.oc;
  for (int64_t sy = 0; sy < s.stride_h && y0 + sy < s.oh; ++sy) {
    store_row(s, image * s.oh + y0 + sy, image_row, out, epilogue, [&](float* to) {
      const float* from = products + sy * run;
      const int64_t whole = s.ow / s.stride_w;
      gather_runs(from, all.columns(), whole, run, to);
      std::copy_n(from + whole * all.columns(), s.ow * s.oc - whole * run, to + whole * run);
    });
  }
}

template <class T>
struct PhasesSharedScratch {
  size_t zero_bytes, offset_bytes;
  explicit PhasesSharedScratch(const ConvTransposeShape& s)
      : zero_bytes(align_up(static_cast<size_t>(s.c) * sizeof(T), 64)),
        offset_bytes(align_up(static_cast<size_t>(s.kh * s.kw) * sizeof(int64_t), 64)) {}
};

// ---- Phases of narrow images: tiles take pixels of several rows, and threads share columns where pixels are few. The
// results of all phases lie one behind the other until they are spread.
constexpr int64_t kNarrowRow = 24;  // pixels of a phase

template <class T>
struct Gathered {
  const ConvTransposeShape& s;
  explicit Gathered(const ConvTransposeShape& shape) : s(shape) {}
  TileJob<T> job(const Phase& phase, const void* packed) const {
    TileJob<T> job = phase_job<T>(s, phase, phase_layout<T>(s, phase, packed));
    job.rows = s.n * phase.y.outputs * phase.x.outputs;
    job.input_bytes = s.n * s.h * s.w * s.c * int64_t{sizeof(T)};
    job.out_stride = s.oc;
    return job;
  }
  size_t result_bytes() const { return align_up(static_cast<size_t>(s.n * s.oh * s.ow * s.oc) * sizeof(float), 64); }
  size_t slot_bytes() const {
    size_t most = image_row_bytes<T>(s);
    for (int64_t i = 0; i < phase_count(s); ++i)
      most = std::max(most, tile_slot_scratch_bytes(job(Phase(s, i), nullptr)));
    return most;
  }
  // A row of the image, counted through all of them, from the results of all phases.
  void take_row(const float* results, int64_t row, float* to) const {
    const int64_t image = row / s.oh, y = row % s.oh, y_phase = y % s.stride_h;
    const int64_t rows = ceil_div(s.oh - y_phase, s.stride_h);  // of such a phase and image
    const float* phase = results + s.n * outputs_before(y_phase, s.oh, s.stride_h) * s.ow * s.oc;
    for (int64_t first = 0; first < std::min(s.stride_w, s.ow); ++first) {
      const int64_t columns = ceil_div(s.ow - first, s.stride_w);
      const float* from = phase + (image * rows + y / s.stride_h) * columns * s.oc;
      for (int64_t x = first; x < s.ow; x += s.stride_w, from += s.oc) std::copy_n(from, s.oc, to + x * s.oc);
      phase += s.n * rows * columns * s.oc;
    }
  }

 private:
  // Of an axis, in the phases before this one.
  static int64_t outputs_before(int64_t phase, int64_t out, int64_t stride) {
    return out / stride * phase + std::min(out % stride, phase);
  }
};

template <class T>
void run_gathered(const ConvTransposeShape& s, const T* in, const void* packed, T* out, const Epilogue<T>& epilogue,
                  ThreadPool& pool, std::byte* scratch) {
  const Gathered<T> gathered(s);
  const PhasesSharedScratch<T> shared(s);
  auto* zeros = reinterpret_cast<T*>(scratch);
  std::memset(static_cast<void*>(zeros), 0, shared.zero_bytes);
  auto* offsets = reinterpret_cast<int64_t*>(scratch + shared.zero_bytes);
  auto* const results = reinterpret_cast<float*>(scratch + shared.zero_bytes + shared.offset_bytes);
  std::byte* slots = reinterpret_cast<std::byte*>(results) + gathered.result_bytes();
  const Epilogue<T> first = epilogue_before_spreading(epilogue);
  const auto* weights = static_cast<const std::byte*>(packed);
  float* to = results;
  for (int64_t i = 0; i < phase_count(s); ++i) {
    const Phase phase(s, i);
    TileJob<T> job = gathered.job(phase, weights);
    weights += phase_bytes<T>(s, phase);
    if (job.rows == 0) continue;
    const Conv2DShape conv = phase.conv(s);
    for (int64_t t = 0; t < phase.taps(); ++t) offsets[t] = (t / conv.kw * conv.w + t % conv.kw) * s.c;
    job.run_offsets = offsets;
    job.set_out(to);
    job.epilogue = &first;
    const RowsOfConv<T> find{conv, in, zeros};
    run_tiles(
        job, [&](int64_t row, int count, const T** rows) { return find(row, count, rows); }, pool, slots);
    to += job.rows * s.oc;
  }
  const int64_t rows = s.n * s.oh, tasks = std::min<int64_t>(rows, int64_t{pool.num_threads()} * 4);
  pool.parallel_for(static_cast<int>(tasks), [&](int task, int slot) {
    auto* const image_row = reinterpret_cast<float*>(slots + slot * gathered.slot_bytes());
    for (int64_t row = task * rows / tasks; row < (task + 1) * rows / tasks; ++row) {
      store_row(s, row, image_row, out, epilogue, [&](float* pixels) { gathered.take_row(results, row, pixels); });
    }
  });
}

template <class T>
size_t slot_bytes(const ConvTransposeShape& s) {
  size_t most = 0;
  for (int64_t i = 0; i < phase_count(s); ++i) {
    const Phase phase(s, i);
    most = std::max(most, tile_slot_scratch_bytes(phase_job<T>(s, phase, phase_layout<T>(s, phase, nullptr))));
  }
  return most;
}

template <class T>
void run_row(const ConvTransposeShape& s, const Phase& phase, TileJob<T> job, const RowsOfConv<T>& rows, T* out,
             const Epilogue<T>& epilogue, int64_t row, std::byte* scratch) {
  const int64_t image = row / phase.y.outputs;
  const int64_t y = phase.y.first + row % phase.y.outputs * s.stride_h;
  const int64_t first_pixel = (image * s.oh + y) * s.ow + phase.x.first;
  const PartEpilogue<T> part(epilogue, first_pixel, s.stride_w);
  job.out = out + first_pixel * s.oc;
  job.epilogue = &part.get();
  const int64_t skipped = row * phase.x.outputs;
  run_tile_range(
      job, {0, tile_count(job), 0, job.b.panels()},
      [&](int64_t first, int count, const T** pointers) { return rows(skipped + first, count, pointers); }, scratch);
}

// Zeros, tap offsets, and what repeat_channels() makes.
template <class T>
size_t union_scratch_bytes(const ConvTransposeShape& s) {
  const Union<T> all(s);
  const auto floats = static_cast<size_t>(packed_steps<T>(1, s.c) + 4 * all.columns());
  return align_up(static_cast<size_t>(all.y.taps * all.x.taps) * sizeof(int64_t) + floats * sizeof(float), 64);
}

template <class T>
void run_union(const ConvTransposeShape& s, const T* in, const void* packed, T* out, const Epilogue<T>& epilogue,
               ThreadPool& pool, std::byte* scratch) {
  const Union<T> all(s);
  const Conv2DShape conv = all.conv();
  auto* offsets = reinterpret_cast<int64_t*>(scratch);
  for (int64_t t = 0; t < conv.kh * conv.kw; ++t) offsets[t] = (t / conv.kw * s.w + t % conv.kw) * s.c;
  auto* zeros = reinterpret_cast<T*>(offsets + conv.kh * conv.kw);
  std::fill_n(zeros, s.c, T());
  float* const repeated = reinterpret_cast<float*>(zeros) + packed_steps<T>(1, s.c);
  Epilogue<T> first = epilogue_before_spreading(epilogue);
  first.bias = repeat_channels(s, first.bias, repeated);
  first.slope = repeat_channels(s, first.slope, repeated + all.columns());
  first.scale = repeat_channels(s, first.scale, repeated + 2 * all.columns());
  first.shift = repeat_channels(s, first.shift, repeated + 3 * all.columns());
  TileJob<T> job = all.job(packed);
  job.run_offsets = offsets;
  job.epilogue = &first;
  std::byte* slots = scratch + union_scratch_bytes<T>(s);
  const int64_t rows = s.n * all.y.outputs;
  const auto tasks = static_cast<int>(std::min<int64_t>(rows, int64_t{pool.num_threads()} * 4));
  const RowsOfConv<T> find{conv, in, zeros};
  pool.parallel_for(tasks, [&](int task, int slot) {
    std::byte* mine = slots + slot * all.slot_bytes();
    auto* const products = reinterpret_cast<float*>(mine);
    auto* const image_row = reinterpret_cast<float*>(mine + all.row_bytes());
    TileJob<T> row_job = job;
    row_job.set_out(products);
    for (int64_t r = task * rows / tasks; r < (task + 1) * rows / tasks; ++r) {
      const int64_t skipped = r * conv.ow;
      run_tile_range(
          row_job, {0, tile_count(row_job), 0, row_job.b.panels()},
          [&](int64_t first_row, int count, const T** pointers) { return find(skipped + first_row, count, pointers); },
          mine + all.row_bytes() + image_row_bytes<T>(s));
      spread_row(all, products, r, image_row, out, epilogue);
    }
  });
}

}  // namespace

template <class T>
double conv_transpose_cost_us(const ConvTransposeShape& s, int threads) {
  if (use_union(s)) return conv_cost_us<T>(Union<T>(s).conv(), ConvAlgorithm::kDirect, threads);
  double us = 0;
  for (int64_t i = 0; i < phase_count(s); ++i)
    us += conv_cost_us<T>(Phase(s, i).conv(s), ConvAlgorithm::kDirect, threads);
  return us;
}

bool conv_transpose_is_gathered(const ConvTransposeShape& s) {
  return s.unit != MatrixUnit::kTiles && !use_union(s) && ceil_div(s.ow, s.stride_w) <= kNarrowRow;
}

bool conv_transpose_spreads(const ConvTransposeShape& s) {
  return s.unit == MatrixUnit::kTiles || use_union(s) || conv_transpose_is_gathered(s);
}

template <class T>
size_t packed_conv_transpose_bytes(const ConvTransposeShape& s) {
  if (use_union(s)) return Union<T>(s).layout(nullptr).bytes();
  size_t bytes = 0;
  for (int64_t i = 0; i < phase_count(s); ++i) bytes += phase_bytes<T>(s, Phase(s, i));
  return bytes;
}

template <class T>
void pack_conv_transpose_weights(const ConvTransposeShape& s, const T* weights, void* to) {
  if (use_union(s)) {
    pack_union(s, weights, to);
    return;
  }
  auto* bytes = static_cast<std::byte*>(to);
  for (int64_t i = 0; i < phase_count(s); ++i) {
    const Phase phase(s, i);
    const PackedB layout = phase_layout<T>(s, phase, bytes);
    for (int64_t t = 0; t < phase.taps(); ++t) {
      const int64_t kh = phase.y.tap + (phase.y.taps - 1 - t / phase.x.taps) * s.stride_h;
      const int64_t kw = phase.x.tap + (phase.x.taps - 1 - t % phase.x.taps) * s.stride_w;
      pack_tap(weights + (kh * s.kw + kw) * s.oc * s.c, s.c, t, layout, bytes);
    }
    bytes += phase_bytes<T>(s, phase);
  }
}

PlaneSplits conv_transpose_splits(const ConvTransposeShape& s, int threads) {
  if (s.n * s.oh * s.ow <= 0 || s.oc <= 0 || s.unit != MatrixUnit::kTiles) return {};
  return conv_transpose_tiles_splits(s, threads);
}

template <class T>
size_t conv_transpose_scratch_bytes(const ConvTransposeShape& s, int threads, const PlaneSplits& splits) {
  if (s.n * s.oh * s.ow <= 0 || s.oc <= 0) return 0;
  if (s.unit == MatrixUnit::kTiles)
    return conv_transpose_tiles_scratch_bytes(s, splits.empty() ? conv_transpose_tiles_splits(s, threads) : splits);
  if (use_union(s)) return union_scratch_bytes<T>(s) + static_cast<size_t>(threads) * Union<T>(s).slot_bytes();
  const PhasesSharedScratch<T> shared(s);
  const Gathered<T> gathered(s);
  const size_t of_run = conv_transpose_is_gathered(s)
                            ? gathered.result_bytes() + static_cast<size_t>(threads) * gathered.slot_bytes()
                            : static_cast<size_t>(threads) * slot_bytes<T>(s);
  return shared.zero_bytes + shared.offset_bytes + of_run;
}

template <class T>
void conv_transpose(const ConvTransposeShape& s, const T* in, const void* packed, T* out, const Epilogue<T>& epilogue,
                    ThreadPool& pool, std::byte* scratch, const PlaneSplits& splits) {
  if (s.n * s.oh * s.ow <= 0 || s.oc <= 0) return;
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (s.unit == MatrixUnit::kTiles) {
      const int threads = pool.num_threads();
      const PlaneSplit split =
          splits.empty() ? conv_transpose_tiles_split(s, threads) : splits[static_cast<size_t>(threads - 1)];
      conv_transpose_by_tiles(s, split, in, packed, out, epilogue, pool, scratch);
      return;
    }
  }
  if (use_union(s)) {
    run_union(s, in, packed, out, epilogue, pool, scratch);
    return;
  }
  if (conv_transpose_is_gathered(s)) {
    run_gathered(s, in, packed, out, epilogue, pool, scratch);
    return;
  }
  const PhasesSharedScratch<T> shared(s);
  auto* zeros = reinterpret_cast<T*>(scratch);
  std::memset(static_cast<void*>(zeros), 0, shared.zero_bytes);
  auto* offsets = reinterpret_cast<int64_t*>(scratch + shared.zero_bytes);
  scratch += shared.zero_bytes + shared.offset_bytes;
  const size_t slot = slot_bytes<T>(s);
  const auto* weights = static_cast<const std::byte*>(packed);
  for (int64_t i = 0; i < phase_count(s); ++i) {
    const Phase phase(s, i);
    const PackedB b = phase_layout<T>(s, phase, weights);
    weights += phase_bytes<T>(s, phase);
    const int64_t rows = s.n * phase.y.outputs;
    if (rows == 0 || phase.x.outputs == 0) continue;
    const Conv2DShape conv = phase.conv(s);
    for (int64_t t = 0; t < phase.taps(); ++t) offsets[t] = (t / conv.kw * conv.w + t % conv.kw) * s.c;
    TileJob<T> job = phase_job<T>(s, phase, b);
    job.run_offsets = offsets;
    const auto tasks = static_cast<int>(std::min<int64_t>(rows, int64_t{pool.num_threads()} * 4));
    pool.parallel_for(tasks, [&](int task, int slot_index) {
      const RowsOfConv<T> find{conv, in, zeros};
      for (int64_t r = task * rows / tasks; r < (task + 1) * rows / tasks; ++r) {
        run_row(s, phase, job, find, out, epilogue, r, scratch + slot_index * slot);
      }
    });
  }
}

template double conv_transpose_cost_us<BFloat16>(const ConvTransposeShape&, int);
template size_t packed_conv_transpose_bytes<float>(const ConvTransposeShape&);
template void pack_conv_transpose_weights(const ConvTransposeShape&, const float*, void*);
template size_t conv_transpose_scratch_bytes<float>(const ConvTransposeShape&, int, const PlaneSplits&);
template void conv_transpose(const ConvTransposeShape&, const float*, const void*, float*, const Epilogue<float>&,
                             ThreadPool&, std::byte*, const PlaneSplits&);
template size_t packed_conv_transpose_bytes<BFloat16>(const ConvTransposeShape&);
template void pack_conv_transpose_weights(const ConvTransposeShape&, const BFloat16*, void*);
template size_t conv_transpose_scratch_bytes<BFloat16>(const ConvTransposeShape&, int, const PlaneSplits&);
template void conv_transpose(const ConvTransposeShape&, const BFloat16*, const void*, BFloat16*,
                             const Epilogue<BFloat16>&, ThreadPool&, std::byte*, const PlaneSplits&);

}  // namespace blade::backends::cpu
