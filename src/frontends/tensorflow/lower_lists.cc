// TensorArrays and tensor lists as dense values: element k of a list is row k of one tensor. A list whose elements have
// no known shape yet has rows without elements, until the first element is written.
#include <algorithm>
#include <functional>

#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

Result<ir::ValueId> as_vector(LowerContext& context, const char* suffix, ir::ValueId scalar) {
  return context.emit(ir::Op::kExpandDims, suffix, {scalar}, ir::AxisAttrs{0});
}

// A list of `length` (scalar int32) zeros; dims of the elements that are not known are 0.
Result<ir::ValueId> zeros(LowerContext& context, const std::string& suffix, ir::DType dtype, ir::ValueId length,
                          const std::vector<int64_t>& element) {
  std::vector<int64_t> dims = element;
  for (int64_t& d : dims) d = std::max<int64_t>(d, 0);
  BLADE_ASSIGN_OR_RETURN(ir::ValueId shape, as_vector(context, "length", length));
  if (!dims.empty()) {
    const ir::ValueId rest = context.add_ints(ir::DType::kInt32, dims);
    BLADE_ASSIGN_OR_RETURN(shape, context.emit(ir::Op::kConcat, "shape", {shape, rest}, ir::AxisAttrs{0}));
  }
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId zero, context.add_scalar(dtype, 0));
  return context.emit(ir::Op::kFill, suffix, {shape, zero}, ir::EmptyAttrs{});
}

Result<ir::DType> element_type(LowerContext& context, const char* attr) {
  BLADE_ASSIGN_OR_RETURN(const DataType type, type_attr(context.node(), attr));
  const ir::DType dtype = to_ir(type);
  if (dtype == ir::DType::kOpaque) return unimplemented("its elements are of type " + data_type_name(type));
  return dtype;
}

// What the operand says of the elements; of an unknown rank: one unknown dim.
std::vector<int64_t> element_dims(LowerContext& context, int input) {
  const ir::TensorPtr tensor = context.constant(context.input(input));
  if (tensor == nullptr || tensor->dims.size() != 1) {
    if (tensor == nullptr && context.shape(context.input(input)).has_rank() &&
        context.shape(context.input(input)).rank() == 1) {
      if (const auto count = context.shape(context.input(input)).element_count()) {
        return std::vector<int64_t>(static_cast<size_t>(*count), -1);
      }
    }
    return {-1};
  }
  return ir::integer_values(*tensor).value_or(std::vector<int64_t>{-1});
}

Result<ir::ValueId> length_of(LowerContext& context, ir::ValueId list) {
  BLADE_ASSIGN_OR_RETURN(
      const ir::ValueId shape,
      context.emit(ir::Op::kShapeOf, "shape", {list}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, ir::DType::kInt32}));
  const ir::ValueId zero = context.add_ints(ir::DType::kInt32, {0}, /*scalar=*/true);
  return context.emit(ir::Op::kGather, "", {shape, zero}, ir::GatherAttrs{0, 0});
}

// All dims of `value` but the first, as a vector.
ir::ValueId dims_after_first(Emitter& e, ir::ValueId value, const char* suffix) {
  return e.emit(ir::Op::kSlice, suffix, {e.shape_of(value, ir::DType::kInt32), e.ints({1}), e.ints({-1})});
}

// The list with zeros behind it, so that it has rows of all numbers in `index` (a scalar or a vector).
Result<ir::ValueId> grown(LowerContext& context, ir::ValueId list, ir::ValueId index) {
  BLADE_ASSIGN_OR_RETURN(const int rank, context.rank(index, "its index"));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId length, length_of(context, list));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId zero, context.add_scalar(context.dtype(list), 0));
  Emitter e(context);
  index = e.cast(index, ir::DType::kInt32);
  if (rank > 0) {
    const ir::ValueId none = e.ints({-1}, ir::DType::kInt32);  // what an empty vector asks for
    ir::ReduceAttrs most;
    most.kind = ir::ReduceKind::kMax;
    most.axes = {0};
    index =
        e.emit(ir::Op::kReduce, "last", {e.emit(ir::Op::kConcat, "indices", {index, none}, ir::AxisAttrs{0})}, most);
  }
  const ir::ValueId wanted = e.pointwise(ir::PointwiseOp::kAdd, "wanted", {index, e.integer(1, ir::DType::kInt32)});
  const ir::ValueId missing =
      e.pointwise(ir::PointwiseOp::kMaximum, "missing",
                  {e.pointwise(ir::PointwiseOp::kSub, "more", {wanted, length}), e.integer(0, ir::DType::kInt32)});
  const ir::ValueId dims = dims_after_first(e, list, "element");
  const ir::ValueId first = e.emit(ir::Op::kExpandDims, "first", {missing}, ir::AxisAttrs{0});
  const ir::ValueId rows = e.fill("rows", e.emit(ir::Op::kConcat, "dims", {first, dims}, ir::AxisAttrs{0}), zero);
  const ir::ValueId joined = e.emit(ir::Op::kConcat, "grown", {list, rows}, ir::AxisAttrs{0});
  BLADE_RETURN_IF_ERROR(e.status());
  return joined;
}

