// Ops that choose elements by their values and find the size of their result: Where, Unique, ListDiff, FillEmptyRows,
// DynamicPartition.
#include <bit>
#include <cstring>
#include <limits>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "ir/half_types.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kMostItems = std::numeric_limits<int32_t>::max() / 2;

Support few_enough(const KernelRequest& request) {
  for (const TensorDesc& desc : request.inputs) {
    if (desc.element_count() > kMostItems) return Support::no("has more elements than 32 bits count");
  }
  return Support::yes();
}

// The dims [rows, what `dims` has from axis `first` on], without allocating.
class FoundRows {
 public:
  FoundRows(int64_t rows, const ir::Dims& dims, size_t first) : size_(1 + dims.size() - first) {
    values_[0] = rows;
    std::copy(dims.begin() + static_cast<std::ptrdiff_t>(first), dims.end(), values_ + 1);
  }
  std::span<const int64_t> dims() const { return {values_, size_}; }

 private:
  int64_t values_[256];  // more than the largest rank
  size_t size_;
};

// --- Where: counts by chunks, then every chunk writes behind what the chunks before it found.

constexpr int64_t kMaxCountChunks = 64;
constexpr int64_t kMinCountChunk = 4096;

Support supports_where(const KernelRequest& request) {
  return request.inputs[0].dtype == ir::DType::kBool ? Support::yes() : Support::no("the condition is not bool");
}

int64_t* write_coordinates(int64_t* out, const ir::Dims& dims, int64_t flat) {
  for (size_t k = dims.size(); k-- > 0;) {
    out[k] = flat % dims[k];
    flat /= dims[k];
  }
  return out + dims.size();
}

Result<std::unique_ptr<Kernel>> create_where(const KernelRequest& request, PackCache&) {
  const ir::Dims dims = request.inputs[0].dims;
  const int64_t n = product(dims), rank = static_cast<int64_t>(dims.size());
  const int64_t chunks = std::clamp<int64_t>(n / kMinCountChunk, 1, kMaxCountChunks);
  const std::string label = node_label(request);
  const auto run = [=](const KernelArgs& args) {
    const auto* condition = input<uint8_t>(args, 0);
    auto* found = reinterpret_cast<int64_t*>(args.scratch);
    parallel_ranges(args.pool, chunks, static_cast<double>(n) / static_cast<double>(8 * chunks),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t c = begin; c < end; ++c) {
                        int64_t count = 0;
                        for (int64_t i = n * c / chunks; i < n * (c + 1) / chunks; ++i) count += condition[i] != 0;
                        found[c] = count;
                      }
                    });
    int64_t total = 0;
    for (int64_t c = 0; c < chunks; ++c) total += std::exchange(found[c], total);
    BLADE_ASSIGN_OR_RETURN(int64_t* const out, found_output<int64_t>(args, 0, {total, rank}, label));
    parallel_ranges(args.pool, chunks, static_cast<double>(n) / static_cast<double>(chunks),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t c = begin; c < end; ++c) {
                        int64_t* at = out + found[c] * rank;
                        for (int64_t i = n * c / chunks; i < n * (c + 1) / chunks; ++i) {
                          if (condition[i] != 0) at = write_coordinates(at, dims, i);
                        }
                      }
                    });
    return Status::ok_status();
  };
  return make_kernel(run, 0, static_cast<size_t>(chunks) * sizeof(int64_t));
}

// --- A hash table in scratch memory over rows of a tensor.

// Elements as the bits that decide equality: 0 and -0 are one value. NaN equals nothing.
template <class T>
bool same_element(T a, T b) {
  return a == b;
}
template <class T>
uint64_t element_bits(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    if (value == 0) return 0;
    if constexpr (sizeof(T) == 4) return std::bit_cast<uint32_t>(value);
    if constexpr (sizeof(T) == 8) return std::bit_cast<uint64_t>(value);
  } else {
    return static_cast<uint64_t>(value);
  }
}

