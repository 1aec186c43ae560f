// Shapes of matrix multiplication.
#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

Shape leading(const Shape& shape) {
  return shape.has_rank() ? Shape(std::vector<Dim>(shape.dims().begin(), shape.dims().end() - 2)) : Shape::unknown();
}

}  // namespace

Status infer_matmul(InferContext& c) {
  const auto& a = c.node().get<MatMulAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, kAnyNumber));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 2, "a left operand"));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 1, 2, "a right operand"));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  const Shape &x = c.input_shape(0), &y = c.input_shape(1);
  if (x.has_rank() && y.has_rank()) {
    const Dim kx = x.dim(a.transpose_a ? -2 : -1), ky = y.dim(a.transpose_b ? -1 : -2);
    BLADE_RETURN_IF_ERROR(merge_dims(c, kx, ky, "the inner dim of the product").status());
  }
  BLADE_ASSIGN_OR_RETURN(Shape out, broadcast_shapes(c, leading(x), leading(y)));
  if (out.has_rank()) {
    std::vector<Dim> dims = out.dims();
    dims.push_back(x.dim(a.transpose_a ? -1 : -2));
    dims.push_back(y.dim(a.transpose_b ? -2 : -1));
    out = Shape(std::move(dims));
  }
  BLADE_RETURN_IF_ERROR(check_epilogue(c, a.epilogue, 2, out));
  c.set_output(0, c.input_dtype(0), std::move(out));
  return Status();
}

}  // namespace blade::ir
