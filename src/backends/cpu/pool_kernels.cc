// Max and average pooling of float32 and bfloat16 with channels last: for each output position the rows of its window
// are folded.
#include <array>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/pool_rows.h"
#include "backends/cpu/row_functions.h"

namespace blade::backends::cpu {
namespace {

using reference::Windows;

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

template <class T>
void pool_image_row(const Windows& w, ir::PoolKind kind, int64_t channels, const T* in, T* out, int64_t row) {
  const int64_t in_row = w.dim[2].in * channels, out_row = w.dim[2].out * channels;
  const int64_t rows = w.dim[0].out * w.dim[1].out;
  const T* image = in + row / rows * w.dim[0].in * w.dim[1].in * in_row;
  pool_windows_of_row(w, kind, channels, image, 0, out + row * out_row, row % rows);
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
  const auto function = folds_rows_first(w, channels) ? pool_image_row<T> : pool_row<T>;
  return make_kernel([=](const KernelArgs& args) {
    parallel_ranges(args.pool, rows, work, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) function(w, kind, channels, input<T>(args, 0), output<T>(args), row);
    });
    return Status::ok_status();
  });
}

constexpr KernelEntry kPoolRows[] = {
    {"cpu.pool.rows_f32", ir::Op::kPool, supports_pool<float>, pool_us, create_pool<float>, nullptr, any_rows},
    {"cpu.pool.rows_bf16", ir::Op::kPool, supports_pool<BFloat16>, pool_us, create_pool<BFloat16>, nullptr, any_rows},
};

}  // namespace

std::span<const KernelEntry> pool_rows() { return kPoolRows; }

}  // namespace blade::backends::cpu
