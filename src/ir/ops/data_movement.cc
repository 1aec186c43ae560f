// Ops that move elements and keep them: Transpose and Pad.
#include "ir/ops/infer_support.h"

namespace blade::ir {

Status infer_transpose(InferContext& c) {
  const auto& perm = c.node().get<PermAttrs>().perm;
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  const auto rank = static_cast<int>(perm.size());
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, rank, "an input"));
  BLADE_RETURN_IF_ERROR(check_permutation(c, perm, rank));
  const Shape x = c.input_shape(0);
  std::vector<Dim> out;
  for (int64_t axis : perm) out.push_back(x.has_rank() ? x.dim(static_cast<int>(axis)) : c.fresh_dim("dim"));
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  const auto* content = c.input_content(0);
  const auto dims = x.static_dims();
  if (content == nullptr || !dims) return Status();
  Dims stride(rank, 1);
  for (int k = rank - 1; k > 0; --k) stride[k - 1] = stride[k] * (*dims)[k];
  Dims out_dims(rank), index(rank, 0);
  for (int k = 0; k < rank; ++k) out_dims[k] = (*dims)[perm[k]];
  std::vector<Dim> moved;
  for (size_t n = 0; n < content->size(); ++n) {
    int64_t offset = 0;
    for (int k = 0; k < rank; ++k) offset += index[k] * stride[perm[k]];
    moved.push_back((*content)[offset]);
    for (int k = rank; k-- > 0;) {
      if (++index[k] < out_dims[k]) break;
      index[k] = 0;
    }
  }
  c.set_output_content(0, std::move(moved));
  return Status();
}

Status infer_pad(InferContext& c) {
  const PadMode mode = c.node().get<PadAttrs>().mode;
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, mode == PadMode::kConstant ? 3 : 2));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 2, "paddings"));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 1, "paddings"));
  if (c.num_inputs() == 3) {
    BLADE_RETURN_IF_ERROR(check_rank(c, 2, 0, "a padding value"));
    BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 2));
  }
  const Shape x = c.input_shape(0), &p = c.input_shape(1);
  if (p.has_rank() && p.dim(1).is_known() && p.dim(1) != Dim(2)) {
    return infer_error(c, "has paddings of shape ", show(c, p), ", expected [rank,2]");
  }
  const int rank = x.has_rank() ? x.rank()
                   : (p.has_rank() && p.dim(0).is_known() && p.dim(0).value() <= 254)
                       ? static_cast<int>(p.dim(0).value())
                       : -1;
  if (rank < 0) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  if (p.has_rank() && p.dim(0).is_known() && p.dim(0) != Dim(rank)) {
    return infer_error(c, "has paddings of shape ", show(c, p), ", expected [", rank, ",2]");
  }
  SymbolTable& s = c.symbols();
  const auto* pads = c.input_content(1);
  std::vector<Dim> out;
  for (int i = 0; i < rank; ++i) {
    if (!x.has_rank() || pads == nullptr) {
      out.push_back(c.fresh_dim("padded"));
      continue;
    }
    const Dim d = x.dim(i), low = (*pads)[2 * i], high = (*pads)[2 * i + 1];
    for (Dim pad : {low, high}) {
      const auto v = s.constant(pad);
      if (v && *v < 0) return infer_error(c, "pads axis ", i, " by ", *v, ", expected 0 or more");
      const int64_t reach = d.is_known() ? d.value() - (mode == PadMode::kReflect ? 1 : 0) : 0;
      if (mode != PadMode::kConstant && v && d.is_known() && *v > reach) {
        return infer_error(c, "mirrors ", *v, " elements of axis ", i, " of shape ", show(c, x), ", expected at most ",
                           reach);
      }
    }
    out.push_back(s.add(s.add(d, low), high));
  }
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  return Status();
}

}  // namespace blade::ir
