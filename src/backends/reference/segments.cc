// Reductions of slices by segment id, searches in sorted rows, and scatters into a base tensor.
#include <algorithm>

#include "backends/reference/common.h"
#include "ir/plain_text.h"

namespace blade::backends::reference {
namespace {

template <class W>
W first_value(const ir::ReduceKind kind, ir::DType dtype, bool empty_is_zero) {
  if (kind == ir::ReduceKind::kProd) return 1;
  if (empty_is_zero || (kind != ir::ReduceKind::kMax && kind != ir::ReduceKind::kMin)) return 0;
  return with_storage(dtype, [&]<class T>(T) -> W {
    if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
      const float most = std::is_same_v<T, Float16> ? 65504.0f : 0x1.fep127f;
      return static_cast<W>(kind == ir::ReduceKind::kMax ? -most : most);
    } else {
      return static_cast<W>(kind == ir::ReduceKind::kMax ? std::numeric_limits<T>::lowest()
                                                         : std::numeric_limits<T>::max());
    }
  });
}

template <class W>
void fold_in(ir::ReduceKind kind, W& into, W value) {
  switch (kind) {
    case ir::ReduceKind::kProd:
      into = wrapping_mul(into, value);
      break;
    case ir::ReduceKind::kMax:
      if (value > into || value != value) into = value;
      break;
    case ir::ReduceKind::kMin:
      if (value < into || value != value) into = value;
      break;
    default:
      into = wrapping_add(into, value);
      break;
  }
}

template <class W>
Status run_segment_reduce_as(const Call& call) {
  const auto& attrs = call.node.get<ir::SegmentReduceAttrs>();
  const Array<W> data = read<W>(call, 0);
  const std::vector<int64_t> ids = read_ints(call, 1);
  const int64_t segments = call.out_dims()[0];
  const int64_t slice = segments == 0 ? 0 : count_of(call.out_dims()) / segments;
  Array<W> y = make_array<W>(call.out_dims());
  const W empty = first_value<W>(attrs.kind, call.out_dtype(), attrs.empty_is_zero);
  std::fill(y.values.begin(), y.values.end(), empty);
  std::vector<int64_t> counts(static_cast<size_t>(segments), 0);
  int64_t last = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const int64_t id = ids[i];
    if (attrs.sorted && id < last) {
      return invalid_argument(call.where() + "segment ids are not sorted: " + std::to_string(id) + " follows " +
                              std::to_string(last) + ".");
    }
    last = attrs.sorted ? id : last;
    if (id < 0 && !attrs.sorted) continue;
    if (id < 0 || id >= segments) {
      return invalid_argument(call.where() + "segment id " + std::to_string(id) + " is not in [0, " +
                              std::to_string(segments) + ").");
    }
    const bool first = counts[static_cast<size_t>(id)]++ == 0;
    for (int64_t k = 0; k < slice; ++k) {
      W& into = y[id * slice + k];
      const W value = data[static_cast<int64_t>(i) * slice + k];
      const bool extreme = attrs.kind == ir::ReduceKind::kMax || attrs.kind == ir::ReduceKind::kMin;
      if (first && extreme && attrs.empty_is_zero) {  // the others begin with the least or greatest finite number
        into = value;
      } else {
        fold_in(attrs.kind, into, value);
      }
    }
  }
  for (int64_t id = 0; id < segments; ++id) {
    const int64_t count = counts[static_cast<size_t>(id)];
    if (count == 0) continue;
    for (int64_t k = 0; k < slice; ++k) {
      W& value = y[id * slice + k];
      if (attrs.sqrt_n) value = static_cast<W>(static_cast<double>(value) / std::sqrt(static_cast<double>(count)));
      if (attrs.kind == ir::ReduceKind::kMean) value = static_cast<W>(value / static_cast<W>(count));
    }
  }
  write(call, 0, y);
  return Status::ok_status();
}

template <class W>
Status run_search_sorted_as(const Call& call) {
  const bool right = call.node.get<ir::SearchSortedAttrs>().right;
  const Array<W> sorted = read<W>(call, 0), values = read<W>(call, 1);
  Array<int64_t> y = make_array<int64_t>(call.out_dims());
  const int64_t length = sorted.dims.back(), picks = values.dims.back();
  for (int64_t i = 0; i < count_of(values.dims); ++i) {
    const W* row = sorted.values.data() + i / picks * length;
    y[i] =
        (right ? std::upper_bound(row, row + length, values[i]) : std::lower_bound(row, row + length, values[i])) - row;
  }
  write(call, 0, y);
  return Status::ok_status();
}

