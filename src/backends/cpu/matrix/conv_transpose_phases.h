// What the kernels of 2-D transposed convolutions share: the convolution of stride 1 that each phase of the stride is,
// and what a residual leaves for after it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "backends/cpu/matrix/conv2d.h"
#include "backends/cpu/matrix/conv_transpose.h"
#include "backends/cpu/matrix/conv_transpose_axis.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {

// The convolution of stride 1 over the input that has these taps, outputs and pads.
template <class Axis>
Conv2DShape conv_of_axes(const ConvTransposeShape& s, const Axis& y, const Axis& x, int64_t channels) {
  Conv2DShape c;
  c.n = s.n;
  c.h = s.h;
  c.w = s.w;
  c.c = s.c;
  c.kh = y.taps;
  c.kw = x.taps;
  c.oc = channels;
  c.oh = y.outputs;
  c.ow = x.outputs;
  c.pad_top = y.pad;
  c.pad_left = x.pad;
  c.unit = s.unit;
  return c;
}

struct Phase {
  PhaseAxis y, x;
  Phase(const ConvTransposeShape& s, int64_t index)
      : y(index / s.stride_w, s.kh, s.oh, s.stride_h, s.pad_top),
        x(index % s.stride_w, s.kw, s.ow, s.stride_w, s.pad_left) {}
  int64_t taps() const { return y.taps * x.taps; }
  Conv2DShape conv(const ConvTransposeShape& s) const { return conv_of_axes(s, y, x, s.oc); }
};

inline int64_t phase_count(const ConvTransposeShape& s) { return s.stride_h * s.stride_w; }

template <class T>
PackedB phase_layout(const ConvTransposeShape& s, const Phase& phase, const void* data) {
  return packed_b_view(packed_steps<T>(phase.taps(), s.c), s.oc, data, s.unit);
}

template <class T>
size_t phase_bytes(const ConvTransposeShape& s, const Phase& phase) {
  return align_up(phase_layout<T>(s, phase, nullptr).bytes(), 64);
}

// The taps of all phases along an axis, and the outputs of the one that has most.
struct UnionAxis {
  int64_t pad, taps, outputs;
  UnionAxis(int64_t kernel, int64_t out, int64_t stride, int64_t padding)
      : pad(std::numeric_limits<int64_t>::min()), taps(0), outputs(ceil_div(out, stride)) {
    int64_t last = std::numeric_limits<int64_t>::min();
    for (int64_t phase = 0; phase < stride; ++phase) {
      const PhaseAxis axis(phase, kernel, out, stride, padding);
      if (axis.taps == 0) continue;
      pad = std::max(pad, axis.pad);
      last = std::max(last, axis.taps - 1 - axis.pad);
    }
    taps = std::max<int64_t>(1, last + pad + 1);
  }
};

// What a residual leaves for after the product, for columns [first, last) of a row.
template <class T>
void finish_with_residual(const Epilogue<T>& e, float* row, int64_t first_pixel, int64_t pixels, int64_t channels,
                          int64_t first, int64_t last) {
  for (int64_t x = 0; x < pixels; ++x, row += channels) {
    const T* residual = e.residual + (first_pixel + x) * e.residual_row_stride;
    for (int64_t o = first; o < last; ++o) {
      const float of_pixel = o < e.residual_channels ? static_cast<float>(residual[o]) : 0.0f;
      row[o] = finish_element(e, row[o], of_pixel, o);
    }
  }
}

// The epilogue before results are spread: without a residual all but its block program.
template <class T>
Epilogue<T> epilogue_before_spreading(const Epilogue<T>& e) {
  Epilogue<T> first;
  first.bias = e.bias;
  if (e.residual != nullptr) return first;
  first.slope = e.slope;
  first.clamp_lo = e.clamp_lo;
  first.clamp_hi = e.clamp_hi;
  first.gate = e.gate;
  first.scale = e.scale;
  first.shift = e.shift;
  return first;
}

}  // namespace blade::backends::cpu
