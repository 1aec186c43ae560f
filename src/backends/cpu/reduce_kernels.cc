// Reductions over any axes, vectorized for float32, and arg-max and arg-min along one axis.
#include <array>
#include <limits>

#include "backends/cpu/arg_functions.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/row_functions.h"
#include "backends/cpu/typed_dispatch.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kMaxOffsets = int64_t{1} << 20;
constexpr int64_t kColumns = 512;    // kept columns that one task folds at a time, at most
constexpr int64_t kRowsAtOnce = 16;  // read side by side; partial sums keep rounding errors of long sums small
constexpr int64_t kMinRowsInChunk = 48, kMaxChunks = 16, kFewColumns = 128;
constexpr int64_t kColumnMultiple = 32;
constexpr int64_t kColumnsPerRow = 5;  // fewer: the kernels before and after are cut by rows

// Dims merged into kept and reduced ones; the innermost run is apart.
struct ReducePlan {
  ir::ReduceKind kind;
  bool inner_reduced = false;
  int64_t inner = 1;
  int64_t reduced = 1;           // elements that make one result
  std::vector<int64_t> kept;     // input offset of each kept outer position
  std::vector<int64_t> offsets;  // input offset of each reduced outer position
};

std::vector<bool> reduced_axes(const KernelRequest& request) {
  std::vector<bool> reduced(request.inputs[0].dims.size(), false);
  for (int64_t axis : request.node->get<ir::ReduceAttrs>().axes) reduced[static_cast<size_t>(axis)] = true;
  return reduced;
}

// Offsets of all positions of the dims [0, end) with reduced[d] == want.
std::vector<int64_t> offsets_of(const ir::Dims& dims, const std::vector<bool>& reduced, bool want, size_t end) {
  const ir::Dims strides = row_major_strides(dims);
  std::vector<int64_t> offsets = {0};
  for (size_t d = 0; d < end; ++d) {
    if (reduced[d] != want) continue;
    std::vector<int64_t> next;
    next.reserve(offsets.size() * static_cast<size_t>(dims[d]));
    for (int64_t offset : offsets) {
      for (int64_t i = 0; i < dims[d]; ++i) next.push_back(offset + i * strides[d]);
    }
    offsets = std::move(next);
  }
  return offsets;
}

ReducePlan plan_reduce(const KernelRequest& request) {
  const ir::Dims& dims = request.inputs[0].dims;
  const std::vector<bool> reduced = reduced_axes(request);
  ReducePlan plan;
  plan.kind = request.node->get<ir::ReduceAttrs>().kind;
  size_t end = dims.size();
  while (end > 0 && dims[end - 1] == 1) --end;
  if (end > 0) plan.inner_reduced = reduced[end - 1];
  while (end > 0 && reduced[end - 1] == plan.inner_reduced) plan.inner *= dims[--end];
  plan.kept = offsets_of(dims, reduced, false, end);
  plan.offsets = offsets_of(dims, reduced, true, end);
  for (size_t d = 0; d < dims.size(); ++d) plan.reduced *= reduced[d] ? dims[d] : 1;
  return plan;
}

Support supports_reduce(const KernelRequest& request) {
  if (Support s = needs_float32(request); !s.ok) return s;
  const auto& attrs = request.node->get<ir::ReduceAttrs>();
  if (attrs.kind == ir::ReduceKind::kProd || attrs.kind == ir::ReduceKind::kAll || attrs.kind == ir::ReduceKind::kAny) {
    return Support::no("products and logical reductions have no vector loop");
  }
  const int64_t count = request.inputs[0].element_count();
  if (count == 0) return Support::no("is empty");
  const ir::Dims& dims = request.inputs[0].dims;
  const int64_t inner = dims.empty() ? 1 : dims.back();
  if (count / inner <= kMaxOffsets) return Support::yes();
  return Support::no("has more than " + std::to_string(kMaxOffsets) + " rows");
}

