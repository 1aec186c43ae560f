// Joining, cutting, permuting, padding and gathering.
#include <algorithm>
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
  // What follows from ranks is known here: a Transpose may ask for it.
  if (const auto known = context.ints(0, "operand"); known.ok()) {
    std::vector<int64_t> inverse(known->size(), -1);
    for (size_t i = 0; i < inverse.size(); ++i) {
      const auto at = static_cast<size_t>((*known)[i]);
      if (at >= inverse.size() || inverse[at] >= 0) return invalid_argument("its operand is no permutation");
      inverse[at] = static_cast<int64_t>(i);
    }
    return context.finish(std::vector<ir::ValueId>{context.add_ints(type, inverse)});
  }
  BLADE_ASSIGN_OR_RETURN(ir::ValueId shape,
                         context.emit(ir::Op::kShapeOf, "shape", {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, type}));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId size,
                         context.emit(ir::Op::kShapeOf, "size", {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kSize, type}));
  ir::ValueId zero = context.add_ints(type, {0}, true), one = context.add_ints(type, {1}, true);
  BLADE_ASSIGN_OR_RETURN(ir::ValueId range, context.emit(ir::Op::kRange, "range", {zero, size, one}, ir::EmptyAttrs{}));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId indices, context.emit(ir::Op::kExpandDims, "indices", {x}, ir::AxisAttrs{1}));
  return context.finish(context.emit(ir::Op::kScatterNd, "", {indices, range, shape}, ir::EmptyAttrs{}));
}

// Along each axis element i comes from (i - shift) mod size.
Status lower_roll(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(auto axes, context.ints(2, "axes"));
  BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(0), "its operand"));
  Emitter e(context);
  const ir::ValueId shifts = e.reshape("shifts", e.cast(context.input(1), ir::DType::kInt64), {-1});
  BLADE_RETURN_IF_ERROR(e.status());
  const ir::Dim given = context.shape(shifts).dim(0);
  if (given.is_known() && given.value() != static_cast<int64_t>(axes.size())) {
    return invalid_argument("has not as many shifts as axes");
  }
  ir::ValueId x = context.input(0);
  for (size_t i = 0; i < axes.size(); ++i) {
    BLADE_ASSIGN_OR_RETURN(int64_t axis, context.axis(axes[i], rank));
    const ir::ValueId size = e.dim(x, static_cast<int>(axis));
    const ir::ValueId shift =
        e.emit(ir::Op::kGather, "shift", {shifts, e.integer(static_cast<int64_t>(i))}, ir::GatherAttrs{});
    const ir::ValueId range = e.emit(ir::Op::kRange, "range", {e.integer(0), size, e.integer(1)});
    const ir::ValueId from = e.pointwise(ir::PointwiseOp::kFloorMod, "from",
                                         {e.pointwise(ir::PointwiseOp::kSub, "moved", {range, shift}), size});
    x = e.emit(ir::Op::kGather, i + 1 == axes.size() ? "" : "rolled", {x, from}, ir::GatherAttrs{axis, 0});
    BLADE_RETURN_IF_ERROR(e.status());
  }
  if (axes.empty()) return lower_identity(context, 0);
  return e.finish(x);
}

