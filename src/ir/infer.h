// Inference with its by-products: the known contents of small integer tensors, for specialize().
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace blade::ir {

inline constexpr int64_t kMaxContentElements = 1024;
inline constexpr int kMaxRank = 254;  // as TensorFlow's

using Contents = std::vector<std::optional<std::vector<Dim>>>;  // one entry a value

// infer_shapes(), also handing out what is known of the values' elements.
Result<Contents> infer_contents(Graph& graph, const InferOptions& options);

}  // namespace blade::ir