// One result a kept position: folds the contiguous runs at all reduced offsets.
float reduce_runs(const ReducePlan& plan, const float* from) {
  const RowFunctions& f = row_functions();
  if (plan.kind == ir::ReduceKind::kMax || plan.kind == ir::ReduceKind::kMin) {
    const bool max = plan.kind == ir::ReduceKind::kMax;
    float best = max ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
    for (int64_t offset : plan.offsets) {
      const float own = max ? f.max(from + offset, plan.inner) : f.min(from + offset, plan.inner);
      if (own != own || (max ? own > best : own < best)) best = own;
      if (own != own) return own;
    }
    return best;
  }
  double sum = 0;
  for (int64_t offset : plan.offsets) {
    for (int64_t i = 0; i < plan.inner; i += 4096) {
      sum += static_cast<double>(f.sum(from + offset + i, std::min<int64_t>(4096, plan.inner - i)));
    }
  }
  return static_cast<float>(plan.kind == ir::ReduceKind::kMean ? sum / static_cast<double>(plan.reduced) : sum);
}

// Rows shorter than a vector, one behind the other: a function call a row would cost more than the row.
constexpr int64_t kShortReduce = 12;

template <class Fold>
void reduce_short_rows(const float* from, float* to, int64_t rows, int64_t length, float factor, Fold&& fold) {
  for (const float* end = from + rows * length; from != end; from += length) {
    float value = from[0];
    for (int64_t i = 1; i < length; ++i) value = fold(value, from[i]);
    *to++ = value * factor;
  }
}

void reduce_short(ir::ReduceKind kind, const float* from, float* to, int64_t rows, int64_t length) {
  switch (kind) {
    case ir::ReduceKind::kMax:
      return reduce_short_rows(from, to, rows, length, 1, [](float a, float b) { return b > a || b != b ? b : a; });
    case ir::ReduceKind::kMin:
      return reduce_short_rows(from, to, rows, length, 1, [](float a, float b) { return b < a || b != b ? b : a; });
    default:
      return reduce_short_rows(from, to, rows, length,
                               kind == ir::ReduceKind::kMean ? 1.0f / static_cast<float>(length) : 1.0f,
                               [](float a, float b) { return a + b; });
  }
}

// Up to kColumns results: folds the columns at all reduced offsets, some rows at a time. Of bfloat16 only sums and
// means.
template <class T>
void reduce_columns(const ReducePlan& plan, const T* from, float* to, int64_t columns) {
  const RowFunctions& f = row_functions();
  std::array<const T*, kRowsAtOnce + 1> rows;
  std::array<float, kColumns> partial;
  const bool sums = plan.kind == ir::ReduceKind::kSum || plan.kind == ir::ReduceKind::kMean;
  const auto total = static_cast<int64_t>(plan.offsets.size());
  for (int64_t begin = 0; begin < total; begin += kRowsAtOnce) {
    int64_t count = std::min(kRowsAtOnce, total - begin);
    for (int64_t r = 0; r < count; ++r)
      rows[static_cast<size_t>(r)] = from + plan.offsets[static_cast<size_t>(begin + r)];
    if (sums) {
      fold_sum(rows.data(), count, 1, begin == 0 ? to : partial.data(), columns);
      if (begin != 0) f.add_to(partial.data(), to, columns);
      continue;
    }
    if constexpr (std::is_same_v<T, float>) {
      if (begin != 0) rows[static_cast<size_t>(count++)] = to;
      (plan.kind == ir::ReduceKind::kMax ? f.rows_max : f.rows_min)(rows.data(), count, to, columns);
    }
  }
  if (plan.kind == ir::ReduceKind::kMean) f.affine(to, 1.0f / static_cast<float>(plan.reduced), 0, to, columns);
}

