// Memory for outputs whose size a step finds, where only the time counts.
#pragma once

#include <algorithm>
#include <deque>

#include "base/aligned_buffer.h"
#include "engine/run_context.h"

namespace blade::optimizer {

// Kept from run to run, so that only the first allocates.
class ScratchOutputs final : public engine::FoundOutputs {
 public:
  void* allocate(int output, std::span<const int64_t> dims) override {
    if (static_cast<size_t>(output) >= buffers_.size()) buffers_.resize(static_cast<size_t>(output) + 1);
    AlignedBuffer& buffer = buffers_[static_cast<size_t>(output)];
    constexpr size_t kLargestElement = 16;
    size_t bytes = kLargestElement;
    for (int64_t dim : dims) bytes *= static_cast<size_t>(std::max<int64_t>(dim, 1));  // none would be a null pointer
    if (buffer.size() < bytes) buffer = AlignedBuffer::allocate(bytes);
    return buffer.data();
  }

 private:
  std::deque<AlignedBuffer> buffers_;
};

}  // namespace blade::optimizer
