// Slice and StridedSlice with all masks, on symbolic dims: each result dim is exactly TensorFlow's.
#include <algorithm>

#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

// How one axis of the input is cut.
struct AxisCut {
  bool begin_masked = false, end_masked = false, shrink = false;
  std::optional<Dim> begin, end;  // nullopt: unknown
  std::optional<int64_t> stride = 1;
};

struct CutResult {
  Dim size;
  std::optional<int64_t> begin;  // the first element, when all is known
};

int64_t clamp_index(int64_t i, int64_t dim, int64_t low, int64_t high) {
  return std::clamp(i < 0 ? i + dim : i, low, high);
}

CutResult cut_known(int64_t dim, const AxisCut& cut, int64_t begin, int64_t end, int64_t stride) {
  const int64_t low = stride > 0 ? 0 : -1, high = stride > 0 ? dim : dim - 1;
  const int64_t b = cut.begin_masked ? (stride > 0 ? low : high) : clamp_index(begin, dim, low, high);
  const int64_t e = cut.end_masked ? (stride > 0 ? high : low) : clamp_index(end, dim, low, high);
  const int64_t interval = e - b;
  if (interval == 0 || (interval < 0) != (stride < 0)) return {Dim(0), b};
  return {Dim(interval / stride + (interval % stride != 0)), b};
}

// A positive stride over an unknown dim, or with ends given by expressions: max(end - begin, 0) / stride.
std::optional<Dim> cut_symbolic(SymbolTable& s, Dim dim, const AxisCut& cut, int64_t stride) {
  Dim begin = 0, end = dim;
  if (!cut.begin_masked) {
    if (!cut.begin) return std::nullopt;
    const auto b = s.constant(*cut.begin);
    if (b && *b < 0) {
      if (cut.end_masked) return s.ceil_div(s.min(dim, s.number(-*b)), stride);
      begin = s.max(s.add(dim, *cut.begin), 0);
    } else if (b || s.is_nonnegative(*cut.begin)) {
      begin = *cut.begin;  // one past the end gives an empty result below, as clamping would
    } else {
      return std::nullopt;
    }
  }
  if (!cut.end_masked) {
    if (!cut.end) return std::nullopt;
    const auto e = s.constant(*cut.end);
    if (e && *e < 0) {
      end = s.add(dim, *cut.end);
    } else if (e || s.is_nonnegative(*cut.end)) {
      end = s.min(dim, *cut.end);
    } else {
      return std::nullopt;
    }
  }
  return s.ceil_div(s.max(s.sub(end, begin), 0), stride);
}

Result<CutResult> cut_axis(InferContext& c, int axis, Dim dim, const AxisCut& cut) {
  SymbolTable& s = c.symbols();
  if (cut.stride == 0) return infer_error(c, "has a stride of 0 for axis ", axis, ", expected another number");
  const auto begin = cut.begin ? s.constant(*cut.begin) : std::nullopt;
  const auto end = cut.end ? s.constant(*cut.end) : std::nullopt;
  if (cut.shrink) {
    if (cut.stride && *cut.stride < 0) {
      return infer_error(c, "picks one element of axis ", axis, " with stride ", *cut.stride, ", expected stride 1");
    }
    if (!begin || !dim.is_known()) return CutResult{Dim(1), std::nullopt};
    const int64_t at = *begin < 0 ? *begin + dim.value() : *begin;
    if (at < 0 || at >= dim.value()) {
      return infer_error(c, "picks element ", *begin, " of axis ", axis, ", expected one of its ", dim.value());
    }
    return CutResult{Dim(1), at};
  }
  const bool begin_known = cut.begin_masked || begin, end_known = cut.end_masked || end;
  if (!cut.stride) return CutResult{c.fresh_dim("slice"), std::nullopt};
  if (dim.is_known() && begin_known && end_known) {
    return cut_known(dim.value(), cut, begin.value_or(0), end.value_or(0), *cut.stride);
  }
  if (*cut.stride > 0) {
    if (const auto size = cut_symbolic(s, dim, cut, *cut.stride)) return CutResult{*size, std::nullopt};
  } else if (cut.begin_masked && cut.end_masked && *cut.stride > -(int64_t{1} << 62)) {
    return CutResult{s.ceil_div(dim, -*cut.stride), std::nullopt};
  }
  return CutResult{c.fresh_dim("slice"), std::nullopt};
}

