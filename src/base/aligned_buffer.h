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
  // The same for what stays as long as an engine: blocks up to 8 MiB lie together in huge pages, each of which goes
  // back to the system when the last block in it is gone. With weights in pages of 4 KiB a core waits for translations
  // as long as for data.
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
  static AlignedBuffer allocate(size_t size, bool lasting);

  struct Free {
    enum class To { kHeap, kSystem, kShared };
    Free() : to(To::kHeap), bytes(0) {}
    Free(To to, size_t bytes) : to(to), bytes(bytes) {}
    To to;
    size_t bytes;
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Free> data_;
  size_t size_ = 0;
};

}  // namespace blade
