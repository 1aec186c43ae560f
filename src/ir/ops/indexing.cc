// Ops that look elements up by index, or make indices: Gather, GatherNd, the scatters, OneHot, Where,
// NonMaxSuppression.
#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

void gather_content(InferContext& c, int64_t axis) {
  const auto* params = c.input_content(0);
  const auto indices = constant_elements(c, 1);
  const auto dims = c.input_shape(0).static_dims();
  if (params == nullptr || !indices || !dims || params->empty() || indices->empty()) return;
  const auto a = static_cast<size_t>(axis);
  const int64_t outer = count_dims(*dims, 0, a), inner = count_dims(*dims, a + 1, dims->size());
  if (outer * inner * static_cast<int64_t>(indices->size()) > 1024) return;
  std::vector<Dim> out;
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t index : *indices) {
      for (int64_t i = 0; i < inner; ++i) out.push_back((*params)[(o * (*dims)[a] + index) * inner + i]);
    }
  }
  c.set_output_content(0, std::move(out));
}

Status check_indices_inside(InferContext& c, Dim extent) {
  const auto indices = constant_elements(c, 1);
  if (!indices || !extent.is_known()) return Status();
  for (int64_t index : *indices) {
    if (index < 0 || index >= extent.value()) {
      return infer_error(c, "looks up index ", index, " on an axis of ", extent.value(), ", expected one inside");
    }
  }
  return Status();
}

}  // namespace

Status infer_gather(InferContext& c) {
  const auto& a = c.node().get<GatherAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 1, "indices"));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 1, "params"));
  const Shape params = c.input_shape(0), indices = c.input_shape(1);
  BLADE_RETURN_IF_ERROR(check_axis(c, a.axis, rank_or_unknown(params)));
  if (a.batch_dims < 0 || a.batch_dims > a.axis || (indices.has_rank() && a.batch_dims > indices.rank())) {
    return infer_error(c, "has ", a.batch_dims, " batch dims with axis ", a.axis, " and indices of shape ",
                       show(c, indices), ", expected no more than either");
  }
  if (!params.has_rank() || !indices.has_rank()) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  const auto axis = static_cast<int>(a.axis), batch = static_cast<int>(a.batch_dims);
  std::vector<Dim> out;
  for (int i = 0; i < axis; ++i) {
    Dim d = params.dim(i);
    if (i < batch) {
      BLADE_ASSIGN_OR_RETURN(d, merge_dims(c, d, indices.dim(i), "a batch dim"));
    }
    out.push_back(d);
  }
  for (int i = batch; i < indices.rank(); ++i) out.push_back(indices.dim(i));
  for (int i = axis + 1; i < params.rank(); ++i) out.push_back(params.dim(i));
  BLADE_RETURN_IF_ERROR(check_indices_inside(c, params.dim(axis)));
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  if (batch == 0) gather_content(c, a.axis);
  return Status();
}

Status infer_gather_nd(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 1, "indices"));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 1, 1, "indices"));
  const Shape params = c.input_shape(0), indices = c.input_shape(1);
  if (!params.has_rank() || !indices.has_rank() || !indices.dim(-1).is_known()) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  const int64_t depth = indices.dim(-1).value();
  if (depth > params.rank()) {
    return infer_error(c, "has indices of ", depth, " coordinates into shape ", show(c, params), ", expected at most ",
                       params.rank());
  }
  std::vector<Dim> out(indices.dims().begin(), indices.dims().end() - 1);
  out.insert(out.end(), params.dims().begin() + depth, params.dims().end());
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  return Status();
}

Status infer_scatter_nd(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 0, "indices"));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 1, "indices"));
  BLADE_ASSIGN_OR_RETURN(Shape out, shape_from_input(c, 2, "an output shape"));
  const Shape &indices = c.input_shape(0), &updates = c.input_shape(1);
  if (out.has_rank() && indices.has_rank() && updates.has_rank() && indices.dim(-1).is_known()) {
    const int64_t depth = indices.dim(-1).value();
    if (depth > out.rank()) {
      return infer_error(c, "has indices of ", depth, " coordinates into shape ", show(c, out), ", expected at most ",
                         out.rank());
    }
    std::vector<Dim> expected(indices.dims().begin(), indices.dims().end() - 1);
    expected.insert(expected.end(), out.dims().begin() + depth, out.dims().end());
    BLADE_RETURN_IF_ERROR(
        merge_shapes(c, updates, Shape(std::move(expected)), "updates and what the indices ask for").status());
  }
  c.set_output(0, c.input_dtype(1), std::move(out));
  return Status();
}

