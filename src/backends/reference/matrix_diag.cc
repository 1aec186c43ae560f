// Packing and unpacking diagonals of matrices, by TensorFlow's definition of MatrixDiagV3 and its relatives.
#include <algorithm>

#include "backends/reference/common.h"
#include "backends/reference/diagonals.h"

namespace blade::backends::reference {

Status run_matrix_diag_part(const Call& call) {
  const ir::Dims& dims = call.in_dims(0);
  const Diagonals band(read_ints(call, 1), dims[dims.size() - 2], dims.back(), call.node.get<ir::DiagAttrs>());
  const int64_t batch = count_of(ir::Dims(dims.begin(), dims.end() - 2));
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t d = 0; d < band.count(); ++d) {
      for (int64_t i = 0; i < band.longest; ++i) {
        const int64_t to = (b * band.count() + d) * band.longest + i;
        const int64_t from = band.position(d, i);
        copy_element(call, from < 0 ? 2 : 0, from < 0 ? 0 : b * band.rows * band.columns + from, 0, to);
      }
    }
  }
  return Status::ok_status();
}

// Copies every element of packed diagonals (input `from`) to its place in the matrices of output 0.
static void place_diagonals(const Call& call, const Diagonals& band, int from, int64_t batch) {
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t d = 0; d < band.count(); ++d) {
      for (int64_t i = 0; i < band.longest; ++i) {
        const int64_t to = band.position(d, i);
        if (to < 0) continue;
        copy_element(call, from, (b * band.count() + d) * band.longest + i, 0, b * band.rows * band.columns + to);
      }
    }
  }
}

Status run_matrix_diag(const Call& call) {
  const ir::Dims& dims = call.out_dims();
  const Diagonals band(read_ints(call, 1), dims[dims.size() - 2], dims.back(), call.node.get<ir::DiagAttrs>());
  for (int64_t i = 0; i < count_of(dims); ++i) copy_element(call, 4, 0, 0, i);
  place_diagonals(call, band, 0, count_of(ir::Dims(dims.begin(), dims.end() - 2)));
  return Status::ok_status();
}

Status run_matrix_set_diag(const Call& call) {
  const ir::Dims& dims = call.out_dims();
  const Diagonals band(read_ints(call, 2), dims[dims.size() - 2], dims.back(), call.node.get<ir::DiagAttrs>());
  for (int64_t i = 0; i < count_of(dims); ++i) copy_element(call, 0, i, 0, i);
  place_diagonals(call, band, 1, count_of(ir::Dims(dims.begin(), dims.end() - 2)));
  return Status::ok_status();
}

}  // namespace blade::backends::reference