Status finish_list(LowerContext& context, Result<ir::ValueId> list) {
  BLADE_RETURN_IF_ERROR(list.status());
  context.mark_list(*list);
  return context.finish(std::move(list));
}

}  // namespace

Result<ir::ValueId> list_of_elements(LowerContext& context, ir::ValueId list, const std::vector<int64_t>& dims) {
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId shape,
                         context.emit(ir::Op::kShapeOf, "list/shape", {list},
                                      ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, ir::DType::kInt32}));
  const ir::ValueId zero = context.add_ints(ir::DType::kInt32, {0}, /*scalar=*/true);
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId length,
                         context.emit(ir::Op::kGather, "list/size", {shape, zero}, ir::GatherAttrs{0, 0}));
  return zeros(context, "list", context.dtype(list), length, dims);
}

// handle, flow: the flow carries the list, the handle whether it grows.
Status lower_tensor_array(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const ir::DType dtype, element_type(context, "dtype"));
  BLADE_ASSIGN_OR_RETURN(const bool grows, bool_attr_or(context.node(), "dynamic_size", false));
  std::vector<int64_t> element = {-1};
  if (const AttrValue* attr = context.node()->find_attr("element_shape");
      attr != nullptr && attr->as_shape() != nullptr && !attr->as_shape()->unknown_rank) {
    element = attr->as_shape()->dims;
  }
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId list, zeros(context, "", dtype, context.input(0), element));
  const ir::ValueId handle = context.add_ints(ir::DType::kInt32, {grows ? 1 : 0}, /*scalar=*/true);
  context.mark_list(list);
  context.mark_list(handle);
  return context.finish({handle, list});
}

Status lower_list_reserve(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const ir::DType dtype, element_type(context, "element_dtype"));
  return finish_list(context, zeros(context, "", dtype, context.input(1), element_dims(context, 0)));
}

Status lower_empty_list(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const ir::DType dtype, element_type(context, "element_dtype"));
  const ir::ValueId none = context.add_ints(ir::DType::kInt32, {0}, /*scalar=*/true);
  return finish_list(context, zeros(context, "", dtype, none, element_dims(context, 0)));
}

// `argument`: the input that is the list. Its rows are the tensor, or the other way round.
Status lower_list_as_tensor(LowerContext& context, int argument) {
  return context.finish(
      context.emit(ir::Op::kIdentity, "", {context.input(argument)}, ir::IdentityAttrs{ir::IdentityKind::kPlain}));
}
Status lower_tensor_as_list(LowerContext& context, int argument) {
  return finish_list(context, context.emit(ir::Op::kIdentity, "", {context.input(argument)},
                                           ir::IdentityAttrs{ir::IdentityKind::kPlain}));
}

// `argument`: the inputs that are the list and the index (or indices), as 10 * list + index.
Status lower_list_get(LowerContext& context, int argument) {
  return context.finish(context.emit(ir::Op::kGather, "", {context.input(argument / 10), context.input(argument % 10)},
                                     ir::GatherAttrs{0, 0}));
}

// `argument`: the inputs that are list, index and element, as 100 * list + 10 * index + element.
Status lower_list_set(LowerContext& context, int argument) {
  ir::ValueId list = context.input(argument / 100);
  const ir::ValueId index = context.input(argument / 10 % 10);
  BLADE_ASSIGN_OR_RETURN(bool grows, bool_attr_or(context.node(), "resize_if_index_out_of_bounds", false));
  if (context.node()->op == "TensorListScatterIntoExistingList") grows = true;
  if (argument / 100 > 0) {
    const ir::TensorPtr handle = context.constant(context.input(0));
    grows = handle == nullptr || ir::integer_values(*handle).value_or(std::vector<int64_t>{1}).front() != 0;
  }
  if (grows) {
    BLADE_ASSIGN_OR_RETURN(list, grown(context, list, index));
  }
  return finish_list(context,
                     context.emit(ir::Op::kSetRows, "", {list, index, context.input(argument % 10)}, ir::EmptyAttrs{}));
}

