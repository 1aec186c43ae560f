// Scatters, reductions by segment, searches in sorted rows, running sums, largest elements and arg-reductions of all
// types.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/typed_dispatch.h"

namespace blade::backends::cpu {
namespace {

int64_t index_at(const void* data, bool wide, int64_t i) {
  return wide ? static_cast<const int64_t*>(data)[i] : int64_t{static_cast<const int32_t*>(data)[i]};
}

Support supports_index(const KernelRequest& request, size_t i) {
  const ir::DType dtype = request.inputs[i].dtype;
  if (dtype == ir::DType::kInt32 || dtype == ir::DType::kInt64) return Support::yes();
  return Support::no(std::string("indices have type ") + ir::dtype_name(dtype) + ", need int32 or int64");
}

// --- scatters ---

template <class T>
void scatter_slice(ir::ScatterKind kind, const T* from, T* to, int64_t count) {
  using A = Accumulator<T>;
  switch (kind) {
    case ir::ScatterKind::kAdd:
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(static_cast<A>(to[i]) + static_cast<A>(from[i]));
      break;
    case ir::ScatterKind::kSub:
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(static_cast<A>(to[i]) - static_cast<A>(from[i]));
      break;
    case ir::ScatterKind::kMax:
      for (int64_t i = 0; i < count; ++i) to[i] = std::max(to[i], from[i]);
      break;
    case ir::ScatterKind::kMin:
      for (int64_t i = 0; i < count; ++i) to[i] = std::min(to[i], from[i]);
      break;
    default:
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
      break;
  }
}

struct ScatterPlan {
  ir::Dims dims;  // of the tensor written to, its leading `depth` ones
  int64_t rows = 0, slice = 1, count = 0;
  bool wide = false, sorted_unique = false;
  ir::ScatterKind kind = ir::ScatterKind::kUpdate;
  std::string label;
};

ScatterPlan plan_scatter(const KernelRequest& request, size_t indices) {
  const ir::Dims &index = request.inputs[indices].dims, &out = request.outputs[0].dims;
  const auto depth = static_cast<size_t>(index.back());
  ScatterPlan plan;
  plan.dims.assign(out.begin(), out.begin() + static_cast<int64_t>(depth));
  plan.rows = product(index, 0, index.size() - 1);
  plan.slice = product(out, depth, out.size());
  plan.count = product(out);
  plan.wide = request.inputs[indices].dtype == ir::DType::kInt64;
  plan.label = node_label(request);
  return plan;
}

template <class T>
Status scatter(const ScatterPlan& plan, const void* indices, const T* updates, T* out) {
  const auto depth = static_cast<int64_t>(plan.dims.size());
  int64_t previous = -1;
  for (int64_t r = 0; r < plan.rows; ++r) {
    int64_t at = 0;
    for (int64_t d = 0; d < depth; ++d) {
      const int64_t index = index_at(indices, plan.wide, r * depth + d), bound = plan.dims[static_cast<size_t>(d)];
      if (index < 0 || index >= bound) {
        return invalid_argument(plan.label + "index " + std::to_string(index) + " is not in [0, " +
                                std::to_string(bound) + ").");
      }
      at = at * bound + index;
    }
    if (plan.sorted_unique && at <= previous) {
      return invalid_argument(plan.label + "index row " + std::to_string(r) +
                              " repeats or goes back; indices must be sorted and each there once.");
    }
    previous = at;
    scatter_slice(plan.kind, updates + r * plan.slice, out + at * plan.slice, plan.slice);
  }
  return Status::ok_status();
}

// Bytes move whatever they mean; arithmetic needs a type with loops.
Support supports_tensor_scatter(const KernelRequest& request) {
  if (Support s = supports_index(request, 1); !s.ok) return s;
  const bool plain = is_plain_type(request.outputs[0].dtype);
  const bool update = request.node->get<ir::TensorScatterAttrs>().kind == ir::ScatterKind::kUpdate;
  return plain || (update && request.outputs[0].dtype == ir::DType::kBool) ? Support::yes() : needs_plain_type(request);
}

Result<std::unique_ptr<Kernel>> create_tensor_scatter(const KernelRequest& request, PackCache&) {
  ScatterPlan plan = plan_scatter(request, 1);
  plan.kind = request.node->get<ir::TensorScatterAttrs>().kind;
  plan.sorted_unique = request.node->get<ir::TensorScatterAttrs>().sorted_unique;
  return with_plain_type(request.outputs[0].dtype, [&]<class T>(T) {
    return make_kernel(
        [plan](const KernelArgs& args) {
          if (args.inputs[0] != args.outputs[0] && plan.count > 0) {
            std::memcpy(args.outputs[0], args.inputs[0], static_cast<size_t>(plan.count) * sizeof(T));
          }
          return scatter<T>(plan, args.inputs[1], input<T>(args, 2), output<T>(args));
        },
        1);
  });
}

Support supports_scatter_nd(const KernelRequest& request) {
  if (Support s = supports_index(request, 0); !s.ok) return s;
  return is_plain_type(request.outputs[0].dtype) ? Support::yes() : Support::no("has no loop for its type");
}

Result<std::unique_ptr<Kernel>> create_scatter_nd(const KernelRequest& request, PackCache&) {
  ScatterPlan plan = plan_scatter(request, 0);
  plan.kind = ir::ScatterKind::kAdd;
  return with_plain_type(request.outputs[0].dtype, [&]<class T>(T) {
    return make_kernel([plan](const KernelArgs& args) {
      std::fill_n(output<T>(args), plan.count, T(0));
      return scatter<T>(plan, args.inputs[0], input<T>(args, 1), output<T>(args));
    });
  });
}

// --- segments ---

Support supports_segments(const KernelRequest& request) {
  if (Support s = supports_index(request, 1); !s.ok) return s;
  return needs_plain_type(request);
}

template <class T>
void fold_slice(ir::ReduceKind kind, const T* from, T* to, int64_t count) {
  using A = Accumulator<T>;
  switch (kind) {
    case ir::ReduceKind::kProd:
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(static_cast<A>(to[i]) * static_cast<A>(from[i]));
      break;
    case ir::ReduceKind::kMax:
      for (int64_t i = 0; i < count; ++i) to[i] = from[i] > to[i] || from[i] != from[i] ? from[i] : to[i];
      break;
    case ir::ReduceKind::kMin:
      for (int64_t i = 0; i < count; ++i) to[i] = from[i] < to[i] || from[i] != from[i] ? from[i] : to[i];
      break;
    default:
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(static_cast<A>(to[i]) + static_cast<A>(from[i]));
      break;
  }
}

struct SegmentPlan {
  ir::SegmentReduceAttrs attrs;
  int64_t ids = 0, segments = 0, slice = 0;
  bool wide = false;
  std::string label;
};

// True where segments begin with the least or greatest finite number, as TensorFlow's unsorted ones do.
bool begins_with_limit(const ir::SegmentReduceAttrs& attrs) {
  return !attrs.empty_is_zero && (attrs.kind == ir::ReduceKind::kMax || attrs.kind == ir::ReduceKind::kMin);
}
template <class T>
T limit_of(ir::ReduceKind kind) {
  return kind == ir::ReduceKind::kMax ? std::numeric_limits<T>::lowest() : std::numeric_limits<T>::max();
}

template <class T>
void finish_segments(const SegmentPlan& plan, const int64_t* counts, T* out) {
  const ir::ReduceKind kind = plan.attrs.kind;
  T empty = kind == ir::ReduceKind::kProd ? T(1) : T(0);
  if (begins_with_limit(plan.attrs)) empty = limit_of<T>(kind);
  for (int64_t s = 0; s < plan.segments; ++s) {
    T* to = out + s * plan.slice;
    if (counts[s] == 0) {
      std::fill_n(to, plan.slice, empty);
    } else if (plan.attrs.sqrt_n) {
      const T root = static_cast<T>(std::sqrt(static_cast<double>(counts[s])));
      for (int64_t k = 0; k < plan.slice; ++k) to[k] = static_cast<T>(to[k] / root);
    } else if (kind == ir::ReduceKind::kMean) {
      const T count = static_cast<T>(counts[s]);
      for (int64_t k = 0; k < plan.slice; ++k) to[k] = static_cast<T>(to[k] / count);
    }
  }
}

Status wrong_segment(const SegmentPlan& plan, int64_t id, int64_t last) {
  if (plan.attrs.sorted && id < last) {
    return invalid_argument(plan.label + "segment ids are not sorted: " + std::to_string(id) + " follows " +
                            std::to_string(last) + ".");
  }
  return invalid_argument(plan.label + "segment id " + std::to_string(id) + " is not in [0, " +
                          std::to_string(plan.segments) + ").");
}

// Calls fn(i, id) for each id that counts.
template <class Fn>
Status for_ids(const SegmentPlan& plan, const KernelArgs& args, Fn&& fn) {
  const bool sorted = plan.attrs.sorted;
  int64_t last = 0;
  for (int64_t i = 0; i < plan.ids; ++i) {
    const int64_t id = index_at(args.inputs[1], plan.wide, i);
    if (id >= plan.segments || (sorted && id < last)) return wrong_segment(plan, id, last);
    if (id < 0) continue;
    last = id;
    fn(i, id);
  }
  return Status::ok_status();
}

// Sums of single elements, as histograms are.
template <class T>
Status sum_elements(const SegmentPlan& plan, const KernelArgs& args) {
  using A = Accumulator<T>;
  const T* data = input<T>(args, 0);
  T* out = output<T>(args);
  std::fill_n(out, plan.segments, T(0));
  return for_ids(plan, args, [&](int64_t i, int64_t id) {
    out[id] = static_cast<T>(static_cast<A>(out[id]) + static_cast<A>(data[i]));
  });
}

template <class T>
Status reduce_segments(const SegmentPlan& plan, const KernelArgs& args) {
  if (plan.slice == 1 && plan.attrs.kind == ir::ReduceKind::kSum && !plan.attrs.sqrt_n) {
    return sum_elements<T>(plan, args);
  }
  auto* counts = reinterpret_cast<int64_t*>(args.scratch);
  std::fill_n(counts, plan.segments, 0);
  const T* data = input<T>(args, 0);
  T* out = output<T>(args);
  const bool limited = begins_with_limit(plan.attrs);
  if (limited) std::fill_n(out, plan.segments * plan.slice, limit_of<T>(plan.attrs.kind));
  BLADE_RETURN_IF_ERROR(for_ids(plan, args, [&](int64_t i, int64_t id) {
    T* to = out + id * plan.slice;
    if (counts[id]++ == 0 && !limited) {
      *to = data[i * plan.slice];
      if (plan.slice > 1) std::copy_n(data + i * plan.slice, plan.slice, to);
    } else {
      fold_slice(plan.attrs.kind, data + i * plan.slice, to, plan.slice);
    }
  }));
  finish_segments(plan, counts, out);
  return Status::ok_status();
}

Result<std::unique_ptr<Kernel>> create_segments(const KernelRequest& request, PackCache&) {
  SegmentPlan plan;
  plan.attrs = request.node->get<ir::SegmentReduceAttrs>();
  plan.ids = request.inputs[1].element_count();
  plan.segments = request.outputs[0].dims[0];
  plan.slice = product(request.outputs[0].dims, 1, request.outputs[0].dims.size());
  plan.wide = request.inputs[1].dtype == ir::DType::kInt64;
  plan.label = node_label(request);
  const size_t scratch = static_cast<size_t>(plan.segments) * sizeof(int64_t);
  return with_plain_type(request.outputs[0].dtype, [&]<class T>(T) {
    return make_kernel([plan](const KernelArgs& args) { return reduce_segments<T>(plan, args); }, 0, scratch);
  });
}

// --- searches ---

Support supports_search(const KernelRequest& request) {
  if (!is_plain_type(request.inputs[0].dtype)) return Support::no("has no loop for its type");
  const ir::DType index = request.outputs[0].dtype;
  return index == ir::DType::kInt32 || index == ir::DType::kInt64 ? Support::yes()
                                                                  : Support::no("indices are neither int32 nor int64");
}

// In a sorted row. Few elements are counted: no branch is mispredicted.
template <class T>
int64_t place_in(const T* row, int64_t length, T value, bool right) {
  constexpr int64_t kFew = 24;
  if (length > kFew) {
    return (right ? std::upper_bound(row, row + length, value) : std::lower_bound(row, row + length, value)) - row;
  }
  int64_t place = 0;
  if (right) {
    for (int64_t i = 0; i < length; ++i) place += !(value < row[i]);
  } else {
    for (int64_t i = 0; i < length; ++i) place += row[i] < value;
  }
  return place;
}

Result<std::unique_ptr<Kernel>> create_search(const KernelRequest& request, PackCache&) {
  const bool right = request.node->get<ir::SearchSortedAttrs>().right;
  const bool wide = request.outputs[0].dtype == ir::DType::kInt64;
  const int64_t length = request.inputs[0].dims.back(), picks = request.inputs[1].dims.back();
  const int64_t count = request.outputs[0].element_count();
  return with_plain_type(request.inputs[0].dtype, [&]<class T>(T) {
    return make_kernel([=](const KernelArgs& args) {
      parallel_ranges(args.pool, count, 10, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const T* row = input<T>(args, 0) + i / picks * length;
          const int64_t found = place_in(row, length, input<T>(args, 1)[i], right);
          if (wide) {
            output<int64_t>(args)[i] = found;
          } else {
            output<int32_t>(args)[i] = static_cast<int32_t>(found);
          }
        }
      });
      return Status::ok_status();
    });
  });
}

