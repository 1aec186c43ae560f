// Joins values into a sentence: error messages are built in one expression.
#pragma once

#include <sstream>
#include <string>

namespace blade::ir {

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace blade::ir
