// Matrix products.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {

Status lower_matmul(LowerContext& context, int) {
  ir::MatMulAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.transpose_a, bool_attr_or(context.node(), "transpose_a", false));
  BLADE_ASSIGN_OR_RETURN(attrs.transpose_b, bool_attr_or(context.node(), "transpose_b", false));
  return context.finish(context.emit(ir::Op::kMatMul, "", {context.input(0), context.input(1)}, std::move(attrs)));
}

Status lower_fused_matmul(LowerContext& context, int) {
  ir::MatMulAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.transpose_a, bool_attr_or(context.node(), "transpose_a", false));
  BLADE_ASSIGN_OR_RETURN(attrs.transpose_b, bool_attr_or(context.node(), "transpose_b", false));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId product, context.emit(ir::Op::kMatMul, "matmul",
                                                           {context.input(0), context.input(1)}, std::move(attrs)));
  return context.finish(apply_fused_ops(context, ChannelsLast{}, product, 2));
}

Status lower_batch_matmul(LowerContext& context, int) {
  ir::ValueId x = context.input(0), y = context.input(1);
  if (context.node()->op == "BatchMatMulV3") {
    BLADE_ASSIGN_OR_RETURN(DataType result, type_attr(context.node(), "Tout"));
    Emitter e(context);
    x = e.cast(x, to_ir(result));
    y = e.cast(y, to_ir(result));
    BLADE_RETURN_IF_ERROR(e.status());
  }
  ir::MatMulAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.transpose_a, bool_attr_or(context.node(), "adj_x", false));
  BLADE_ASSIGN_OR_RETURN(attrs.transpose_b, bool_attr_or(context.node(), "adj_y", false));
  return context.finish(context.emit(ir::Op::kMatMul, "", {x, y}, std::move(attrs)));
}

}  // namespace blade::tensorflow
