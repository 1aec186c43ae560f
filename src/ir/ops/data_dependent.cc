// Ops whose result's size follows from data, and which inputs decide the shapes of the others.
#include "ir/ops/infer_support.h"

namespace blade::ir {

std::vector<int> shape_operands(const Node& node) {
  switch (node.op) {
    case Op::kReshape:
    case Op::kTile:
    case Op::kBroadcastTo:
    case Op::kPad:
    case Op::kTopK:
    case Op::kOneHot:
    case Op::kResize:
    case Op::kScaleAndTranslate:
      return {1};
    case Op::kSlice:
    case Op::kSpaceToBatch:
    case Op::kBatchToSpace:
      return {1, 2};
    case Op::kStridedSlice:
      return {1, 2, 3};
    case Op::kFft:
      switch (node.get<FftAttrs>().kind) {
        case FftKind::kReal:
          return {1};
        case FftKind::kRealInverse:
          return {2};
        default:
          return {};
      }
    case Op::kRange:
      return {0, 1, 2};
    case Op::kFill:
      return {0};
    case Op::kCombinedNonMaxSuppression:
      return {2, 3};
    case Op::kCropAndResize:
      return {3};
    case Op::kMatrixDiagPart:
      return {1};
    case Op::kMatrixDiag:
      return {1, 2, 3};
    case Op::kSegmentReduce:
    case Op::kConvTranspose:
    case Op::kScatterNd:
    case Op::kNonMaxSuppression:
    case Op::kFillEmptyRows:
      return {2};
    default:
      return {};
  }
}

bool finds_its_size(const Node& node) {
  switch (node.op) {
    case Op::kWhere:
    case Op::kUnique:
    case Op::kListDiff:
    case Op::kDynamicPartition:
    case Op::kFillEmptyRows:
    case Op::kCtcGreedyDecoder:
      return true;
    case Op::kNonMaxSuppression: {
      const auto& attrs = node.get<NonMaxSuppressionAttrs>();
      return attrs.version < 4 || !attrs.pad_to_max_output_size;
    }
    default:
      return false;
  }
}

bool finds_size_of(const Node& node, int output) {
  return finds_its_size(node) && ((node.op != Op::kFillEmptyRows && node.op != Op::kCtcGreedyDecoder) || output < 2);
}

// Rows are slices along the first axis.
Status infer_unique(InferContext& c) {
  const DType index = c.node().get<PositionsAttrs>().index_dtype;
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1, 3));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 1, "a tensor"));
  const Shape x = c.input_shape(0);
  const Dim found = c.fresh_dim("found");
  Shape rows = x;
  if (x.has_rank()) rows.set_dim(0, found);
  c.set_output(0, c.input_dtype(0), std::move(rows));
  c.set_output(1, index, Shape({input_dim(c, 0, 0, "rows")}));
  c.set_output(2, index, Shape({found}));
  return Status();
}

Status infer_list_diff(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2, 2));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 1, "a list"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 1, "a list of what to leave out"));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  const Dim kept = c.fresh_dim("kept");
  c.set_output(0, c.input_dtype(0), Shape({kept}));
  c.set_output(1, c.node().get<PositionsAttrs>().index_dtype, Shape({kept}));
  return Status();
}

// coordinates [n, rank], values [n], dense shape [rank], a default -> coordinates and values of what there is and of
// one entry [row, 0, ...] for each row without any, by rows; which rows had none; where each of the n has gone.
Status infer_fill_empty_rows(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 4, 4, 4));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 2, "coordinates"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 1, "values"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 2, 1, "a dense shape"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 3, 0, "a default"));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 1, 3));
  for (int i : {0, 2}) {
    if (c.input_dtype(i) != DType::kInt64 && c.input_dtype(i) != DType::kInvalid) {
      return infer_error(c, "has coordinates or a shape of type ", dtype_name(c.input_dtype(i)), ", expected int64");
    }
  }
  BLADE_ASSIGN_OR_RETURN(const Dim rank,
                         merge_dims(c, input_dim(c, 0, 1, "rank"), input_dim(c, 2, 0, "rank"), "the number of dims"));
  BLADE_ASSIGN_OR_RETURN(const Dim count,
                         merge_dims(c, input_dim(c, 0, 0, "n"), input_dim(c, 1, 0, "n"), "the number of values"));
  const std::vector<Dim>* dims = c.input_content(2);
  const Dim rows = dims != nullptr && !dims->empty() ? dims->front() : c.fresh_dim("rows");
  const Dim all = c.fresh_dim("all");
  c.set_output(0, DType::kInt64, Shape({all, rank}));
  c.set_output(1, c.input_dtype(1), Shape({all}));
  c.set_output(2, DType::kBool, Shape({rows}));
  c.set_output(3, DType::kInt64, Shape({count}));
  return Status();
}

Status infer_dynamic_partition(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2, kAnyNumber));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 1, "partitions"));
  const Shape x = c.input_shape(0), partitions = c.input_shape(1);
  Shape row;
  if (x.has_rank() && partitions.has_rank()) {
    if (partitions.rank() > x.rank()) {
      return infer_error(c, "has partitions of shape ", show(c, partitions), " for data of shape ", show(c, x),
                         ", expected the shape of its first dims");
    }
    for (int i = 0; i < partitions.rank(); ++i) {
      BLADE_RETURN_IF_ERROR(merge_dims(c, x.dim(i), partitions.dim(i), "a dim of data and partitions").status());
    }
    row = Shape(std::vector<Dim>(x.dims().begin() + partitions.rank(), x.dims().end()));
  }
  for (size_t i = 0; i < c.node().outputs.size(); ++i) {
    Shape out;
    if (row.has_rank()) {
      std::vector<Dim> dims = {c.fresh_dim("rows")};
      dims.insert(dims.end(), row.dims().begin(), row.dims().end());
      out = Shape(std::move(dims));
    }
    c.set_output(static_cast<int>(i), c.input_dtype(0), std::move(out));
  }
  return Status();
}

}  // namespace blade::ir
