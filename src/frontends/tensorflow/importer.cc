// Walks a TensorFlow graph in order and hands each node to its lowering function.
#include "frontends/tensorflow/importer.h"

#include <algorithm>
#include <unordered_set>

#include "frontends/tensorflow/control_flow_groups.h"
#include "frontends/tensorflow/import_control_flow.h"
#include "frontends/tensorflow/lower.h"
#include "frontends/tensorflow/lower_context.h"
#include "frontends/tensorflow/node_index.h"
#include "frontends/tensorflow/op_table.h"

namespace blade::tensorflow {
namespace {

bool is_placeholder(const NodeDef& node) {
  return node->op == "Placeholder" || node->op == "PlaceholderV2" || node->op == "PlaceholderWithDefault";
}
bool needs_feed(const NodeDef& node) { return node->op == "Placeholder" || node->op == "PlaceholderV2"; }

std::string about(const NodeDef& node) { return "node '" + node->name + "' (" + node->op + ")"; }

class Importer {
 public:
  Importer(FlatGraph flat, const ImportOptions& options)
      : options_(options), source_(flat.graph), inference_(model_.graph) {
    model_.engines = std::move(flat.engines);
    model_.notes = std::move(flat.notes);
  }

  Result<ImportedModel> run() {
    BLADE_ASSIGN_OR_RETURN(index_, NodeIndex::build(source_));
    values_.resize(index_.size());
    node_ids_.resize(index_.size());
    model_.foreign.assign(index_.size(), 0);
    reasons_ = control_flow_reasons(source_, index_);
    BLADE_RETURN_IF_ERROR(choose_inputs());
    BLADE_RETURN_IF_ERROR(choose_outputs());
    BLADE_RETURN_IF_ERROR(import_all());
    BLADE_RETURN_IF_ERROR(set_outputs());
    find_single_engine();
    model_.source = std::move(source_);
    return std::move(model_);
  }

  // A part of a loop or conditional; nothing of it may stay in TensorFlow.
  Result<ImportedPart> run_part(const SubSource& part, const std::vector<Argument>& operands, int roots) {
    BLADE_ASSIGN_OR_RETURN(index_, NodeIndex::build(source_));
    values_.resize(index_.size());
    node_ids_.resize(index_.size());
    model_.foreign.assign(index_.size(), 0);
    reasons_ = control_flow_reasons(source_, index_);
    for (int i = 0; i < roots; ++i) model_.graph.symbols().make_root("operand." + std::to_string(i));
    for (size_t i = 0; i < operands.size(); ++i) {
      const ir::ValueId input = model_.graph.add_input(part.inputs[i], operands[i].dtype, operands[i].shape);
      const ir::ValueId value =
          operands[i].constant == nullptr ? input : model_.graph.add_constant(operands[i].constant, part.inputs[i]);
      set_value(index_.find(part.inputs[i]), 0, value);
      if (operands[i].is_list) lists_.insert(value);
    }
    for (const std::string& name : part.outputs) {
      BLADE_ASSIGN_OR_RETURN(TensorRef ref, index_.find_tensor(source_, name, "output", {}));
      outputs_.push_back(ref);
      model_.outputs.push_back(name);
    }
    BLADE_RETURN_IF_ERROR(import_all());
    BLADE_RETURN_IF_ERROR(set_outputs());
    ImportedPart imported;
    for (ir::ValueId v : model_.graph.outputs()) imported.is_list.push_back(lists_.contains(v) ? 1 : 0);
    drop_checks();
    for (ir::NodeId id = 0; id < model_.graph.num_node_slots(); ++id) {
      if (!model_.graph.is_live(id)) continue;
      const ir::Node& node = model_.graph.node(id);
      if (node.op == ir::Op::kForeign) {
        const auto& attrs = node.get<ir::ForeignAttrs>();
        return unimplemented("'" + node.name + "' (" + attrs.source_op +
                             ") inside it stays in TensorFlow: " + attrs.reason);
      }
      model_.graph.node(id).origin = ir::kNone;
    }
    imported.graph = std::move(model_.graph);
    return imported;
  }

