// Joining, cutting, permuting, padding and gathering.
#include <numeric>

#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

// `axis` counted from the front; the rank is only needed for a negative one.
Result<int64_t> front_axis(LowerContext& context, int64_t axis, ir::ValueId value, int extra_dims = 0) {
  if (axis >= 0) return axis;
  BLADE_ASSIGN_OR_RETURN(int rank, context.rank(value, "its operand"));
  return context.axis(axis, rank + extra_dims);
}

}  // namespace

Status lower_transpose(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(auto perm, context.ints(1, "permutation"));
  int rank = static_cast<int>(perm.size());
  for (int64_t& axis : perm) {
    BLADE_ASSIGN_OR_RETURN(axis, context.axis(axis, rank));
  }
  return context.finish(context.emit(ir::Op::kTranspose, "", {context.input(0)}, ir::PermAttrs{std::move(perm)}));
}

// `argument`: 1 where the axis comes first (Concat), 0 where it comes last (ConcatV2).
Status lower_concat(LowerContext& context, int argument) {
  if (context.num_inputs() < 2) return invalid_argument("joins no tensors");
  int axis_input = argument == 1 ? 0 : context.num_inputs() - 1;
  std::vector<ir::ValueId> parts;
  ir::ValueId ranked = ir::kNone;
  for (int i = 0; i < context.num_inputs(); ++i) {
    if (i == axis_input) continue;
    parts.push_back(context.input(i));
    if (ranked == ir::kNone || !context.shape(ranked).has_rank()) ranked = context.input(i);
  }
  BLADE_ASSIGN_OR_RETURN(int64_t axis, context.one_int(axis_input, "axis"));
  BLADE_ASSIGN_OR_RETURN(axis, front_axis(context, axis, ranked));
  return context.finish(context.emit(ir::Op::kConcat, "", std::move(parts), ir::AxisAttrs{axis}));
}

Status lower_split(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(int64_t axis, context.one_int(0, "axis"));
  BLADE_ASSIGN_OR_RETURN(axis, front_axis(context, axis, context.input(1)));
  BLADE_ASSIGN_OR_RETURN(int64_t parts, int_attr(context.node(), "num_split"));
  BLADE_ASSIGN_OR_RETURN(auto outputs, context.emit_many(ir::Op::kSplit, "", {context.input(1)},
                                                         static_cast<int>(parts), ir::SplitAttrs{axis, {}}));
  return context.finish(std::move(outputs));
}

Status lower_split_v(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(auto sizes, context.ints(1, "sizes"));
  BLADE_ASSIGN_OR_RETURN(int64_t axis, context.one_int(2, "axis"));
  BLADE_ASSIGN_OR_RETURN(axis, front_axis(context, axis, context.input(0)));
  BLADE_ASSIGN_OR_RETURN(int64_t parts, int_attr(context.node(), "num_split"));
  if (static_cast<int64_t>(sizes.size()) != parts) {
    return invalid_argument("has " + std::to_string(sizes.size()) + " sizes for " + std::to_string(parts) + " parts");
  }
  BLADE_ASSIGN_OR_RETURN(auto outputs,
                         context.emit_many(ir::Op::kSplit, "", {context.input(0)}, static_cast<int>(parts),
                                           ir::SplitAttrs{axis, std::move(sizes)}));
  return context.finish(std::move(outputs));
}

Status lower_strided_slice(LowerContext& context, int) {
  ir::StridedSliceAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.begin_mask, int_attr_or(context.node(), "begin_mask", 0));
  BLADE_ASSIGN_OR_RETURN(attrs.end_mask, int_attr_or(context.node(), "end_mask", 0));
  BLADE_ASSIGN_OR_RETURN(attrs.ellipsis_mask, int_attr_or(context.node(), "ellipsis_mask", 0));
  BLADE_ASSIGN_OR_RETURN(attrs.new_axis_mask, int_attr_or(context.node(), "new_axis_mask", 0));
  BLADE_ASSIGN_OR_RETURN(attrs.shrink_axis_mask, int_attr_or(context.node(), "shrink_axis_mask", 0));
  return context.finish(context.emit(ir::Op::kStridedSlice, "", context.inputs(), attrs));
}

Status lower_pack(LowerContext& context, int) {
  if (context.num_inputs() == 0) return invalid_argument("joins no tensors");
  BLADE_ASSIGN_OR_RETURN(int64_t axis, int_attr_or(context.node(), "axis", 0));
  ir::ValueId ranked = context.input(0);
  for (ir::ValueId part : context.inputs()) {
    if (context.shape(part).has_rank()) ranked = part;
  }
  BLADE_ASSIGN_OR_RETURN(axis, front_axis(context, axis, ranked, 1));
  return context.finish(context.emit(ir::Op::kPack, "", context.inputs(), ir::AxisAttrs{axis}));
}

Status lower_unpack(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(int64_t axis, int_attr_or(context.node(), "axis", 0));
  BLADE_ASSIGN_OR_RETURN(axis, front_axis(context, axis, context.input(0)));
  BLADE_ASSIGN_OR_RETURN(int64_t parts, int_attr(context.node(), "num"));
  BLADE_ASSIGN_OR_RETURN(auto outputs, context.emit_many(ir::Op::kUnpack, "", {context.input(0)},
                                                         static_cast<int>(parts), ir::UnpackAttrs{axis}));
  return context.finish(std::move(outputs));
}

