// Compact binary form of a graph, attributes through their visit(): the portable model inside engine files.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "ir/graph.h"

namespace blade::ir {

// Decides for each constant where its data goes: nullopt writes it inline, an offset writes a reference.
using ConstantPlacer = std::function<std::optional<uint64_t>(const Value& constant)>;
std::string serialize(const Graph& graph, const ConstantPlacer& place);

// Gives the data of a referenced constant, or an error when offset and size are out of bounds.
using ConstantLoader = std::function<Result<TensorPtr>(DType, Dims, uint64_t offset, uint64_t bytes)>;
// Hostile bytes are safe: every count, id and string is bounds-checked; the result is verified.
Result<Graph> deserialize(std::span<const std::byte> bytes, const ConstantLoader& load);

}  // namespace blade::ir
