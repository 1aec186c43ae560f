// Max and average pooling of float32 and bfloat16 with channels last: for each output position the rows of its window
// are folded.
#include <array>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/row_functions.h"
#include "backends/reference/common.h"

namespace blade::backends::cpu {
namespace {

using reference::Window;
using reference::Windows;

constexpr int64_t kMaxWindowTaps = 1024;

template <class T>
Support supports_pool(const KernelRequest& request) {
  if (Support s = needs_dtype(request, kElement<T>); !s.ok) return s;
  const int64_t taps = product(request.node->get<ir::PoolAttrs>().window);
  if (taps <= kMaxWindowTaps) return Support::yes();
  return Support::no("the window has " + std::to_string(taps) + " elements, takes " + std::to_string(kMaxWindowTaps));
}

// The taps of output position `o` that lie inside the input.
template <class T>
int64_t collect_taps(const Windows& w, const T* image, int64_t channels, const int64_t (&o)[3],
                     std::array<const T*, kMaxWindowTaps>& taps) {
  int64_t first[3], last[3];
  for (int i = 0; i < 3; ++i) {
    const int64_t start = o[i] * w.dim[i].stride - w.dim[i].pad_before;
    first[i] = std::max<int64_t>(0, start);
    last[i] = std::min(w.dim[i].in, start + w.dim[i].size);
  }
  int64_t count = 0;
  for (int64_t z = first[0]; z < last[0]; ++z) {
    for (int64_t y = first[1]; y < last[1]; ++y) {
      for (int64_t x = first[2]; x < last[2]; ++x) {
        taps[static_cast<size_t>(count++)] = image + ((z * w.dim[1].in + y) * w.dim[2].in + x) * channels;
      }
    }
  }
  return count;
}

constexpr int64_t kPoolBufferFloats = 4096;

template <class T>
void pool_row(const Windows& w, ir::PoolKind kind, int64_t channels, const T* in, T* out, int64_t row) {
  std::array<const T*, kMaxWindowTaps> taps;
  alignas(64) float buffer[kPoolBufferFloats];
  const int64_t y = row % w.dim[1].out, z = row / w.dim[1].out % w.dim[0].out, n = row / w.dim[1].out / w.dim[0].out;
  const T* image = in + n * w.dim[0].in * w.dim[1].in * w.dim[2].in * channels;
  T* to = out + row * w.dim[2].out * channels;
  for (int64_t x = 0; x < w.dim[2].out; ++x) {
    const int64_t o[3] = {z, y, x};
    const int64_t count = collect_taps(w, image, channels, o, taps);
    const float factor = count == 0 ? 0.0f : 1.0f / static_cast<float>(count);
    for (int64_t some = 0, c = 0; c < channels; c += some, to += some) {
      some = std::min(kPoolBufferFloats, channels - c);
      store_folded(to, some, buffer, [&](float* result) {
        if (kind == ir::PoolKind::kMax) {
          fold_max(taps.data(), count, result, some);
        } else {
          fold_sum(taps.data(), count, factor, result, some);
        }
      });
      for (int64_t t = 0; t < count; ++t) taps[static_cast<size_t>(t)] += some;
    }
  }
}

// Two spatial dims at most: rows of the window are folded over long stretches first, then windows along the result.
bool folds_rows_first(const Windows& w, int64_t channels) {
  const Window& z = w.dim[0];
  return z.in == 1 && z.out == 1 && z.size == 1 && w.dim[1].size <= kMaxWindowTaps &&
         w.dim[2].size * channels <= kPoolBufferFloats;
}

struct Span {
  int64_t first, last;
  int64_t size() const { return std::max<int64_t>(0, last - first); }
};
// The taps of output `o` inside the input.
Span window_at(const Window& w, int64_t o) {
  const int64_t start = o * w.stride - w.pad_before;
  return {std::max<int64_t>(0, start), std::min(w.in, start + w.size)};
}

void fold_windows(const Window& w, ir::PoolKind kind, int64_t channels, int64_t rows, Span outputs, Span columns,
                  const float* buffer, float* to) {
  const RowFunctions& functions = row_functions();
  const int64_t last_whole = w.in + w.pad_before < w.size ? 0 : (w.in + w.pad_before - w.size) / w.stride + 1;
  for (int64_t x = outputs.first; x < outputs.last;) {
    const Span taps = window_at(w, x);
    const bool whole = taps.size() == w.size;
    const int64_t count = whole ? std::min(outputs.last, last_whole) - x : 1;
    const float* from = buffer + (taps.size() > 0 ? taps.first - columns.first : 0) * channels;
    const int64_t elements = rows * taps.size();
    if (kind == ir::PoolKind::kMax) {
      functions.windows_max(from, w.stride * channels, rows > 0 ? taps.size() : 0, to, count, channels);
    } else {
      functions.windows_sum(from, w.stride * channels, rows > 0 ? taps.size() : 0,
                            elements == 0 ? 0.0f : 1.0f / static_cast<float>(elements), to, count, channels);
    }
    x += count;
    to += count * channels;
  }
}

template <class T>
void pool_row_2d(const Windows& w, ir::PoolKind kind, int64_t channels, const T* in, T* out, int64_t row) {
  const Window &wy = w.dim[1], &wx = w.dim[2];
  const Span rows = window_at(wy, row % wy.out);
  const T* image = in + row / wy.out * wy.in * wx.in * channels;
  T* to = out + row * wx.out * channels;
  std::array<const T*, kMaxWindowTaps> pointers;
  alignas(64) float buffer[kPoolBufferFloats];
  alignas(64) float results[kPoolBufferFloats];
  const int64_t block = std::max<int64_t>(1, (kPoolBufferFloats / channels - wx.size) / wx.stride + 1);
  for (int64_t x = 0; x < wx.out; x += block) {
    const Span outputs = {x, std::min(wx.out, x + block)};
    const Span columns = {window_at(wx, x).first, window_at(wx, outputs.last - 1).last};
    for (int64_t r = 0; r < rows.size(); ++r) {
      pointers[static_cast<size_t>(r)] = image + ((rows.first + r) * wx.in + columns.first) * channels;
    }
    const int64_t floats = columns.size() * channels;
    if (rows.size() > 0 && kind == ir::PoolKind::kMax) {
      fold_max(pointers.data(), rows.size(), buffer, floats);
    } else if (rows.size() > 0) {
      fold_sum(pointers.data(), rows.size(), 1.0f, buffer, floats);
    }
    store_folded(to + x * channels, outputs.size() * channels, results, [&](float* result) {
      fold_windows(wx, kind, channels, rows.size(), outputs, columns, buffer, result);
    });
  }
}

template <class T>
Result<std::unique_ptr<Kernel>> create_pool(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::PoolAttrs>();
  const Windows w = reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, attrs.window,
                                            attrs.strides, {}, attrs.padding, attrs.explicit_pads);
  const int64_t channels = request.inputs[0].dims.back();
  const ir::PoolKind kind = attrs.kind;
  const int64_t rows = request.outputs[0].element_count() == 0 ? 0 : w.batch * w.dim[0].out * w.dim[1].out;
  const double work = static_cast<double>(w.dim[2].out * channels * product(attrs.window)) * 0.3;
  const auto function = folds_rows_first(w, channels) ? pool_row_2d<T> : pool_row<T>;
  return make_kernel([=](const KernelArgs& args) {
    parallel_ranges(args.pool, rows, work, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) function(w, kind, channels, input<T>(args, 0), output<T>(args), row);
    });
    return Status::ok_status();
  });
}

constexpr KernelEntry kPoolRows[] = {
    {"cpu.pool.rows_f32", ir::Op::kPool, supports_pool<float>, nullptr, create_pool<float>},
    {"cpu.pool.rows_bf16", ir::Op::kPool, supports_pool<BFloat16>, nullptr, create_pool<BFloat16>},
};

}  // namespace

std::span<const KernelEntry> pool_rows() { return kPoolRows; }

}  // namespace blade::backends::cpu
