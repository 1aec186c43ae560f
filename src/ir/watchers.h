// Which TensorFlow ops only watch: nothing is computed from them, so that an optimized graph leaves them out.
#pragma once

#include <string_view>

namespace blade::ir {

inline bool only_watches(std::string_view source_op) { return source_op == "Assert" || source_op == "PrintV2"; }

}  // namespace blade::ir
