// Max and average pooling of float32 with channels last: for each output position the rows of its window are folded.
#include <array>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/row_functions.h"
#include "backends/reference/common.h"

namespace blade::backends::cpu {
namespace {

using reference::Window;
using reference::Windows;

constexpr int64_t kMaxTaps = 1024;

Support supports_pool(const KernelRequest& request) {
  if (Support s = needs_float32(request); !s.ok) return s;
  const int64_t taps = product(request.node->get<ir::PoolAttrs>().window);
  if (taps <= kMaxTaps) return Support::yes();
  return Support::no("the window has " + std::to_string(taps) + " elements, takes " + std::to_string(kMaxTaps));
}

// The taps of output position `o` that lie inside the input.
int64_t collect_taps(const Windows& w, const float* image, int64_t channels, const int64_t (&o)[3],
                     std::array<const float*, kMaxTaps>& taps) {
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

void pool_row(const Windows& w, ir::PoolKind kind, int64_t channels, const float* in, float* out, int64_t row) {
  const RowFunctions& functions = row_functions();
  std::array<const float*, kMaxTaps> taps;
  const int64_t y = row % w.dim[1].out, z = row / w.dim[1].out % w.dim[0].out, n = row / w.dim[1].out / w.dim[0].out;
  const float* image = in + n * w.dim[0].in * w.dim[1].in * w.dim[2].in * channels;
  float* to = out + row * w.dim[2].out * channels;
  for (int64_t x = 0; x < w.dim[2].out; ++x, to += channels) {
    const int64_t o[3] = {z, y, x};
    const int64_t count = collect_taps(w, image, channels, o, taps);
    if (kind == ir::PoolKind::kMax) {
      functions.rows_max(taps.data(), count, to, channels);
    } else {
      functions.rows_sum(taps.data(), count, count == 0 ? 0.0f : 1.0f / static_cast<float>(count), to, channels);
    }
  }
}

Result<std::unique_ptr<Kernel>> create_pool(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::PoolAttrs>();
  const Windows w = reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, attrs.window,
                                            attrs.strides, {}, attrs.padding, attrs.explicit_pads);
  const int64_t channels = request.inputs[0].dims.back();
  const ir::PoolKind kind = attrs.kind;
  const int64_t rows = request.outputs[0].element_count() == 0 ? 0 : w.batch * w.dim[0].out * w.dim[1].out;
  const double work = static_cast<double>(w.dim[2].out * channels * product(attrs.window)) * 0.3;
  return make_kernel([=](const KernelArgs& args) {
    parallel_ranges(args.pool, rows, work, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        pool_row(w, kind, channels, input<float>(args, 0), output<float>(args), row);
    });
    return Status::ok_status();
  });
}

constexpr KernelEntry kRows[] = {
    {"cpu.pool.rows_f32", ir::Op::kPool, supports_pool, nullptr, create_pool},
};

}  // namespace

std::span<const KernelEntry> pool_rows() { return kRows; }

}  // namespace blade::backends::cpu
