// Gather form as in two dims: each phase is a convolution of stride 1. All phases read one copy of the input with its
// padding written out, in which a row of taps is one run of floats.
#include "backends/cpu/matrix/conv_transpose3d_f32.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/conv_transpose_axis.h"
#include "backends/cpu/matrix/tile_driver.h"

namespace blade::backends::cpu {
namespace {

struct VolumePhase {
  PhaseAxis axis[3];
  VolumePhase(const ConvTranspose3DShape& s, int64_t index)
      : axis{at(s, 0, index / (s.stride[1] * s.stride[2])), at(s, 1, index / s.stride[2] % s.stride[1]),
             at(s, 2, index % s.stride[2])} {}
  static PhaseAxis at(const ConvTranspose3DShape& s, int i, int64_t phase) {
    return {phase, s.kernel[i], s.out[i], s.stride[i], s.pad_before[i]};
  }
  int64_t taps() const { return axis[0].taps * axis[1].taps * axis[2].taps; }
  int64_t rows() const { return axis[0].outputs * axis[1].outputs; }
};

int64_t volume_phases(const ConvTranspose3DShape& s) { return s.stride[0] * s.stride[1] * s.stride[2]; }

// The input with what the windows of all phases read around it.
struct PaddedVolume {
  int64_t before[3] = {0, 0, 0}, dim[3];
  explicit PaddedVolume(const ConvTranspose3DShape& s) {
    for (int i = 0; i < 3; ++i) {
      int64_t last = s.in[i] - 1;
      for (int64_t phase = 0; phase < s.stride[i]; ++phase) {
        const PhaseAxis axis = VolumePhase::at(s, i, phase);
        if (axis.taps == 0 || axis.outputs == 0) continue;
        before[i] = std::max(before[i], axis.pad);
        last = std::max(last, axis.outputs + axis.taps - 2 - axis.pad);
      }
      dim[i] = before[i] + last + 1;
    }
  }
  int64_t floats(const ConvTranspose3DShape& s) const { return s.n * dim[0] * dim[1] * dim[2] * s.c; }
};

void copy_padded(const ConvTranspose3DShape& s, const PaddedVolume& v, const float* in, float* copy, ThreadPool& pool) {
  const int64_t row = v.dim[2] * s.c, used = s.in[2] * s.c, left = v.before[2] * s.c;
  pool.parallel_for(static_cast<int>(s.n * v.dim[0]), [&](int index, int) {
    const int64_t image = index / v.dim[0], z = index % v.dim[0] - v.before[0];
    float* to = copy + index * v.dim[1] * row;
    for (int64_t r = 0; r < v.dim[1]; ++r, to += row) {
      const int64_t y = r - v.before[1];
      if (z < 0 || z >= s.in[0] || y < 0 || y >= s.in[1]) {
        std::fill_n(to, row, 0.0f);
        continue;
      }
      std::fill_n(to, left, 0.0f);
      std::copy_n(in + ((image * s.in[0] + z) * s.in[1] + y) * used, used, to + left);
      std::fill(to + left + used, to + row, 0.0f);
    }
  });
}

int64_t volume_runs(const VolumePhase& phase) {
  return phase.taps() == 0 ? 1 : phase.axis[0].taps * phase.axis[1].taps;
}

size_t volume_phase_bytes(const ConvTranspose3DShape& s, const VolumePhase& phase) {
  return align_up(packed_b_bytes(phase.taps() * s.c, s.oc), 64);
}

void fill_offsets(const ConvTranspose3DShape& s, const PaddedVolume& v, int64_t* offsets) {
  for (int64_t i = 0; i < volume_phases(s); ++i) {
    const VolumePhase phase(s, i);
    const int64_t row_taps = std::max<int64_t>(1, phase.axis[1].taps);
    for (int64_t t = 0; t < volume_runs(phase); ++t) {
      *offsets++ = (t / row_taps * v.dim[1] + t % row_taps) * v.dim[2] * s.c;
    }
  }
}

// One row of outputs of a phase.
TileJob<float> volume_job(const ConvTranspose3DShape& s, const VolumePhase& phase, const PackedB& b) {
  TileJob<float> job;
  job.rows = phase.axis[2].outputs;
  job.runs = volume_runs(phase);
  job.run_length = phase.taps() == 0 ? 0 : phase.axis[2].taps * s.c;
  job.input_bytes = job.rows * s.c * job.runs * int64_t{sizeof(float)};
  job.b = b;
  job.out_stride = s.stride[2] * s.oc;
  return job;
}

size_t volume_slot_bytes(const ConvTranspose3DShape& s) {
  size_t most = 0;
  for (int64_t i = 0; i < volume_phases(s); ++i) {
    const VolumePhase phase(s, i);
    const PackedB b = packed_b_view(phase.taps() * s.c, s.oc, nullptr);
    most = std::max(most, tile_slot_scratch_bytes(volume_job(s, phase, b)));
  }
  return most;
}

size_t volume_copy_bytes(const ConvTranspose3DShape& s) {
  return align_up(static_cast<size_t>(PaddedVolume(s).floats(s)) * sizeof(float), 64);
}

// Where the runs of all phases begin, phase by phase.
size_t volume_offset_bytes(const ConvTranspose3DShape& s) {
  int64_t runs = 0;
  for (int64_t i = 0; i < volume_phases(s); ++i) runs += volume_runs(VolumePhase(s, i));
  return align_up(static_cast<size_t>(runs) * sizeof(int64_t), 64);
}

// Row `row` of a phase, counted over images, depth and height.
void run_volume_row(const ConvTranspose3DShape& s, const PaddedVolume& v, const VolumePhase& phase, TileJob<float> job,
                    const float* copy, float* out, const EpilogueF32& epilogue, int64_t row, std::byte* scratch) {
  const auto& [az, ay, ax] = phase.axis;
  const int64_t image = row / phase.rows(), z = row / ay.outputs % az.outputs, y = row % ay.outputs;
  const int64_t out_z = az.first + z * s.stride[0], out_y = ay.first + y * s.stride[1];
  const int64_t first_pixel = ((image * s.out[0] + out_z) * s.out[1] + out_y) * s.out[2] + ax.first;
  const int64_t from_z = image * v.dim[0] + z + v.before[0] - az.pad, from_y = y + v.before[1] - ay.pad;
  const float* from =
      phase.taps() == 0 ? copy : copy + ((from_z * v.dim[1] + from_y) * v.dim[2] + v.before[2] - ax.pad) * s.c;
  const PartEpilogue<float> part(epilogue, first_pixel, s.stride[2]);
  job.out = out + first_pixel * s.oc;
  job.epilogue = &part.get();
  const auto find_rows = [&](int64_t first, int count, const float** rows) {
    for (int i = 0; i < count; ++i) rows[i] = from + (phase.taps() == 0 ? 0 : (first + i) * s.c);
    return true;
  };
  run_tile_range(job, {0, tile_count(job), 0, job.b.panels()}, find_rows, scratch);
}

}  // namespace

size_t packed_conv_transpose3d_bytes(const ConvTranspose3DShape& s) {
  size_t bytes = 0;
  for (int64_t i = 0; i < volume_phases(s); ++i) bytes += volume_phase_bytes(s, VolumePhase(s, i));
  return bytes;
}

void pack_conv_transpose3d_weights(const ConvTranspose3DShape& s, const float* weights, void* to) {
  auto* bytes = static_cast<std::byte*>(to);
  for (int64_t i = 0; i < volume_phases(s); ++i) {
    const VolumePhase phase(s, i);
    const auto& [az, ay, ax] = phase.axis;
    const PackedB layout = packed_b_view(phase.taps() * s.c, s.oc, bytes);
    const auto kernel_index = [](const PhaseAxis& axis, int64_t tap, int64_t stride) {
      return axis.tap + (axis.taps - 1 - tap) * stride;
    };
    for (int64_t t = 0; t < phase.taps(); ++t) {
      const int64_t kd = kernel_index(az, t / ax.taps / ay.taps, s.stride[0]);
      const int64_t kh = kernel_index(ay, t / ax.taps % ay.taps, s.stride[1]);
      const int64_t kw = kernel_index(ax, t % ax.taps, s.stride[2]);
      const float* tap = weights + ((kd * s.kernel[1] + kh) * s.kernel[2] + kw) * s.oc * s.c;
      pack_b_rows(tap - t * s.c, 1, s.c, t * s.c, (t + 1) * s.c, layout, bytes);
    }
    bytes += volume_phase_bytes(s, phase);
  }
}

size_t conv_transpose3d_scratch_bytes(const ConvTranspose3DShape& s, int threads) {
  return volume_copy_bytes(s) + volume_offset_bytes(s) + static_cast<size_t>(threads) * volume_slot_bytes(s);
}

void conv_transpose3d_f32(const ConvTranspose3DShape& s, const float* in, const void* packed, float* out,
                          const EpilogueF32& epilogue, ThreadPool& pool, std::byte* scratch) {
  const PaddedVolume v(s);
  auto* copy = reinterpret_cast<float*>(scratch);
  copy_padded(s, v, in, copy, pool);
  auto* offsets = reinterpret_cast<int64_t*>(scratch + volume_copy_bytes(s));
  fill_offsets(s, v, offsets);
  scratch += volume_copy_bytes(s) + volume_offset_bytes(s);
  const size_t slot = volume_slot_bytes(s);
  int64_t rows = 0;
  for (int64_t i = 0; i < volume_phases(s); ++i) rows += s.n * VolumePhase(s, i).rows();
  const auto tasks = static_cast<int>(std::min<int64_t>(rows, int64_t{pool.num_threads()} * 4));
  pool.parallel_for(tasks, [&](int task, int slot_index) {
    const auto* weights = static_cast<const std::byte*>(packed);
    const int64_t* phase_offsets = offsets;
    // A task takes the same part of every phase: its results lie together, as do the pixels that it reads.
    for (int64_t i = 0; i < volume_phases(s); ++i) {
      const VolumePhase phase(s, i);
      TileJob<float> job = volume_job(s, phase, packed_b_view(phase.taps() * s.c, s.oc, weights));
      job.run_offsets = phase_offsets;
      const int64_t phase_rows = job.rows > 0 ? s.n * phase.rows() : 0;
      for (int64_t r = task * phase_rows / tasks; r < (task + 1) * phase_rows / tasks; ++r) {
        run_volume_row(s, v, phase, job, copy, out, epilogue, r, scratch + static_cast<size_t>(slot_index) * slot);
      }
      weights += volume_phase_bytes(s, phase);
      phase_offsets += job.runs;
    }
  });
}

}  // namespace blade::backends::cpu