template <class W>
void scatter_one(ir::ScatterKind kind, W& into, W value) {
  switch (kind) {
    case ir::ScatterKind::kAdd:
      into = wrapping_add(into, value);
      break;
    case ir::ScatterKind::kSub:
      into = wrapping_add(into, wrapping_mul(value, static_cast<W>(-1)));
      break;
    case ir::ScatterKind::kMax:
      into = std::max(into, value);
      break;
    case ir::ScatterKind::kMin:
      into = std::min(into, value);
      break;
    default:
      into = value;
      break;
  }
}

template <class W>
Status run_tensor_scatter_as(const Call& call) {
  const auto& attrs = call.node.get<ir::TensorScatterAttrs>();
  Array<W> y = read<W>(call, 0);
  const std::vector<int64_t> indices = read_ints(call, 1);
  const Array<W> updates = read<W>(call, 2);
  const int64_t depth = call.in_dims(1).back();
  const ir::Dims& dims = y.dims;
  const int64_t rows = count_of(ir::Dims(call.in_dims(1).begin(), call.in_dims(1).end() - 1));
  const int64_t slice = count_of(ir::Dims(dims.begin() + depth, dims.end()));
  int64_t previous = -1;
  for (int64_t r = 0; r < rows; ++r) {
    int64_t at = 0;
    for (int64_t d = 0; d < depth; ++d) {
      const int64_t index = indices[static_cast<size_t>(r * depth + d)];
      if (index < 0 || index >= dims[static_cast<size_t>(d)]) {
        return invalid_argument(call.where() + "index " + std::to_string(index) + " is not in [0, " +
                                std::to_string(dims[static_cast<size_t>(d)]) + ").");
      }
      at = at * dims[static_cast<size_t>(d)] + index;
    }
    if (attrs.sorted_unique && at <= previous) {
      return invalid_argument(call.where() + "index row " + std::to_string(r) +
                              " repeats or goes back; indices must be sorted and each there once.");
    }
    previous = at;
    for (int64_t k = 0; k < slice; ++k) {
      W& into = y[at * slice + k];
      scatter_one(attrs.kind, into, updates[r * slice + k]);
      into = rounded(into, call.out_dtype());
    }
  }
  write(call, 0, y);
  return Status::ok_status();
}

// `wanted` with what its one -1 stands for, so that it has as many elements as `dims`.
Result<std::vector<int64_t>> same_elements(const Call& call, const std::vector<int64_t>& dims,
                                           std::vector<int64_t> wanted) {
  const std::string found = call.where() + "reshapes a sparse tensor of shape " + ir::plain_text(dims) + " to " +
                            ir::plain_text(wanted) + ", expected ";
  int64_t total = 1, others = 1;
  bool too_many = false;
  size_t open = wanted.size();
  for (int64_t d : dims) too_many = __builtin_mul_overflow(total, d, &total) || too_many;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == -1 && open == wanted.size()) {
      open = i;
    } else if (wanted[i] < 0) {
      return invalid_argument(found + "dims of 0 or more and at most one -1.");
    } else {
      too_many = __builtin_mul_overflow(others, wanted[i], &others) || too_many;
    }
  }
  if (too_many) return invalid_argument(found + "shapes of fewer than 2^63 elements.");
  if (open < wanted.size()) {
    if (others == 0) return invalid_argument(found + "no -1 beside dims of 0: they do not say what it is.");
    wanted[open] = total / others;
    others *= wanted[open];
  }
  if (others != total) return invalid_argument(found + "a shape of " + std::to_string(total) + " elements.");
  return wanted;
}

}  // namespace

Status run_sparse_reshape(const Call& call) {
  const std::vector<int64_t> at = read_ints(call, 0), dims = read_ints(call, 1);
  BLADE_ASSIGN_OR_RETURN(const std::vector<int64_t> wanted, same_elements(call, dims, read_ints(call, 2)));
  auto* out = static_cast<int64_t*>(call.out[0]);
  for (size_t n = 0; n < static_cast<size_t>(call.in_dims(0)[0]); ++n) {
    int64_t offset = 0;
    for (size_t d = 0; d < dims.size(); ++d) {
      offset = wrapping_add(wrapping_mul(offset, dims[d]), at[n * dims.size() + d]);
    }
    for (size_t d = wanted.size(); d-- > 0;) {
      out[n * wanted.size() + d] = offset % std::max<int64_t>(wanted[d], 1);
      offset /= std::max<int64_t>(wanted[d], 1);
    }
  }
  std::copy(wanted.begin(), wanted.end(), static_cast<int64_t*>(call.out[1]));
  return Status::ok_status();
}

Status run_segment_reduce(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_segment_reduce_as<W>(call); });
}
Status run_search_sorted(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_search_sorted_as<W>(call); });
}
Status run_tensor_scatter(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_tensor_scatter_as<W>(call); });
}

}  // namespace blade::backends::reference
