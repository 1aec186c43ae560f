// Shapes of attention.
#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

// Input `i` as the formula reads it.
Result<Shape> permuted_input(InferContext& c, int i, const std::vector<int64_t>& perm) {
  const Shape& shape = c.input_shape(i);
  if (!shape.has_rank()) return Shape::unknown();
  if (shape.rank() != static_cast<int>(perm.size())) {
    return invalid_argument("input " + std::to_string(i) + " of an attention has " + std::to_string(shape.rank()) +
                            " dims, its permutation " + std::to_string(perm.size()) + ".");
  }
  std::vector<Dim> dims;
  for (int64_t axis : perm) dims.push_back(shape.dim(static_cast<int>(axis)));
  return Shape(std::move(dims));
}

}  // namespace

Status infer_attention(InferContext& c) {
  const auto& a = c.node().get<AttentionAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 4));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 2));
  BLADE_ASSIGN_OR_RETURN(const Shape q, permuted_input(c, 0, a.query_perm));
  BLADE_ASSIGN_OR_RETURN(const Shape k, permuted_input(c, 1, a.key_perm));
  BLADE_ASSIGN_OR_RETURN(const Shape v, permuted_input(c, 2, a.value_perm));
  if (!q.has_rank() || !k.has_rank() || !v.has_rank()) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  BLADE_RETURN_IF_ERROR(merge_dims(c, q.dim(-1), k.dim(-1), "the depth of queries and keys").status());
  BLADE_RETURN_IF_ERROR(merge_dims(c, k.dim(-2), v.dim(-2), "the number of keys and values").status());
  std::vector<Dim> dims = q.dims();
  dims.back() = v.dim(-1);
  std::vector<Dim> stored;
  for (int64_t axis : a.output_perm) stored.push_back(dims[static_cast<size_t>(axis)]);
  c.set_output(0, c.input_dtype(0), Shape(std::move(stored)));
  return Status();
}

}  // namespace blade::ir
