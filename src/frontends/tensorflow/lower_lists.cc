// TensorArrays and tensor lists as dense values: element k of a list is row k of one tensor. A list whose elements have
// no known shape yet has rows without elements, until the first element is written.
#include <algorithm>

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

// handle, flow: the flow carries the list, the handle nothing.
Status lower_tensor_array(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const ir::DType dtype, element_type(context, "dtype"));
  BLADE_ASSIGN_OR_RETURN(const bool grows, bool_attr_or(context.node(), "dynamic_size", false));
  if (grows) return unimplemented("its size is dynamic");
  std::vector<int64_t> element = {-1};
  if (const AttrValue* attr = context.node()->find_attr("element_shape");
      attr != nullptr && attr->as_shape() != nullptr && !attr->as_shape()->unknown_rank) {
    element = attr->as_shape()->dims;
  }
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId list, zeros(context, "", dtype, context.input(0), element));
  const ir::ValueId handle = context.add_ints(ir::DType::kInt32, {0}, /*scalar=*/true);
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
  BLADE_ASSIGN_OR_RETURN(const bool grows, bool_attr_or(context.node(), "resize_if_index_out_of_bounds", false));
  if (grows) return unimplemented("its list grows with the index");
  return finish_list(context, context.emit(ir::Op::kSetRows, "",
                                           {context.input(argument / 100), context.input(argument / 10 % 10),
                                            context.input(argument % 10)},
                                           ir::EmptyAttrs{}));
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

// [n, k, ...] -> [n * k, ...], and n times k: all elements of a dense list are as long.
Status lower_array_concat(LowerContext& context, int) {
  const ir::ValueId list = context.input(1);
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
