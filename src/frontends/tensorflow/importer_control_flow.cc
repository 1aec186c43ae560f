// Loops and conditionals: their parts are imported as graphs of their own, or all of their nodes stay in TensorFlow.
#include <algorithm>

#include "frontends/tensorflow/graph_importer.h"
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {

Result<ImportedPart> GraphImporter::run_part(const SubSource& part, const std::vector<Argument>& operands, int roots) {
  BLADE_RETURN_IF_ERROR(index_nodes());
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

void GraphImporter::drop_checks() {
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

PartImporter GraphImporter::part_importer() const {
  return [this](const SubSource& part, const std::vector<Argument>& operands, int roots) -> Result<ImportedPart> {
    if (depth_ >= kMaxDepth) return unimplemented("loops and conditionals are nested too deep");
    GraphImporter inside(FlatGraph{part.graph, {}, {}}, inside_options());
    inside.depth_ = depth_ + 1;
    return inside.run_part(part, operands, roots);
  };
}

const ImportOptions& GraphImporter::inside_options() {
  static const ImportOptions options;
  return options;
}

Result<std::vector<ir::ValueId>> GraphImporter::add_loop(int node, const SubSource& condition, const SubSource& body,
                                                         std::vector<ir::ValueId> operands, size_t variables) {
  int roots = 0;
  BLADE_RETURN_IF_ERROR(refuse_stand_ins(operands));
  BLADE_ASSIGN_OR_RETURN(std::vector<Argument> arguments, arguments_of(model_.graph, operands, lists_, &roots));
  BLADE_ASSIGN_OR_RETURN(ImportedLoop loop, import_loop(part_importer(), condition, body, arguments, variables, roots));
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

std::optional<size_t> GraphImporter::known_branch(ir::ValueId condition, size_t branches) const {
  const ir::Graph& graph = model_.graph;
  while (!graph.value(condition).is_constant()) {
    const ir::NodeId producer = graph.value(condition).producer;
    if (producer == ir::kNone || graph.node(producer).op != ir::Op::kIdentity) return std::nullopt;
    condition = graph.node(producer).inputs[0];
  }
  const ir::Tensor& constant = *graph.value(condition).constant;
  if (constant.element_count() != 1) return std::nullopt;
  return ir::chosen_branch(constant.dtype, constant.data, branches);
}

Result<std::vector<ir::ValueId>> GraphImporter::add_branches(int node, ir::ValueId condition,
                                                             std::span<const SubSource> branches,
                                                             const std::vector<ir::ValueId>& operands) {
  if (const auto known = known_branch(condition, branches.size())) {
    branches = branches.subspan(*known, 1);
    condition = model_.graph.add_constant(ir::make_scalar_i64(0));
  }
  int roots = 0;
  BLADE_RETURN_IF_ERROR(refuse_stand_ins(operands));
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

void GraphImporter::set_result(const TensorRef& ref, ir::ValueId id) {
  ir::Value& value = model_.graph.value(id);
  if (value.name.empty() && !lists_.contains(id)) value.name = tensor_name(node_at(ref.node), ref.port);
  set_value(ref.node, ref.port, id);
}

Status GraphImporter::import_group(const ControlFlowGroup& group) {
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

bool GraphImporter::calls_parts(const NodeDef& node) {
  static constexpr const char* kOps[] = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"};
  return std::any_of(std::begin(kOps), std::end(kOps), [&](const char* op) { return node->op == op; });
}

Result<SubSource> GraphImporter::source_of(const NodeDef& def, const char* attr, const char* suffix,
                                           size_t inputs) const {
  const AttrValue* value = def->find_attr(attr);
  if (value == nullptr || value->as_func() == nullptr) {
    return invalid_argument("it does not say what its '" + std::string(attr) + "' is");
  }
  return function_source(source_, *value->as_func(), def->name + "/" + suffix, inputs);
}

Result<std::vector<ir::ValueId>> GraphImporter::add_functional(int node) {
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

Status GraphImporter::import_functional(int node) {
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

}  // namespace blade::tensorflow
