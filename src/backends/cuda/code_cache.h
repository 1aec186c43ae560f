// Machine code of generated kernels, kept on disk between processes. What does not belong to the very text asked for,
// is damaged, or can have been written by another user counts as absent.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/status.h"

namespace blade::backends::cuda {

class CodeCache {
 public:
  // An empty folder keeps nothing.
  explicit CodeCache(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // `key`: the source, the compiler and its options, whole.
  std::optional<std::string> find(const std::string& key) const;
  // Appears whole or not at all; what cannot be written is compiled again next time.
  Status put(const std::string& key, const std::string& code) const;
  std::filesystem::path path_of(const std::string& key) const;

 private:
  std::filesystem::path folder_;
};

}  // namespace blade::backends::cuda
