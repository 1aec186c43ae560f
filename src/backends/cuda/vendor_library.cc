// The search, and dlopen with a sentence.
#include "backends/cuda/vendor_library.h"

#include <cstdlib>
#include <filesystem>

#include "base/own_module.h"

namespace blade::backends::cuda {
namespace {

std::vector<std::string> folders_of(const VendorLibrary& library) {
  std::vector<std::string> all;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* root = std::getenv(name);
    if (root != nullptr && *root != 0) all.push_back(std::string(root) + "/lib64");
  }
  for (const std::string& folder : library.folders) all.push_back(own_folder() + "/../nvidia/" + folder + "/lib");
  const char* searched = std::getenv("LD_LIBRARY_PATH");
  for (std::string rest = searched != nullptr ? searched : ""; !rest.empty();) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    if (colon > 0) all.push_back(rest.substr(0, colon));
    rest.erase(0, colon + 1);
  }
  for (const char* usual : {"/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64"})
    all.emplace_back(usual);
  return all;
}

// Of a library that the process holds already.
std::string loaded_path(const std::string& name, const std::string& symbol) {
  void* library = dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return "";
  Dl_info info{};
  void* address = dlsym(library, symbol.c_str());
  const bool found = address != nullptr && dladdr(address, &info) != 0 && info.dli_fname != nullptr;
  const std::string path = found ? info.dli_fname : "";
  dlclose(library);
  return path;
}

}  // namespace

Result<std::string> find_vendor_library(const VendorLibrary& library) {
  for (const std::string& name : library.file_names) {
    if (const std::string path = loaded_path(name, library.symbol); !path.empty()) return path;
  }
  const std::vector<std::string> folders = folders_of(library);
  for (const std::string& name : library.file_names) {
    for (const std::string& folder : folders) {
      std::error_code error;
      const std::string path = folder + "/" + name;
      if (std::filesystem::is_regular_file(path, error)) return path;
    }
  }
  return unavailable(library.name + " was not found (" + library.file_names.front() + " of CUDA_HOME, of the package " +
                     library.package + " beside Blade, of LD_LIBRARY_PATH or of /usr/local/cuda): install " +
                     library.package + " or a CUDA toolkit");
}

Result<void*> load_vendor_library(const VendorLibrary& library, const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (handle != nullptr) return handle;
  const char* why = dlerror();
  return unavailable(library.name + " cannot be loaded (" + (why != nullptr ? why : "no reason given") + ")");
}

}  // namespace blade::backends::cuda
