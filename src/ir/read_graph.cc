// Reads graphs in the portable format (serialize_format.h); the bytes are hostile until checked.
#include <cstring>
#include <functional>
#include <limits>

#include "base/checked_math.h"
#include "ir/infer.h"
#include "ir/ops/attrs_visit.h"
#include "ir/serialize.h"
#include "ir/serialize_format.h"
#include "ir/text.h"

namespace blade::ir {
namespace {

std::string without_period(const std::string& sentence) {
  return sentence.ends_with('.') ? sentence.substr(0, sentence.size() - 1) : sentence;
}

// Reads forward; the first thing wrong sticks, and every read after it gives zeros.
class Cursor {
 public:
  // `nested` reads a graph that a node holds.
  using NestedReader = std::function<Result<Graph>(std::span<const std::byte>)>;
  Cursor(std::span<const std::byte> bytes, NestedReader nested) : bytes_(bytes), nested_(std::move(nested)) {}

  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  size_t remaining() const { return bytes_.size() - at_; }
  void fail(const std::string& what) {
    if (status_.ok()) status_ = data_loss(concat("The stored graph is corrupted at byte ", at_, ": ", what, "."));
    at_ = bytes_.size();
  }

  uint8_t byte() {
    if (remaining() == 0) {
      fail("it ends too early");
      return 0;
    }
    return static_cast<uint8_t>(bytes_[at_++]);
  }
  uint64_t number() {
    uint64_t out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t b = byte();
      if (shift == 63 && b > 1) break;
      out |= static_cast<uint64_t>(b & 127) << shift;
      if (b < 128) return out;
    }
    fail("a number does not end");
    return 0;
  }
  int64_t signed_number() {
    const uint64_t v = number();
    return static_cast<int64_t>(v >> 1) ^ -static_cast<int64_t>(v & 1);
  }
  // A count of things that take at least one byte each.
  size_t count(const char* what) {
    const uint64_t n = number();
    if (n <= remaining()) return static_cast<size_t>(n);
    fail(concat("it claims ", n, " ", what, " in ", remaining(), " bytes"));
    return 0;
  }
  std::string text() {
    const auto data = raw(count("characters"));
    return {reinterpret_cast<const char*>(data.data()), data.size()};
  }
  std::span<const std::byte> raw(size_t size) {
    if (size > remaining()) {
      fail("it ends too early");
      return {};
    }
    at_ += size;
    return bytes_.subspan(at_ - size, size);
  }
  float real() {
    uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) bits |= static_cast<uint32_t>(byte()) << (8 * i);
    float out;
    std::memcpy(&out, &bits, sizeof(out));
    return out;
  }
  int32_t id(size_t limit, const char* what) {
    const uint64_t v = number();
    if (v < limit) return static_cast<int32_t>(v);
    fail(concat("it names ", what, " ", v, " of ", limit));
    return 0;
  }
  Dim dim(size_t num_symbols) {
    const uint64_t v = number();
    if ((v & 1) == 0) return Dim(static_cast<int64_t>(v >> 1));
    if (v >> 1 < num_symbols) return Dim::symbol(static_cast<int32_t>(v >> 1));
    fail(concat("it names symbol ", v >> 1, " of ", num_symbols));
    return Dim(0);
  }
  template <class E>
  E enumerator(size_t limit, const char* what) {
    const uint8_t v = byte();
    if (v < limit) return static_cast<E>(v);
    fail(concat(what, " is ", int{v}, ", expected less than ", limit));
    return static_cast<E>(0);
  }

  // Attribute fields.
  void operator()(const char* name, bool& v) { v = enumerator<uint8_t>(2, name) != 0; }
  void operator()(const char*, int64_t& v) { v = signed_number(); }
  void operator()(const char*, float& v) { v = real(); }
  void operator()(const char*, std::string& v) { v = text(); }
  void operator()(const char* name, std::vector<int64_t>& v) {
    v.resize(count(name));
    for (int64_t& x : v) x = signed_number();
  }
  void operator()(const char* name, DType& v) { v = enumerator<DType>(static_cast<size_t>(DType::kOpaque) + 1, name); }
  void operator()(const char* name, PointwiseProgram& v) { read_program(name, v); }
  void operator()(const char* name, std::vector<SubGraph>& v) {
    const size_t n = count(name);
    for (size_t i = 0; i < n && ok(); ++i) {
      auto graph = nested_(raw(count(name)));
      if (graph.ok()) {
        v.push_back(std::make_shared<const Graph>(std::move(graph).value()));
      } else if (status_.ok()) {
        status_ = graph.status();
        at_ = bytes_.size();
      }
    }
  }
  template <class E>
  requires std::is_enum_v<E>
  void operator()(const char* name, E& v) { v = enumerator<E>(std::size(EnumNames<E>::value), name); }