Status lower_pad(LowerContext& context, int) {
  std::vector<ir::ValueId> inputs = context.inputs();
  if (inputs.size() == 2) {
    BLADE_ASSIGN_OR_RETURN(ir::ValueId zero, context.add_scalar(context.dtype(inputs[0]), 0));
    inputs.push_back(zero);
  }
  return context.finish(context.emit(ir::Op::kPad, "", std::move(inputs), ir::PadAttrs{ir::PadMode::kConstant}));
}

Status lower_mirror_pad(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(std::string mode, string_attr(context.node(), "mode"));
  if (mode != "REFLECT" && mode != "SYMMETRIC") {
    return invalid_argument("has the mode '" + mode + "', expected REFLECT or SYMMETRIC");
  }
  ir::PadAttrs attrs{mode == "REFLECT" ? ir::PadMode::kReflect : ir::PadMode::kSymmetric};
  return context.finish(context.emit(ir::Op::kPad, "", context.inputs(), attrs));
}

Status lower_gather(LowerContext& context, int) {
  ir::GatherAttrs attrs;
  if (context.num_inputs() == 3) {
    BLADE_ASSIGN_OR_RETURN(attrs.axis, context.one_int(2, "axis"));
    BLADE_ASSIGN_OR_RETURN(attrs.axis, front_axis(context, attrs.axis, context.input(0)));
  }
  BLADE_ASSIGN_OR_RETURN(attrs.batch_dims, int_attr_or(context.node(), "batch_dims", 0));
  BLADE_ASSIGN_OR_RETURN(attrs.batch_dims, front_axis(context, attrs.batch_dims, context.input(1)));
  return context.finish(context.emit(ir::Op::kGather, "", {context.input(0), context.input(1)}, attrs));
}

Status lower_one_hot(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(int64_t axis, int_attr_or(context.node(), "axis", -1));
  BLADE_ASSIGN_OR_RETURN(axis, front_axis(context, axis, context.input(0), 1));
  return context.finish(context.emit(ir::Op::kOneHot, "", context.inputs(), ir::AxisAttrs{axis}));
}

Status lower_reverse(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(auto axes, context.ints(1, "axes"));
  for (int64_t& axis : axes) {
    BLADE_ASSIGN_OR_RETURN(axis, front_axis(context, axis, context.input(0)));
  }
  return context.finish(context.emit(ir::Op::kReverse, "", {context.input(0)}, ir::AxesAttrs{std::move(axes)}));
}

// DepthToSpace and SpaceToDepth.
Status lower_block(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(int64_t block, int_attr(context.node(), "block_size"));
  BLADE_ASSIGN_OR_RETURN(ChannelsLast layout, channels_last(context, 4));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId x, to_channels_last(context, layout, context.input(0)));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId out, context.emit(static_cast<ir::Op>(argument),
                                                       layout.move ? "channels_last" : "", {x}, ir::BlockAttrs{block}));
  return context.finish(from_channels_last(context, layout, out));
}

// SpaceToBatch and BatchToSpace: the forms with one block size for height and width.
Status lower_square_block(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(int64_t block, int_attr(context.node(), "block_size"));
  ir::ValueId shape = context.add_ints(ir::DType::kInt64, {block, block});
  return context.finish(
      context.emit(static_cast<ir::Op>(argument), "", {context.input(0), shape, context.input(1)}, ir::EmptyAttrs{}));
}

Status lower_where(LowerContext& context, int) {
  ir::ValueId x = context.input(0);
  if (context.dtype(x) != ir::DType::kBool) {
    BLADE_ASSIGN_OR_RETURN(ir::ValueId zero, context.add_scalar(context.dtype(x), 0));
    BLADE_ASSIGN_OR_RETURN(x, emit_pointwise(context, ir::PointwiseOp::kNotEqual, "nonzero", {x, zero}));
  }
  return context.finish(context.emit(ir::Op::kWhere, "", {x}, ir::EmptyAttrs{}));
}

// y[x[i]] = i, written as a scatter.
Status lower_invert_permutation(LowerContext& context, int) {
  ir::ValueId x = context.input(0);
  ir::DType type = context.dtype(x);
  if (type != ir::DType::kInt32 && type != ir::DType::kInt64) return unimplemented("its index is not int32 or int64");
  BLADE_ASSIGN_OR_RETURN(ir::ValueId shape,
                         context.emit(ir::Op::kShapeOf, "shape", {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, type}));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId size,
                         context.emit(ir::Op::kShapeOf, "size", {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kSize, type}));
  ir::ValueId zero = context.add_ints(type, {0}, true), one = context.add_ints(type, {1}, true);
  BLADE_ASSIGN_OR_RETURN(ir::ValueId range, context.emit(ir::Op::kRange, "range", {zero, size, one}, ir::EmptyAttrs{}));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId indices, context.emit(ir::Op::kExpandDims, "indices", {x}, ir::AxisAttrs{1}));
  return context.finish(context.emit(ir::Op::kScatterNd, "", {indices, range, shape}, ir::EmptyAttrs{}));
}

}  // namespace blade::tensorflow
