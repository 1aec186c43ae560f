// A file: "BLADECODE1", the checksum of all that follows it, the key's size, the key, the code.
#include "backends/cuda/code_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
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

// Nobody else can have written it: code of others would run with the user's rights.
bool is_own_file(const struct stat& info) {
  const bool own = info.st_uid == ::geteuid() || info.st_uid == 0;
  return S_ISREG(info.st_mode) && own && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

// Whole; nothing where it is not the user's own. A pipe would be waited for, but for O_NONBLOCK.
std::optional<std::string> read_own_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::nullopt;
  struct stat info = {};
  std::optional<std::string> text;
  if (::fstat(fd, &info) == 0 && is_own_file(info)) {
    text.emplace(static_cast<size_t>(info.st_size), '\0');
    size_t read = 0;
    while (read < text->size()) {
      const ssize_t more = ::read(fd, text->data() + read, text->size() - read);
      if (more < 0 && errno == EINTR) continue;
      if (more <= 0) break;
      read += static_cast<size_t>(more);
    }
    text->resize(read);
  }
  ::close(fd);
  return text;
}

}  // namespace

std::filesystem::path CodeCache::path_of(const std::string& key) const {
  char name[24];
  std::snprintf(name, sizeof name, "%016llx.cubin", static_cast<unsigned long long>(checksum(as_bytes(key))));
  return folder_ / "compiled" / name;
}

std::optional<std::string> CodeCache::find(const std::string& key) const {
  if (folder_.empty()) return std::nullopt;
  const std::optional<std::string> own = read_own_file(path_of(key).string());
  if (!own) return std::nullopt;
  const std::string& file = *own;
  if (file.size() <= kHeader + key.size() || !file.starts_with(kMagic)) return std::nullopt;
  if (word_at(file, kMagicSize) != checksum(as_bytes(file).subspan(kMagicSize + kWord))) return std::nullopt;
  if (word_at(file, kMagicSize + kWord) != key.size()) return std::nullopt;
  if (file.compare(kHeader, key.size(), key) != 0) return std::nullopt;
  return file.substr(kHeader + key.size());
}

Status CodeCache::put(const std::string& key, const std::string& code) const {
  if (folder_.empty()) return {};
  const std::filesystem::path path = path_of(key);
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  ::mkdir(path.parent_path().c_str(), 0700);
  const std::string body = word_text(key.size()) + key + code;
  BLADE_RETURN_IF_ERROR(
      write_file_atomically(path.string(), as_bytes(kMagic + word_text(checksum(as_bytes(body))) + body)));
  // With a umask of 002 the group could write, and find() would take the file for another's.
  ::chmod(path.c_str(), 0600);
  return {};
}

}  // namespace blade::backends::cuda
