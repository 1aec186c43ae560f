// Normalizations, and the ops whose output looks like their first input.
#include <set>

#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

// x [..., c] and vectors [c] as inputs 1 to n; gives x's shape with what the vectors say about c.
Result<Shape> channel_vectors(InferContext& c, const char* const* names, int n) {
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 1, "an input"));
  Shape out = c.input_shape(0);
  for (int i = 1; i <= n; ++i) {
    BLADE_RETURN_IF_ERROR(check_rank(c, i, 1, names[i - 1]));
    if (!out.has_rank() || !c.input_shape(i).has_rank()) continue;
    BLADE_ASSIGN_OR_RETURN(const Dim d, merge_dims(c, out.dim(-1), c.input_shape(i).dim(0), "the number of channels"));
    out.set_dim(-1, d);
  }
  return out;
}

Status check_distinct_axes(InferContext& c) {
  std::set<int64_t> seen;
  for (int64_t axis : c.node().get<AxesAttrs>().axes) {
    BLADE_RETURN_IF_ERROR(check_axis(c, axis, rank_or_unknown(c.input_shape(0))));
    if (!seen.insert(axis).second) return infer_error(c, "has axis ", axis, " twice, expected each once");
  }
  return Status();
}

void reverse_content(InferContext& c) {
  const auto* content = c.input_content(0);
  const auto dims = c.input_shape(0).static_dims();
  if (content == nullptr || !dims) return;
  Dims begin(dims->size(), 0), step(dims->size(), 1);
  for (int64_t axis : c.node().get<AxesAttrs>().axes) {
    begin[axis] = (*dims)[axis] - 1;
    step[axis] = -1;
  }
  c.set_output_content(0, pick_content(*content, *dims, begin, step, *dims));
}

Status check_like_input(InferContext& c) {
  switch (c.node().op) {
    case Op::kSoftmax:
      return check_min_rank(c, 0, 1, "an input");
    case Op::kLrn:
      return check_rank(c, 0, 4, "an input");
    case Op::kMatrixBandPart:
      return check_min_rank(c, 0, 2, "an input");
    case Op::kCumulative:
      return check_axis(c, c.node().get<CumulativeAttrs>().axis, rank_or_unknown(c.input_shape(0)));
    case Op::kReverse:
      return check_distinct_axes(c);
    default:
      return Status();
  }
}

}  // namespace

Status infer_moments(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1, 2));
  BLADE_RETURN_IF_ERROR(check_distinct_axes(c));
  Shape out = c.input_shape(0);
  for (int64_t axis : c.node().get<AxesAttrs>().axes) {
    if (out.has_rank()) out.set_dim(static_cast<int>(axis), 1);
  }
  for (int i = 0; i < 2; ++i) c.set_output(i, c.input_dtype(0), out);
  return Status();
}

Status infer_batch_norm(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 5, 5));
  static constexpr const char* kNames[] = {"a scale", "an offset", "a mean", "a variance"};
  BLADE_ASSIGN_OR_RETURN(Shape shape, channel_vectors(c, kNames, 4));
  c.set_output(0, c.input_dtype(0), std::move(shape));
  return Status();
}

Status infer_layer_norm(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3));
  static constexpr const char* kNames[] = {"a scale", "an offset"};
  BLADE_ASSIGN_OR_RETURN(Shape shape, channel_vectors(c, kNames, 2));
  c.set_output(0, c.input_dtype(0), std::move(shape));
  return Status();
}

Status infer_same_as_input(InferContext& c) {
  const int inputs = c.node().op == Op::kMatrixBandPart ? 3 : 1;
  BLADE_RETURN_IF_ERROR(check_arity(c, inputs, inputs));
  BLADE_RETURN_IF_ERROR(check_like_input(c));
  c.set_output(0, c.input_dtype(0), c.input_shape(0));
  if (c.node().op == Op::kIdentity) {
    if (const auto* content = c.input_content(0)) c.set_output_content(0, *content);
  }
  if (c.node().op == Op::kReverse) reverse_content(c);
  return Status();
}

}  // namespace blade::ir
