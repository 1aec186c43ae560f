// Depthwise convolution: pixels outside the image are pointers to zeros, so the inner loops know no borders.
#include "backends/cpu/matrix/depthwise_f32.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/depthwise_kernel.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

// Outputs of a row are cut into even pieces of at most kDepthwiseOutputs.
int64_t pieces_per_row(const DepthwiseShape& s) { return ceil_div(s.ow, kDepthwiseOutputs); }

bool has_fixed_kernel(const DepthwiseShape& s) {
  return s.kh == s.kw && (s.kh == 3 || s.kh == 5) && (s.stride_w == 1 || s.stride_w == 2) && s.dilation_w == 1;
}

size_t zero_bytes(const DepthwiseShape& s) { return align_up(static_cast<size_t>(s.c) * sizeof(float), 64); }

size_t pointer_bytes(const DepthwiseShape& s) {
  const int64_t columns = (kDepthwiseOutputs - 1) * 2 + s.kw;
  return align_up(static_cast<size_t>(s.kh * std::max(columns, s.kw * kDepthwiseOutputs)) * sizeof(float*), 64);
}

struct Piece {
  int64_t image, y, x;
  int outputs;
};

Piece piece_at(const DepthwiseShape& s, int64_t index) {
  const int64_t pieces = pieces_per_row(s);
  const int64_t row = index / pieces;
  const int64_t i = index % pieces;
  const int64_t x = i * s.ow / pieces;
  return {row / s.oh, row % s.oh, x, static_cast<int>((i + 1) * s.ow / pieces - x)};
}

// The pointer to an input pixel, or to zeros outside the image.
struct PixelFinder {
  const DepthwiseShape& s;
  const float* image;
  const float* zeros;
  const float* at(int64_t y, int64_t x) const {
    return y >= 0 && y < s.h && x >= 0 && x < s.w ? image + (y * s.w + x) * s.c : zeros;
  }
};

void find_columns(const DepthwiseShape& s, const Piece& p, const PixelFinder& find, const float** pixels) {
  const int64_t columns = (p.outputs - 1) * s.stride_w + s.kw;
  const int64_t x0 = p.x * s.stride_w - s.pad_left;
  for (int64_t kh = 0; kh < s.kh; ++kh) {
    const int64_t y = p.y * s.stride_h - s.pad_top + kh * s.dilation_h;
    if (y >= 0 && y < s.h && x0 >= 0 && x0 + columns <= s.w) {
      const float* row = find.image + (y * s.w + x0) * s.c;
      for (int64_t column = 0; column < columns; ++column) pixels[column] = row + column * s.c;
    } else {
      for (int64_t column = 0; column < columns; ++column) pixels[column] = find.at(y, x0 + column);
    }
    pixels += columns;
  }
}

void find_taps(const DepthwiseShape& s, const Piece& p, const PixelFinder& find, const float** pixels) {
  for (int64_t kh = 0; kh < s.kh; ++kh) {
    const int64_t y = p.y * s.stride_h - s.pad_top + kh * s.dilation_h;
    for (int64_t kw = 0; kw < s.kw; ++kw) {
      const int64_t x0 = p.x * s.stride_w - s.pad_left + kw * s.dilation_w;
      for (int x = 0; x < p.outputs; ++x) *pixels++ = find.at(y, x0 + x * s.stride_w);
    }
  }
}

struct Operands {
  const float* in;
  const float* weights;
  float* out;
  const EpilogueF32& epilogue;
};

void run_piece(const DepthwiseShape& s, const Operands& o, const Piece& p, const float* zeros, const float** pixels) {
  const PixelFinder find{s, o.in + p.image * s.h * s.w * s.c, zeros};
  const DepthwiseKernels& kernels = depthwise_kernels();
  DepthwiseKernel kernel = kernels.general[p.outputs];
  if (has_fixed_kernel(s)) {
    kernel = kernels.fixed[s.kh == 5][s.stride_w - 1][p.outputs];
    find_columns(s, p, find, pixels);
  } else {
    find_taps(s, p, find, pixels);
  }
  const EpilogueF32& e = o.epilogue;
  const int64_t pixel = (p.image * s.oh + p.y) * s.ow + p.x;
  DepthwiseArgs a;
  a.pixels = pixels;
  a.weights = o.weights;
  a.channels = s.c;
  a.taps = s.kh * s.kw;
  a.out = o.out + pixel * s.c;
  if (e.residual != nullptr) a.residual = e.residual + pixel * e.residual_row_stride;
  a.residual_stride = e.residual_row_stride;
  a.bias = e.bias;
  a.lo = e.clamp_lo;
  a.hi = e.clamp_hi;
  kernel(a);
  if (e.generic == nullptr) return;
  for (int x = 0; x < p.outputs; ++x) e.generic(e.context, a.out + x * s.c, pixel + x, 0, static_cast<int>(s.c));
}

