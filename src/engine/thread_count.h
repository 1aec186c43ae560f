// How many threads a caller may ask for.
#pragma once

#include <string>

#include "base/status.h"

namespace blade::engine {

// The threads to use where `asked` are asked for in `field`: 0 (as many as the process may use) to 1024, an error
// outside. More than the CPUs that the process may use would only wait for each other: they are left out, and `said` is
// then a sentence about it.
Result<int> threads_to_use(int asked, const std::string& field, std::string* said);

}  // namespace blade::engine
