// Walks a TensorFlow graph in order and hands each node to its lowering function.
#include "frontends/tensorflow/importer.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "frontends/tensorflow/graph_importer.h"
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {

namespace {

// One of its types is complex64.
bool is_complex(const NodeDef& node) {
  const OpSpec* spec = find_op(node->op);
  if (spec == nullptr) return false;
  for (const auto* args : {&spec->inputs, &spec->outputs}) {
    const auto types = tensor_types(*args, node);
    if (types.ok() && std::find(types->begin(), types->end(), DataType::kComplex64) != types->end()) return true;
  }
  return false;
}

bool takes_stand_ins(const NodeDef& node) {
  return is_complex(node) || node->op == "QuantizeV2" || node->op == "Dequantize" || node->op == "Bitcast";
}

std::string about(const NodeDef& node) { return "node '" + node->name + "' (" + node->op + ")"; }
}  // namespace

Result<ImportedModel> GraphImporter::run() {
  BLADE_RETURN_IF_ERROR(index_nodes());
  BLADE_RETURN_IF_ERROR(choose_outputs());
  BLADE_RETURN_IF_ERROR(choose_inputs());
  BLADE_RETURN_IF_ERROR(import_all());
  BLADE_RETURN_IF_ERROR(set_outputs());
  find_unread();
  find_single_engine();
  model_.source = std::move(source_);
  return std::move(model_);
}

Status GraphImporter::index_nodes() {
  BLADE_ASSIGN_OR_RETURN(index_, NodeIndex::build(source_));
  values_.resize(index_.size());
  node_ids_.resize(index_.size());
  model_.foreign.assign(index_.size(), 0);
  reasons_ = control_flow_reasons(source_, index_);
  learn_types();
  return {};
}

Status GraphImporter::import_all() {
  find_needed();
  groups_ = find_control_flow_groups(source_, index_);
  for (ControlFlowGroup& group : groups_) {
    for (const TensorRef& ref : outputs_) {
      const auto same = [&](const TensorRef& other) { return other.node == ref.node && other.port == ref.port; };
      const auto& members = group.members;
      if (std::find(members.begin(), members.end(), ref.node) != members.end() &&
          std::none_of(group.results.begin(), group.results.end(), same)) {
        group.problem = "the output '" + tensor_name(node_at(ref.node), ref.port) + "' is a tensor inside it";
      }
    }
    if (group.problem.empty()) continue;
    for (int node : group.members) reasons_[node] += (reasons_[node].empty() ? "" : ": ") + group.problem;
  }
  const std::vector<int> order = order_with_groups(source_, index_, groups_, &group_of_);
  std::vector<char> done(groups_.size(), 0);
  for (int node : order) {
    const int group = group_of_[node];
    if (group < 0) {
      BLADE_RETURN_IF_ERROR(import_node(node));
    } else if (!std::exchange(done[group], 1)) {
      BLADE_RETURN_IF_ERROR(import_group(groups_[group]));
    }
  }
  return {};
}

void GraphImporter::learn_types() {
  for (const auto& [tensor, known] : options_.known_tensors) model_.known_types.emplace(tensor, known.dtype);
  learned_.resize(index_.size());
  for (int i = 0; i < index_.size(); ++i) {
    const OpSpec* spec = find_op(node_at(i)->op);
    if (spec == nullptr) continue;
    bool any = std::any_of(index_.inputs(i).begin(), index_.inputs(i).end(),
                           [&](const TensorRef& ref) { return find_op(node_at(ref.node)->op) == nullptr; });
    if (!any) continue;
    auto types = tensor_types(spec->inputs, node_at(i));
    if (!types.ok() || types->size() != index_.inputs(i).size()) continue;
    for (size_t k = 0; k < types->size(); ++k) {
      const TensorRef& ref = index_.inputs(i)[k];
      auto& learned = learned_[ref.node];
      if (static_cast<int>(learned.size()) <= ref.port) learned.resize(ref.port + 1, DataType::kInvalid);
      learned[ref.port] = (*types)[k];
    }
  }
}

ir::ValueId GraphImporter::value(const TensorRef& ref) const {
  const auto& of_node = values_[ref.node];
  return ref.port < static_cast<int>(of_node.size()) ? of_node[ref.port] : ir::kNone;
}

void GraphImporter::set_value(int node, int port, ir::ValueId id) {
  auto& of_node = values_[node];
  if (static_cast<int>(of_node.size()) <= port) of_node.resize(port + 1, ir::kNone);
  if (of_node[port] == ir::kNone) of_node[port] = id;
}

Status GraphImporter::import_node(int node) {
  const NodeDef& def = node_at(node);
  if (is_placeholder(def) && value({node, 0}) != ir::kNone) return Status();
  if (const auto fixed = options_.fixed.find(def->name); fixed != options_.fixed.end() && is_placeholder(def))
    return import_fixed(node, fixed->second);
  if (needs_feed(def)) {
    if (needed_[node]) {
      return invalid_argument("the outputs need the placeholder '" + def->name +
                              "', which is not among the inputs given; add it to them");
    }
    if (index_.is_unread_placeholder(source_, node)) return Status();
    return add_foreign(node, "it is a placeholder that is not among the inputs");
  }
  if (def->op == "PlaceholderWithDefault" && options_.may_feed_defaults) {
    if (!has_stored_default(node)) return add_foreign(node, "a run may feed it, and its default is computed");
    if (needed_[node]) {
      model_.notes.push_back("the default of '" + def->name +
                             "' is built in; a run that feeds another value takes the original graph, unless '" +
                             def->name + "' is named among the inputs");
    }
  }
  if (def->op == "Const") return import_constant(node);
  if (def->op == "IdentityN" && index_.inputs(node).empty()) return Status();
  // A NoOp that waits for nothing that stays in TensorFlow orders nothing: freezing leaves them in Keras models.
  if (def->op == "NoOp" && foreign_controls(node).empty()) return Status();
  if (!reasons_[node].empty()) return add_foreign(node, reasons_[node]);
  if (calls_parts(def)) return import_functional(node);
  const OpSpec* spec = find_op(def->op);
  if (spec == nullptr) return add_foreign(node, "Blade does not know the op " + def->op);
  if (spec->lower == nullptr && may_fail_ && is_random(def)) return add_failing(node, *spec);
  if (spec->lower == nullptr) return add_foreign(node, why_foreign(def, *spec));
  return lower(node, *spec);
}

std::string GraphImporter::why_foreign(const NodeDef& def, const OpSpec& spec) const {
  const auto kept = kept_calls_.find(def->name);
  return kept == kept_calls_.end() ? spec.reason : "a function call that cannot be inlined, of " + kept->second;
}

// Then the engine is built for the default, and the original graph runs where another value is fed.
bool GraphImporter::has_stored_default(int node) const {
  while (!index_.inputs(node).empty()) {
    node = index_.inputs(node)[0].node;
    if (node_at(node)->op == "Const") return true;
    if (node_at(node)->op != "Identity") return false;
  }
  return false;
}

Status GraphImporter::import_fixed(int node, const ir::TensorPtr& value) {
  const ir::NodeId first = model_.graph.num_node_slots();
  LowerContext context(model_.graph, inference_, node_at(node), node, {}, {});
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId result,
                         context.emit(ir::Op::kIdentity, "", {context.add_constant(value)},
                                      ir::IdentityAttrs{ir::IdentityKind::kPlaceholderWithDefault}));
  keep_new_nodes(node, first, foreign_controls(node));
  set_result({node, 0}, result);
  model_.fixed.emplace(node_at(node)->name, value);
  return {};
}

