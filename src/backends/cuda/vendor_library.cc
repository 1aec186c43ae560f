// The search, and dlopen with a sentence.
#include "backends/cuda/vendor_library.h"

#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "base/own_module.h"

namespace blade::backends::cuda {
namespace {

std::vector<std::string> folders_of(const VendorLibrary& library) {
  std::vector<std::string> all;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* root = std::getenv(name);
    if (root != nullptr && *root == '/') all.push_back(std::string(root) + "/lib64");
  }
  for (const std::string& folder : library.folders) all.push_back(own_folder() + "/../nvidia/" + folder + "/lib");
  const char* searched = std::getenv("LD_LIBRARY_PATH");
  for (std::string rest = searched != nullptr ? searched : ""; !rest.empty();) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    if (rest.front() == '/') all.push_back(rest.substr(0, colon));
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

// All that are there, the likeliest first.
std::vector<std::string> paths_of(const VendorLibrary& library) {
  std::vector<std::string> paths;
  for (const std::string& name : library.file_names) {
    if (std::string path = loaded_path(name, library.symbol); !path.empty()) paths.push_back(std::move(path));
  }
  const std::vector<std::string> folders = folders_of(library);
  for (const std::string& name : library.file_names) {
    for (const std::string& folder : folders) {
      std::error_code error;
      std::string path = folder + "/" + name;
      if (std::filesystem::is_regular_file(path, error)) paths.push_back(std::move(path));
    }
  }
  return paths;
}

Status not_found_status(const VendorLibrary& library) {
  return unavailable(library.name + " was not found (" + library.file_names.front() + " of CUDA_HOME, of the package " +
                     library.package + " beside Blade, of LD_LIBRARY_PATH or of /usr/local/cuda): install " +
                     library.package + " or a CUDA toolkit");
}

}  // namespace

Result<std::string> find_vendor_library(const VendorLibrary& library) {
  const std::vector<std::string> paths = paths_of(library);
  if (paths.empty()) return not_found_status(library);
  return paths.front();
}

Result<void*> load_vendor_library(const VendorLibrary& library) {
  std::string first_reason;
  for (const std::string& path : paths_of(library)) {
    void* handle = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (handle == nullptr) {
      const char* why = dlerror();
      if (first_reason.empty()) first_reason = why != nullptr ? why : path;
      continue;
    }
    if (!first_reason.empty()) log_warning(library.name + " is taken from " + path + ": " + first_reason);
    return handle;
  }
  if (first_reason.empty()) return not_found_status(library);
  return unavailable(library.name + " cannot be loaded (" + first_reason + ")");
}

}  // namespace blade::backends::cuda
