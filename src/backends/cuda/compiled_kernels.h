// Kernels compiled at run time, held by the process and kept on disk.
#pragma once

#include <string>

#include "base/status.h"

namespace blade::backends::cuda {

// The kernel `name` of `source`, as prepare_launch() and launch() take it: from this process, from disk, or compiled
// now. It lives as long as the process.
Result<const void*> compiled_kernel(const std::string& source, const std::string& name,
                                    const std::string& architecture);

// Where code is kept from now on, by the process as a whole; empty: nowhere. At first the user's cache folder.
void keep_compiled_in(const std::string& folder);

}  // namespace blade::backends::cuda
