// Lists of equal elements as rows of one tensor. A list whose elements have no elements themselves has not been written
// yet: the first row that comes decides their shape, and all others are 0.
#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

// Rows of `list` as rows of the output's shape.
template <class W>
Result<Array<W>> rows_of(const Call& call, const Array<W>& list) {
  Array<W> out = make_array<W>(call.out_dims());
  const ir::Dims element(list.dims.begin() + 1, list.dims.end()), wanted(out.dims.begin() + 1, out.dims.end());
  if (element == wanted) {
    std::copy(list.values.begin(), list.values.end(), out.values.begin());
  } else if (count_of(element) != 0) {
    return invalid_argument(call.where() + "an element has another shape than those that the list has already.");
  }
  return out;
}

}  // namespace

Status run_set_rows(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) -> Status {
    BLADE_ASSIGN_OR_RETURN(Array<W> out, rows_of(call, read<W>(call, 0)));
    const std::vector<int64_t> indices = read_ints(call, 1);
    const Array<W> rows = read<W>(call, 2);
    const int64_t row = count_of(ir::Dims(out.dims.begin() + 1, out.dims.end()));
    for (size_t i = 0; i < indices.size(); ++i) {
      if (indices[i] < 0 || indices[i] >= out.dims[0]) {
        return invalid_argument(call.where() + "index " + std::to_string(indices[i]) + " is outside a list of " +
                                std::to_string(out.dims[0]) + " elements.");
      }
      for (int64_t k = 0; k < row; ++k) out[indices[i] * row + k] = rows[static_cast<int64_t>(i) * row + k];
    }
    write(call, 0, out);
    return Status::ok_status();
  });
}

Status run_append_row(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) -> Status {
    BLADE_ASSIGN_OR_RETURN(Array<W> out, rows_of(call, read<W>(call, 0)));
    const Array<W> element = read<W>(call, 1);
    std::copy(element.values.begin(), element.values.end(),
              out.values.end() - static_cast<std::ptrdiff_t>(element.values.size()));
    write(call, 0, out);
    return Status::ok_status();
  });
}

}  // namespace blade::backends::reference
