// Reductions over axes, prefix sums, softmax and the largest elements.
#include <algorithm>
#include <numeric>

#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

// The axes in input 1 counted from the front, sorted.
Result<std::vector<int64_t>> read_axes(LowerContext& context) {
  BLADE_ASSIGN_OR_RETURN(auto axes, context.ints(1, "axes"));
  bool needs_rank = std::any_of(axes.begin(), axes.end(), [](int64_t a) { return a < 0; });
  if (needs_rank || context.shape(context.input(0)).has_rank()) {
    BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(0), "its operand"));
    for (int64_t& axis : axes) {
      BLADE_ASSIGN_OR_RETURN(axis, context.axis(axis, rank));
    }
  }
  std::sort(axes.begin(), axes.end());
  if (std::adjacent_find(axes.begin(), axes.end()) != axes.end())
    return unimplemented("one of its axes is there twice");
  return axes;
}

Result<ir::ValueId> emit_reduce(LowerContext& context, ir::ReduceKind kind, const char* suffix, ir::ValueId x) {
  ir::ReduceAttrs attrs;
  attrs.kind = kind;
  BLADE_ASSIGN_OR_RETURN(attrs.axes, read_axes(context));
  BLADE_ASSIGN_OR_RETURN(attrs.keep_dims, bool_attr_or(context.node(), "keep_dims", false));
  if (attrs.axes.empty()) return context.emit(ir::Op::kIdentity, suffix, {x}, ir::IdentityAttrs{});
  return context.emit(ir::Op::kReduce, suffix, {x}, std::move(attrs));
}

}  // namespace

Status lower_reduce(LowerContext& context, int argument) {
  return context.finish(emit_reduce(context, static_cast<ir::ReduceKind>(argument), "", context.input(0)));
}

Status lower_euclidean_norm(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(ir::ValueId squares,
                         emit_pointwise(context, ir::PointwiseOp::kSquare, "squares", {context.input(0)}));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId sum, emit_reduce(context, ir::ReduceKind::kSum, "sum", squares));
  return context.finish(emit_pointwise(context, ir::PointwiseOp::kSqrt, "", {sum}));
}

Status lower_l2_loss(LowerContext& context, int) {
  ir::ValueId x = context.input(0);
  BLADE_ASSIGN_OR_RETURN(int rank, context.rank(x, "its operand"));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId value, emit_pointwise(context, ir::PointwiseOp::kSquare, "squares", {x}));
  if (rank > 0) {
    ir::ReduceAttrs attrs;
    attrs.axes.resize(rank);
    std::iota(attrs.axes.begin(), attrs.axes.end(), 0);
    BLADE_ASSIGN_OR_RETURN(value, context.emit(ir::Op::kReduce, "sum", {value}, std::move(attrs)));
  }
  BLADE_ASSIGN_OR_RETURN(ir::ValueId half, context.add_scalar(context.dtype(x), 0.5));
  return context.finish(emit_pointwise(context, ir::PointwiseOp::kMul, "", {value, half}));
}

Status lower_arg_reduce(LowerContext& context, int argument) {
  ir::ArgReduceAttrs attrs;
  attrs.is_max = argument == 1;
  BLADE_ASSIGN_OR_RETURN(attrs.axis, context.one_int(1, "axis"));
  if (attrs.axis < 0) {
    BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(0), "its operand"));
    BLADE_ASSIGN_OR_RETURN(attrs.axis, context.axis(attrs.axis, rank));
  }
  BLADE_ASSIGN_OR_RETURN(DataType type, type_attr_or(context.node(), "output_type", DataType::kInt64));
  attrs.index_dtype = to_ir(type);
  return context.finish(context.emit(ir::Op::kArgReduce, "", {context.input(0)}, attrs));
}

Status lower_cumulative(LowerContext& context, int argument) {
  ir::CumulativeAttrs attrs;
  attrs.kind = static_cast<ir::CumulativeKind>(argument);
  BLADE_ASSIGN_OR_RETURN(attrs.axis, context.one_int(1, "axis"));
  if (attrs.axis < 0) {
    BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(0), "its operand"));
    BLADE_ASSIGN_OR_RETURN(attrs.axis, context.axis(attrs.axis, rank));
  }
  BLADE_ASSIGN_OR_RETURN(attrs.exclusive, bool_attr_or(context.node(), "exclusive", false));
  BLADE_ASSIGN_OR_RETURN(attrs.reverse, bool_attr_or(context.node(), "reverse", false));
  return context.finish(context.emit(ir::Op::kCumulative, "", {context.input(0)}, attrs));
}

Status lower_softmax(LowerContext& context, int argument) {
  return context.finish(context.emit(ir::Op::kSoftmax, "", {context.input(0)}, ir::SoftmaxAttrs{argument == 1}));
}

Status lower_top_k(LowerContext& context, int) {
  ir::TopKAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.sorted, bool_attr_or(context.node(), "sorted", true));
  BLADE_ASSIGN_OR_RETURN(DataType type, type_attr_or(context.node(), "index_type", DataType::kInt32));
  attrs.index_dtype = to_ir(type);
  ir::ValueId k = ir::kNone;
  if (context.num_inputs() == 2) {
    k = context.input(1);
  } else {
    BLADE_ASSIGN_OR_RETURN(int64_t count, int_attr(context.node(), "k"));
    k = context.add_ints(ir::DType::kInt32, {count}, true);
  }
  BLADE_ASSIGN_OR_RETURN(auto outputs, context.emit_many(ir::Op::kTopK, "", {context.input(0), k}, 2, attrs));
  return context.finish(std::move(outputs));
}

}  // namespace blade::tensorflow
