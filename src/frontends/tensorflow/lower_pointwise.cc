// Elementwise TensorFlow ops, as Pointwise programs of one instruction.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {

Result<ir::ValueId> emit_pointwise(LowerContext& context, ir::PointwiseOp op, const char* suffix,
                                   std::vector<ir::ValueId> operands, float alpha, float beta) {
  ir::PointwiseProgram program;
  switch (operands.size()) {
    case 1:
      program = ir::PointwiseProgram::unary(op, alpha, beta);
      break;
    case 2:
      program = ir::PointwiseProgram::binary(op);
      break;
    default:
      program = ir::PointwiseProgram::ternary(op);
      break;
  }
  return context.emit(ir::Op::kPointwise, suffix, std::move(operands), ir::PointwiseAttrs{std::move(program)});
}

Status lower_unary(LowerContext& context, int argument) {
  auto op = static_cast<ir::PointwiseOp>(argument);
  if (op == ir::PointwiseOp::kRint && ir::is_integer(context.dtype(context.input(0))))
    return lower_identity(context, 0);
  return context.finish(emit_pointwise(context, op, "", {context.input(0)}));
}

Status lower_leaky_relu(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(float alpha, float_attr_or(context.node(), "alpha", 0.2f));
  return context.finish(emit_pointwise(context, ir::PointwiseOp::kLeakyRelu, "", {context.input(0)}, alpha));
}

Status lower_binary(LowerContext& context, int argument) {
  return context.finish(
      emit_pointwise(context, static_cast<ir::PointwiseOp>(argument), "", {context.input(0), context.input(1)}));
}

Status lower_div(LowerContext& context, int) {
  bool real = ir::is_floating(context.dtype(context.input(0)));
  if (!real && context.node()->op == "RealDiv")
    return unimplemented("Blade divides real numbers only as floating point");
  auto op = real ? ir::PointwiseOp::kDiv : ir::PointwiseOp::kTruncDiv;
  return context.finish(emit_pointwise(context, op, "", {context.input(0), context.input(1)}));
}

Status lower_select_v2(LowerContext& context, int) {
  return context.finish(emit_pointwise(context, ir::PointwiseOp::kSelect, "", context.inputs()));
}

// The older Select does not broadcast, but a vector condition chooses whole rows.
Status lower_select(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(int condition_rank, context.rank(context.input(0), "its condition"));
  if (condition_rank != 1) return lower_select_v2(context, 0);
  BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(1), "its operand"));
  if (rank <= 1) return lower_select_v2(context, 0);
  std::vector<int64_t> column(rank, 1);
  column[0] = -1;
  ir::ValueId shape = context.add_ints(ir::DType::kInt32, column);
  BLADE_ASSIGN_OR_RETURN(ir::ValueId condition,
                         context.emit(ir::Op::kReshape, "condition", {context.input(0), shape}, ir::EmptyAttrs{}));
  return context.finish(
      emit_pointwise(context, ir::PointwiseOp::kSelect, "", {condition, context.input(1), context.input(2)}));
}

Status lower_add_n(LowerContext& context, int) {
  int count = context.num_inputs();
  if (count == 0) return invalid_argument("adds up no tensors");
  if (count == 1) return lower_identity(context, 0);
  ir::ValueId sum = context.input(0);
  for (int i = 1; i < count; ++i) {
    std::string suffix = i + 1 == count ? "" : "sum_" + std::to_string(i);
    BLADE_ASSIGN_OR_RETURN(sum,
                           emit_pointwise(context, ir::PointwiseOp::kAdd, suffix.c_str(), {sum, context.input(i)}));
  }
  return context.finish(std::vector<ir::ValueId>{sum});
}

Status lower_clip_by_value(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(ir::ValueId below, emit_pointwise(context, ir::PointwiseOp::kMinimum, "at_most",
                                                           {context.input(0), context.input(2)}));
  return context.finish(emit_pointwise(context, ir::PointwiseOp::kMaximum, "", {below, context.input(1)}));
}

Status lower_approximate_equal(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(float tolerance, float_attr_or(context.node(), "tolerance", 1e-5f));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId difference, emit_pointwise(context, ir::PointwiseOp::kSub, "difference",
                                                                {context.input(0), context.input(1)}));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId size, emit_pointwise(context, ir::PointwiseOp::kAbs, "size", {difference}));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId limit, context.add_scalar(context.dtype(context.input(0)), tolerance));
  return context.finish(emit_pointwise(context, ir::PointwiseOp::kLess, "", {size, limit}));
}

Status lower_cast(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(bool truncate, bool_attr_or(context.node(), "Truncate", false));
  if (truncate) return unimplemented("it cuts bits off instead of rounding (Truncate)");
  BLADE_ASSIGN_OR_RETURN(DataType type, type_attr(context.node(), "DstT"));
  return context.finish(context.emit(ir::Op::kCast, "", {context.input(0)}, ir::CastAttrs{to_ir(type)}));
}

Status lower_bitcast(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(DataType type, type_attr(context.node(), "type"));
  if (to_ir(type) == ir::DType::kOpaque) return unimplemented("its result is of type " + data_type_name(type));
  if (to_ir(type) == context.dtype(context.input(0))) return lower_identity(context, 0);
  return context.finish(context.emit(ir::Op::kBitcast, "", {context.input(0)}, ir::BitcastAttrs{to_ir(type)}));
}

// ZerosLike and OnesLike.
Status lower_like(LowerContext& context, int argument) {
  ir::ValueId x = context.input(0);
  BLADE_ASSIGN_OR_RETURN(ir::ValueId value, context.add_scalar(context.dtype(x), argument));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId shape, context.emit(ir::Op::kShapeOf, "shape", {x}, ir::ShapeOfAttrs{}));
  return context.finish(context.emit(ir::Op::kFill, "", {shape, value}, ir::EmptyAttrs{}));
}

Status lower_bias_add(LowerContext& context, int) {
  ir::ValueId value = context.input(0), bias = context.input(1);
  BLADE_ASSIGN_OR_RETURN(std::string format, string_attr_or(context.node(), "data_format", "NHWC"));
  if (context.node()->op == "BiasAdd" && format.starts_with("NC")) {
    BLADE_ASSIGN_OR_RETURN(int rank, context.rank(value, "its operand"));
    if (rank < 2) return invalid_argument("needs a tensor of 2 or more dims, found " + std::to_string(rank));
    std::vector<int64_t> column(rank - 1, 1);
    column[0] = -1;
    ir::ValueId shape = context.add_ints(ir::DType::kInt32, column);
    BLADE_ASSIGN_OR_RETURN(bias, context.emit(ir::Op::kReshape, "bias", {bias, shape}, ir::EmptyAttrs{}));
  }
  return context.finish(emit_pointwise(context, ir::PointwiseOp::kAdd, "", {value, bias}));
}

}  // namespace blade::tensorflow
