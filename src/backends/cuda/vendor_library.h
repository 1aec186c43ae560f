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
  std::vector<std::string> file_names;  // the likeliest first
  std::vector<std::string> folders;     // of PyPI packages, below site-packages/nvidia
  std::string symbol;                   // by which a copy that the process holds already is found
  std::string package;                  // to install where there is none
};

// Where it is looked for first, in this order: what the process holds (PyTorch's), CUDA_HOME and CUDA_PATH, packages
// beside Blade's own, LD_LIBRARY_PATH, and where installers put it. Relative folders of the environment are left aside:
// what they mean depends on where the process stands. The error says so.
Result<std::string> find_vendor_library(const VendorLibrary& library);
// The first of these that can be loaded, with a warning where it is not the first that was found.
Result<void*> load_vendor_library(const VendorLibrary& library);

// Whether the library has the function.
template <class Function>
bool find_function(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace blade::backends::cuda
