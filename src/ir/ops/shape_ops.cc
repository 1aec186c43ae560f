// Ops about shapes: Reshape, ExpandDims, Squeeze, ShapeOf, and those that make tensors of a computed shape.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

void keep_content(InferContext& c) {
  if (const auto* content = c.input_content(0)) c.set_output_content(0, *content);
}

// What -1 stands for. A single unknown element of the target may be treated like it: the count decides either way.
Result<Shape> resolve_target(InferContext& c, const Shape& x, const std::vector<Dim>& target) {
  SymbolTable& s = c.symbols();
  std::vector<Dim> out = target, others;
  int wildcard = -1, unsure = 0, unsure_at = -1;
  for (size_t i = 0; i < target.size(); ++i) {
    const auto v = s.constant(target[i]);
    if (v && *v < -1) return infer_error(c, "has a target dim of ", *v, ", expected -1 or more");
    if (v && *v == -1) {
      if (wildcard >= 0) return infer_error(c, "has two target dims of -1, expected at most one");
      wildcard = static_cast<int>(i);
    } else if (!v && s.has_element(target[i]) && !s.is_nonnegative(target[i])) {
      ++unsure;
      unsure_at = static_cast<int>(i);
    }
  }
  if (wildcard < 0 && unsure == 1 && x.has_rank()) {
    wildcard = unsure_at;
    unsure = 0;
  }
  for (int i = 0; i < static_cast<int>(target.size()); ++i) {
    if (i != wildcard) others.push_back(target[i]);
  }
  if (unsure > 0) {
    for (size_t i = 0; i < out.size(); ++i) {
      const bool known = s.constant(out[i]).value_or(-1) >= 0 || (!s.has_element(out[i]) && !s.constant(out[i]));
      if (!known) out[i] = c.fresh_dim("dim");
    }
    return Shape(std::move(out));
  }
  if (wildcard < 0) {
    if (x.is_static() && x.element_count() && Shape(out).is_static() &&
        Shape(out).element_count() != x.element_count()) {
      return infer_error(c, "reshapes ", show(c, x), " to ", show(c, Shape(out)), ", expected as many elements");
    }
    return Shape(std::move(out));
  }
  if (!x.has_rank()) {
    out[wildcard] = c.fresh_dim("dim");
    return Shape(std::move(out));
  }
  const Dim total = product(s, x.dims()), rest = product(s, others);
  const bool asked = s.constant(target[wildcard]).has_value();
  const auto known_total = s.constant(total), known_rest = s.constant(rest);
  if (known_rest == 0) {
    if (asked) return infer_error(c, "has a target dim of -1 beside dims of 0, expected sizes that decide it");
    out[wildcard] = c.fresh_dim("dim");
  } else if (known_total && known_rest && *known_total % *known_rest != 0) {
    return infer_error(c, "reshapes ", *known_total, " elements into rows of ", *known_rest, ", expected a multiple");
  } else {
    out[wildcard] = s.floor_div(total, rest);
  }
  return Shape(std::move(out));
}

template <class T>
std::optional<T> scalar_value(const Tensor* tensor) {
  if (tensor == nullptr || tensor->bytes != sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, tensor->data, sizeof(T));
  return value;
}

template <class T>
Result<Dim> float_range_size(InferContext& c) {
  const auto start = scalar_value<T>(c.input_constant(0)), limit = scalar_value<T>(c.input_constant(1)),
             delta = scalar_value<T>(c.input_constant(2));
  if (!start || !limit || !delta) return c.fresh_dim("count");
  if (!(*delta > 0 ? *start <= *limit : *delta < 0 && *start >= *limit)) {
    return infer_error(c, "counts from ", *start, " to ", *limit, " by ", *delta, ", expected to get there");
  }
  const double size = std::ceil(std::abs((*limit - *start) / *delta));
  if (!(size < 9.2e18)) return infer_error(c, "makes ", size, " elements, more than 64 bits can count");
  return Dim(static_cast<int64_t>(size));
}

Result<Dim> integer_range_size(InferContext& c) {
  SymbolTable& s = c.symbols();
  const auto start = scalar_element(c, 0), limit = scalar_element(c, 1), delta = scalar_element(c, 2);
  if (!start || !limit || !delta) return c.fresh_dim("count");
  const auto step = s.constant(*delta);
  if (!step) return c.fresh_dim("count");
  if (*step == 0) return infer_error(c, "has a delta of 0, expected another number");
  const Dim span = *step > 0 ? s.sub(*limit, *start) : s.sub(*start, *limit);
  if (const auto v = s.constant(span); v && *v < 0) {
    return infer_error(c, "counts from ", s.to_string(*start), " to ", s.to_string(*limit), " by ", *step,
                       ", expected to get there");
  }
  return s.ceil_div(span, s.number(*step > 0 ? *step : -*step));
}

