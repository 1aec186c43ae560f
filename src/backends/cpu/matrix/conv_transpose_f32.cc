// Gather form: the outputs whose coordinates agree modulo the stride see the same taps, so each such phase is an
// ordinary convolution of stride 1 over the input with every stride-th tap, reversed.
#include "backends/cpu/matrix/conv_transpose_f32.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/conv_f32.h"
#include "backends/cpu/matrix/conv_rows.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

// One axis of a phase: outputs first, first + stride, ... see taps tap, tap + stride, ...
struct PhaseAxis {
  int64_t first, outputs, tap, taps;
  int64_t pad;  // of the equivalent convolution

  PhaseAxis(int64_t phase, int64_t kernel, int64_t out, int64_t stride, int64_t padding)
      : first(phase),
        outputs(out > phase ? ceil_div(out - phase, stride) : 0),
        tap((((phase + padding) % stride) + stride) % stride),
        taps(kernel > tap ? ceil_div(kernel - tap, stride) : 0),
        pad(taps - 1 - (phase + padding - tap) / stride) {}
};

struct Phase {
  PhaseAxis y, x;
  Phase(const ConvTransposeShape& s, int64_t index)
      : y(index / s.stride_w, s.kh, s.oh, s.stride_h, s.pad_top),
        x(index % s.stride_w, s.kw, s.ow, s.stride_w, s.pad_left) {}
  int64_t taps() const { return y.taps * x.taps; }
  Conv2DShape conv(const ConvTransposeShape& s) const {
    Conv2DShape c;
    c.n = s.n;
    c.h = s.h;
    c.w = s.w;
    c.c = s.c;
    c.kh = y.taps;
    c.kw = x.taps;
    c.oc = s.oc;
    c.oh = y.outputs;
    c.ow = x.outputs;
    c.pad_top = y.pad;
    c.pad_left = x.pad;
    return c;
  }
};

int64_t phase_count(const ConvTransposeShape& s) { return s.stride_h * s.stride_w; }

size_t phase_bytes(const ConvTransposeShape& s, const Phase& phase) {
  return align_up(packed_b_bytes(phase.taps() * s.c, s.oc), 64);
}

TileJob phase_job(const ConvTransposeShape& s, const Phase& phase, const PackedB& b) {
  TileJob job;
  job.rows = phase.x.outputs;
  job.runs = std::max<int64_t>(1, phase.taps());
  job.run_length = phase.taps() == 0 ? 0 : s.c;  // a stride beyond the kernel leaves outputs without any tap
  job.input_bytes = job.rows * s.c * std::max<int64_t>(1, phase.y.taps) * int64_t{sizeof(float)};
  job.b = b;
  job.out_stride = s.stride_w * s.oc;
  return job;
}

struct SharedScratch {
  size_t zero_bytes, offset_bytes;
  explicit SharedScratch(const ConvTransposeShape& s)
      : zero_bytes(align_up(static_cast<size_t>(s.c) * sizeof(float), 64)),
        offset_bytes(align_up(static_cast<size_t>(s.kh * s.kw) * sizeof(int64_t), 64)) {}
};

size_t slot_bytes(const ConvTransposeShape& s) {
  size_t most = 0;
  for (int64_t i = 0; i < phase_count(s); ++i) {
    const Phase phase(s, i);
    most =
        std::max(most, tile_slot_scratch_bytes(phase_job(s, phase, packed_b_view(phase.taps() * s.c, s.oc, nullptr))));
  }
  return most;
}

// Maps a pixel of a phase's row to the pixel of the whole output.
struct RowContext {
  const EpilogueF32* epilogue;
  int64_t first_pixel, stride;
  static void call(void* context, float* row, int64_t pixel, int64_t channel, int channels) {
    const auto* self = static_cast<const RowContext*>(context);
    self->epilogue->generic(self->epilogue->context, row, self->first_pixel + pixel * self->stride, channel, channels);
  }
};

