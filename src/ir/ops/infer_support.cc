// Shared checks and arithmetic of the inference functions.
#include "ir/ops/infer_support.h"

#include <algorithm>

namespace blade::ir {
namespace {
constexpr int64_t kMaxFreshElements = 64;
}

Status infer_error_text(const InferContext& c, std::string what) {
  if (what.ends_with('.')) what.pop_back();
  return invalid_argument(concat("Node '", c.node().name, "' (", op_name(c.node().op), ") ", what, "."));
}

Status check_arity(const InferContext& c, int min_inputs, int max_inputs, int outputs) {
  const int inputs = c.num_inputs();
  if (inputs < min_inputs || (max_inputs != kAnyNumber && inputs > max_inputs)) {
    const std::string expected = max_inputs == kAnyNumber   ? concat("at least ", min_inputs)
                                 : max_inputs == min_inputs ? std::to_string(min_inputs)
                                                            : concat(min_inputs, " to ", max_inputs);
    return infer_error(c, "has ", inputs, " inputs, expected ", expected);
  }
  const auto found = static_cast<int>(c.node().outputs.size());
  if (outputs == kAnyNumber ? found < 1 : found != outputs) {
    return infer_error(c, "has ", found, " outputs, expected ",
                       outputs == kAnyNumber ? "at least 1" : std::to_string(outputs));
  }
  return Status();
}

Status check_rank(InferContext& c, int input, int rank, const char* what) {
  const Shape& shape = c.input_shape(input);
  if (!shape.has_rank() || shape.rank() == rank) return Status();
  return infer_error(c, "has ", what, " of shape ", show(c, shape), ", expected rank ", rank);
}

Status check_min_rank(InferContext& c, int input, int rank, const char* what) {
  const Shape& shape = c.input_shape(input);
  if (!shape.has_rank() || shape.rank() >= rank) return Status();
  return infer_error(c, "has ", what, " of shape ", show(c, shape), ", expected rank ", rank, " or more");
}

Status check_axis(const InferContext& c, int64_t axis, int rank) {
  if (axis >= 0 && (rank < 0 || axis < rank)) return Status();
  if (rank < 0) return infer_error(c, "has axis ", axis, ", expected 0 or more");
  return infer_error(c, "has axis ", axis, ", expected one in [0, ", rank, ")");
}

Status check_permutation(const InferContext& c, const std::vector<int64_t>& perm, int rank) {
  if (static_cast<int>(perm.size()) != rank) {
    return infer_error(c, "has a permutation of ", perm.size(), " axes, expected ", rank);
  }
  std::vector<bool> seen(perm.size(), false);
  for (int64_t axis : perm) {
    BLADE_RETURN_IF_ERROR(check_axis(c, axis, rank));
    if (seen[static_cast<size_t>(axis)]) {
      return infer_error(c, "has axis ", axis, " twice in its permutation, expected each once");
    }
    seen[static_cast<size_t>(axis)] = true;
  }
  return Status();
}

Status check_same_dtype(const InferContext& c, int a, int b) {
  const DType da = c.input_dtype(a), db = c.input_dtype(b);
  if (da == db || da == DType::kInvalid || db == DType::kInvalid) return Status();
  return infer_error(c, "has inputs ", a, " and ", b, " of types ", dtype_name(da), " and ", dtype_name(db),
                     ", expected the same type");
}

Status check_index_dtype(const InferContext& c, int input, const char* what) {
  const DType dtype = c.input_dtype(input);
  if (is_integer(dtype) || dtype == DType::kInvalid) return Status();
  return infer_error(c, "has ", what, " of type ", dtype_name(dtype), ", expected an integer type");
}

std::string show(InferContext& c, const Shape& shape) { return c.symbols().to_string(shape); }

int rank_or_unknown(const Shape& shape) { return shape.has_rank() ? shape.rank() : -1; }

Dim input_dim(InferContext& c, int input, int axis, const char* why) {
  const Shape& shape = c.input_shape(input);
  return shape.has_rank() ? shape.dim(axis) : c.fresh_dim(why);
}

Result<Dim> merge_dims(InferContext& c, Dim a, Dim b, const char* what) {
  if (a.is_known() && b.is_known() && a != b) {
    return infer_error(c, "finds ", what, " to be ", a.value(), " and ", b.value(), ", expected the same size");
  }
  return a.is_known() ? a : b.is_known() ? b : a;
}

Result<Shape> merge_shapes(InferContext& c, const Shape& a, const Shape& b, const char* what) {
  if (!a.has_rank()) return b;
  if (!b.has_rank()) return a;
  if (a.rank() != b.rank()) {
    return infer_error(c, "finds ", what, " of shapes ", show(c, a), " and ", show(c, b), ", expected the same rank");
  }
  Shape out = a;
  for (int i = 0; i < a.rank(); ++i) {
    BLADE_ASSIGN_OR_RETURN(const Dim d, merge_dims(c, a.dim(i), b.dim(i), what));
    out.set_dim(i, d);
  }
  return out;
}

Result<Shape> broadcast_shapes(InferContext& c, const Shape& a, const Shape& b) {
  if (!a.has_rank() || !b.has_rank()) return Shape::unknown();
  const int rank = std::max(a.rank(), b.rank());
  std::vector<Dim> out(rank);
  for (int i = 1; i <= rank; ++i) {
    const Dim da = i <= a.rank() ? a.dim(-i) : Dim(1), db = i <= b.rank() ? b.dim(-i) : Dim(1);
    if (da.is_known() && db.is_known() && da != db && da != Dim(1) && db != Dim(1)) {
      return infer_error(c, "has operands of shapes ", show(c, a), " and ", show(c, b),
                         ", expected shapes that broadcast (dims equal or 1)");
    }
    out[rank - i] = c.symbols().broadcast(da, db);
  }
  return Shape(std::move(out));
}

Dim product(SymbolTable& symbols, const std::vector<Dim>& dims) {
  Dim out = 1;
  for (Dim d : dims) out = symbols.mul(out, d);
  return out;
}

std::optional<std::vector<int64_t>> constant_elements(InferContext& c, int input) {
  const auto* content = c.input_content(input);
  if (content == nullptr) return std::nullopt;
  std::vector<int64_t> out;
  for (Dim d : *content) {
    const auto value = c.symbols().constant(d);
    if (!value) return std::nullopt;
    out.push_back(*value);
  }
  return out;
}

std::optional<Dim> scalar_element(InferContext& c, int input) {
  const auto* content = c.input_content(input);
  if (content == nullptr || content->size() != 1) return std::nullopt;
  return (*content)[0];
}

std::optional<std::vector<Dim>> elements_or_fresh(InferContext& c, int input, const char* why) {
  if (const auto* content = c.input_content(input)) return *content;
  const auto count = c.input_shape(input).element_count();
  const DType dtype = c.input_dtype(input);
  if (!count || *count > kMaxFreshElements || !(is_integer(dtype) || dtype == DType::kInvalid)) return std::nullopt;
  std::vector<Dim> out;
  for (int64_t i = 0; i < *count; ++i) out.push_back(c.fresh_element(why));
  return out;
}

Result<Shape> shape_from_input(InferContext& c, int input, const char* what) {
  BLADE_RETURN_IF_ERROR(check_rank(c, input, 1, what));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, input, what));
  if (const auto* content = c.input_content(input)) {
    for (Dim d : *content) {
      if (const auto v = c.symbols().constant(d); v && *v < 0) {
        return infer_error(c, "has ", what, " with an element of ", *v, ", expected sizes of 0 or more");
      }
    }
    return Shape(*content);
  }
  const Shape& shape = c.input_shape(input);
  if (!shape.has_rank() || !shape.dim(0).is_known() || shape.dim(0).value() > 254) return Shape::unknown();
  std::vector<Dim> dims;
  for (int64_t i = 0; i < shape.dim(0).value(); ++i) dims.push_back(c.fresh_dim("dim"));
  return Shape(std::move(dims));
}

