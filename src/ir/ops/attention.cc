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

}  // namespace

Status infer_attention(InferContext& c) {
  const auto& a = c.node().get<AttentionAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 4));
  const auto rank = static_cast<int>(a.query_perm.size());
  if (rank < 2) return infer_error(c, "has operands of ", rank, " dims, expected 2 or more");
  for (size_t i = 1; i < c.node().inputs.size(); ++i)
    BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, static_cast<int>(i)));
  BLADE_ASSIGN_OR_RETURN(const Shape q, permuted_input(c, 0, a.query_perm, rank));
  BLADE_ASSIGN_OR_RETURN(const Shape k, permuted_input(c, 1, a.key_perm, rank));
  BLADE_ASSIGN_OR_RETURN(const Shape v, permuted_input(c, 2, a.value_perm, rank));
  BLADE_RETURN_IF_ERROR(check_permutation(c, a.output_perm, rank));
  if (!q.has_rank() || !k.has_rank() || !v.has_rank()) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  for (int d = 0; d + 2 < rank; ++d) {
    BLADE_RETURN_IF_ERROR(merge_dims(c, q.dim(d), k.dim(d), "a batch dim").status());
    BLADE_RETURN_IF_ERROR(merge_dims(c, q.dim(d), v.dim(d), "a batch dim").status());
  }
  BLADE_RETURN_IF_ERROR(merge_dims(c, q.dim(-1), k.dim(-1), "the depth of queries and keys").status());
  BLADE_RETURN_IF_ERROR(merge_dims(c, k.dim(-2), v.dim(-2), "the number of keys and values").status());
  if (c.node().inputs.size() > 3) {
    std::vector<Dim> scores = q.dims();
    scores.back() = k.dim(-2);
    BLADE_RETURN_IF_ERROR(broadcast_shapes(c, c.input_shape(3), Shape(scores)).status());
    const Shape& mask = c.input_shape(3);
    if (mask.has_rank() && mask.rank() > rank)
      return infer_error(c, "has a mask of ", mask.rank(), " dims, expected up to ", rank);
  }
  std::vector<Dim> dims = q.dims();
  dims.back() = v.dim(-1);
  std::vector<Dim> stored;
  for (int64_t axis : a.output_perm) stored.push_back(dims[static_cast<size_t>(axis)]);
  c.set_output(0, c.input_dtype(0), Shape(std::move(stored)));
  return Status();
}

}  // namespace blade::ir
