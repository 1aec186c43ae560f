// Shapes of attention.
#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

// Input `i` as the formula reads it.
Result<Shape> permuted_input(InferContext& c, int i, const std::vector<int64_t>& perm, int rank) {
  BLADE_RETURN_IF_ERROR(check_permutation(c, perm, rank));
  BLADE_RETURN_IF_ERROR(check_rank(c, i, rank, "an operand"));
  const Shape& shape = c.input_shape(i);
  if (!shape.has_rank()) return Shape::unknown();
  std::vector<Dim> dims;
  for (int64_t axis : perm) dims.push_back(shape.dim(static_cast<int>(axis)));
  return Shape(std::move(dims));
}

// The batch dims of `shape` before two others.
std::vector<Dim> batch_and(const Shape& shape, Dim rows, Dim columns) {
  std::vector<Dim> dims = shape.dims();
  dims[dims.size() - 2] = rows;
  dims.back() = columns;
  return dims;
}

}  // namespace

Status infer_attention(InferContext& c) {
  const auto& a = c.node().get<AttentionAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 5));
  const auto rank = static_cast<int>(a.query_perm.size());
  if (rank < 2) return infer_error(c, "has operands of ", rank, " dims, expected 2 or more");
  const auto inputs = static_cast<int>(c.node().inputs.size());
  for (int i = 1; i < inputs; ++i) {
    if (i < 3 || c.input_dtype(i) != DType::kFloat32) BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, i));
  }
  BLADE_ASSIGN_OR_RETURN(const Shape q, permuted_input(c, 0, a.query_perm, rank));
  BLADE_ASSIGN_OR_RETURN(const Shape k, permuted_input(c, 1, a.key_perm, rank));
  BLADE_ASSIGN_OR_RETURN(const Shape v, permuted_input(c, 2, a.value_perm, rank));
  BLADE_RETURN_IF_ERROR(check_permutation(c, a.output_perm, rank));
  bool known = q.has_rank() && k.has_rank() && v.has_rank();
  for (int i = 3; i < inputs; ++i) {
    const Shape& mask = c.input_shape(i);
    known = known && mask.has_rank();
    if (mask.has_rank() && mask.rank() > rank)
      return infer_error(c, "has a mask of ", mask.rank(), " dims, expected up to ", rank);
  }
  if (!known) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  BLADE_RETURN_IF_ERROR(merge_dims(c, q.dim(-1), k.dim(-1), "the depth of queries and keys").status());
  BLADE_ASSIGN_OR_RETURN(Shape scores, broadcast_shapes(c, Shape(batch_and(q, q.dim(-2), Dim(1))),
                                                        Shape(batch_and(k, Dim(1), k.dim(-2)))));
  for (int i = 3; i < inputs; ++i) {
    BLADE_ASSIGN_OR_RETURN(scores, broadcast_shapes(c, scores, c.input_shape(i)));
  }
  BLADE_RETURN_IF_ERROR(merge_dims(c, scores.dim(-1), v.dim(-2), "the number of keys and values").status());
  BLADE_ASSIGN_OR_RETURN(const Shape batch, broadcast_shapes(c, Shape(batch_and(scores, Dim(1), Dim(1))),
                                                             Shape(batch_and(v, Dim(1), Dim(1)))));
  const std::vector<Dim> dims = batch_and(batch, scores.dim(-2), v.dim(-1));
  std::vector<Dim> stored;
  for (int64_t axis : a.output_perm) stored.push_back(dims[static_cast<size_t>(axis)]);
  c.set_output(0, c.input_dtype(0), Shape(std::move(stored)));
  return Status();
}

}  // namespace blade::ir
