// Sets concrete input dims: shapes that do not depend on data become numbers, and what was computed from them
// constants.
#include "base/checked_math.h"
#include "ir/infer.h"
#include "ir/plain_text.h"
#include "ir/text.h"

namespace blade::ir {
namespace {

std::string show(const Dims& dims) {
  std::vector<Dim> out;
  for (int64_t d : dims) out.push_back(Dim(std::max<int64_t>(d, 0)));
  return SymbolTable().to_string(Shape(std::move(out)));
}

// What the input's symbols stand for, checked against its declared shape and the other inputs.
Status bind_input(const Value& input, const Dims& dims, std::vector<std::optional<Dim>>& bound) {
  for (int64_t d : dims) {
    if (d < 0)
      return invalid_argument(concat("Input '", input.name, "' was given a dim of ", d, ", expected 0 or more."));
  }
  if (!checked_element_count(dims) || dims.size() > kMaxRank) {
    return invalid_argument(concat("Input '", input.name, "' was given a shape too large to count: ", show(dims), "."));
  }
  const Shape& declared = input.shape;
  if (!declared.has_rank()) return Status();
  const auto mismatch = [&](const std::string& why) {
    return invalid_argument(
        concat("Input '", input.name, "' was given shape ", show(dims), ", expected ", plain_text(declared), why, "."));
  };
  if (declared.rank() != static_cast<int>(dims.size())) return mismatch(concat(" (rank ", declared.rank(), ")"));
  for (int i = 0; i < declared.rank(); ++i) {
    const Dim d = declared.dim(i);
    if (d.is_known()) {
      if (d.value() != dims[i]) return mismatch(concat(": dim ", i, " must be ", d.value()));
      continue;
    }
    auto& known = bound[d.symbol_id()];
    if (known && *known != Dim(dims[i])) {
      return mismatch(concat(": dim ", i, " is ", dims[i], ", and ", known->value(), " where the same size stands"));
    }
    known = Dim(dims[i]);
  }
  return Status();
}

template <class T>
TensorPtr tensor_of(DType dtype, const Dims& dims, const std::vector<int64_t>& values) {
  std::vector<T> narrow(values.size());
  for (size_t i = 0; i < values.size(); ++i) narrow[i] = static_cast<T>(values[i]);
  return make_tensor<T>(dtype, dims, std::span<const T>(narrow));
}

TensorPtr integer_tensor(DType dtype, const Dims& dims, const std::vector<int64_t>& values) {
  switch (dtype) {
    case DType::kInt8:
      return tensor_of<int8_t>(dtype, dims, values);
    case DType::kInt16:
      return tensor_of<int16_t>(dtype, dims, values);
    case DType::kInt32:
      return tensor_of<int32_t>(dtype, dims, values);
    case DType::kInt64:
      return tensor_of<int64_t>(dtype, dims, values);
    case DType::kUInt8:
    case DType::kBool:
      return tensor_of<uint8_t>(dtype, dims, values);
    case DType::kUInt16:
      return tensor_of<uint16_t>(dtype, dims, values);
    case DType::kUInt32:
      return tensor_of<uint32_t>(dtype, dims, values);
    case DType::kUInt64:
      return tensor_of<uint64_t>(dtype, dims, values);
    default:
      return nullptr;
  }
}

// True for contents that fit the type as they stand: sizes may exceed what an int32 holds.
bool representable(DType dtype, const std::vector<int64_t>& values) {
  const size_t size = dtype == DType::kBool ? 1 : dtype_size(dtype);
  const bool is_unsigned = dtype == DType::kBool || dtype == DType::kUInt8 || dtype == DType::kUInt16 ||
                           dtype == DType::kUInt32 || dtype == DType::kUInt64;
  for (int64_t v : values) {
    if (is_unsigned && v < 0) return false;
    if (size == 8) continue;
    const int64_t limit = int64_t{1} << (8 * size - (is_unsigned ? 0 : 1));
    if (v >= limit || v < -limit) return false;
  }
  return true;
}

// Node outputs whose every element is known are read from constants from now on.
void make_constants(Graph& graph, const Contents& contents) {
  std::vector<ValueId> target(graph.num_values(), kNone);
  const int values = graph.num_values();
  for (ValueId id = 0; id < values; ++id) {
    const Value& value = graph.value(id);
    if (!contents[id] || !graph.is_live(value.producer)) continue;
    const auto dims = value.shape.static_dims();
    if (!dims) continue;
    std::vector<int64_t> numbers;
    for (Dim d : *contents[id]) {
      if (const auto v = graph.symbols().constant(d)) numbers.push_back(*v);
    }
    if (numbers.size() != contents[id]->size() || !representable(value.dtype, numbers)) continue;
    TensorPtr tensor = integer_tensor(value.dtype, *dims, numbers);
    if (tensor == nullptr) continue;  // without memory the node simply runs
    const std::string name = value.name;
    target[id] = graph.add_constant(std::move(tensor), name);
  }
  const auto redirect = [&](ValueId id) { return id < values && target[id] != kNone ? target[id] : id; };
  for (NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id)) continue;
    for (ValueId& input : graph.node(id).inputs) input = redirect(input);
  }
  std::vector<ValueId> outputs = graph.outputs();
  for (ValueId& output : outputs) output = redirect(output);
  graph.set_outputs(std::move(outputs), graph.output_names());
}

}  // namespace

Result<Graph> specialize(const Graph& graph, const std::vector<Dims>& input_dims,
                         const std::vector<TensorPtr>& input_values) {
  if (input_dims.size() != graph.inputs().size()) {
    return invalid_argument(
        concat(input_dims.size(), " input shapes were given, expected ", graph.inputs().size(), " (one an input)."));
  }
  std::vector<std::optional<Dim>> bound(graph.symbols().size());
  for (size_t i = 0; i < input_dims.size(); ++i) {
    BLADE_RETURN_IF_ERROR(bind_input(graph.value(graph.inputs()[i]), input_dims[i], bound));
  }
  Graph out = graph.clone();
  out.symbols() = SymbolTable();
  const std::vector<Dim> mapped = out.symbols().substitute(graph.symbols(), bound);
  for (ValueId id = 0; id < out.num_values(); ++id) {
    Value& value = out.value(id);
    for (int i = 0; i < value.shape.rank(); ++i) {
      const Dim d = value.shape.dim(i);
      if (!d.is_known()) value.shape.set_dim(i, mapped[d.symbol_id()]);
    }
  }
  for (size_t i = 0; i < input_dims.size(); ++i) out.value(out.inputs()[i]).shape = Shape::of(input_dims[i]);
  for (size_t i = 0; i < input_values.size(); ++i) {
    if (input_values[i] == nullptr) continue;
    out.replace_uses(out.inputs()[i], out.add_constant(input_values[i], out.value(out.inputs()[i]).name));
  }
  BLADE_ASSIGN_OR_RETURN(const Contents contents, infer_contents(out, {}));
  make_constants(out, contents);
  out.remove_dead_nodes();
  return out;
}

}  // namespace blade::ir
