// Ops that read or write where index tensors point; every index is checked.
#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

Status out_of_range(const Call& call, int64_t index, int64_t bound) {
  return invalid_argument(call.where() + "index " + std::to_string(index) + " is not in [0, " + std::to_string(bound) +
                          ").");
}

ir::Dims slice_of(const ir::Dims& dims, size_t begin, size_t end) {
  return begin >= end ? ir::Dims{} : ir::Dims(dims.begin() + begin, dims.begin() + end);
}

// Offset of the slice that row `r` of `indices` ([rows, depth]) names in a tensor of `dims`, in elements.
Result<int64_t> slice_offset(const Call& call, const std::vector<int64_t>& indices, int64_t r, int64_t depth,
                             const ir::Dims& dims) {
  const ir::Dims strides = row_major_strides(dims);
  int64_t offset = 0;
  for (int64_t d = 0; d < depth; ++d) {
    const int64_t index = indices[static_cast<size_t>(r * depth + d)];
    if (index < 0 || index >= dims[d]) return out_of_range(call, index, dims[d]);
    offset += index * strides[d];
  }
  return offset;
}

}  // namespace

// params [batch, outer, n, inner], indices [batch, m] -> [batch, outer, m, inner]
Status run_gather(const Call& call) {
  const auto& attrs = call.node.get<ir::GatherAttrs>();
  const ir::Dims& params = call.in_dims(0);
  const std::vector<int64_t> indices = read_ints(call, 1);
  const auto axis = static_cast<size_t>(attrs.axis), batch_dims = static_cast<size_t>(attrs.batch_dims);
  const int64_t batch = count_of(slice_of(params, 0, batch_dims));
  const int64_t outer = count_of(slice_of(params, batch_dims, axis));
  const int64_t inner = count_of(slice_of(params, axis + 1, params.size()));
  const int64_t bound = params[axis];
  const int64_t picks = count_of(slice_of(call.in_dims(1), batch_dims, call.in_dims(1).size()));
  for (int64_t index : indices) {
    if (index < 0 || index >= bound) return out_of_range(call, index, bound);
  }
  for_each_index({batch, outer, picks, inner}, [&](int64_t offset, const ir::Dims& i) {
    const int64_t index = indices[static_cast<size_t>(i[0] * picks + i[2])];
    copy_element(call, 0, ((i[0] * outer + i[1]) * bound + index) * inner + i[3], 0, offset);
  });
  return Status::ok_status();
}

Status run_gather_nd(const Call& call) {
  const std::vector<int64_t> indices = read_ints(call, 1);
  const ir::Dims& params = call.in_dims(0);
  const int64_t depth = call.in_dims(1).back();
  const int64_t rows = count_of(slice_of(call.in_dims(1), 0, call.in_dims(1).size() - 1));
  const int64_t slice = count_of(slice_of(params, static_cast<size_t>(depth), params.size()));
  for (int64_t r = 0; r < rows; ++r) {
    BLADE_ASSIGN_OR_RETURN(const int64_t from, slice_offset(call, indices, r, depth, params));
    for (int64_t k = 0; k < slice; ++k) copy_element(call, 0, from + k, 0, r * slice + k);
  }
  return Status::ok_status();
}

// Adds where indices repeat.
Status run_scatter_nd(const Call& call) {
  const std::vector<int64_t> indices = read_ints(call, 0);
  const ir::Dims& out = call.out_dims();
  const int64_t depth = call.in_dims(0).back();
  const int64_t rows = count_of(slice_of(call.in_dims(0), 0, call.in_dims(0).size() - 1));
  const int64_t slice = count_of(slice_of(out, static_cast<size_t>(depth), out.size()));
  return with_wide(call.out_dtype(), [&]<class W>(W) -> Status {
    const Array<W> updates = read<W>(call, 1);
    Array<W> y = make_array<W>(out);
    for (int64_t r = 0; r < rows; ++r) {
      BLADE_ASSIGN_OR_RETURN(const int64_t to, slice_offset(call, indices, r, depth, out));
      for (int64_t k = 0; k < slice; ++k) y[to + k] += updates[r * slice + k];
    }
    write(call, 0, y);
    return Status::ok_status();
  });
}

// An index outside [0, depth) gives a row of `off`.
Status run_one_hot(const Call& call) {
  const auto axis = static_cast<size_t>(call.node.get<ir::AxisAttrs>().axis);
  const std::vector<int64_t> indices = read_ints(call, 0);
  const int64_t inner = count_of(slice_of(call.in_dims(0), axis, call.in_dims(0).size()));
  const int64_t depth = call.out_dims()[axis];
  const int64_t outer = count_of(slice_of(call.out_dims(), 0, axis));
  for_each_index({outer, depth, inner}, [&](int64_t offset, const ir::Dims& i) {
    const bool on = indices[static_cast<size_t>(i[0] * inner + i[2])] == i[1];
    copy_element(call, on ? 2 : 3, 0, 0, offset);
  });
  return Status::ok_status();
}

}  // namespace blade::backends::reference
