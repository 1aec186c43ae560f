// Scatters, reductions by segment, counts and searches in sorted rows.
#include <algorithm>

#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

using ir::PointwiseOp;

// The largest id and one more, 0 where there are none.
ir::ValueId count_segments(LowerContext& context, Emitter& e, ir::ValueId ids) {
  const ir::DType type = context.dtype(ids);
  const ir::ValueId flat = e.reshape("flat", ids, {-1});
  const ir::ValueId some = e.emit(ir::Op::kConcat, "some", {flat, e.ints({-1}, type)}, ir::AxisAttrs{0});
  ir::ReduceAttrs max;
  max.kind = ir::ReduceKind::kMax;
  max.axes = {0};
  return e.pointwise(PointwiseOp::kAdd, "segments", {e.emit(ir::Op::kReduce, "last", {some}, max), e.integer(1, type)});
}

Status needs_index_type(LowerContext& context, ir::ValueId ids) {
  const ir::DType type = context.dtype(ids);
  if (type == ir::DType::kInt32 || type == ir::DType::kInt64) return Status();
  return unimplemented(std::string("its segment ids are ") + ir::dtype_name(type));
}

ir::SegmentReduceAttrs sorted_attrs(ir::ReduceKind kind) {
  ir::SegmentReduceAttrs attrs;
  attrs.kind = kind;
  attrs.sorted = true;
  attrs.empty_is_zero = true;
  return attrs;
}

}  // namespace

// x with the rows i, counted round and round, replaced by v: what TensorFlow writes into x itself.
Status lower_inplace_update(LowerContext& context, int) {
  Emitter e(context);
  const ir::ValueId x = context.input(0), rows = e.dim(x, 0, context.dtype(context.input(1)));
  const ir::ValueId row = e.pointwise(ir::PointwiseOp::kFloorMod, "row", {context.input(1), rows});
  return e.finish(e.emit(ir::Op::kTensorScatter, "", {x, e.reshape("rows", row, {-1, 1}), context.input(2)},
                         ir::TensorScatterAttrs{ir::ScatterKind::kUpdate, false}));
}

Status lower_tensor_scatter(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(std::string policy, string_attr_or(context.node(), "bad_indices_policy", ""));
  if (policy == "IGNORE") return unimplemented("it ignores indices outside the tensor");
  ir::TensorScatterAttrs attrs;
  attrs.kind = static_cast<ir::ScatterKind>(argument);
  return context.finish(context.emit(ir::Op::kTensorScatter, "", context.inputs(), attrs));
}

// Indices are a scalar, a vector or a matrix of coordinates; one value may serve all of them.
Status lower_sparse_to_dense(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(bool ordered, bool_attr_or(context.node(), "validate_indices", true));
  BLADE_ASSIGN_OR_RETURN(int index_rank, context.rank(context.input(0), "its indices"));
  BLADE_ASSIGN_OR_RETURN(int value_rank, context.rank(context.input(2), "its values"));
  if (index_rank > 2)
    return invalid_argument("has indices of " + std::to_string(index_rank) + " dims, expected 0 to 2");
  if (value_rank > 1) return invalid_argument("has values of " + std::to_string(value_rank) + " dims, expected 0 or 1");
  Emitter e(context);
  ir::ValueId indices = context.input(0), values = context.input(2);
  if (index_rank < 2) indices = e.reshape("indices", indices, {-1, 1});
  if (value_rank == 0) {
    const ir::ValueId count = e.reshape("count", e.dim(indices, 0), {1});
    values = e.emit(ir::Op::kBroadcastTo, "values", {values, count});
  }
  ir::TensorScatterAttrs attrs;
  attrs.sorted_unique = ordered;
  const ir::ValueId base = e.fill("base", context.input(1), context.input(3));
  return e.finish(e.emit(ir::Op::kTensorScatter, "", {base, indices, values}, attrs));
}

Status lower_sparse_reshape(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(auto outputs,
                         context.emit_many(ir::Op::kSparseReshape, "", context.inputs(), 2, ir::EmptyAttrs{}));
  return context.finish(std::move(outputs));
}

Status lower_sparse_fill_empty_rows(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(auto outputs,
                         context.emit_many(ir::Op::kFillEmptyRows, "", context.inputs(), 4, ir::EmptyAttrs{}));
  return context.finish(std::move(outputs));
}

