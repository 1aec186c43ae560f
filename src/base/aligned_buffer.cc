#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

#include "base/checked_math.h"

namespace blade {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSharedBytes = size_t{8} << 20;

// Large blocks come from the system and go back to it at once: of a heap that engines with other weights come and go
// in, much stays unused and is never returned. Null where the memory cannot be had.
void* map_huge(size_t bytes, size_t alignment = kHugePage) {
  const auto whole = checked_add(bytes, alignment);
  if (!whole) return nullptr;
  void* const mapped = mmap(nullptr, *whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const from = static_cast<std::byte*>(mapped);
  const size_t before = align_up(reinterpret_cast<size_t>(from), alignment) - reinterpret_cast<size_t>(from);
  if (before > 0) munmap(from, before);
  munmap(from + before + bytes, alignment - before);   // never empty: `before` is less than `alignment`
  (void)madvise(from + before, bytes, MADV_HUGEPAGE);  // advice only: failing costs speed, not correctness
  return from + before;
}

// Begins a mapping that blocks share; aligned to its size, so that a block's address leads to it.
struct alignas(kBufferAlignment) Shared {
  size_t blocks = 0;             // alive
  size_t used = sizeof(Shared);  // bytes that blocks were given
};
std::mutex shared_mutex;
Shared* newest_shared = nullptr;

std::byte* allocate_shared(size_t size) {
  const std::lock_guard<std::mutex> lock(shared_mutex);
  if (newest_shared == nullptr || newest_shared->used + size > kSharedBytes) {
    void* const mapped = map_huge(kSharedBytes, kSharedBytes);
    if (mapped == nullptr) return nullptr;
    newest_shared = new (mapped) Shared;
  }
  std::byte* const p = reinterpret_cast<std::byte*>(newest_shared) + newest_shared->used;
  newest_shared->used = align_up(newest_shared->used + size, kBufferAlignment);
  ++newest_shared->blocks;
  return p;
}

void free_shared(std::byte* p) {
  const std::lock_guard<std::mutex> lock(shared_mutex);
  auto* const shared = reinterpret_cast<Shared*>(p - reinterpret_cast<uintptr_t>(p) % kSharedBytes);
  if (--shared->blocks > 0) return;
  if (shared == newest_shared) newest_shared = nullptr;
  munmap(shared, kSharedBytes);
}

}  // namespace

void AlignedBuffer::Free::operator()(std::byte* p) const {
  if (mapped == kInShared) {
    free_shared(p);
  } else if (mapped > 0) {
    munmap(p, mapped);
  } else {
    std::free(p);
  }
}

AlignedBuffer AlignedBuffer::allocate(size_t size, bool lasting) {
  AlignedBuffer buffer;
  if (size == 0) return buffer;
  if (lasting && size < kHugePage) {
    buffer.data_ = {allocate_shared(size), Free{kInShared}};
    if (buffer.data_ != nullptr) buffer.size_ = size;
    return buffer;
  }
  const bool huge = size >= 2 * kHugePage || lasting;
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
