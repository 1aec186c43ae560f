// Adding IR nodes for one TensorFlow node, with inference step by step.
#include "frontends/tensorflow/lower_context.h"

#include <algorithm>
#include <cstring>

#include "base/checked_math.h"
#include "base/half.h"
#include "ir/infer.h"

namespace blade::tensorflow {

// Mirrors the whole-graph inference for one node at a time; symbols are named alike, so a later whole run finds them.
class StepInference::Context final : public ir::InferContext {
 public:
  explicit Context(ir::Graph& graph) : graph_(graph) {}

  Status run(ir::NodeId id) {
    node_ = &graph_.node(id);
    fresh_count_ = 0;
    status_ = Status();
    contents_.resize(graph_.num_values());
    for (ir::ValueId input : node_->inputs) read_constant(input);
    BLADE_RETURN_IF_ERROR(ir::op_info(node_->op).infer(*this));
    return status_;
  }

  std::optional<std::vector<int64_t>> known_elements(ir::ValueId id) const {
    if (static_cast<size_t>(id) >= contents_.size() || !contents_[id]) return std::nullopt;
    std::vector<int64_t> out;
    for (ir::Dim d : *contents_[id]) {
      auto known = graph_.symbols().constant(d);
      if (!known) return std::nullopt;
      out.push_back(*known);
    }
    return out;
  }

  const ir::Node& node() const override { return *node_; }
  int num_inputs() const override { return static_cast<int>(node_->inputs.size()); }
  ir::DType input_dtype(int i) const override { return input(i).dtype; }
  const ir::Shape& input_shape(int i) const override { return input(i).shape; }
  const ir::Tensor* input_constant(int i) const override { return input(i).constant.get(); }
  const std::vector<ir::Dim>* input_content(int i) const override {
    const auto& content = contents_[node_->inputs[i]];
    return content ? &*content : nullptr;
  }
  ir::SymbolTable& symbols() override { return graph_.symbols(); }
  ir::Dim fresh_dim(const char* why) override { return fresh(why, false); }
  ir::Dim fresh_element(const char* why) override { return fresh(why, true); }

  void set_output(int i, ir::DType dtype, ir::Shape shape) override {
    if (i < 0 || i >= static_cast<int>(node_->outputs.size())) return fail("has fewer outputs than its op makes");
    if (shape.rank() > ir::kMaxRank) return fail("makes a tensor of more dims than TensorFlow allows");
    int64_t product = 1;
    for (ir::Dim d : shape.dims()) {
      auto known = symbols().constant(d);
      if (known && *known < 0) return fail("makes a dim of " + std::to_string(*known) + ", expected 0 or more");
      auto next = checked_mul(product, known ? std::max<int64_t>(*known, 1) : 1);
      if (!next) return fail("makes a tensor of more elements than 64 bits can count");
      product = *next;
      symbols().mark_nonnegative(d);
    }
    ir::Value& value = graph_.value(node_->outputs[i]);
    value.dtype = dtype;
    value.shape = std::move(shape);
  }

  void set_output_content(int i, std::vector<ir::Dim> content) override {
    if (i < 0 || i >= static_cast<int>(node_->outputs.size())) return;
    const ir::Value& value = graph_.value(node_->outputs[i]);
    auto count = value.shape.element_count();
    bool kept = ir::is_integer(value.dtype) || value.dtype == ir::DType::kBool;
    if (!kept || !count || *count != static_cast<int64_t>(content.size()) || *count > ir::kMaxContentElements) return;
    contents_[value.id] = std::move(content);
  }

 private:
  const ir::Value& input(int i) const { return graph_.value(node_->inputs[i]); }
  ir::Dim fresh(const char* why, bool element) {
    return symbols().named(node_->name + ":" + why + std::to_string(fresh_count_++), element);
  }
  void fail(const std::string& what) {
    if (status_.ok()) status_ = invalid_argument("Node '" + node_->name + "' " + what + ".");
  }

  void read_constant(ir::ValueId id) {
    const ir::Value& value = graph_.value(id);
    if (!value.is_constant() || contents_[id]) return;
    const ir::Tensor& tensor = *value.constant;
    if (tensor.bytes > ir::kMaxContentElements * ir::dtype_size(tensor.dtype)) return;
    std::vector<ir::Dim> dims;
    if (tensor.dtype == ir::DType::kBool) {
      for (size_t i = 0; i < tensor.bytes; ++i) dims.push_back(tensor.data[i] == std::byte{0} ? 0 : 1);
    } else if (auto values = ir::is_integer(tensor.dtype) ? ir::integer_values(tensor) : std::nullopt) {
      for (int64_t v : *values) dims.push_back(symbols().number(v));
    } else {
      return;
    }
    contents_[id] = std::move(dims);
  }

