#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "base/checked_math.h"

#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

namespace blade {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Large blocks come from the system and go back to it at once: of a heap that engines with other weights come and go
// in, much stays unused and is never returned. Null where the memory cannot be had.
std::byte* map_huge(size_t bytes) {
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

// Blocks share regions of address space: only the huge pages that blocks lie in take memory. Beyond the largest shared
// block, whole huge pages of its own cost at most a quarter more than it.
constexpr size_t kRegionBytes = size_t{32} << 20;
constexpr size_t kBetweenRegions = size_t{64} << 10;  // mapped, never given: no gap reaches from one into the next
constexpr size_t kLargestShared = size_t{8} << 20;

struct Gap {
  std::byte* begin;
  size_t bytes;
  std::byte* end() const { return begin + bytes; }
};

struct SharedPages {
  std::mutex mutex;
  std::vector<Gap> gaps;  // by address; never two that touch
  size_t blocks = 0;      // alive
};

SharedPages& shared_pages() {
  static auto* const pages = new SharedPages;  // never destroyed: engines may outlive statics
  return *pages;
}

std::vector<Gap>::iterator first_gap_after(std::vector<Gap>& gaps, const std::byte* p) {
  return std::find_if(gaps.begin(), gaps.end(), [&](const Gap& gap) { return gap.begin > p; });
}

// What a block takes: between blocks lies at least what AddressSanitizer needs to see that one is overrun.
size_t with_fence(size_t size) { return align_up(size, kBufferAlignment) + kBufferAlignment; }

// First fit. Null where the memory cannot be had.
std::byte* allocate_shared(size_t size) {
  auto& [mutex, gaps, blocks] = shared_pages();
  const std::lock_guard<std::mutex> lock(mutex);
  // Room for a gap in place of each block, and for a region: giving back never allocates.
  const size_t most_gaps = gaps.size() + blocks + 2;
  if (gaps.capacity() < most_gaps) gaps.reserve(2 * most_gaps);
  const size_t bytes = with_fence(size);
  auto gap = std::find_if(gaps.begin(), gaps.end(), [&](const Gap& g) { return g.bytes >= bytes; });
  if (gap == gaps.end()) {
    std::byte* const region = map_huge(kRegionBytes + kBetweenRegions);
    if (region == nullptr) return nullptr;
    ASAN_POISON_MEMORY_REGION(region, kRegionBytes);
    gap = gaps.insert(first_gap_after(gaps, region), {region, kRegionBytes});
  }
  std::byte* const p = gap->begin;
  *gap = {p + bytes, gap->bytes - bytes};
  if (gap->bytes == 0) gaps.erase(gap);
  ++blocks;
  ASAN_UNPOISON_MEMORY_REGION(p, size);
  return p;
}

void free_shared(std::byte* p, size_t size) {
  auto& [mutex, gaps, blocks] = shared_pages();
  const std::lock_guard<std::mutex> lock(mutex);
  --blocks;
  ASAN_POISON_MEMORY_REGION(p, size);
  auto gap = gaps.insert(first_gap_after(gaps, p), {p, with_fence(size)});
  if (gap + 1 != gaps.end() && gap->end() == gap[1].begin) {
    gap->bytes += gap[1].bytes;
    gaps.erase(gap + 1);
  }
  if (gap != gaps.begin() && gap[-1].end() == gap->begin) {
    gap[-1].bytes += gap->bytes;
    gap = gaps.erase(gap) - 1;
  }
  if (gap->bytes == kRegionBytes) {
    ASAN_UNPOISON_MEMORY_REGION(gap->begin, kRegionBytes);  // the addresses may come back as anything
    munmap(gap->begin, kRegionBytes + kBetweenRegions);
    gaps.erase(gap);
    return;
  }
  const size_t before =
      align_up(reinterpret_cast<size_t>(gap->begin), kHugePage) - reinterpret_cast<size_t>(gap->begin);
  if (gap->bytes < before + kHugePage) return;
  (void)madvise(gap->begin + before, (gap->bytes - before) / kHugePage * kHugePage, MADV_DONTNEED);
}

}  // namespace

void AlignedBuffer::Free::operator()(std::byte* p) const {
  switch (to) {
    case To::kHeap:
      std::free(p);
      break;
    case To::kSystem:
      munmap(p, bytes);
      break;
    case To::kShared:
      free_shared(p, bytes);
      break;
  }
}

AlignedBuffer AlignedBuffer::allocate(size_t size, bool lasting) {
  AlignedBuffer buffer;
  if (size == 0) return buffer;
  if (lasting && size <= kLargestShared) buffer.data_ = {allocate_shared(size), Free(Free::To::kShared, size)};
  if (buffer.data_ == nullptr) {  // also where there is no room for a region
    const bool huge = size >= 2 * kHugePage;
    const size_t alignment = huge ? kHugePage : kBufferAlignment;
    if (!checked_add(size, alignment - 1)) return buffer;
    const size_t bytes = align_up(size, alignment);
    auto* const p = huge ? map_huge(bytes) : static_cast<std::byte*>(std::aligned_alloc(alignment, bytes));
    buffer.data_ = {p, Free(huge ? Free::To::kSystem : Free::To::kHeap, bytes)};
  }
  if (buffer.data_ != nullptr) buffer.size_ = size;
  return buffer;
}

}  // namespace blade