// Several outputs a channel: rare, and its channel loop is short anyway.
void run_pixel_with_multiplier(const DepthwiseShape& s, const Operands& o, int64_t pixel) {
  const int64_t x = pixel % s.ow;
  const int64_t y = pixel / s.ow % s.oh;
  const int64_t channels = s.c * s.multiplier;
  const float* image = o.in + pixel / s.ow / s.oh * s.h * s.w * s.c;
  const EpilogueF32& e = o.epilogue;
  float* out = o.out + pixel * channels;
  for (int64_t i = 0; i < channels; ++i) out[i] = e.bias != nullptr ? e.bias[i] : 0.0f;
  for (int64_t kh = 0; kh < s.kh; ++kh) {
    const int64_t in_y = y * s.stride_h - s.pad_top + kh * s.dilation_h;
    if (in_y < 0 || in_y >= s.h) continue;
    for (int64_t kw = 0; kw < s.kw; ++kw) {
      const int64_t in_x = x * s.stride_w - s.pad_left + kw * s.dilation_w;
      if (in_x < 0 || in_x >= s.w) continue;
      const float* in = image + (in_y * s.w + in_x) * s.c;
      const float* w = o.weights + (kh * s.kw + kw) * channels;
      for (int64_t c = 0; c < s.c; ++c) {
        for (int64_t m = 0; m < s.multiplier; ++m) out[c * s.multiplier + m] += in[c] * w[c * s.multiplier + m];
      }
    }
  }
  for (int64_t i = 0; i < channels; ++i) {
    const float sum = out[i] + (e.residual != nullptr ? e.residual[pixel * e.residual_row_stride + i] : 0.0f);
    out[i] = std::min(std::max(sum, e.clamp_lo), e.clamp_hi);
  }
  if (e.generic != nullptr) e.generic(e.context, out, pixel, 0, static_cast<int>(channels));
}

// Work below this many multiplications is not worth a second task.
constexpr double kTaskProducts = 40e3;

}  // namespace

size_t depthwise_scratch_bytes(const DepthwiseShape& s, int threads) {
  return zero_bytes(s) + static_cast<size_t>(threads) * pointer_bytes(s);
}

void depthwise_conv2d_f32(const DepthwiseShape& s, const float* in, const float* weights, float* out,
                          const EpilogueF32& epilogue, ThreadPool& pool, std::byte* scratch) {
  const int64_t pixels = s.n * s.oh * s.ow;
  if (pixels <= 0 || s.c <= 0 || s.multiplier <= 0) return;
  const Operands operands{in, weights, out, epilogue};
  const bool simple = s.multiplier > 1;
  const int64_t units = simple ? pixels : s.n * s.oh * pieces_per_row(s);
  const double products = static_cast<double>(pixels * s.c * s.multiplier) * static_cast<double>(s.kh * s.kw);
  const auto wanted = static_cast<int64_t>(std::min(products / kTaskProducts, 4.0 * pool.num_threads()));
  const int64_t tasks = std::clamp<int64_t>(wanted, 1, units);
  auto* zeros = reinterpret_cast<float*>(scratch);
  std::memset(zeros, 0, zero_bytes(s));
  pool.parallel_for(static_cast<int>(tasks), [&](int task, int slot) {
    auto** pointers = reinterpret_cast<const float**>(scratch + zero_bytes(s) + slot * pointer_bytes(s));
    for (int64_t u = task * units / tasks; u < (task + 1) * units / tasks; ++u) {
      if (simple) {
        run_pixel_with_multiplier(s, operands, u);
      } else {
        run_piece(s, operands, piece_at(s, u), zeros, pointers);
      }
    }
  });
}

}  // namespace blade::backends::cpu
