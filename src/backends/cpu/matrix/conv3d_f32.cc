// The copy with padding, and where the rows of tiles begin in it: with no border there is no case to tell apart.
#include "backends/cpu/matrix/conv3d_f32.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/tile_driver.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

// What the windows read: the input without what none reaches, with the padding that some reach.
struct ReadVolume {
  int64_t dim[3], row, plane, volume;  // floats of a row, a plane and an image
  bool is_input = true;                // the very input: no copy is needed

  explicit ReadVolume(const Conv3DShape& s) {
    for (int i = 0; i < 3; ++i) {
      dim[i] = (s.out[i] - 1) * s.stride[i] + (s.kernel[i] - 1) * s.dilation[i] + 1;
      is_input = is_input && s.pad_before[i] == 0 && (i == 0 ? dim[i] <= s.in[i] : dim[i] == s.in[i]);
    }
    if (is_input) dim[0] = s.in[0];
    row = dim[2] * s.c;
    plane = dim[1] * row;
    volume = dim[0] * plane;
  }
  size_t copy_bytes(const Conv3DShape& s) const {
    return is_input ? 0 : align_up(static_cast<size_t>(s.n * volume) * sizeof(float), 64);
  }
};

// A row of `to` from the input row (or null where it lies in the padding).
void copy_row(const Conv3DShape& s, const ReadVolume& v, const float* from, float* to) {
  const int64_t left = from == nullptr ? v.dim[2] : std::clamp<int64_t>(s.pad_before[2], 0, v.dim[2]);
  const int64_t skipped = std::max<int64_t>(0, -s.pad_before[2]);
  const int64_t pixels = from == nullptr ? 0 : std::clamp<int64_t>(s.in[2] - skipped, 0, v.dim[2] - left);
  std::fill_n(to, left * s.c, 0.0f);
  if (pixels > 0) std::memcpy(to + left * s.c, from + skipped * s.c, static_cast<size_t>(pixels * s.c) * sizeof(float));
  std::fill(to + (left + pixels) * s.c, to + v.row, 0.0f);
}

void copy_volume(const Conv3DShape& s, const ReadVolume& v, const float* in, float* copy, ThreadPool& pool) {
  pool.parallel_for(static_cast<int>(s.n * v.dim[0]), [&](int index, int) {
    const int64_t image = index / v.dim[0], z = index % v.dim[0] - s.pad_before[0];
    float* to = copy + index * v.plane;
    for (int64_t r = 0; r < v.dim[1]; ++r, to += v.row) {
      const int64_t y = r - s.pad_before[1];
      const bool inside = z >= 0 && z < s.in[0] && y >= 0 && y < s.in[1];
      copy_row(s, v, inside ? in + ((image * s.in[0] + z) * s.in[1] + y) * s.in[2] * s.c : nullptr, to);
    }
  });
}

// A kernel row is one run where its pixels are neighbours.
bool joins_row(const Conv3DShape& s) { return s.dilation[2] == 1; }

TileJob<float> conv3d_job(const Conv3DShape& s, const ReadVolume& v, const PackedB& b) {
  TileJob<float> job;
  job.rows = s.output_pixels();
  job.runs = s.kernel[0] * s.kernel[1] * (joins_row(s) ? 1 : s.kernel[2]);
  job.run_length = s.k() / job.runs;
  job.input_bytes = s.n * v.volume * int64_t{sizeof(float)};
  job.b = b;
  set_stretch(job, s.out[2], s.stride[2] * s.c);
  job.out_stride = s.oc;
  return job;
}

size_t offset_bytes(const TileJob<float>& job) { return align_up(static_cast<size_t>(job.runs) * sizeof(int64_t), 64); }

}  // namespace

size_t conv3d_scratch_bytes(const Conv3DShape& s, int threads) {
  const ReadVolume v(s);
  const TileJob<float> job = conv3d_job(s, v, packed_b_view(s.k(), s.oc, nullptr));
  return v.copy_bytes(s) + offset_bytes(job) + static_cast<size_t>(threads) * tile_slot_scratch_bytes(job);
}

void conv3d_f32(const Conv3DShape& s, const float* in, const PackedB& b, float* out, const EpilogueF32& epilogue,
                ThreadPool& pool, std::byte* scratch) {
  const ReadVolume v(s);
  if (!v.is_input) {
    auto* copy = reinterpret_cast<float*>(scratch);
    copy_volume(s, v, in, copy, pool);
    in = copy;
    scratch += v.copy_bytes(s);
  }
  TileJob<float> job = conv3d_job(s, v, b);
  auto* offsets = reinterpret_cast<int64_t*>(scratch);
  const int64_t columns = joins_row(s) ? 1 : s.kernel[2];
  for (int64_t t = 0; t < job.runs; ++t) {
    const int64_t x = t % columns, y = t / columns % s.kernel[1], z = t / columns / s.kernel[1];
    offsets[t] = z * s.dilation[0] * v.plane + y * s.dilation[1] * v.row + x * s.dilation[2] * s.c;
  }
  job.run_offsets = offsets;
  job.out = out;
  job.epilogue = &epilogue;
  const auto find_rows = [&](int64_t first, int count, const float** rows) {
    int64_t x = first % s.out[2], y = first / s.out[2] % s.out[1], rest = first / s.out[2] / s.out[1];
    for (int i = 0; i < count; ++i) {
      const int64_t z = rest % s.out[0], image = rest / s.out[0];
      rows[i] = in + image * v.volume + z * s.stride[0] * v.plane + y * s.stride[1] * v.row + x * s.stride[2] * s.c;
      if (++x < s.out[2]) continue;
      x = 0;
      if (++y < s.out[1]) continue;
      y = 0;
      ++rest;
    }
    return true;
  };
  run_tiles(job, find_rows, pool, scratch + offset_bytes(job));
}

}  // namespace blade::backends::cpu
