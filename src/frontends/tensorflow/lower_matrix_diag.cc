// Diagonals of matrices, in the three versions that TensorFlow has had, and of whole tensors.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

// Version 1 knows the main diagonal only, version 2 aligns to the left, version 3 says how.
Result<ir::DiagAttrs> read_alignment(LowerContext& context, int version) {
  if (version < 3) return ir::DiagAttrs{true, true};
  BLADE_ASSIGN_OR_RETURN(std::string align, string_attr_or(context.node(), "align", "RIGHT_LEFT"));
  const size_t dash = align.find('_');
  const std::string super = align.substr(0, dash), sub = dash == std::string::npos ? "" : align.substr(dash + 1);
  const bool known = (super == "LEFT" || super == "RIGHT") && (sub == "LEFT" || sub == "RIGHT");
  if (!known) return invalid_argument("aligns diagonals '" + align + "', expected LEFT or RIGHT twice");
  return ir::DiagAttrs{super == "LEFT", sub == "LEFT"};
}

}  // namespace

Status lower_matrix_diag(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(ir::DiagAttrs attrs, read_alignment(context, argument));
  if (argument > 1) return context.finish(context.emit(ir::Op::kMatrixDiag, "", context.inputs(), attrs));
  Emitter e(context);
  const ir::ValueId x = context.input(0), free = e.integer(-1, ir::DType::kInt32);
  return e.finish(e.emit(ir::Op::kMatrixDiag, "",
                         {x, e.integer(0, ir::DType::kInt32), free, free, e.scalar(context.dtype(x), 0)}, attrs));
}

Status lower_matrix_diag_part(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(ir::DiagAttrs attrs, read_alignment(context, argument));
  if (argument > 1) return context.finish(context.emit(ir::Op::kMatrixDiagPart, "", context.inputs(), attrs));
  Emitter e(context);
  const ir::ValueId x = context.input(0);
  return e.finish(
      e.emit(ir::Op::kMatrixDiagPart, "", {x, e.integer(0, ir::DType::kInt32), e.scalar(context.dtype(x), 0)}, attrs));
}

Status lower_matrix_set_diag(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(ir::DiagAttrs attrs, read_alignment(context, argument));
  if (argument > 1) return context.finish(context.emit(ir::Op::kMatrixSetDiag, "", context.inputs(), attrs));
  Emitter e(context);
  return e.finish(
      e.emit(ir::Op::kMatrixSetDiag, "", {context.input(0), context.input(1), e.integer(0, ir::DType::kInt32)}, attrs));
}

// Diag: [d...] -> [d..., d...] with the elements where both halves of the index agree.
Status lower_tensor_diag(LowerContext& context, int) {
  Emitter e(context);
  const ir::ValueId x = context.input(0), free = e.integer(-1, ir::DType::kInt32);
  const ir::ValueId square =
      e.emit(ir::Op::kMatrixDiag, "square",
             {e.reshape("flat", x, {-1}), e.integer(0, ir::DType::kInt32), free, free, e.scalar(context.dtype(x), 0)},
             ir::DiagAttrs{true, true});
  const ir::ValueId dims = e.shape_of(x);
  return e.finish(
      e.emit(ir::Op::kReshape, "", {square, e.emit(ir::Op::kConcat, "dims", {dims, dims}, ir::AxisAttrs{0})}));
}

Status lower_tensor_diag_part(LowerContext& context, int) {
  const ir::ValueId x = context.input(0);
  BLADE_ASSIGN_OR_RETURN(int rank, context.rank(x, "its operand"));
  if (rank == 0 || rank % 2 != 0)
    return invalid_argument("needs an even number of dims, found " + std::to_string(rank));
  auto dims = context.shape(x).static_dims();
  if (!dims) return unimplemented("the shape of its operand is not known");
  int64_t count = 1;
  for (int i = 0; i < rank / 2; ++i) {
    if ((*dims)[i] != (*dims)[i + rank / 2]) return invalid_argument("has halves of different shapes");
    count *= (*dims)[i];
  }
  Emitter e(context);
  const ir::ValueId square = e.reshape("square", x, {count, count});
  const ir::ValueId part =
      e.emit(ir::Op::kMatrixDiagPart, "part", {square, e.integer(0, ir::DType::kInt32), e.scalar(context.dtype(x), 0)},
             ir::DiagAttrs{true, true});
  return e.finish(e.reshape("", part, std::vector<int64_t>(dims->begin(), dims->begin() + rank / 2)));
}

}  // namespace blade::tensorflow
