// Where optimized models go: what may stand there, and replacing it at once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"

namespace blade::optimizer {

// Whether a file (or, for SavedModels, a directory) can be written to `path`: its folder is there and can be written
// to, and what stands there may be replaced. A directory may only if it is empty or Blade wrote it.
Status check_output_place(const std::string& path, bool is_directory);
// An error where what is written would be lost, or what is read (`model`, which may be empty, and `read`): where a path
// of `written` is such a place, lies in such a directory or holds one, or is given twice. Pipes and terminals lose
// nothing.
Status check_apart(const std::string& model, const std::vector<std::string>& read,
                   const std::vector<std::string>& written);
// Whether there is room for `bytes` where `path` is to be.
Status check_output_space(const std::string& path, uint64_t bytes);

// Makes the directory `path` of what `fill` writes into a new one beside it: it appears whole or not at all. One that
// stands there already is replaced.
Status write_directory_atomically(const std::string& path, const std::function<Status(const std::string&)>& fill);

}  // namespace blade::optimizer
