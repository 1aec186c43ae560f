// dlopen of files that were installed with this library.
#include "base/own_module.h"

#include <dlfcn.h>

namespace blade {

std::string own_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&load_own_module), &info) == 0 || info.dli_fname == nullptr) return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
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
