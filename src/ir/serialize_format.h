// The constants of the portable graph format, shared by its writer and reader.
//
// version; op names; symbols; values; inputs; outputs; nodes. Numbers are LEB128 varints (signed ones zigzag), strings
// and lists have their length in front, a dim is 2 * number or 2 * symbol + 1, floats are 4 little-endian bytes. Values
// and nodes keep their ids; what nothing reads is left out and leaves a hole.
#pragma once

#include <cstdint>

namespace blade::ir {

// Version 2 adds nodes that hold graphs, written as such a form in full; a graph without any is still written as
// version 1, so that older readers take it.
inline constexpr uint8_t kGraphFormatVersion = 2;
inline constexpr uint8_t kFlatGraphFormatVersion = 1;
inline constexpr int kMaxGraphDepth = 32;  // of graphs in nodes of graphs

enum class ValueTag : uint8_t { kHole, kInput, kConstant, kResult };
enum class Placement : uint8_t { kInline, kReference };
enum class NodeTag : uint8_t { kHole, kNode };

}  // namespace blade::ir
