// A tensor while a run is under way, and the reference-counted buffers that hold what passes from stage to stage. One
// run is one thread's: nothing here is shared between threads.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "ir/types.h"

namespace blade::engine {

// Dims without heap memory.
class RunDims {
 public:
  static constexpr size_t kMaxRank = 32;
  RunDims() = default;
  // False where there are more than kMaxRank.
  bool assign(std::span<const int64_t> dims);
  std::span<const int64_t> view() const { return {values_.data(), rank_}; }
  bool operator==(const RunDims& other) const;
  // -1 for an impossible count.
  int64_t element_count() const;

 private:
  size_t rank_ = 0;
  std::array<int64_t, kMaxRank> values_;
};

class BufferPool;

// Memory with a count of its owners, which returns to its pool with the last of them.
class BufferRef {
 public:
  BufferRef() = default;
  BufferRef(const BufferRef& other);
  BufferRef(BufferRef&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  BufferRef& operator=(BufferRef other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~BufferRef();
  explicit operator bool() const { return block_ != nullptr; }
  std::byte* data() const;
  bool is_only_owner() const;

 private:
  friend class BufferPool;
  struct Block;
  explicit BufferRef(Block* block) : block_(block) {}
  Block* block_ = nullptr;
};

// Buffers by classes of size, so that runs that ask for the same sizes again find them and allocate nothing.
class BufferPool {
 public:
  BufferPool();
  ~BufferPool();  // every BufferRef is gone by then
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // At least `bytes`, aligned to 64; empty when there is no memory.
  BufferRef take(size_t bytes);
  size_t bytes() const { return bytes_; }  // held, in use or not

 private:
  friend class BufferRef;
  void put(BufferRef::Block* block);
  std::vector<std::unique_ptr<BufferRef::Block>> blocks_;
  std::vector<BufferRef::Block*> free_;  // heads of lists, one a class
  size_t bytes_ = 0;
};

struct RunValue {
  ir::DType dtype = ir::DType::kInvalid;
  RunDims dims;
  const void* data = nullptr;
  BufferRef buffer;                   // of `data`; empty: the caller's memory or a constant's
  std::shared_ptr<const void> owner;  // of a constant's memory
  size_t bytes() const;
};

}  // namespace blade::engine
