// Reading and making constants inside passes: data may be unaligned, so everything goes through copies.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace blade::passes {

// All elements of a float32 constant (copied); empty for other dtypes and for values that are not constant.
std::vector<float> float_values(const ir::Graph& graph, ir::ValueId value);
// One element of a float32 constant of which there may be too many to copy.
float float_at(const ir::Tensor& constant, size_t i);
// The only element of a one-element float32 constant.
std::optional<float> float_scalar(const ir::Graph& graph, ir::ValueId value);
// The value all elements of a small float32 constant share.
std::optional<float> float_uniform(const ir::Graph& graph, ir::ValueId value);
// The value all elements of a small constant of any numeric dtype share, where a double holds it.
std::optional<double> uniform_value(const ir::Graph& graph, ir::ValueId value);
// Elements of an int32 or int64 constant.
std::optional<std::vector<int64_t>> integers(const ir::Graph& graph, ir::ValueId value);

// A float32 constant seen as one value for each of `channels` along the last axis: a scalar is repeated, leading dims
// of 1 are ignored. nullopt where it is neither.
std::optional<std::vector<double>> channel_values(const ir::Graph& graph, ir::ValueId value, int64_t channels);

ir::TensorPtr float_tensor(ir::Dims dims, const std::vector<float>& values);
ir::TensorPtr int64_tensor(const std::vector<int64_t>& values);
ir::TensorPtr int32_tensor(const std::vector<int64_t>& values);
// The same data under other dims (the caller answers for the element count).
ir::TensorPtr with_dims(const ir::TensorPtr& tensor, ir::Dims dims);
// The tensor transposed by `perm`; nullptr where memory is short.
ir::TensorPtr transposed(const ir::TensorPtr& tensor, const std::vector<int64_t>& perm);

// A Reshape's shape operand for `shape`: at most one dim unknown (-1), the known ones positive; nullopt otherwise.
std::optional<std::vector<int64_t>> reshape_target(const ir::Shape& shape);
int64_t product(const ir::Dims& dims);
int64_t product(const ir::Dims& dims, size_t begin, size_t end);

}  // namespace blade::passes