Status GraphImporter::import_constant(int node) {
  const NodeDef& def = node_at(node);
  BLADE_ASSIGN_OR_RETURN(TensorProto proto, tensor_attr(def, "value"));
  auto type = proto.dtype();
  if (!type.ok()) return type.status().with_context(about(def));
  const ir::DType integers = integers_behind(*type);
  if (to_ir(*type) == ir::DType::kOpaque) {
    BLADE_RETURN_IF_ERROR(add_foreign(node, "it is a constant of type " + data_type_name(*type)));
    if (integers == ir::DType::kInvalid && *type != DataType::kComplex64) return Status();
  }
  auto data = proto.decode();
  if (!data.ok()) return data.status().with_context(about(def));
  if (*type == DataType::kComplex64) return add_complex_constant(node, *data);
  auto tensor = std::make_shared<ir::Tensor>();
  tensor->dtype = integers != ir::DType::kInvalid ? integers : to_ir(*type);
  tensor->dims = data->dims;
  tensor->data = reinterpret_cast<const std::byte*>(data->content.data());
  tensor->bytes = data->content.size();
  // Without an owner the bytes belong to the graph itself.
  tensor->owner = std::make_shared<SharedBytes>(data->content);
  expanded_bytes_ += proto.wire().size() < tensor->bytes ? tensor->bytes : 0;
  constexpr size_t kMostExpanded = size_t{8} << 30;
  if (expanded_bytes_ > kMostExpanded) {
    return resource_exhausted("the constants up to '" + def->name + "' unpack to more than 8 GiB");
  }
  model_.constants.push_back({node, tensor});
  if (integers != ir::DType::kInvalid) {
    const ir::ValueId stored = model_.graph.add_constant(tensor);
    stand_ins_.emplace(stored, *type);
    stored_.emplace(node, stored);
    return Status();
  }
  if (value({node, 0}) == ir::kNone) set_value(node, 0, model_.graph.add_constant(tensor, tensor_name(def, 0)));
  return Status();
}