template <class T>
class RowTable {
 public:
  static int64_t slots(int64_t rows) {
    return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(2 * rows + 1)));
  }
  static size_t bytes(int64_t rows) { return static_cast<size_t>(slots(rows)) * sizeof(int32_t); }

  // Numbers at `memory` name rows of `data`.
  RowTable(const T* data, int64_t row, std::byte* memory, int64_t rows)
      : data_(data), row_(row), table_(reinterpret_cast<int32_t*>(memory)), mask_(slots(rows) - 1) {
    std::fill_n(table_, slots(rows), -1);
  }

  // The slot of a row equal to `key`, or the free slot where it belongs.
  int32_t& find(const T* key) {
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (int64_t k = 0; k < row_; ++k) h = (h ^ element_bits(key[k])) * 0xbf58476d1ce4e5b9u, h ^= h >> 29;
    int64_t at = static_cast<int64_t>(h) & mask_;
    while (table_[at] >= 0 && !same(data_ + table_[at] * row_, key)) at = (at + 1) & mask_;
    return table_[at];
  }

 private:
  bool same(const T* a, const T* b) const {
    for (int64_t k = 0; k < row_; ++k) {
      if (!same_element(a[k], b[k])) return false;
    }
    return true;
  }

  const T* data_;
  int64_t row_;
  int32_t* table_;
  int64_t mask_;
};

// Calls fn with a value of the element type; the 16-bit floats have no row here.
template <class Fn>
Result<std::unique_ptr<Kernel>> with_element(ir::DType dtype, Fn&& fn) {
  switch (dtype) {
    case ir::DType::kFloat32:
      return fn(float{});
    case ir::DType::kFloat64:
      return fn(double{});
    case ir::DType::kInt32:
    case ir::DType::kUInt32:
      return fn(uint32_t{});
    case ir::DType::kInt64:
    case ir::DType::kUInt64:
      return fn(uint64_t{});
    case ir::DType::kInt16:
    case ir::DType::kUInt16:
      return fn(uint16_t{});
    default:
      return fn(uint8_t{});
  }
}

Support hashable(const KernelRequest& request) {
  const ir::DType dtype = request.inputs[0].dtype;
  if (is_half(dtype)) return Support::no("has 16-bit floats");
  return few_enough(request);
}

void write_index(void* out, bool wide, int64_t i, int64_t value) {
  if (wide) {
    static_cast<int64_t*>(out)[i] = value;
  } else {
    static_cast<int32_t*>(out)[i] = static_cast<int32_t>(value);
  }
}

Result<void*> found_indices(const KernelArgs& args, int i, int64_t count, bool wide, const std::string& label) {
  if (wide) {
    BLADE_ASSIGN_OR_RETURN(int64_t* const out, found_output<int64_t>(args, i, {count}, label));
    return static_cast<void*>(out);
  }
  BLADE_ASSIGN_OR_RETURN(int32_t* const out, found_output<int32_t>(args, i, {count}, label));
  return static_cast<void*>(out);
}

// --- Unique. Scratch: the table, for each distinct row where it first stood, and how often it came.

template <class T>
Result<std::unique_ptr<Kernel>> make_unique_kernel(const KernelRequest& request) {
  const ir::Dims dims = request.inputs[0].dims;
  const int64_t n = dims[0], row = product(dims, 1, dims.size());
  const bool wide = request.node->get<ir::PositionsAttrs>().index_dtype == ir::DType::kInt64;
  const std::string label = node_label(request);
  const size_t table_bytes = align_up(RowTable<T>::bytes(n), sizeof(int64_t));
  const auto run = [=](const KernelArgs& args) {
    const T* x = input<T>(args, 0);
    RowTable<T> table(x, row, args.scratch, n);
    auto* first = reinterpret_cast<int32_t*>(args.scratch + table_bytes);
    int32_t* number = first + n;  // of a row that stands first
    int32_t* count = number + n;
    int64_t distinct = 0;
    for (int64_t i = 0; i < n; ++i) {
      int32_t& slot = table.find(x + i * row);
      if (slot < 0) {
        slot = static_cast<int32_t>(i);
        first[distinct] = slot;
        count[distinct] = 0;
        number[i] = static_cast<int32_t>(distinct++);
      }
      ++count[number[slot]];
      write_index(args.outputs[1], wide, i, number[slot]);
    }
    const FoundRows found(distinct, dims, 1);
    BLADE_ASSIGN_OR_RETURN(T* const out, found_output<T>(args, 0, found.dims(), label));
    for (int64_t k = 0; k < distinct; ++k) std::copy_n(x + first[k] * row, row, out + k * row);
    BLADE_ASSIGN_OR_RETURN(void* const counts, found_indices(args, 2, distinct, wide, label));
    for (int64_t k = 0; k < distinct; ++k) write_index(counts, wide, k, count[k]);
    return Status::ok_status();
  };
  return make_kernel(run, 0, table_bytes + static_cast<size_t>(3 * n) * sizeof(int32_t));
}

