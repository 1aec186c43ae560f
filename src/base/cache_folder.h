// Where what may be lost is kept between runs.
#pragma once

#include <filesystem>

namespace blade {

// $XDG_CACHE_HOME/blade or ~/.cache/blade; empty where neither is an absolute path.
std::filesystem::path user_cache_folder();
// The folder of a setting: `dir` itself, the user's where it is empty, none (empty) where it is "off".
std::filesystem::path cache_folder(const std::string& dir);

}  // namespace blade