Status GraphImporter::add_complex_constant(int node, const TensorData& data) {
  BLADE_ASSIGN_OR_RETURN(const ir::NewTensor real, ir::allocate_tensor(ir::DType::kFloat32, data.dims));
  BLADE_ASSIGN_OR_RETURN(const ir::NewTensor imaginary, ir::allocate_tensor(ir::DType::kFloat32, data.dims));
  const char* from = data.content.data();
  for (int64_t i = 0; i < data.element_count; ++i) {
    std::memcpy(real.data + i * sizeof(float), from + 2 * i * sizeof(float), sizeof(float));
    std::memcpy(imaginary.data + i * sizeof(float), from + (2 * i + 1) * sizeof(float), sizeof(float));
  }
  const ir::ValueId id = model_.graph.add_constant(real.tensor);
  stand_ins_.emplace(id, DataType::kComplex64);
  stored_.emplace(node, id);
  const std::span<const float> parts = imaginary.tensor->as<float>();
  const bool is_real = std::all_of(parts.begin(), parts.end(), [](float v) { return v == 0; });
  if (!is_real) imaginary_.emplace(id, model_.graph.add_constant(imaginary.tensor));
  return Status();
}

ir::ValueId GraphImporter::operand(const TensorRef& ref, bool takes_stand_ins) const {
  const auto stored = stored_.find(ref.node);
  return takes_stand_ins && stored != stored_.end() ? stored->second : value(ref);
}