// Long columns: chunks of rows, each read by the core that wrote it, are folded apart, then their results. How many
// chunks there are depends on the shape alone, so that the bits do not depend on the threads.
template <class T>
Result<std::unique_ptr<Kernel>> create_chunked_reduce(ReducePlan plan) {
  const auto total = static_cast<int64_t>(plan.offsets.size());
  const int64_t chunks = std::clamp<int64_t>(total / kMinRowsInChunk / 2 * 2, 1, kMaxChunks);
  const int64_t inner = plan.inner, pieces = ceil_div(inner, kColumns);
  const bool mean = plan.kind == ir::ReduceKind::kMean;
  const float factor = 1.0f / static_cast<float>(plan.reduced);
  if (mean) plan.kind = ir::ReduceKind::kSum;
  std::vector<ReducePlan> parts(static_cast<size_t>(chunks), ReducePlan{plan.kind, false, inner, 0, {}, {}});
  for (int64_t c = 0; c < chunks; ++c) {
    parts[static_cast<size_t>(c)].offsets.assign(plan.offsets.begin() + total * c / chunks,
                                                 plan.offsets.begin() + total * (c + 1) / chunks);
  }
  ReducePlan last{plan.kind, false, inner, 0, {}, {}};
  for (int64_t c = 0; c < chunks; ++c) last.offsets.push_back(c * inner);
  const auto fold_piece = [inner](const ReducePlan& part, const auto* from, float* to, int64_t piece) {
    const int64_t column = piece * kColumns;
    reduce_columns(part, from + column, to + column, std::min(kColumns, inner - column));
  };
  const int64_t elements = total / chunks * std::min(inner, kColumns);
  const double work = static_cast<double>(elements) * 0.5;
  return make_kernel(
      [parts = std::move(parts), last = std::move(last), kept = plan.kept, fold_piece, work, mean, factor, chunks,
       pieces](const KernelArgs& args) {
        auto* partial = reinterpret_cast<float*>(args.scratch);
        float* sums = partial + chunks * last.inner;
        for (size_t k = 0; k < kept.size(); ++k) {
          const T* from = input<T>(args, 0) + kept[k];
          parallel_ranges(args.pool, chunks * pieces, work, [&](int64_t begin, int64_t end) {
            for (int64_t unit = begin; unit < end; ++unit) {
              const int64_t c = unit / pieces;
              fold_piece(parts[static_cast<size_t>(c)], from, partial + c * last.inner, unit % pieces);
            }
          });
          store_folded(output<T>(args) + static_cast<int64_t>(k) * last.inner, last.inner, sums, [&](float* to) {
            for (int64_t piece = 0; piece < pieces; ++piece) fold_piece(last, partial, to, piece);
            if (mean) row_functions().affine(to, factor, 0, to, last.inner);
          });
        }
        return Status::ok_status();
      },
      0, static_cast<size_t>((chunks + 1) * inner) * sizeof(float));
}

// Reductions that keep the last axis.
template <class T>
Result<std::unique_ptr<Kernel>> create_columns_reduce(ReducePlan plan, int threads) {
  const auto rows = static_cast<int64_t>(plan.offsets.size()), kept = static_cast<int64_t>(plan.kept.size());
  const bool cut_by_rows = kept == 1 && plan.inner < kColumnsPerRow * rows;
  const bool few_columns = kept * plan.inner <= kFewColumns;
  if (rows >= 2 * kMinRowsInChunk && (cut_by_rows || few_columns)) return create_chunked_reduce<T>(std::move(plan));
  const int64_t share = ceil_div(plan.inner, int64_t{2} * threads);
  const int64_t columns = std::clamp<int64_t>(ceil_div(share, kColumnMultiple) * kColumnMultiple, 1, kColumns);
  const int64_t pieces = ceil_div(plan.inner, columns);
  const double work = static_cast<double>(plan.reduced) * 0.5 * static_cast<double>(columns);
  return make_kernel([=](const KernelArgs& args) {
    parallel_ranges(args.pool, kept * pieces, work, [&](int64_t begin, int64_t end) {
      std::array<float, kColumns> sums;
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t i = unit / pieces, column = unit % pieces * columns;
        const int64_t count = std::min(columns, plan.inner - column);
        const T* from = input<T>(args, 0) + plan.kept[static_cast<size_t>(i)] + column;
        store_folded(output<T>(args) + i * plan.inner + column, count, sums.data(),
                     [&](float* to) { reduce_columns(plan, from, to, count); });
      }
    });
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> create_reduce(const KernelRequest& request, PackCache&) {
  ReducePlan plan = plan_reduce(request);
  const auto kept = static_cast<int64_t>(plan.kept.size());
  if (plan.inner_reduced && plan.offsets.size() == 1 && plan.inner <= kShortReduce) {
    return make_kernel([kind = plan.kind, length = plan.inner, kept](const KernelArgs& args) {
      parallel_ranges(args.pool, kept, 2.0 * static_cast<double>(length), [&](int64_t begin, int64_t end) {
        reduce_short(kind, input<float>(args, 0) + begin * length, output<float>(args) + begin, end - begin, length);
      });
      return Status::ok_status();
    });
  }
  if (plan.inner_reduced) {
    const double work = static_cast<double>(plan.reduced) * 0.5;
    return make_kernel([=](const KernelArgs& args) {
      parallel_ranges(args.pool, kept, work, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          output<float>(args)[i] = reduce_runs(plan, input<float>(args, 0) + plan.kept[static_cast<size_t>(i)]);
        }
      });
      return Status::ok_status();
    });
  }
  return create_columns_reduce<float>(std::move(plan), request.num_threads);
}