// Row r of the product adds up value * row c of b for all entries (r, c).
Status lower_sparse_matmul(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(bool adjoint_a, bool_attr_or(context.node(), "adjoint_a", false));
  BLADE_ASSIGN_OR_RETURN(bool adjoint_b, bool_attr_or(context.node(), "adjoint_b", false));
  Emitter e(context);
  const ir::ValueId indices = context.input(0), values = context.input(1), shape = context.input(2);
  ir::ValueId b = context.input(3);
  if (adjoint_b) b = e.emit(ir::Op::kTranspose, "b", {b}, ir::PermAttrs{{1, 0}});
  const auto column = [&](int64_t i) {
    return e.emit(ir::Op::kGather, i == 0 ? "rows" : "columns", {indices, e.integer(i)}, ir::GatherAttrs{1, 0});
  };
  const ir::ValueId rows = column(adjoint_a ? 1 : 0), columns = column(adjoint_a ? 0 : 1);
  const ir::ValueId taken = e.emit(ir::Op::kGather, "taken", {b, columns}, ir::GatherAttrs{});
  const ir::ValueId weights = e.reshape("weights", values, {-1, 1});
  const ir::ValueId updates = e.pointwise(PointwiseOp::kMul, "updates", {taken, weights});
  const ir::ValueId height = e.emit(ir::Op::kGather, "height", {shape, e.ints({adjoint_a ? 1 : 0})}, ir::GatherAttrs{});
  const ir::ValueId width = e.reshape("width", e.dim(b, 1), {1});
  const ir::ValueId size = e.emit(ir::Op::kConcat, "size", {height, width}, ir::AxisAttrs{0});
  const ir::ValueId at = e.emit(ir::Op::kExpandDims, "at", {rows}, ir::AxisAttrs{1});
  return e.finish(e.emit(ir::Op::kScatterNd, "", {at, updates, e.cast(size, context.dtype(indices))}));
}

Status lower_segment_reduce(LowerContext& context, int argument) {
  BLADE_RETURN_IF_ERROR(needs_index_type(context, context.input(1)));
  Emitter e(context);
  const ir::ValueId segments = count_segments(context, e, context.input(1));
  return e.finish(e.emit(ir::Op::kSegmentReduce, "", {context.input(0), context.input(1), segments},
                         sorted_attrs(static_cast<ir::ReduceKind>(argument))));
}

Status lower_unsorted_segment(LowerContext& context, int argument) {
  ir::SegmentReduceAttrs attrs;
  attrs.kind = static_cast<ir::ReduceKind>(argument);
  return context.finish(context.emit(ir::Op::kSegmentReduce, "", context.inputs(), attrs));
}

// `argument`: 0 sum, 1 mean, 2 sum over the square root of the count.
Status lower_sparse_segment(LowerContext& context, int argument) {
  BLADE_RETURN_IF_ERROR(needs_index_type(context, context.input(2)));
  Emitter e(context);
  const ir::ValueId taken = e.emit(ir::Op::kGather, "taken", {context.input(0), context.input(1)}, ir::GatherAttrs{});
  const ir::ValueId ids = context.input(2);
  const ir::ValueId segments = context.num_inputs() == 4 ? context.input(3) : count_segments(context, e, ids);
  ir::SegmentReduceAttrs attrs = sorted_attrs(argument == 1 ? ir::ReduceKind::kMean : ir::ReduceKind::kSum);
  attrs.sqrt_n = argument == 2;
  return e.finish(e.emit(ir::Op::kSegmentReduce, "", {taken, ids, segments}, attrs));
}

// SparseReduceSum and ...Max (`argument`: an ir::ReduceKind): entries that agree in the axes that stay are a segment.
// Where there is no entry the result is 0.
Status lower_sparse_reduce(LowerContext& context, int argument) {
  const ir::Shape& shape = context.shape(context.input(2));
  if (!shape.has_rank() || shape.rank() != 1 || !shape.dim(0).is_known()) {
    return unimplemented("the rank of its tensor is not known");
  }
  const int64_t rank = shape.dim(0).value();
  BLADE_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, context.ints(3, "axes"));
  BLADE_ASSIGN_OR_RETURN(const bool keep_dims, bool_attr_or(context.node(), "keep_dims", false));
  std::vector<char> reduced(static_cast<size_t>(rank), 0);
  for (int64_t axis : axes) {
    if (axis < -rank || axis >= rank) return invalid_argument("has the axis " + std::to_string(axis));
    reduced[static_cast<size_t>(axis < 0 ? axis + rank : axis)] = 1;
  }
  Emitter e(context);
  const ir::ValueId one = e.integer(1);
  ir::ValueId ids = ir::kNone, segments = one;
  std::vector<ir::ValueId> dims;
  for (int64_t k = 0; k < rank; ++k) {
    if (reduced[static_cast<size_t>(k)]) {
      if (keep_dims) dims.push_back(one);
      continue;
    }
    const ir::ValueId dim = e.emit(ir::Op::kGather, "dim", {context.input(2), e.integer(k)}, ir::GatherAttrs{});
    const ir::ValueId place = e.emit(ir::Op::kGather, "place", {context.input(0), e.integer(k)}, ir::GatherAttrs{1, 0});
    ids = ids == ir::kNone
              ? place
              : e.pointwise(PointwiseOp::kAdd, "id", {e.pointwise(PointwiseOp::kMul, "row", {ids, dim}), place});
    segments = e.pointwise(PointwiseOp::kMul, "segments", {segments, dim});
    dims.push_back(dim);
  }
  if (ids == ir::kNone) {
    const ir::ValueId first = e.emit(ir::Op::kGather, "first", {context.input(0), e.integer(0)}, ir::GatherAttrs{1, 0});
    ids = e.pointwise(PointwiseOp::kMul, "id", {first, e.integer(0)});
  }
  ir::SegmentReduceAttrs attrs;
  attrs.kind = static_cast<ir::ReduceKind>(argument);
  attrs.empty_is_zero = true;
  const ir::ValueId out = e.emit(ir::Op::kSegmentReduce, "flat", {context.input(1), ids, segments}, attrs);
  if (dims.empty()) return e.finish(e.emit(ir::Op::kReshape, "", {out, e.ints({})}));
  return e.finish(e.emit(ir::Op::kReshape, "", {out, e.emit(ir::Op::kPack, "dims", dims, ir::AxisAttrs{0})}));
}

