// Ops that move elements without computing on them: each output element is copied from the place its index names.
#include <algorithm>
#include <cstring>

#include "backends/reference/common.h"
#include "backends/reference/strided_slice.h"

namespace blade::backends::reference {

Status run_transpose(const Call& call) {
  const auto& perm = call.node.get<ir::PermAttrs>().perm;
  const ir::Dims strides = row_major_strides(call.in_dims(0));
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& index) {
    int64_t from = 0;
    for (size_t d = 0; d < perm.size(); ++d) from += index[d] * strides[perm[d]];
    copy_element(call, 0, from, 0, offset);
  });
  return Status::ok_status();
}

namespace {

// Copies input i into output o, whose dims it equals except along `axis`, where it lands at `begin`.
void place(const Call& call, int i, int o, const ir::Dims& from_dims, const ir::Dims& to_dims, int64_t axis,
           int64_t begin) {
  const ir::Dims strides = row_major_strides(to_dims);
  for_each_index(from_dims, [&](int64_t offset, const ir::Dims& index) {
    copy_element(call, i, offset, o, offset_of(index, strides) + begin * strides[axis]);
  });
}

// Copies the part of input 0 that begins at `begin` along `axis` to output o.
void take(const Call& call, int o, const ir::Dims& part_dims, int64_t axis, int64_t begin) {
  const ir::Dims strides = row_major_strides(call.in_dims(0));
  for_each_index(part_dims, [&](int64_t offset, const ir::Dims& index) {
    copy_element(call, 0, offset_of(index, strides) + begin * strides[axis], o, offset);
  });
}

ir::Dims with_unit_dim(ir::Dims dims, int64_t axis) {
  dims.insert(dims.begin() + axis, 1);
  return dims;
}

}  // namespace

Status run_concat(const Call& call) {
  const int64_t axis = call.node.get<ir::AxisAttrs>().axis;
  int64_t begin = 0;
  for (int i = 0; i < call.num_inputs(); ++i) {
    place(call, i, 0, call.in_dims(i), call.out_dims(), axis, begin);
    begin += call.in_dims(i)[axis];
  }
  return Status::ok_status();
}

Status run_split(const Call& call) {
  const int64_t axis = call.node.get<ir::SplitAttrs>().axis;
  int64_t begin = 0;
  for (size_t o = 0; o < call.outputs.size(); ++o) {
    take(call, static_cast<int>(o), call.outputs[o].dims, axis, begin);
    begin += call.outputs[o].dims[axis];
  }
  return Status::ok_status();
}

Status run_pack(const Call& call) {
  const int64_t axis = call.node.get<ir::AxisAttrs>().axis;
  for (int i = 0; i < call.num_inputs(); ++i) {
    place(call, i, 0, with_unit_dim(call.in_dims(i), axis), call.out_dims(), axis, i);
  }
  return Status::ok_status();
}

Status run_unpack(const Call& call) {
  const int64_t axis = call.node.get<ir::UnpackAttrs>().axis;
  for (size_t o = 0; o < call.outputs.size(); ++o) {
    take(call, static_cast<int>(o), with_unit_dim(call.outputs[o].dims, axis), axis, static_cast<int64_t>(o));
  }
  return Status::ok_status();
}

Status run_slice(const Call& call) {
  const std::vector<int64_t> begin = read_ints(call, 1);
  const ir::Dims& in = call.in_dims(0);
  for (size_t d = 0; d < in.size(); ++d) {
    if (begin[d] < 0 || begin[d] + call.out_dims()[d] > in[d]) {
      return invalid_argument(call.where() + "the slice of " + std::to_string(call.out_dims()[d]) + " from " +
                              std::to_string(begin[d]) + " leaves dim " + std::to_string(d) + ", which is " +
                              std::to_string(in[d]) + ".");
    }
  }
  const ir::Dims strides = row_major_strides(in);
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& index) {
    copy_element(call, 0, offset_of(index, strides) + offset_of(begin, strides), 0, offset);
  });
  return Status::ok_status();
}

Status run_strided_slice(const Call& call) {
  BLADE_ASSIGN_OR_RETURN(const DenseSlice slice,
                         dense_slice(call.node.get<ir::StridedSliceAttrs>(), call.in_dims(0), read_ints(call, 1),
                                     read_ints(call, 2), read_ints(call, 3)));
  if (count_of(slice.counts) != count_of(call.out_dims())) {
    return invalid_argument(call.where() + "the slice has " + std::to_string(count_of(slice.counts)) +
                            " elements, but the output shape holds " + std::to_string(count_of(call.out_dims())) + ".");
  }
  const ir::Dims strides = row_major_strides(call.in_dims(0));
  for_each_index(slice.counts, [&](int64_t offset, const ir::Dims& index) {
    int64_t from = 0;
    for (size_t d = 0; d < index.size(); ++d) from += (slice.begin[d] + index[d] * slice.stride[d]) * strides[d];
    copy_element(call, 0, from, 0, offset);
  });
  return Status::ok_status();
}