// --- running sums and products ---

Support supports_cumulative(const KernelRequest& request) {
  if (request.node->get<ir::CumulativeAttrs>().kind == ir::CumulativeKind::kLogSumExp) {
    return Support::no("logarithms of sums have no loop");
  }
  return needs_plain_type(request);
}

// Lines of `length` rows of `inner` elements: each row is the one before it and the row of x between them.
template <class T>
void cumulate(const T* x, T* y, int64_t length, int64_t inner, const ir::CumulativeAttrs& attrs) {
  using A = Accumulator<T>;
  const bool sum = attrs.kind == ir::CumulativeKind::kSum;
  const auto row = [&](int64_t k) { return (attrs.reverse ? length - 1 - k : k) * inner; };
  for (int64_t k = 0; k < length; ++k) {
    T* to = y + row(k);
    const T* from = attrs.exclusive ? (k == 0 ? nullptr : x + row(k - 1)) : x + row(k);
    if (k == 0) {
      for (int64_t i = 0; i < inner; ++i) to[i] = from == nullptr ? (sum ? T(0) : T(1)) : from[i];
      continue;
    }
    const T* before = y + row(k - 1);
    for (int64_t i = 0; i < inner; ++i) {
      const A a = static_cast<A>(before[i]), b = static_cast<A>(from[i]);
      to[i] = static_cast<T>(sum ? a + b : a * b);
    }
  }
}

