// Heap memory aligned for the widest vectors; large blocks ask for huge pages.
#pragma once

#include <cstddef>
#include <memory>

namespace blade {

inline constexpr size_t kBufferAlignment = 64;

// Owns `size` bytes aligned to kBufferAlignment, uninitialised. Copying is not allowed, moving is.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Returns an empty buffer (data() == nullptr, size() == 0) when the memory cannot be had.
  static AlignedBuffer allocate(size_t size) { return allocate(size, false); }
  // The same for what stays as long as an engine: small blocks lie together in huge pages, which go back to the system
  // when the last block in them is gone. With weights in pages of 4 KiB a core waits for translations as long as for
  // data.
  static AlignedBuffer allocate_lasting(size_t size) { return allocate(size, true); }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }

 private:
  static constexpr size_t kInShared = 1;
  static AlignedBuffer allocate(size_t size, bool lasting);

  struct Free {
    Free() : mapped(0) {}
    explicit Free(size_t bytes) : mapped(bytes) {}
    size_t mapped;  // bytes of a block that is the system's own; 0: of the heap; kInShared: a part of one
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Free> data_;
  size_t size_ = 0;
};

}  // namespace blade
