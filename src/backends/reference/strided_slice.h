// TensorFlow's StridedSlice masks resolved to one (begin, stride, count) an input dim; shared by all backends.
#pragma once

#include <vector>

#include "base/status.h"
#include "ir/ops/attrs.h"

namespace blade::backends {

struct DenseSlice {
  ir::Dims begin, stride, counts;  // one entry an input dim; new axes do not appear, shrunk axes have count 1
};

Result<DenseSlice> dense_slice(const ir::StridedSliceAttrs& attrs, const ir::Dims& in,
                               const std::vector<int64_t>& begin, const std::vector<int64_t>& end,
                               const std::vector<int64_t>& strides);

}  // namespace blade::backends
