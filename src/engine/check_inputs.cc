#include "engine/check_inputs.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/checked_math.h"
#include "ir/plain_text.h"

namespace blade::engine {
namespace {

Status check_input(const TensorRef& given, const TensorInfo& expected) {
  if (given.dtype != expected.dtype) {
    return invalid_argument("Input '" + expected.name + "' was given " + ir::dtype_name(given.dtype) +
                            " data, expected " + ir::dtype_name(expected.dtype) + ": convert it.");
  }
  const auto address = reinterpret_cast<uintptr_t>(given.data);
  if (address == 0) {
    const auto count = checked_element_count(given.dims);
    if (!count || *count != 0) {
      return invalid_argument("Input '" + expected.name + "' of shape " + ir::plain_text(given.dims) +
                              " was given without data: pass a pointer to its elements.");
    }
  }
  const size_t element = std::max<size_t>(1, ir::dtype_size(given.dtype));
  if (address % element != 0) {
    return invalid_argument("Input '" + expected.name + "' starts at an address that is no multiple of " +
                            std::to_string(element) + ", the size of its elements: copy it to aligned memory.");
  }
  return {};
}

}  // namespace

Status check_inputs(std::span<const TensorRef> given, std::span<const TensorInfo> inputs) {
  if (given.size() != inputs.size()) {
    std::string names;
    for (const TensorInfo& info : inputs) names += (names.empty() ? "" : ", ") + info.name;
    return invalid_argument(std::to_string(given.size()) + " inputs were given, the model has " +
                            std::to_string(inputs.size()) + " (" + names + "): give one tensor for each.");
  }
  for (size_t i = 0; i < given.size(); ++i) BLADE_RETURN_IF_ERROR(check_input(given[i], inputs[i]));
  return {};
}

Status check_device_address(const std::string& what, const void* data) {
  constexpr uintptr_t kAlignment = 16;
  if (reinterpret_cast<uintptr_t>(data) % kAlignment == 0) return {};
  return invalid_argument(what + " is at a device address that is no multiple of " + std::to_string(kAlignment) +
                          ": copy it to aligned memory.");
}

}  // namespace blade::engine
