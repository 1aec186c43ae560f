// Ops about shapes: those that only rename dims (a copy), the shape of a tensor, and tensors made from numbers.
#include <cstring>

#include "backends/reference/common.h"

namespace blade::backends::reference {

Status run_copy(const Call& call) {
  if (call.inputs[0].bytes() != call.outputs[0].bytes()) {
    return invalid_argument(call.where() + "the input has " + std::to_string(call.inputs[0].element_count()) +
                            " elements, but the output shape holds " + std::to_string(call.outputs[0].element_count()) +
                            ".");
  }
  if (call.outputs[0].bytes() != 0) std::memcpy(call.out[0], call.in[0], call.outputs[0].bytes());
  return Status::ok_status();
}

Status run_shape_of(const Call& call) {
  const ir::Dims& dims = call.in_dims(0);
  Array<int64_t> y = make_array<int64_t>(call.out_dims());
  switch (call.node.get<ir::ShapeOfAttrs>().kind) {
    case ir::ShapeOfKind::kShape:
      y.values = dims;
      break;
    case ir::ShapeOfKind::kSize:
      y[0] = count_of(dims);
      break;
    case ir::ShapeOfKind::kRank:
      y[0] = static_cast<int64_t>(dims.size());
      break;
  }
  write(call, 0, y);
  return Status::ok_status();
}

Status run_fill(const Call& call) {
  for (int64_t i = 0; i < count_of(call.out_dims()); ++i) copy_element(call, 1, 0, 0, i);
  return Status::ok_status();
}

Status run_range(const Call& call) {
  return with_wide(call.out_dtype(), [&]<class W>(W) {
    const W start = read<W>(call, 0)[0], delta = read<W>(call, 2)[0];
    Array<W> y = make_array<W>(call.out_dims());
    for (int64_t i = 0; i < count_of(y.dims); ++i) {
      y[i] = static_cast<W>(start + rounded(static_cast<W>(static_cast<W>(i) * delta), call.out_dtype()));
    }
    write(call, 0, y);
    return Status::ok_status();
  });
}

}  // namespace blade::backends::reference
