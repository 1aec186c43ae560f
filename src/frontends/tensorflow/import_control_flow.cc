// Imports bodies until the shapes of the variables no longer change.
#include "frontends/tensorflow/import_control_flow.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <unordered_map>

namespace blade::tensorflow {
namespace {

constexpr int kMaxRounds = 64;

// A list whose elements have no shape yet.
bool is_unwritten(const Argument& argument) {
  const ir::Shape& shape = argument.shape;
  if (!argument.is_list || shape.rank() < 2) return false;
  return std::any_of(shape.dims().begin() + 1, shape.dims().end(), [](ir::Dim d) { return d == ir::Dim(0); });
}

class LoopImporter {
 public:
  LoopImporter(const PartImporter& import, std::vector<Argument> operands, size_t variables, int roots)
      : import_(import), arguments_(std::move(operands)), variables_(variables), roots_(roots) {
    result_.element_dims.resize(arguments_.size());
    invariant_.assign(arguments_.size(), 0);
    for (size_t i = 0; i < arguments_.size(); ++i) {
      constants_.push_back(arguments_[i].constant);
      if (i < variables_) {
        arguments_[i].constant = nullptr;
      } else {
        invariant_[i] = 1;
      }
    }
  }

  Result<ImportedLoop> run(const SubSource& condition_source, const SubSource& body_source) {
    find_passed_on(body_source);
    ImportedPart body;
    bool changed = true;
    for (int round = 0; changed; ++round) {
      if (round == kMaxRounds) return unimplemented("the shapes of its variables do not settle");
      BLADE_ASSIGN_OR_RETURN(body, import_(body_source, arguments_, roots_));
      if (body.complex != complex_variables()) return unimplemented("its body makes complex numbers of others");
      changed = false;
      for (size_t i = 0; i < variables_; ++i) {
        BLADE_ASSIGN_OR_RETURN(const bool one, update(i, body.graph));
        changed = changed || one;
      }
    }
    BLADE_ASSIGN_OR_RETURN(ImportedPart condition, import_(condition_source, arguments_, roots_));
    const ir::Value& test = condition.graph.value(condition.graph.outputs()[0]);
    if (test.dtype != ir::DType::kBool) return unimplemented("its condition is not of type bool");
    finish(std::move(condition.graph), std::move(body.graph));
    return std::move(result_);
  }

 private:
  // Variables that the body passes on untouched are known before its first import: what they hold may decide what of
  // it Blade has (a dropout that keeps all).
  void find_passed_on(const SubSource& body) {
    std::unordered_map<std::string_view, const NodeDef*> identities;
    for (const NodeDef& node : body.graph->nodes) {
      if (node->op == "Identity" || node->op == "IdentityN") identities.emplace(node->name, &node);
    }
    for (size_t i = 0; i < std::min(body.inputs.size(), body.outputs.size()); ++i) {
      InputRef ref = parse_input(body.outputs[i]);
      for (size_t steps = 0; steps < identities.size(); ++steps) {  // a damaged graph may have a circle
        const auto at = identities.find(ref.node);
        if (at == identities.end() || ref.index >= static_cast<int>((*at->second)->inputs.size())) break;
        ref = parse_input((*at->second)->inputs[static_cast<size_t>(ref.index)]);
      }
      if (ref.control || ref.node != parse_input(body.inputs[i]).node || arguments_[i].imaginary >= 0) continue;
      invariant_[i] = 1;
      arguments_[i].constant = constants_[i];
    }
  }

  std::vector<int> complex_variables() const {
    std::vector<int> numbers;
    for (size_t i = 0; i < variables_; ++i) {
      if (arguments_[i].imaginary >= 0) numbers.push_back(static_cast<int>(i));
    }
    return numbers;
  }

  bool keeps(const ir::Graph& body, size_t i) const {
    return invariant_[i] || ir::behind_identities(body, body.outputs()[i]) == body.inputs()[i];
  }

  // True when what is known of variable i has changed.
  Result<bool> update(size_t i, const ir::Graph& body) {
    if (invariant_[i]) return false;
    const ir::ValueId output = body.outputs()[i];
    // A complex number goes by its real part, which is a new value where either part is.
    const int imaginary = arguments_[i].imaginary;
    if (keeps(body, i) && (imaginary < 0 || keeps(body, static_cast<size_t>(imaginary)))) {
      invariant_[i] = 1;
      arguments_[i].constant = constants_[i];
      return constants_[i] != nullptr;
    }
    const ir::Value& next = body.value(output);
    Argument& argument = arguments_[i];
    if (next.dtype != argument.dtype) {
      return unimplemented(std::string("its body turns a variable of type ") + ir::dtype_name(argument.dtype) +
                           " into " + ir::dtype_name(next.dtype));
    }
    if (is_unwritten(argument) && !result_.element_dims[i] && next.shape.rank() >= 1) {
      std::vector<ir::Dim> dims = {argument.shape.dim(0)};
      result_.element_dims[i].emplace();
      for (int d = 1; d < next.shape.rank(); ++d) {
        const int64_t size = next.shape.dim(d).is_known() ? next.shape.dim(d).value() : 0;
        result_.element_dims[i]->push_back(size);
        dims.push_back(ir::Dim(size));
      }
      const bool same = argument.shape == ir::Shape(dims);
      argument.shape = ir::Shape(std::move(dims));
      if (!same) return true;
    }
    return widen(argument.shape, next.shape);
  }

