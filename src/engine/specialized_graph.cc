// Specializes, then folds: what shape inference does not see through (say, a product of dims) becomes a constant by
// running it once.
#include "engine/specialized_graph.h"

#include <algorithm>

#include "backends/reference/evaluate.h"
#include "engine/storage.h"
#include "ir/foreign_nodes.h"
#include "passes/pass.h"

namespace blade::engine {
namespace {

// Folding is for shapes and small tables: the naive kernels are slow, and a folded constant belongs to one plan only.
constexpr int64_t kMaxFoldedElements = int64_t{1} << 18;
constexpr double kMaxFoldedFlops = 1e7;
// Each round resolves at least one shape that the next depends on; models need two or three.
constexpr int kMaxRounds = 32;

bool is_small(const ir::Shape& shape) {
  const auto count = shape.element_count();
  return count && *count <= kMaxFoldedElements;
}

bool can_fold(const ir::Graph& graph, const ir::Node& node) {
  if (node.op == ir::Op::kForeign || node.inputs.empty() || std::holds_alternative<ir::SubGraphsAttrs>(node.attrs)) {
    return false;
  }
  for (ir::ValueId input : node.inputs) {
    if (!graph.value(input).is_constant() || !is_small(graph.value(input).shape)) return false;
  }
  const bool known = std::all_of(node.outputs.begin(), node.outputs.end(),
                                 [&](ir::ValueId v) { return graph.value(v).shape.is_static(); });
  // A shape that is not known yet (Where of a constant) is still the function of constants.
  if (!known) return true;
  return std::all_of(node.outputs.begin(), node.outputs.end(),
                     [&](ir::ValueId v) { return is_small(graph.value(v).shape); }) &&
         ir::node_cost(graph, node).flops <= kMaxFoldedFlops;
}

Status fold_node(ir::Graph& graph, ir::NodeId id) {
  const std::vector<ir::ValueId> outputs = graph.node(id).outputs;
  std::vector<ir::TensorPtr> inputs;
  for (ir::ValueId input : graph.node(id).inputs) inputs.push_back(graph.value(input).constant);
  auto folded = backends::evaluate_reference(graph, graph.node(id), std::move(inputs));
  if (!folded.ok()) return folded.status();
  for (size_t i = 0; i < outputs.size(); ++i) {
    graph.replace_uses(outputs[i], graph.add_constant((*folded)[i], graph.value(outputs[i]).name));
  }
  graph.remove_node(id);
  return {};
}

// What is asked of a shape that is known is a constant, whatever its elements are.
bool fold_shape(ir::Graph& graph, ir::NodeId id) {
  const ir::Node& node = graph.node(id);
  if (node.op != ir::Op::kShapeOf) return false;
  const auto& attrs = node.get<ir::ShapeOfAttrs>();
  const auto dims = graph.value(node.inputs[0]).shape.static_dims();
  if (!dims || (attrs.dtype != ir::DType::kInt32 && attrs.dtype != ir::DType::kInt64)) return false;
  std::vector<int64_t> values = *dims;
  if (attrs.kind == ir::ShapeOfKind::kRank) values = {static_cast<int64_t>(dims->size())};
  if (attrs.kind == ir::ShapeOfKind::kSize) values = {*graph.value(node.inputs[0]).shape.element_count()};
  ir::Dims own;
  if (attrs.kind == ir::ShapeOfKind::kShape) own = {static_cast<int64_t>(values.size())};
  const std::vector<int32_t> narrow(values.begin(), values.end());
  ir::TensorPtr made = attrs.dtype == ir::DType::kInt64
                           ? ir::make_tensor<int64_t>(ir::DType::kInt64, own, std::span<const int64_t>(values))
                           : ir::make_tensor<int32_t>(ir::DType::kInt32, own, std::span<const int32_t>(narrow));
  const ir::ValueId output = node.outputs[0];
  graph.replace_uses(output, graph.add_constant(std::move(made), graph.value(output).name));
  graph.remove_node(id);
  return true;
}

// A view of a constant is a constant over the same bytes, whatever its size.
bool fold_view(ir::Graph& graph, ir::NodeId id) {
  const ir::Node& node = graph.node(id);
  if (!is_view(graph, node) || !graph.value(node.inputs[0]).is_constant()) return false;
  const auto dims = graph.value(node.outputs[0]).shape.static_dims();
  if (!dims) return false;
  const ir::ValueId output = node.outputs[0];
  auto tensor = std::make_shared<ir::Tensor>(*graph.value(node.inputs[0]).constant);
  tensor->dims = *dims;
  graph.replace_uses(output, graph.add_constant(std::move(tensor), graph.value(output).name));
  graph.remove_node(id);
  return true;
}

Result<int> fold_once(ir::Graph& graph) {
  BLADE_ASSIGN_OR_RETURN(const std::vector<ir::NodeId> order, graph.topological_order());
  int folded = 0;
  for (ir::NodeId id : order) {
    // A node that cannot be computed now (an index out of range, say) fails when it runs, not when it is planned.
    if (fold_shape(graph, id) || fold_view(graph, id) || (can_fold(graph, graph.node(id)) && fold_node(graph, id).ok()))
      ++folded;
  }
  return folded;
}

}  // namespace

Result<ir::Graph> specialized_graph(const ir::Graph& graph, std::span<const ir::Dims> input_dims,
                                    const std::vector<ir::TensorPtr>& input_values) {
  BLADE_ASSIGN_OR_RETURN(ir::Graph out, ir::specialize(graph, {input_dims.begin(), input_dims.end()}, input_values));
  BLADE_RETURN_IF_ERROR(ir::refuse_foreign(out));
  for (int round = 0; round < kMaxRounds; ++round) {
    BLADE_ASSIGN_OR_RETURN(int folded, fold_once(out));
    BLADE_ASSIGN_OR_RETURN(const int simplified, passes::move_constants_inside(out));
    folded += simplified;
    if (folded == 0) break;
    out.remove_dead_nodes();
    BLADE_RETURN_IF_ERROR(ir::infer_shapes(out));
  }
  return out;
}

}  // namespace blade::engine
