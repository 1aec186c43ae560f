// Reductions, arg-reductions, running sums and top-k.
#include <algorithm>
#include <limits>
#include <numeric>

#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

// What an empty reduction gives: the identity of the operation within the dtype's range.
template <class W>
W initial(ir::ReduceKind kind, ir::DType dtype) {
  switch (kind) {
    case ir::ReduceKind::kProd:
    case ir::ReduceKind::kAll:
      return 1;
    case ir::ReduceKind::kMax:
    case ir::ReduceKind::kMin:
      return with_storage(dtype, [&]<class T>(T) -> W {
        if constexpr (std::is_integral_v<T>) {
          return static_cast<W>(kind == ir::ReduceKind::kMax ? std::numeric_limits<T>::lowest()
                                                             : std::numeric_limits<T>::max());
        }
        return kind == ir::ReduceKind::kMax ? lowest<W>() : static_cast<W>(-lowest<W>());
      });
    default:
      return 0;
  }
}

template <class W>
W combine(ir::ReduceKind kind, W a, W b) {
  switch (kind) {
    case ir::ReduceKind::kProd:
      return wrapping_mul(a, b);
    case ir::ReduceKind::kMax:
      return b > a || b != b ? b : a;
    case ir::ReduceKind::kMin:
      return b < a || b != b ? b : a;
    case ir::ReduceKind::kAll:
      return a != 0 && b != 0;
    case ir::ReduceKind::kAny:
      return a != 0 || b != 0;
    default:
      return wrapping_add(a, b);
  }
}

template <class W>
Status run_reduce_as(const Call& call) {
  const auto& attrs = call.node.get<ir::ReduceAttrs>();
  const Array<W> x = read<W>(call, 0);
  ir::Dims kept = x.dims;
  int64_t reduced = 1;
  for (int64_t axis : attrs.axes) {
    reduced *= x.dims[axis];
    kept[axis] = 1;
  }
  Array<W> y = make_array<W>(kept);
  std::fill(y.values.begin(), y.values.end(), initial<W>(attrs.kind, call.in_dtype(0)));
  const ir::Dims strides = broadcast_strides(kept, x.dims);
  for_each_index(x.dims, [&](int64_t offset, const ir::Dims& index) {
    W& cell = y[offset_of(index, strides)];
    cell = combine(attrs.kind, cell, x[offset]);
  });
  if (attrs.kind == ir::ReduceKind::kMean) {
    if (reduced == 0 && !std::is_floating_point_v<W>) {
      return invalid_argument(call.where() +
                              "the mean of no integers is undefined; the reduced dims must not be empty.");
    }
    for (W& value : y.values) value /= static_cast<W>(reduced);
  }
  write(call, 0, y);
  return Status::ok_status();
}

// What TensorFlow's arg-min starts from, and its arg-max with the sign changed.
double highest_number(ir::DType dtype) {
  switch (dtype) {
    case ir::DType::kFloat16:
      return 65504;
    case ir::DType::kBFloat16:
      return 0x1.fep127;
    case ir::DType::kFloat32:
      return std::numeric_limits<float>::max();
    default:
      return std::numeric_limits<double>::max();
  }
}

template <class W>
Status run_arg_reduce_as(const Call& call) {
  const auto& attrs = call.node.get<ir::ArgReduceAttrs>();
  const Array<W> x = read<W>(call, 0);
  const int64_t length = x.dims[attrs.axis];
  if (length == 0)
    return invalid_argument(call.where() + "the reduced axis is empty; it must have at least one element.");
  const int64_t inner = row_major_strides(x.dims)[attrs.axis];
  W worst = attrs.is_max ? std::numeric_limits<W>::lowest() : std::numeric_limits<W>::max();
  if constexpr (std::is_floating_point_v<W>) worst = (attrs.is_max ? -1 : 1) * highest_number(call.in_dtype(0));
  Array<int64_t> y = make_array<int64_t>(call.out_dims());
  for (size_t i = 0; i < y.values.size(); ++i) {
    const int64_t base = static_cast<int64_t>(i) / inner * inner * length + static_cast<int64_t>(i) % inner;
    W best = worst;
    for (int64_t k = 0; k < length; ++k) {
      const W value = x[base + k * inner];
      // NaN never wins; equal elements leave the first.
      if (attrs.is_max ? value > best : value < best) {
        best = value;
        y.values[i] = k;
      }
    }
  }
  write(call, 0, y);
  return Status::ok_status();
}

template <class W>
W initial_state(ir::CumulativeKind kind) {
  if (kind == ir::CumulativeKind::kLogSumExp) return lowest<W>();
  return kind == ir::CumulativeKind::kProd ? 1 : 0;
}

template <class W>
W step(ir::CumulativeKind kind, W state, W value) {
  if (kind == ir::CumulativeKind::kProd) return wrapping_mul(state, value);
  if constexpr (std::is_floating_point_v<W>) {
    if (kind == ir::CumulativeKind::kLogSumExp) {
      const W high = std::max(state, value), low = std::min(state, value);
      if (low == -std::numeric_limits<W>::infinity()) return high;
      return high + std::log1p(std::exp(low - high));
    }
  }
  return wrapping_add(state, value);
}

template <class W>
Status run_cumulative_as(const Call& call) {
  const auto& attrs = call.node.get<ir::CumulativeAttrs>();
  const Array<W> x = read<W>(call, 0);
  Array<W> y = make_array<W>(x.dims);
  const int64_t length = x.dims[attrs.axis], inner = row_major_strides(x.dims)[attrs.axis];
  const int64_t lines = length == 0 ? 0 : count_of(x.dims) / length;
  for (int64_t i = 0; i < lines; ++i) {
    const int64_t base = i / inner * inner * length + i % inner;
    W state = initial_state<W>(attrs.kind);
    for (int64_t k = 0; k < length; ++k) {
      const int64_t at = base + (attrs.reverse ? length - 1 - k : k) * inner;
      if (attrs.exclusive) y[at] = state;
      state = step(attrs.kind, state, x[at]);
      if (!attrs.exclusive) y[at] = state;
    }
  }
  write(call, 0, y);
  return Status::ok_status();
}

template <class W>
Status run_top_k_as(const Call& call) {
  const Array<W> x = read<W>(call, 0);
  const int64_t length = x.dims.back(), k = call.out_dims().back();
  if (k > length) {
    return invalid_argument(call.where() + "k is " + std::to_string(k) + ", but the last dim has only " +
                            std::to_string(length) + " elements.");
  }
  Array<W> values = make_array<W>(call.out_dims(0));
  Array<int64_t> indices = make_array<int64_t>(call.out_dims(1));
  const int64_t rows = length == 0 ? 0 : count_of(x.dims) / length;
  std::vector<int64_t> order(static_cast<size_t>(length));
  for (int64_t r = 0; r < rows; ++r) {
    std::iota(order.begin(), order.end(), 0);
    const W* row = &x.values[static_cast<size_t>(r * length)];
    std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
      return row[i] > row[j] || (row[i] == row[i] && row[j] != row[j]);  // NaN comes last
    });
    for (int64_t i = 0; i < k; ++i) {
      values[r * k + i] = row[order[i]];
      indices[r * k + i] = order[i];
    }
  }
  write(call, 0, values);
  write(call, 1, indices);
  return Status::ok_status();
}

}  // namespace

Status run_reduce(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_reduce_as<W>(call); });
}
Status run_arg_reduce(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_arg_reduce_as<W>(call); });
}
Status run_cumulative(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_cumulative_as<W>(call); });
}
Status run_top_k(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_top_k_as<W>(call); });
}

}  // namespace blade::backends::reference
