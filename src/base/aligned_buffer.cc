#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdlib>

#include "base/checked_math.h"

namespace blade {
namespace {
constexpr size_t kHugePage = size_t{2} << 20;
}

void AlignedBuffer::Free::operator()(std::byte* p) const { std::free(p); }

AlignedBuffer AlignedBuffer::allocate(size_t size) {
  AlignedBuffer buffer;
  if (size == 0) return buffer;
  const bool huge = size >= 2 * kHugePage;
  const size_t alignment = huge ? kHugePage : kBufferAlignment;
  auto rounded = checked_add(size, alignment - 1);
  if (!rounded) return buffer;
  const size_t bytes = *rounded / alignment * alignment;
  void* p = std::aligned_alloc(alignment, bytes);
  if (p == nullptr) return buffer;
  if (huge) (void)madvise(p, bytes, MADV_HUGEPAGE);  // advice only: failing costs speed, not correctness
  buffer.data_.reset(static_cast<std::byte*>(p));
  buffer.size_ = size;
  return buffer;
}

}  // namespace blade
