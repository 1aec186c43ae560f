// Checks places and publishes directories.
#include "optimizer/output_place.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>
#include <string_view>

#include "base/mapped_file.h"
#include "base/paths.h"

namespace blade::optimizer {
namespace {

namespace fs = std::filesystem;

// TensorFlow leaves this folder of a SavedModel to others: the file says that all of it may be replaced.
constexpr char kMarkFolder[] = "assets.extra", kMark[] = "written_by_blade";

Status refused(const std::string& path, const std::string& why) {
  return invalid_argument("the output '" + path + "' cannot be written: " + why);
}

fs::path folder_of(const std::string& path) {
  std::error_code error;
  return fs::absolute(without_slashes(path), error).parent_path();
}

Status check_folder(const std::string& path) {
  std::error_code error;
  const fs::path folder = folder_of(path);
  if (!fs::is_directory(folder, error)) {
    return not_found("the output '" + path + "' cannot be written: there is no directory '" + folder.string() +
                     "'; make it first");
  }
  // Only trying tells: permissions say nothing about file systems that are read-only, nor to the superuser.
  std::string probe = (folder / ".blade-XXXXXX").string();
  const int file = ::mkostemp(probe.data(), O_CLOEXEC);
  if (file < 0) {
    return refused(path, "the directory '" + folder.string() + "' cannot be written to (" + std::strerror(errno) +
                             "); give another place");
  }
  ::close(file);
  ::unlink(probe.c_str());
  return {};
}

// Blade's mark, and nothing that others have put beside it.
bool may_be_replaced(const fs::path& directory) {
  constexpr std::string_view kWritten[] = {kMarkFolder, "assets", "fingerprint.pb", "saved_model.pb", "variables"};
  std::error_code error;
  if (fs::is_empty(directory, error)) return true;
  if (!fs::exists(directory / kMarkFolder / kMark, error)) return false;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (std::find(std::begin(kWritten), std::end(kWritten), name) == std::end(kWritten)) return false;
  }
  return !error;
}

// One step where the file system has it, else two.
bool take_the_place(const std::string& made, const std::string& path) {
  if (::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return true;
  const std::string old = made + ".old";
  if (::rename(path.c_str(), old.c_str()) != 0) return false;
  if (::rename(made.c_str(), path.c_str()) == 0) return ::rename(old.c_str(), made.c_str()) == 0;
  ::rename(old.c_str(), path.c_str());
  return false;
}

}  // namespace

Status check_output_place(const std::string& path, bool is_directory) {
  BLADE_RETURN_IF_ERROR(check_folder(path));
  std::error_code error;
  const fs::file_status there = fs::status(without_slashes(path), error);
  if (is_directory) {
    if (!fs::exists(there)) return {};
    if (!fs::is_directory(there))
      return refused(path, "a file stands there, and a SavedModel is a directory; remove it");
    if (may_be_replaced(path)) return {};
    return refused(path,
                   "that directory exists already and holds what Blade did not write; remove it, or move it out of the "
                   "way");
  }
  if (path.ends_with('/') || fs::is_directory(there))
    return refused(path, "it is a directory; give the path of a file");
  if (fs::exists(there) && !fs::is_regular_file(there))
    return refused(path, "it is no regular file; give another path");
  return {};
}

Status check_output_space(const std::string& path, uint64_t bytes) {
  std::error_code error;
  const fs::path folder = folder_of(path);
  const fs::space_info space = fs::space(folder, error);
  if (error || space.available >= bytes) return {};
  return resource_exhausted("the output '" + path + "' takes about " + std::to_string(bytes) + " bytes, and '" +
                            folder.string() + "' has room for " + std::to_string(space.available) +
                            "; make room, or give another place");
}

Status write_directory_atomically(const std::string& given, const std::function<Status(const std::string&)>& fill) {
  const std::string path = without_slashes(given);
  BLADE_RETURN_IF_ERROR(check_output_place(path, /*is_directory=*/true));
  static std::atomic<int> count{0};
  const std::string made = path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
  if (::mkdir(made.c_str(), 0777) != 0) {
    return invalid_argument("cannot make the directory '" + made + "': " + std::strerror(errno));
  }
  std::error_code error;
  Status status = fill(made);
  if (status.ok()) {
    const fs::path folder = fs::path(made) / kMarkFolder;
    fs::create_directories(folder, error);
    const std::string mark = "Blade " BLADE_VERSION "\n";
    status = write_file_atomically((folder / kMark).string(), std::as_bytes(std::span(mark)));
  }
  if (status.ok()) {
    const bool moved = fs::exists(path, error) ? take_the_place(made, path) : ::rename(made.c_str(), path.c_str()) == 0;
    if (!moved) status = invalid_argument("cannot replace '" + path + "': " + std::strerror(errno));
  }
  fs::remove_all(made, error);  // what stood there before, or what could not be finished
  return status;
}

}  // namespace blade::optimizer