constexpr int64_t kLinesAtOnce = 4;  // chains of dependent additions that run side by side

// The same for kLines lines of single elements.
template <int64_t kLines, bool kSum, class T>
void cumulate_lines(const T* x, T* y, int64_t length, const ir::CumulativeAttrs& attrs) {
  using A = Accumulator<T>;
  T value[kLines];
  std::fill_n(value, kLines, kSum ? T(0) : T(1));
  for (int64_t k = 0; k < length; ++k) {
    const int64_t at = attrs.reverse ? length - 1 - k : k;
    for (int64_t line = 0; line < kLines; ++line) {
      const A a = static_cast<A>(value[line]), b = static_cast<A>(x[line * length + at]);
      const T next = static_cast<T>(kSum ? a + b : a * b);
      y[line * length + at] = attrs.exclusive ? value[line] : next;
      value[line] = next;
    }
  }
}
template <bool kSum, class T>
void cumulate_all_lines(const T* x, T* y, int64_t lines, int64_t length, const ir::CumulativeAttrs& attrs) {
  int64_t line = 0;
  for (; line + kLinesAtOnce <= lines; line += kLinesAtOnce) {
    cumulate_lines<kLinesAtOnce, kSum>(x + line * length, y + line * length, length, attrs);
  }
  for (; line < lines; ++line) cumulate_lines<1, kSum>(x + line * length, y + line * length, length, attrs);
}

