// Loops and conditionals: their parts are imported as graphs of their own, or all of their nodes stay in TensorFlow.
#include <algorithm>

#include "frontends/tensorflow/graph_importer.h"
#include "frontends/tensorflow/lower.h"
#include "ir/watchers.h"

namespace blade::tensorflow {

Result<ImportedPart> GraphImporter::run_part(const SubSource& part, const std::vector<Argument>& operands, int roots) {
  BLADE_RETURN_IF_ERROR(index_nodes());
  for (int i = 0; i < roots; ++i) model_.graph.symbols().make_root("operand." + std::to_string(i));
  add_operands(part, operands);
  for (const std::string& name : part.outputs) {
    BLADE_ASSIGN_OR_RETURN(TensorRef ref, index_.find_tensor(source_, name, "output", {}));
    outputs_.push_back(ref);
    model_.outputs.push_back(name);
  }
  BLADE_RETURN_IF_ERROR(import_all());
  BLADE_RETURN_IF_ERROR(set_outputs());
  ImportedPart imported;
  BLADE_ASSIGN_OR_RETURN(imported.complex, append_imaginary_outputs());
  for (ir::ValueId v : model_.graph.outputs()) imported.is_list.push_back(lists_.contains(v) ? 1 : 0);
  drop_checks();
  for (ir::NodeId id = 0; id < model_.graph.num_node_slots(); ++id) {
    if (!model_.graph.is_live(id)) continue;
    const ir::Node& node = model_.graph.node(id);
    if (node.op == ir::Op::kForeign && !failing_.contains(id)) {
      const auto& attrs = node.get<ir::ForeignAttrs>();
      return unimplemented("'" + node.name + "' (" + attrs.source_op +
                           ") inside it stays in TensorFlow: " + attrs.reason);
    }
    model_.graph.node(id).origin = ir::kNone;
  }
  imported.graph = std::move(model_.graph);
  return imported;
}

void GraphImporter::add_operands(const SubSource& part, const std::vector<Argument>& operands) {
  std::vector<ir::ValueId> values;
  size_t source_input = 0;
  for (const Argument& operand : operands) {
    const std::string& name = operand.is_imaginary ? std::string() : part.inputs[source_input];
    const std::string shown = operand.imaginary >= 0 ? std::string() : name;  // a part of a number has no name outside
    const ir::ValueId input = model_.graph.add_input(shown, operand.dtype, operand.shape);
    values.push_back(operand.constant == nullptr ? input : model_.graph.add_constant(operand.constant, shown));
    if (operand.is_imaginary) continue;
    set_value(index_.find(name), 0, values.back());
    ++source_input;
    if (operand.is_list) lists_.insert(values.back());
  }
  for (size_t i = 0; i < operands.size(); ++i) {
    if (operands[i].imaginary < 0) continue;
    stand_ins_.emplace(values[i], DataType::kComplex64);
    imaginary_.emplace(values[i], values[static_cast<size_t>(operands[i].imaginary)]);
  }
}

Result<ir::ValueId> GraphImporter::imaginary_part(int node, ir::ValueId real) {
  const auto found = imaginary_.find(real);
  if (found != imaginary_.end()) return found->second;
  LowerContext context(model_.graph, inference_, node_at(node), node, {}, {});
  Emitter e(context);
  const ir::ValueId zeros = e.fill("zeros", e.shape_of(real), e.scalar(ir::DType::kFloat32, 0));
  BLADE_RETURN_IF_ERROR(e.status());
  imaginary_.emplace(real, zeros);
  return zeros;
}

Result<std::vector<int>> GraphImporter::append_imaginary_outputs() {
  std::vector<ir::ValueId> values = model_.graph.outputs();
  std::vector<int> complex;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const auto found = stand_ins_.find(values[i]);
    if (found == stand_ins_.end()) continue;
    if (found->second != DataType::kComplex64) {
      return unimplemented("it gives a tensor of type " + data_type_name(found->second));
    }
    BLADE_ASSIGN_OR_RETURN(const ir::ValueId part, imaginary_part(outputs_[i].node, values[i]));
    values.push_back(part);
    complex.push_back(static_cast<int>(i));
  }
  std::vector<std::string> names = model_.graph.output_names();
  names.resize(values.size());
  model_.graph.set_outputs(std::move(values), std::move(names));
  return complex;
}

