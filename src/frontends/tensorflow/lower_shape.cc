// Shapes as tensors, dims added and taken away, and ops that map to one IR op without attributes.
#include <algorithm>

#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {

// The IR op has the TensorFlow op's operands, and defaults for all attributes.
Status lower_direct(LowerContext& context, int argument) {
  auto op = static_cast<ir::Op>(argument);
  return context.finish(context.emit(op, "", context.inputs(), ir::op_info(op).default_attrs()));
}

Status lower_identity(LowerContext& context, int argument) {
  ir::IdentityAttrs attrs{static_cast<ir::IdentityKind>(argument)};
  return context.finish(context.emit(ir::Op::kIdentity, "", {context.input(0)}, attrs));
}

Status lower_ensure_shape(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(TensorShapeProto shape, shape_attr(context.node(), "shape"));
  if (shape.unknown_rank) {
    return context.finish(context.emit(ir::Op::kIdentity, "", {context.input(0)}, ir::IdentityAttrs{}));
  }
  const ir::EnsureShapeAttrs attrs{std::move(shape.dims)};
  return context.finish(context.emit(ir::Op::kEnsureShape, "", {context.input(0)}, attrs));
}

Status lower_identity_n(LowerContext& context, int) {
  std::vector<ir::ValueId> outputs;
  for (int i = 0; i < context.num_inputs(); ++i) {
    std::string suffix = i == 0 ? "" : std::to_string(i);
    BLADE_ASSIGN_OR_RETURN(ir::ValueId out,
                           context.emit(ir::Op::kIdentity, suffix, {context.input(i)}, ir::IdentityAttrs{}));
    outputs.push_back(out);
  }
  return context.finish(std::move(outputs));
}

Status lower_shape_of(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(DataType type, type_attr_or(context.node(), "out_type", DataType::kInt32));
  ir::ShapeOfAttrs attrs{static_cast<ir::ShapeOfKind>(argument), to_ir(type)};
  return context.finish(context.emit(ir::Op::kShapeOf, "", {context.input(0)}, attrs));
}

Status lower_shape_n(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(DataType type, type_attr_or(context.node(), "out_type", DataType::kInt32));
  std::vector<ir::ValueId> outputs;
  for (int i = 0; i < context.num_inputs(); ++i) {
    std::string suffix = i == 0 ? "" : std::to_string(i);
    ir::ShapeOfAttrs attrs{ir::ShapeOfKind::kShape, to_ir(type)};
    BLADE_ASSIGN_OR_RETURN(ir::ValueId out, context.emit(ir::Op::kShapeOf, suffix, {context.input(i)}, attrs));
    outputs.push_back(out);
  }
  return context.finish(std::move(outputs));
}

Status lower_expand_dims(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(int64_t axis, context.one_int(1, "dimension"));
  if (axis < 0) {
    BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(0), "its operand"));
    BLADE_ASSIGN_OR_RETURN(axis, context.axis(axis, rank + 1));
  }
  return context.finish(context.emit(ir::Op::kExpandDims, "", {context.input(0)}, ir::AxisAttrs{axis}));
}

Status lower_squeeze(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(auto axes, ints_attr_or(context.node(), "squeeze_dims", {}));
  for (int64_t& axis : axes) {
    if (axis >= 0) continue;
    BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(0), "its operand"));
    BLADE_ASSIGN_OR_RETURN(axis, context.axis(axis, rank));
  }
  std::sort(axes.begin(), axes.end());
  axes.erase(std::unique(axes.begin(), axes.end()), axes.end());
  return context.finish(context.emit(ir::Op::kSqueeze, "", {context.input(0)}, ir::AxesAttrs{std::move(axes)}));
}

}  // namespace blade::tensorflow
