// XlaDynamicSlice and XlaDynamicUpdateSlice: blocks whose place is data, moved to where they fit. Text generators keep
// their keys and values by them.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

using ir::PointwiseOp;

// Where along `axis` a block of `size` of `whole` elements begins: the start that is given, moved to where it fits.
ir::ValueId block_start(Emitter& e, ir::ValueId starts, int axis, ir::ValueId whole, ir::ValueId size) {
  const ir::ValueId given = e.emit(ir::Op::kGather, "start", {starts, e.integer(axis)}, ir::GatherAttrs{});
  const ir::ValueId last = e.pointwise(PointwiseOp::kSub, "last", {whole, size});
  return e.pointwise(PointwiseOp::kMaximum, "from",
                     {e.pointwise(PointwiseOp::kMinimum, "fits", {given, last}), e.integer(0)});
}

ir::ValueId counted(Emitter& e, ir::ValueId size) {
  return e.emit(ir::Op::kRange, "range", {e.integer(0), size, e.integer(1)});
}

// One index for each axis.
Result<ir::ValueId> starts_of(LowerContext& context, Emitter& e, int input, int rank) {
  const ir::Shape& shape = context.shape(context.input(input));
  if (shape.has_rank() && (shape.rank() != 1 || (shape.dim(0).is_known() && shape.dim(0).value() != rank))) {
    return invalid_argument("has a start of another rank than its operand's " + std::to_string(rank));
  }
  return e.cast(context.input(input), ir::DType::kInt64);
}

}  // namespace

Status lower_dynamic_slice(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const int rank, context.rank(context.input(0), "its operand"));
  BLADE_ASSIGN_OR_RETURN(const auto sizes, context.ints(2, "size"));
  if (static_cast<int>(sizes.size()) != rank) return invalid_argument("has a size of another rank than its operand");
  Emitter e(context);
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId starts, starts_of(context, e, 1, rank));
  ir::ValueId x = context.input(0);
  for (int axis = 0; axis < rank; ++axis) {
    const ir::Dim whole = context.shape(x).dim(axis);
    if (sizes[axis] < 0 || (whole.is_known() && sizes[axis] > whole.value())) {
      return invalid_argument("takes " + std::to_string(sizes[axis]) + " of " + std::to_string(whole.value()) +
                              " elements along axis " + std::to_string(axis));
    }
    if (whole.is_known() && sizes[axis] == whole.value()) continue;
    const ir::ValueId size = e.integer(sizes[axis]);
    const ir::ValueId from = block_start(e, starts, axis, e.dim(x, axis), size);
    const ir::ValueId indices = e.pointwise(PointwiseOp::kAdd, "indices", {counted(e, size), from});
    x = e.emit(ir::Op::kGather, "along", {x, indices}, ir::GatherAttrs{axis, 0});
    BLADE_RETURN_IF_ERROR(e.status());
  }
  return context.finish(context.emit(ir::Op::kIdentity, "", {x}, ir::IdentityAttrs{}));
}

// Each element of the result is the update's where it lies inside the block: all sizes are known before the place is.
Status lower_dynamic_update_slice(LowerContext& context, int) {
  const ir::ValueId x = context.input(0);
  BLADE_ASSIGN_OR_RETURN(const int rank, context.rank(x, "its operand"));
  BLADE_ASSIGN_OR_RETURN(const int update_rank, context.rank(context.input(1), "its update"));
  if (rank != update_rank) return invalid_argument("has an update of another rank than its operand");
  Emitter e(context);
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId starts, starts_of(context, e, 2, rank));
  ir::ValueId update = context.input(1), inside = ir::kNone;
  for (int axis = 0; axis < rank; ++axis) {
    const ir::Dim whole = context.shape(x).dim(axis), part = context.shape(update).dim(axis);
    if (whole == part) continue;
    if (part.is_known() && whole.is_known() && part.value() > whole.value()) {
      return invalid_argument("has an update of " + std::to_string(part.value()) + " elements along axis " +
                              std::to_string(axis) + ", where its operand has " + std::to_string(whole.value()));
    }
    if (part.is_known() && part.value() == 0) {
      return context.finish(context.emit(ir::Op::kIdentity, "", {x}, ir::IdentityAttrs{}));
    }
    const ir::ValueId size = e.dim(x, axis), part_size = e.dim(update, axis);
    const ir::ValueId from = block_start(e, starts, axis, size, part_size);
    const ir::ValueId at = e.pointwise(PointwiseOp::kSub, "at", {counted(e, size), from});
    const ir::ValueId last = e.pointwise(PointwiseOp::kSub, "last", {part_size, e.integer(1)});
    const ir::ValueId kept = e.pointwise(PointwiseOp::kMaximum, "kept",
                                         {e.pointwise(PointwiseOp::kMinimum, "held", {at, last}), e.integer(0)});
    update = e.emit(ir::Op::kGather, "spread", {update, kept}, ir::GatherAttrs{axis, 0});
    std::vector<int64_t> along(static_cast<size_t>(rank), 1);
    along[static_cast<size_t>(axis)] = -1;
    const ir::ValueId hit = e.reshape("hit", e.pointwise(PointwiseOp::kEqual, "hits", {at, kept}), along);
    inside = inside == ir::kNone ? hit : e.pointwise(PointwiseOp::kLogicalAnd, "inside", {inside, hit});
    BLADE_RETURN_IF_ERROR(e.status());
  }
  if (inside == ir::kNone) return context.finish(context.emit(ir::Op::kIdentity, "", {update}, ir::IdentityAttrs{}));
  return e.finish(e.pointwise(PointwiseOp::kSelect, "", {inside, update, x}));
}

}  // namespace blade::tensorflow
