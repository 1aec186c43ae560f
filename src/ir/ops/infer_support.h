// What the inference functions of all op families share: checks that fail with a sentence, and arithmetic on contents.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "ir/graph.h"
#include "ir/ops/infer_functions.h"
#include "ir/text.h"

namespace blade::ir {

// "Node 'name' (Op) <what>."; a full stop that `what` already ends with is not doubled.
Status infer_error_text(const InferContext& c, std::string what);
template <class... Parts>
Status infer_error(const InferContext& c, const Parts&... parts) {
  return infer_error_text(c, concat(parts...));
}

inline constexpr int kAnyNumber = -1;
// max_inputs or outputs kAnyNumber: no upper bound (outputs: at least 1).
Status check_arity(const InferContext& c, int min_inputs, int max_inputs, int outputs = 1);
// An unknown rank passes. `what` names the input: "the filter".
Status check_rank(InferContext& c, int input, int rank, const char* what);
Status check_min_rank(InferContext& c, int input, int rank, const char* what);
// 0 <= axis < rank; with an unknown rank (rank < 0) only 0 <= axis.
Status check_axis(const InferContext& c, int64_t axis, int rank);
// Both known and different is an error; an unknown (kInvalid) type passes.
// Each of [0, rank) once.
Status check_permutation(const InferContext& c, const std::vector<int64_t>& perm, int rank);
Status check_same_dtype(const InferContext& c, int a, int b);
Status check_index_dtype(const InferContext& c, int input, const char* what);

std::string show(InferContext& c, const Shape& shape);
int rank_or_unknown(const Shape& shape);                               // -1 for unknown
Dim input_dim(InferContext& c, int input, int axis, const char* why);  // fresh where the rank is unknown

// The one size that two equal dims have; an error when both are known and differ.
Result<Dim> merge_dims(InferContext& c, Dim a, Dim b, const char* what);
Result<Shape> merge_shapes(InferContext& c, const Shape& a, const Shape& b, const char* what);
// numpy broadcasting; unknown when either rank is unknown.
Result<Shape> broadcast_shapes(InferContext& c, const Shape& a, const Shape& b);
Dim product(SymbolTable& symbols, const std::vector<Dim>& dims);

// Elements of an integer input when every one is a number.
std::optional<std::vector<int64_t>> constant_elements(InferContext& c, int input);
// The only element of a scalar (or one-element) integer input, where known as a number or an expression.
std::optional<Dim> scalar_element(InferContext& c, int input);
// Contents, with fresh unknowns where only the (small) number of elements is known; nullopt where not even that is.
std::optional<std::vector<Dim>> elements_or_fresh(InferContext& c, int input, const char* why);
// The shape that a 1-D integer input spells.
Result<Shape> shape_from_input(InferContext& c, int input, const char* what);
// The size that a scalar integer input spells; fresh where unknown.
Result<Dim> size_from_input(InferContext& c, int input, const char* what);

// Contents of `source` (row-major, of dims `dims`) picked by strides: out[i] = source[sum (begin[k] + i_k * step[k])].
std::vector<Dim> pick_content(const std::vector<Dim>& source, const Dims& dims, const Dims& begin, const Dims& step,
                              const Dims& out_dims);
// Operands of an epilogue from node input `first` on: scalars, vectors of the last dim, or the output's shape.
Status check_epilogue(InferContext& c, const PointwiseProgram& program, int first, const Shape& out);
// Product of dims [from, to).
int64_t count_dims(const Dims& dims, size_t from, size_t to);

}  // namespace blade::ir
