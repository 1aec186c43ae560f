// Lasting blocks that share huge pages: apart, aligned, whole whatever else comes and goes, and no dearer than they
// are.
#include "base/aligned_buffer.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace blade {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

struct Block {
  AlignedBuffer buffer;
  std::byte value;

  Block(size_t bytes, int i) : buffer(AlignedBuffer::allocate_lasting(bytes)), value(std::byte(i)) {
    if (buffer.data() != nullptr) std::memset(buffer.data(), i, bytes);
  }
  bool is_whole() const {
    const std::byte* const data = buffer.data();
    return *data == value && std::memcmp(data, data + 1, buffer.size() - 1) == 0;
  }
};

TEST(AlignedBuffer, BlocksKeepWhatTheyHold) {
  std::vector<Block> blocks;
  const size_t sizes[] = {1, 64, 100'000, kMiB, 2 * kMiB - 1, 2 * kMiB, 5 * kMiB + 3, 8 * kMiB, 8 * kMiB + 1};
  for (int i = 0; i < 90; ++i) {
    const size_t size = sizes[i % 9];
    blocks.emplace_back(size, i);
    const AlignedBuffer& buffer = blocks.back().buffer;
    ASSERT_NE(buffer.data(), nullptr);
    EXPECT_EQ(buffer.size(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % kBufferAlignment, 0u);
    if (i % 5 >= 2) blocks.erase(blocks.begin() + i * 7 % static_cast<int>(blocks.size()));
  }
  EXPECT_TRUE(std::all_of(blocks.begin(), blocks.end(), [](const Block& block) { return block.is_whole(); }));
}

TEST(AlignedBuffer, ThreadsDoNotGetTheSameBlock) {
  std::atomic<int> ready{0};
  const auto come_and_go = [&](int thread, int* broken) {
    std::vector<Block> blocks;
    ready.fetch_add(1);
    while (ready.load() < 2) std::this_thread::yield();
    for (int i = 0; i < 400'000; ++i) {
      blocks.emplace_back(static_cast<size_t>(1 + i * 37 % 300), thread);
      if (blocks.size() < 20) continue;
      Block& one = blocks[static_cast<size_t>(i * 7 % 20)];
      *broken += one.is_whole() ? 0 : 1;
      std::swap(one, blocks.back());
      blocks.pop_back();
    }
  };
  int broken[2] = {0, 0};
  std::thread other(come_and_go, 1, &broken[1]);
  come_and_go(0, &broken[0]);
  other.join();
  EXPECT_EQ(broken[0] + broken[1], 0);
}

TEST(AlignedBuffer, NothingIsAnEmptyBuffer) {
  EXPECT_EQ(AlignedBuffer::allocate_lasting(0).data(), nullptr);
  EXPECT_EQ(AlignedBuffer::allocate_lasting(SIZE_MAX - 100).data(), nullptr);
  EXPECT_EQ(AlignedBuffer::allocate_lasting(SIZE_MAX - 100).size(), 0u);
}

TEST(AlignedBuffer, WhatIsFreedIsGivenAgain) {
  const Block first(64, 1);
  Block second(3 * kMiB, 2);
  const Block third(64, 3);
  const std::byte* const freed = second.buffer.data();
  second.buffer = {};
  const Block small(100, 4);
  const Block rest(2 * kMiB, 5);
  EXPECT_EQ(small.buffer.data(), freed);
  EXPECT_GT(rest.buffer.data(), freed);
  EXPECT_LT(rest.buffer.data(), third.buffer.data());
  EXPECT_TRUE(first.is_whole() && third.is_whole() && small.is_whole());
}

#if defined(__SANITIZE_ADDRESS__)
TEST(AlignedBufferDeathTest, AddressSanitizerGuardsLastingBlocks) {
  const Block first(128, 1);
  Block second(100, 2);
  const Block third(128, 3);
  EXPECT_DEATH(*const_cast<volatile std::byte*>(first.buffer.data() + 128) = std::byte(0), "use-after-poison");
  EXPECT_DEATH(*const_cast<volatile std::byte*>(second.buffer.data() + 100) = std::byte(0), "use-after-poison");
  volatile std::byte* const freed = second.buffer.data();
  second.buffer = {};
  EXPECT_DEATH(*freed = std::byte(0), "use-after-poison");
}
#endif

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose own memory grows with that of the program

// Exact, unlike what /proc/self/statm counts. 0 where the system does not say.
size_t resident_bytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  std::string word;
  while (rollup >> word) {
    size_t kib = 0;
    if (word == "Rss:" && rollup >> kib) return kib << 10;
  }
  return 0;
}

TEST(AlignedBuffer, PacksTakeLittleMoreThanTheirSize) {
  const size_t before = resident_bytes();
  if (before == 0) GTEST_SKIP() << "The system does not say what is resident.";
  for (const size_t size : {size_t{768} * 768 * 4, 3 * kMiB + 1, 5 * kMiB + 1}) {
    std::vector<Block> packs;
    for (int i = 0; i < 24; ++i) packs.emplace_back(size, i);
    EXPECT_LT(resident_bytes(), before + 24 * size + 24 * size / 8 + 4 * kMiB) << size;
  }
  {
    const Block small(64, 1);
    EXPECT_LE(resident_bytes(), before + 5 * kMiB / 2);  // a huge page, and what the program itself took
  }
  EXPECT_LT(resident_bytes(), before + kMiB);
}

TEST(AlignedBuffer, OneSmallBlockDoesNotKeepTheMemoryOfOthers) {
  const size_t before = resident_bytes();
  if (before == 0) GTEST_SKIP() << "The system does not say what is resident.";
  std::vector<Block> small;
  for (int i = 0; i < 20; ++i) {
    const Block large(3 * kMiB / 2, i);
    small.emplace_back(64, i);
  }
  std::vector<Block> packs;
  for (int i = 0; i < 20; ++i) packs.emplace_back(3 * kMiB, i);
  packs.clear();
  EXPECT_LT(resident_bytes(), before + 8 * kMiB);
}

size_t mapped_bytes() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// Ends the process: 0 if small packs are had where a region is not.
[[noreturn]] void allocate_in_little_memory() {
  const rlimit limit{mapped_bytes() + 16 * kMiB, RLIM_INFINITY};
  if (limit.rlim_cur <= 16 * kMiB || setrlimit(RLIMIT_AS, &limit) != 0) _exit(2);
  if (mmap(nullptr, 32 * kMiB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) _exit(3);
  const Block small(64, 1);
  const Block pack(3 * kMiB, 2);
  const bool had = small.buffer.size() == 64 && pack.buffer.size() == 3 * kMiB && small.is_whole() && pack.is_whole();
  _exit(had && AlignedBuffer::allocate_lasting(40 * kMiB).data() == nullptr ? 0 : 1);
}

TEST(AlignedBufferDeathTest, SmallPacksNeedNoRoomForARegion) {
  EXPECT_EXIT(allocate_in_little_memory(), ::testing::ExitedWithCode(0), "");
}

#endif

}  // namespace
}  // namespace blade