// Numbers of `size` or more are not counted, negative ones are an error. `argument` 1: DenseBincount, also of rows.
Status lower_bincount(LowerContext& context, int argument) {
  const ir::ValueId numbers = context.input(0), size = context.input(1), weights = context.input(2);
  const ir::DType type = context.dtype(numbers), result = context.dtype(weights);
  BLADE_ASSIGN_OR_RETURN(bool binary, bool_attr_or(context.node(), "binary_output", false));
  BLADE_ASSIGN_OR_RETURN(int rank, context.rank(numbers, "its numbers"));
  // No weights, a vector of length 0, stand for 1 each.
  const ir::Shape& weighed = context.shape(weights);
  if (!weighed.is_static() && (rank < 2 || rank != weighed.rank()))
    return unimplemented("the shape of its weights is not known");
  const bool weightless = weighed.element_count() == 0;
  if (argument == 1 && rank > 2) return invalid_argument("counts a tensor of more than 2 dims");
  const bool rows = argument == 1 && rank == 2;
  Emitter e(context);
  const ir::ValueId zero = e.integer(0, type), none = e.integer(-1, type);
  const ir::ValueId inside = e.pointwise(PointwiseOp::kLess, "inside", {numbers, size});
  ir::ValueId ids = numbers, segments = size;
  if (rows) {
    const ir::ValueId height = e.dim(numbers, 0, type);
    const ir::ValueId row = e.emit(ir::Op::kRange, "row", {zero, height, e.integer(1, type)});
    const ir::ValueId first = e.pointwise(PointwiseOp::kMul, "first", {row, size});
    ids =
        e.pointwise(PointwiseOp::kAdd, "ids", {ids, e.emit(ir::Op::kExpandDims, "column", {first}, ir::AxisAttrs{1})});
    segments = e.pointwise(PointwiseOp::kMul, "segments", {height, size});
  }
  ids = e.pointwise(PointwiseOp::kSelect, "counted", {inside, ids, none});
  // A number below 0 gets an id that no segment has.
  const ir::ValueId negative = e.pointwise(PointwiseOp::kLess, "negative", {numbers, zero});
  ids = e.pointwise(PointwiseOp::kSelect, "checked", {negative, segments, ids});
  ir::ValueId values = weights;
  if (binary || weightless) values = e.fill("ones", e.shape_of(numbers), e.scalar(result, 1));
  ir::SegmentReduceAttrs attrs;
  attrs.kind = binary ? ir::ReduceKind::kMax : ir::ReduceKind::kSum;
  attrs.empty_is_zero = true;
  ir::ValueId out = e.emit(ir::Op::kSegmentReduce, rows ? "counts" : "", {values, ids, segments}, attrs);
  if (rows) {
    const ir::ValueId dims = e.emit(ir::Op::kPack, "dims", {e.dim(numbers, 0, type), size}, ir::AxisAttrs{0});
    out = e.emit(ir::Op::kReshape, "", {out, dims});
  }
  return e.finish(out);
}

Status lower_search_sorted(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(DataType type, type_attr_or(context.node(), "out_type", DataType::kInt32));
  const ir::SearchSortedAttrs attrs{argument == 1, to_ir(type)};
  return context.finish(context.emit(ir::Op::kSearchSorted, "", {context.input(0), context.input(1)}, attrs));
}

