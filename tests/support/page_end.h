// Numbers behind which nothing may be read: they end where a page begins that nobody may touch.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <vector>

namespace blade {

template <class T>
class AtPageEnd {
 public:
  explicit AtPageEnd(const std::vector<T>& values) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t used = (values.size() * sizeof(T) + page - 1) / page * page;
    bytes_ = used + page;
    pages_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages_ == MAP_FAILED) throw std::runtime_error("mmap failed");
    auto* const end = static_cast<std::byte*>(pages_) + used;
    if (mprotect(end, page, PROT_NONE) != 0) throw std::runtime_error("mprotect failed");
    data_ = reinterpret_cast<T*>(end) - values.size();
    std::copy(values.begin(), values.end(), data_);
  }
  ~AtPageEnd() { munmap(pages_, bytes_); }
  AtPageEnd(const AtPageEnd&) = delete;
  AtPageEnd& operator=(const AtPageEnd&) = delete;

  const T* data() const { return data_; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  void* pages_ = nullptr;
  size_t bytes_ = 0;
  T* data_ = nullptr;
};

}  // namespace blade
