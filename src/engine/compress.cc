// Deflate through zlib.
#include "engine/compress.h"

#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <new>

namespace blade::engine {
namespace {

// Deflate cannot do better than this (zlib's documentation, "Maximum Compression Factor").
constexpr uint64_t kMaxRatio = 1032;

}  // namespace

Result<std::string> compress(std::string_view plain) {
  const uint64_t size = plain.size();
  uLongf packed_size = compressBound(static_cast<uLong>(size));
  std::string packed(sizeof(size) + packed_size, '\0');
  std::memcpy(packed.data(), &size, sizeof(size));
  const int code =
      compress2(reinterpret_cast<Bytef*>(packed.data() + sizeof(size)), &packed_size,
                reinterpret_cast<const Bytef*>(plain.data()), static_cast<uLong>(size), Z_BEST_COMPRESSION);
  if (code != Z_OK) return resource_exhausted("There is no memory to compress " + std::to_string(size) + " bytes.");
  packed.resize(sizeof(size) + packed_size);
  return packed;
}

Result<std::string> decompress(std::span<const std::byte> packed) {
  uint64_t size = 0;
  if (packed.size() < sizeof(size))
    return data_loss("a compressed section has only " + std::to_string(packed.size()) + " bytes");
  std::memcpy(&size, packed.data(), sizeof(size));
  const std::span<const std::byte> stream = packed.subspan(sizeof(size));
  if (size / kMaxRatio > stream.size()) return data_loss("a compressed section claims more bytes than it can hold");
  std::string plain;
  try {
    plain.resize(size);
  } catch (const std::bad_alloc&) {
    return resource_exhausted("There is no memory for " + std::to_string(size) + " bytes of a model.");
  }
  uLongf got = static_cast<uLongf>(size);
  const int code = uncompress(reinterpret_cast<Bytef*>(plain.data()), &got,
                              reinterpret_cast<const Bytef*>(stream.data()), static_cast<uLong>(stream.size()));
  if (code != Z_OK || got != size) return data_loss("a compressed section cannot be read");
  return plain;
}

}  // namespace blade::engine
