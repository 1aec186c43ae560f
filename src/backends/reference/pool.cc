// Max and average pooling by definition; averages count only elements inside the input.
#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

template <class W>
W lowest() {
  return std::numeric_limits<W>::has_infinity ? -std::numeric_limits<W>::infinity() : std::numeric_limits<W>::lowest();
}

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
  const ir::Dims strides = strides_of(in);
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

}  // namespace

Status run_pool(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_pool_as<W>(call); });
}

}  // namespace blade::backends::reference