Status run_pad(const Call& call) {
  const ir::PadMode mode = call.node.get<ir::PadAttrs>().mode;
  const std::vector<int64_t> pads = read_ints(call, 1);
  const ir::Dims& in = call.in_dims(0);
  const ir::Dims strides = row_major_strides(in);
  const size_t size = ir::dtype_size(call.out_dtype());
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& index) {
    int64_t from = 0;
    bool inside = true;
    for (size_t d = 0; d < in.size(); ++d) {
      int64_t at = index[d] - pads[2 * d];
      // Reflect leaves out the edge element, symmetric repeats it.
      const int64_t edge = mode == ir::PadMode::kReflect ? 0 : 1;
      if (mode != ir::PadMode::kConstant && at < 0) at = -at - edge;
      if (mode != ir::PadMode::kConstant && at >= in[d]) at = 2 * in[d] - 2 - at + edge;
      inside = inside && at >= 0 && at < in[d];
      from += at * strides[d];
    }
    if (inside) {
      copy_element(call, 0, from, 0, offset);
    } else if (call.num_inputs() > 2) {
      copy_element(call, 2, 0, 0, offset);
    } else {
      std::memset(static_cast<std::byte*>(call.out[0]) + static_cast<size_t>(offset) * size, 0, size);
    }
  });
  return Status::ok_status();
}

Status run_tile(const Call& call) {
  const ir::Dims strides = row_major_strides(call.in_dims(0));
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& index) {
    int64_t from = 0;
    for (size_t d = 0; d < index.size(); ++d) from += index[d] % call.in_dims(0)[d] * strides[d];
    copy_element(call, 0, from, 0, offset);
  });
  return Status::ok_status();
}

Status run_broadcast_to(const Call& call) {
  const ir::Dims strides = broadcast_strides(call.in_dims(0), call.out_dims());
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& index) {
    copy_element(call, 0, offset_of(index, strides), 0, offset);
  });
  return Status::ok_status();
}

Status run_reverse(const Call& call) {
  const ir::Dims strides = row_major_strides(call.in_dims(0));
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& index) {
    ir::Dims at = index;
    for (int64_t axis : call.node.get<ir::AxesAttrs>().axes) at[axis] = call.in_dims(0)[axis] - 1 - at[axis];
    copy_element(call, 0, offset_of(at, strides), 0, offset);
  });
  return Status::ok_status();
}

Status run_depth_to_space(const Call& call) {
  const int64_t block = call.node.get<ir::BlockAttrs>().block, depth = call.out_dims()[3];
  const ir::Dims strides = row_major_strides(call.in_dims(0));
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& i) {
    const int64_t channel = (i[1] % block * block + i[2] % block) * depth + i[3];
    copy_element(call, 0, offset_of({i[0], i[1] / block, i[2] / block, channel}, strides), 0, offset);
  });
  return Status::ok_status();
}

Status run_space_to_depth(const Call& call) {
  const int64_t block = call.node.get<ir::BlockAttrs>().block, depth = call.in_dims(0)[3];
  const ir::Dims strides = row_major_strides(call.in_dims(0));
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& i) {
    const int64_t cell = i[3] / depth;
    copy_element(call, 0,
                 offset_of({i[0], i[1] * block + cell / block, i[2] * block + cell % block, i[3] % depth}, strides), 0,
                 offset);
  });
  return Status::ok_status();
}

Status run_space_to_batch(const Call& call) {
  const std::vector<int64_t> block = read_ints(call, 1), pads = read_ints(call, 2);
  const ir::Dims& in = call.in_dims(0);
  const ir::Dims strides = row_major_strides(in);
  const size_t size = ir::dtype_size(call.out_dtype());
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& index) {
    ir::Dims at = index;
    at[0] = index[0] % in[0];
    int64_t cell = index[0] / in[0];
    bool inside = true;
    for (size_t d = block.size(); d-- > 0;) {
      at[1 + d] = index[1 + d] * block[d] + cell % block[d] - pads[2 * d];
      cell /= block[d];
      inside = inside && at[1 + d] >= 0 && at[1 + d] < in[1 + d];
    }
    if (inside) {
      copy_element(call, 0, offset_of(at, strides), 0, offset);
    } else {
      std::memset(static_cast<std::byte*>(call.out[0]) + static_cast<size_t>(offset) * size, 0, size);
    }
  });
  return Status::ok_status();
}

Status run_batch_to_space(const Call& call) {
  const std::vector<int64_t> block = read_ints(call, 1), crops = read_ints(call, 2);
  const ir::Dims strides = row_major_strides(call.in_dims(0));
  const int64_t batch = call.out_dims()[0];
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& index) {
    ir::Dims at = index;
    int64_t cell = 0;
    for (size_t d = 0; d < block.size(); ++d) {
      const int64_t position = index[1 + d] + crops[2 * d];
      at[1 + d] = position / block[d];
      cell = cell * block[d] + position % block[d];
    }
    at[0] = cell * batch + index[0];
    copy_element(call, 0, offset_of(at, strides), 0, offset);
  });
  return Status::ok_status();
}

Status run_matrix_band_part(const Call& call) {
  const int64_t lower = read_ints(call, 1)[0], upper = read_ints(call, 2)[0];
  const size_t size = ir::dtype_size(call.out_dtype());
  for_each_index(call.out_dims(), [&](int64_t offset, const ir::Dims& index) {
    const int64_t row = index[index.size() - 2], column = index.back();
    if ((lower < 0 || row - column <= lower) && (upper < 0 || column - row <= upper)) {
      copy_element(call, 0, offset, 0, offset);
    } else {
      std::memset(static_cast<std::byte*>(call.out[0]) + static_cast<size_t>(offset) * size, 0, size);
    }
  });
  return Status::ok_status();
}

}  // namespace blade::backends::reference
