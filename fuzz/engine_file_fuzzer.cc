// libFuzzer: any bytes as an engine file, and as the sections of one whose header and checksum are right, so that the
// readers behind the checksum are reached too.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/engine.h"
#include "engine/engine_file.h"

namespace {

using namespace blade;

constexpr size_t kHeader = 128;

void put(std::vector<std::byte>& file, size_t at, uint64_t value) {
  std::memcpy(file.data() + at, &value, sizeof value);
}

// Offset and size of a section appended at a multiple of 64, written to the header at `field`.
void append(std::vector<std::byte>& file, size_t field, const uint8_t* data, size_t size) {
  file.resize((file.size() + 63) / 64 * 64);
  put(file, field, file.size());
  put(file, field + 8, size);
  const auto* from = reinterpret_cast<const std::byte*>(data);
  file.insert(file.end(), from, from + size);
}

// The layout of docs/engine-format.md around: u16 size of the decisions, u16 size of the model, then the three
// sections.
std::vector<std::byte> wrapped(const uint8_t* data, size_t size) {
  uint16_t sizes[2] = {};
  std::memcpy(sizes, data, sizeof sizes);
  data += sizeof sizes;
  size -= sizeof sizes;
  const size_t decisions = std::min<size_t>(sizes[0], size), model = std::min<size_t>(sizes[1], size - decisions);
  std::vector<std::byte> file(kHeader);
  std::memcpy(file.data(), "BLADEENG", 8);
  const uint32_t version_and_header[2] = {engine::kEngineFormatVersion, kHeader};
  std::memcpy(file.data() + 8, version_and_header, sizeof version_and_header);
  append(file, 32, data, decisions);
  append(file, 48, data + decisions, model);
  append(file, 64, data + decisions + model, size - decisions - model);
  put(file, 16, file.size());
  put(file, 80, XXH3_64bits(file.data(), file.size()));
  return file;
}

void load(std::span<const std::byte> bytes) {
  const auto parsed = engine::parse_engine_file(bytes, nullptr);
  if (parsed.ok()) {
    if (!ir::verify(parsed->graph).ok()) std::abort();
    engine::EngineOptions options;
    options.num_threads = 1;
    (void)engine::Engine::load(bytes, nullptr, options);
  } else if (parsed.status().message().empty()) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  load({reinterpret_cast<const std::byte*>(data), size});
  if (size < 4) return 0;
  const std::vector<std::byte> file = wrapped(data, size);
  load(file);
  const std::span whole(file);
  const size_t cut = size * 64 % file.size();
  (void)engine::parse_engine_file(Pieces({whole.first(cut), whole.subspan(cut)}), nullptr);
  return 0;
}