// --- bfloat16: means over pixels, with sums in float32 ---

Support supports_bf16_reduce(const KernelRequest& request) {
  if (Support s = needs_dtype(request, ir::DType::kBFloat16); !s.ok) return s;
  const ir::ReduceKind kind = request.node->get<ir::ReduceAttrs>().kind;
  if (kind != ir::ReduceKind::kMean && kind != ir::ReduceKind::kSum) return Support::no("is neither a sum nor a mean");
  const std::vector<bool> reduced = reduced_axes(request);
  if (request.inputs[0].element_count() == 0 || reduced.empty() || reduced.back() || request.inputs[0].dims.back() == 1)
    return Support::no("does not keep the last axis");
  return request.inputs[0].element_count() / request.inputs[0].dims.back() <= kMaxOffsets
             ? Support::yes()
             : Support::no("has more than " + std::to_string(kMaxOffsets) + " rows");
}

Result<std::unique_ptr<Kernel>> create_bf16_reduce(const KernelRequest& request, PackCache&) {
  return create_columns_reduce<BFloat16>(plan_reduce(request), request.num_threads);
}

// --- other types and kinds ---

Support supports_typed_reduce(const KernelRequest& request) {
  const ir::DType dtype = request.inputs[0].dtype;
  if (!is_plain_type(dtype) && dtype != ir::DType::kBool) {
    return Support::no(std::string("has no loop for ") + ir::dtype_name(dtype));
  }
  const ir::ReduceKind kind = request.node->get<ir::ReduceAttrs>().kind;
  const bool sums = kind == ir::ReduceKind::kSum || kind == ir::ReduceKind::kMean;
  if (sums && dtype == ir::DType::kFloat32) return Support::no("adds one by one, too coarse for float32");
  if (request.inputs[0].element_count() == 0) return Support::no("is empty");
  const ir::Dims& dims = request.inputs[0].dims;
  const int64_t inner = dims.empty() ? 1 : dims.back();
  return request.inputs[0].element_count() / inner <= kMaxOffsets
             ? Support::yes()
             : Support::no("has more than " + std::to_string(kMaxOffsets) + " rows");
}

template <ir::ReduceKind kKind, class T>
T combine(T a, T b) {
  using A = Accumulator<T>;
  switch (kKind) {
    case ir::ReduceKind::kProd:
      return static_cast<T>(static_cast<A>(a) * static_cast<A>(b));
    case ir::ReduceKind::kMax:
      return b > a || b != b ? b : a;
    case ir::ReduceKind::kMin:
      return b < a || b != b ? b : a;
    case ir::ReduceKind::kAll:
      return a != 0 && b != 0;
    case ir::ReduceKind::kAny:
      return a != 0 || b != 0;
    default:
      return static_cast<T>(static_cast<A>(a) + static_cast<A>(b));
  }
}

