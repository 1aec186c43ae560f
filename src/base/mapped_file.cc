// POSIX implementation of mapped_file.h.
#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <system_error>

namespace blade {
namespace {

std::string errno_text(int error) { return std::generic_category().message(error); }

Status file_error(const char* what, const std::string& path, int error) {
  std::string sentence = std::string("cannot ") + what + " '" + path + "': " + errno_text(error);
  switch (error) {
    case ENOENT:
      return not_found(std::move(sentence));
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return resource_exhausted(std::move(sentence));
    default:
      return invalid_argument(std::move(sentence));
  }
}

// Closes on scope exit; close_now() reports what close() said, since a network file system may fail only there.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() { close_now(); }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }
  bool close_now() {
    const int fd = fd_;
    fd_ = -1;
    return fd < 0 || ::close(fd) == 0;
  }

 private:
  int fd_;
};

// Removes the temporary file unless release() was called.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  void release() { path_.clear(); }

 private:
  std::string path_;
};

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

// What the process takes from the permissions of new files. Asked of the system, since umask() tells it only by setting
// another one, which files that other threads create meanwhile would get.
mode_t file_mode_mask() {
  constexpr mode_t kUsual = 022;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    unsigned mask = 0;
    if (std::sscanf(line.c_str(), "Umask: %o", &mask) == 1) return static_cast<mode_t>(mask);
  }
  return kUsual;
}

// The new file takes the old one's permissions, or those that a plain open() would have given.
mode_t mode_for(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) == 0) return info.st_mode & 0777;
  return 0666 & ~file_mode_mask();
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe would wait for its writer
  if (fd.get() < 0) return file_error("open", path, errno);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return file_error("read the size of", path, errno);
  if (!S_ISREG(info.st_mode)) {
    return invalid_argument("'" + path + "' is not a regular file: give the path of a file");
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) return std::shared_ptr<const MappedFile>(new MappedFile(nullptr, 0));
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) return file_error("map", path, errno);
  return std::shared_ptr<const MappedFile>(new MappedFile(static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Status write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  // A rename would put a file where a device or a socket was.
  struct stat there = {};
  if (::stat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
    return invalid_argument("'" + path + "' is " + (S_ISDIR(there.st_mode) ? "a directory" : "no regular file") +
                            "; give the path of a file to write");
  }
  std::string temporary_path = path + ".tmp-XXXXXX";
  FileDescriptor fd(::mkostemp(temporary_path.data(), O_CLOEXEC));
  if (fd.get() < 0) return file_error("create a temporary file beside", path, errno);
  TemporaryFile temporary(temporary_path);
  if (!write_all(fd.get(), bytes)) return file_error("write", path, errno);
  if (::fchmod(fd.get(), mode_for(path)) != 0) return file_error("set the permissions of", temporary_path, errno);
  if (::fsync(fd.get()) != 0) return file_error("sync", temporary_path, errno);
  if (!fd.close_now()) return file_error("close", temporary_path, errno);
  if (::rename(temporary_path.c_str(), path.c_str()) != 0) return file_error("replace", path, errno);
  temporary.release();
  return Status();
}

}  // namespace blade
