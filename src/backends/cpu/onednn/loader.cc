// dlopen of the module by its path, never by search order: only the file installed beside Blade is trusted.
#include "backends/cpu/onednn/loader.h"

#include <dlfcn.h>

namespace blade::backends::cpu {
namespace {

constexpr const char* kFileName = "libblade_onednn.so";

std::string own_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&onednn_module), &info) == 0 || info.dli_fname == nullptr) return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

OneDnnModule load() {
  OneDnnModule module;
  const std::string path = own_folder() + "/" + kFileName;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    module.refusal = "the oneDNN module " + std::string(kFileName) + " is not installed beside Blade";
    return module;
  }
  const auto function = reinterpret_cast<BladeOneDnnTableFunction>(dlsym(library, "blade_onednn_table"));
  const BladeOneDnnTable* table = function == nullptr ? nullptr : function();
  if (table == nullptr || table->version != BLADE_ONEDNN_TABLE_VERSION) {
    module.refusal = "the oneDNN module " + path + " is of another version of Blade";
    dlclose(library);
    return module;
  }
  module.table = table;
  return module;
}

}  // namespace

const OneDnnModule& onednn_module() {
  static const OneDnnModule module = load();
  return module;
}

}  // namespace blade::backends::cpu