  bool widen(ir::Shape& shape, const ir::Shape& next) {
    if (!shape.has_rank()) return false;
    if (!next.has_rank() || next.rank() != shape.rank()) {
      shape = ir::Shape::unknown();
      return true;
    }
    bool changed = false;
    for (int d = 0; d < shape.rank(); ++d) {
      const ir::Dim now = shape.dim(d);
      if (now == next.dim(d) || (!now.is_known() && free_.contains(now.symbol_id()))) continue;
      free_.insert(roots_);
      shape.set_dim(d, ir::Dim::symbol(roots_++));
      changed = true;
    }
    return changed;
  }

  void finish(ir::Graph condition, ir::Graph body) {
    std::vector<int> outputs;
    for (size_t i = 0; i < variables_; ++i) {
      result_.outputs.push_back(invariant_[i] ? -1 : static_cast<int>(outputs.size()));
      if (invariant_[i]) continue;
      outputs.push_back(static_cast<int>(i));
      result_.operands.push_back(static_cast<int>(i));
    }
    for (size_t i = 0; i < arguments_.size(); ++i) {
      if (invariant_[i] && arguments_[i].constant == nullptr) result_.operands.push_back(static_cast<int>(i));
    }
    std::vector<ir::ValueId> results;
    for (int i : outputs) results.push_back(body.outputs()[i]);
    body.set_outputs(std::move(results), std::vector<std::string>(outputs.size()));
    for (ir::Graph* graph : {&condition, &body}) {
      std::vector<ir::ValueId> inputs;
      for (int i : result_.operands) inputs.push_back(graph->inputs()[i]);
      graph->set_inputs(std::move(inputs));
      graph->remove_dead_nodes();
    }
    result_.graphs.graphs = {std::make_shared<const ir::Graph>(std::move(condition)),
                             std::make_shared<const ir::Graph>(std::move(body))};
  }

  const PartImporter& import_;
  std::vector<Argument> arguments_;
  const size_t variables_;
  int roots_;
  std::vector<ir::TensorPtr> constants_;
  std::vector<char> invariant_;
  std::set<int32_t> free_;  // roots that stand for any size
  ImportedLoop result_;
};

}  // namespace

Result<std::vector<Argument>> arguments_of(const ir::Graph& graph, const std::vector<ir::ValueId>& values,
                                           const std::unordered_set<ir::ValueId>& lists, int* roots) {
  std::unordered_map<int32_t, int32_t> numbers;
  std::vector<Argument> arguments;
  for (ir::ValueId id : values) {
    if (id == ir::kNone) return unimplemented("it reads a tensor that does not exist");
    const ir::Value& value = graph.value(id);
    if (ir::dtype_size(value.dtype) == 0) {
      return unimplemented("it reads " + (value.name.empty() ? "a tensor" : "'" + value.name + "'") +
                           " of a type that only TensorFlow knows");
    }
    const ir::TensorPtr& constant = graph.value(ir::behind_identities(graph, id)).constant;  // a built-in default
    Argument& argument = arguments.emplace_back(Argument{value.dtype, value.shape, constant, lists.contains(id)});
    for (int i = 0; i < argument.shape.rank(); ++i) {
      const ir::Dim d = argument.shape.dim(i);
      if (d.is_known()) continue;
      const auto it = numbers.try_emplace(d.symbol_id(), static_cast<int32_t>(numbers.size())).first;
      argument.shape.set_dim(i, ir::Dim::symbol(it->second));
    }
  }
  *roots = static_cast<int>(numbers.size());
  return arguments;
}

Result<ImportedLoop> import_loop(const PartImporter& import, const SubSource& condition, const SubSource& body,
                                 std::vector<Argument> operands, size_t variables, int roots) {
  return LoopImporter(import, std::move(operands), variables, roots).run(condition, body);
}

Result<ImportedBranches> import_branches(const PartImporter& import, std::span<const SubSource> branches,
                                         const std::vector<Argument>& operands, int roots) {
  ImportedBranches result;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (operands[i].constant == nullptr) result.operands.push_back(static_cast<int>(i));
  }
  for (const SubSource& branch : branches) {
    BLADE_ASSIGN_OR_RETURN(ImportedPart part, import(branch, operands, roots));
    std::vector<ir::ValueId> inputs;
    for (int i : result.operands) inputs.push_back(part.graph.inputs()[i]);
    part.graph.set_inputs(std::move(inputs));
    part.graph.remove_dead_nodes();
    if (!result.graphs.graphs.empty() && part.complex != result.complex) {
      return unimplemented("not all of its branches give complex numbers");
    }
    result.complex = std::move(part.complex);
    result.is_list = std::move(part.is_list);
    result.graphs.graphs.push_back(std::make_shared<const ir::Graph>(std::move(part.graph)));
  }
  return result;
}

}  // namespace blade::tensorflow
