// MergeSteps: what a program does to each slice of a tensor along its first axis, slice by slice, is done to all of
// them at once, as Keras' TimeDistributed is written without a loop: products of a row become one product of many.
#include <algorithm>
#include <optional>
#include <vector>

#include "passes/constants.h"
#include "passes/passes_internal.h"
#include "passes/rewriter.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::ValueId;

constexpr size_t kFewestSteps = 3;
constexpr int kMaxDepth = 16;  // operations of a step behind each other

// Builds, from the end of a step to its beginning, the operations of all steps on [steps * batch, ...].
class Steps {
 public:
  Steps(Rewriter& rewriter, const Node& pack) : rewriter_(rewriter), pack_(pack.id) {}

  // One value a step; kNone where the steps differ in more than their slice.
  ValueId merge(const std::vector<ValueId>& values, int depth = 0) {
    if (const ValueId whole = sliced(values); whole != ir::kNone) return flattened(whole);
    if (depth == kMaxDepth || !are_alike(values)) return ir::kNone;
    const Node& first = *rewriter_.producer(values[0]);
    std::vector<ValueId> inputs;
    bool has_own = false;
    for (size_t i = 0; i < first.inputs.size(); ++i) {
      const std::vector<ValueId> column = inputs_of(values, i);
      const bool shared = std::all_of(column.begin(), column.end(), [&](ValueId v) { return v == column[0]; });
      if (shared ? !may_be_shared(first, i) : !may_be_own(first, i)) return ir::kNone;
      inputs.push_back(shared ? column[0] : merge(column, depth + 1));
      if (inputs.back() == ir::kNone) return ir::kNone;
      has_own = has_own || !shared;
    }
    if (!has_own) return ir::kNone;
    ir::Shape shape = rewriter_.shape(values[0]);
    shape.set_dim(0, all_rows(shape.dim(0), values.size()));
    return insert(first.op, std::move(inputs), first.attrs, values[0], std::move(shape));
  }

 private:
  // The tensor whose slices the values are, all of them in order.
  ValueId sliced(const std::vector<ValueId>& values) const {
    const Node* first = rewriter_.producer(values[0]);
    if (first == nullptr || first->inputs.empty()) return ir::kNone;
    const ValueId whole = first->inputs[0];
    const ir::Shape& shape = rewriter_.shape(whole);
    if (!shape.has_rank() || shape.rank() < 2 || shape.dim(0) != ir::Dim(static_cast<int64_t>(values.size())))
      return ir::kNone;
    for (size_t t = 0; t < values.size(); ++t) {
      const Node* node = rewriter_.producer(values[t]);
      if (node == nullptr || node->inputs.empty() || node->inputs[0] != whole) return ir::kNone;
      if (!is_slice(*node, values[t], static_cast<int64_t>(t))) return ir::kNone;
    }
    return whole;
  }

  bool is_slice(const Node& node, ValueId value, int64_t t) const {
    if (node.op == Op::kUnpack)
      return node.get<ir::UnpackAttrs>().axis == 0 && rewriter_.graph().value(value).output_index == t;
    if (node.op != Op::kStridedSlice) return false;
    const auto& attrs = node.get<ir::StridedSliceAttrs>();
    const bool takes_one = attrs.shrink_axis_mask == 1 && attrs.begin_mask == 0 && attrs.end_mask == 0 &&
                           attrs.ellipsis_mask == 0 && attrs.new_axis_mask == 0;
    return takes_one && integers(rewriter_.graph(), node.inputs[1]) == std::vector<int64_t>{t};
  }

  // [steps, batch, ...] as [steps * batch, ...].
  ValueId flattened(ValueId whole) {
    const ir::Shape& shape = rewriter_.shape(whole);
    std::vector<ir::Dim> dims(shape.dims().begin() + 1, shape.dims().end());
    std::vector<int64_t> target{-1};
    for (size_t i = 1; i < dims.size(); ++i) {
      if (!dims[i].is_known() || dims[i].value() < 1) return ir::kNone;
      target.push_back(dims[i].value());
    }
    dims[0] = all_rows(dims[0], static_cast<size_t>(shape.dim(0).value()));
    ir::TensorPtr tensor = int64_tensor(target);
    if (tensor == nullptr) return ir::kNone;
    const ValueId dims_value = rewriter_.add_constant(std::move(tensor), "");
    return insert(Op::kReshape, {whole, dims_value}, ir::EmptyAttrs{}, whole, ir::Shape(std::move(dims)));
  }

