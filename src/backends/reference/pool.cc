// Pooling and other ops over sliding windows by definition; averages count only elements inside the input.
#include <algorithm>
#include <cstring>

#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

template <class W>
struct PoolCell {
  W sum = 0, max = lowest<W>();
  int64_t count = 0;
  void add(W value) {
    sum += value;
    if (value > max || value != value) max = value;
    ++count;
  }
};

template <class W>
Status run_pool_as(const Call& call) {
  const auto& attrs = call.node.get<ir::PoolAttrs>();
  const Array<W> x = read<W>(call, 0);
  Array<W> y = make_array<W>(call.out_dims());
  const Windows w = make_windows(x.dims, y.dims, attrs.window, attrs.strides, {}, attrs.padding, attrs.explicit_pads);
  const int64_t channels = x.dims.back();
  // As five dims whatever the spatial rank.
  const ir::Dims in = {w.batch, w.dim[0].in, w.dim[1].in, w.dim[2].in, channels};
  const ir::Dims out = {w.batch, w.dim[0].out, w.dim[1].out, w.dim[2].out, channels};
  const ir::Dims window = {w.dim[0].size, w.dim[1].size, w.dim[2].size};
  const ir::Dims strides = row_major_strides(in);
  for_each_index(out, [&](int64_t offset, const ir::Dims& o) {
    PoolCell<W> cell;
    for_each_index(window, [&](int64_t, const ir::Dims& k) {
      ir::Dims at = o;
      for (int i = 0; i < 3; ++i) {
        at[1 + i] = o[1 + i] * w.dim[i].stride + k[i] - w.dim[i].pad_before;
        if (at[1 + i] < 0 || at[1 + i] >= in[1 + i]) return;
      }
      cell.add(x[offset_of(at, strides)]);
    });
    if (attrs.kind == ir::PoolKind::kMax) {
      y[offset] = cell.max;
    } else {
      y[offset] = cell.count == 0 ? W(0) : static_cast<W>(cell.sum / static_cast<W>(cell.count));
    }
  });
  write(call, 0, y);
  return Status::ok_status();
}

// Calls fn(output offset, output index, tap, input index or empty where the tap is outside) for all taps of all
// windows; indices have five dims [n, d, h, w, c] whatever the spatial rank.
template <class Fn>
void for_each_tap(const Windows& w, int64_t channels, Fn&& fn) {
  const ir::Dims out = {w.batch, w.dim[0].out, w.dim[1].out, w.dim[2].out, channels};
  const ir::Dims window = {w.dim[0].size, w.dim[1].size, w.dim[2].size};
  for_each_index(out, [&](int64_t offset, const ir::Dims& o) {
    for_each_index(window, [&](int64_t tap, const ir::Dims& k) {
      ir::Dims at = o;
      bool inside = true;
      for (int i = 0; i < 3; ++i) {
        at[1 + i] = o[1 + i] * w.dim[i].stride + k[i] * w.dim[i].dilation - w.dim[i].pad_before;
        inside = inside && at[1 + i] >= 0 && at[1 + i] < w.dim[i].in;
      }
      fn(offset, o, tap, inside ? at : ir::Dims{});
    });
  });
}

ir::Dims five_dims(const Windows& w, int64_t channels) {
  return {w.batch, w.dim[0].in, w.dim[1].in, w.dim[2].in, channels};
}

template <class W>
Status run_max_pool_argmax_as(const Call& call) {
  const auto& attrs = call.node.get<ir::MaxPoolArgmaxAttrs>();
  const Array<W> x = read<W>(call, 0);
  Array<W> y = make_array<W>(call.out_dims());
  Array<int64_t> where = make_array<int64_t>(call.out_dims(1));
  std::fill(where.values.begin(), where.values.end(), -1);
  const Windows w = make_windows(x.dims, y.dims, attrs.window, attrs.strides, {}, attrs.padding, attrs.explicit_pads);
  const ir::Dims strides = row_major_strides(five_dims(w, x.dims.back()));
  for_each_tap(w, x.dims.back(), [&](int64_t offset, const ir::Dims& o, int64_t, const ir::Dims& at) {
    if (at.empty()) return;
    const int64_t from = offset_of(at, strides);
    if (where[offset] >= 0 && !(x[from] > y[offset])) return;
    y[offset] = x[from];
    where[offset] = from - (attrs.include_batch ? 0 : o[0] * strides[0]);
  });
  write(call, 0, y);
  write(call, 1, where);
  return Status::ok_status();
}

template <class W>
Status run_dilation_as(const Call& call) {
  const auto& attrs = call.node.get<ir::DilationAttrs>();
  const Array<W> x = read<W>(call, 0), filter = read<W>(call, 1);
  Array<W> y = make_array<W>(call.out_dims());
  const ir::Dims window = {filter.dims[0], filter.dims[1]};
  const Windows w = make_windows(x.dims, y.dims, window, attrs.strides, attrs.dilations, attrs.padding, {});
  const int64_t channels = x.dims.back();
  const ir::Dims strides = row_major_strides(five_dims(w, channels));
  const W least = with_storage(call.out_dtype(), []<class T>(T) -> W {
    if constexpr (std::is_same_v<T, Float16>) return static_cast<W>(-65504.0f);
    if constexpr (std::is_same_v<T, BFloat16>) return static_cast<W>(-0x1.fep127f);
    if constexpr (std::is_arithmetic_v<T>) return static_cast<W>(std::numeric_limits<T>::lowest());
    return W(0);
  });
  std::fill(y.values.begin(), y.values.end(), least);
  for_each_tap(w, channels, [&](int64_t offset, const ir::Dims& o, int64_t tap, const ir::Dims& at) {
    if (at.empty()) return;
    const W sum =
        rounded<W>(static_cast<W>(x[offset_of(at, strides)] + filter[tap * channels + o[4]]), call.out_dtype());
    if (sum > y[offset]) y[offset] = sum;
  });
  write(call, 0, y);
  return Status::ok_status();
}

}  // namespace

Status run_max_pool_argmax(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_max_pool_argmax_as<W>(call); });
}
Status run_dilation(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_dilation_as<W>(call); });
}

Status run_extract_patches(const Call& call) {
  const auto& attrs = call.node.get<ir::ExtractPatchesAttrs>();
  const Windows w =
      make_windows(call.in_dims(0), call.out_dims(), attrs.window, attrs.strides, attrs.dilations, attrs.padding, {});
  const int64_t channels = call.in_dims(0).back(), taps = channels == 0 ? 0 : call.out_dims().back() / channels;
  const ir::Dims strides = row_major_strides(five_dims(w, channels));
  const size_t size = ir::dtype_size(call.out_dtype());
  std::memset(call.out[0], 0, static_cast<size_t>(count_of(call.out_dims())) * size);
  for_each_tap(w, channels, [&](int64_t offset, const ir::Dims& o, int64_t tap, const ir::Dims& at) {
    if (at.empty()) return;
    const int64_t window = offset / channels;
    copy_element(call, 0, offset_of(at, strides), 0, (window * taps + tap) * channels + o[4]);
  });
  return Status::ok_status();
}

Status run_pool(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_pool_as<W>(call); });
}

}  // namespace blade::backends::reference
