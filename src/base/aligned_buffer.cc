#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdlib>

#include "base/checked_math.h"

namespace blade {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Large blocks come from the system and go back to it at once: of a heap that engines with other weights come and go
// in, much stays unused and is never returned. Null where the memory cannot be had.
void* map_huge(size_t bytes) {
  const auto whole = checked_add(bytes, kHugePage);
  if (!whole) return nullptr;
  void* const mapped = mmap(nullptr, *whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const from = static_cast<std::byte*>(mapped);
  const size_t before = align_up(reinterpret_cast<size_t>(from), kHugePage) - reinterpret_cast<size_t>(from);
  if (before > 0) munmap(from, before);
  munmap(from + before + bytes, kHugePage - before);   // never empty: `before` is less than a page
  (void)madvise(from + before, bytes, MADV_HUGEPAGE);  // advice only: failing costs speed, not correctness
  return from + before;
}

}  // namespace

void AlignedBuffer::Free::operator()(std::byte* p) const {
  if (mapped > 0) {
    munmap(p, mapped);
  } else {
    std::free(p);
  }
}

AlignedBuffer AlignedBuffer::allocate(size_t size) {
  AlignedBuffer buffer;
  if (size == 0) return buffer;
  const bool huge = size >= 2 * kHugePage;
  const size_t alignment = huge ? kHugePage : kBufferAlignment;
  auto rounded = checked_add(size, alignment - 1);
  if (!rounded) return buffer;
  const size_t bytes = *rounded / alignment * alignment;
  void* p = huge ? map_huge(bytes) : std::aligned_alloc(alignment, bytes);
  if (p == nullptr) return buffer;
  buffer.data_ = {static_cast<std::byte*>(p), Free{huge ? bytes : 0}};
  buffer.size_ = size;
  return buffer;
}

}  // namespace blade