void range_content(InferContext& c, Dim count) {
  const auto start = scalar_element(c, 0), delta = scalar_element(c, 2);
  if (!start || !delta || !count.is_known() || count.value() > 1024) return;
  std::vector<Dim> out;
  Dim next = *start;
  for (int64_t i = 0; i < count.value(); ++i) {
    out.push_back(next);
    next = c.symbols().add(next, *delta);
  }
  c.set_output_content(0, std::move(out));
}

}  // namespace

Status infer_reshape(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 1, "a target shape"));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 1, "a target shape"));
  const auto* content = c.input_content(1);
  Shape out;
  if (content != nullptr) {
    BLADE_ASSIGN_OR_RETURN(out, resolve_target(c, c.input_shape(0), *content));
  } else {
    BLADE_ASSIGN_OR_RETURN(out, shape_from_input(c, 1, "a target shape"));
  }
  c.set_output(0, c.input_dtype(0), std::move(out));
  keep_content(c);
  return Status();
}

Status infer_expand_dims(InferContext& c) {
  const int64_t axis = c.node().get<AxisAttrs>().axis;
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  const Shape& x = c.input_shape(0);
  BLADE_RETURN_IF_ERROR(check_axis(c, axis, x.has_rank() ? x.rank() + 1 : -1));
  Shape out;
  if (x.has_rank()) {
    std::vector<Dim> dims = x.dims();
    dims.insert(dims.begin() + axis, Dim(1));
    out = Shape(std::move(dims));
  }
  c.set_output(0, c.input_dtype(0), std::move(out));
  keep_content(c);
  return Status();
}

Status infer_squeeze(InferContext& c) {
  const auto& axes = c.node().get<AxesAttrs>().axes;
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  const Shape& x = c.input_shape(0);
  for (int64_t axis : axes) {
    BLADE_RETURN_IF_ERROR(check_axis(c, axis, rank_or_unknown(x)));
    if (x.has_rank() && x.dim(static_cast<int>(axis)).is_known() && x.dim(static_cast<int>(axis)) != Dim(1)) {
      return infer_error(c, "squeezes axis ", axis, " of shape ", show(c, x), ", expected a dim of 1");
    }
  }
  bool sure = x.has_rank();
  std::vector<Dim> out;
  for (int i = 0; sure && i < x.rank(); ++i) {
    if (axes.empty()) {
      if (!x.dim(i).is_known()) sure = false;
      if (x.dim(i) != Dim(1)) out.push_back(x.dim(i));
    } else if (std::find(axes.begin(), axes.end(), i) == axes.end()) {
      out.push_back(x.dim(i));
    }
  }
  c.set_output(0, c.input_dtype(0), sure ? Shape(std::move(out)) : Shape::unknown());
  keep_content(c);
  return Status();
}

Status infer_ensure_shape(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  const Shape& x = c.input_shape(0);
  std::vector<Dim> wanted;
  for (const int64_t d : c.node().get<EnsureShapeAttrs>().dims) {
    const auto at = static_cast<int>(wanted.size());
    wanted.push_back(d >= 0 ? Dim(d) : x.has_rank() && at < x.rank() ? x.dim(at) : c.fresh_dim("dim"));
  }
  bool agrees = !x.has_rank() || x.rank() == static_cast<int>(wanted.size());
  for (int i = 0; agrees && i < x.rank(); ++i) agrees = !x.dim(i).is_known() || x.dim(i) == wanted[i];
  if (!agrees) return infer_error(c, "reads a tensor of shape ", show(c, x), ", expected ", show(c, Shape(wanted)));
  c.set_output(0, c.input_dtype(0), Shape(std::move(wanted)));
  keep_content(c);
  return Status();
}

Status infer_shape_of(InferContext& c) {
  const auto& a = c.node().get<ShapeOfAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  if (a.dtype != DType::kInt32 && a.dtype != DType::kInt64) {
    return infer_error(c, "gives type ", dtype_name(a.dtype), ", expected int32 or int64");
  }
  const Shape x = c.input_shape(0);
  if (a.kind == ShapeOfKind::kShape) {
    c.set_output(0, a.dtype, Shape({x.has_rank() ? Dim(x.rank()) : c.fresh_dim("rank")}));
    if (x.has_rank()) c.set_output_content(0, x.dims());
    return Status();
  }
  c.set_output(0, a.dtype, Shape::scalar());
  if (!x.has_rank()) return Status();
  c.set_output_content(0, {a.kind == ShapeOfKind::kRank ? Dim(x.rank()) : product(c.symbols(), x.dims())});
  return Status();
}

