// Optional parts of Blade that are loaded on demand: files installed beside the library, found by path alone.
#pragma once

#include <string>

#include "base/status.h"

namespace blade {

// The folder of the library that this code is in.
std::string own_folder();

// dlopens `file_name` from the folder of the library this code is in (never by search order: only what was installed
// with Blade is trusted) and returns the address of `symbol` in it. The library stays loaded.
Result<void*> load_own_module(const std::string& file_name, const char* symbol);

}  // namespace blade
