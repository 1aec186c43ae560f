// Checks the user's test data and makes some where none is given.
#include "optimizer/test_data.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <span>
#include <vector>

#include "base/half.h"
#include "optimizer/string_tensor.h"

namespace blade::optimizer {
namespace {

std::string shape_text(const ir::Shape& shape) {
  if (!shape.has_rank()) return "any shape";
  std::string text = "(";
  for (int i = 0; i < shape.rank(); ++i) {
    text += (i ? ", " : "") + (shape.dim(i).is_known() ? std::to_string(shape.dim(i).value()) : std::string("?"));
  }
  return text + ")";
}

std::string given_names(const Feed& feed) {
  std::string names;
  for (const NamedTensor& tensor : feed) names += (names.empty() ? "it has '" : ", '") + tensor.name + "'";
  return names.empty() ? "it is empty" : names;
}

// NumPy has no bfloat16 of its own: for an input of it, floats are rounded, and uint16 are its bits.
Result<ir::TensorPtr> as_input_type(const ir::TensorPtr& given, ir::DType wanted) {
  const bool is_bits = given->dtype == ir::DType::kUInt16;
  if (wanted != ir::DType::kBFloat16 || (!is_bits && given->dtype != ir::DType::kFloat32)) return given;
  BLADE_ASSIGN_OR_RETURN(ir::NewTensor made, ir::allocate_tensor(wanted, given->dims));
  for (int64_t i = 0, count = given->element_count(); i < count; ++i) {
    const uint16_t bits = is_bits ? given->as<uint16_t>()[i] : float_to_bfloat16(given->as<float>()[i]);
    std::memcpy(made.data + i * sizeof bits, &bits, sizeof bits);
  }
  return ir::TensorPtr(std::move(made.tensor));
}

Status check_tensor(const ir::Tensor& tensor, const engine::TensorInfo& input) {
  const std::string where = "test data for the input '" + input.name + "' ";
  if (tensor.dtype != input.dtype) {
    return invalid_argument(where + "has dtype " + dtype_text(tensor.dtype) + ", the model expects " +
                            dtype_text(input.dtype) + "; convert it");
  }
  if (!input.shape.has_rank()) return {};
  bool fits = static_cast<int>(tensor.dims.size()) == input.shape.rank();
  for (int i = 0; fits && i < input.shape.rank(); ++i) {
    fits = !input.shape.dim(i).is_known() || input.shape.dim(i).value() == tensor.dims[i];
  }
  if (fits) return {};
  return invalid_argument(where + "has shape " + dims_to_string(tensor.dims) + ", the model expects " +
                          shape_text(input.shape) + "; give data of that shape");
}

template <class T>
void fill_uniform(std::byte* data, int64_t count, double low, double high, std::mt19937_64& random) {
  // Only values that the type holds: converting others has no defined result. The largest 64-bit integers are no
  // doubles.
  constexpr double kLowest = static_cast<double>(std::numeric_limits<T>::lowest());
  constexpr double kHighest = sizeof(T) == 8 && std::is_integral_v<T>
                                  ? 0.5 * static_cast<double>(std::numeric_limits<T>::max())
                                  : static_cast<double>(std::numeric_limits<T>::max());
  std::uniform_real_distribution<double> uniform(low, high);
  for (int64_t i = 0; i < count; ++i) {
    double value = uniform(random);
    if constexpr (std::is_integral_v<T>) value = std::floor(value + 0.5);
    const T typed = static_cast<T>(std::clamp(value, kLowest, kHighest));
    std::memcpy(data + i * sizeof(T), &typed, sizeof(T));
  }
}

Status fill(ir::DType dtype, std::byte* data, int64_t count, double low, double high, std::mt19937_64& random) {
  switch (dtype) {
    case ir::DType::kFloat32:
      fill_uniform<float>(data, count, low, high, random);
      return {};
    case ir::DType::kFloat64:
      fill_uniform<double>(data, count, low, high, random);
      return {};
    case ir::DType::kInt8:
      fill_uniform<int8_t>(data, count, low, high, random);
      return {};
    case ir::DType::kInt16:
      fill_uniform<int16_t>(data, count, low, high, random);
      return {};
    case ir::DType::kInt32:
      fill_uniform<int32_t>(data, count, low, high, random);
      return {};
    case ir::DType::kInt64:
      fill_uniform<int64_t>(data, count, low, high, random);
      return {};
    case ir::DType::kUInt8:
      fill_uniform<uint8_t>(data, count, low, high, random);
      return {};
    case ir::DType::kUInt16:
      fill_uniform<uint16_t>(data, count, low, high, random);
      return {};
    case ir::DType::kUInt32:
      fill_uniform<uint32_t>(data, count, low, high, random);
      return {};
    case ir::DType::kUInt64:
      fill_uniform<uint64_t>(data, count, low, high, random);
      return {};
    case ir::DType::kBool:
      for (int64_t i = 0; i < count; ++i) data[i] = static_cast<std::byte>(i % 2);
      return {};
    case ir::DType::kFloat16:
    case ir::DType::kBFloat16: {
      std::vector<float> wide(count);
      fill_uniform<float>(reinterpret_cast<std::byte*>(wide.data()), count, low, high, random);
      for (int64_t i = 0; i < count; ++i) {
        const uint16_t bits = dtype == ir::DType::kFloat16 ? float_to_float16(wide[i]) : float_to_bfloat16(wide[i]);
        std::memcpy(data + 2 * i, &bits, 2);
      }
      return {};
    }
    default:
      return unimplemented(std::string("no test data can be made for dtype ") + ir::dtype_name(dtype));
  }
}

// The element of `from` that stands at `element` of the shape `to`.
int64_t repeated_element(const ir::Dims& from, const ir::Dims& to, int64_t element) {
  int64_t rest = element, source = 0, stride = 1;
  for (size_t d = to.size(); d-- > 0;) {
    source += rest % to[d] % from[d] * stride;
    rest /= to[d];
    stride *= from[d];
  }
  return source;
}

Result<ir::TensorPtr> resize_numbers(const ir::Tensor& from, const ir::Dims& shape) {
  BLADE_ASSIGN_OR_RETURN(ir::NewTensor made, ir::allocate_tensor(from.dtype, shape));
  const size_t size = ir::dtype_size(from.dtype);
  for (int64_t i = 0, count = made.tensor->element_count(); i < count; ++i) {
    std::memcpy(made.data + i * size, from.data + repeated_element(from.dims, shape, i) * size, size);
  }
  return ir::TensorPtr(std::move(made.tensor));
}

Result<ir::TensorPtr> resize_strings(const ir::Tensor& from, const ir::Dims& shape) {
  const std::vector<std::string_view> strings = unpack_strings(from);
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  std::vector<std::string_view> repeated;
  for (int64_t i = 0; i < count; ++i) repeated.push_back(strings[repeated_element(from.dims, shape, i)]);
  return pack_strings(shape, repeated);
}

}  // namespace

const char* dtype_text(ir::DType dtype) { return dtype == ir::DType::kOpaque ? "string" : ir::dtype_name(dtype); }

std::string dims_to_string(const ir::Dims& dims) {
  std::string text = "(";
  for (size_t i = 0; i < dims.size(); ++i) text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + (dims.size() == 1 ? ",)" : ")");
}

std::string shapes_to_string(const Feed& feed) {
  std::string text;
  for (const NamedTensor& one : feed) text += (text.empty() ? "" : ", ") + dims_to_string(one.tensor->dims);
  return text;
}

std::vector<ir::Dims> shapes_of(const Feed& feed) {
  std::vector<ir::Dims> shapes;
  for (const NamedTensor& one : feed) shapes.push_back(one.tensor->dims);
  return shapes;
}

namespace {

// Zeros, or empty strings for kOpaque.
Result<ir::TensorPtr> empty_values(ir::DType dtype, const ir::Dims& dims) {
  if (dtype == ir::DType::kOpaque) {
    const auto count = std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
    return pack_strings(dims, std::vector<std::string_view>(static_cast<size_t>(count)));
  }
  BLADE_ASSIGN_OR_RETURN(const ir::NewTensor zeros, ir::allocate_tensor(dtype, dims));
  std::memset(zeros.data, 0, zeros.tensor->bytes);
  return ir::TensorPtr(zeros.tensor);
}

}  // namespace

std::set<std::string> needless_inputs(const ir::Graph& graph, const std::set<std::string>& strings) {
  const std::vector<bool> needed = ir::nodes_that_outputs_need(graph);
  std::set<ir::ValueId> read(graph.outputs().begin(), graph.outputs().end());
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (needed[id]) read.insert(graph.node(id).inputs.begin(), graph.node(id).inputs.end());
  }
  std::set<std::string> needless;
  for (const ir::ValueId id : graph.inputs()) {
    const std::string name = node_name(graph.value(id).name);
    const bool can_make = graph.value(id).dtype != ir::DType::kOpaque || strings.contains(name);
    if (!read.contains(id) && can_make) needless.insert(name);
  }
  return needless;
}

