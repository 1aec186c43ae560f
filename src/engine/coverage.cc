// Estimates work and hand-overs at likely shapes.
#include "engine/coverage.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace blade::engine {
namespace {

constexpr int64_t kLikelyBatch = 1, kLikelyDim = 64;

std::optional<std::vector<ir::Dims>> guess_dims(const ir::Graph& graph) {
  std::vector<ir::Dims> dims;
  for (ir::ValueId id : graph.inputs()) {
    const ir::Shape& shape = graph.value(id).shape;
    if (!shape.has_rank()) return std::nullopt;
    ir::Dims likely;
    for (int i = 0; i < shape.rank(); ++i) {
      likely.push_back(shape.dim(i).is_known() ? shape.dim(i).value() : i == 0 ? kLikelyBatch : kLikelyDim);
    }
    dims.push_back(std::move(likely));
  }
  return dims;
}

double bytes_of(const ir::Graph& graph, ir::ValueId id) {
  const ir::Value& value = graph.value(id);
  return static_cast<double>(value.shape.element_count().value_or(0)) *
         static_cast<double>(ir::dtype_size(value.dtype));
}

double boundary_bytes(const ir::Graph& graph, const ir::Graph& likely, const Partition& partition) {
  double bytes = 0;
  for (const Region& region : partition.regions) {
    for (ir::ValueId id : region.inputs) bytes += graph.value(id).producer == ir::kNone ? 0 : bytes_of(likely, id);
    for (ir::ValueId id : region.outputs) bytes += graph.is_output(id) ? 0 : bytes_of(likely, id);
  }
  return bytes;
}

}  // namespace

std::optional<ir::Graph> likely_graph(const ir::Graph& graph, const std::vector<ir::Dims>& input_dims) {
  const auto dims = input_dims.empty() ? guess_dims(graph) : std::optional(input_dims);
  if (!dims) return std::nullopt;
  auto specialized = ir::specialize(graph, *dims);
  if (!specialized.ok()) return std::nullopt;
  return std::move(specialized).value();
}

std::optional<double> likely_flops(const std::optional<ir::Graph>& likely, ir::NodeId id) {
  if (!likely) return std::nullopt;
  if (!likely->is_live(id)) return 0;  // known once the shapes are
  if (likely->node(id).op == ir::Op::kForeign) return std::nullopt;
  const ir::Node& node = likely->node(id);
  for (const auto* values : {&node.inputs, &node.outputs}) {
    for (ir::ValueId v : *values) {
      if (!likely->value(v).shape.is_static()) return std::nullopt;
    }
  }
  return ir::node_cost(*likely, node).flops;
}

Coverage measure_coverage(const ir::Graph& graph, const Partition& partition, const std::vector<ir::Dims>& input_dims) {
  Coverage coverage;
  const std::optional<ir::Graph> likely = likely_graph(graph, input_dims);
  std::unordered_set<ir::NodeId> inside;
  for (const Region& region : partition.regions) inside.insert(region.nodes.begin(), region.nodes.end());
  std::unordered_map<int32_t, std::optional<double>> of_origin;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id)) continue;
    const std::optional<double> flops = likely_flops(likely, id);
    coverage.flops += flops.value_or(0);
    if (inside.contains(id)) continue;
    coverage.flops_left += flops.value_or(0);
    std::optional<double>& sum = of_origin[graph.node(id).origin];
    if (flops) sum = sum.value_or(0) + *flops;
  }
  for (const LeftBehind& left : partition.left_behind) {
    const auto found = of_origin.find(left.origin);
    coverage.left_flops.push_back(found != of_origin.end() ? found->second : std::nullopt);
  }
  if (likely) coverage.boundary_bytes = boundary_bytes(graph, *likely, partition);
  return coverage;
}

}  // namespace blade::engine
