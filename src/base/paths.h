// Paths as users give them.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace blade {

std::string without_slashes(std::string path);  // at the end

// An error where what is written would be lost, or what is read (`model`, which may be empty, and `read`): where a path
// of `written` is such a place, lies in such a directory or holds one, or is given twice. Pipes and terminals lose
// nothing.
Status check_apart(const std::string& model, const std::vector<std::string>& read,
                   const std::vector<std::string>& written);

}  // namespace blade
