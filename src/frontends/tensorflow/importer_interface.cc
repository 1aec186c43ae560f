// Which tensors are the inputs and outputs of a model, given by name or inferred, and what shapes the inputs have.
#include <algorithm>
#include <unordered_set>

#include "frontends/tensorflow/graph_importer.h"
#include "ir/foreign_nodes.h"

namespace blade::tensorflow {

std::vector<std::string> GraphImporter::placeholder_names() const {
  std::vector<std::string> names;
  for (const NodeDef& node : source_->nodes) {
    if (is_placeholder(node)) names.push_back(node->name);
  }
  return names;
}

bool GraphImporter::is_fed(const std::string& node) const {
  return std::any_of(options_.fed.begin(), options_.fed.end(),
                     [&](const std::string& name) { return parse_input(name).node == node; });
}

void GraphImporter::find_unread() {
  const auto is_input = [&](const TensorRef& ref) {
    const std::string tensor = tensor_name(node_at(ref.node), ref.port);
    return std::find(model_.inputs.begin(), model_.inputs.end(), tensor) != model_.inputs.end();
  };
  const std::vector<bool> needed = index_.ancestors(outputs_, is_input);
  for (int i = 0; i < index_.size(); ++i) {
    const NodeDef& node = node_at(i);
    if (!is_placeholder(node) || is_input({i, 0})) continue;
    ir::TensorPtr value;
    if (needed[i]) {
      const ir::ValueId id = this->value({i, 0});
      if (id != ir::kNone) value = model_.graph.value(ir::behind_identities(model_.graph, id)).constant;
      if (value == nullptr) {
        model_.computed_defaults.push_back({node->name, id});
        continue;
      }
    }
    model_.unread.push_back({node->name, std::move(value)});
  }
}

Status GraphImporter::choose_inputs() {
  std::vector<std::string> names = options_.inputs;
  if (names.empty()) {
    // Labels, say, or what freezing puts where a loop has an operand that it never uses, are no inputs.
    std::vector<char> has_value(index_.size(), 0);
    for (int i = 0; i < index_.size(); ++i) {
      const NodeDef& node = source_->nodes[i];
      has_value[i] = is_placeholder(node) && (needs_feed(node) || is_fed(node->name));
    }
    std::vector<char> read(index_.size(), 0);  // what a default is made of counts only where that is no input
    const std::vector<bool> needed = index_.ancestors(outputs_, [&](const TensorRef& ref) {
      read[ref.node] = 1;
      return has_value[ref.node] != 0;
    });
    for (int i = 0; i < index_.size(); ++i) {
      if ((read[i] || needed[i]) && has_value[i]) names.push_back(source_->nodes[i]->name);
    }
    std::string list;
    for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
    model_.notes.push_back("inputs inferred from the placeholders: " + (list.empty() ? "none" : list));
  }
  std::erase_if(names,
                [&](const std::string& name) { return options_.fixed.contains(std::string(parse_input(name).node)); });
  std::vector<std::string> candidates = placeholder_names();
  const std::vector<bool> needed = index_.ancestors(outputs_, [](const TensorRef&) { return false; });
  std::unordered_set<std::string> seen;
  for (const std::string& name : names) {
    BLADE_ASSIGN_OR_RETURN(TensorRef ref, index_.find_tensor(source_, name, "input", candidates));
    std::string tensor = tensor_name(node_at(ref.node), ref.port);
    if (options_.without_tensorflow && !needed[ref.node]) {  // what nobody could give: strings, beside the numbers
      BLADE_ASSIGN_OR_RETURN(const DataType type, input_type(ref, tensor));
      if (is_placeholder(node_at(ref.node)) && to_ir(base_type(type)) == ir::DType::kOpaque) continue;
    }
    if (!seen.insert(tensor).second) return invalid_argument("the input '" + name + "' is given twice; name it once");
    BLADE_RETURN_IF_ERROR(add_input(ref, tensor));
  }
  for (const auto& [name, dims] : options_.input_shapes) {
    InputRef ref = parse_input(name);
    if (options_.fixed.contains(std::string(ref.node))) continue;
    if (!seen.contains(std::string(ref.node) + ":" + std::to_string(ref.index))) {
      std::string known;
      for (const std::string& input : model_.inputs) known += (known.empty() ? "" : ", ") + input;
      return not_found("a shape is given for '" + name + "', which is not an input; inputs are " + known);
    }
  }
  return Status();
}

Result<DataType> GraphImporter::input_type(TensorRef ref, const std::string& tensor) const {
  const NodeDef& node = node_at(ref.node);
  if (is_placeholder(node)) return type_attr(node, "dtype");
  std::vector<DataType> types = learned_[ref.node];
  if (const OpSpec* spec = find_op(node->op)) {
    BLADE_ASSIGN_OR_RETURN(types, tensor_types(spec->outputs, node));
  }
  if (ref.port < static_cast<int>(types.size()) && types[ref.port] != DataType::kInvalid) return types[ref.port];
  const auto known = options_.known_tensors.find(tensor);
  if (known != options_.known_tensors.end()) return known->second.dtype;
  return invalid_argument("Blade does not know the type of the input '" + tensor + "', which the op " + node->op +
                          " gives; name a tensor behind it as the input");
}

Status GraphImporter::add_input(TensorRef ref, const std::string& tensor) {
  const NodeDef& node = node_at(ref.node);
  BLADE_ASSIGN_OR_RETURN(const DataType type, input_type(ref, tensor));
  BLADE_ASSIGN_OR_RETURN(ir::Shape shape, input_shape(node, tensor, type));
  ir::ValueId value = model_.graph.add_input(tensor, to_ir(base_type(type)), std::move(shape));
  set_value(ref.node, ref.port, value);
  model_.inputs.push_back(tensor);
  return Status();
}

Result<ir::Shape> GraphImporter::input_shape(const NodeDef& node, const std::string& tensor, DataType type) {
  TensorShapeProto shape;
  shape.unknown_rank = true;
  if (const AttrValue* attr = node->find_attr("shape"); attr != nullptr && attr->as_shape() != nullptr) {
    shape = *attr->as_shape();
    // Before producer 24 a Placeholder of unknown shape was written as a scalar.
    bool old = source_->versions && source_->versions->producer < 24;
    if (old && shape.dims.empty()) shape.unknown_rank = true;
  }
  auto given = options_.input_shapes.find(tensor);
  if (given == options_.input_shapes.end()) given = options_.input_shapes.find(node->name);
  std::optional<std::vector<int64_t>> dims;
  if (given != options_.input_shapes.end()) {
    dims = given->second;
  } else if (shape.unknown_rank && options_.rank_of) {
    if (const auto rank = options_.rank_of(tensor, model_.inputs.size())) dims.emplace(*rank, -1);
  }
  if (dims) {
    TensorShapeProto wanted;
    wanted.dims = *std::move(dims);
    bool fits = shape.unknown_rank || shape.dims.size() == wanted.dims.size();
    for (size_t i = 0; fits && !shape.unknown_rank && i < wanted.dims.size(); ++i) {
      fits = shape.dims[i] < 0 || wanted.dims[i] < 0 || shape.dims[i] == wanted.dims[i];
      if (wanted.dims[i] < 0) wanted.dims[i] = shape.dims[i];
    }
    if (!fits) {
      return invalid_argument("the input '" + tensor + "' has the shape " + to_string(shape) + " in the graph, but " +
                              to_string(wanted) + " was given");
    }
    if (shape.unknown_rank) model_.ranks[tensor] = {type, static_cast<int32_t>(wanted.dims.size())};
    shape = std::move(wanted);
  }
  return symbolic_shape(shape, node->name);
}

ir::Shape GraphImporter::symbolic_shape(const TensorShapeProto& shape, const std::string& name) {
  if (shape.unknown_rank) return ir::Shape::unknown();
  std::vector<ir::Dim> dims;
  for (size_t i = 0; i < shape.dims.size(); ++i) {
    bool known = shape.dims[i] >= 0;
    dims.push_back(known ? ir::Dim(shape.dims[i]) : model_.graph.symbols().make_root(name + "." + std::to_string(i)));
  }
  return ir::Shape(std::move(dims));
}

int GraphImporter::output_count(int node) const {
  const OpSpec* spec = find_op(node_at(node)->op);
  int used = static_cast<int>(index_.used_ports(node).size());
  if (spec == nullptr) return std::max(used, is_placeholder(node_at(node)) || node_at(node)->op == "Const" ? 1 : used);
  auto types = tensor_types(spec->outputs, node_at(node));
  return types.ok() ? static_cast<int>(types->size()) : std::max(used, 1);  // what is wrong with it is said later
}

std::vector<std::string> GraphImporter::leaf_tensors() const {
  std::vector<std::string> names;
  for (int i = 0; i < index_.size(); ++i) {
    const NodeDef& node = node_at(i);
    if (index_.has_data_consumers(i) || is_placeholder(node) || node->op == "Const") continue;
    int count = find_op(node->op) == nullptr ? 1 : output_count(i);
    for (int port = 0; port < count; ++port) names.push_back(tensor_name(node, port));
  }
  return names;
}

Status GraphImporter::choose_outputs() {
  std::vector<std::string> names = options_.outputs, leaves = leaf_tensors();
  if (names.empty()) {
    if (leaves.empty()) {
      return invalid_argument("the graph has no node whose result nothing reads; name the outputs you want");
    }
    names = leaves;
    std::string list;
    for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
    model_.notes.push_back("outputs inferred from the nodes that nothing reads: " + list);
  }
  for (const std::string& name : names) {
    BLADE_ASSIGN_OR_RETURN(TensorRef ref, index_.find_tensor(source_, name, "output", leaves));
    outputs_.push_back(ref);
    model_.outputs.push_back(tensor_name(node_at(ref.node), ref.port));
  }
  return Status();
}

void GraphImporter::find_needed() {
  needed_ = index_.ancestors(outputs_, [&](const TensorRef& ref) { return value(ref) != ir::kNone; });
  waited_for_.assign(index_.size(), 0);
  for (int i = 0; i < index_.size(); ++i) {
    if (!needed_[i]) continue;
    for (int producer : index_.control_inputs(i)) waited_for_[producer] = 1;
  }
}

Status GraphImporter::set_outputs() {
  std::vector<ir::ValueId> ids;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    ir::ValueId id = value(outputs_[i]);
    if (id == ir::kNone)
      return invalid_argument("the output '" + model_.outputs[i] + "' is a tensor that does not exist");
    ids.push_back(id);
  }
  model_.graph.set_outputs(std::move(ids), model_.outputs);
  if (options_.allow_foreign) return Status();
  model_.graph.remove_dead_nodes();
  return ir::refuse_foreign(model_.graph);
}

void GraphImporter::find_single_engine() {
  if (model_.engines.size() != 1) return;
  const EngineRegion& region = model_.engines[0];
  auto holds = [](const std::vector<std::string>& all, const std::string& name) {
    return std::find(all.begin(), all.end(), name) != all.end();
  };
  model_.single_engine =
      region.inputs.size() == model_.inputs.size() &&
      std::all_of(model_.inputs.begin(), model_.inputs.end(), [&](const auto& n) { return holds(region.inputs, n); }) &&
      std::all_of(model_.outputs.begin(), model_.outputs.end(),
                  [&](const auto& n) { return holds(region.outputs, n); });
}

}  // namespace blade::tensorflow
