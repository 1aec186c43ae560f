// The checksum that engine files and stored weights carry: XXH3 of 64 bits with seed 0 (xxhash.com).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace blade {

uint64_t checksum(std::span<const std::byte> bytes);
// Of all pieces, one after the other.
uint64_t checksum(std::span<const std::span<const std::byte>> pieces);

}  // namespace blade
