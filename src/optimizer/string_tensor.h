// Strings as test data and answers: engines never see them, but models have them at their edges.
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "ir/types.h"

namespace blade::optimizer {

// A string tensor is an ir::Tensor of dtype kOpaque whose data is its element count + 1 int64 offsets, then the bytes:
// element i stands from offset i to offset i + 1, counted from the end of the offsets.
Result<ir::TensorPtr> pack_strings(ir::Dims dims, const std::vector<std::string_view>& strings);

// Takes bytes that claim to be packed; an error says what is wrong with them.
Result<ir::TensorPtr> copy_packed_strings(ir::Dims dims, const void* data, size_t bytes);

// Views into `tensor`, which must be one of the above.
std::vector<std::string_view> unpack_strings(const ir::Tensor& tensor);

}  // namespace blade::optimizer
