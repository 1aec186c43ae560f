// Adds chains of IR nodes for one TensorFlow node, with one check at the end.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {

ir::ValueId Emitter::take(Result<ir::ValueId> made) {
  if (made.ok()) return *made;
  status_ = made.status();
  return ir::kNone;
}

ir::ValueId Emitter::emit(ir::Op op, const char* suffix, std::vector<ir::ValueId> inputs, ir::Attrs attrs) {
  if (!status_.ok()) return ir::kNone;
  return take(context_.emit(op, suffix, std::move(inputs), std::move(attrs)));
}

ir::ValueId Emitter::pointwise(ir::PointwiseOp op, const char* suffix, std::vector<ir::ValueId> operands) {
  if (!status_.ok()) return ir::kNone;
  return take(emit_pointwise(context_, op, suffix, std::move(operands)));
}

ir::ValueId Emitter::scalar(ir::DType dtype, double value) {
  if (!status_.ok()) return ir::kNone;
  return take(context_.add_scalar(dtype, value));
}

ir::ValueId Emitter::ints(const std::vector<int64_t>& values, ir::DType dtype) {
  return context_.add_ints(dtype, values);
}
ir::ValueId Emitter::integer(int64_t value, ir::DType dtype) { return context_.add_ints(dtype, {value}, true); }

ir::ValueId Emitter::cast(ir::ValueId value, ir::DType dtype) {
  if (!status_.ok() || context_.dtype(value) == dtype) return value;
  return emit(ir::Op::kCast, "cast", {value}, ir::CastAttrs{dtype});
}

ir::ValueId Emitter::reshape(const char* suffix, ir::ValueId value, const std::vector<int64_t>& dims) {
  return emit(ir::Op::kReshape, suffix, {value, ints(dims)});
}

ir::ValueId Emitter::shape_of(ir::ValueId value, ir::DType dtype) {
  return emit(ir::Op::kShapeOf, "shape", {value}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, dtype});
}

ir::ValueId Emitter::dim(ir::ValueId value, int axis, ir::DType dtype) {
  if (!status_.ok()) return ir::kNone;
  const ir::Shape& shape = context_.shape(value);
  if (shape.has_rank() && shape.dim(axis).is_known()) return integer(shape.dim(axis).value(), dtype);
  return emit(ir::Op::kGather, "dim", {shape_of(value, dtype), integer(axis)}, ir::GatherAttrs{});
}

ir::ValueId Emitter::fill(const char* suffix, ir::ValueId dims, ir::ValueId value) {
  return emit(ir::Op::kFill, suffix, {dims, value});
}

Status Emitter::finish(ir::ValueId value) {
  BLADE_RETURN_IF_ERROR(status_);
  return context_.finish(std::vector<ir::ValueId>{value});
}

}  // namespace blade::tensorflow