Result<std::vector<Argument>> GraphImporter::arguments_for(int node, std::vector<ir::ValueId>& operands,
                                                           size_t* variables, int* roots) {
  BLADE_RETURN_IF_ERROR(refuse_stand_ins(operands));
  std::vector<ir::ValueId> expanded;
  std::vector<std::pair<size_t, size_t>> parts;  // places of real and imaginary parts
  const auto add = [&](size_t begin, size_t end) -> Status {
    std::vector<size_t> complex;
    for (size_t i = begin; i < end; ++i) {
      if (stand_ins_.contains(operands[i])) complex.push_back(expanded.size());
      expanded.push_back(operands[i]);
    }
    for (const size_t at : complex) {
      BLADE_ASSIGN_OR_RETURN(const ir::ValueId part, imaginary_part(node, expanded[at]));
      parts.emplace_back(at, expanded.size());
      expanded.push_back(part);
    }
    return {};
  };
  BLADE_RETURN_IF_ERROR(add(0, *variables));
  const size_t first = expanded.size();
  BLADE_RETURN_IF_ERROR(add(*variables, operands.size()));
  *variables = first;
  BLADE_ASSIGN_OR_RETURN(std::vector<Argument> arguments, arguments_of(model_.graph, expanded, lists_, roots));
  for (const auto& [real, imaginary] : parts) {
    arguments[real].imaginary = static_cast<int>(imaginary);
    arguments[imaginary].is_imaginary = true;
  }
  operands = std::move(expanded);
  return arguments;
}

void GraphImporter::drop_checks() {
  for (ir::NodeId id = 0; id < model_.graph.num_node_slots(); ++id) {
    if (!model_.graph.is_live(id)) continue;
    ir::Node& node = model_.graph.node(id);
    node.control_inputs.clear();
    if (node.op != ir::Op::kForeign) continue;
    auto& attrs = node.get<ir::ForeignAttrs>();
    if (is_left_out(attrs.source_op)) attrs.side_effects = false;
  }
  model_.graph.remove_dead_nodes();
}

PartImporter GraphImporter::part_importer(bool may_fail) const {
  return [this, may_fail](const SubSource& part, const std::vector<Argument>& operands,
                          int roots) -> Result<ImportedPart> {
    if (!part.effect.empty())
      return unimplemented(part.effect + " inside it, which only control edges ask for, stays in TensorFlow");
    if (depth_ >= kMaxDepth) return unimplemented("loops and conditionals are nested too deep");
    std::map<std::string, std::string> kept_calls = kept_calls_;  // of the frames and branches of TensorFlow 1
    kept_calls.insert(part.kept_calls.begin(), part.kept_calls.end());
    GraphImporter inside(FlatGraph{part.graph, {}, std::move(kept_calls)}, inside_options(options_.without_tensorflow));
    inside.depth_ = depth_ + 1;
    inside.may_fail_ = may_fail;
    return inside.run_part(part, operands, roots);
  };
}

const ImportOptions& GraphImporter::inside_options(bool without_tensorflow) {
  static const ImportOptions strict;
  static const ImportOptions lenient = [] {
    ImportOptions options;
    options.without_tensorflow = true;
    return options;
  }();
  return without_tensorflow ? lenient : strict;
}

Result<std::vector<ir::ValueId>> GraphImporter::add_loop(int node, const SubSource& condition, const SubSource& body,
                                                         std::vector<ir::ValueId> operands, size_t variables) {
  int roots = 0;
  const size_t source_variables = variables;
  BLADE_ASSIGN_OR_RETURN(const std::vector<Argument> arguments, arguments_for(node, operands, &variables, &roots));
  BLADE_ASSIGN_OR_RETURN(ImportedLoop loop,
                         import_loop(part_importer(may_fail_), condition, body, arguments, variables, roots));
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
  for (size_t i = 0; i < source_variables; ++i) {
    if (arguments[i].imaginary >= 0) note_complex(results[i], results[static_cast<size_t>(arguments[i].imaginary)]);
  }
  results.resize(source_variables);
  return results;
}

void GraphImporter::note_complex(ir::ValueId real, ir::ValueId imaginary) {
  stand_ins_.emplace(real, DataType::kComplex64);
  imaginary_.emplace(real, imaginary);
}

std::optional<size_t> GraphImporter::known_branch(ir::ValueId condition, size_t branches) const {
  const ir::TensorPtr constant = model_.graph.value(ir::behind_identities(model_.graph, condition)).constant;
  if (constant == nullptr || constant->element_count() != 1) return std::nullopt;
  return ir::chosen_branch(constant->dtype, constant->data, branches);
}

