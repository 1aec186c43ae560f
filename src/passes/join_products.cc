// JoinProducts: matrix products of the same rows with constant matrices as one product, whose columns are then told
// apart: queries, keys and values of attention. On a GPU, where a launch takes longer than what a short product
// computes, and where a kernel stores each part to a tensor of its own; a CPU gains nothing by it.
#include <cstring>
#include <vector>

#include "passes/matrix_nodes.h"
#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::ValueId;

constexpr size_t kMostJoined = 3;         // tensors that a kernel stores to: as the rows say
constexpr int64_t kColumnMultiple = 128;  // of a part

// Columns of a MatMul that can be joined with others: of float32, its epilogue by itself or with one constant a
// column.
std::optional<int64_t> joinable_columns(const Rewriter& rewriter, const Node& node) {
  if (rewriter.dtype(node.outputs[0]) != ir::DType::kFloat32) return std::nullopt;
  if (!rewriter.shape(node.outputs[0]).has_rank()) return std::nullopt;
  const auto& attrs = node.get<ir::MatMulAttrs>();
  const ir::TensorPtr& weights = rewriter.graph().value(node.inputs[1]).constant;
  if (attrs.transpose_a || weights == nullptr || weights->dims.size() != 2 || rewriter.is_output(node.outputs[0])) {
    return std::nullopt;
  }
  const auto& readers = rewriter.readers(node.outputs[0]);
  if (readers.size() == 1 && rewriter.graph().node(readers[0]).op == Op::kSplit) return std::nullopt;  // is joined
  const int64_t columns = weights->dims[attrs.transpose_b ? 0 : 1];
  if (weights->element_count() == 0 || columns % kColumnMultiple != 0 || node.inputs.size() > 3) return std::nullopt;
  if (node.inputs.size() == 3) {
    const ir::TensorPtr& bias = rewriter.graph().value(node.inputs[2]).constant;
    if (bias == nullptr || bias->dtype != ir::DType::kFloat32 || bias->dims != ir::Dims{columns}) return std::nullopt;
  }
  return columns;
}

// Rows of `row_bytes` of each constant side by side; nullptr where memory is short. One row: one behind the other.
ir::TensorPtr side_by_side(const std::vector<ir::TensorPtr>& parts, int64_t rows, ir::Dims dims) {
  auto made = ir::allocate_tensor(ir::DType::kFloat32, std::move(dims));
  if (!made.ok()) return nullptr;
  const size_t row_bytes = parts[0]->bytes / static_cast<size_t>(rows);
  std::byte* to = made->data;
  for (int64_t r = 0; r < rows; ++r) {
    for (const ir::TensorPtr& part : parts) {
      std::memcpy(to, part->data + static_cast<size_t>(r) * row_bytes, row_bytes);
      to += row_bytes;
    }
  }
  return made->tensor;
}

class ProductJoiner {
 public:
  explicit ProductJoiner(Rewriter& rewriter) : rewriter_(rewriter) {}

  // Joins `node` with the products of the same rows that come after it.
  bool join(const Node& node) {
    const auto columns = joinable_columns(rewriter_, node);
    if (!columns) return false;
    const std::vector<ir::NodeId> group = same_products(node, *columns);
    return group.size() > 1 && replace(group, *columns);
  }

 private:
  std::vector<ir::NodeId> same_products(const Node& node, int64_t columns) const {
    std::vector<ir::NodeId> group;
    for (ir::NodeId id : rewriter_.readers(node.inputs[0])) {
      const Node& other = rewriter_.graph().node(id);
      const bool reads_rows = other.op == Op::kMatMul && other.inputs[0] == node.inputs[0];  // not as its weights
      if (group.size() == kMostJoined || !reads_rows) continue;
      if (joinable_columns(rewriter_, other) != columns) continue;
      if (other.get<ir::MatMulAttrs>() == node.get<ir::MatMulAttrs>()) group.push_back(id);
    }
    return group;
  }

  std::vector<ir::TensorPtr> constants(const std::vector<ir::NodeId>& group, size_t input) const {
    std::vector<ir::TensorPtr> all;
    for (ir::NodeId id : group)
      all.push_back(rewriter_.graph().value(rewriter_.graph().node(id).inputs[input]).constant);
    return all;
  }

  bool replace(const std::vector<ir::NodeId>& group, int64_t columns) {
    const Node first = rewriter_.graph().node(group[0]);
    const auto attrs = first.get<ir::MatMulAttrs>();
    const auto count = static_cast<int64_t>(group.size());
    const std::vector<ir::TensorPtr> weights = constants(group, 1);
    const int64_t depth = weights[0]->dims[attrs.transpose_b ? 1 : 0];
    std::vector<ValueId> inputs = {first.inputs[0]};
    const auto add = [&](ir::TensorPtr constant) {
      if (constant == nullptr) return false;
      inputs.push_back(rewriter_.add_constant(std::move(constant), ""));
      return true;
    };
    const bool added = attrs.transpose_b ? add(side_by_side(weights, 1, {count * columns, depth}))
                                         : add(side_by_side(weights, depth, {depth, count * columns}));
    if (!added) return false;
    if (first.inputs.size() == 3 && !add(side_by_side(constants(group, 2), 1, {count * columns}))) return false;
    const ir::Shape part = rewriter_.shape(first.outputs[0]);
    std::vector<ir::Dim> dims = part.dims();
    dims.back() = ir::Dim(count * columns);
    const ValueId joined = rewriter_
                               .insert(first, Op::kMatMul, std::move(inputs), attrs, ir::DType::kFloat32,
                                       ir::Shape(std::move(dims)), "joined")
                               .outputs[0];
    const std::vector<ValueId> parts = rewriter_
                                           .insert(first, Op::kSplit, {joined}, ir::SplitAttrs{part.rank() - 1, {}},
                                                   ir::DType::kFloat32, part, "parts", static_cast<int>(count))
                                           .outputs;
    for (size_t i = 0; i < group.size(); ++i) {
      rewriter_.replace(rewriter_.graph().node(group[i]).outputs[0], parts[i]);
    }
    return true;
  }

  Rewriter& rewriter_;
};

}  // namespace

Result<PassResult> join_products(ir::Graph& graph, const PassOptions& options) {
  if (!options.on_device || options.narrow_type == ir::DType::kInvalid) return PassResult();
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  ProductJoiner joiner(rewriter);
  PassResult result;
  for (ir::NodeId id : rewriter.order()) {
    if (rewriter.is_dead(id) || graph.node(id).op != Op::kMatMul) continue;
    if (joiner.join(graph.node(id))) ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
