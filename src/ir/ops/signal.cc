// Fourier transforms, and sequences read off a network's scores.
#include "ir/ops/infer_support.h"

namespace blade::ir {

Status infer_fft(InferContext& c) {
  const FftKind kind = c.node().get<FftAttrs>().kind;
  const int parts = kind == FftKind::kReal ? 1 : 2, results = kind == FftKind::kRealInverse ? 1 : 2;
  const bool takes_length = kind == FftKind::kReal || kind == FftKind::kRealInverse;
  const int inputs = parts + (takes_length ? 1 : 0);
  BLADE_RETURN_IF_ERROR(check_arity(c, inputs, inputs, results));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 1, "an input"));
  if (!is_floating(c.input_dtype(0)) && c.input_dtype(0) != DType::kInvalid) {
    return infer_error(c, "has an input of type ", dtype_name(c.input_dtype(0)), ", expected a floating type");
  }
  Shape out = c.input_shape(0);
  if (parts == 2) {
    BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
    BLADE_ASSIGN_OR_RETURN(out, merge_shapes(c, out, c.input_shape(1), "the parts of complex numbers"));
  }
  if (takes_length) {
    BLADE_ASSIGN_OR_RETURN(const Dim length, size_from_input(c, parts, "a length"));
    if (length == Dim(0)) return infer_error(c, "has a length of 0, expected 1 or more");
    SymbolTable& s = c.symbols();
    const Dim spectrum = s.add(s.floor_div(length, 2), 1);
    if (out.has_rank()) {
      const Dim have = out.dim(-1), needed = results == 1 ? spectrum : length;
      if (have.is_known() && needed.is_known() && have.value() < needed.value()) {
        return infer_error(c, "has rows of ", have.value(), " numbers, expected ", needed.value(), " or more");
      }
      out.set_dim(-1, results == 1 ? length : spectrum);
    }
  }
  for (int i = 0; i < results; ++i) c.set_output(i, c.input_dtype(0), out);
  return Status();
}

Status infer_ctc_greedy_decoder(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2, 4));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 3, "scores"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 1, "numbers of steps"));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 1, "numbers of steps"));
  BLADE_ASSIGN_OR_RETURN(const Dim batch,
                         merge_dims(c, input_dim(c, 0, 1, "batch"), input_dim(c, 1, 0, "batch"), "the batch"));
  const Dim found = c.fresh_dim("found");
  c.set_output(0, DType::kInt64, Shape({found, 2}));
  c.set_output(1, DType::kInt64, Shape({found}));
  c.set_output(2, DType::kInt64, Shape({2}));
  c.set_output(3, c.input_dtype(0), Shape({batch, 1}));
  return Status();
}

}  // namespace blade::ir