Result<Dim> size_from_input(InferContext& c, int input, const char* what) {
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, input, what));
  const auto element = scalar_element(c, input);
  if (!element) {
    if (const auto count = c.input_shape(input).element_count(); count && *count != 1) {
      return infer_error(c, "has ", what, " of shape ", show(c, c.input_shape(input)), ", expected a scalar");
    }
    return c.fresh_dim("size");
  }
  if (const auto v = c.symbols().constant(*element); v && *v < 0) {
    return infer_error(c, "has ", what, " of ", *v, ", expected 0 or more");
  }
  return *element;
}

std::vector<Dim> pick_content(const std::vector<Dim>& source, const Dims& dims, const Dims& begin, const Dims& step,
                              const Dims& out_dims) {
  const size_t rank = dims.size();
  Dims stride(rank, 1);
  for (size_t k = rank; k-- > 1;) stride[k - 1] = stride[k] * dims[k];
  const int64_t total = count_dims(out_dims, 0, rank);
  std::vector<Dim> out;
  Dims index(rank, 0);
  for (int64_t n = 0; n < total; ++n) {
    int64_t offset = 0;
    for (size_t k = 0; k < rank; ++k) offset += (begin[k] + index[k] * step[k]) * stride[k];
    out.push_back(source[offset]);
    for (size_t k = rank; k-- > 0;) {
      if (++index[k] < out_dims[k]) break;
      index[k] = 0;
    }
  }
  return out;
}

int64_t count_dims(const Dims& dims, size_t from, size_t to) {
  int64_t out = 1;
  for (size_t i = from; i < to; ++i) out *= dims[i];
  return out;
}

}  // namespace blade::ir
