// Shapes of reductions, arg-reductions and top-k.
#include <algorithm>

#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

std::optional<Dim> reduce_elements(SymbolTable& s, ReduceKind kind, const std::vector<Dim>& elements) {
  if (elements.empty()) {
    if (kind == ReduceKind::kSum || kind == ReduceKind::kAny) return Dim(0);
    return kind == ReduceKind::kProd || kind == ReduceKind::kAll ? std::optional(Dim(1)) : std::nullopt;
  }
  Dim out = elements[0];
  for (size_t i = 1; i < elements.size(); ++i) {
    switch (kind) {
      case ReduceKind::kSum:
        out = s.add(out, elements[i]);
        break;
      case ReduceKind::kProd:
        out = s.mul(out, elements[i]);
        break;
      case ReduceKind::kMax:
      case ReduceKind::kAny:
        out = s.max(out, elements[i]);
        break;
      case ReduceKind::kMin:
      case ReduceKind::kAll:
        out = s.min(out, elements[i]);
        break;
      case ReduceKind::kMean:
        return std::nullopt;
    }
  }
  if (kind == ReduceKind::kMean) return std::nullopt;
  return out;
}

}  // namespace

Status infer_reduce(InferContext& c) {
  const auto& a = c.node().get<ReduceAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  const Shape& x = c.input_shape(0);
  const DType dtype = c.input_dtype(0);
  const bool logical = a.kind == ReduceKind::kAll || a.kind == ReduceKind::kAny;
  if (logical && dtype != DType::kBool && dtype != DType::kInvalid) {
    return infer_error(c, "reduces ", dtype_name(dtype), " with a logical op, expected bool");
  }
  for (size_t i = 0; i < a.axes.size(); ++i) {
    BLADE_RETURN_IF_ERROR(check_axis(c, a.axes[i], rank_or_unknown(x)));
    if (std::find(a.axes.begin(), a.axes.begin() + static_cast<long>(i), a.axes[i]) !=
        a.axes.begin() + static_cast<long>(i)) {
      return infer_error(c, "reduces axis ", a.axes[i], " twice, expected each once");
    }
  }
  if (!x.has_rank()) {
    c.set_output(0, dtype, a.axes.empty() ? x : Shape::unknown());
    return Status();
  }
  std::vector<Dim> out;
  for (int i = 0; i < x.rank(); ++i) {
    const bool reduced = std::find(a.axes.begin(), a.axes.end(), i) != a.axes.end();
    if (!reduced) out.push_back(x.dim(i));
    if (reduced && a.keep_dims) out.push_back(1);
  }
  c.set_output(0, dtype, Shape(std::move(out)));
  const auto* content = c.input_content(0);
  if (content == nullptr) return Status();
  if (a.axes.empty()) c.set_output_content(0, *content);
  if (!a.axes.empty() && static_cast<int>(a.axes.size()) == x.rank()) {
    if (const auto reduced = reduce_elements(c.symbols(), a.kind, *content)) c.set_output_content(0, {*reduced});
  }
  return Status();
}

Status infer_arg_reduce(InferContext& c) {
  const auto& a = c.node().get<ArgReduceAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  const Shape& x = c.input_shape(0);
  BLADE_RETURN_IF_ERROR(check_axis(c, a.axis, rank_or_unknown(x)));
  if (!x.has_rank()) {
    c.set_output(0, a.index_dtype, Shape::unknown());
    return Status();
  }
  if (x.dim(static_cast<int>(a.axis)) == Dim(0)) {
    return infer_error(c, "takes the extreme of axis ", a.axis, " of shape ", show(c, x),
                       ", expected a non-empty axis");
  }
  std::vector<Dim> out = x.dims();
  out.erase(out.begin() + a.axis);
  c.set_output(0, a.index_dtype, Shape(std::move(out)));
  return Status();
}

Status infer_top_k(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2, 2));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 1, "an input"));
  BLADE_ASSIGN_OR_RETURN(const Dim k, size_from_input(c, 1, "k"));
  Shape out = c.input_shape(0);
  if (out.has_rank()) {
    const Dim last = out.dim(-1);
    if (last.is_known() && k.is_known() && k.value() > last.value()) {
      return infer_error(c, "takes the top ", k.value(), " of ", last.value(),
                         " elements, expected no more than there are");
    }
    out.set_dim(-1, k);
  }
  c.set_output(0, c.input_dtype(0), out);
  c.set_output(1, c.node().get<TopKAttrs>().index_dtype, out);
  return Status();
}

}  // namespace blade::ir
