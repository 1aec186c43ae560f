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

}  // namespace blade::ir