Result<std::string> GraphImporter::refuse_types(int node, const OpSpec& spec) {
  const NodeDef& def = node_at(node);
  BLADE_ASSIGN_OR_RETURN(auto expected, tensor_types(spec.inputs, def));
  const auto& inputs = index_.inputs(node);
  if (inputs.size() != expected.size()) {
    return invalid_argument(about(def) + " has " + std::to_string(inputs.size()) + " inputs, expected " +
                            std::to_string(expected.size()));
  }
  BLADE_ASSIGN_OR_RETURN(auto results, tensor_types(spec.outputs, def));
  if (spec.takes_lists && !is_complex(def)) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const TensorRef& ref = inputs[i];
      if (value(ref) == ir::kNone) return std::string("it reads a tensor that does not exist");
      const bool is_flow = i < spec.inputs.size() && spec.inputs[i].name == "flow_in";
      if (is_flow && !lists_.contains(value(ref))) return std::string("its TensorArray stays in TensorFlow");
      if (const auto found = stand_ins_.find(value(ref)); found != stand_ins_.end()) {
        return "it reads a tensor of type " + data_type_name(found->second);
      }
      if (ir::dtype_size(model_.graph.value(value(ref)).dtype) == 0) {
        return "only TensorFlow knows the type of '" + tensor_name(node_at(ref.node), ref.port) + "'";
      }
    }
    return std::string();
  }
  const bool stands_in = takes_stand_ins(def);
  for (size_t port = 0; port < results.size(); ++port) {
    if (to_ir(results[port]) != ir::DType::kOpaque) continue;
    const bool handed_out = std::any_of(outputs_.begin(), outputs_.end(), [&](const TensorRef& ref) {
      return ref.node == node && ref.port == static_cast<int>(port);
    });
    const bool has_parts = depth_ > 0 && results[port] == DataType::kComplex64;  // see ImportedPart::complex
    if (!stands_in || (handed_out && !has_parts)) return "its result is of type " + data_type_name(results[port]);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::string reason = refuse_operand(inputs[i], expected[i], stands_in);
    if (!reason.empty()) return reason;
  }
  if (const AttrValue* t = def->find_attr("T"); t != nullptr && t->as_type() != nullptr && !stands_in) {
    if ((spec.dtypes >> static_cast<int>(to_ir(*t->as_type())) & 1) == 0) {
      return "Blade has no " + def->op + " for " + data_type_name(*t->as_type());
    }
  }
  return std::string();
}

std::string GraphImporter::refuse_operand(const TensorRef& ref, DataType expected, bool takes_stand_ins) const {
  const ir::ValueId id = operand(ref, takes_stand_ins);
  const std::string tensor = tensor_name(node_at(ref.node), ref.port);
  if (lists_.contains(id)) return "it reads a list, '" + tensor + "'";
  const auto stand_in = stand_ins_.find(id);
  if (stand_in != stand_ins_.end() && takes_stand_ins && stand_in->second == expected) return "";
  if (to_ir(expected) == ir::DType::kOpaque)
    return "it reads '" + tensor + "', which is of type " + data_type_name(expected);
  const ir::DType found = model_.graph.value(id).dtype;
  if (found == ir::DType::kOpaque) return "only TensorFlow knows the type of '" + tensor + "'";
  if (found != to_ir(expected) || stand_in != stand_ins_.end()) {
    return "it reads '" + tensor + "' as " + data_type_name(expected) + ", but that is " +
           (stand_in != stand_ins_.end() ? data_type_name(stand_in->second) : ir::dtype_name(found));
  }
  return "";
}

Status GraphImporter::refuse_stand_ins(const std::vector<ir::ValueId>& operands) const {
  for (const ir::ValueId id : operands) {
    const auto found = stand_ins_.find(id);
    if (found == stand_ins_.end() || found->second == DataType::kComplex64) continue;
    return unimplemented("it reads a tensor of type " + data_type_name(found->second));
  }
  return {};
}

std::vector<ir::ValueId> GraphImporter::input_values(int node) const {
  std::vector<ir::ValueId> inputs;
  for (const TensorRef& ref : index_.inputs(node)) {
    // The edge that closes a loop comes from a node that is imported later; it only exists in TensorFlow's graph.
    if (ir::ValueId id = value(ref); id != ir::kNone) inputs.push_back(id);
  }
  return inputs;
}

Result<std::string> GraphImporter::gave_up(const Status& status, ir::NodeId first) {
  std::unordered_set<ir::ValueId> gone;
  for (ir::NodeId id = model_.graph.num_node_slots() - 1; id >= first; --id) {
    if (!model_.graph.is_live(id)) continue;
    const auto& outputs = model_.graph.node(id).outputs;
    gone.insert(outputs.begin(), outputs.end());
    model_.graph.remove_node(id);
  }
  // Zeros that the attempt made for the imaginary part of a number that stays are not there for its other readers.
  std::erase_if(imaginary_, [&](const auto& of) { return gone.contains(of.first) || gone.contains(of.second); });
  std::erase_if(stand_ins_, [&](const auto& of) { return gone.contains(of.first); });
  std::erase_if(lists_, [&](ir::ValueId id) { return gone.contains(id); });
  if (status.code() == StatusCode::kUnimplemented || status.code() == StatusCode::kInvalidArgument) {
    return status.message();
  }
  return status;
}

