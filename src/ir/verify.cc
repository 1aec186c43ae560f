// Structural checks of a graph: run after every pass and on every graph read from a file.
#include <unordered_map>

#include "base/checked_math.h"
#include "ir/infer.h"
#include "ir/text.h"

namespace blade::ir {
namespace {

template <class... Parts>
Status broken(const Node& node, const Parts&... parts) {
  return internal_error(concat("Node '", node.name, "' (", op_name(node.op), ") ", parts..., "."));
}

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph) {}

  Status run() {
    BLADE_RETURN_IF_ERROR(check_interface());
    for (ValueId id = 0; id < graph_.num_values(); ++id) BLADE_RETURN_IF_ERROR(check_value(id));
    for (NodeId id = 0; id < graph_.num_node_slots(); ++id) {
      if (graph_.is_live(id)) BLADE_RETURN_IF_ERROR(check_node(id));
    }
    BLADE_RETURN_IF_ERROR(graph_.topological_order().status());
    return compare_with_inference();
  }

 private:
  bool in_range(ValueId id) const { return id >= 0 && id < graph_.num_values(); }

  Status check_interface() {
    is_input_.assign(graph_.num_values(), false);
    for (ValueId id : graph_.inputs()) {
      if (!in_range(id) || is_input_[id]) {
        return internal_error(concat("Graph input ", id, " is no value or is listed twice."));
      }
      is_input_[id] = true;
      const Value& value = graph_.value(id);
      if (value.is_constant() || value.producer != kNone) {
        return internal_error(concat("Graph input '", value.name, "' is also a constant or made by a node."));
      }
    }
    if (graph_.outputs().size() != graph_.output_names().size()) {
      return internal_error(concat("The graph has ", graph_.outputs().size(), " outputs and ",
                                   graph_.output_names().size(), " names for them, expected one each."));
    }
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      if (!is_readable(graph_.outputs()[i])) {
        return internal_error(concat("Graph output '", graph_.output_names()[i], "' reads value ", graph_.outputs()[i],
                                     ", which nothing makes."));
      }
    }
    return Status();
  }

  // An input, a constant or the output of a live node.
  bool is_readable(ValueId id) const {
    if (!in_range(id)) return false;
    const Value& value = graph_.value(id);
    return is_input_[id] || value.is_constant() || graph_.is_live(value.producer);
  }

  Status check_value(ValueId id) {
    const Value& value = graph_.value(id);
    if (value.id != id) return internal_error(concat("Value ", id, " calls itself ", value.id, "."));
    if (value.dtype > DType::kOpaque) return internal_error(concat("Value ", id, " has no known type."));
    for (Dim d : value.shape.dims()) {
      if (!d.is_known() && static_cast<size_t>(d.symbol_id()) >= graph_.symbols().size()) {
        return internal_error(concat("Value ", id, " ('", value.name, "') has a dim that is no symbol of the graph."));
      }
    }
    if (value.is_constant()) return check_constant(value);
    if (value.producer == kNone) return Status();
    if (!graph_.is_live(value.producer)) {
      return internal_error(concat("Value ", id, " is made by node ", value.producer, ", which does not exist."));
    }
    const Node& producer = graph_.node(value.producer);
    if (value.output_index < 0 || value.output_index >= static_cast<int>(producer.outputs.size()) ||
        producer.outputs[value.output_index] != id) {
      return broken(producer, "does not make value ", id, ", which says so");
    }
    return Status();
  }

  Status check_constant(const Value& value) {
    const Tensor& tensor = *value.constant;
    const auto count = checked_element_count(tensor.dims);
    const auto bytes = count ? checked_mul(static_cast<size_t>(*count), dtype_size(tensor.dtype)) : std::nullopt;
    const bool opaque = dtype_size(tensor.dtype) == 0;
    if (value.producer != kNone || !bytes || (!opaque && *bytes != tensor.bytes) || tensor.dims.size() > kMaxRank ||
        (tensor.bytes > 0 && tensor.data == nullptr)) {
      return internal_error(concat("Constant ", value.id, " ('", value.name, "') holds ", tensor.bytes,
                                   " bytes, which do not match its type and dims."));
    }
    return Status();
  }

  Status check_node(NodeId id) {
    const Node& node = graph_.node(id);
    if (node.id != id) return broken(node, "stands in slot ", id, " and calls itself ", node.id);
    if (static_cast<int>(node.op) >= kNumOps) return broken(node, "has op number ", static_cast<int>(node.op));
    if (node.attrs.index() != op_info(node.op).default_attrs().index()) {
      return broken(node, "carries the attributes of another op");
    }
    const auto [other, is_new] = names_.try_emplace(node.name, id);
    if (!is_new) return broken(node, "shares its name with node ", other->second, ", expected unique names");
    for (ValueId input : node.inputs) {
      if (!is_readable(input)) return broken(node, "reads value ", input, ", which nothing makes");
    }
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const ValueId output = node.outputs[i];
      if (!in_range(output) || graph_.value(output).producer != id ||
          graph_.value(output).output_index != static_cast<int>(i)) {
        return broken(node, "has output value ", output, ", which it does not make");
      }
    }
    if (const auto* attrs = std::get_if<SubGraphsAttrs>(&node.attrs)) {
      for (const SubGraph& graph : attrs->graphs) {
        if (graph == nullptr) return broken(node, "holds no graph where one belongs");
        BLADE_RETURN_IF_ERROR(Verifier(*graph).run().with_context("Inside '" + node.name + "'"));
      }
    }
    for (NodeId control : node.control_inputs) {
      if (!graph_.is_live(control)) return broken(node, "waits for node ", control, ", which does not exist");
    }
    return Status();
  }

  Status compare_with_inference() {
    Graph fresh = graph_.clone();
    BLADE_RETURN_IF_ERROR(infer_shapes(fresh));
    for (NodeId id = 0; id < graph_.num_node_slots(); ++id) {
      if (!graph_.is_live(id)) continue;
      for (ValueId output : graph_.node(id).outputs) {
        BLADE_RETURN_IF_ERROR(compare(graph_.node(id), graph_.value(output), fresh.value(output), fresh.symbols()));
      }
    }
    return Status();
  }

  Status compare(const Node& node, const Value& stored, const Value& fresh, const SymbolTable& fresh_symbols) {
    if (stored.dtype != DType::kInvalid && fresh.dtype != DType::kInvalid && stored.dtype != fresh.dtype) {
      return broken(node, "has a result of type ", dtype_name(stored.dtype), ", inference gives ",
                    dtype_name(fresh.dtype));
    }
    if (!stored.shape.has_rank() || !fresh.shape.has_rank()) return Status();
    bool agree = stored.shape.rank() == fresh.shape.rank();
    for (int i = 0; agree && i < stored.shape.rank(); ++i) {
      const Dim a = stored.shape.dim(i), b = fresh.shape.dim(i);
      agree = !a.is_known() || !b.is_known() || a == b;
    }
    if (agree) return Status();
    return broken(node, "has a result of shape ", graph_.symbols().to_string(stored.shape), ", inference gives ",
                  fresh_symbols.to_string(fresh.shape));
  }

  const Graph& graph_;
  std::vector<bool> is_input_;
  std::unordered_map<std::string, NodeId> names_;
};

}  // namespace

Status verify(const Graph& graph) { return Verifier(graph).run(); }

}  // namespace blade::ir
