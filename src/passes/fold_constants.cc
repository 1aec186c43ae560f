// TfFoldConstants: computes what depends on constants and known shapes alone, with the reference kernels, within limits
// on how much larger the model may become.
#include <algorithm>

#include "backends/reference/evaluate.h"
#include "base/checked_math.h"
#include "ir/infer.h"
#include "passes/constants.h"
#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::NodeId;
using ir::TensorPtr;
using ir::ValueId;

constexpr size_t kAlwaysFine = 4096;            // bytes all folds together may add to the smallest of models
constexpr size_t kUnknownSizeInputs = 1 << 20;  // larger inputs of an op whose result size depends on data are left

class Folder {
 public:
  Folder(ir::Graph& graph, const PassOptions& options) : graph_(graph), options_(options) {}

  Result<PassResult> run() {
    BLADE_ASSIGN_OR_RETURN(contents_, ir::infer_contents(graph_, {}));
    BLADE_ASSIGN_OR_RETURN(const std::vector<NodeId> order, graph_.topological_order());
    count_uses();
    folded_.assign(graph_.num_node_slots(), false);
    for (NodeId id : order) {
      Node& node = graph_.node(id);
      if (node.op == ir::Op::kForeign || !node.control_inputs.empty()) continue;
      if (std::holds_alternative<ir::SubGraphsAttrs>(node.attrs)) continue;
      if (std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId v) { return graph_.is_output(v); }))
        continue;
      if (!fold_from_contents(node) && !fold_by_evaluation(node)) fix_shape_operand(node);
    }
    drop_control_edges();
    if (result_.changes > 0) graph_.remove_dead_nodes();
    return std::move(result_);
  }

 private:
  void count_uses() {
    uses_.assign(graph_.num_values(), 0);
    const auto readers = graph_.consumers();
    for (ValueId v = 0; v < graph_.num_values(); ++v) {
      uses_[v] = static_cast<int>(readers[v].size()) + (graph_.is_output(v) ? 1 : 0);
      if (graph_.value(v).is_constant() && uses_[v] > 0) constant_bytes_ += graph_.value(v).constant->bytes;
    }
  }

  // Bytes that need not be stored any more once `node` is gone.
  size_t freed_bytes(const Node& node) const {
    size_t freed = 0;
    for (ValueId input : node.inputs) {
      const ir::Value& value = graph_.value(input);
      const int reads = static_cast<int>(std::count(node.inputs.begin(), node.inputs.end(), input));
      if (value.is_constant() && uses_[input] == reads) freed += value.constant->bytes / static_cast<size_t>(reads);
    }
    return freed;
  }

  bool within_limits(const Node& node, size_t made) {
    const size_t freed = freed_bytes(node);
    const double allowed = std::max(static_cast<double>(kAlwaysFine),
                                    (options_.max_folded_growth - 1) * static_cast<double>(constant_bytes_));
    const double growth = grown_ + static_cast<double>(made) - static_cast<double>(freed);
    if (made > std::max(options_.max_folded_bytes, freed)) {
      result_.notes.push_back("'" + node.name + "' stays: its result of " + std::to_string(made) +
                              " bytes is over the limit for one constant");
      return false;
    }
    if (growth > allowed && made > freed) {
      result_.notes.push_back("'" + node.name + "' stays: its result of " + std::to_string(made) +
                              " bytes would grow the model too much");
      return false;
    }
    return true;
  }

  void become_constants(Node& node, const std::vector<TensorPtr>& tensors) {
    size_t made = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      ir::Value& value = graph_.value(node.outputs[i]);
      value.producer = ir::kNone;
      value.constant = tensors[i];
      value.dtype = tensors[i]->dtype;
      value.shape = ir::Shape::of(tensors[i]->dims);
      made += tensors[i]->bytes;
    }
    grown_ += static_cast<double>(made) - static_cast<double>(freed_bytes(node));
    for (ValueId input : node.inputs) --uses_[input];
    folded_[node.id] = true;
    ++result_.changes;
  }

  // Integers known from shapes although an input is not constant.
  bool fold_from_contents(Node& node) {
    std::vector<TensorPtr> tensors;
    for (ValueId output : node.outputs) {
      TensorPtr tensor = tensor_from_contents(output);
      if (tensor == nullptr) return false;
      tensors.push_back(std::move(tensor));
    }
    if (tensors.empty()) return false;
    become_constants(node, tensors);
    return true;
  }

  TensorPtr tensor_from_contents(ValueId id) const {
    const ir::Value& value = graph_.value(id);
    const auto dims = value.shape.static_dims();
    if (!dims || !contents_[id]) return nullptr;
    std::vector<int64_t> numbers;
    for (ir::Dim dim : *contents_[id]) {
      const auto number = graph_.symbols().constant(dim);
      if (!number) return nullptr;
      numbers.push_back(*number);
    }
    if (static_cast<int64_t>(numbers.size()) != product(*dims)) return nullptr;
    if (value.dtype == ir::DType::kInt32) return with_dims(int32_tensor(numbers), *dims);
    if (value.dtype == ir::DType::kInt64) return with_dims(int64_tensor(numbers), *dims);
    return nullptr;  // other types go through evaluation
  }

  bool fold_by_evaluation(Node& node) {
    std::vector<TensorPtr> inputs;
    size_t input_bytes = 0;
    for (ValueId input : node.inputs) {
      const ir::Value& value = graph_.value(input);
      if (!value.is_constant() || value.dtype == ir::DType::kOpaque) return false;
      inputs.push_back(value.constant);
      input_bytes += value.constant->bytes;
    }
    const std::optional<size_t> expected = output_bytes(node);
    if (expected ? !within_limits(node, *expected) : input_bytes > kUnknownSizeInputs) return false;
    auto tensors = backends::evaluate_reference(graph_, node, std::move(inputs));
    if (!tensors.ok()) {
      result_.notes.push_back("'" + node.name + "' stays: " + tensors.status().message());
      return false;
    }
    size_t made = 0;
    for (const TensorPtr& tensor : *tensors) made += tensor->bytes;
    if (tensors->size() != node.outputs.size() || (!expected && !within_limits(node, made))) return false;
    become_constants(node, *tensors);
    return true;
  }

  std::optional<size_t> output_bytes(const Node& node) const {
    size_t total = 0;
    for (ValueId output : node.outputs) {
      const ir::Value& value = graph_.value(output);
      const auto count = value.shape.element_count();
      const auto bytes = count ? checked_mul(static_cast<size_t>(*count), ir::dtype_size(value.dtype)) : std::nullopt;
      const auto sum = bytes ? checked_add(total, *bytes) : std::nullopt;
      if (!sum) return std::nullopt;
      total = *sum;
    }
    return total;
  }

  // A Reshape whose result is known up to one dim, and operations that only need a known result shape.
  void fix_shape_operand(Node& node) {
    const bool reshape = node.op == ir::Op::kReshape;
    const int at = node.op == ir::Op::kFill ? 0 : 1;
    if (!reshape && node.op != ir::Op::kFill && node.op != ir::Op::kBroadcastTo) return;
    const ValueId operand = node.inputs[at];
    const auto target = reshape_target(graph_.value(node.outputs[0]).shape);
    if (graph_.value(operand).is_constant() || !target) return;
    if (!reshape && std::find(target->begin(), target->end(), -1) != target->end()) return;
    TensorPtr tensor = graph_.value(operand).dtype == ir::DType::kInt64 ? int64_tensor(*target) : int32_tensor(*target);
    if (tensor == nullptr) return;
    const size_t bytes = tensor->bytes;
    node.inputs[at] = graph_.add_constant(std::move(tensor));
    --uses_[operand];
    uses_.resize(graph_.num_values(), 1);
    contents_.resize(graph_.num_values());
    grown_ += static_cast<double>(bytes);
    ++result_.changes;
  }

  // Constants are always there: nobody waits for them.
  void drop_control_edges() {
    for (NodeId id = 0; id < graph_.num_node_slots(); ++id) {
      if (!graph_.is_live(id)) continue;
      std::erase_if(graph_.node(id).control_inputs, [&](NodeId control) { return folded_[control]; });
    }
  }

  ir::Graph& graph_;
  const PassOptions& options_;
  ir::Contents contents_;
  std::vector<int> uses_;
  std::vector<bool> folded_;
  size_t constant_bytes_ = 0;
  double grown_ = 0;
  PassResult result_;
};

}  // namespace

Result<PassResult> fold_constants(ir::Graph& graph, const PassOptions& options) { return Folder(graph, options).run(); }

}  // namespace blade::passes