 private:
  int16_t operand(const char* name) {
    const int64_t v = signed_number();
    if (v >= -1 && v <= std::numeric_limits<int16_t>::max()) return static_cast<int16_t>(v);
    fail(concat(name, " has operand ", v));
    return 0;
  }
  void read_program(const char* name, PointwiseProgram& v) {
    v.num_inputs = operand(name);
    v.code.resize(count(name));
    for (PointwiseInstr& i : v.code) {
      if (!ok()) return;
      i.op = enumerator<PointwiseOp>(static_cast<size_t>(PointwiseOp::kNumOps), name);
      i.a = operand(name);
      i.b = operand(name);
      i.c = operand(name);
      i.alpha = real();
      i.beta = real();
    }
    if (!ok()) return;
    if (const Status status = verify(v); !status.ok()) fail(without_period(status.message()));
  }

  std::span<const std::byte> bytes_;
  NestedReader nested_;
  size_t at_ = 0;
  Status status_;
};

}  // namespace

class GraphReader {
 public:
  GraphReader(std::span<const std::byte> bytes, const ConstantLoader& load, int depth)
      : in_(bytes, [this](std::span<const std::byte> inner) { return read_nested(inner); }),
        load_(load),
        depth_(depth) {}

  Result<Graph> read() {
    if (const uint8_t version = in_.byte();
        in_.ok() && version != kGraphFormatVersion && version != kFlatGraphFormatVersion) {
      return failed_precondition(concat("The stored graph has format version ", int{version}, ", expected ",
                                        int{kGraphFormatVersion}, "; make it again with this version of Blade."));
    }
    read_ops();
    BLADE_RETURN_IF_ERROR(read_symbols());
    BLADE_RETURN_IF_ERROR(read_values());
    read_interface();
    read_nodes();
    if (in_.ok() && in_.remaining() > 0) in_.fail(concat(in_.remaining(), " bytes are left over"));
    BLADE_RETURN_IF_ERROR(in_.status());
    if (const Status status = verify(graph_); !status.ok()) {
      return data_loss(concat("The stored graph is corrupted: ", status.message()));
    }
    return std::move(graph_);
  }

 private:
  void read_ops() {
    const size_t n = in_.count("ops");
    for (size_t i = 0; i < n && in_.ok(); ++i) {
      const std::string name = in_.text();
      const auto op = op_from_name(name);
      if (!op) in_.fail(concat("it uses the op '", name.substr(0, 60), "', which this version does not know"));
      ops_.push_back(op.value_or(Op::kForeign));
    }
  }

  Status read_symbols() {
    using Kind = SymbolTable::Kind;
    SymbolTable& symbols = graph_.symbols_;
    const size_t n = in_.count("symbols");
    for (size_t i = 0; i < n && in_.ok(); ++i) {
      SymbolTable::Entry e;
      e.kind = in_.enumerator<Kind>(static_cast<size_t>(Kind::kNegative) + 1, "a symbol's kind");
      const uint8_t flags = in_.byte();
      e.nonnegative = (flags & 1) != 0;
      e.has_element = (flags & 2) != 0;
      if (e.kind == Kind::kRoot || e.kind == Kind::kElement) {
        e.name = in_.text();
      } else {
        e.lhs = in_.dim(symbols.size());
        e.rhs = in_.dim(symbols.size());
      }
      if (in_.ok()) BLADE_RETURN_IF_ERROR(symbols.append(std::move(e)));
    }
    return in_.status();
  }

  Status read_values() {
    const size_t n = in_.count("values");
    if (n > static_cast<size_t>(std::numeric_limits<int32_t>::max())) in_.fail("it has too many values");
    for (size_t i = 0; i < n && in_.ok(); ++i) {
      Value& value = graph_.values_.emplace_back();
      value.id = static_cast<ValueId>(i);
      tags_.push_back(in_.enumerator<ValueTag>(4, "a value's tag"));
      if (tags_.back() == ValueTag::kHole) continue;
      value.name = in_.text();
      in_("a value's type", value.dtype);
      if (tags_.back() == ValueTag::kConstant) {
        BLADE_RETURN_IF_ERROR(read_constant(value));
      } else {
        value.shape = read_shape();
      }
    }
    return in_.status();
  }

  Shape read_shape() {
    const uint64_t rank = in_.number();
    if (rank == 0) return Shape::unknown();
    if (rank - 1 > kMaxRank) in_.fail(concat("a shape has rank ", rank - 1));
    std::vector<Dim> dims;
    for (uint64_t i = 1; i < rank && in_.ok(); ++i) dims.push_back(in_.dim(graph_.symbols_.size()));
    return Shape(std::move(dims));
  }

