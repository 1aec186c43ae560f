// The pointers from output pixels to their input pixels, tap by tap: implicit im2col.
#pragma once

#include "backends/cpu/matrix/conv_f32.h"
#include "backends/cpu/matrix/tile_kernel.h"

namespace blade::backends::cpu {

// Finds the input pixels of tiles of one group; border pixels read a row of zeros. A RowFinder of tile_driver.h whose
// runs are the taps [kh][kw].
template <class T>
struct RowsOfConv {
  const Conv2DShape& s;
  const T* in;
  const T* zeros;  // as many as a group has input channels

  bool operator()(int64_t first, int count, const T** rows) const {
    int64_t ys[kMaxRows];
    int64_t xs[kMaxRows];
    const T* images[kMaxRows];
    bool inside = true;
    int64_t x = first % s.ow;
    int64_t y = first / s.ow % s.oh;
    int64_t image = first / s.ow / s.oh;
    const int64_t last_y = s.h - (s.kh - 1) * s.dilation_h;
    const int64_t last_x = s.w - (s.kw - 1) * s.dilation_w;
    for (int i = 0; i < count; ++i) {
      ys[i] = y * s.stride_h - s.pad_top;
      xs[i] = x * s.stride_w - s.pad_left;
      images[i] = in + image * s.h * s.w * s.input_pitch();
      inside &= ys[i] >= 0 && xs[i] >= 0 && ys[i] < last_y && xs[i] < last_x;
      if (++x < s.ow) continue;
      x = 0;
      if (++y < s.oh) continue;
      y = 0;
      ++image;
    }
    if (inside) {
      for (int i = 0; i < count; ++i) rows[i] = images[i] + (ys[i] * s.w + xs[i]) * s.input_pitch();
      return true;
    }
    for (int64_t kh = 0; kh < s.kh; ++kh) {
      for (int64_t kw = 0; kw < s.kw; ++kw, rows += count) {
        for (int i = 0; i < count; ++i) {
          const int64_t in_y = ys[i] + kh * s.dilation_h;
          const int64_t in_x = xs[i] + kw * s.dilation_w;
          const bool valid = in_y >= 0 && in_y < s.h && in_x >= 0 && in_x < s.w;
          rows[i] = valid ? images[i] + (in_y * s.w + in_x) * s.input_pitch() : zeros;
        }
      }
    }
    return false;
  }
};

}  // namespace blade::backends::cpu
