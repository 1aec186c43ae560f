// Shapes in sentences for people.
#pragma once

#include <string>

#include "ir/types.h"

namespace blade::ir {

// "[1,224,224,3]".
inline std::string plain_text(const Dims& dims) {
  std::string text;
  for (const int64_t dim : dims) text += (text.empty() ? "" : ",") + std::to_string(dim);
  return "[" + text + "]";
}

// "[?,224,224,3]", "<unknown>": what a symbol is called says nothing to a user.
inline std::string plain_text(const Shape& shape) {
  if (!shape.has_rank()) return "<unknown>";
  std::string text;
  for (const Dim dim : shape.dims())
    text += (text.empty() ? "" : ",") + (dim.is_known() ? std::to_string(dim.value()) : std::string("?"));
  return "[" + text + "]";
}

}  // namespace blade::ir
