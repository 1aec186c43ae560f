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

// sums [t, n, 4 cells] of the gates i, f, c, o without their states' part, weights [cells, 4 cells], h and cs
// [n, cells] -> all h [t, n, cells], the last h and cs [n, cells].
Status infer_lstm(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 4, 4, 3));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 3, "the gates' sums"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 2, "recurrent weights"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 2, 2, "a hidden state"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 3, 2, "a cell state"));
  for (int i = 1; i < 4; ++i) BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, i));
  const Dim steps = input_dim(c, 0, 0, "steps");
  BLADE_ASSIGN_OR_RETURN(Dim batch,
                         merge_dims(c, input_dim(c, 0, 1, "batch"), input_dim(c, 2, 0, "batch"), "the batch size"));
  BLADE_ASSIGN_OR_RETURN(batch, merge_dims(c, batch, input_dim(c, 3, 0, "batch"), "the batch size"));
  BLADE_ASSIGN_OR_RETURN(Dim cells,
                         merge_dims(c, input_dim(c, 2, 1, "cells"), input_dim(c, 3, 1, "cells"), "the state's size"));
  BLADE_ASSIGN_OR_RETURN(cells, merge_dims(c, cells, input_dim(c, 1, 0, "cells"),
                                           "the rows of the recurrent weights and the state's size"));
  const Dim gates = c.symbols().mul(cells, 4);
  for (int i : {0, 1}) {
    if (!c.input_shape(i).has_rank()) continue;
    BLADE_RETURN_IF_ERROR(merge_dims(c, c.input_shape(i).dim(-1), gates, "four gates a cell").status());
  }
  c.set_output(0, c.input_dtype(0), Shape({steps, batch, cells}));
  for (int i : {1, 2}) c.set_output(i, c.input_dtype(0), Shape({batch, cells}));
  return Status();
}

}  // namespace blade::ir