Result<std::vector<ir::ValueId>> GraphImporter::add_branches(int node, ir::ValueId condition,
                                                             std::span<const SubSource> branches,
                                                             std::vector<ir::ValueId> operands) {
  if (const auto known = known_branch(condition, branches.size())) {
    branches = branches.subspan(*known, 1);
    condition = model_.graph.add_constant(ir::make_scalar_i64(0));
  }
  int roots = 0;
  size_t variables = operands.size();
  BLADE_ASSIGN_OR_RETURN(const std::vector<Argument> arguments, arguments_for(node, operands, &variables, &roots));
  BLADE_ASSIGN_OR_RETURN(ImportedBranches imported,
                         import_branches(part_importer(options_.without_tensorflow), branches, arguments, roots));
  LowerContext context(model_.graph, inference_, node_at(node), node, {}, {});
  std::vector<ir::ValueId> inputs = {condition};
  for (int i : imported.operands) inputs.push_back(operands[i]);
  BLADE_ASSIGN_OR_RETURN(std::vector<ir::ValueId> made,
                         context.emit_many(ir::Op::kIf, "", std::move(inputs),
                                           static_cast<int>(imported.is_list.size()), std::move(imported.graphs)));
  for (size_t i = 0; i < made.size(); ++i) {
    if (imported.is_list[i]) lists_.insert(made[i]);
  }
  const size_t given = made.size() - imported.complex.size();
  for (size_t i = 0; i < imported.complex.size(); ++i) {
    note_complex(made[static_cast<size_t>(imported.complex[i])], made[given + i]);
  }
  made.resize(given);
  return made;
}

void GraphImporter::set_result(const TensorRef& ref, ir::ValueId id) {
  ir::Value& value = model_.graph.value(id);
  if (value.name.empty() && !lists_.contains(id) && !stand_ins_.contains(id))
    value.name = tensor_name(node_at(ref.node), ref.port);
  set_value(ref.node, ref.port, id);
}

Status GraphImporter::import_group(const ControlFlowGroup& group) {
  const ir::NodeId first = model_.graph.num_node_slots();
  std::vector<ir::ValueId> operands;
  for (const TensorRef& ref : group.operands) operands.push_back(operand(ref, true));
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
  for (const SubSource& part : group.parts) {
    for (const std::string& print : part.prints) {
      if (needed_[group.main])
        model_.notes.push_back(print + " prints no more: '" + node_at(group.main)->name +
                               "' around it runs in the engine");
    }
  }
  model_.groups[group.main].assign(group.members.begin(), group.members.end());
  return {};
}

bool GraphImporter::calls_parts(const NodeDef& node) {
  static constexpr const char* kOps[] = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"};
  return is_one_of(node, kOps);
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
  for (const TensorRef& ref : index_.inputs(node)) operands.push_back(operand(ref, true));
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

Status GraphImporter::add_failing(int node, const OpSpec& spec) {
  const NodeDef& def = node_at(node);
  BLADE_ASSIGN_OR_RETURN(const std::vector<DataType> types, tensor_types(spec.outputs, def));
  const ir::ValueId dims = value(index_.inputs(node)[0]);
  if (dims == ir::kNone || to_ir(types[0]) == ir::DType::kOpaque) return add_foreign(node, spec.reason);
  const ir::NodeId first = model_.graph.num_node_slots();
  const ir::Node& added = model_.graph.add_node(ir::Op::kForeign, model_.graph.unique_name(def->name), {}, 1,
                                                ir::ForeignAttrs{def->op, spec.reason, false});
  ir::Value& number = model_.graph.value(added.outputs[0]);
  number.dtype = to_ir(types[0]);
  number.shape = ir::Shape::of({});
  LowerContext context(model_.graph, inference_, def, node, {}, {});
  auto result = context.emit(ir::Op::kFill, "", {dims, number.id}, ir::EmptyAttrs{});
  if (!result.ok()) {
    BLADE_RETURN_IF_ERROR(gave_up(result.status(), first).status());
    return add_foreign(node, spec.reason);
  }
  failing_.insert(first);
  keep_new_nodes(node, first, foreign_controls(node));
  set_result({node, 0}, *result);
  return {};
}

}  // namespace blade::tensorflow
