// Index arithmetic on dense row-major tensors, for the host code of all backends. Strides are in elements.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ir/types.h"

namespace blade::backends {

inline int64_t product(const ir::Dims& dims, size_t begin, size_t end) {
  int64_t count = 1;
  for (size_t i = begin; i < end; ++i) count *= dims[i];
  return count;
}
inline int64_t product(const ir::Dims& dims) { return product(dims, 0, dims.size()); }

inline ir::Dims row_major_strides(const ir::Dims& dims) {
  ir::Dims strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  return strides;
}

// Strides of an operand under numpy broadcasting to `out`: 0 where it repeats.
inline ir::Dims broadcast_strides(const ir::Dims& dims, const ir::Dims& out) {
  const ir::Dims own = row_major_strides(dims);
  ir::Dims strides(out.size(), 0);
  for (size_t i = 0; i < dims.size() && i < out.size(); ++i) {
    if (dims[dims.size() - 1 - i] != 1) strides[out.size() - 1 - i] = own[dims.size() - 1 - i];
  }
  return strides;
}

// The move between a space of [n, h, b, w, b, c] and a depth of [n, h, w, b, b, c], over the dims of the space.
struct BlockMove {
  ir::Dims dims, space, depth;  // sizes; strides in either layout
};
// `deep`: NHWC dims of the tensor whose blocks lie in its channels.
inline BlockMove block_move(const ir::Dims& deep, int64_t block) {
  const int64_t n = deep[0], h = deep[1], w = deep[2], c = deep[3] / (block * block);
  const ir::Dims dims = {n, h, block, w, block, c};
  return {dims,
          row_major_strides(dims),
          {h * w * block * block * c, w * block * block * c, block * c, block * block * c, c, 1}};
}

}  // namespace blade::backends