// The kept position `from` points at: one result where the inner run is reduced, else `columns` of them.
template <ir::ReduceKind kKind, class T>
void reduce_typed(const ReducePlan& plan, const T* from, T* to, int64_t columns) {
  if (plan.inner_reduced) {
    T value = from[plan.offsets[0]];
    bool first = true;
    for (int64_t offset : plan.offsets) {
      for (int64_t i = first ? 1 : 0; i < plan.inner; ++i) value = combine<kKind>(value, from[offset + i]);
      first = false;
    }
    *to = value;
    columns = 1;
  } else {
    std::copy_n(from + plan.offsets[0], columns, to);
    for (size_t r = 1; r < plan.offsets.size(); ++r) {
      const T* row = from + plan.offsets[r];
      for (int64_t i = 0; i < columns; ++i) to[i] = combine<kKind>(to[i], row[i]);
    }
  }
  if (plan.kind != ir::ReduceKind::kMean) return;
  for (int64_t i = 0; i < columns; ++i) to[i] = static_cast<T>(to[i] / static_cast<T>(plan.reduced));
}

constexpr int64_t kTypedColumns = 64;

template <ir::ReduceKind kKind, class T>
Result<std::unique_ptr<Kernel>> make_typed_reduce(ReducePlan plan) {
  const int64_t results = plan.inner_reduced ? 1 : plan.inner, pieces = ceil_div(results, kTypedColumns);
  const auto kept = static_cast<int64_t>(plan.kept.size());
  const double work = static_cast<double>(plan.reduced * std::min(kTypedColumns, results));
  return make_kernel([plan = std::move(plan), results, pieces, kept, work](const KernelArgs& args) {
    parallel_ranges(args.pool, kept * pieces, work, [&](int64_t begin, int64_t end) {
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t i = unit / pieces, column = unit % pieces * kTypedColumns;
        reduce_typed<kKind>(plan, input<T>(args, 0) + plan.kept[static_cast<size_t>(i)] + column,
                            output<T>(args) + i * results + column, std::min(kTypedColumns, results - column));
      }
    });
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> create_typed_reduce(const KernelRequest& request, PackCache&) {
  ReducePlan plan = plan_reduce(request);
  return with_plain_type(request.inputs[0].dtype, [&]<class T>(T) {
    switch (plan.kind) {
      case ir::ReduceKind::kProd:
        return make_typed_reduce<ir::ReduceKind::kProd, T>(std::move(plan));
      case ir::ReduceKind::kMax:
        return make_typed_reduce<ir::ReduceKind::kMax, T>(std::move(plan));
      case ir::ReduceKind::kMin:
        return make_typed_reduce<ir::ReduceKind::kMin, T>(std::move(plan));
      case ir::ReduceKind::kAll:
        return make_typed_reduce<ir::ReduceKind::kAll, T>(std::move(plan));
      case ir::ReduceKind::kAny:
        return make_typed_reduce<ir::ReduceKind::kAny, T>(std::move(plan));
      default:
        return make_typed_reduce<ir::ReduceKind::kSum, T>(std::move(plan));
    }
  });
}

Support supports_arg_reduce(const KernelRequest& request) {
  const ir::DType dtype = request.inputs[0].dtype;
  if (!is_plain_type(dtype)) return Support::no(std::string("has no loop for ") + ir::dtype_name(dtype));
  const ir::DType index = request.outputs[0].dtype;
  if (index != ir::DType::kInt32 && index != ir::DType::kInt64)
    return Support::no("indices are neither int32 nor int64");
  const auto axis = static_cast<size_t>(request.node->get<ir::ArgReduceAttrs>().axis);
  return request.inputs[0].dims[axis] > 0 ? Support::yes() : Support::no("the reduced axis is empty");
}

// First best of `length` elements, as ArgFunctions has it.
template <class T>
int64_t arg_best(const T* x, int64_t length, int64_t stride, bool is_max) {
  int64_t at = 0;
  T best = is_max ? std::numeric_limits<T>::lowest() : std::numeric_limits<T>::max();
  for (int64_t k = 0; k < length; ++k) {
    const T value = x[k * stride];
    if (is_max ? value > best : value < best) {
      best = value;
      at = k;
    }
  }
  return at;
}

Result<std::unique_ptr<Kernel>> create_arg_reduce(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ArgReduceAttrs>();
  const ir::Dims& dims = request.inputs[0].dims;
  const bool is_max = attrs.is_max;
  const bool wide = request.outputs[0].dtype == ir::DType::kInt64;
  const int64_t length = dims[static_cast<size_t>(attrs.axis)];
  const int64_t inner = product(dims, static_cast<size_t>(attrs.axis) + 1, dims.size());
  const int64_t lines = request.outputs[0].element_count();
  return with_plain_type(request.inputs[0].dtype, [&]<class T>(T) {
    return make_kernel([=](const KernelArgs& args) {
      parallel_ranges(args.pool, lines, static_cast<double>(length) * 3, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t at = i / inner * inner * length + i % inner;
          const int64_t best = arg_best(input<T>(args, 0) + at, length, inner, is_max);
          if (wide) {
            output<int64_t>(args)[i] = best;
          } else {
            output<int32_t>(args)[i] = static_cast<int32_t>(best);
          }
        }
      });
      return Status::ok_status();
    });
  });
}

