// Writes graphs in the portable format (serialize_format.h).
#include "ir/serialize.h"

#include <cstring>
#include <map>

#include "ir/ops/attrs_visit.h"
#include "ir/serialize_format.h"

namespace blade::ir {
namespace {

class Writer {
 public:
  explicit Writer(const ConstantPlacer& place) : place_(place) {}

  void byte(uint8_t v) { out_ += static_cast<char>(v); }
  void number(uint64_t v) {
    for (; v >= 128; v >>= 7) byte(static_cast<uint8_t>(v | 128));
    byte(static_cast<uint8_t>(v));
  }
  void signed_number(int64_t v) { number((static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63)); }
  void text(const std::string& v) {
    number(v.size());
    out_ += v;
  }
  void real(float v) {
    uint32_t bits;
    std::memcpy(&bits, &v, sizeof(bits));
    for (int i = 0; i < 4; ++i) byte(static_cast<uint8_t>(bits >> (8 * i)));
  }
  void dim(Dim d) {
    number(d.is_known() ? static_cast<uint64_t>(d.value()) << 1 : static_cast<uint64_t>(d.symbol_id()) << 1 | 1);
  }
  void raw(const std::byte* data, size_t size) { out_.append(reinterpret_cast<const char*>(data), size); }
  std::string take() { return std::move(out_); }

  // Attribute fields.
  void operator()(const char*, const bool& v) { byte(v); }
  void operator()(const char*, const int64_t& v) { signed_number(v); }
  void operator()(const char*, const float& v) { real(v); }
  void operator()(const char*, const std::string& v) { text(v); }
  void operator()(const char*, const std::vector<int64_t>& v) {
    number(v.size());
    for (int64_t x : v) signed_number(x);
  }
  void operator()(const char*, const PointwiseProgram& v) {
    signed_number(v.num_inputs);
    number(v.code.size());
    for (const PointwiseInstr& i : v.code) {
      byte(static_cast<uint8_t>(i.op));
      for (int16_t operand : {i.a, i.b, i.c}) signed_number(operand);
      real(i.alpha);
      real(i.beta);
    }
  }
  void operator()(const char*, const std::vector<SubGraph>& v) {
    number(v.size());
    for (const SubGraph& graph : v) text(serialize(*graph, place_));
  }
  template <class E>
  requires std::is_enum_v<E>
  void operator()(const char*, const E& v) { byte(static_cast<uint8_t>(v)); }

 private:
  const ConstantPlacer& place_;
  std::string out_;
};

void write_symbols(const SymbolTable& symbols, Writer& w) {
  using Kind = SymbolTable::Kind;
  w.number(symbols.size());
  for (size_t i = 0; i < symbols.size(); ++i) {
    const auto& e = symbols.entry(Dim::symbol(static_cast<int32_t>(i)));
    w.byte(static_cast<uint8_t>(e.kind));
    w.byte(static_cast<uint8_t>((e.nonnegative ? 1 : 0) | (e.has_element ? 2 : 0)));
    if (e.kind == Kind::kRoot || e.kind == Kind::kElement) {
      w.text(e.name);
    } else {
      w.dim(e.lhs);
      w.dim(e.rhs);
    }
  }
}

void write_shape(const Shape& shape, Writer& w) {
  w.number(shape.has_rank() ? static_cast<uint64_t>(shape.rank()) + 1 : 0);
  for (Dim d : shape.dims()) w.dim(d);
}

void write_constant(const Value& value, const ConstantPlacer& place, Writer& w) {
  const Tensor& tensor = *value.constant;
  w.byte(static_cast<uint8_t>(tensor.dtype));
  w.number(tensor.dims.size());
  for (int64_t d : tensor.dims) w.number(static_cast<uint64_t>(d));
  w.number(tensor.bytes);
  const auto offset = place ? place(value) : std::nullopt;
  w.byte(static_cast<uint8_t>(offset ? Placement::kReference : Placement::kInline));
  if (offset) {
    w.number(*offset);
  } else {
    w.raw(tensor.data, tensor.bytes);
  }
}

// Values that somebody can read: inputs, results of live nodes, constants in use.
std::vector<ValueTag> tag_values(const Graph& graph) {
  std::vector<ValueTag> tags(graph.num_values(), ValueTag::kHole);
  const auto use = [&](ValueId id) {
    if (graph.value(id).is_constant()) tags[id] = ValueTag::kConstant;
  };
  for (ValueId id : graph.inputs()) tags[id] = ValueTag::kInput;
  for (ValueId id : graph.outputs()) use(id);
  for (NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id)) continue;
    for (ValueId input : graph.node(id).inputs) use(input);
    for (ValueId output : graph.node(id).outputs) tags[output] = ValueTag::kResult;
  }
  return tags;
}

void write_values(const Graph& graph, const ConstantPlacer& place, Writer& w) {
  const auto tags = tag_values(graph);
  w.number(tags.size());
  for (size_t id = 0; id < tags.size(); ++id) {
    w.byte(static_cast<uint8_t>(tags[id]));
    if (tags[id] == ValueTag::kHole) continue;
    const Value& value = graph.value(static_cast<ValueId>(id));
    w.text(value.name);
    if (tags[id] == ValueTag::kConstant) {
      write_constant(value, place, w);
    } else {
      w.byte(static_cast<uint8_t>(value.dtype));
      write_shape(value.shape, w);
    }
  }
}

template <class Id>
void write_ids(const std::vector<Id>& ids, Writer& w) {
  w.number(ids.size());
  for (Id id : ids) w.number(static_cast<uint64_t>(id));
}

void write_node(const Node& node, uint64_t op_index, Writer& w) {
  w.byte(static_cast<uint8_t>(NodeTag::kNode));
  w.number(op_index);
  w.text(node.name);
  write_ids(node.inputs, w);
  write_ids(node.outputs, w);
  write_ids(node.control_inputs, w);
  w.signed_number(node.origin);
  visit_attrs(node.attrs, w);
}

bool holds_graphs(const Graph& graph) {
  for (NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (graph.is_live(id) && std::holds_alternative<SubGraphsAttrs>(graph.node(id).attrs)) return true;
  }
  return false;
}

}  // namespace

std::string serialize(const Graph& graph, const ConstantPlacer& place) {
  Writer w(place);
  w.byte(holds_graphs(graph) ? kGraphFormatVersion : kFlatGraphFormatVersion);
  std::map<std::string, uint64_t> op_indices;  // ops go by name: files outlive the order of the enum
  for (NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (graph.is_live(id)) op_indices.emplace(op_name(graph.node(id).op), 0);
  }
  w.number(op_indices.size());
  uint64_t next = 0;
  for (auto& [name, index] : op_indices) {
    index = next++;
    w.text(name);
  }
  write_symbols(graph.symbols(), w);
  write_values(graph, place, w);
  write_ids(graph.inputs(), w);
  w.number(graph.outputs().size());
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    w.number(static_cast<uint64_t>(graph.outputs()[i]));
    w.text(graph.output_names()[i]);
  }
  w.number(static_cast<uint64_t>(graph.num_node_slots()));
  for (NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (graph.is_live(id)) {
      write_node(graph.node(id), op_indices[op_name(graph.node(id).op)], w);
    } else {
      w.byte(static_cast<uint8_t>(NodeTag::kHole));
    }
  }
  return w.take();
}

}  // namespace blade::ir
