// Files in and out: read-only memory maps, and writes that appear whole or not at all.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace blade {

// A read-only view of a whole file; the mapping lives as long as the object.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}
  const std::byte* data_;
  size_t size_;
};

// Writes beside `path`, syncs, then renames over it: a full disk or a crash leaves the old file or none.
Status write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

}  // namespace blade