Result<std::unique_ptr<Kernel>> create_cumulative(const KernelRequest& request, PackCache&) {
  const auto attrs = request.node->get<ir::CumulativeAttrs>();
  const ir::Dims& dims = request.inputs[0].dims;
  const auto axis = static_cast<size_t>(attrs.axis);
  const int64_t length = dims[axis], inner = product(dims, axis + 1, dims.size()), outer = product(dims, 0, axis);
  return with_plain_type(request.outputs[0].dtype, [&]<class T>(T) {
    return make_kernel([=](const KernelArgs& args) {
      parallel_ranges(args.pool, outer, static_cast<double>(2 * length * inner), [&](int64_t begin, int64_t end) {
        const T* x = input<T>(args, 0) + begin * length * inner;
        T* y = output<T>(args) + begin * length * inner;
        if (inner == 1) {
          const bool sum = attrs.kind == ir::CumulativeKind::kSum;
          return sum ? cumulate_all_lines<true>(x, y, end - begin, length, attrs)
                     : cumulate_all_lines<false>(x, y, end - begin, length, attrs);
        }
        for (int64_t o = begin; o < end; ++o, x += length * inner, y += length * inner) {
          cumulate(x, y, length, inner, attrs);
        }
      });
      return Status::ok_status();
    });
  });
}

// --- largest elements ---

Support supports_top_k(const KernelRequest& request) {
  const ir::DType index = request.outputs[1].dtype;
  if (index != ir::DType::kInt32 && index != ir::DType::kInt64)
    return Support::no("indices are neither int32 nor int64");
  return needs_plain_type(request);
}

