// The user's cache folder, by the rules of the XDG base directories.
#include "base/cache_folder.h"

#include <cstdlib>

namespace blade {

std::filesystem::path user_cache_folder() {
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  // Relative ones are left aside, as those rules demand.
  if (cache != nullptr && *cache == '/') return std::filesystem::path(cache) / "blade";
  return home != nullptr && *home == '/' ? std::filesystem::path(home) / ".cache" / "blade" : std::filesystem::path();
}

std::filesystem::path cache_folder(const std::string& dir) {
  if (dir == "off") return {};
  return dir.empty() ? user_cache_folder() : std::filesystem::path(dir);
}

}  // namespace blade
