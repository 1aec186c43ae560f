// Shape inference of recurrent layers over whole sequences.
#include "ir/ops/infer_support.h"

namespace blade::ir {

// steps, x [t, n, in], cs and h [n, cells], w [in + cells, 4 cells], wci wcf wco [cells], b [4 cells] -> i, cs, f, o,
// ci, co, h, each [t, n, cells].
Status infer_block_lstm(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 9, 9, 7));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 3, "an input"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 2, 2, "a cell state"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 3, 2, "a hidden state"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 4, 2, "weights"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 8, 1, "a bias"));
  BLADE_ASSIGN_OR_RETURN(const Dim batch,
                         merge_dims(c, input_dim(c, 1, 1, "batch"), input_dim(c, 2, 0, "batch"), "the batch size"));
  const Dim steps = input_dim(c, 1, 0, "steps"), cells = input_dim(c, 2, 1, "cells");
  SymbolTable& s = c.symbols();
  if (c.input_shape(4).has_rank()) {
    const Dim rows = s.add(input_dim(c, 1, 2, "in"), cells);
    BLADE_RETURN_IF_ERROR(merge_dims(c, c.input_shape(4).dim(0), rows, "the rows of the weights").status());
    BLADE_RETURN_IF_ERROR(
        merge_dims(c, c.input_shape(4).dim(1), s.mul(cells, 4), "the columns of the weights").status());
  }
  for (int i = 0; i < 7; ++i) c.set_output(i, c.input_dtype(1), Shape({steps, batch, cells}));
  return Status();
}

namespace {

// Merges the dim `axis` of input `i` with `dim`.
Status merge_input(InferContext& c, int i, int axis, Dim& dim, const char* what) {
  if (!c.input_shape(i).has_rank()) return Status();
  BLADE_ASSIGN_OR_RETURN(dim, merge_dims(c, dim, c.input_shape(i).dim(axis), what));
  return Status();
}

}  // namespace

Status infer_recurrence(InferContext& c) {
  const auto& attrs = c.node().get<RecurrenceAttrs>();
  const int states = attrs.states(), inputs = 4 + states + (attrs.masked ? 1 : 0);
  BLADE_RETURN_IF_ERROR(check_arity(c, inputs, inputs, 1 + states));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 3, "the input"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 2, "input weights"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 2, 1, "biases"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 3, 2, "recurrent weights"));
  for (int i = 1; i < 4 + states; ++i) BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, i));
  Dim steps = input_dim(c, 0, 0, "steps"), batch = input_dim(c, 0, 1, "batch"), cells = input_dim(c, 3, 0, "cells");
  for (int i = 4; i < 4 + states; ++i) {
    BLADE_RETURN_IF_ERROR(check_rank(c, i, 2, "a state"));
    BLADE_RETURN_IF_ERROR(merge_input(c, i, 0, batch, "the batch size"));
    BLADE_RETURN_IF_ERROR(merge_input(c, i, 1, cells, "the state's size and the rows of the recurrent weights"));
  }
  if (attrs.masked) {
    BLADE_RETURN_IF_ERROR(check_rank(c, inputs - 1, 2, "the mask"));
    BLADE_RETURN_IF_ERROR(merge_input(c, inputs - 1, 0, steps, "the number of steps"));
    BLADE_RETURN_IF_ERROR(merge_input(c, inputs - 1, 1, batch, "the batch size"));
  }
  Dim rows = input_dim(c, 0, 2, "inputs"), gates = c.symbols().mul(cells, attrs.gates()),
      biases = c.symbols().mul(cells, attrs.biases());
  BLADE_RETURN_IF_ERROR(merge_input(c, 1, 0, rows, "the input's size and the rows of its weights"));
  for (int i : {1, 3}) BLADE_RETURN_IF_ERROR(merge_input(c, i, 1, gates, "the columns of the weights"));
  BLADE_RETURN_IF_ERROR(merge_input(c, 2, 0, biases, "the biases of the gates"));
  c.set_output(0, c.input_dtype(0), Shape({steps, batch, cells}));
  for (int i = 1; i <= states; ++i) c.set_output(i, c.input_dtype(0), Shape({batch, cells}));
  return Status();
}

}  // namespace blade::ir