// Of float32, on vectors: along rows, or down columns a piece at a time.
Support supports_arg_rows(const KernelRequest& request) {
  if (Support s = supports_arg_reduce(request); !s.ok) return s;
  if (request.inputs[0].dims[static_cast<size_t>(request.node->get<ir::ArgReduceAttrs>().axis)] >
      std::numeric_limits<int32_t>::max()) {
    return Support::no("the reduced axis is longer than 32 bits count");
  }
  return request.inputs[0].dtype == ir::DType::kFloat32 ? Support::yes() : Support::no("is not float32");
}

constexpr int64_t kArgPiece = 256;  // results found at a time

template <class Index>
Result<std::unique_ptr<Kernel>> make_arg_rows(bool is_max, int64_t lines, int64_t length, int64_t inner) {
  const bool along_rows = inner == 1;
  const int64_t run = along_rows ? lines : inner, pieces = ceil_div(run, kArgPiece);
  const double work = static_cast<double>(length * std::min(run, kArgPiece)) / 4;
  return make_kernel([=, &f = arg_functions()](const KernelArgs& args) {
    parallel_ranges(args.pool, lines / std::max<int64_t>(1, run) * pieces, work, [&](int64_t begin, int64_t end) {
      int32_t found[kArgPiece];
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t outer = piece / pieces, first = piece % pieces * kArgPiece;
        const int64_t count = std::min(kArgPiece, run - first);
        if (along_rows) {
          f.rows(input<float>(args, 0) + first * length, count, length, is_max, found);
        } else {
          const float* x = input<float>(args, 0) + outer * length * inner + first;
          f.columns(x, inner, length, is_max, found, count);
        }
        std::copy_n(found, count, output<Index>(args) + outer * run + first);
      }
    });
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> create_arg_rows(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ArgReduceAttrs>();
  const ir::Dims& dims = request.inputs[0].dims;
  const int64_t length = dims[static_cast<size_t>(attrs.axis)];
  const int64_t inner = product(dims, static_cast<size_t>(attrs.axis) + 1, dims.size());
  const int64_t lines = request.outputs[0].element_count();
  if (request.outputs[0].dtype == ir::DType::kInt64) return make_arg_rows<int64_t>(attrs.is_max, lines, length, inner);
  return make_arg_rows<int32_t>(attrs.is_max, lines, length, inner);
}

constexpr KernelEntry kReduceRows[] = {
    {"cpu.reduce.rows_f32", ir::Op::kReduce, supports_reduce, nullptr, create_reduce},
    {"cpu.reduce.rows_bf16", ir::Op::kReduce, supports_bf16_reduce, nullptr, create_bf16_reduce},
    {"cpu.reduce.typed", ir::Op::kReduce, supports_typed_reduce, nullptr, create_typed_reduce},
    {"cpu.arg_reduce.rows_f32", ir::Op::kArgReduce, supports_arg_rows, nullptr, create_arg_rows},
    {"cpu.arg_reduce.scan", ir::Op::kArgReduce, supports_arg_reduce, nullptr, create_arg_reduce},
};

}  // namespace

std::span<const KernelEntry> reduce_rows() { return kReduceRows; }

}  // namespace blade::backends::cpu