// Along the sequence, element i < length comes from length - 1 - i, the others stay.
Status lower_reverse_sequence(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(int64_t seq, int_attr(context.node(), "seq_dim"));
  BLADE_ASSIGN_OR_RETURN(int64_t batch, int_attr_or(context.node(), "batch_dim", 0));
  BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(0), "its operand"));
  if (seq < 0 || seq >= rank || batch < 0 || batch >= rank || seq == batch) {
    return invalid_argument("reverses dim " + std::to_string(seq) + " along batch dim " + std::to_string(batch) +
                            " of a tensor of " + std::to_string(rank) + " dims");
  }
  std::vector<int64_t> perm = {batch, seq}, inverse(rank);
  for (int i = 0; i < rank; ++i) {
    if (i != batch && i != seq) perm.push_back(i);
  }
  for (int i = 0; i < rank; ++i) inverse[perm[i]] = i;
  const bool moved = batch != 0 || seq != 1;
  Emitter e(context);
  ir::ValueId x = context.input(0);
  if (moved) x = e.emit(ir::Op::kTranspose, "batch_first", {x}, ir::PermAttrs{perm});
  const ir::ValueId steps = e.emit(ir::Op::kRange, "steps", {e.integer(0), e.dim(x, 1), e.integer(1)});
  const ir::ValueId lengths =
      e.emit(ir::Op::kExpandDims, "lengths", {e.cast(context.input(1), ir::DType::kInt64)}, ir::AxisAttrs{1});
  const ir::ValueId last = e.pointwise(ir::PointwiseOp::kSub, "last", {lengths, e.integer(1)});
  const ir::ValueId reversed = e.pointwise(ir::PointwiseOp::kSub, "reversed", {last, steps});
  const ir::ValueId inside = e.pointwise(ir::PointwiseOp::kLess, "inside", {steps, lengths});
  const ir::ValueId from = e.pointwise(ir::PointwiseOp::kSelect, "from", {inside, reversed, steps});
  x = e.emit(ir::Op::kGather, moved ? "gather" : "", {x, from}, ir::GatherAttrs{1, 1});
  if (moved) x = e.emit(ir::Op::kTranspose, "", {x}, ir::PermAttrs{inverse});
  return e.finish(x);
}

// DynamicStitch and ParallelDynamicStitch: later pieces win where indices repeat.
Status lower_dynamic_stitch(LowerContext& context, int) {
  const int count = context.num_inputs() / 2;
  if (count == 0) return invalid_argument("joins no tensors");
  BLADE_ASSIGN_OR_RETURN(int index_rank, context.rank(context.input(0), "its indices"));
  BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(count), "its data"));
  if (rank < index_rank) return invalid_argument("has data of fewer dims than its indices");
  Emitter e(context);
  std::vector<ir::ValueId> indices, pieces;
  const ir::ValueId shape = e.shape_of(context.input(count));
  const ir::ValueId rest = e.emit(ir::Op::kSlice, "rest", {shape, e.ints({index_rank}), e.ints({rank - index_rank})});
  for (int i = 0; i < count; ++i) {
    const ir::ShapeOfAttrs size_of{ir::ShapeOfKind::kSize, ir::DType::kInt64};
    const ir::ValueId own = e.reshape("own", e.emit(ir::Op::kShapeOf, "count", {context.input(i)}, size_of), {1});
    const ir::ValueId rows = e.emit(ir::Op::kConcat, "rows", {own, rest}, ir::AxisAttrs{0});
    indices.push_back(e.reshape("indices", context.input(i), {-1}));
    pieces.push_back(e.emit(ir::Op::kReshape, "piece", {context.input(count + i), rows}));
  }
  const ir::ValueId all = e.emit(ir::Op::kConcat, "all", indices, ir::AxisAttrs{0});
  const ir::ValueId data = e.emit(ir::Op::kConcat, "data", pieces, ir::AxisAttrs{0});
  indices.push_back(e.ints({-1}, ir::DType::kInt32));
  ir::ReduceAttrs max;
  max.kind = ir::ReduceKind::kMax;
  max.axes = {0};
  max.keep_dims = true;
  const ir::ValueId some = e.emit(ir::Op::kConcat, "some", indices, ir::AxisAttrs{0});
  const ir::ValueId last = e.emit(ir::Op::kReduce, "last", {some}, max);
  const ir::ValueId size = e.pointwise(ir::PointwiseOp::kAdd, "size", {e.cast(last, ir::DType::kInt64), e.ints({1})});
  const ir::ValueId dims = e.emit(ir::Op::kConcat, "dims", {size, rest}, ir::AxisAttrs{0});
  BLADE_RETURN_IF_ERROR(e.status());
  const ir::ValueId base = e.fill("base", dims, e.scalar(context.dtype(data), 0));
  const ir::ValueId at = e.emit(ir::Op::kExpandDims, "at", {all}, ir::AxisAttrs{1});
  return e.finish(e.emit(ir::Op::kTensorScatter, "", {base, at, data}, ir::TensorScatterAttrs{}));
}