// Where a dim of the result comes from.
constexpr int kNewAxis = -1;

struct DenseSpec {
  std::vector<AxisCut> cuts;    // one an input axis
  std::vector<int> final_axes;  // input axis or kNewAxis, without those that shrink
};

bool bit(int64_t mask, int64_t i) { return i < 63 && (mask >> i & 1) != 0; }

// Spreads the specification (with ellipsis and new axes) over the input's axes, as TensorFlow's BuildDenseSpec.
Result<DenseSpec> densify(InferContext& c, int64_t entries, int rank) {
  const auto& a = c.node().get<StridedSliceAttrs>();
  const std::vector<Dim>* content[3];
  for (int i = 0; i < 3; ++i) {
    content[i] = c.input_content(i + 1);
    if (content[i] != nullptr && static_cast<int64_t>(content[i]->size()) != entries) content[i] = nullptr;
  }
  const auto at = [&](int which, int64_t i) {
    return content[which] ? std::optional((*content[which])[i]) : std::optional<Dim>();
  };
  int64_t ellipsis = entries, new_axes_after = 0;
  for (int64_t i = 0; i < entries; ++i) {
    if (bit(a.ellipsis_mask, i)) {
      if (ellipsis != entries) return infer_error(c, "has two ellipses, expected at most one");
      ellipsis = i;
    } else if (ellipsis != entries && bit(a.new_axis_mask, i)) {
      ++new_axes_after;
    }
  }
  DenseSpec out;
  const AxisCut whole{true, true, false, Dim(0), Dim(0), 1};
  const auto cover = [&](int64_t until) {
    while (static_cast<int64_t>(out.cuts.size()) < until) {
      out.final_axes.push_back(static_cast<int>(out.cuts.size()));
      out.cuts.push_back(whole);
    }
  };
  for (int64_t i = 0; i < entries; ++i) {
    if (i == ellipsis) {
      cover(std::min<int64_t>(rank - (entries - i) + 1 + new_axes_after, rank));
    } else if (bit(a.new_axis_mask, i)) {
      out.final_axes.push_back(kNewAxis);
    } else {
      const int axis = static_cast<int>(out.cuts.size());
      if (axis >= rank) {
        return infer_error(c, "slices ", axis + 1, " axes of an input of shape ", show(c, c.input_shape(0)),
                           ", expected at most ", rank);
      }
      AxisCut cut{bit(a.begin_mask, i), bit(a.end_mask, i), bit(a.shrink_axis_mask, i), at(0, i), at(1, i),
                  std::nullopt};
      if (const auto stride = at(2, i)) cut.stride = c.symbols().constant(*stride);
      if (!cut.shrink) out.final_axes.push_back(axis);
      out.cuts.push_back(cut);
    }
  }
  cover(rank);
  return out;
}

Status check_slice_vectors(InferContext& c, int count, const char* const* names) {
  for (int i = 1; i <= count; ++i) {
    BLADE_RETURN_IF_ERROR(check_rank(c, i, 1, names[i - 1]));
    BLADE_RETURN_IF_ERROR(check_index_dtype(c, i, names[i - 1]));
  }
  return Status();
}

// The length that vectors 1 to `count` share, where known.
Result<std::optional<int64_t>> vector_length(InferContext& c, int count) {
  Shape length;
  for (int i = 1; i <= count; ++i) {
    BLADE_ASSIGN_OR_RETURN(length, merge_shapes(c, length, c.input_shape(i), "the vectors that say where to cut"));
  }
  if (!length.has_rank() || !length.dim(0).is_known()) return std::optional<int64_t>();
  return std::optional(length.dim(0).value());
}

void slice_content(InferContext& c, const Dims& begin, const Dims& step, const Dims& sizes) {
  const auto* content = c.input_content(0);
  const auto dims = c.input_shape(0).static_dims();
  if (content == nullptr || !dims || count_dims(sizes, 0, sizes.size()) > 1024) return;
  c.set_output_content(0, pick_content(*content, *dims, begin, step, sizes));
}

