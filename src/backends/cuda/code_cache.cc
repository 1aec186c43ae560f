// A file: "BLADECODE1", the checksum of all that follows it, the key's size, the key, the code.
#include "backends/cuda/code_cache.h"

#include <cstdio>
#include <cstring>

#include "base/checksum.h"
#include "base/mapped_file.h"

namespace blade::backends::cuda {
namespace {

constexpr char kMagic[] = "BLADECODE1";
constexpr size_t kMagicSize = sizeof(kMagic) - 1, kWord = sizeof(uint64_t), kHeader = kMagicSize + 2 * kWord;

std::span<const std::byte> as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

uint64_t word_at(const std::string& file, size_t at) {
  uint64_t word = 0;
  std::memcpy(&word, file.data() + at, kWord);
  return word;
}
std::string word_text(uint64_t word) { return {reinterpret_cast<const char*>(&word), kWord}; }

}  // namespace

std::filesystem::path CodeCache::path_of(const std::string& key) const {
  char name[24];
  std::snprintf(name, sizeof name, "%016llx.cubin", static_cast<unsigned long long>(checksum(as_bytes(key))));
  return folder_ / "compiled" / name;
}

std::optional<std::string> CodeCache::find(const std::string& key) const {
  if (folder_.empty()) return std::nullopt;
  std::error_code error;
  const std::string path = path_of(key).string();
  if (!std::filesystem::is_regular_file(path, error)) return std::nullopt;
  const auto mapped = MappedFile::open(path);
  if (!mapped.ok()) return std::nullopt;
  const auto bytes = (*mapped)->bytes();
  const std::string file(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (file.size() <= kHeader + key.size() || !file.starts_with(kMagic)) return std::nullopt;
  if (word_at(file, kMagicSize) != checksum(bytes.subspan(kMagicSize + kWord))) return std::nullopt;
  if (word_at(file, kMagicSize + kWord) != key.size()) return std::nullopt;
  if (file.compare(kHeader, key.size(), key) != 0) return std::nullopt;
  return file.substr(kHeader + key.size());
}

Status CodeCache::put(const std::string& key, const std::string& code) const {
  if (folder_.empty()) return {};
  const std::filesystem::path path = path_of(key);
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  const std::string body = word_text(key.size()) + key + code;
  return write_file_atomically(path.string(), as_bytes(kMagic + word_text(checksum(as_bytes(body))) + body));
}

}  // namespace blade::backends::cuda
