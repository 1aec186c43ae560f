// The engine format (docs/engine-format.md): header, decisions (JSON), portable model, weights; versioned and
// checksummed.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/pieces.h"
#include "base/status.h"
#include "engine/decisions.h"
#include "ir/graph.h"

namespace blade::engine {

inline constexpr uint32_t kEngineFormatVersion = 1;

// One weight's place in the file, so that others (the original subgraph) can read it without parsing the rest.
struct StoredWeight {
  ir::TensorPtr tensor;
  size_t offset, bytes;  // from the start of the file; offset is a multiple of 64
};

struct EngineFile {
  std::vector<std::byte> bytes;
  std::vector<StoredWeight> weights;  // constants of at least kMinStoredWeightBytes, each once
};
inline constexpr size_t kMinStoredWeightBytes = 1024;  // smaller constants are inline in the model section

// Where to cut a file into pieces of at most `limit` bytes: no weight is cut, so that one that is larger makes a larger
// piece. The first piece begins at 0 and holds everything before the weights.
std::vector<size_t> piece_starts(const EngineFile& file, size_t limit);

// Writes graph (as imported) and decisions. Small constants are inline.
Result<EngineFile> write_engine_file(const ir::Graph& graph, const Decisions& decisions);

struct ParsedEngine {
  ir::Graph graph;  // constants point into the file's bytes (kept alive by `owner`)
  Decisions decisions;
};
// Checks magic, version, bounds and checksum before use. A newer version, a flipped bit, a truncation: a sentence.
Result<ParsedEngine> parse_engine_file(const Pieces& file, std::shared_ptr<const void> owner);
inline Result<ParsedEngine> parse_engine_file(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
  return parse_engine_file(Pieces(bytes), std::move(owner));
}
// Whether the bytes claim to be an engine file at all.
bool has_engine_magic(std::span<const std::byte> bytes);

}  // namespace blade::engine