  ir::Dim all_rows(ir::Dim rows, size_t steps) const {
    return rewriter_.graph().symbols().mul(rows, ir::Dim(static_cast<int64_t>(steps)));
  }

  ValueId insert(Op op, std::vector<ValueId> inputs, ir::Attrs attrs, ValueId like, ir::Shape shape) {
    const ir::DType dtype = rewriter_.dtype(like);
    return rewriter_
        .insert(rewriter_.graph().node(pack_), op, std::move(inputs), std::move(attrs), dtype, std::move(shape),
                "steps")
        .outputs[0];
  }

  // Results of the same operation, each read by its own step alone. What they read, slices of one tensor or shared, is
  // of one type and shape, and so are they.
  bool are_alike(const std::vector<ValueId>& values) const {
    const Node* first = rewriter_.producer(values[0]);
    if (first == nullptr || (first->op != Op::kMatMul && first->op != Op::kPointwise)) return false;
    return std::all_of(values.begin(), values.end(), [&](ValueId value) {
      const Node* node = rewriter_.producer(value);
      return node != nullptr && node->op == first->op && node->attrs == first->attrs &&
             node->inputs.size() == first->inputs.size() && rewriter_.has_one_use(value);
    });
  }

  std::vector<ValueId> inputs_of(const std::vector<ValueId>& values, size_t input) const {
    std::vector<ValueId> column;
    for (ValueId value : values) column.push_back(rewriter_.producer(value)->inputs[input]);
    return column;
  }

  // Weights, and what no row has of its own.
  bool may_be_shared(const Node& node, size_t input) const {
    const ir::Shape& shape = rewriter_.shape(node.inputs[input]);
    if (!shape.has_rank()) return false;
    if (node.op == Op::kMatMul) return input == 1 && shape.rank() == 2;
    return shape.rank() < rewriter_.shape(node.outputs[0]).rank();
  }
  bool may_be_own(const Node& node, size_t input) const {
    const ir::Shape& shape = rewriter_.shape(node.inputs[input]);
    if (node.op != Op::kMatMul) return shape == rewriter_.shape(node.outputs[0]);
    const auto& attrs = node.get<ir::MatMulAttrs>();
    return input == 0 && node.inputs.size() == 2 && !attrs.transpose_a && shape.has_rank() && shape.rank() == 2;
  }

  Rewriter& rewriter_;
  ir::NodeId pack_;
};

}  // namespace

Result<PassResult> merge_steps(ir::Graph& graph, const PassOptions& options) {
  (void)options;
  PassResult result;
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  const std::vector<ir::NodeId> order = rewriter.order();
  for (ir::NodeId id : order) {
    if (rewriter.is_dead(id) || graph.node(id).op != Op::kPack) continue;
    const Node& pack = graph.node(id);
    const std::vector<ValueId> values = pack.inputs;
    const ir::Shape& shape = rewriter.shape(pack.outputs[0]);
    if (values.size() < kFewestSteps || pack.get<ir::AxisAttrs>().axis != 0 || !shape.has_rank()) continue;
    const std::optional<std::vector<int64_t>> target = reshape_target(shape);
    if (!target) continue;
    const ValueId merged = Steps(rewriter, pack).merge(values);
    ir::TensorPtr tensor = merged == ir::kNone ? nullptr : int64_tensor(*target);
    if (tensor == nullptr) continue;
    const ValueId dims = rewriter.add_constant(std::move(tensor), "");
    rewriter.change(graph.node(id), Op::kReshape, {merged, dims}, ir::EmptyAttrs{});
    result.changes += static_cast<int>(values.size());
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
