// Element types, shapes and constant tensors.
#include "ir/types.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "ir/text.h"

namespace blade::ir {
namespace {

struct DTypeInfo {
  const char* name;
  size_t size;
  bool floating, integer;
};

constexpr DTypeInfo kDTypes[] = {
    {"invalid", 0, false, false}, {"float32", 4, true, false}, {"float64", 8, true, false}, {"float16", 2, true, false},
    {"bfloat16", 2, true, false}, {"int8", 1, false, true},    {"int16", 2, false, true},   {"int32", 4, false, true},
    {"int64", 8, false, true},    {"uint8", 1, false, true},   {"uint16", 2, false, true},  {"uint32", 4, false, true},
    {"uint64", 8, false, true},   {"bool", 1, false, false},   {"opaque", 0, false, false},
};
static_assert(std::size(kDTypes) == static_cast<size_t>(DType::kOpaque) + 1);

const DTypeInfo& info(DType dtype) {
  const auto i = static_cast<size_t>(dtype);
  return kDTypes[i < std::size(kDTypes) ? i : 0];
}

template <class T>
std::optional<std::vector<int64_t>> widen(const Tensor& tensor) {
  std::vector<int64_t> out(tensor.bytes / sizeof(T));
  for (size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, tensor.data + i * sizeof(T), sizeof(T));
    if constexpr (std::is_same_v<T, uint64_t>) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    }
    out[i] = static_cast<int64_t>(value);
  }
  return out;
}

}  // namespace

size_t dtype_size(DType dtype) { return info(dtype).size; }
const char* dtype_name(DType dtype) { return info(dtype).name; }
bool is_floating(DType dtype) { return info(dtype).floating; }
bool is_integer(DType dtype) { return info(dtype).integer; }

bool Shape::is_static() const {
  if (!known_rank_) return false;
  for (Dim d : dims_) {
    if (!d.is_known()) return false;
  }
  return true;
}

std::optional<Dims> Shape::static_dims() const {
  if (!is_static()) return std::nullopt;
  Dims out;
  out.reserve(dims_.size());
  for (Dim d : dims_) out.push_back(d.value());
  return out;
}

std::optional<int64_t> Shape::element_count() const {
  const auto dims = static_dims();
  if (!dims) return std::nullopt;
  return checked_element_count(*dims);
}

int64_t Tensor::element_count() const {
  int64_t count = 1;
  for (int64_t d : dims) count *= d;
  return count;
}

Result<NewTensor> allocate_tensor(DType dtype, Dims dims) {
  const size_t size = dtype_size(dtype);
  if (size == 0) return invalid_argument(concat("A tensor of type ", dtype_name(dtype), " cannot be allocated."));
  const auto count = checked_element_count(dims);
  const auto bytes = count ? checked_mul(static_cast<size_t>(*count), size) : std::nullopt;
  if (!bytes || *bytes > static_cast<size_t>(std::numeric_limits<int64_t>::max())) {
    return invalid_argument("A tensor has a negative dim or more bytes than 64 bits can count.");
  }
  auto buffer = std::make_shared<AlignedBuffer>(AlignedBuffer::allocate(std::max<size_t>(*bytes, 1)));
  if (buffer->data() == nullptr) {
    return resource_exhausted(concat("Allocating a tensor of ", *bytes, " bytes failed: not enough memory."));
  }
  auto tensor = std::make_shared<Tensor>();
  tensor->dtype = dtype;
  tensor->dims = std::move(dims);
  tensor->data = buffer->data();
  tensor->bytes = *bytes;
  std::byte* data = buffer->data();
  tensor->owner = std::move(buffer);
  return NewTensor{std::move(tensor), data};
}

Result<TensorPtr> aligned(const TensorPtr& tensor) {
  if (reinterpret_cast<uintptr_t>(tensor->data) % kBufferAlignment == 0 && tensor->data != nullptr) return tensor;
  BLADE_ASSIGN_OR_RETURN(NewTensor copy, allocate_tensor(tensor->dtype, tensor->dims));
  if (copy.tensor->bytes != tensor->bytes) {
    return internal_error(concat("A tensor holds ", tensor->bytes, " bytes, its dims say ", copy.tensor->bytes, "."));
  }
  if (tensor->bytes > 0) std::memcpy(copy.data, tensor->data, tensor->bytes);
  return TensorPtr(std::move(copy.tensor));
}

TensorPtr make_scalar_i64(int64_t value) {
  return make_tensor<int64_t>(DType::kInt64, {}, std::span<const int64_t>(&value, 1));
}

std::optional<std::vector<int64_t>> integer_values(const Tensor& tensor) {
  switch (tensor.dtype) {
    case DType::kInt8:
      return widen<int8_t>(tensor);
    case DType::kInt16:
      return widen<int16_t>(tensor);
    case DType::kInt32:
      return widen<int32_t>(tensor);
    case DType::kInt64:
      return widen<int64_t>(tensor);
    case DType::kUInt8:
      return widen<uint8_t>(tensor);
    case DType::kUInt16:
      return widen<uint16_t>(tensor);
    case DType::kUInt32:
      return widen<uint32_t>(tensor);
    case DType::kUInt64:
      return widen<uint64_t>(tensor);
    default:
      return std::nullopt;
  }
}

}  // namespace blade::ir