  Status read_constant(Value& value) {
    const size_t rank = in_.count("dims");
    if (rank > kMaxRank) in_.fail(concat("a constant has rank ", rank));
    Dims dims;
    for (size_t i = 0; i < rank && in_.ok(); ++i) dims.push_back(static_cast<int64_t>(in_.number()));
    const uint64_t bytes = in_.number();
    const auto placement = in_.enumerator<Placement>(2, "a constant's place");
    BLADE_RETURN_IF_ERROR(in_.status());
    const size_t element = dtype_size(value.dtype);
    const auto count = checked_element_count(dims);
    const auto expected = count ? checked_mul(static_cast<uint64_t>(*count), uint64_t{element}) : std::nullopt;
    if (element == 0 || !expected || *expected != bytes) {
      in_.fail(concat("constant '", value.name.substr(0, 100), "' has ", bytes, " bytes, which do not match its dims"));
      return in_.status();
    }
    if (placement == Placement::kReference) {
      const uint64_t offset = in_.number();
      BLADE_RETURN_IF_ERROR(in_.status());
      if (!load_) return data_loss("The stored graph refers to weights that were not given along with it.");
      BLADE_ASSIGN_OR_RETURN(value.constant, load_(value.dtype, dims, offset, bytes));
      if (value.constant == nullptr || value.constant->dtype != value.dtype || value.constant->dims != dims) {
        return internal_error("The loader of stored weights gave a tensor of another type or shape.");
      }
    } else {
      const auto data = in_.raw(bytes);
      BLADE_RETURN_IF_ERROR(in_.status());
      BLADE_ASSIGN_OR_RETURN(NewTensor made, allocate_tensor(value.dtype, std::move(dims)));
      if (bytes > 0) std::memcpy(made.data, data.data(), bytes);
      value.constant = std::move(made.tensor);
    }
    value.shape = Shape::of(value.constant->dims);
    return Status();
  }

  std::vector<int32_t> read_ids(size_t limit, const char* what) {
    std::vector<int32_t> out;
    const size_t n = in_.count(what);
    for (size_t i = 0; i < n && in_.ok(); ++i) out.push_back(in_.id(limit, what));
    return out;
  }

  void read_interface() {
    graph_.inputs_ = read_ids(tags_.size(), "value");
    size_t declared = 0;
    for (ValueTag tag : tags_) declared += tag == ValueTag::kInput;
    for (ValueId id : graph_.inputs_) {
      if (in_.ok() && tags_[id] != ValueTag::kInput) in_.fail(concat("input ", id, " is another kind of value"));
    }
    if (in_.ok() && declared != graph_.inputs_.size()) in_.fail("an input is not listed");
    const size_t outputs = in_.count("outputs");
    for (size_t i = 0; i < outputs && in_.ok(); ++i) {
      graph_.outputs_.push_back(in_.id(tags_.size(), "value"));
      graph_.output_names_.push_back(in_.text());
    }
  }

  void read_nodes() {
    const size_t slots = in_.count("nodes");
    if (slots > static_cast<size_t>(std::numeric_limits<int32_t>::max())) in_.fail("it has too many nodes");
    for (size_t i = 0; i < slots && in_.ok(); ++i) {
      if (in_.enumerator<NodeTag>(2, "a node's tag") == NodeTag::kHole) {
        graph_.nodes_.push_back(nullptr);
        continue;
      }
      auto node = std::make_unique<Node>();
      node->id = static_cast<NodeId>(i);
      const int32_t op = in_.id(ops_.size(), "op");
      if (!in_.ok()) return;
      node->op = ops_[op];
      node->name = in_.text();
      node->inputs = read_ids(tags_.size(), "value");
      node->outputs = read_ids(tags_.size(), "value");
      node->control_inputs = read_ids(slots, "node");
      const int64_t origin = in_.signed_number();
      if (origin < -1 || origin > std::numeric_limits<int32_t>::max()) in_.fail(concat("a node has origin ", origin));
      node->origin = static_cast<int32_t>(origin);
      node->attrs = op_info(node->op).default_attrs();
      visit_attrs(node->attrs, in_);
      if (!in_.ok()) return;
      claim_outputs(*node);
      graph_.name_uses_.try_emplace(node->name, 0);
      graph_.nodes_.push_back(std::move(node));
    }
  }

  void claim_outputs(const Node& node) {
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      Value& value = graph_.values_[node.outputs[k]];
      if (tags_[value.id] != ValueTag::kResult || value.producer != kNone) {
        in_.fail(concat("value ", value.id, " is made twice or is no result"));
        return;
      }
      value.producer = node.id;
      value.output_index = static_cast<int>(k);
    }
  }

  Result<Graph> read_nested(std::span<const std::byte> bytes) const {
    if (depth_ + 1 >= kMaxGraphDepth) {
      return data_loss("The stored graph is corrupted: its nodes hold graphs more than " +
                       std::to_string(kMaxGraphDepth) + " deep.");
    }
    return GraphReader(bytes, load_, depth_ + 1).read();
  }

  Cursor in_;
  const ConstantLoader& load_;
  int depth_;
  Graph graph_;
  std::vector<Op> ops_;
  std::vector<ValueTag> tags_;
};

Result<Graph> deserialize(std::span<const std::byte> bytes, const ConstantLoader& load) {
  return GraphReader(bytes, load, 0).read();
}

}  // namespace blade::ir
