// Lasting blocks that share huge pages: apart, aligned, and whole whatever else comes and goes.
#include "base/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace blade {
namespace {

TEST(AlignedBuffer, BlocksKeepWhatTheyHold) {
  struct Block {
    AlignedBuffer buffer;
    int value;
  };
  std::vector<Block> blocks;
  const size_t sizes[] = {1, 64, 100'000, 1 << 20, (2 << 20) - 1, 2 << 20, (5 << 20) + 3};
  for (int i = 0; i < 45; ++i) {
    blocks.push_back({AlignedBuffer::allocate_lasting(sizes[i % 7]), i});
    AlignedBuffer& buffer = blocks.back().buffer;
    ASSERT_NE(buffer.data(), nullptr);
    EXPECT_EQ(buffer.size(), sizes[i % 7]);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % kBufferAlignment, 0u);
    std::memset(buffer.data(), i, buffer.size());
    if (i % 3 == 2) blocks.erase(blocks.begin() + i * 7 % static_cast<int>(blocks.size()));
  }
  for (const Block& block : blocks) {
    const std::byte* const data = block.buffer.data();
    EXPECT_TRUE(
        std::all_of(data, data + block.buffer.size(), [&](std::byte b) { return b == std::byte(block.value); }));
  }
}

TEST(AlignedBuffer, NothingIsAnEmptyBuffer) {
  EXPECT_EQ(AlignedBuffer::allocate_lasting(0).data(), nullptr);
  EXPECT_EQ(AlignedBuffer::allocate_lasting(SIZE_MAX - 100).data(), nullptr);
}

}  // namespace
}  // namespace blade
