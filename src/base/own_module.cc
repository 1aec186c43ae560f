// dlopen of files that were installed with this library.
#include "base/own_module.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>

namespace blade {

std::string own_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&load_own_module), &info) == 0 || info.dli_fname == nullptr) return ".";
  std::filesystem::path file = info.dli_fname;
  std::error_code error;
  // A program that was found through PATH is known by its bare name.
  if (!file.has_parent_path()) file = std::filesystem::read_symlink("/proc/self/exe", error);
  return file.has_parent_path() ? file.parent_path().string() : ".";
}

Result<void*> load_own_module(const std::string& file_name, const char* symbol) {
  const std::string path = own_folder() + "/" + file_name;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    return unavailable(file_name + " cannot be loaded from beside Blade (" +
                       (why != nullptr ? why : "no reason given") + ")");
  }
  void* address = dlsym(library, symbol);
  if (address == nullptr) {
    dlclose(library);
    return unavailable(path + " has no '" + symbol + "': it is of another version of Blade");
  }
  return address;
}

}  // namespace blade