Result<std::unique_ptr<Kernel>> create_unique(const KernelRequest& request, PackCache&) {
  return with_element(request.inputs[0].dtype, [&]<class T>(T) { return make_unique_kernel<T>(request); });
}

// --- ListDiff. Scratch: the table over what to leave out, then the positions kept.

template <class T>
Result<std::unique_ptr<Kernel>> make_list_diff_kernel(const KernelRequest& request) {
  const int64_t n = request.inputs[0].dims[0], m = request.inputs[1].dims[0];
  const bool wide = request.node->get<ir::PositionsAttrs>().index_dtype == ir::DType::kInt64;
  const std::string label = node_label(request);
  const size_t table_bytes = align_up(RowTable<T>::bytes(m), sizeof(int64_t));
  const auto run = [=](const KernelArgs& args) {
    const T *x = input<T>(args, 0), *y = input<T>(args, 1);
    RowTable<T> table(y, 1, args.scratch, m);
    for (int64_t i = 0; i < m; ++i) table.find(y + i) = static_cast<int32_t>(i);
    auto* kept = reinterpret_cast<int32_t*>(args.scratch + table_bytes);
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (table.find(x + i) < 0) kept[count++] = static_cast<int32_t>(i);
    }
    BLADE_ASSIGN_OR_RETURN(T* const out, found_output<T>(args, 0, {count}, label));
    BLADE_ASSIGN_OR_RETURN(void* const where, found_indices(args, 1, count, wide, label));
    for (int64_t k = 0; k < count; ++k) {
      out[k] = x[kept[k]];
      write_index(where, wide, k, kept[k]);
    }
    return Status::ok_status();
  };
  return make_kernel(run, 0, table_bytes + static_cast<size_t>(n) * sizeof(int32_t));
}

Result<std::unique_ptr<Kernel>> create_list_diff(const KernelRequest& request, PackCache&) {
  return with_element(request.inputs[0].dtype, [&]<class T>(T) { return make_list_diff_kernel<T>(request); });
}

// --- FillEmptyRows. Scratch: for each row where its next entry goes.

Result<std::unique_ptr<Kernel>> create_fill_empty_rows(const KernelRequest& request, PackCache&) {
  const int64_t n = request.inputs[0].dims[0], rank = request.inputs[0].dims[1], rows = request.outputs[2].dims[0];
  const size_t size = ir::dtype_size(request.inputs[1].dtype);
  const std::string label = node_label(request);
  const auto run = [=](const KernelArgs& args) {
    const auto* coordinates = input<int64_t>(args, 0);
    auto* next = reinterpret_cast<int64_t*>(args.scratch);
    auto* empty = output<uint8_t>(args, 2);
    auto* moved = output<int64_t>(args, 3);
    std::fill_n(next, rows, 0);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t row = coordinates[i * rank];
      if (row < 0 || row >= rows) {
        return invalid_argument(label + "entry " + std::to_string(i) + " is in row " + std::to_string(row) +
                                ", which is not in [0, " + std::to_string(rows) + ").");
      }
      ++next[row];
    }
    int64_t total = 0;
    for (int64_t r = 0; r < rows; ++r) {
      empty[r] = next[r] == 0;
      total += std::max<int64_t>(1, std::exchange(next[r], total));
    }
    BLADE_ASSIGN_OR_RETURN(int64_t* const all, found_output<int64_t>(args, 0, {total, rank}, label));
    BLADE_ASSIGN_OR_RETURN(std::byte* const values, found_output<std::byte>(args, 1, {total}, label));
    for (int64_t r = 0; r < rows; ++r) {
      if (empty[r] == 0) continue;
      std::fill_n(all + next[r] * rank, rank, 0);
      all[next[r] * rank] = r;
      std::memcpy(values + static_cast<size_t>(next[r]) * size, input(args, 3), size);
    }
    for (int64_t i = 0; i < n; ++i) {
      moved[i] = next[coordinates[i * rank]]++;
      std::copy_n(coordinates + i * rank, rank, all + moved[i] * rank);
      std::memcpy(values + static_cast<size_t>(moved[i]) * size, input(args, 1) + static_cast<size_t>(i) * size, size);
    }
    return Status::ok_status();
  };
  return make_kernel(run, 0, static_cast<size_t>(rows) * sizeof(int64_t));
}