// The shape that two shapes broadcast to.
Status lower_broadcast_args(LowerContext& context, int) {
  const ir::Shape &a = context.shape(context.input(0)), &b = context.shape(context.input(1));
  const auto count = [](const ir::Shape& s) { return s.element_count(); };
  if (!count(a) || !count(b)) return unimplemented("the number of dims is not known");
  const ir::DType type = context.dtype(context.input(0));
  const int64_t rank = std::max(*count(a), *count(b));
  Emitter e(context);
  const auto padded = [&](ir::ValueId shape, int64_t own) {
    if (own == rank) return shape;
    return e.emit(ir::Op::kConcat, "padded", {e.ints(std::vector<int64_t>(rank - own, 1), type), shape},
                  ir::AxisAttrs{0});
  };
  const ir::ValueId x = padded(context.input(0), *count(a)), y = padded(context.input(1), *count(b));
  const ir::ValueId one = e.pointwise(ir::PointwiseOp::kEqual, "is_one", {x, e.integer(1, type)});
  return e.finish(e.pointwise(ir::PointwiseOp::kSelect, "", {one, y, x}));
}

Status lower_empty(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(DataType type, type_attr(context.node(), "dtype"));
  Emitter e(context);
  return e.finish(e.fill("", context.input(0), e.scalar(to_ir(type), 0)));
}

// start + i * step, the last element exactly `stop`.
Status lower_lin_space(LowerContext& context, int) {
  using ir::PointwiseOp;
  const ir::ValueId start = context.input(0), stop = context.input(1);
  const ir::DType type = context.dtype(start);
  Emitter e(context);
  const ir::ValueId count = e.cast(context.input(2), ir::DType::kInt64), one = e.integer(1);
  const ir::ValueId range = e.emit(ir::Op::kRange, "range", {e.integer(0), count, one});
  const ir::ValueId gaps =
      e.pointwise(PointwiseOp::kMaximum, "gaps", {e.pointwise(PointwiseOp::kSub, "last", {count, one}), one});
  const ir::ValueId step = e.pointwise(PointwiseOp::kDiv, "step",
                                       {e.pointwise(PointwiseOp::kSub, "span", {stop, start}), e.cast(gaps, type)});
  const ir::ValueId offsets = e.pointwise(PointwiseOp::kMul, "offsets", {e.cast(range, type), step});
  const ir::ValueId values = e.pointwise(PointwiseOp::kAdd, "values", {offsets, start});
  const ir::ValueId at_end = e.pointwise(PointwiseOp::kEqual, "at_end", {range, gaps});
  return e.finish(e.pointwise(PointwiseOp::kSelect, "", {at_end, stop, values}));
}

// a x b of vectors of three in the last dim.
Status lower_cross(LowerContext& context, int) {
  using ir::PointwiseOp;
  BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(0), "its operand"));
  if (rank == 0) return invalid_argument("multiplies scalars, expected vectors of 3");
  const ir::Dim last = context.shape(context.input(0)).dim(-1);
  if (last.is_known() && last.value() != 3) {
    return invalid_argument("multiplies vectors of " + std::to_string(last.value()) + ", expected 3");
  }
  Emitter e(context);
  const ir::ValueId next = e.ints({1, 2, 0}), after = e.ints({2, 0, 1});
  const auto turned = [&](int input, ir::ValueId order) {
    return e.emit(ir::Op::kGather, "turned", {context.input(input), order}, ir::GatherAttrs{rank - 1, 0});
  };
  const ir::ValueId left = e.pointwise(PointwiseOp::kMul, "left", {turned(0, next), turned(1, after)});
  const ir::ValueId right = e.pointwise(PointwiseOp::kMul, "right", {turned(0, after), turned(1, next)});
  return e.finish(e.pointwise(PointwiseOp::kSub, "", {left, right}));
}

}  // namespace blade::tensorflow
