// Runs a whole graph node by node with the reference kernels, and makes random inputs for it.
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "backends/reference/evaluate.h"
#include "ir/graph.h"

namespace blade::testing {

// `inputs` has one tensor a graph input; the result one a graph output.
inline Result<std::vector<ir::TensorPtr>> evaluate_graph(const ir::Graph& graph,
                                                         const std::vector<ir::TensorPtr>& inputs) {
  std::vector<ir::TensorPtr> values(static_cast<size_t>(graph.num_values()));
  for (ir::ValueId v = 0; v < graph.num_values(); ++v) values[v] = graph.value(v).constant;
  if (inputs.size() != graph.inputs().size()) return invalid_argument("one tensor is needed for each graph input");
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs()[i]] = inputs[i];
  BLADE_ASSIGN_OR_RETURN(const std::vector<ir::NodeId> order, graph.topological_order());
  for (ir::NodeId id : order) {
    const ir::Node& node = graph.node(id);
    std::vector<ir::TensorPtr> operands;
    for (ir::ValueId input : node.inputs) operands.push_back(values[input]);
    BLADE_ASSIGN_OR_RETURN(const std::vector<ir::TensorPtr> results,
                           backends::evaluate_reference(graph, node, operands));
    for (size_t i = 0; i < results.size(); ++i) values[node.outputs[i]] = results[i];
  }
  std::vector<ir::TensorPtr> outputs;
  for (ir::ValueId output : graph.outputs()) outputs.push_back(values[output]);
  return outputs;
}

// Random tensors for the graph's inputs (float: normal, integers: 0 to 9), `unknown` for every symbolic dim.
inline std::vector<ir::TensorPtr> random_inputs(const ir::Graph& graph, uint32_t seed, int64_t unknown = 2) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 2.0f);
  std::vector<ir::TensorPtr> tensors;
  for (ir::ValueId input : graph.inputs()) {
    const ir::Value& value = graph.value(input);
    ir::Dims dims;
    for (const ir::Dim& dim : value.shape.dims()) dims.push_back(dim.is_known() ? dim.value() : unknown);
    auto made = ir::allocate_tensor(value.dtype, dims);
    if (!made.ok()) return {};
    const int64_t count = made->tensor->element_count();
    for (int64_t i = 0; i < count; ++i) {
      if (value.dtype == ir::DType::kFloat32) {
        const float number = normal(random);
        std::memcpy(made->data + i * sizeof number, &number, sizeof number);
      } else {  // little-endian: the low byte
        const size_t size = ir::dtype_size(value.dtype);
        std::memset(made->data + i * size, 0, size);
        made->data[i * size] = static_cast<std::byte>(value.dtype == ir::DType::kBool ? random() % 2 : random() % 10);
      }
    }
    tensors.push_back(made->tensor);
  }
  return tensors;
}

// Largest difference of two tensors relative to the first's largest element (at least 1); infinite where dtypes, dims
// or NaNs differ.
inline double relative_difference(const ir::Tensor& a, const ir::Tensor& b) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  if (a.dtype != b.dtype || a.dims != b.dims || a.bytes != b.bytes) return kInfinite;
  if (a.dtype != ir::DType::kFloat32) return a.bytes == 0 || std::memcmp(a.data, b.data, a.bytes) == 0 ? 0 : kInfinite;
  double largest = 1, difference = 0;
  for (size_t i = 0; i < a.as<float>().size(); ++i) {
    const double x = a.as<float>()[i], y = b.as<float>()[i];
    if (std::isnan(x) != std::isnan(y)) return kInfinite;
    if (std::isnan(x) || x == y) continue;
    largest = std::fmax(largest, std::fabs(x));
    difference = std::fmax(difference, std::fabs(x - y));
  }
  return difference / largest;
}

}  // namespace blade::testing