// One axis of Slice: the size of the result, and where it begins (-1: unknown).
Status slice_axis(InferContext& c, int axis, Dim dim, Dim& size, int64_t& begin) {
  SymbolTable& s = c.symbols();
  const auto *begins = c.input_content(1), *sizes = c.input_content(2);
  const Dim unknown = s.number(-2);
  const Dim b = begins ? (*begins)[axis] : unknown, n = sizes ? (*sizes)[axis] : unknown;
  const bool b_known = begins && s.constant(b), n_known = sizes && s.constant(n);
  const int64_t from = b_known ? s.constant(b).value_or(0) : 0, take = n_known ? s.constant(n).value_or(0) : 0;
  begin = b_known ? from : -1;
  if (from < 0 || take < -1) {
    return infer_error(c, "takes ", take, " elements from ", from, " of axis ", axis,
                       ", expected a begin of 0 or more and a size of -1 or more");
  }
  if (b_known && dim.is_known() && (from > dim.value() || take > dim.value() - from)) {
    return infer_error(c, "takes ", take, " elements from ", from, " of axis ", axis, " of shape ",
                       show(c, c.input_shape(0)), ", expected them inside");
  }
  if (n_known && take == -1) {
    size = begins ? s.sub(dim, b) : c.fresh_dim("slice");
  } else if (n_known || (sizes && (!s.has_element(n) || s.is_nonnegative(n)))) {
    size = n;
  } else {
    size = c.fresh_dim("slice");
  }
  return Status();
}

}  // namespace

Status infer_strided_slice(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 4, 4));
  static constexpr const char* kNames[] = {"a begin", "an end", "strides"};
  BLADE_RETURN_IF_ERROR(check_slice_vectors(c, 3, kNames));
  BLADE_ASSIGN_OR_RETURN(const auto entries, vector_length(c, 3));
  const Shape x = c.input_shape(0);
  if (!entries || !x.has_rank()) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  if (*entries > 62) return infer_error(c, "has ", *entries, " begins, expected at most 62");
  BLADE_ASSIGN_OR_RETURN(const DenseSpec spec, densify(c, *entries, x.rank()));
  std::vector<Dim> sizes;
  Dims begin, step, known;
  bool all_known = true;
  for (int axis = 0; axis < x.rank(); ++axis) {
    BLADE_ASSIGN_OR_RETURN(const CutResult cut, cut_axis(c, axis, x.dim(axis), spec.cuts[axis]));
    sizes.push_back(cut.size);
    all_known &= cut.begin.has_value() && cut.size.is_known();
    begin.push_back(cut.begin.value_or(0));
    step.push_back(spec.cuts[axis].stride.value_or(1));
    known.push_back(cut.size.is_known() ? cut.size.value() : 0);
  }
  std::vector<Dim> out;
  for (int axis : spec.final_axes) out.push_back(axis == kNewAxis ? Dim(1) : sizes[axis]);
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  if (all_known) slice_content(c, begin, step, known);
  return Status();
}

Status infer_slice(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3));
  static constexpr const char* kNames[] = {"a begin", "a size"};
  BLADE_RETURN_IF_ERROR(check_slice_vectors(c, 2, kNames));
  BLADE_ASSIGN_OR_RETURN(const auto entries, vector_length(c, 2));
  const Shape x = c.input_shape(0);
  const int rank = x.has_rank() ? x.rank() : entries && *entries <= 254 ? static_cast<int>(*entries) : -1;
  if (x.has_rank() && entries && *entries != rank) {
    return infer_error(c, "has ", *entries, " begins for an input of shape ", show(c, x), ", expected ", rank);
  }
  if (rank < 0) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  std::vector<Dim> out;
  Dims begin(rank, 0), known(rank, 0);
  bool all_known = true;
  for (int i = 0; i < rank; ++i) {
    Dim size;
    const Dim dim = x.has_rank() ? x.dim(i) : c.fresh_dim("in");
    BLADE_RETURN_IF_ERROR(slice_axis(c, i, dim, size, begin[i]));
    out.push_back(size);
    all_known &= begin[i] >= 0 && size.is_known() && dim.is_known();
    known[i] = size.is_known() ? size.value() : 0;
  }
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  if (all_known) slice_content(c, begin, Dims(rank, 1), known);
  return Status();
}

}  // namespace blade::ir
