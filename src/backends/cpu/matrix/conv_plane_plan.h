// How strips of an image lie in memory for convolutions on tile registers, and how they are cut into tasks: copies of
// the input with its padding, one plane for each phase of the stride, so that each tap of all pixels of a strip lies at
// one pitch. Pixels between the rows of a strip are computed and dropped: with a shared column of zeros there are few.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/conv2d.h"
#include "backends/cpu/matrix/plane_split.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {

inline constexpr double kTileCyclesPerUs = 3500;  // in predictions

// One dimension of the planes: place x of phase p is input x * stride + p - pad.
struct PlaneAxis {
  int64_t in, out, taps, stride, dilation, pad;

  int64_t phase(int64_t tap) const { return tap * dilation % stride; }
  int64_t offset(int64_t tap) const { return tap * dilation / stride; }
  int64_t reach() const { return offset(taps - 1); }  // places behind the one of an output that its taps read
  // Phases that some tap reads are numbered in their order.
  bool used(int64_t p) const {
    for (int64_t tap = 0; tap < taps; ++tap) {
      if (phase(tap) == p) return true;
    }
    return false;
  }
  int64_t used_before(int64_t p) const {
    int64_t count = 0;
    for (int64_t q = 0; q < p; ++q) count += used(q) ? 1 : 0;
    return count;
  }
};

struct PlanePlan {
  const Conv2DShape& s;
  PlaneAxis y, x;
  int64_t pitch;   // places of a row of a plane
  int64_t shared;  // zeros that end a row and begin the next: places left out
  int64_t planes;
  int64_t image_step;  // rows from one image of a strip to the next, which share rows of zeros in the same way

  explicit PlanePlan(const Conv2DShape& shape);

  // Whether a strip has the one pixel of each result and nothing else.
  bool is_matrix() const { return s.kh * s.kw == 1 && pitch == s.ow && image_step == s.oh; }
  int64_t plane_rows(int64_t rows_out) const { return rows_out + y.reach(); }
  int64_t plane_elements(int64_t rows_out) const { return (plane_rows(rows_out) * pitch + shared) * s.c; }
  // Units of 16 pixels read past the end.
  int64_t strip_elements(int64_t rows_out) const { return planes * plane_elements(rows_out) + kAmxRows * s.c; }
  size_t strip_bytes(int64_t rows_out) const {
    return align_up(static_cast<size_t>(strip_elements(rows_out)) * sizeof(BFloat16), 64);
  }
  int64_t row_bytes() const { return planes * pitch * s.c * int64_t{sizeof(BFloat16)}; }
  // The tallest strip of one image that fits its share of L2, and the same where `result_bytes` stay beside each row.
  int64_t max_rows() const;
  int64_t max_rows_with(int64_t result_bytes) const;
  // Of a strip of so many whole images, with those between them, which are no results.
  int64_t rows_of(int64_t images) const { return (images - 1) * image_step + s.oh; }
  // From the first place of a strip of so many rows to the one that a tap of its first result reads.
  int64_t tap_offset(int64_t rows_out, int64_t tap_y, int64_t tap_x) const {
    const int64_t plane = y.used_before(y.phase(tap_y)) * x.used_before(x.stride) + x.used_before(x.phase(tap_x));
    return plane * plane_elements(rows_out) + (y.offset(tap_y) * pitch + x.offset(tap_x)) * s.c;
  }
  // Without runs and where results go.
  TileJob<BFloat16> job(int64_t rows_out, const PackedB& b) const;
};

// Some channels of all pixels of an input, `pitch` elements from a pixel to the next.
struct PlanePart {
  const BFloat16* data;
  int64_t channels, pitch;
};
// The planes of output rows [first, first + rows) of an image, and of those behind it, whose channels are those of the
// parts one behind the other.
void copy_strip(const PlanePlan& plan, std::span<const PlanePart> parts, int64_t image, int64_t first, int64_t rows,
                BFloat16* to);

// Whether weights stay in L2 from strip to strip.
bool panels_stay(size_t weight_bytes);

// `taps`: products that each result place takes; `b`: the panels of one, or of all of them, of the first group.
// Strips of an image have at most `max_rows` rows.
PlaneSplit choose_plane_split(const PlanePlan& plan, int64_t max_rows, int64_t taps, size_t weight_bytes,
                              const PackedB& b, int threads, int64_t most_images = 1);

}  // namespace blade::backends::cpu
