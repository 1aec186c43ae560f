// Compares with built-in values, and says them.
#include "capi/built_in_value.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>
#include <string>
#include <type_traits>

#include "backends/plain_type.h"
#include "base/half.h"

namespace blade::capi {
namespace {

// The element as a C++ number; data may be unaligned.
template <class T>
auto element(const void* data, size_t index) {
  T value;
  std::memcpy(static_cast<void*>(&value), static_cast<const char*>(data) + index * sizeof(T), sizeof(T));
  if constexpr (std::is_arithmetic_v<T>) {
    return value;
  } else {
    return static_cast<float>(value);
  }
}

// Calls `f` with a value of the C++ type of `dtype`; booleans are bytes.
template <class F>
auto with_type(ir::DType dtype, F&& f) {
  if (dtype == ir::DType::kFloat16) return f(Float16());
  if (dtype == ir::DType::kBFloat16) return f(BFloat16());
  return backends::with_plain_type(dtype, f);
}

bool same_elements(const ir::Tensor& value, const void* given) {
  if (value.bytes == 0 || std::memcmp(value.data, given, value.bytes) == 0) return true;
  return with_type(value.dtype, [&](auto type) {
    using T = decltype(type);
    for (size_t i = 0; i < value.bytes / sizeof(T); ++i) {
      const auto a = element<T>(value.data, i), b = element<T>(given, i);
      const bool both_nan = a != a && b != b;
      if (a != b && !both_nan) return false;
    }
    return true;
  });
}

std::string element_text(const ir::Tensor& value, size_t index) {
  if (value.dtype == ir::DType::kBool) return element<uint8_t>(value.data, index) != 0 ? "True" : "False";
  return with_type(value.dtype, [&](auto type) {
    char text[32];
    const auto end = std::to_chars(std::begin(text), std::end(text), element<decltype(type)>(value.data, index));
    return std::string(text, end.ptr);
  });
}

// "3 (int32 [])", "[1, 2, ...] (float32 [70, 3])"
std::string value_text(const ir::Tensor& value) {
  constexpr int64_t kMostSaid = 8;
  const int64_t count = value.element_count();
  std::string elements, dims;
  for (int64_t i = 0; i < std::min(count, kMostSaid); ++i)
    elements += (i > 0 ? ", " : "") + element_text(value, static_cast<size_t>(i));
  if (count > kMostSaid) elements += ", ...";
  for (const int64_t dim : value.dims) dims += (dims.empty() ? "" : ", ") + std::to_string(dim);
  const std::string type = std::string(" (") + ir::dtype_name(value.dtype) + " [" + dims + "])";
  return (value.dims.empty() ? elements : "[" + elements + "]") + type;
}

}  // namespace

Status check_built_in_value(const tensorflow::UnreadPlaceholder& placeholder, const engine::TensorRef& given) {
  if (placeholder.value == nullptr) return {};
  const ir::Tensor& value = *placeholder.value;
  if (given.dtype == value.dtype && given.dims == value.dims && same_elements(value, given.data)) return {};
  const std::string found = given.dtype == value.dtype ? "another value than its default"
                                                       : std::string(ir::dtype_name(given.dtype)) +
                                                             " data, another type than that of its default";
  return invalid_argument("the feed gives the placeholder '" + placeholder.name + "' " + found +
                          ", which is built in; expected " + value_text(value) +
                          ", or no value: run the graph in a TensorFlow session where it changes");
}

}  // namespace blade::capi
