// Deflate for the model section of engine files: node structure is text-like and shrinks five to ten times.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace blade::engine {

// u64 size of the plain bytes, then a zlib stream (RFC 1950).
Result<std::string> compress(std::string_view plain);
// Refuses, before allocating, a size that no stream of this length can hold.
Result<std::string> decompress(std::span<const std::byte> packed);

}  // namespace blade::engine