Status infer_tensor_scatter(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 1, "indices"));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 1, 1, "indices"));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 2));
  const Shape &base = c.input_shape(0), &indices = c.input_shape(1), &updates = c.input_shape(2);
  if (base.has_rank() && indices.has_rank() && indices.dim(-1).is_known()) {
    const int64_t depth = indices.dim(-1).value();
    if (depth > base.rank()) {
      return infer_error(c, "has indices of ", depth, " coordinates into shape ", show(c, base), ", expected at most ",
                         base.rank());
    }
    std::vector<Dim> expected(indices.dims().begin(), indices.dims().end() - 1);
    expected.insert(expected.end(), base.dims().begin() + depth, base.dims().end());
    if (updates.has_rank()) {
      BLADE_RETURN_IF_ERROR(
          merge_shapes(c, updates, Shape(std::move(expected)), "updates and what the indices ask for").status());
    }
  }
  c.set_output(0, c.input_dtype(0), base);
  return Status();
}

Status infer_one_hot(InferContext& c) {
  const int64_t axis = c.node().get<AxisAttrs>().axis;
  BLADE_RETURN_IF_ERROR(check_arity(c, 4, 4));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 0, "indices"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 2, 0, "an on value"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 3, 0, "an off value"));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 2, 3));
  const Shape indices = c.input_shape(0);
  BLADE_RETURN_IF_ERROR(check_axis(c, axis, indices.has_rank() ? indices.rank() + 1 : -1));
  BLADE_ASSIGN_OR_RETURN(const Dim depth, size_from_input(c, 1, "a depth"));
  Shape out;
  if (indices.has_rank()) {
    std::vector<Dim> dims = indices.dims();
    dims.insert(dims.begin() + axis, depth);
    out = Shape(std::move(dims));
  }
  c.set_output(0, c.input_dtype(2), std::move(out));
  return Status();
}

Status infer_where(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  const Shape& x = c.input_shape(0);
  const Dim rank = x.has_rank() ? Dim(x.rank()) : c.fresh_dim("rank");
  c.set_output(0, DType::kInt64, Shape({c.fresh_dim("found"), rank}));
  return Status();
}

Status infer_non_max_suppression(InferContext& c) {
  const auto& a = c.node().get<NonMaxSuppressionAttrs>();
  if (a.version < 2 || a.version > 5) return infer_error(c, "has version ", a.version, ", expected 2 to 5");
  const int inputs = a.version == 2 ? 4 : a.version == 5 ? 6 : 5;
  const int outputs = a.version == 5 ? 3 : a.version == 4 ? 2 : 1;
  BLADE_RETURN_IF_ERROR(check_arity(c, inputs, inputs, outputs));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 2, "boxes"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 1, "scores"));
  for (int i = 2; i < inputs; ++i) BLADE_RETURN_IF_ERROR(check_rank(c, i, 0, "a limit or threshold"));
  const Shape &boxes = c.input_shape(0), &scores = c.input_shape(1);
  if (boxes.has_rank()) {
    BLADE_RETURN_IF_ERROR(merge_dims(c, boxes.dim(1), 4, "the number of coordinates of a box").status());
    if (scores.has_rank()) {
      BLADE_RETURN_IF_ERROR(merge_dims(c, boxes.dim(0), scores.dim(0), "the number of boxes and scores").status());
    }
  }
  Dim kept;
  if (a.version >= 4 && a.pad_to_max_output_size) {
    BLADE_ASSIGN_OR_RETURN(kept, size_from_input(c, 2, "a limit"));
  } else {
    kept = c.fresh_dim("kept");
  }
  c.set_output(0, DType::kInt32, Shape({kept}));
  if (a.version == 5) c.set_output(1, c.input_dtype(1), Shape({kept}));
  if (a.version >= 4) c.set_output(outputs - 1, DType::kInt32, Shape::scalar());
  return Status();
}

}  // namespace blade::ir
