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
// Whether there is room for `bytes` where `path` is to be.
Status check_output_space(const std::string& path, uint64_t bytes);

// Makes the directory `path` of what `fill` writes into a new one beside it: it appears whole or not at all. One that
// stands there already is replaced.
Status write_directory_atomically(const std::string& path, const std::function<Status(const std::string&)>& fill);

}  // namespace blade::optimizer