Status lower_bucketize(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(AttrList list, list_attr(context.node(), "boundaries"));
  if (!std::is_sorted(list.floats.begin(), list.floats.end())) return invalid_argument("has boundaries out of order");
  Emitter e(context);
  // Boundaries are float32: integers are compared as that, doubles as they are.
  const bool wide = context.dtype(context.input(0)) == ir::DType::kFloat64;
  const ir::DType type = wide ? ir::DType::kFloat64 : ir::DType::kFloat32;
  const auto count = static_cast<int64_t>(list.floats.size());
  const ir::ValueId boundaries =
      context.add_constant(ir::make_tensor<float>(ir::DType::kFloat32, {count}, std::span<const float>(list.floats)));
  const ir::ValueId flat = e.reshape("flat", e.cast(context.input(0), type), {-1});
  const ir::ValueId found = e.emit(ir::Op::kSearchSorted, "found", {e.cast(boundaries, type), flat},
                                   ir::SearchSortedAttrs{true, ir::DType::kInt32});
  return e.finish(e.emit(ir::Op::kReshape, "", {found, e.shape_of(context.input(0))}));
}

// A target is in the top k if fewer than k predictions of its row are greater; never where one is not finite.
Status lower_in_top_k(LowerContext& context, int) {
  const ir::ValueId predictions = context.input(0), targets = context.input(1);
  const ir::DType type = context.dtype(targets);
  Emitter e(context);
  ir::ValueId k = ir::kNone;
  if (context.num_inputs() == 3) {
    k = e.cast(context.input(2), ir::DType::kInt64);
  } else {
    BLADE_ASSIGN_OR_RETURN(int64_t count, int_attr(context.node(), "k"));
    k = e.integer(count);
  }
  const ir::ValueId classes = e.dim(predictions, 1, type), zero = e.integer(0, type);
  const ir::ValueId known = e.pointwise(PointwiseOp::kLogicalAnd, "known",
                                        {e.pointwise(PointwiseOp::kGreaterEqual, "from_zero", {targets, zero}),
                                         e.pointwise(PointwiseOp::kLess, "below_end", {targets, classes})});
  const ir::ValueId safe = e.pointwise(PointwiseOp::kSelect, "safe", {known, targets, zero});
  const ir::ValueId column = e.emit(ir::Op::kExpandDims, "column", {safe}, ir::AxisAttrs{1});
  const ir::ValueId own = e.emit(ir::Op::kGather, "own", {predictions, column}, ir::GatherAttrs{1, 1});
  const ir::ValueId greater = e.pointwise(PointwiseOp::kGreater, "greater", {predictions, own});
  ir::ReduceAttrs sum, all;
  sum.axes = all.axes = {1};
  all.kind = ir::ReduceKind::kAll;
  const ir::ValueId better = e.emit(ir::Op::kReduce, "better", {e.cast(greater, ir::DType::kInt64)}, sum);
  const ir::ValueId finite =
      e.emit(ir::Op::kReduce, "finite", {e.pointwise(PointwiseOp::kIsFinite, "is_finite", {predictions})}, all);
  const ir::ValueId inside = e.pointwise(PointwiseOp::kLess, "inside", {better, k});
  return e.finish(e.pointwise(PointwiseOp::kLogicalAnd, "",
                              {inside, e.pointwise(PointwiseOp::kLogicalAnd, "sure", {known, finite})}));
}

// In the order of the elements' places in the dense tensor: the first of those from the end backwards.
Status lower_sparse_reorder(LowerContext& context, int) {
  const ir::Shape& shape = context.shape(context.input(2));
  if (!shape.has_rank() || shape.rank() != 1 || !shape.dim(0).is_known()) {
    return unimplemented("the rank of its tensor is not known");
  }
  Emitter e(context);
  ir::ValueId place = ir::kNone;
  for (int64_t k = 0; k < shape.dim(0).value(); ++k) {
    const ir::ValueId dim = e.emit(ir::Op::kGather, "dim", {context.input(2), e.integer(k)}, ir::GatherAttrs{});
    const ir::ValueId along = e.emit(ir::Op::kGather, "along", {context.input(0), e.integer(k)}, ir::GatherAttrs{1, 0});
    place = place == ir::kNone
                ? along
                : e.pointwise(PointwiseOp::kAdd, "place", {e.pointwise(PointwiseOp::kMul, "row", {place, dim}), along});
  }
  if (place == ir::kNone) return unimplemented("its tensor is a scalar");
  const ir::ValueId count = e.dim(context.input(1), 0, ir::DType::kInt32);
  const ir::ValueId backwards = e.pointwise(PointwiseOp::kNeg, "backwards", {place});
  BLADE_RETURN_IF_ERROR(e.status());
  BLADE_ASSIGN_OR_RETURN(const auto order,
                         context.emit_many(ir::Op::kTopK, "order", {backwards, count}, 2, ir::TopKAttrs{}));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId indices,
                         context.emit(ir::Op::kGather, "", {context.input(0), order[1]}, ir::GatherAttrs{}));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId values,
                         context.emit(ir::Op::kGather, "values", {context.input(1), order[1]}, ir::GatherAttrs{}));
  return context.finish({indices, values});
}

}  // namespace blade::tensorflow
