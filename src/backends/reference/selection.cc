// Ops that choose elements by their values, and so find the size of their result: Where, Unique, ListDiff,
// FillEmptyRows, DynamicPartition.
#include <algorithm>

#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

// The rows `rows` of `data` ([n, row]) as a tensor of their own.
template <class W>
Array<W> take_rows(const Array<W>& data, const std::vector<int64_t>& rows, int64_t row, ir::Dims row_dims) {
  Array<W> out;
  out.dims = {static_cast<int64_t>(rows.size())};
  out.dims.insert(out.dims.end(), row_dims.begin(), row_dims.end());
  for (int64_t r : rows) {
    out.values.insert(out.values.end(), data.values.begin() + r * row, data.values.begin() + (r + 1) * row);
  }
  return out;
}

Array<int64_t> list(std::vector<int64_t> values) { return {{static_cast<int64_t>(values.size())}, std::move(values)}; }

}  // namespace

// The coordinates of what is true, in row-major order.
Status run_where(const Call& call) {
  const Array<int64_t> condition = read<int64_t>(call, 0);
  Array<int64_t> found;
  int64_t count = 0;
  for_each_index(condition.dims, [&](int64_t offset, const ir::Dims& index) {
    if (condition[offset] == 0) return;
    ++count;
    found.values.insert(found.values.end(), index.begin(), index.end());
  });
  found.dims = {count, static_cast<int64_t>(condition.dims.size())};
  return write_found(call, 0, found);
}

// NaN differs from everything, itself included.
Status run_unique(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) -> Status {
    const Array<W> x = read<W>(call, 0);
    const int64_t n = x.dims[0];
    const ir::Dims row_dims(x.dims.begin() + 1, x.dims.end());
    const int64_t row = count_of(row_dims);
    std::vector<int64_t> firsts, of(static_cast<size_t>(n)), counts;
    for (int64_t i = 0; i < n; ++i) {
      const auto same = std::find_if(firsts.begin(), firsts.end(), [&](int64_t first) {
        return std::equal(x.values.begin() + i * row, x.values.begin() + (i + 1) * row, x.values.begin() + first * row);
      });
      of[static_cast<size_t>(i)] = same - firsts.begin();
      if (same == firsts.end()) {
        firsts.push_back(i);
        counts.push_back(0);
      }
      ++counts[static_cast<size_t>(of[static_cast<size_t>(i)])];
    }
    BLADE_RETURN_IF_ERROR(write_found(call, 0, take_rows(x, firsts, row, row_dims)));
    write(call, 1, list(of));
    return write_found(call, 2, list(counts));
  });
}

Status run_list_diff(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) -> Status {
    const Array<W> x = read<W>(call, 0), y = read<W>(call, 1);
    std::vector<int64_t> kept;
    for (int64_t i = 0; i < x.dims[0]; ++i) {
      if (std::find(y.values.begin(), y.values.end(), x[i]) == y.values.end()) kept.push_back(i);
    }
    BLADE_RETURN_IF_ERROR(write_found(call, 0, take_rows(x, kept, 1, {})));
    return write_found(call, 1, list(kept));
  });
}

// Row by row, each row's entries in their order.
Status run_fill_empty_rows(const Call& call) {
  const Array<int64_t> coordinates = read<int64_t>(call, 0);
  const int64_t n = coordinates.dims[0], rank = coordinates.dims[1], rows = call.out_dims(2)[0];
  std::vector<std::vector<int64_t>> of_row(static_cast<size_t>(rows));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = coordinates[i * rank];
    if (row < 0 || row >= rows) {
      return invalid_argument(call.where() + "entry " + std::to_string(i) + " is in row " + std::to_string(row) +
                              ", which is not in [0, " + std::to_string(rows) + ").");
    }
    of_row[static_cast<size_t>(row)].push_back(i);
  }
  return with_wide(call.in_dtype(1), [&]<class W>(W) -> Status {
    const Array<W> values = read<W>(call, 1), fallback = read<W>(call, 3);
    Array<int64_t> all, moved = make_array<int64_t>({n}), empty = make_array<int64_t>({rows});
    Array<W> filled;
    for (int64_t row = 0; row < rows; ++row) {
      const std::vector<int64_t>& entries = of_row[static_cast<size_t>(row)];
      empty[row] = entries.empty() ? 1 : 0;
      for (int64_t i : entries) {
        moved[i] = static_cast<int64_t>(filled.values.size());
        filled.values.push_back(values[i]);
        all.values.insert(all.values.end(), coordinates.values.begin() + i * rank,
                          coordinates.values.begin() + (i + 1) * rank);
      }
      if (!entries.empty()) continue;
      filled.values.push_back(fallback[0]);
      all.values.push_back(row);
      all.values.insert(all.values.end(), static_cast<size_t>(rank - 1), 0);
    }
    const auto count = static_cast<int64_t>(filled.values.size());
    all.dims = {count, rank};
    filled.dims = {count};
    BLADE_RETURN_IF_ERROR(write_found(call, 0, all));
    BLADE_RETURN_IF_ERROR(write_found(call, 1, filled));
    write(call, 2, empty);
    write(call, 3, moved);
    return Status::ok_status();
  });
}

Status run_dynamic_partition(const Call& call) {
  const std::vector<int64_t> partitions = read_ints(call, 1);
  const auto parts = static_cast<int64_t>(call.outputs.size());
  std::vector<std::vector<int64_t>> rows(call.outputs.size());
  for (size_t i = 0; i < partitions.size(); ++i) {
    if (partitions[i] < 0 || partitions[i] >= parts) {
      return invalid_argument(call.where() + "partition " + std::to_string(partitions[i]) + " is not in [0, " +
                              std::to_string(parts) + ").");
    }
    rows[static_cast<size_t>(partitions[i])].push_back(static_cast<int64_t>(i));
  }
  const ir::Dims& dims = call.in_dims(0);
  const ir::Dims row_dims(dims.begin() + static_cast<std::ptrdiff_t>(call.in_dims(1).size()), dims.end());
  return with_wide(call.in_dtype(0), [&]<class W>(W) -> Status {
    const Array<W> x = read<W>(call, 0);
    for (int64_t p = 0; p < parts; ++p) {
      BLADE_RETURN_IF_ERROR(write_found(call, static_cast<int>(p),
                                        take_rows(x, rows[static_cast<size_t>(p)], count_of(row_dims), row_dims)));
    }
    return Status::ok_status();
  });
}

}  // namespace blade::backends::reference