void GraphImporter::keep_new_nodes(int node, ir::NodeId first, const std::vector<int>& controls) {
  for (ir::NodeId id = first; id < model_.graph.num_node_slots(); ++id) {
    node_ids_[node].push_back(id);
    for (int producer : controls) add_control(id, producer);
  }
}

Status GraphImporter::lower(int node, const OpSpec& spec) {
  const NodeDef& def = node_at(node);
  BLADE_ASSIGN_OR_RETURN(const std::string refused, refuse_types(node, spec));
  if (!refused.empty()) return add_foreign(node, refused);
  std::vector<ir::ValueId> operands;
  for (const TensorRef& ref : index_.inputs(node)) operands.push_back(operand(ref, takes_stand_ins(def)));
  ir::NodeId first = model_.graph.num_node_slots();
  std::vector<ir::ValueId> imaginary;
  for (const ir::ValueId id : operands) {
    const auto part = imaginary_.find(id);
    imaginary.push_back(part == imaginary_.end() ? ir::kNone : part->second);
  }
  LowerContext context(model_.graph, inference_, def, node, std::move(operands), used_outputs(node));
  context.set_imaginary(std::move(imaginary));
  Status lowered = is_complex(def) ? lower_complex_node(context, spec) : spec.lower(context, spec.argument);
  if (!lowered.ok()) {
    const Result<std::string> reason = gave_up(lowered, first);
    if (!reason.ok()) return reason.status().with_context(about(def));
    return add_foreign(node, *reason);
  }
  keep_new_nodes(node, first, foreign_controls(node));
  lists_.insert(context.lists().begin(), context.lists().end());
  BLADE_RETURN_IF_ERROR(note_stand_ins(node, spec, context));
  for (size_t port = 0; port < context.outputs().size(); ++port) {
    ir::ValueId id = context.outputs()[port];
    const bool passes_list =
        (def->op == "Identity" || def->op == "IdentityN") && lists_.contains(value(index_.inputs(node)[port]));
    if (passes_list) lists_.insert(id);
    if (!lists_.contains(id) && !stand_ins_.contains(id)) {
      model_.graph.value(id).name = tensor_name(def, static_cast<int>(port));
    }
    set_value(node, static_cast<int>(port), id);
  }
  return Status();
}

Status GraphImporter::note_stand_ins(int node, const OpSpec& spec, const LowerContext& context) {
  BLADE_ASSIGN_OR_RETURN(const std::vector<DataType> types, tensor_types(spec.outputs, node_at(node)));
  for (size_t port = 0; port < context.outputs().size() && port < types.size(); ++port) {
    if (types[port] != DataType::kComplex64 && integers_behind(types[port]) == ir::DType::kInvalid) continue;
    stand_ins_.emplace(context.outputs()[port], types[port]);
    const auto& parts = context.imaginary_outputs();
    if (port < parts.size() && parts[port] != ir::kNone) imaginary_.emplace(context.outputs()[port], parts[port]);
  }
  return Status();
}

std::vector<bool> GraphImporter::used_outputs(int node) const {
  std::vector<bool> used = index_.used_ports(node);
  for (const TensorRef& ref : outputs_) {
    if (ref.node != node) continue;
    if (static_cast<int>(used.size()) <= ref.port) used.resize(ref.port + 1);
    used[ref.port] = true;
  }
  return used;
}

std::vector<ir::DType> GraphImporter::foreign_types(int node) const {
  const NodeDef& def = node_at(node);
  std::vector<ir::DType> types(std::max<size_t>(used_outputs(node).size(), output_count(node)), ir::DType::kOpaque);
  if (const OpSpec* spec = find_op(def->op)) {
    auto known = tensor_types(spec->outputs, def);
    for (size_t i = 0; known.ok() && i < known->size() && i < types.size(); ++i) {
      types[i] = is_ref((*known)[i]) ? ir::DType::kOpaque : to_ir((*known)[i]);
    }
  } else {
    for (size_t i = 0; i < learned_[node].size() && i < types.size(); ++i) types[i] = to_ir(learned_[node][i]);
  }
  for (size_t i = 0; i < types.size(); ++i) {
    const auto known = options_.known_tensors.find(tensor_name(def, static_cast<int>(i)));
    if (known != options_.known_tensors.end() && !is_ref(known->second.dtype)) types[i] = to_ir(known->second.dtype);
  }
  return types;
}