  ir::Graph& graph_;
  ir::Contents contents_;
  const ir::Node* node_ = nullptr;
  int fresh_count_ = 0;
  Status status_;
};

StepInference::StepInference(ir::Graph& graph) : context_(std::make_unique<Context>(graph)) {}
StepInference::~StepInference() = default;
Status StepInference::run(ir::NodeId id) { return context_->run(id); }
std::optional<std::vector<int64_t>> StepInference::known_elements(ir::ValueId id) const {
  return context_->known_elements(id);
}

LowerContext::LowerContext(ir::Graph& graph, StepInference& inference, const NodeDef& node, int32_t origin,
                           std::vector<ir::ValueId> inputs, std::vector<bool> used_outputs)
    : graph_(graph),
      inference_(inference),
      node_(node),
      origin_(origin),
      inputs_(std::move(inputs)),
      used_outputs_(std::move(used_outputs)) {}

Result<int> LowerContext::rank(ir::ValueId value, const char* what) {
  if (!shape(value).has_rank()) return unimplemented(std::string("the rank of ") + what + " is not known");
  return shape(value).rank();
}

ir::TensorPtr LowerContext::constant(ir::ValueId value) const {
  while (!graph_.value(value).is_constant()) {
    ir::NodeId producer = graph_.value(value).producer;
    if (producer == ir::kNone || graph_.node(producer).op != ir::Op::kIdentity) return nullptr;
    if (graph_.node(producer).get<ir::IdentityAttrs>().kind == ir::IdentityKind::kPlaceholderWithDefault)
      return nullptr;
    value = graph_.node(producer).inputs[0];
  }
  return graph_.value(value).constant;
}

const ir::Node* LowerContext::producer(ir::ValueId value) const {
  const ir::NodeId producer = graph_.value(value).producer;
  return producer == ir::kNone ? nullptr : &graph_.node(producer);
}

std::optional<double> LowerContext::uniform_value(ir::ValueId value) const {
  value = spread_value(value);
  const ir::Node* node = producer(value);
  if (node == nullptr) return uniform_constant(value);
  const auto* attrs = std::get_if<ir::PointwiseAttrs>(&node->attrs);
  if (attrs == nullptr || attrs->program != ir::PointwiseProgram::binary(ir::PointwiseOp::kSub)) return std::nullopt;
  const auto from = uniform_constant(spread_value(node->inputs[0]));
  const auto taken = uniform_constant(spread_value(node->inputs[1]));
  if (!from || !taken) return std::nullopt;
  return static_cast<float>(*from) - static_cast<float>(*taken);
}

ir::ValueId LowerContext::spread_value(ir::ValueId value) const {
  while (const ir::Node* node = producer(value)) {
    const bool fills = node->op == ir::Op::kFill;
    if (!fills && node->op != ir::Op::kIdentity && node->op != ir::Op::kReshape) break;
    value = node->inputs[fills ? 1 : 0];
  }
  return value;
}

std::optional<double> LowerContext::uniform_constant(ir::ValueId value) const {
  const ir::TensorPtr tensor = graph_.value(value).constant;
  if (tensor == nullptr || tensor->dtype != ir::DType::kFloat32 || tensor->bytes == 0) return std::nullopt;
  float first = 0;
  std::memcpy(&first, tensor->data, sizeof(first));
  for (size_t at = 0; at < tensor->bytes; at += sizeof(first)) {
    if (std::memcmp(tensor->data + at, &first, sizeof(first)) != 0) return std::nullopt;
  }
  return static_cast<double>(first);
}

Result<std::vector<int64_t>> LowerContext::ints(int input, const char* what) {
  ir::TensorPtr tensor = constant(inputs_[input]);
  if (tensor == nullptr) {
    if (auto known = inference_.known_elements(inputs_[input])) return *known;
    return unimplemented(std::string("its ") + what + " is not a constant");
  }
  auto values = ir::integer_values(*tensor);
  if (!values) return unimplemented(std::string("its ") + what + " is not an integer tensor");
  return *values;
}

Result<int64_t> LowerContext::one_int(int input, const char* what) {
  BLADE_ASSIGN_OR_RETURN(auto values, ints(input, what));
  if (values.size() != 1) {
    return unimplemented(std::string("its ") + what + " has " + std::to_string(values.size()) +
                         " elements, expected one");
  }
  return values[0];
}

Result<int64_t> LowerContext::axis(int64_t axis, int rank) {
  int64_t from_front = axis < 0 ? axis + rank : axis;
  if (axis < -rank || from_front < 0 || from_front >= rank) {
    return unimplemented("its axis " + std::to_string(axis) + " is outside the tensor's " + std::to_string(rank) +
                         " dims");
  }
  return from_front;
}

Result<std::vector<int64_t>> LowerContext::spatial_ints(const char* attr, int spatial, bool channels_first,
                                                        int64_t fallback) {
  BLADE_ASSIGN_OR_RETURN(auto values, ints_attr_or(node_, attr, {}));
  if (values.empty()) return std::vector<int64_t>(spatial, fallback);
  if (static_cast<int>(values.size()) != spatial + 2) {
    return unimplemented(std::string("its '") + attr + "' has " + std::to_string(values.size()) +
                         " numbers, expected " + std::to_string(spatial + 2));
  }
  if (values[0] != 1 || values[channels_first ? 1 : spatial + 1] != 1) {
    return unimplemented(std::string("its '") + attr + "' spans batch or channels");
  }
  auto begin = values.begin() + (channels_first ? 2 : 1);
  std::vector<int64_t> out(begin, begin + spatial);
  for (int64_t v : out) {
    if (v < 1)
      return unimplemented(std::string("its '") + attr + "' has " + std::to_string(v) + ", expected 1 or more");
  }
  return out;
}

Result<std::vector<ir::ValueId>> LowerContext::emit_many(ir::Op op, const std::string& suffix,
                                                         std::vector<ir::ValueId> inputs, int outputs,
                                                         ir::Attrs attrs) {
  std::string name = suffix.empty() ? node_->name : node_->name + "/" + suffix;
  ir::Node& node = graph_.add_node(op, graph_.unique_name(name), std::move(inputs), outputs, std::move(attrs));
  node.origin = origin_;
  std::vector<ir::ValueId> values = node.outputs;
  BLADE_RETURN_IF_ERROR(inference_.run(node.id));
  return values;
}

Result<ir::ValueId> LowerContext::emit(ir::Op op, const std::string& suffix, std::vector<ir::ValueId> inputs,
                                       ir::Attrs attrs) {
  BLADE_ASSIGN_OR_RETURN(auto values, emit_many(op, suffix, std::move(inputs), 1, std::move(attrs)));
  return values[0];
}

ir::ValueId LowerContext::add_ints(ir::DType dtype, const std::vector<int64_t>& values, bool scalar) {
  ir::Dims dims;
  if (!scalar) dims.push_back(static_cast<int64_t>(values.size()));
  if (dtype == ir::DType::kInt64) return add_constant(ir::make_tensor<int64_t>(dtype, dims, values));
  std::vector<int32_t> narrow(values.begin(), values.end());
  return add_constant(ir::make_tensor<int32_t>(ir::DType::kInt32, dims, std::span<const int32_t>(narrow)));
}

Result<ir::ValueId> LowerContext::add_scalar(ir::DType dtype, double value) {
  BLADE_ASSIGN_OR_RETURN(ir::NewTensor made, ir::allocate_tensor(dtype, {}));
  auto put = [&](auto v) { std::memcpy(made.data, &v, sizeof(v)); };
  switch (dtype) {
    case ir::DType::kFloat32:
      put(static_cast<float>(value));
      break;
    case ir::DType::kFloat64:
      put(value);
      break;
    case ir::DType::kFloat16:
      put(float_to_float16(static_cast<float>(value)));
      break;
    case ir::DType::kBFloat16:
      put(float_to_bfloat16(static_cast<float>(value)));
      break;
    case ir::DType::kInt8:
      put(static_cast<int8_t>(value));
      break;
    case ir::DType::kInt16:
      put(static_cast<int16_t>(value));
      break;
    case ir::DType::kInt32:
      put(static_cast<int32_t>(value));
      break;
    case ir::DType::kInt64:
      put(static_cast<int64_t>(value));
      break;
    case ir::DType::kUInt8:
      put(static_cast<uint8_t>(value));
      break;
    case ir::DType::kUInt16:
      put(static_cast<uint16_t>(value));
      break;
    case ir::DType::kUInt32:
      put(static_cast<uint32_t>(value));
      break;
    case ir::DType::kUInt64:
      put(static_cast<uint64_t>(value));
      break;
    case ir::DType::kBool:
      put(static_cast<uint8_t>(value != 0));
      break;
    default:
      return unimplemented(std::string("Blade has no constants of type ") + ir::dtype_name(dtype));
  }
  return add_constant(made.tensor);
}

LowerContext LowerContext::with_inputs(std::vector<ir::ValueId> inputs) const {
  return LowerContext(graph_, inference_, node_, origin_, std::move(inputs), used_outputs_);
}

Status LowerContext::finish_complex(std::vector<ir::ValueId> real, std::vector<ir::ValueId> imaginary) {
  imaginary_outputs_ = std::move(imaginary);
  return finish(std::move(real));
}

Status LowerContext::finish(std::vector<ir::ValueId> outputs) {
  outputs_ = std::move(outputs);
  return Status();
}

Status LowerContext::finish(Result<ir::ValueId> output) {
  BLADE_RETURN_IF_ERROR(output.status());
  outputs_ = {*output};
  return Status();
}

}  // namespace blade::tensorflow
