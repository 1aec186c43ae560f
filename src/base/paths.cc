#include "base/paths.h"

#include <filesystem>

namespace blade {
namespace {

namespace fs = std::filesystem;

// Without links, '.' and '..'; of what is not there yet, too.
fs::path place_of(const std::string& path) {
  constexpr int kMostLinks = 40;
  std::error_code error;
  fs::path place = fs::absolute(without_slashes(path), error);
  for (int i = 0; i < kMostLinks && fs::is_symlink(place, error); ++i)
    place = place.parent_path() / fs::read_symlink(place, error);
  fs::path found = fs::weakly_canonical(place, error);
  return error ? place.lexically_normal() : found;
}

bool is_same_place(const std::string& a, const std::string& b) {
  std::error_code error;
  return place_of(a) == place_of(b) || fs::equivalent(a, b, error);
}

bool lies_in(const std::string& path, const std::string& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) return false;
  for (fs::path folder = place_of(path); folder.has_relative_path();) {
    folder = folder.parent_path();
    if (fs::equivalent(folder, directory, error)) return true;
  }
  return false;
}

bool is_stream(const std::string& path) {
  std::error_code error;
  const fs::file_status there = fs::status(path, error);
  return fs::is_other(there) || fs::is_character_file(there);
}

}  // namespace

std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

Status check_apart(const std::string& model, const std::vector<std::string>& read,
                   const std::vector<std::string>& written) {
  const auto clash = [](const std::string& path, const std::string& other) {
    return is_same_place(path, other) ? "is"
           : lies_in(path, other)     ? "lies inside"
           : lies_in(other, path)     ? "holds"
                                      : "";
  };
  const auto refused_for = [](const std::string& path, const std::string& clash, const std::string& what) {
    return invalid_argument("'" + path + "' " + clash + " " + what +
                            ", which would be lost; give the output another path, or move away what stands there");
  };
  for (size_t i = 0; i < written.size(); ++i) {
    const std::string& path = written[i];
    if (is_stream(path)) continue;
    if (const std::string how = model.empty() ? "" : clash(path, model); !how.empty())
      return refused_for(path, how, "the model itself");
    for (const std::string& other : read) {
      if (const std::string how = clash(path, other); !how.empty())
        return refused_for(path, how, "'" + other + "', which is read");
    }
    for (size_t k = 0; k < i; ++k) {
      if (is_same_place(path, written[k]))
        return invalid_argument("'" + path + "' is to hold two things; give each a place");
    }
  }
  return {};
}

}  // namespace blade
