// Shape inference on constants, then the reference kernel of the op.
#include "backends/reference/evaluate.h"

#include <algorithm>

#include "backends/kernel.h"

namespace blade::backends {
namespace {

// Inference with every input known.
class ConstantContext final : public ir::InferContext {
 public:
  ConstantContext(const ir::Node& node, std::span<const ir::TensorPtr> inputs)
      : node_(node), inputs_(inputs), dtypes_(node.outputs.size()), shapes_(node.outputs.size()) {
    for (const ir::TensorPtr& input : inputs) {
      input_shapes_.push_back(ir::Shape::of(input->dims));
      contents_.push_back(content_of(*input));
    }
  }
  const ir::Node& node() const override { return node_; }
  int num_inputs() const override { return static_cast<int>(inputs_.size()); }
  ir::DType input_dtype(int i) const override { return inputs_[i]->dtype; }
  const ir::Shape& input_shape(int i) const override { return input_shapes_[i]; }
  const ir::Tensor* input_constant(int i) const override { return inputs_[i].get(); }
  const std::vector<ir::Dim>* input_content(int i) const override { return contents_[i] ? &*contents_[i] : nullptr; }
  ir::SymbolTable& symbols() override { return symbols_; }
  ir::Dim fresh_dim(const char* why) override { return symbols_.make_root(why); }
  ir::Dim fresh_element(const char* why) override { return symbols_.make_element(why); }
  void set_output(int i, ir::DType dtype, ir::Shape shape) override {
    if (i < 0 || i >= static_cast<int>(shapes_.size())) return;
    dtypes_[i] = dtype;
    shapes_[i] = std::move(shape);
  }
  void set_output_content(int, std::vector<ir::Dim>) override {}

  Result<std::vector<TensorDesc>> outputs() const {
    std::vector<TensorDesc> descs;
    for (size_t i = 0; i < shapes_.size(); ++i) {
      if (!shapes_[i].is_static() && (!ir::finds_its_size(node_) || !shapes_[i].has_rank())) {
        return unimplemented("Node '" + node_.name + "' (" + ir::op_name(node_.op) + "): the shape of output " +
                             std::to_string(i) + " depends on data.");
      }
      TensorDesc desc = {dtypes_[i], {}};
      for (ir::Dim d : shapes_[i].dims()) desc.dims.push_back(d.is_known() ? d.value() : -1);
      descs.push_back(std::move(desc));
    }
    return descs;
  }

 private:
  std::optional<std::vector<ir::Dim>> content_of(const ir::Tensor& tensor) {
    constexpr int64_t kMaxContent = 1024;
    if (tensor.element_count() > kMaxContent) return std::nullopt;
    const auto values = ir::integer_values(tensor);
    if (!values) return std::nullopt;
    std::vector<ir::Dim> content;
    for (int64_t value : *values) content.push_back(symbols_.number(value));
    return content;
  }

  ir::SymbolTable symbols_;  // first: contents are made with it
  const ir::Node& node_;
  std::span<const ir::TensorPtr> inputs_;
  std::vector<ir::Shape> input_shapes_;
  std::vector<std::optional<std::vector<ir::Dim>>> contents_;
  std::vector<ir::DType> dtypes_;
  std::vector<ir::Shape> shapes_;
};

// Makes tensors of the sizes that a kernel finds.
class TensorAllocator final : public OutputAllocator {
 public:
  TensorAllocator(const std::vector<TensorDesc>& descs, std::vector<ir::TensorPtr>& outputs)
      : descs_(descs), outputs_(outputs) {}
  void* allocate(int output, std::span<const int64_t> dims) override {
    auto made = ir::allocate_tensor(descs_[output].dtype, {dims.begin(), dims.end()});
    if (!made.ok()) return nullptr;
    outputs_[output] = made->tensor;
    return made->data;
  }

 private:
  const std::vector<TensorDesc>& descs_;
  std::vector<ir::TensorPtr>& outputs_;
};

const KernelEntry* reference_row(ir::Op op) {
  for (const KernelEntry& entry : reference_kernels()) {
    if (entry.op == op) return &entry;
  }
  return nullptr;
}

Result<KernelRequest> make_request(const ir::Node& node, const std::vector<ir::TensorPtr>& inputs) {
  const std::string where = "Node '" + node.name + "' (" + ir::op_name(node.op) + "): ";
  if (inputs.size() != node.inputs.size() || std::count(inputs.begin(), inputs.end(), nullptr) != 0) {
    return invalid_argument(where + "it has " + std::to_string(node.inputs.size()) + " inputs, but " +
                            std::to_string(inputs.size()) + " tensors (or missing ones) were given.");
  }
  ConstantContext context(node, inputs);
  BLADE_RETURN_IF_ERROR(ir::op_info(node.op).infer(context));
  KernelRequest request;
  request.node = &node;
  for (const ir::TensorPtr& input : inputs) request.inputs.push_back({input->dtype, input->dims});
  BLADE_ASSIGN_OR_RETURN(request.outputs, context.outputs());
  request.constants = inputs;
  request.machine = &Machine::host();
  return request;
}

}  // namespace

Result<std::vector<ir::TensorPtr>> evaluate_reference(const ir::Graph&, const ir::Node& node,
                                                      std::vector<ir::TensorPtr> inputs) {
  const KernelEntry* row = reference_row(node.op);
  if (row == nullptr)
    return unimplemented("Node '" + node.name + "': there is no reference kernel for " + ir::op_name(node.op) + ".");
  for (ir::TensorPtr& input : inputs) {
    if (input == nullptr) continue;
    BLADE_ASSIGN_OR_RETURN(input, ir::aligned(input));
  }
  BLADE_ASSIGN_OR_RETURN(const KernelRequest request, make_request(node, inputs));
  const Support support = row->supports(request);
  if (!support.ok)
    return unimplemented("Node '" + node.name + "' (" + ir::op_name(node.op) + "): " + support.reason + ".");
  PackCache packs;
  BLADE_ASSIGN_OR_RETURN(const std::unique_ptr<Kernel> kernel, row->create(request, packs));

  std::vector<ir::TensorPtr> outputs;
  std::vector<void*> out;
  std::vector<const void*> in;
  for (const ir::TensorPtr& input : inputs) in.push_back(input->data);
  for (const TensorDesc& desc : request.outputs) {
    if (!desc.is_static()) {
      outputs.push_back(nullptr);
      out.push_back(nullptr);
      continue;
    }
    BLADE_ASSIGN_OR_RETURN(ir::NewTensor made, ir::allocate_tensor(desc.dtype, desc.dims));
    outputs.push_back(made.tensor);
    out.push_back(made.data);
  }
  ThreadPool inline_pool(1);
  TensorAllocator allocator(request.outputs, outputs);
  BLADE_RETURN_IF_ERROR(kernel->run({in, out, nullptr, &inline_pool, &allocator}));
  return outputs;
}

}  // namespace blade::backends
