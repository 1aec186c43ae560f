// NVIDIA's libraries that Blade uses where the machine has them, and does without elsewhere: found by path, loaded at
// the first use.
#pragma once

#include <dlfcn.h>

#include <string>
#include <vector>

#include "base/status.h"

namespace blade::backends::cuda {

struct VendorLibrary {
  std::string name;                     // for people
  std::vector<std::string> file_names;  // the first that is found is taken
  std::vector<std::string> folders;     // of PyPI packages, below site-packages/nvidia
  std::string symbol;                   // by which a copy that the process holds already is found
  std::string package;                  // to install where there is none
};

// In this order: what the process holds (PyTorch's), CUDA_HOME and CUDA_PATH, packages beside Blade's own,
// LD_LIBRARY_PATH, and where installers put it. The error says so.
Result<std::string> find_vendor_library(const VendorLibrary& library);

// Whether the library has the function.
template <class Function>
bool find_function(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}
Result<void*> load_vendor_library(const VendorLibrary& library, const std::string& path);

}  // namespace blade::backends::cuda
