// Runs the ops' inference functions over a graph in topological order and keeps contents of small integer tensors.
#include "ir/infer.h"

#include <algorithm>

#include "base/checked_math.h"
#include "ir/text.h"

namespace blade::ir {
namespace {

bool has_contents(DType dtype) { return is_integer(dtype) || dtype == DType::kBool; }

std::optional<std::vector<Dim>> constant_contents(const Tensor& tensor, SymbolTable& symbols) {
  if (!has_contents(tensor.dtype) || tensor.bytes > kMaxContentElements * dtype_size(tensor.dtype)) return std::nullopt;
  std::vector<Dim> out;
  if (tensor.dtype == DType::kBool) {
    for (size_t i = 0; i < tensor.bytes; ++i) out.push_back(tensor.data[i] == std::byte{0} ? 0 : 1);
    return out;
  }
  const auto values = integer_values(tensor);
  if (!values) return std::nullopt;
  for (int64_t v : *values) out.push_back(symbols.number(v));
  return out;
}

// No product of some of the dims overflows, not even beside a dim of 0.
bool extent_fits(const Shape& shape) {
  int64_t product = 1;
  for (Dim d : shape.dims()) {
    const auto next = checked_mul(product, d.is_known() ? std::max<int64_t>(d.value(), 1) : 1);
    if (!next) return false;
    product = *next;
  }
  return true;
}

class GraphInference final : public InferContext {
 public:
  GraphInference(Graph& graph, const InferOptions& options) : graph_(graph), options_(options) {
    contents_.resize(graph.num_values());
    for (ValueId id = 0; id < graph.num_values(); ++id) {
      Value& value = graph_.value(id);
      if (!value.is_constant()) continue;
      value.dtype = value.constant->dtype;
      value.shape = Shape::of(value.constant->dims);
      contents_[id] = constant_contents(*value.constant, graph_.symbols());
    }
    for (ValueId id : graph.inputs()) mark_sizes(graph.value(id).shape);
  }

  Status run(NodeId id) {
    node_ = &graph_.node(id);
    fresh_count_ = 0;
    status_ = Status();
    if (node_->op != Op::kForeign) {
      for (ValueId output : node_->outputs) {
        graph_.value(output).dtype = DType::kInvalid;
        graph_.value(output).shape = Shape::unknown();
      }
    }
    const OpInfo& info = op_info(node_->op);
    if (node_->attrs.index() != info.default_attrs().index()) {
      return internal_error(concat("Node '", node_->name, "' (", info.name, ") carries the attributes of another op."));
    }
    BLADE_RETURN_IF_ERROR(info.infer(*this));
    return status_;
  }

  Contents take_contents() { return std::move(contents_); }

  const Node& node() const override { return *node_; }
  int num_inputs() const override { return static_cast<int>(node_->inputs.size()); }
  DType input_dtype(int i) const override { return input(i).dtype; }
  const Shape& input_shape(int i) const override { return input(i).shape; }
  const Tensor* input_constant(int i) const override { return input(i).constant.get(); }
  const std::vector<Dim>* input_content(int i) const override {
    const auto& content = contents_[node_->inputs[i]];
    return content ? &*content : nullptr;
  }
  SymbolTable& symbols() override { return graph_.symbols(); }
  Dim fresh_dim(const char* why) override { return fresh(why, false); }
  Dim fresh_element(const char* why) override { return fresh(why, true); }

  void set_output(int i, DType dtype, Shape shape) override {
    if (i < 0 || i >= static_cast<int>(node_->outputs.size())) {
      fail(concat("has ", node_->outputs.size(), " outputs, expected more than ", i));
      return;
    }
    if (shape.rank() > kMaxRank) {
      fail(concat("makes a tensor of rank ", shape.rank(), ", expected at most ", kMaxRank));
      return;
    }
    for (Dim d : shape.dims()) {
      if (const auto known = symbols().constant(d); known && *known < 0) {
        fail(concat("makes a dim of ", *known, ", expected 0 or more"));
        return;
      }
    }
    if (!extent_fits(shape)) {
      fail(concat("makes a tensor of shape ", symbols().to_string(shape), ", more elements than 64 bits can count"));
      return;
    }
    mark_sizes(shape);
    Value& value = graph_.value(node_->outputs[i]);
    value.dtype = dtype;
    value.shape = std::move(shape);
  }

  void set_output_content(int i, std::vector<Dim> content) override {
    if (!options_.fold_contents || i < 0 || i >= static_cast<int>(node_->outputs.size())) return;
    const Value& value = graph_.value(node_->outputs[i]);
    const auto count = value.shape.element_count();
    if (!has_contents(value.dtype) || !count || *count != static_cast<int64_t>(content.size()) ||
        *count > kMaxContentElements) {
      return;
    }
    contents_[value.id] = std::move(content);
  }

 private:
  const Value& input(int i) const { return graph_.value(node_->inputs[i]); }

  Dim fresh(const char* why, bool element) {
    return symbols().named(concat(node_->name, ":", why, fresh_count_++), element);
  }

  void mark_sizes(const Shape& shape) {
    for (Dim d : shape.dims()) symbols().mark_nonnegative(d);
  }

  void fail(const std::string& what) {
    if (status_.ok()) {
      status_ = invalid_argument(concat("Node '", node_->name, "' (", op_name(node_->op), ") ", what, "."));
    }
  }

  Graph& graph_;
  const InferOptions options_;
  Contents contents_;
  const Node* node_ = nullptr;
  int fresh_count_ = 0;
  Status status_;
};

}  // namespace

Result<Contents> infer_contents(Graph& graph, const InferOptions& options) {
  BLADE_ASSIGN_OR_RETURN(const std::vector<NodeId> order, graph.topological_order());
  GraphInference inference(graph, options);
  for (NodeId id : order) BLADE_RETURN_IF_ERROR(inference.run(id));
  return inference.take_contents();
}

Status infer_shapes(Graph& graph, const InferOptions& options) { return infer_contents(graph, options).status(); }

}  // namespace blade::ir
