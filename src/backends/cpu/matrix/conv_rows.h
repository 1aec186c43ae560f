// The pointers from output pixels to their input pixels, tap by tap: implicit im2col.
#pragma once

#include <algorithm>
#include <span>

#include "backends/cpu/matrix/conv2d.h"
#include "backends/cpu/matrix/tile_kernel.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {

// Finds the input pixels of tiles of one group; border pixels read a row of zeros. A RowFinder of tile_driver.h whose
// runs are the taps [kh][kw].
template <class T>
struct RowsOfConv {
  const Conv2DShape& s;
  const T* in;
  const T* zeros;  // as many as a group has input channels

  bool operator()(int64_t first, int count, const T** rows) const {
    Piece pieces[kMaxRows];
    int num_pieces = 0;
    bool inside = true;
    int64_t x = first % s.ow;
    int64_t y = first / s.ow % s.oh;
    int64_t image = first / s.ow / s.oh;
    for (int left = count; left > 0; x = 0) {
      Piece& p = pieces[num_pieces++];
      p.count = static_cast<int>(std::min<int64_t>(left, s.ow - x));
      p.image = in + image * s.h * s.w * s.input_pitch();
      p.y = y * s.stride_h - s.pad_top;
      p.x = x * s.stride_w - s.pad_left;
      inside = inside && p.y >= 0 && p.y + (s.kh - 1) * s.dilation_h < s.h && is_inside(p.x, p.count) &&
               is_inside(p.x + (s.kw - 1) * s.dilation_w, p.count);
      left -= p.count;
      if (++y < s.oh) continue;
      y = 0;
      ++image;
    }
    const std::span<const Piece> all(pieces, static_cast<size_t>(num_pieces));
    if (inside) {
      for (const Piece& p : all) rows = put(p.image + (p.y * s.w + p.x) * s.input_pitch(), p.count, rows);
      return true;
    }
    for (int64_t kh = 0; kh < s.kh; ++kh) {
      for (int64_t kw = 0; kw < s.kw; ++kw) {
        for (const Piece& p : all) rows = put_tap(p, p.y + kh * s.dilation_h, p.x + kw * s.dilation_w, rows);
      }
    }
    return false;
  }

 private:
  // Neighbouring pixels of one output row: where the window of the first begins.
  struct Piece {
    const T* image;
    int64_t y, x;
    int count;
  };

  // True where `count` pixels from column x on, a stride apart, lie in the image.
  bool is_inside(int64_t x, int count) const { return x >= 0 && x + (count - 1) * s.stride_w < s.w; }

  const T** put(const T* from, int count, const T** rows) const {
    const int64_t step = s.stride_w * s.input_pitch();
    for (int i = 0; i < count; ++i, from += step) *rows++ = from;
    return rows;
  }

  // One tap of a piece, at row y and from column x on.
  const T** put_tap(const Piece& p, int64_t y, int64_t x, const T** rows) const {
    const bool whole = is_inside(x, p.count), no_row = y < 0 || y >= s.h;
    int64_t before = no_row ? p.count : 0, pixels = no_row ? 0 : p.count;
    if (!whole && !no_row) {
      before = x >= 0 ? 0 : std::min<int64_t>(p.count, ceil_div(-x, s.stride_w));
      const int64_t end = x >= s.w ? 0 : std::min<int64_t>(p.count, ceil_div(s.w - x, s.stride_w));
      pixels = std::max<int64_t>(0, end - before);
    }
    rows = std::fill_n(rows, before, zeros);
    if (pixels > 0) {
      rows = put(p.image + (y * s.w + x + before * s.stride_w) * s.input_pitch(), static_cast<int>(pixels), rows);
    }
    return std::fill_n(rows, p.count - before - pixels, zeros);
  }
};

}  // namespace blade::backends::cpu
