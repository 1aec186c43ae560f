// Shapes of the ops that pack and unpack diagonals of matrices. Diagonal 0 is the main one, k > 0 lie above, k < 0
// below; several are packed [lower ... upper] from the highest down, each row as long as the longest.
#include <algorithm>

#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

struct Band {
  std::optional<int64_t> lower, upper;
  bool known() const { return lower && upper; }
};

// k: a scalar or [lower, upper].
Result<Band> read_band(InferContext& c, int input) {
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, input, "diagonals"));
  const auto k = constant_elements(c, input);
  if (!k) return Band{};
  if (k->empty() || k->size() > 2) {
    return infer_error(c, "has ", k->size(), " diagonal numbers, expected one or [lower, upper]");
  }
  if (k->back() < k->front()) {
    return infer_error(c, "has diagonals from ", k->front(), " to ", k->back(), ", expected lower to upper");
  }
  return Band{k->front(), k->back()};
}

// The longest diagonal of the band in a matrix.
Dim longest(SymbolTable& s, const Band& band, Dim rows, Dim columns) {
  return s.min(s.add(rows, s.number(std::min<int64_t>(*band.upper, 0))),
               s.sub(columns, s.number(std::max<int64_t>(*band.lower, 0))));
}

Shape fresh_rank(InferContext& c, int rank) {
  std::vector<Dim> dims;
  for (int i = 0; i < rank; ++i) dims.push_back(c.fresh_dim("dim"));
  return Shape(std::move(dims));
}

Status check_band_inside(InferContext& c, const Band& band, Dim rows, Dim columns) {
  const auto r = c.symbols().constant(rows), n = c.symbols().constant(columns);
  if (!band.known() || !r || !n) return Status();
  const bool lower_ok = (*band.lower > -*r && *band.lower < *n) || *band.lower == 0;
  const bool upper_ok = (*band.upper > -*r && *band.upper < *n) || *band.upper == 0;
  if (lower_ok && upper_ok) return Status();
  return infer_error(c, "has diagonals from ", *band.lower, " to ", *band.upper, " of a ", *r, " by ", *n,
                     " matrix, expected ones that it has");
}

}  // namespace

Status infer_matrix_diag_part(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 2, "an input"));
  BLADE_ASSIGN_OR_RETURN(const Band band, read_band(c, 1));
  const Shape& x = c.input_shape(0);
  if (!x.has_rank() || !band.known()) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  BLADE_RETURN_IF_ERROR(check_band_inside(c, band, x.dim(-2), x.dim(-1)));
  std::vector<Dim> out(x.dims().begin(), x.dims().end() - 2);
  if (*band.lower != *band.upper) out.push_back(*band.upper - *band.lower + 1);
  out.push_back(longest(c.symbols(), band, x.dim(-2), x.dim(-1)));
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  return Status();
}

Status infer_matrix_set_diag(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 2, "an input"));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 1, 1, "diagonals"));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  BLADE_ASSIGN_OR_RETURN(const Band band, read_band(c, 2));
  const Shape &x = c.input_shape(0), &diagonal = c.input_shape(1);
  if (x.has_rank() && band.known()) {
    BLADE_RETURN_IF_ERROR(check_band_inside(c, band, x.dim(-2), x.dim(-1)));
    std::vector<Dim> expected(x.dims().begin(), x.dims().end() - 2);
    if (*band.lower != *band.upper) expected.push_back(*band.upper - *band.lower + 1);
    expected.push_back(longest(c.symbols(), band, x.dim(-2), x.dim(-1)));
    if (diagonal.has_rank()) {
      BLADE_RETURN_IF_ERROR(merge_shapes(c, diagonal, Shape(std::move(expected)), "diagonals and the matrix").status());
    }
  }
  c.set_output(0, c.input_dtype(0), x);
  return Status();
}

// rows and columns of -1 follow from the diagonals: the matrix is square, or as small as holds them.
Status infer_matrix_diag(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 5, 5));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 1, "diagonals"));
  BLADE_ASSIGN_OR_RETURN(const Band band, read_band(c, 1));
  const auto rows = scalar_element(c, 2), columns = scalar_element(c, 3);
  const Shape& x = c.input_shape(0);
  SymbolTable& s = c.symbols();
  if (!x.has_rank() || !band.known()) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  const bool packed = *band.lower != *band.upper;
  if (packed && x.rank() < 2) return infer_error(c, "has several diagonals in a vector, expected a matrix of them");
  if (packed && x.dim(-2).is_known() && x.dim(-2).value() != *band.upper - *band.lower + 1) {
    return infer_error(c, "has ", x.dim(-2).value(), " diagonals for numbers from ", *band.lower, " to ", *band.upper,
                       ", expected one each");
  }
  const Shape outer(std::vector<Dim>(x.dims().begin(), x.dims().end() - (packed ? 2 : 1)));
  if (!rows || !columns || (!s.constant(*rows) && !s.is_nonnegative(*rows)) ||
      (!s.constant(*columns) && !s.is_nonnegative(*columns))) {
    c.set_output(0, c.input_dtype(0), fresh_rank(c, outer.rank() + 2));
    return Status();
  }
  const Dim length = x.dim(-1);
  const Dim least_rows = s.sub(length, s.number(std::min<int64_t>(*band.upper, 0)));
  const Dim least_columns = s.add(length, s.number(std::max<int64_t>(*band.lower, 0)));
  const bool free_rows = s.constant(*rows) == -1, free_columns = s.constant(*columns) == -1;
  Dim r = free_rows ? least_rows : *rows, n = free_columns ? least_columns : *columns;
  if (free_rows && free_columns) r = n = s.max(least_rows, least_columns);
  const auto shorter = [&](Dim found, Dim least) {
    const auto f = s.constant(found), l = s.constant(least);
    return f && l && *f < *l;
  };
  if (shorter(r, least_rows) || shorter(n, least_columns)) {
    return infer_error(c, "makes a ", s.to_string(r), " by ", s.to_string(n), " matrix of diagonals of length ",
                       s.to_string(length), ", expected one that holds them");
  }
  const auto known_r = s.constant(r), known_n = s.constant(n), lr = s.constant(least_rows),
             ln = s.constant(least_columns);
  if (known_r && known_n && lr && ln && *known_r != *lr && *known_n != *ln) {
    return infer_error(c, "makes a ", *known_r, " by ", *known_n, " matrix, expected ", *lr, " rows or ", *ln,
                       " columns, as its diagonals' length asks");
  }
  BLADE_RETURN_IF_ERROR(check_band_inside(c, band, r, n));
  std::vector<Dim> out = outer.dims();
  out.push_back(r);
  out.push_back(n);
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  return Status();
}

}  // namespace blade::ir
