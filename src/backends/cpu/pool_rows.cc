// Rows of the window are folded over long stretches first, then windows along the result.
#include "backends/cpu/pool_rows.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "backends/cpu/row_functions.h"

namespace blade::backends::cpu {

using reference::Window;
using reference::Windows;

bool folds_rows_first(const Windows& w, int64_t channels) {
  return w.dim[0].size * w.dim[1].size <= kMaxWindowTaps && w.dim[2].size * channels <= kPoolBufferFloats;
}

PoolSpan pool_span(const Window& w, int64_t y) {
  const int64_t start = y * w.stride - w.pad_before;
  return {std::max<int64_t>(0, start), std::min(w.in, start + w.size)};
}

namespace {

// Calls fold(first column, taps, outputs, where they go) for each stretch of results with as many taps; columns count
// from `columns.first` on, results from `outputs.first` on.
template <class Fold>
void for_windows(const Window& w, PoolSpan outputs, PoolSpan columns, Fold&& fold) {
  const int64_t last_whole = w.in + w.pad_before < w.size ? 0 : (w.in + w.pad_before - w.size) / w.stride + 1;
  for (int64_t x = outputs.first; x < outputs.last;) {
    const PoolSpan taps = pool_span(w, x);
    const int64_t count = taps.size() == w.size ? std::min(outputs.last, last_whole) - x : 1;
    fold(taps.size() > 0 ? taps.first - columns.first : 0, taps.size(), count, x - outputs.first);
    x += count;
  }
}

void fold_windows(const Window& w, ir::PoolKind kind, int64_t channels, int64_t rows, PoolSpan outputs,
                  PoolSpan columns, const float* buffer, float* to) {
  const RowFunctions& functions = row_functions();
  for_windows(w, outputs, columns, [&](int64_t column, int64_t taps, int64_t count, int64_t at) {
    const float* from = buffer + column * channels;
    const int64_t elements = rows * taps;
    if (kind == ir::PoolKind::kMax) {
      functions.windows_max(from, w.stride * channels, rows > 0 ? taps : 0, to + at * channels, count, channels);
    } else {
      functions.windows_sum(from, w.stride * channels, rows > 0 ? taps : 0,
                            elements == 0 ? 0.0f : 1.0f / static_cast<float>(elements), to + at * channels, count,
                            channels);
    }
  });
}

// Every window has a tap.
bool has_no_empty_window(const Window& w) {
  return w.out > 0 && w.pad_before < w.size && (w.out - 1) * w.stride - w.pad_before < w.in;
}

void max_of_windows(const Window& w, int64_t channels, PoolSpan outputs, PoolSpan columns, const BFloat16* const* rows,
                    int64_t count, int16_t* buffer, BFloat16* to) {
  const RowFunctions& functions = row_functions();
  functions.rows_max_ordered(rows, count, buffer, columns.size() * channels);
  for_windows(w, outputs, columns, [&](int64_t column, int64_t taps, int64_t pixels, int64_t at) {
    functions.windows_max_ordered(buffer + column * channels, w.stride * channels, taps, to + at * channels, pixels,
                                  channels);
  });
}

// Where the rows that the windows of a row of results read begin, from their pixel `column` on; returns their number.
template <class T>
int64_t find_window_rows(const Windows& w, int64_t channels, const T* from, int64_t from_row, int64_t row,
                         int64_t column, std::array<const T*, kMaxWindowTaps>& rows) {
  const PoolSpan depth = pool_span(w.dim[0], row / w.dim[1].out), height = pool_span(w.dim[1], row % w.dim[1].out);
  int64_t count = 0;
  for (int64_t z = depth.first; z < depth.last; ++z) {
    for (int64_t y = height.first; y < height.last; ++y) {
      const int64_t at = z * w.dim[1].in + y - from_row;
      rows[static_cast<size_t>(count++)] = from + (at * w.dim[2].in + column) * channels;
    }
  }
  return count;
}

}  // namespace

template <class T>
void pool_windows_of_row(const Windows& w, ir::PoolKind kind, int64_t channels, const T* from, int64_t from_row, T* to,
                         int64_t row) {
  const Window& wx = w.dim[2];
  std::array<const T*, kMaxWindowTaps> rows;
  alignas(64) float buffer[kPoolBufferFloats];
  alignas(64) float results[kPoolBufferFloats];
  const int64_t block = std::max<int64_t>(1, (kPoolBufferFloats / channels - wx.size) / wx.stride + 1);
  for (int64_t x = 0; x < wx.out; x += block) {
    const PoolSpan outputs = {x, std::min(wx.out, x + block)};
    const PoolSpan columns = {pool_span(wx, x).first, pool_span(wx, outputs.last - 1).last};
    const int64_t count = find_window_rows(w, channels, from, from_row, row, columns.first, rows);
    if constexpr (!std::is_same_v<T, float>) {
      if (kind == ir::PoolKind::kMax && count > 0 && has_no_empty_window(wx)) {
        max_of_windows(wx, channels, outputs, columns, rows.data(), count, reinterpret_cast<int16_t*>(buffer),
                       to + x * channels);
        continue;
      }
    }
    const int64_t floats = columns.size() * channels;
    if (count > 0 && kind == ir::PoolKind::kMax) {
      fold_max(rows.data(), count, buffer, floats);
    } else if (count > 0) {
      fold_sum(rows.data(), count, 1.0f, buffer, floats);
    }
    store_folded(to + x * channels, outputs.size() * channels, results,
                 [&](float* result) { fold_windows(wx, kind, channels, count, outputs, columns, buffer, result); });
  }
}
template void pool_windows_of_row(const Windows&, ir::PoolKind, int64_t, const float*, int64_t, float*, int64_t);
template void pool_windows_of_row(const Windows&, ir::PoolKind, int64_t, const BFloat16*, int64_t, BFloat16*, int64_t);

// Bound by what it reads and writes, about 40 GB/s a core.
double pool_us(const KernelRequest& request) {
  const auto bytes = static_cast<double>(request.inputs[0].bytes() + request.outputs[0].bytes());
  return 0.5 + bytes / (40e3 * std::max(1, request.num_threads));
}

}  // namespace blade::backends::cpu