void run_row(const ConvTransposeShape& s, const Phase& phase, TileJob job, const RowsOfConv& rows, float* out,
             const EpilogueF32& epilogue, int64_t row, std::byte* scratch) {
  const int64_t image = row / phase.y.outputs;
  const int64_t y = phase.y.first + row % phase.y.outputs * s.stride_h;
  const int64_t first_pixel = (image * s.oh + y) * s.ow + phase.x.first;
  RowContext context{&epilogue, first_pixel, s.stride_w};
  EpilogueF32 e = epilogue;
  if (e.residual != nullptr) {
    e.residual += first_pixel * e.residual_row_stride;
    e.residual_row_stride *= s.stride_w;
  }
  if (e.generic != nullptr) {
    e.generic = &RowContext::call;
    e.context = &context;
  }
  job.out = out + first_pixel * s.oc;
  job.epilogue = &e;
  const int64_t skipped = row * phase.x.outputs;
  run_tile_range(
      job, {0, tile_count(job), 0, job.b.panels()},
      [&](int64_t first, int count, const float** pointers) { return rows(skipped + first, count, pointers); },
      scratch);
}

}  // namespace

size_t packed_conv_transpose_bytes(const ConvTransposeShape& s) {
  size_t bytes = 0;
  for (int64_t i = 0; i < phase_count(s); ++i) bytes += phase_bytes(s, Phase(s, i));
  return bytes;
}

void pack_conv_transpose_weights(const ConvTransposeShape& s, const float* weights, void* to) {
  auto* bytes = static_cast<std::byte*>(to);
  for (int64_t i = 0; i < phase_count(s); ++i) {
    const Phase phase(s, i);
    const PackedB layout = packed_b_view(phase.taps() * s.c, s.oc, bytes);
    // One tap is a k range of the phase; packing it shifted by its first k puts it there.
    for (int64_t t = 0; t < phase.taps(); ++t) {
      const int64_t kh = phase.y.tap + (phase.y.taps - 1 - t / phase.x.taps) * s.stride_h;
      const int64_t kw = phase.x.tap + (phase.x.taps - 1 - t % phase.x.taps) * s.stride_w;
      const float* tap = weights + (kh * s.kw + kw) * s.oc * s.c;
      pack_b_rows(tap - t * s.c, 1, s.c, t * s.c, (t + 1) * s.c, layout, bytes);
    }
    bytes += phase_bytes(s, phase);
  }
}

size_t conv_transpose_scratch_bytes(const ConvTransposeShape& s, int threads) {
  if (s.n * s.oh * s.ow <= 0 || s.oc <= 0) return 0;
  const SharedScratch shared(s);
  return shared.zero_bytes + shared.offset_bytes + static_cast<size_t>(threads) * slot_bytes(s);
}

void conv_transpose_f32(const ConvTransposeShape& s, const float* in, const void* packed, float* out,
                        const EpilogueF32& epilogue, ThreadPool& pool, std::byte* scratch) {
  if (s.n * s.oh * s.ow <= 0 || s.oc <= 0) return;
  const SharedScratch shared(s);
  auto* zeros = reinterpret_cast<float*>(scratch);
  std::memset(zeros, 0, shared.zero_bytes);
  auto* offsets = reinterpret_cast<int64_t*>(scratch + shared.zero_bytes);
  scratch += shared.zero_bytes + shared.offset_bytes;
  const size_t slot = slot_bytes(s);
  const auto* weights = static_cast<const std::byte*>(packed);
  for (int64_t i = 0; i < phase_count(s); ++i) {
    const Phase phase(s, i);
    const PackedB b = packed_b_view(phase.taps() * s.c, s.oc, weights);
    weights += phase_bytes(s, phase);
    const int64_t rows = s.n * phase.y.outputs;
    if (rows == 0 || phase.x.outputs == 0) continue;
    const Conv2DShape conv = phase.conv(s);
    for (int64_t t = 0; t < phase.taps(); ++t) offsets[t] = (t / conv.kw * conv.w + t % conv.kw) * s.c;
    TileJob job = phase_job(s, phase, b);
    job.run_offsets = offsets;
    const auto tasks = static_cast<int>(std::min<int64_t>(rows, int64_t{pool.num_threads()} * 4));
    pool.parallel_for(tasks, [&](int task, int slot_index) {
      const RowsOfConv find{conv, in, zeros};
      for (int64_t r = task * rows / tasks; r < (task + 1) * rows / tasks; ++r) {
        run_row(s, phase, job, find, out, epilogue, r, scratch + slot_index * slot);
      }
    });
  }
}

}  // namespace blade::backends::cpu