Status add_needless_values(const std::vector<engine::TensorInfo>& inputs, const std::set<std::string>& needless,
                           const NamedShapes& least, std::vector<Feed>& feeds) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const engine::TensorInfo& input = inputs[i];
    if (!needless.contains(node_name(input.name))) continue;
    ir::Dims dims;
    for (const ir::Dim d : input.shape.dims()) dims.push_back(d.is_known() ? d.value() : 1);
    if (const ir::Dims* given = least.find(i, input.name)) dims = *given;
    for (Feed& feed : feeds) {
      if (std::ranges::any_of(feed, [&](const NamedTensor& t) { return node_name(t.name) == node_name(input.name); }))
        continue;
      BLADE_RETURN_IF_ERROR(check_generated_size({input}, {{dims}}));
      BLADE_ASSIGN_OR_RETURN(ir::TensorPtr values, empty_values(input.dtype, dims));
      feed.push_back({node_name(input.name) + ":0", std::move(values)});
    }
  }
  return {};
}

Result<std::vector<Feed>> check_feeds(const std::vector<Feed>& given, const std::vector<engine::TensorInfo>& inputs) {
  std::vector<Feed> checked;
  for (const Feed& feed : given) {
    Feed ordered;
    for (const engine::TensorInfo& input : inputs) {
      const auto found = std::find_if(feed.begin(), feed.end(),
                                      [&](const NamedTensor& t) { return node_name(t.name) == node_name(input.name); });
      if (found == feed.end()) {
        return invalid_argument("test data has no value for the input '" + input.name + "'; " + given_names(feed));
      }
      BLADE_ASSIGN_OR_RETURN(ir::TensorPtr tensor, as_input_type(found->tensor, input.dtype));
      BLADE_RETURN_IF_ERROR(check_tensor(*tensor, input));
      ordered.push_back({node_name(input.name) + ":0", std::move(tensor)});
    }
    for (const NamedTensor& tensor : feed) {
      const bool known = std::any_of(inputs.begin(), inputs.end(), [&](const engine::TensorInfo& input) {
        return node_name(input.name) == node_name(tensor.name);
      });
      if (known) continue;
      std::vector<std::string> names;
      for (const engine::TensorInfo& one : inputs) names.push_back(one.name);
      return tensorflow::no_such_input(tensor.name, names);
    }
    checked.push_back(std::move(ordered));
  }
  return checked;
}