 private:
  const NodeDef& node_at(int node) const { return source_->nodes[node]; }

  // Inside loops and branches, what runs is what the results need: nobody waits for checks and prints.
  void drop_checks() {
    static constexpr const char* kChecks[] = {"NoOp", "Assert", "Print", "PrintV2", "CheckNumericsV2"};
    for (ir::NodeId id = 0; id < model_.graph.num_node_slots(); ++id) {
      if (!model_.graph.is_live(id)) continue;
      ir::Node& node = model_.graph.node(id);
      node.control_inputs.clear();
      if (node.op != ir::Op::kForeign) continue;
      auto& attrs = node.get<ir::ForeignAttrs>();
      if (std::any_of(std::begin(kChecks), std::end(kChecks), [&](const char* op) { return attrs.source_op == op; })) {
        attrs.side_effects = false;
      }
    }
    model_.graph.remove_dead_nodes();
  }

  Status import_all() {
    find_needed();
    learn_types();
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

  // --- loops and conditionals

  PartImporter part_importer() const {
    return [this](const SubSource& part, const std::vector<Argument>& operands, int roots) -> Result<ImportedPart> {
      if (depth_ >= kMaxDepth) return unimplemented("loops and conditionals are nested too deep");
      Importer inside(FlatGraph{part.graph, {}, {}}, inside_options());
      inside.depth_ = depth_ + 1;
      return inside.run_part(part, operands, roots);
    };
  }
  static const ImportOptions& inside_options() {
    static const ImportOptions options;
    return options;
  }

  // The IR values of the loop's variables after it, in order.
  Result<std::vector<ir::ValueId>> add_loop(int node, const SubSource& condition, const SubSource& body,
                                            std::vector<ir::ValueId> operands, size_t variables) {
    int roots = 0;
    BLADE_ASSIGN_OR_RETURN(std::vector<Argument> arguments, arguments_of(model_.graph, operands, lists_, &roots));
    BLADE_ASSIGN_OR_RETURN(ImportedLoop loop,
                           import_loop(part_importer(), condition, body, arguments, variables, roots));
    LowerContext context(model_.graph, inference_, node_at(node), node, {}, {});
    std::vector<ir::ValueId> inputs;
    for (int i : loop.operands) {
      if (loop.element_dims[i]) {
        BLADE_ASSIGN_OR_RETURN(operands[i], list_of_elements(context, operands[i], *loop.element_dims[i]));
        lists_.insert(operands[i]);
      }
      inputs.push_back(operands[i]);
    }
    const int outputs =
        static_cast<int>(variables - static_cast<size_t>(std::count(loop.outputs.begin(), loop.outputs.end(), -1)));
    BLADE_ASSIGN_OR_RETURN(const std::vector<ir::ValueId> made,
                           context.emit_many(ir::Op::kWhile, "", std::move(inputs), outputs, std::move(loop.graphs)));
    std::vector<ir::ValueId> results;
    for (size_t i = 0; i < variables; ++i) {
      results.push_back(loop.outputs[i] < 0 ? operands[i] : made[loop.outputs[i]]);
      if (arguments[i].is_list) lists_.insert(results.back());
    }
    return results;
  }

  Result<std::vector<ir::ValueId>> add_branches(int node, ir::ValueId condition, std::span<const SubSource> branches,
                                                const std::vector<ir::ValueId>& operands) {
    int roots = 0;
    BLADE_ASSIGN_OR_RETURN(const std::vector<Argument> arguments, arguments_of(model_.graph, operands, lists_, &roots));
    BLADE_ASSIGN_OR_RETURN(ImportedBranches imported, import_branches(part_importer(), branches, arguments, roots));
    LowerContext context(model_.graph, inference_, node_at(node), node, {}, {});
    std::vector<ir::ValueId> inputs = {condition};
    for (int i : imported.operands) inputs.push_back(operands[i]);
    BLADE_ASSIGN_OR_RETURN(const std::vector<ir::ValueId> made,
                           context.emit_many(ir::Op::kIf, "", std::move(inputs),
                                             static_cast<int>(imported.is_list.size()), std::move(imported.graphs)));
    for (size_t i = 0; i < made.size(); ++i) {
      if (imported.is_list[i]) lists_.insert(made[i]);
    }
    return made;
  }

  // Takes back the nodes that a failed attempt has added; the reason why it stays, or an error that is none.
  Result<std::string> gave_up(const Status& status, ir::NodeId first) {
    for (ir::NodeId id = model_.graph.num_node_slots() - 1; id >= first; --id) model_.graph.remove_node(id);
    if (status.code() == StatusCode::kUnimplemented || status.code() == StatusCode::kInvalidArgument) {
      return status.message();
    }
    return status;
  }

  void keep_new_nodes(int node, ir::NodeId first, const std::vector<int>& controls) {
    for (ir::NodeId id = first; id < model_.graph.num_node_slots(); ++id) {
      node_ids_[node].push_back(id);
      for (int producer : controls) add_control(id, producer);
    }
  }

  void set_result(const TensorRef& ref, ir::ValueId id) {
    ir::Value& value = model_.graph.value(id);
    if (value.name.empty() && !lists_.contains(id)) value.name = tensor_name(node_at(ref.node), ref.port);
    set_value(ref.node, ref.port, id);
  }

  Status import_group(const ControlFlowGroup& group) {
    const ir::NodeId first = model_.graph.num_node_slots();
    std::vector<ir::ValueId> operands;
    for (const TensorRef& ref : group.operands) operands.push_back(value(ref));
    auto results = group.is_loop ? add_loop(group.main, group.parts[0], group.parts[1], operands, group.results.size())
                                 : add_branches(group.main, value(group.predicate), group.parts, operands);
    if (!results.ok()) {
      BLADE_ASSIGN_OR_RETURN(const std::string reason, gave_up(results.status(), first));
      for (int member : group.members) {
        reasons_[member] += (reasons_[member].empty() ? "" : ": ") + reason;
        BLADE_RETURN_IF_ERROR(import_node(member));
      }
      return {};
    }
    for (size_t i = 0; i < results->size(); ++i) {
      if (group.results[i].node >= 0) set_result(group.results[i], (*results)[i]);
    }
    std::vector<int> controls;
    for (int member : group.members) {
      for (int producer : foreign_controls(member)) controls.push_back(producer);
    }
    keep_new_nodes(group.main, first, controls);
    model_.groups[group.main].assign(group.members.begin(), group.members.end());
    return {};
  }

  static bool calls_parts(const NodeDef& node) {
    static constexpr const char* kOps[] = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"};
    return std::any_of(std::begin(kOps), std::end(kOps), [&](const char* op) { return node->op == op; });
  }

  Result<SubSource> source_of(const NodeDef& def, const char* attr, const char* suffix, size_t inputs) const {
    const AttrValue* value = def->find_attr(attr);
    if (value == nullptr || value->as_func() == nullptr) {
      return invalid_argument("it does not say what its '" + std::string(attr) + "' is");
    }
    return function_source(source_, *value->as_func(), def->name + "/" + suffix, inputs);
  }

  Result<std::vector<ir::ValueId>> add_functional(int node) {
    const NodeDef& def = node_at(node);
    std::vector<ir::ValueId> operands;
    for (const TensorRef& ref : index_.inputs(node)) operands.push_back(value(ref));
    if (def->op.ends_with("While")) {
      BLADE_ASSIGN_OR_RETURN(const SubSource condition, source_of(def, "cond", "cond", operands.size()));
      BLADE_ASSIGN_OR_RETURN(const SubSource body, source_of(def, "body", "body", operands.size()));
      const size_t variables = operands.size();
      if (condition.outputs.size() != 1 || body.outputs.size() != variables) {
        return unimplemented("its functions give other numbers of results than a loop needs");
      }
      return add_loop(node, condition, body, std::move(operands), variables);
    }
    if (operands.empty() || operands[0] == ir::kNone) return unimplemented("it has no condition");
    std::vector<SubSource> branches;
    const size_t count = operands.size() - 1;
    if (def->op.ends_with("If")) {
      for (const char* attr : {"else_branch", "then_branch"}) {
        BLADE_ASSIGN_OR_RETURN(branches.emplace_back(), source_of(def, attr, attr, count));
      }
    } else {
      const AttrValue* value = def->find_attr("branches");
      if (value == nullptr || value->as_list() == nullptr) return invalid_argument("it has no branches");
      for (const NameAttrList& function : value->as_list()->funcs) {
        BLADE_ASSIGN_OR_RETURN(
            branches.emplace_back(),
            function_source(source_, function, def->name + "/branch_" + std::to_string(branches.size() - 1), count));
      }
    }
    ir::ValueId condition = operands[0];
    operands.erase(operands.begin());
    const ir::DType type = model_.graph.value(condition).dtype;
    const bool is_index = def->op.ends_with("Case");
    if (is_index ? type != ir::DType::kInt32 : type != ir::DType::kBool) {
      return unimplemented(std::string("its condition is of type ") + ir::dtype_name(type));
    }
    const ir::Shape& shape = model_.graph.value(condition).shape;
    if (shape.has_rank() && shape.rank() != 0) return unimplemented("its condition is no scalar");
    return add_branches(node, condition, branches, operands);
  }

  Status import_functional(int node) {
    const ir::NodeId first = model_.graph.num_node_slots();
    auto results = add_functional(node);
    if (!results.ok()) {
      BLADE_ASSIGN_OR_RETURN(const std::string reason, gave_up(results.status(), first));
      return add_foreign(node, reason);
    }
    keep_new_nodes(node, first, foreign_controls(node));
    for (size_t i = 0; i < results->size(); ++i) set_result({node, static_cast<int>(i)}, (*results)[i]);
    return {};
  }

  // --- inputs and outputs

  std::vector<std::string> placeholder_names() const {
    std::vector<std::string> names;
    for (const NodeDef& node : source_->nodes) {
      if (is_placeholder(node)) names.push_back(node->name);
    }
    return names;
  }

  // TensorFlow's freezing of functions puts such placeholders where a loop or branch has an operand that it never uses.
  bool is_left_by_freezing(int node) const {
    return node_at(node)->name.starts_with("unused_control_flow_input") && !index_.has_data_consumers(node);
  }

  Status choose_inputs() {
    std::vector<std::string> names = options_.inputs;
    if (names.empty()) {
      for (int i = 0; i < index_.size(); ++i) {
        const NodeDef& node = source_->nodes[i];
        if (needs_feed(node) && !is_left_by_freezing(i)) names.push_back(node->name);
      }
      std::string list;
      for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
      model_.notes.push_back("inputs inferred from the placeholders: " + (list.empty() ? "none" : list));
    }
    std::vector<std::string> candidates = placeholder_names();
    std::unordered_set<std::string> seen;
    for (const std::string& name : names) {
      BLADE_ASSIGN_OR_RETURN(TensorRef ref, index_.find_tensor(source_, name, "input", candidates));
      std::string tensor = tensor_name(node_at(ref.node), ref.port);
      if (!seen.insert(tensor).second) return invalid_argument("the input '" + name + "' is given twice");
      BLADE_RETURN_IF_ERROR(add_input(ref, tensor));
    }
    for (const auto& [name, dims] : options_.input_shapes) {
      InputRef ref = parse_input(name);
      if (!seen.contains(std::string(ref.node) + ":" + std::to_string(ref.index))) {
        std::string known;
        for (const std::string& input : model_.inputs) known += (known.empty() ? "" : ", ") + input;
        return not_found("a shape is given for '" + name + "', which is not an input; inputs are " + known);
      }
    }
    return Status();
  }

  Status add_input(TensorRef ref, const std::string& tensor) {
    const NodeDef& node = node_at(ref.node);
    DataType type = DataType::kInvalid;
    if (is_placeholder(node)) {
      BLADE_ASSIGN_OR_RETURN(type, type_attr(node, "dtype"));
    } else if (const OpSpec* spec = find_op(node->op)) {
      BLADE_ASSIGN_OR_RETURN(auto types, tensor_types(spec->outputs, node));
      if (ref.port < static_cast<int>(types.size())) type = types[ref.port];
    }
    BLADE_ASSIGN_OR_RETURN(ir::Shape shape, input_shape(node, tensor));
    ir::ValueId value = model_.graph.add_input(tensor, to_ir(base_type(type)), std::move(shape));
    set_value(ref.node, ref.port, value);
    model_.inputs.push_back(tensor);
    return Status();
  }

  Result<ir::Shape> input_shape(const NodeDef& node, const std::string& tensor) {
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
    if (given != options_.input_shapes.end()) {
      TensorShapeProto wanted;
      wanted.dims = given->second;
      bool fits = shape.unknown_rank || shape.dims.size() == wanted.dims.size();
      for (size_t i = 0; fits && !shape.unknown_rank && i < wanted.dims.size(); ++i) {
        fits = shape.dims[i] < 0 || wanted.dims[i] < 0 || shape.dims[i] == wanted.dims[i];
        if (wanted.dims[i] < 0) wanted.dims[i] = shape.dims[i];
      }
      if (!fits) {
        return invalid_argument("the input '" + tensor + "' has the shape " + to_string(shape) + " in the graph, but " +
                                to_string(wanted) + " was given");
      }
      shape = std::move(wanted);
    }
    if (shape.unknown_rank) return ir::Shape::unknown();
    std::vector<ir::Dim> dims;
    for (size_t i = 0; i < shape.dims.size(); ++i) {
      bool known = shape.dims[i] >= 0;
      dims.push_back(known ? ir::Dim(shape.dims[i])
                           : model_.graph.symbols().make_root(node->name + "." + std::to_string(i)));
    }
    return ir::Shape(std::move(dims));
  }

  // How many tensors a node gives; 1 for ops that nobody knows and nobody reads.
  int output_count(int node) const {
    const OpSpec* spec = find_op(node_at(node)->op);
    int used = static_cast<int>(index_.used_ports(node).size());
    if (spec == nullptr)
      return std::max(used, is_placeholder(node_at(node)) || node_at(node)->op == "Const" ? 1 : used);
    auto types = tensor_types(spec->outputs, node_at(node));
    return types.ok() ? static_cast<int>(types->size()) : used;
  }

  std::vector<std::string> leaf_tensors() const {
    std::vector<std::string> names;
    for (int i = 0; i < index_.size(); ++i) {
      const NodeDef& node = node_at(i);
      if (index_.has_data_consumers(i) || is_placeholder(node) || node->op == "Const") continue;
      int count = find_op(node->op) == nullptr ? 1 : output_count(i);
      for (int port = 0; port < count; ++port) names.push_back(tensor_name(node, port));
    }
    return names;
  }

  Status choose_outputs() {
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

  void find_needed() {
    needed_ = index_.ancestors(outputs_, [&](const TensorRef& ref) { return value(ref) != ir::kNone; });
    waited_for_.assign(index_.size(), 0);
    for (int i = 0; i < index_.size(); ++i) {
      if (!needed_[i]) continue;
      for (int producer : index_.control_inputs(i)) waited_for_[producer] = 1;
    }
  }

  // Ops that nobody knows have outputs of the types that their readers expect.
  void learn_types() {
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

  // --- nodes

  ir::ValueId value(const TensorRef& ref) const {
    const auto& of_node = values_[ref.node];
    return ref.port < static_cast<int>(of_node.size()) ? of_node[ref.port] : ir::kNone;
  }

  void set_value(int node, int port, ir::ValueId id) {
    auto& of_node = values_[node];
    if (static_cast<int>(of_node.size()) <= port) of_node.resize(port + 1, ir::kNone);
    if (of_node[port] == ir::kNone) of_node[port] = id;
  }

  Status import_node(int node) {
    const NodeDef& def = node_at(node);
    if (is_placeholder(def) && value({node, 0}) != ir::kNone) return Status();
    if (needs_feed(def)) {
      if (needed_[node]) {
        return invalid_argument("the outputs need the placeholder '" + def->name +
                                "', which is not among the inputs given; add it to them");
      }
      if (!index_.has_data_consumers(node)) return Status();
      return add_foreign(node, "it is a placeholder that is not among the inputs");
    }
    if (def->op == "Const") return import_constant(node);
    if (def->op == "IdentityN" && index_.inputs(node).empty()) return Status();
    // A NoOp that waits for nothing that stays in TensorFlow orders nothing: freezing leaves them in Keras models.
    if (def->op == "NoOp" && foreign_controls(node).empty()) return Status();
    if (!reasons_[node].empty()) return add_foreign(node, reasons_[node]);
    if (calls_parts(def)) return import_functional(node);
    const OpSpec* spec = find_op(def->op);
    if (spec == nullptr) return add_foreign(node, "Blade does not know the op " + def->op);
    if (spec->lower == nullptr) return add_foreign(node, spec->reason);
    return lower(node, *spec);
  }

  Status import_constant(int node) {
    const NodeDef& def = node_at(node);
    BLADE_ASSIGN_OR_RETURN(TensorProto proto, tensor_attr(def, "value"));
    auto type = proto.dtype();
    if (!type.ok()) return type.status().with_context(about(def));
    if (to_ir(*type) == ir::DType::kOpaque)
      return add_foreign(node, "it is a constant of type " + data_type_name(*type));
    auto data = proto.decode();
    if (!data.ok()) return data.status().with_context(about(def));
    auto tensor = std::make_shared<ir::Tensor>();
    tensor->dtype = to_ir(*type);
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
    if (value({node, 0}) == ir::kNone) set_value(node, 0, model_.graph.add_constant(tensor, tensor_name(def, 0)));
    return Status();
  }

  // Why the node's operands do not let it in, or an empty string.
  Result<std::string> refuse_types(int node, const OpSpec& spec) {
    const NodeDef& def = node_at(node);
    BLADE_ASSIGN_OR_RETURN(auto expected, tensor_types(spec.inputs, def));
    const auto& inputs = index_.inputs(node);
    if (inputs.size() != expected.size()) {
      return invalid_argument(about(def) + " has " + std::to_string(inputs.size()) + " inputs, expected " +
                              std::to_string(expected.size()));
    }
    BLADE_ASSIGN_OR_RETURN(auto results, tensor_types(spec.outputs, def));
    if (spec.takes_lists) {
      for (const TensorRef& ref : inputs) {
        if (value(ref) == ir::kNone) return std::string("it reads a tensor that does not exist");
        if (ir::dtype_size(model_.graph.value(value(ref)).dtype) == 0) {
          return "only TensorFlow knows the type of '" + tensor_name(node_at(ref.node), ref.port) + "'";
        }
      }
      return std::string();
    }
    for (DataType type : results) {
      if (to_ir(type) == ir::DType::kOpaque) return "its result is of type " + data_type_name(type);
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      ir::DType found = model_.graph.value(value(inputs[i])).dtype;
      const NodeDef& producer = node_at(inputs[i].node);
      if (lists_.contains(value(inputs[i]))) return "it reads a list, '" + tensor_name(producer, inputs[i].port) + "'";
      if (to_ir(expected[i]) == ir::DType::kOpaque)
        return "its input " + std::to_string(i) + " is of type " + data_type_name(expected[i]);
      if (found == ir::DType::kOpaque)
        return "only TensorFlow knows the type of '" + tensor_name(producer, inputs[i].port) + "'";
      if (found != to_ir(expected[i])) {
        return "it reads '" + tensor_name(producer, inputs[i].port) + "' as " + data_type_name(expected[i]) +
               ", but that is " + ir::dtype_name(found);
      }
    }
    if (const AttrValue* t = def->find_attr("T"); t != nullptr && t->as_type() != nullptr) {
      if ((spec.dtypes >> static_cast<int>(to_ir(*t->as_type())) & 1) == 0) {
        return "Blade has no " + def->op + " for " + data_type_name(*t->as_type());
      }
    }
    return std::string();
  }

  std::vector<ir::ValueId> input_values(int node) const {
    std::vector<ir::ValueId> inputs;
    for (const TensorRef& ref : index_.inputs(node)) {
      // The edge that closes a loop comes from a node that is imported later; it only exists in TensorFlow's graph.
      if (ir::ValueId id = value(ref); id != ir::kNone) inputs.push_back(id);
    }
    return inputs;
  }

  Status lower(int node, const OpSpec& spec) {
    const NodeDef& def = node_at(node);
    BLADE_ASSIGN_OR_RETURN(std::string refused, refuse_types(node, spec));
    if (!refused.empty()) return add_foreign(node, refused);
    ir::NodeId first = model_.graph.num_node_slots();
    LowerContext context(model_.graph, inference_, def, node, input_values(node), used_outputs(node));
    Status lowered = spec.lower(context, spec.argument);
    if (!lowered.ok()) {
      if (lowered.code() != StatusCode::kUnimplemented && lowered.code() != StatusCode::kInvalidArgument) {
        return lowered.with_context(about(def));
      }
      for (ir::NodeId id = model_.graph.num_node_slots() - 1; id >= first; --id) model_.graph.remove_node(id);
      return add_foreign(node, lowered.message());
    }
    std::vector<int> controls = foreign_controls(node);
    for (ir::NodeId id = first; id < model_.graph.num_node_slots(); ++id) {
      node_ids_[node].push_back(id);
      for (int producer : controls) add_control(id, producer);
    }
    lists_.insert(context.lists().begin(), context.lists().end());
    for (size_t port = 0; port < context.outputs().size(); ++port) {
      ir::ValueId id = context.outputs()[port];
      const bool passes_list =
          (def->op == "Identity" || def->op == "IdentityN") && lists_.contains(value(index_.inputs(node)[port]));
      if (passes_list) lists_.insert(id);
      if (!lists_.contains(id)) model_.graph.value(id).name = tensor_name(def, static_cast<int>(port));
      set_value(node, static_cast<int>(port), id);
    }
    return Status();
  }

  std::vector<bool> used_outputs(int node) const {
    std::vector<bool> used = index_.used_ports(node);
    for (const TensorRef& ref : outputs_) {
      if (ref.node != node) continue;
      if (static_cast<int>(used.size()) <= ref.port) used.resize(ref.port + 1);
      used[ref.port] = true;
    }
    return used;
  }

  Status add_foreign(int node, std::string reason) {
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
    bool closes_loop = def->op == "NextIteration" || def->op == "RefNextIteration";
    ir::ForeignAttrs attrs{def->op, std::move(reason), needed_[node] && (waited_for_[node] || closes_loop)};
    ir::Node& added = model_.graph.add_node(ir::Op::kForeign, model_.graph.unique_name(def->name), input_values(node),
                                            static_cast<int>(types.size()), std::move(attrs));
    ir::NodeId id = added.id;
    added.origin = node;
    for (size_t i = 0; i < types.size(); ++i) {
      ir::Value& output = model_.graph.value(model_.graph.node(id).outputs[i]);
      output.dtype = types[i];
      output.name = tensor_name(def, static_cast<int>(i));
      set_value(node, static_cast<int>(i), output.id);
    }
    model_.foreign[node] = 1;
    node_ids_[node].push_back(id);
    for (int producer : foreign_controls(node)) add_control(id, producer);
    return Status();
  }

  std::vector<int> foreign_controls(int node) const { return index_.controls_among(model_.foreign, node); }

  void add_control(ir::NodeId id, int producer) {
    for (ir::NodeId on : node_ids_[producer]) model_.graph.node(id).control_inputs.push_back(on);
  }

  // --- the end

  Status set_outputs() {
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
    return refuse_foreign(model_.graph);
  }

  void find_single_engine() {
    if (model_.engines.size() != 1) return;
    const EngineRegion& region = model_.engines[0];
    auto holds = [](const std::vector<std::string>& all, const std::string& name) {
      return std::find(all.begin(), all.end(), name) != all.end();
    };
    model_.single_engine = region.inputs.size() == model_.inputs.size() &&
                           std::all_of(model_.inputs.begin(), model_.inputs.end(),
                                       [&](const auto& n) { return holds(region.inputs, n); }) &&
                           std::all_of(model_.outputs.begin(), model_.outputs.end(),
                                       [&](const auto& n) { return holds(region.outputs, n); });
  }

  const ImportOptions& options_;
  ImportedModel model_;
  GraphDef source_;
  NodeIndex index_;
  StepInference inference_;
  std::vector<std::string> reasons_;  // of nodes inside loops and branches
  std::vector<ControlFlowGroup> groups_;
  std::vector<int> group_of_;              // a node's group that is imported whole; -1 for others
  std::unordered_set<ir::ValueId> lists_;  // values that are TensorArrays' flows or tensor lists
  static constexpr int kMaxDepth = 24;
  int depth_ = 0;  // of loops and conditionals around this part
  std::vector<TensorRef> outputs_;
  std::vector<bool> needed_;                    // by an output
  std::vector<char> waited_for_;                // by a control edge of a needed node
  std::vector<std::vector<DataType>> learned_;  // output types of unknown ops
  std::vector<std::vector<ir::ValueId>> values_;
  std::vector<std::vector<ir::NodeId>> node_ids_;
  size_t expanded_bytes_ = 0;
};

}  // namespace

Status refuse_foreign(const ir::Graph& graph) {
  std::string list;
  int count = 0;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id) || graph.node(id).op != ir::Op::kForeign) continue;
    const auto& attrs = graph.node(id).get<ir::ForeignAttrs>();
    if (++count <= 5)
      list += (count == 1 ? "" : "; ") + std::string("'") + graph.node(id).name + "' (" + attrs.source_op +
              "): " + attrs.reason;
  }
  if (count == 0) return Status();
  return unimplemented(std::to_string(count) + (count == 1 ? " node needs" : " nodes need") + " TensorFlow: " + list +
                       (count > 5 ? "; and more" : "") + "; run the graph in a TensorFlow session instead");
}

bool is_table_initializer(const NodeDef& node) {
  static constexpr const char* kOps[] = {
      "InitializeTable",   "InitializeTableV2",  "InitializeTableFromTextFile", "InitializeTableFromTextFileV2",
      "LookupTableImport", "LookupTableImportV2"};
  return std::any_of(std::begin(kOps), std::end(kOps), [&](const char* op) { return node->op == op; });
}

Result<ImportedModel> import_graph(const GraphDef& graph, const ImportOptions& options) {
  BLADE_ASSIGN_OR_RETURN(FlatGraph flat, flatten(graph));
  return Importer(std::move(flat), options).run();
}

int32_t source_constant(const ImportedModel& model, const ir::Tensor& tensor) {
  for (const SourceConstant& constant : model.constants) {
    if (constant.tensor->data == tensor.data && constant.tensor->bytes == tensor.bytes) return constant.origin;
  }
  return -1;
}

}  // namespace blade::tensorflow