Support supports_fill(const KernelRequest& request) {
  return request.inputs[0].dims[1] > 0 ? Support::yes() : Support::no("coordinates have no dims");
}

// --- DynamicPartition. Scratch: how many rows each partition gets, and where its next one goes.

Support supports_partition(const KernelRequest& request) {
  return request.inputs[1].dtype == ir::DType::kInt32 ? Support::yes() : Support::no("partitions are not int32");
}

Result<std::unique_ptr<Kernel>> create_partition(const KernelRequest& request, PackCache&) {
  const ir::Dims dims = request.inputs[0].dims;
  const size_t lead = request.inputs[1].dims.size();
  const int64_t n = request.inputs[1].element_count(), parts = static_cast<int64_t>(request.outputs.size());
  const size_t row = static_cast<size_t>(product(dims, lead, dims.size())) * ir::dtype_size(request.inputs[0].dtype);
  const std::string label = node_label(request);
  const auto run = [=](const KernelArgs& args) {
    const auto* of = input<int32_t>(args, 1);
    auto* counts = reinterpret_cast<int64_t*>(args.scratch);
    auto** next = reinterpret_cast<std::byte**>(counts + parts);
    std::fill_n(counts, parts, 0);
    for (int64_t i = 0; i < n; ++i) {
      if (of[i] < 0 || of[i] >= parts) {
        return invalid_argument(label + "partition " + std::to_string(of[i]) + " is not in [0, " +
                                std::to_string(parts) + ").");
      }
      ++counts[of[i]];
    }
    for (int64_t p = 0; p < parts; ++p) {
      const FoundRows found(counts[p], dims, lead);
      BLADE_ASSIGN_OR_RETURN(next[p], found_output<std::byte>(args, static_cast<int>(p), found.dims(), label));
    }
    for (int64_t i = 0; row > 0 && i < n; ++i) {
      std::memcpy(next[of[i]], input(args, 0) + static_cast<size_t>(i) * row, row);
      next[of[i]] += row;
    }
    return Status::ok_status();
  };
  return make_kernel(run, 0, static_cast<size_t>(parts) * (sizeof(int64_t) + sizeof(std::byte*)));
}

constexpr KernelEntry kSelectionRows[] = {
    {"cpu.where.count", ir::Op::kWhere, supports_where, nullptr, create_where},
    {"cpu.unique.hash", ir::Op::kUnique, hashable, nullptr, create_unique},
    {"cpu.list_diff.hash", ir::Op::kListDiff, hashable, nullptr, create_list_diff},
    {"cpu.fill_empty_rows.count", ir::Op::kFillEmptyRows, supports_fill, nullptr, create_fill_empty_rows},
    {"cpu.dynamic_partition.rows", ir::Op::kDynamicPartition, supports_partition, nullptr, create_partition},
};

}  // namespace

std::span<const KernelEntry> selection_rows() { return kSelectionRows; }

}  // namespace blade::backends::cpu