ir::Shape GraphImporter::foreign_shape(int node, int port) {
  const std::string tensor = tensor_name(node_at(node), port);
  const auto known = options_.known_tensors.find(tensor);
  const bool has_rank = known != options_.known_tensors.end() && !known->second.shape.unknown_rank;
  if (!has_rank && finds_scalars(node)) return model_.graph.value(value(index_.inputs(node)[1])).shape;
  return known == options_.known_tensors.end() ? ir::Shape::unknown() : symbolic_shape(known->second.shape, tensor);
}

// A table of scalars gives one for each key, which TensorFlow's own inference does not say in frozen graphs.
bool GraphImporter::finds_scalars(int node) const {
  static constexpr const char* kFinds[] = {"LookupTableFind", "LookupTableFindV2"};
  if (!is_one_of(node_at(node), kFinds)) return false;
  const auto& inputs = index_.inputs(node);
  if (inputs.size() != 3 || value(inputs[1]) == ir::kNone) return false;
  int table = inputs[0].node;
  while (node_at(table)->op == "Identity" && !index_.inputs(table).empty()) table = index_.inputs(table)[0].node;
  static constexpr const char* kTables[] = {"HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2"};
  return is_one_of(node_at(table), kTables);
}

Status GraphImporter::add_foreign(int node, std::string reason) {
  const NodeDef& def = node_at(node);
  const std::vector<ir::DType> types = foreign_types(node);
  bool closes_loop = def->op == "NextIteration" || def->op == "RefNextIteration";
  ir::ForeignAttrs attrs{def->op, std::move(reason), needed_[node] && (waited_for_[node] || closes_loop)};
  ir::Node& added = model_.graph.add_node(ir::Op::kForeign, model_.graph.unique_name(def->name), input_values(node),
                                          static_cast<int>(types.size()), std::move(attrs));
  ir::NodeId id = added.id;
  added.origin = node;
  for (size_t i = 0; i < types.size(); ++i) {
    ir::Value& output = model_.graph.value(model_.graph.node(id).outputs[i]);
    output.dtype = types[i];
    output.shape = foreign_shape(node, static_cast<int>(i));
    output.name = tensor_name(def, static_cast<int>(i));
    set_value(node, static_cast<int>(i), output.id);
  }
  model_.foreign[node] = 1;
  node_ids_[node].push_back(id);
  for (int producer : foreign_controls(node)) add_control(id, producer);
  if (def->op == "Identity" && !index_.inputs(node).empty() && stored_.contains(index_.inputs(node)[0].node)) {
    stored_.emplace(node, stored_.at(index_.inputs(node)[0].node));
  }
  return Status();
}

void GraphImporter::add_control(ir::NodeId id, int producer) {
  for (ir::NodeId on : node_ids_[producer]) model_.graph.node(id).control_inputs.push_back(on);
}

bool is_table_initializer(const NodeDef& node) {
  static constexpr const char* kOps[] = {
      "InitializeTable",   "InitializeTableV2",  "InitializeTableFromTextFile", "InitializeTableFromTextFileV2",
      "LookupTableImport", "LookupTableImportV2"};
  return is_one_of(node, kOps);
}

Result<ImportedModel> import_graph(const GraphDef& graph, const ImportOptions& options) {
  BLADE_ASSIGN_OR_RETURN(FlatGraph flat, flatten(graph));
  return GraphImporter(std::move(flat), options).run();
}

int32_t source_constant(const ImportedModel& model, const ir::Tensor& tensor) {
  for (const SourceConstant& constant : model.constants) {
    if (constant.tensor->data == tensor.data && constant.tensor->bytes == tensor.bytes) return constant.origin;
  }
  return -1;
}

}  // namespace blade::tensorflow
