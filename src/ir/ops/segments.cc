// Ops that group slices by segment ids, or look values up in sorted rows.
#include "ir/ops/infer_support.h"

namespace blade::ir {

Status infer_segment_reduce(InferContext& c) {
  const auto& a = c.node().get<SegmentReduceAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 1, "segment ids"));
  if (a.kind == ReduceKind::kAll || a.kind == ReduceKind::kAny) {
    return infer_error(c, "reduces segments with a logical op, expected sum, mean, prod, max or min");
  }
  BLADE_ASSIGN_OR_RETURN(const Dim segments, size_from_input(c, 2, "a number of segments"));
  const Shape &data = c.input_shape(0), &ids = c.input_shape(1);
  Shape out;
  if (data.has_rank() && ids.has_rank()) {
    if (ids.rank() > data.rank()) {
      return infer_error(c, "has segment ids of shape ", show(c, ids), " for data of shape ", show(c, data),
                         ", expected the data's leading dims");
    }
    std::vector<Dim> dims{segments};
    for (int i = 0; i < data.rank(); ++i) {
      if (i >= ids.rank()) {
        dims.push_back(data.dim(i));
      } else {
        BLADE_RETURN_IF_ERROR(merge_dims(c, ids.dim(i), data.dim(i), "a dim of data and segment ids").status());
      }
    }
    out = Shape(std::move(dims));
  }
  c.set_output(0, c.input_dtype(0), std::move(out));
  return Status();
}

Status infer_search_sorted(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 1, "sorted values"));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 1, 1, "values"));
  const Shape &sorted = c.input_shape(0), &values = c.input_shape(1);
  Shape out = values;
  if (sorted.has_rank() && values.has_rank()) {
    if (sorted.rank() != values.rank()) {
      return infer_error(c, "looks values of shape ", show(c, values), " up in ", show(c, sorted),
                         ", expected the same rank");
    }
    for (int i = 0; i + 1 < sorted.rank(); ++i) {
      BLADE_ASSIGN_OR_RETURN(const Dim d, merge_dims(c, sorted.dim(i), values.dim(i), "a leading dim"));
      out.set_dim(i, d);
    }
  }
  c.set_output(0, c.node().get<SearchSortedAttrs>().index_dtype, std::move(out));
  return Status();
}

namespace {

// The elements of a new shape in which one may be -1, as far as they follow from contents.
std::optional<std::vector<Dim>> resolved_elements(InferContext& c, const std::vector<Dim>* dims,
                                                  const std::vector<Dim>* wanted) {
  if (wanted == nullptr) return std::nullopt;
  SymbolTable& s = c.symbols();
  std::vector<Dim> out = *wanted, others;
  size_t open = out.size();
  for (size_t i = 0; i < out.size(); ++i) {
    const auto number = s.constant(out[i]);
    if (!number && !s.is_nonnegative(out[i])) return std::nullopt;
    if (number == -1) {
      open = i;
    } else {
      others.push_back(out[i]);
    }
  }
  if (open == out.size()) return out;
  out[open] = dims == nullptr ? c.fresh_element("rest") : s.floor_div(product(s, *dims), product(s, others));
  return out;
}

}  // namespace

Status infer_sparse_reshape(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3, 2));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 2, "coordinates"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 1, "a shape"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 2, 1, "a new shape"));
  for (int i = 0; i < 3; ++i) {
    if (c.input_dtype(i) != DType::kInt64 && c.input_dtype(i) != DType::kInvalid) {
      return infer_error(c, "has coordinates or a shape of type ", dtype_name(c.input_dtype(i)), ", expected int64");
    }
  }
  BLADE_RETURN_IF_ERROR(
      merge_dims(c, input_dim(c, 0, 1, "rank"), input_dim(c, 1, 0, "rank"), "the number of dims").status());
  const Dim count = input_dim(c, 0, 0, "n"), rank = input_dim(c, 2, 0, "new_rank");
  c.set_output(0, DType::kInt64, Shape({count, rank}));
  c.set_output(1, DType::kInt64, Shape({rank}));
  if (auto elements = resolved_elements(c, c.input_content(1), c.input_content(2))) {
    c.set_output_content(1, std::move(*elements));
  }
  return Status();
}

}  // namespace blade::ir