// tensor, indices, element shape, number of elements (-1: as many as the indices ask for).
Status lower_list_scatter(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const ir::DType dtype, element_type(context, "element_dtype"));
  const bool counted = context.num_inputs() == 4;
  const ir::TensorPtr given = counted ? context.constant(context.input(3)) : nullptr;
  if (counted && given == nullptr) return unimplemented("the number of its elements is not a constant");
  const int64_t count = counted ? ir::integer_values(*given).value_or(std::vector<int64_t>{-1}).front() : -1;
  const ir::ValueId length = context.add_ints(ir::DType::kInt32, {std::max<int64_t>(count, 0)}, /*scalar=*/true);
  BLADE_ASSIGN_OR_RETURN(ir::ValueId list, zeros(context, "list", dtype, length, element_dims(context, 2)));
  if (count < 0) {
    BLADE_ASSIGN_OR_RETURN(list, grown(context, list, context.input(1)));
  }
  return finish_list(context,
                     context.emit(ir::Op::kSetRows, "", {list, context.input(1), context.input(0)}, ir::EmptyAttrs{}));
}

// [n * k, ...] -> n rows [k, ...]; `argument`: the inputs that are the tensor and its lengths, as 10 * tensor +
// lengths.
Status lower_list_split(LowerContext& context, int argument) {
  const ir::ValueId tensor = context.input(argument / 10);
  BLADE_ASSIGN_OR_RETURN(const std::vector<int64_t> lengths, context.ints(argument % 10, "lengths"));
  if (lengths.empty() || std::adjacent_find(lengths.begin(), lengths.end(), std::not_equal_to<>()) != lengths.end()) {
    return unimplemented("its parts are not all as long");
  }
  Emitter e(context);
  const ir::ValueId rest = dims_after_first(e, tensor, "rest");
  const ir::ValueId parts = e.ints({static_cast<int64_t>(lengths.size()), lengths.front()}, ir::DType::kInt32);
  const ir::ValueId dims = e.emit(ir::Op::kConcat, "dims", {parts, rest}, ir::AxisAttrs{0});
  const ir::ValueId rows = e.emit(ir::Op::kReshape, "", {tensor, dims});
  BLADE_RETURN_IF_ERROR(e.status());
  return finish_list(context, rows);
}

// `argument`: the input that is the list.
Status lower_list_length(LowerContext& context, int argument) {
  return context.finish(length_of(context, context.input(argument)));
}

Status lower_list_push(LowerContext& context, int) {
  return finish_list(context,
                     context.emit(ir::Op::kAppendRow, "", {context.input(0), context.input(1)}, ir::EmptyAttrs{}));
}

// All but the last element, and the last.
Status lower_list_pop(LowerContext& context, int) {
  const auto at = [&](int64_t i) { return context.add_ints(ir::DType::kInt32, {i}); };
  BLADE_ASSIGN_OR_RETURN(
      const ir::ValueId rest,
      context.emit(ir::Op::kStridedSlice, "rest", {context.input(0), at(0), at(-1), at(1)}, ir::StridedSliceAttrs{}));
  ir::StridedSliceAttrs one;
  one.shrink_axis_mask = 1;
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId last,
                         context.emit(ir::Op::kStridedSlice, "", {context.input(0), at(-1), at(0), at(1)}, one));
  context.mark_list(rest);
  return context.finish({rest, last});
}

// [n, k, ...] -> [n * k, ...], and n times k: all elements of a dense list are as long. `argument`: the list.
Status lower_array_concat(LowerContext& context, int argument) {
  const ir::ValueId list = context.input(argument);
  BLADE_ASSIGN_OR_RETURN(const int rank, context.rank(list, "its list"));
  if (rank < 2) return unimplemented("the elements of its list have no dims to join");
  BLADE_ASSIGN_OR_RETURN(
      const ir::ValueId shape,
      context.emit(ir::Op::kShapeOf, "shape", {list}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, ir::DType::kInt32}));
  const auto at = [&](int64_t i) { return context.add_ints(ir::DType::kInt32, {i}); };
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId rest,
                         context.emit(ir::Op::kSlice, "rest", {shape, at(2), at(-1)}, ir::EmptyAttrs{}));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId target,
                         context.emit(ir::Op::kConcat, "target", {at(-1), rest}, ir::AxisAttrs{0}));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId joined,
                         context.emit(ir::Op::kReshape, "", {list, target}, ir::EmptyAttrs{}));
  if (!context.output_used(1)) return context.finish(std::vector<ir::ValueId>{joined});
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId count,
                         context.emit(ir::Op::kSlice, "count", {shape, at(0), at(1)}, ir::EmptyAttrs{}));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId each,
                         context.emit(ir::Op::kGather, "each", {shape, context.add_ints(ir::DType::kInt32, {1}, true)},
                                      ir::GatherAttrs{0, 0}));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId wide,
                         context.emit(ir::Op::kCast, "wide", {each}, ir::CastAttrs{ir::DType::kInt64}));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId lengths,
                         context.emit(ir::Op::kFill, "lengths", {count, wide}, ir::EmptyAttrs{}));
  return context.finish({joined, lengths});
}

Status lower_array_close(LowerContext& context, int) { return context.finish(std::vector<ir::ValueId>{}); }

}  // namespace blade::tensorflow