namespace {

constexpr double kMostGeneratedBytes = 4.0 * (1 << 30);

double bytes_of(const engine::TensorInfo& input, const ir::Dims& shape) {
  const bool is_strings = input.dtype == ir::DType::kOpaque;  // which have offsets
  auto bytes = static_cast<double>(ir::dtype_size(is_strings ? ir::DType::kInt64 : input.dtype));
  for (const int64_t dim : shape) bytes *= static_cast<double>(dim);
  return bytes;
}

}  // namespace

Status check_generated_size(const std::vector<engine::TensorInfo>& inputs,
                            const std::vector<std::vector<ir::Dims>>& groups) {
  double bytes = 0, most = 0;
  std::string largest;
  for (const std::vector<ir::Dims>& shapes : groups) {
    for (size_t i = 0; i < std::min(inputs.size(), shapes.size()); ++i) {
      const double one = bytes_of(inputs[i], shapes[i]);
      bytes += one;
      if (one <= most) continue;
      most = one;
      largest = "'" + inputs[i].name + "' of shape " + dims_to_string(shapes[i]);
    }
  }
  if (bytes <= kMostGeneratedBytes) return {};
  return invalid_argument("the inputs, the largest " + largest + ", would take " +
                          std::to_string(static_cast<int64_t>(bytes / 1e9)) +
                          " GB of generated values; give test_data, or fewer or smaller input_shapes");
}