Status infer_fill(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 0, "a value"));
  BLADE_ASSIGN_OR_RETURN(Shape out, shape_from_input(c, 0, "dims"));
  const auto count = out.element_count();
  c.set_output(0, c.input_dtype(1), std::move(out));
  const auto value = scalar_element(c, 1);
  if (value && count && *count <= 1024) c.set_output_content(0, std::vector<Dim>(*count, *value));
  return Status();
}

Status infer_range(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3));
  static constexpr const char* kNames[] = {"a start", "a limit", "a delta"};
  for (int i = 0; i < 3; ++i) {
    BLADE_RETURN_IF_ERROR(check_rank(c, i, 0, kNames[i]));
    BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, i));
  }
  const DType dtype = c.input_dtype(0);
  Dim count;
  if (dtype == DType::kFloat32) {
    BLADE_ASSIGN_OR_RETURN(count, float_range_size<float>(c));
  } else if (dtype == DType::kFloat64) {
    BLADE_ASSIGN_OR_RETURN(count, float_range_size<double>(c));
  } else {
    BLADE_ASSIGN_OR_RETURN(count, integer_range_size(c));
  }
  c.set_output(0, dtype, Shape({count}));
  range_content(c, count);
  return Status();
}

Status infer_broadcast_to(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2));
  BLADE_ASSIGN_OR_RETURN(Shape out, shape_from_input(c, 1, "a target shape"));
  const Shape& x = c.input_shape(0);
  if (out.has_rank() && x.has_rank()) {
    if (x.rank() > out.rank()) {
      return infer_error(c, "broadcasts ", show(c, x), " to ", show(c, out), ", expected a target of no lower rank");
    }
    for (int i = 1; i <= x.rank(); ++i) {
      const Dim from = x.dim(-i), to = out.dim(-i);
      if (from.is_known() && to.is_known() && from != to && from != Dim(1)) {
        return infer_error(c, "broadcasts ", show(c, x), " to ", show(c, out), ", expected dims equal or 1");
      }
    }
  }
  const auto count = out.element_count();
  c.set_output(0, c.input_dtype(0), std::move(out));
  const auto value = scalar_element(c, 0);
  if (value && count && *count <= 1024) c.set_output_content(0, std::vector<Dim>(*count, *value));
  return Status();
}

Status infer_tile(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2));
  BLADE_ASSIGN_OR_RETURN(const Shape multiples, shape_from_input(c, 1, "multiples"));
  const Shape& x = c.input_shape(0);
  if (!x.has_rank() || !multiples.has_rank()) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  if (multiples.rank() != x.rank()) {
    return infer_error(c, "has ", multiples.rank(), " multiples for an input of shape ", show(c, x), ", expected ",
                       x.rank());
  }
  std::vector<Dim> out;
  for (int i = 0; i < x.rank(); ++i) out.push_back(c.symbols().mul(x.dim(i), multiples.dim(i)));
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  const auto* content = c.input_content(0);
  if (content != nullptr && x.rank() == 1 && multiples.dim(0).is_known() && multiples.dim(0).value() <= 1024 &&
      content->size() * multiples.dim(0).value() <= 1024) {
    std::vector<Dim> repeated;
    for (int64_t i = 0; i < multiples.dim(0).value(); ++i) {
      repeated.insert(repeated.end(), content->begin(), content->end());
    }
    c.set_output_content(0, std::move(repeated));
  }
  return Status();
}

// Between types of different sizes the last dim goes away or comes.
Status infer_bitcast(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  const DType to = c.node().get<BitcastAttrs>().to;
  const size_t from_size = dtype_size(c.input_dtype(0)), to_size = dtype_size(to);
  if (to_size == 0) return infer_error(c, "reads bits as ", dtype_name(to), ", expected a number type");
  Shape out = c.input_shape(0);
  if (from_size > to_size && out.has_rank()) {
    std::vector<Dim> dims = out.dims();
    dims.push_back(static_cast<int64_t>(from_size / to_size));
    out = Shape(std::move(dims));
  }
  if (from_size < to_size && from_size != 0 && out.has_rank()) {
    const auto ratio = static_cast<int64_t>(to_size / from_size);
    if (out.rank() == 0 || (out.dim(-1).is_known() && out.dim(-1).value() != ratio)) {
      return infer_error(c, "joins elements of ", dtype_name(c.input_dtype(0)), " into ", dtype_name(to),
                         " but has the shape ", show(c, out), ", expected a last dim of ", ratio);
    }
    out = Shape(std::vector<Dim>(out.dims().begin(), out.dims().end() - 1));
  }
  c.set_output(0, to, std::move(out));
  return Status();
}

}  // namespace blade::ir