// Equal elements come in the order of their indices, NaN last.
template <class T>
struct Better {
  const T* row;
  static bool above(T a, T b) { return a > b || (a == a && b != b); }
  bool operator()(int32_t a, int32_t b) const { return above(row[a], row[b]) || (!above(row[b], row[a]) && a < b); }
};

constexpr int64_t kCandidateBlock = 64;  // elements compared at once

// Candidates that are held at a time.
int64_t candidate_room(int64_t k) { return k + std::max(k, 4 * kCandidateBlock); }

// Those of few candidates that may be among the k best, in any order, the best ones first; how many there are. Most of
// a long row is only compared with the last of the best so far.
template <class T>
int64_t candidates_of_row(const T* row, int64_t length, int64_t k, int32_t* order) {
  const Better<T> better{row};
  const int64_t room = candidate_room(k);
  int64_t count = std::min(length, room), next = count;
  for (int64_t i = 0; i < count; ++i) order[i] = static_cast<int32_t>(i);
  while (next < length) {
    if (count + kCandidateBlock > room) {
      std::nth_element(order, order + k - 1, order + count, better);
      count = k;
    }
    const T last = row[order[k - 1]];
    for (; next < length && count + kCandidateBlock <= room; next += kCandidateBlock) {
      const int64_t of_block = std::min(kCandidateBlock, length - next);
      int32_t hits = 0;
      for (int64_t j = 0; j < of_block; ++j) hits += !(row[next + j] <= last);
      if (hits == 0) continue;
      for (int64_t j = 0; j < of_block; ++j) {
        if (!(row[next + j] <= last)) order[count++] = static_cast<int32_t>(next + j);
      }
    }
  }
  return count;
}

// `order` has room for min(length, candidate_room(k)) indices.
template <class T, class I>
void top_of_row(const T* row, int64_t length, int64_t k, int32_t* order, T* values, I* indices) {
  if (k == 0) return;
  const Better<T> better{row};
  const int64_t count = candidates_of_row(row, length, k, order);
  if (k < count) std::nth_element(order, order + k, order + count, better);
  std::sort(order, order + k, better);
  for (int64_t i = 0; i < k; ++i) {
    values[i] = row[order[i]];
    indices[i] = static_cast<I>(order[i]);
  }
}

Result<std::unique_ptr<Kernel>> create_top_k(const KernelRequest& request, PackCache&) {
  const int64_t length = request.inputs[0].dims.back(), k = request.outputs[0].dims.back();
  const int64_t rows = product(request.inputs[0].dims, 0, request.inputs[0].dims.size() - 1);
  const bool wide = request.outputs[1].dtype == ir::DType::kInt64;
  const int64_t room = std::min(length, candidate_room(k));
  const std::string label = node_label(request);
  return with_plain_type(request.inputs[0].dtype, [&]<class T>(T) {
    return make_kernel(
        [=](const KernelArgs& args) -> Status {
          if (k > length) {
            return invalid_argument(label + "k is " + std::to_string(k) + ", but the last dim has only " +
                                    std::to_string(length) + " elements.");
          }
          parallel_ranges(args.pool, rows, static_cast<double>(length + 20 * k), [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) {
              auto* order = reinterpret_cast<int32_t*>(args.scratch) + r * room;
              const T* row = input<T>(args, 0) + r * length;
              T* values = output<T>(args) + r * k;
              if (wide) {
                top_of_row(row, length, k, order, values, output<int64_t>(args, 1) + r * k);
              } else {
                top_of_row(row, length, k, order, values, output<int32_t>(args, 1) + r * k);
              }
            }
          });
          return Status::ok_status();
        },
        0, static_cast<size_t>(rows * room) * sizeof(int32_t));
  });
}

constexpr KernelEntry kSegmentRows[] = {
    {"cpu.tensor_scatter.slices", ir::Op::kTensorScatter, supports_tensor_scatter, nullptr, create_tensor_scatter},
    {"cpu.scatter_nd.slices", ir::Op::kScatterNd, supports_scatter_nd, nullptr, create_scatter_nd},
    {"cpu.segment_reduce.slices", ir::Op::kSegmentReduce, supports_segments, nullptr, create_segments},
    {"cpu.search_sorted.binary", ir::Op::kSearchSorted, supports_search, nullptr, create_search},
    {"cpu.cumulative.rows", ir::Op::kCumulative, supports_cumulative, nullptr, create_cumulative},
    {"cpu.top_k.select", ir::Op::kTopK, supports_top_k, nullptr, create_top_k},
};

}  // namespace

std::span<const KernelEntry> segment_rows() { return kSegmentRows; }

}  // namespace blade::backends::cpu