Result<Feed> generate_feed(const std::vector<engine::TensorInfo>& inputs, const std::vector<ir::Dims>& shapes,
                           const std::vector<std::pair<double, double>>& ranges,
                           const std::set<std::string>& needless) {
  BLADE_RETURN_IF_ERROR(check_generated_size(inputs, {shapes}));
  std::mt19937_64 random(20240229);  // any fixed number: the same data each time
  Feed feed;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool is_strings = inputs[i].dtype == ir::DType::kOpaque;
    if (is_strings && needless.contains(node_name(inputs[i].name))) {
      BLADE_ASSIGN_OR_RETURN(ir::TensorPtr empty, empty_values(inputs[i].dtype, shapes[i]));
      BLADE_RETURN_IF_ERROR(check_tensor(*empty, inputs[i]));
      feed.push_back({node_name(inputs[i].name) + ":0", std::move(empty)});
      continue;
    }
    if (is_strings) {
      return invalid_argument("the input '" + inputs[i].name +
                              "' takes strings, and no test data was given: which strings mean something is not known; "
                              "give test_data");
    }
    BLADE_ASSIGN_OR_RETURN(ir::NewTensor made, ir::allocate_tensor(inputs[i].dtype, shapes[i]));
    const auto [low, high] = i < ranges.size() ? ranges[i] : std::pair<double, double>(0, 1);
    BLADE_RETURN_IF_ERROR(fill(inputs[i].dtype, made.data, made.tensor->element_count(), low, high, random));
    BLADE_RETURN_IF_ERROR(check_tensor(*made.tensor, inputs[i]));
    feed.push_back({node_name(inputs[i].name) + ":0", made.tensor});
  }
  return feed;
}

Result<Feed> vary_feed(const Feed& feed, uint64_t seed) {
  std::mt19937_64 random(seed);
  Feed varied;
  for (const NamedTensor& one : feed) {
    const ir::Tensor& from = *one.tensor;
    const size_t size = ir::dtype_size(from.dtype);
    if (size == 0) {
      varied.push_back(one);
      continue;
    }
    BLADE_ASSIGN_OR_RETURN(ir::NewTensor made, ir::allocate_tensor(from.dtype, from.dims));
    const int64_t count = from.element_count();
    const auto* values = reinterpret_cast<const float*>(from.data);
    const bool drawn = from.dtype == ir::DType::kFloat32 && seed % 2 == 0 && count > 0 &&
                       std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
    if (drawn) {
      const auto [low, high] = std::minmax_element(values, values + count);
      fill_uniform<float>(made.data, count, *low, *high, random);
    } else {
      std::vector<int64_t> order(static_cast<size_t>(count));
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random);
      for (int64_t i = 0; i < count; ++i) std::memcpy(made.data + i * size, from.data + order[i] * size, size);
    }
    varied.push_back({one.name, std::move(made.tensor)});
  }
  return varied;
}

Result<Feed> disturb_feed(const Feed& feed, uint64_t seed) {
  constexpr double kLeast = 0.1, kStep = 0.2;
  constexpr uint64_t kSteps = 5;
  BLADE_ASSIGN_OR_RETURN(Feed disturbed, vary_feed(feed, 2 * seed + 1));
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < feed.size(); ++i) {
    const ir::Tensor& from = *feed[i].tensor;
    const auto count = static_cast<size_t>(from.element_count());
    if (from.dtype != ir::DType::kFloat32 || count == 0) continue;
    const std::span values(reinterpret_cast<const float*>(from.data), count);
    if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) continue;
    double sum = 0, squares = 0;
    for (const float value : values) {
      sum += double{value};
      squares += double{value} * double{value};
    }
    const double mean = sum / static_cast<double>(count);
    const double deviation = std::sqrt(std::max(0.0, squares / static_cast<double>(count) - mean * mean));
    std::normal_distribution<double> noise(0, 1);
    const double amount = (kLeast + kStep * static_cast<double>(seed % kSteps)) * deviation;
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    std::vector<float> made(count);
    for (size_t k = 0; k < count; ++k)
      made[k] = std::clamp(static_cast<float>(double{values[k]} + amount * noise(random)), *low, *high);
    disturbed[i].tensor = ir::make_tensor<float>(ir::DType::kFloat32, from.dims, std::span<const float>(made));
  }
  return disturbed;
}

Result<Feed> resize_feed(const Feed& feed, const std::vector<ir::Dims>& shapes) {
  Feed resized;
  for (size_t i = 0; i < feed.size(); ++i) {
    const ir::Tensor& from = *feed[i].tensor;
    if (from.dims == shapes[i]) {
      resized.push_back(feed[i]);
      continue;
    }
    if (from.element_count() == 0 || from.dims.size() != shapes[i].size()) {
      return invalid_argument("test data of shape " + dims_to_string(from.dims) + " cannot be repeated to " +
                              dims_to_string(shapes[i]));
    }
    BLADE_ASSIGN_OR_RETURN(ir::TensorPtr tensor, from.dtype == ir::DType::kOpaque ? resize_strings(from, shapes[i])
                                                                                  : resize_numbers(from, shapes[i]));
    resized.push_back({feed[i].name, std::move(tensor)});
  }
  return resized;
}

}  // namespace blade::optimizer
