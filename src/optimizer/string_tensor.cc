// Packs and unpacks.
#include "optimizer/string_tensor.h"

#include <cstring>

#include "base/checked_math.h"

namespace blade::optimizer {
namespace {

int64_t offset_at(const std::byte* data, size_t i) {
  int64_t offset = 0;
  std::memcpy(&offset, data + i * sizeof offset, sizeof offset);
  return offset;
}

struct Allocated {
  ir::TensorPtr tensor;
  std::byte* data = nullptr;
};

// A kOpaque tensor of `bytes` bytes of its own.
Result<Allocated> allocate(ir::Dims dims, size_t bytes) {
  BLADE_ASSIGN_OR_RETURN(ir::NewTensor raw, ir::allocate_tensor(ir::DType::kUInt8, {static_cast<int64_t>(bytes)}));
  auto tensor = std::make_shared<ir::Tensor>(*raw.tensor);
  tensor->dtype = ir::DType::kOpaque;
  tensor->dims = std::move(dims);
  tensor->owner = raw.tensor;  // whose memory it is
  return Allocated{std::move(tensor), raw.data};
}

}  // namespace

Result<ir::TensorPtr> pack_strings(ir::Dims dims, const std::vector<std::string_view>& strings) {
  size_t bytes = (strings.size() + 1) * sizeof(int64_t);
  for (const std::string_view s : strings) bytes += s.size();
  BLADE_ASSIGN_OR_RETURN(const Allocated made, allocate(std::move(dims), bytes));
  std::byte* text = made.data + (strings.size() + 1) * sizeof(int64_t);
  int64_t offset = 0;
  for (size_t i = 0; i <= strings.size(); ++i) {
    std::memcpy(made.data + i * sizeof offset, &offset, sizeof offset);
    if (i == strings.size()) break;
    if (!strings[i].empty()) std::memcpy(text + offset, strings[i].data(), strings[i].size());
    offset += static_cast<int64_t>(strings[i].size());
  }
  return made.tensor;
}

Result<ir::TensorPtr> copy_packed_strings(ir::Dims dims, const void* data, size_t bytes) {
  const auto count = checked_element_count(dims);
  const auto offsets = count ? checked_mul<size_t>(static_cast<size_t>(*count) + 1, sizeof(int64_t)) : std::nullopt;
  if (!offsets || data == nullptr || bytes < *offsets) {
    return invalid_argument("a string tensor has " + std::to_string(bytes) +
                            " bytes, too few for its elements' offsets");
  }
  const auto* from = static_cast<const std::byte*>(data);
  const auto text = static_cast<int64_t>(bytes - *offsets);
  for (int64_t i = 0, before = 0; i <= *count; ++i) {
    const int64_t offset = offset_at(from, static_cast<size_t>(i));
    if (offset < before || offset > text || (i == 0 && offset != 0)) {
      return invalid_argument("offset " + std::to_string(i) + " of a string tensor is " + std::to_string(offset) +
                              "; offsets start at 0, never fall and end inside its " + std::to_string(text) + " bytes");
    }
    before = offset;
  }
  BLADE_ASSIGN_OR_RETURN(const Allocated made, allocate(std::move(dims), bytes));
  std::memcpy(made.data, data, bytes);
  return made.tensor;
}

std::vector<std::string_view> unpack_strings(const ir::Tensor& tensor) {
  const auto count = static_cast<size_t>(tensor.element_count());
  const auto* text = reinterpret_cast<const char*>(tensor.data) + (count + 1) * sizeof(int64_t);
  std::vector<std::string_view> strings;
  strings.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const int64_t begin = offset_at(tensor.data, i), end = offset_at(tensor.data, i + 1);
    strings.emplace_back(text + begin, static_cast<size_t>(end - begin));
  }
  return strings;
}

}  // namespace blade::optimizer
