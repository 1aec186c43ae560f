// Pooling of images, one row of results at a time: shared by pooling alone and behind a convolution.
#pragma once

#include <cstdint>

#include "backends/kernel.h"
#include "backends/reference/common.h"

namespace blade::backends::cpu {

inline constexpr int64_t kMaxWindowTaps = 1024;
inline constexpr int64_t kPoolBufferFloats = 4096;

// True where the rows of a window can be folded over long stretches first.
bool folds_rows_first(const reference::Windows& windows, int64_t channels);

// Row `row` of an image's results to `to`; `from` holds the image's rows [from_row, ...) as far as the window of that
// row reaches. Rows count over depth and height. T: float or BFloat16. Only where folds_rows_first().
template <class T>
void pool_windows_of_row(const reference::Windows& windows, ir::PoolKind kind, int64_t channels, const T* from,
                         int64_t from_row, T* to, int64_t row);

// The input rows [first, last) that row `y` of the results reads; empty windows have none.
struct PoolSpan {
  int64_t first, last;
  int64_t size() const { return last > first ? last - first : 0; }
};
PoolSpan pool_span(const reference::Window& window, int64_t y);

// Predicted microseconds of a pooling node on its own.
double pool_us(const KernelRequest& request);

}  // namespace blade::backends::cpu
