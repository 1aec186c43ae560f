// Vector functions over rows of floats that reductions, pooling, normalization and resizing are made of.
#pragma once

#include <cstdint>
#include <type_traits>

#include "backends/cpu/matrix/convert.h"

namespace blade::backends::cpu {

inline constexpr int64_t kMostLrnRadius = 64;
struct LrnRow {
  int64_t radius = 0;
  float bias = 1, alpha = 1, beta = 0.5f;
};

// Functions for the best instruction set at hand. `n` is in elements and may be anything; outputs may be the inputs.
struct RowFunctions {
  float (*sum)(const float* x, int64_t n);
  float (*sum_squared_deviations)(const float* x, float mean, int64_t n);
  float (*max)(const float* x, int64_t n);  // -inf for n == 0; NaN if any is NaN
  float (*min)(const float* x, int64_t n);
  // out = exp(x - max); returns the sum.
  float (*exp_sum)(const float* x, float max, float* out, int64_t n);
  // out = x * scale + shift with scalars, and with a scale and a shift an element.
  void (*affine)(const float* x, float scale, float shift, float* out, int64_t n);
  void (*affine_rows)(const float* x, const float* scale, const float* shift, float* out, int64_t n);
  // out = ((x - mean) * factor) * scale + shift
  void (*normalize)(const float* x, float mean, float factor, const float* scale, const float* shift, float* out,
                    int64_t n);
  // Elementwise over `count` rows: their sum times `factor`, their largest and smallest elements, a weighted sum.
  void (*rows_sum)(const float* const* rows, int64_t count, float factor, float* out, int64_t n);
  // The sum of the squared distances from an element's mean.
  void (*rows_squares)(const float* const* rows, int64_t count, const float* mean, float* out, int64_t n);
  void (*rows_max)(const float* const* rows, int64_t count, float* out, int64_t n);
  void (*rows_min)(const float* const* rows, int64_t count, float* out, int64_t n);
  void (*rows_weighted)(const float* const* rows, const float* weights, int64_t count, float* out, int64_t n);
  // The same over rows of bfloat16.
  void (*rows_sum_bf16)(const BFloat16* const* rows, int64_t count, float factor, float* out, int64_t n);
  void (*rows_max_bf16)(const BFloat16* const* rows, int64_t count, float* out, int64_t n);
  void (*rows_weighted_bf16)(const BFloat16* const* rows, const float* weights, int64_t count, float* out, int64_t n);
  // Pooling along one row of pixels: output x folds `taps` neighbouring pixels from row + x * step (floats) on; the sum
  // times `factor`, the maximum (-inf without taps).
  void (*windows_sum)(const float* row, int64_t step, int64_t taps, float factor, float* out, int64_t outputs,
                      int64_t channels);
  void (*windows_max)(const float* row, int64_t step, int64_t taps, float* out, int64_t outputs, int64_t channels);
  // The same for bfloat16 without floats between: maxima as integers in the order of the numbers, and back to numbers.
  void (*rows_max_ordered)(const BFloat16* const* rows, int64_t count, int16_t* out, int64_t n);
  void (*windows_max_ordered)(const int16_t* row, int64_t step, int64_t taps, BFloat16* out, int64_t outputs,
                              int64_t channels);
  // Pixel x of `channels` floats is the sum of `taps` pixels of `row`, at positions[x * taps ...] with those weights.
  void (*pixels_weighted)(const float* row, const int64_t* positions, const float* weights, int64_t taps, float* out,
                          int64_t outputs, int64_t channels);
  // out[i] = sum over k < n of x[k] * rows[i * pitch + k]
  void (*dots)(const float* x, const float* rows, int64_t pitch, int64_t count, float* out, int64_t n);
  // out[k] = factor * sum over i < count of weights[i] * rows[i * pitch + k]
  void (*combine)(const float* weights, const float* rows, int64_t pitch, int64_t count, float factor, float* out,
                  int64_t n);
  // Local response normalization: out = x * (bias + alpha * sum of the squares up to `radius` elements away)^-beta. Not
  // in place, radius <= kMostLrnRadius.
  void (*lrn)(const float* x, const LrnRow& attrs, float* out, int64_t n);
  // Elementwise: acc op= x.
  void (*add_to)(const float* x, float* acc, int64_t n);
  // Softmax of rows, or its logarithm, for lengths up to `softmax_length`.
  void (*softmax_rows)(const float* x, int64_t rows, int64_t length, bool log, float* out);
  int64_t softmax_length;
};

const RowFunctions& row_functions();

// By the type of the rows.
inline void fold_sum(const float* const* rows, int64_t count, float factor, float* out, int64_t n) {
  row_functions().rows_sum(rows, count, factor, out, n);
}
inline void fold_sum(const BFloat16* const* rows, int64_t count, float factor, float* out, int64_t n) {
  row_functions().rows_sum_bf16(rows, count, factor, out, n);
}
inline void fold_max(const float* const* rows, int64_t count, float* out, int64_t n) {
  row_functions().rows_max(rows, count, out, n);
}
inline void fold_max(const BFloat16* const* rows, int64_t count, float* out, int64_t n) {
  row_functions().rows_max_bf16(rows, count, out, n);
}
inline void fold_weighted(const float* const* rows, const float* weights, int64_t count, float* out, int64_t n) {
  row_functions().rows_weighted(rows, weights, count, out, n);
}
inline void fold_weighted(const BFloat16* const* rows, const float* weights, int64_t count, float* out, int64_t n) {
  row_functions().rows_weighted_bf16(rows, weights, count, out, n);
}

// A result of `count` elements made by `fold(float* to)`, through a buffer where it must be rounded.
template <class T, class Fold>
void store_folded(T* to, int64_t count, float* buffer, Fold&& fold) {
  if constexpr (std::is_same_v<T, float>) {
    fold(to);
  } else {
    fold(buffer);
    narrow(buffer, to, count);
  }
}

}  // namespace blade::backends::cpu
