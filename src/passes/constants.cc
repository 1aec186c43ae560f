// Copies constants in and out of plain vectors for the passes.
#include "passes/constants.h"

#include <cstring>

namespace blade::passes {

using ir::DType;
using ir::Tensor;
using ir::TensorPtr;
using ir::ValueId;

namespace {

constexpr int64_t kSmallConstant = 4096;  // elements; larger ones are not searched for a shared value

template <class T>
std::optional<double> shared_value(const Tensor& tensor) {
  T first{};
  std::memcpy(&first, tensor.data, sizeof(T));
  for (int64_t i = 1; i < tensor.element_count(); ++i) {
    if (std::memcmp(tensor.data + i * sizeof(T), &first, sizeof(T)) != 0) return std::nullopt;
  }
  return static_cast<double>(first);
}

// Order of elements after a transposition: `strides` of the source dims in the target's order.
void copy_permuted(const std::byte* from, std::byte* to, size_t element, const ir::Dims& dims,
                   const ir::Dims& strides) {
  ir::Dims index(dims.size(), 0);
  const int64_t count = product(dims);
  int64_t offset = 0;
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(to + i * element, from + offset * element, element);
    for (size_t d = dims.size(); d-- > 0;) {
      offset += strides[d];
      if (++index[d] < dims[d]) break;
      offset -= strides[d] * dims[d];
      index[d] = 0;
    }
  }
}

template <class T>
TensorPtr integer_tensor(DType dtype, const std::vector<int64_t>& values) {
  std::vector<T> converted(values.begin(), values.end());
  return ir::make_tensor<T>(dtype, {static_cast<int64_t>(values.size())}, std::span<const T>(converted));
}

}  // namespace

float float_at(const ir::Tensor& constant, size_t i) {
  float value;
  std::memcpy(&value, constant.data + i * sizeof(float), sizeof value);
  return value;
}

std::vector<float> float_values(const ir::Graph& graph, ValueId value) {
  const TensorPtr& tensor = graph.value(value).constant;
  if (tensor == nullptr || tensor->dtype != DType::kFloat32) return {};
  std::vector<float> values(static_cast<size_t>(tensor->element_count()));
  if (!values.empty()) std::memcpy(values.data(), tensor->data, values.size() * sizeof(float));
  return values;
}

std::optional<float> float_scalar(const ir::Graph& graph, ValueId value) {
  const TensorPtr& tensor = graph.value(value).constant;
  if (tensor == nullptr || tensor->element_count() != 1) return std::nullopt;
  return float_uniform(graph, value);
}

std::optional<float> float_uniform(const ir::Graph& graph, ValueId value) {
  const TensorPtr& tensor = graph.value(value).constant;
  if (tensor == nullptr || tensor->dtype != DType::kFloat32) return std::nullopt;
  const std::optional<double> shared = uniform_value(graph, value);
  return shared ? std::optional<float>(static_cast<float>(*shared)) : std::nullopt;
}

std::optional<double> uniform_value(const ir::Graph& graph, ValueId value) {
  const TensorPtr& tensor = graph.value(value).constant;
  if (tensor == nullptr || tensor->element_count() < 1 || tensor->element_count() > kSmallConstant) return std::nullopt;
  switch (tensor->dtype) {
    case DType::kFloat32:
      return shared_value<float>(*tensor);
    case DType::kFloat64:
      return shared_value<double>(*tensor);
    case DType::kInt8:
      return shared_value<int8_t>(*tensor);
    case DType::kInt16:
      return shared_value<int16_t>(*tensor);
    case DType::kInt32:
      return shared_value<int32_t>(*tensor);
    case DType::kUInt8:
    case DType::kBool:
      return shared_value<uint8_t>(*tensor);
    case DType::kUInt16:
      return shared_value<uint16_t>(*tensor);
    case DType::kUInt32:
      return shared_value<uint32_t>(*tensor);
    default:
      break;
  }
  if (tensor->dtype != DType::kInt64) return std::nullopt;
  const std::optional<double> shared = shared_value<int64_t>(*tensor);
  constexpr double kExact = 9007199254740992.0;  // 2^53
  return shared && *shared > -kExact && *shared < kExact ? shared : std::nullopt;
}

std::optional<std::vector<int64_t>> integers(const ir::Graph& graph, ValueId value) {
  const TensorPtr& tensor = graph.value(value).constant;
  return tensor == nullptr ? std::nullopt : ir::integer_values(*tensor);
}

std::optional<std::vector<double>> channel_values(const ir::Graph& graph, ValueId value, int64_t channels) {
  const TensorPtr& tensor = graph.value(value).constant;
  if (tensor == nullptr || tensor->dtype != DType::kFloat32) return std::nullopt;
  const int64_t count = tensor->element_count();
  const bool per_channel = count == channels && !tensor->dims.empty() && tensor->dims.back() == channels;
  if (count != 1 && !per_channel) return std::nullopt;
  const std::vector<float> values = float_values(graph, value);
  if (per_channel) return std::vector<double>(values.begin(), values.end());
  return std::vector<double>(static_cast<size_t>(channels), values[0]);
}

TensorPtr float_tensor(ir::Dims dims, const std::vector<float>& values) {
  return ir::make_tensor<float>(DType::kFloat32, std::move(dims), std::span<const float>(values));
}

TensorPtr int64_tensor(const std::vector<int64_t>& values) { return integer_tensor<int64_t>(DType::kInt64, values); }

TensorPtr int32_tensor(const std::vector<int64_t>& values) { return integer_tensor<int32_t>(DType::kInt32, values); }

TensorPtr with_dims(const TensorPtr& tensor, ir::Dims dims) {
  auto copy = std::make_shared<Tensor>(*tensor);
  copy->dims = std::move(dims);
  if (copy->owner == nullptr) copy->owner = tensor;
  return copy;
}

TensorPtr transposed(const TensorPtr& tensor, const std::vector<int64_t>& perm) {
  ir::Dims source_strides(tensor->dims.size(), 1);
  for (size_t d = tensor->dims.size(); d-- > 1;) source_strides[d - 1] = source_strides[d] * tensor->dims[d];
  ir::Dims dims, strides;
  for (int64_t axis : perm) {
    dims.push_back(tensor->dims[axis]);
    strides.push_back(source_strides[axis]);
  }
  auto made = ir::allocate_tensor(tensor->dtype, dims);
  if (!made.ok()) return nullptr;
  copy_permuted(tensor->data, made->data, ir::dtype_size(tensor->dtype), dims, strides);
  return made->tensor;
}

std::optional<std::vector<int64_t>> reshape_target(const ir::Shape& shape) {
  if (!shape.has_rank()) return std::nullopt;
  std::vector<int64_t> target;
  int unknown = 0;
  bool has_zero = false;
  for (const ir::Dim& dim : shape.dims()) {
    unknown += dim.is_known() ? 0 : 1;
    has_zero |= dim.is_known() && dim.value() == 0;
    target.push_back(dim.is_known() ? dim.value() : -1);
  }
  if (unknown > 1 || (unknown == 1 && has_zero)) return std::nullopt;
  return target;
}

int64_t product(const ir::Dims& dims) { return product(dims, 0, dims.size()); }

int64_t product(const ir::Dims& dims, size_t begin, size_t end) {
  int64_t result = 1;
  for (size_t i = begin; i < end; ++i) result *= dims[i];
  return result;
}

}  // namespace blade::passes
