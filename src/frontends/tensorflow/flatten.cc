// Inlining of function calls and of Blade's own regions.
#include "frontends/tensorflow/flatten.h"

#include <algorithm>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "frontends/tensorflow/node_index.h"
#include "frontends/tensorflow/op_table.h"
#include "frontends/tensorflow/stored_weight.h"

namespace blade::tensorflow {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxNodes = size_t{1} << 20;

bool is_call(const NodeDef& node) { return node->op == "PartitionedCall" || node->op == "StatefulPartitionedCall"; }

bool reads(const NodeDef& node, const std::string& from) {
  return std::any_of(node->inputs.begin(), node->inputs.end(),
                     [&](const std::string& input) { return parse_input(input).node == from; });
}

bool holds_engine(const FunctionDef& function) {
  return std::any_of(function->nodes.begin(), function->nodes.end(),
                     [](const NodeDef& node) { return node->op == "BladeEngine"; });
}

// Where the names of a function's body point to in the flat graph.
struct Scope {
  std::string prefix;  // "call/"; for Blade's regions the name under which their graph was imported, mostly none
  std::unordered_map<std::string_view, std::string> args;     // argument -> tensor of the flat graph
  std::unordered_map<std::string_view, const NodeDef*> body;  // node name -> node
  const AttrMap* attrs = nullptr;                             // what the call binds the signature's attributes to
  std::vector<std::string> controls;                          // of the call
  SharedPieces engine;                                        // of a Blade region
};

class Flattener {
 public:
  explicit Flattener(const GraphDef& graph) : graph_(graph) {
    if (!graph->library) return;
    for (const FunctionDef& function : (*graph->library)->functions) {
      functions_.emplace(function->signature.name, &function);
    }
  }

  bool needed() const {
    return has_regions() || std::any_of(graph_->nodes.begin(), graph_->nodes.end(), [&](const NodeDef& node) {
             return is_call(node) || functions_.contains(node->op);
           });
  }

  bool has_regions() const {
    return std::any_of(graph_->nodes.begin(), graph_->nodes.end(),
                       [&](const NodeDef& node) { return node->op == "StatelessIf" && engine_branch(node); });
  }

  Result<FlatGraph> run() {
    for (const NodeDef& node : graph_->nodes) by_name_.emplace(node->name, &node);
    for (const NodeDef& node : graph_->nodes) {
      if (node->op == "StatelessIf" && engine_branch(node)) BLADE_RETURN_IF_ERROR(open_region(node));
    }
    for (const NodeDef& node : graph_->nodes) {
      if (dropped_.contains(node->name)) continue;
      BLADE_RETURN_IF_ERROR(add(node, 0));
    }
    FlatGraph out;
    out.graph = graph_;
    GraphFields& fields = out.graph.edit();
    fields.nodes = std::move(nodes_);
    out.engines = std::move(engines_);
    out.kept_calls = std::move(kept_calls_);
    return out;
  }

 private:
  const FunctionDef* find_function(std::string_view name) const {
    auto it = functions_.find(name);
    return it == functions_.end() ? nullptr : it->second;
  }

  const FunctionDef* branch(const NodeDef& node, const char* attr) const {
    const AttrValue* value = node->find_attr(attr);
    return value != nullptr && value->as_func() != nullptr ? find_function(value->as_func()->name) : nullptr;
  }

  bool engine_branch(const NodeDef& node) const {
    const FunctionDef* function = branch(node, "then_branch");
    return function != nullptr && holds_engine(*function);
  }

  Status keep(NodeDef node) {
    if (nodes_.size() >= kMaxNodes) {
      return resource_exhausted("inlining the graph's functions makes more than " + std::to_string(kMaxNodes) +
                                " nodes");
    }
    nodes_.push_back(std::move(node));
    return Status();
  }

  Status add(NodeDef node, int depth) {
    const FunctionDef* function = find_function(node->op);
    std::string callee = node->op;
    if (is_call(node)) {
      const AttrValue* f = node->find_attr("f");
      if (f == nullptr || f->as_func() == nullptr) {
        return invalid_argument("node '" + node->name + "' (" + node->op + ") does not say which function it calls");
      }
      callee = f->as_func()->name;
      function = find_function(callee);
      if (function == nullptr) {
        return not_found("node '" + node->name + "' calls the function '" + callee +
                         "', which the graph's library does not have");
      }
    }
    if (function == nullptr) return keep(std::move(node));
    if (depth >= kMaxDepth) {
      return invalid_argument("functions call each other more than " + std::to_string(kMaxDepth) + " deep at node '" +
                              node->name + "'");
    }
    size_t mark = nodes_.size();
    Status inlined = inline_call(node, *function, depth);
    if (inlined.code() != StatusCode::kUnimplemented) return inlined;
    nodes_.resize(mark);
    kept_calls_.emplace(node->name, "'" + callee + "': " + inlined.message());
    return keep(std::move(node));
  }

  Status inline_call(const NodeDef& call, const FunctionDef& function, int depth) {
    Scope scope;
    scope.prefix = call->name + "/";
    const AttrValue* f = call->find_attr("f");
    scope.attrs = is_call(call) ? &f->as_func()->attrs : &call->attrs;
    std::vector<std::string> data;
    for (const std::string& input : call->inputs) {
      (parse_input(input).control ? scope.controls : data).push_back(input);
    }
    if (data.size() != function->signature.input_args.size()) {
      return invalid_argument("node '" + call->name + "' passes " + std::to_string(data.size()) +
                              " tensors to the function '" + function->signature.name + "', which takes " +
                              std::to_string(function->signature.input_args.size()));
    }
    for (size_t i = 0; i < data.size(); ++i) scope.args.emplace(function->signature.input_args[i].name, data[i]);
    for (const NodeDef& node : function->nodes) scope.body.emplace(node->name, &node);
    for (const NodeDef& node : function->nodes) {
      BLADE_ASSIGN_OR_RETURN(NodeDef inlined, rename(node, scope));
      BLADE_RETURN_IF_ERROR(add(std::move(inlined), depth + 1));
    }
    return add_results(call, function, scope);
  }

  // A node with the call's name gives the function's results.
  Status add_results(const NodeDef& call, const FunctionDef& function, const Scope& scope) {
    NodeFields fields;
    fields.name = call->name;
    fields.device = call->device;
    std::vector<DataType> types;
    for (const ArgDef& arg : function->signature.output_args) {
      auto ret = function->ret.find(arg.name);
      if (ret == function->ret.end()) {
        return invalid_argument("function '" + function->signature.name + "' does not say what its output '" +
                                arg.name + "' is");
      }
      BLADE_ASSIGN_OR_RETURN(std::string tensor, resolve(ret->second, scope));
      fields.inputs.push_back(std::move(tensor));
      DataType type = arg.type;
      if (!arg.type_attr.empty() && scope.attrs != nullptr && scope.attrs->contains(arg.type_attr)) {
        if (const DataType* bound = scope.attrs->find(arg.type_attr)->second.as_type()) type = *bound;
      }
      types.push_back(type);
    }
    for (const auto& [output, node] : function->control_ret) fields.inputs.push_back("^" + scope.prefix + node);
    if (types.size() == 1) {
      fields.op = "Identity";
      fields.attrs.emplace("T", AttrValue::of_type(types[0]));
    } else if (!types.empty()) {
      fields.op = "IdentityN";
      fields.attrs.emplace("T", AttrValue::of_types(types));
    } else {
      fields.op = "NoOp";
    }
    return keep(NodeDef(std::move(fields)));
  }

  // "argument", "node:output:1" or "^node" of a body, as the flat graph calls it.
  Result<std::string> resolve(std::string_view input, const Scope& scope) {
    bool control = input.starts_with('^');
    std::string_view text = control ? input.substr(1) : input;
    size_t colon = text.find(':');
    std::string_view name = text.substr(0, colon);
    if (auto arg = scope.args.find(name); arg != scope.args.end()) {
      return control ? "^" + std::string(parse_input(arg->second).node) : arg->second;
    }
    auto found = scope.body.find(name);
    if (found == scope.body.end()) {
      return invalid_argument("a function reads '" + std::string(input) +
                              "', which is neither an argument nor a node of it");
    }
    if (control) return "^" + scope.prefix + std::string(name);
    if (colon == std::string_view::npos) return scope.prefix + std::string(name);
    BLADE_ASSIGN_OR_RETURN(int index, output_index(*found->second, text.substr(colon + 1)));
    return scope.prefix + std::string(name) + (index == 0 ? "" : ":" + std::to_string(index));
  }

  // The number of the output "name:index".
  Result<int> output_index(const NodeDef& node, std::string_view output) {
    size_t colon = output.find(':');
    std::string_view name = output.substr(0, colon);
    int within = 0;
    if (colon != std::string_view::npos) within = parse_input("n:" + std::string(output.substr(colon + 1))).index;
    const OpSpec* spec = find_op(node->op);
    std::vector<ArgSpec> outputs;
    if (spec != nullptr) {
      outputs = spec->outputs;
    } else if (const FunctionDef* function = find_function(node->op)) {
      for (const ArgDef& arg : (*function)->signature.output_args)
        outputs.push_back({arg.name, "", "", "", DataType::kFloat});
    } else if (node->op == "Const" || node->op == "BladeStoredWeight") {
      return within;  // one output, whatever its name
    } else {
      return unimplemented("the outputs of its node '" + node->name + "' (" + node->op + ") are not known");
    }
    std::vector<ArgSpec> before;
    for (const ArgSpec& arg : outputs) {
      if (arg.name == name) {
        BLADE_ASSIGN_OR_RETURN(auto types, tensor_types(before, node));
        return static_cast<int>(types.size()) + within;
      }
      before.push_back(arg);
    }
    return invalid_argument("node '" + node->name + "' (" + node->op + ") has no output '" + std::string(name) + "'");
  }

  Result<NodeDef> rename(const NodeDef& node, const Scope& scope) {
    NodeDef out = node;
    NodeFields& fields = out.edit();
    fields.name = scope.prefix + node->name;
    bool has_inner_input = false;
    for (std::string& input : fields.inputs) {
      BLADE_ASSIGN_OR_RETURN(input, resolve(input, scope));
      has_inner_input = has_inner_input || input.starts_with(scope.prefix);
    }
    if (!has_inner_input) fields.inputs.insert(fields.inputs.end(), scope.controls.begin(), scope.controls.end());
    fields.attrs.erase("_class");
    for (auto& [name, value] : fields.attrs) {
      if (value.as_placeholder() == nullptr || scope.attrs == nullptr) continue;
      auto bound = scope.attrs->find(value.as_placeholder()->view());
      if (bound == scope.attrs->end()) {
        return invalid_argument("node '" + node->name + "' needs the attribute '" +
                                std::string(value.as_placeholder()->view()) + "' of the call, which does not give it");
      }
      value = bound->second;
    }
    return out;
  }

  // The function that runs what `function` does: it hands all its arguments on and gives all results, in their order.
  // Of a conditional that is the function of its other branch. Null where there is none.
  const FunctionDef* handed_to(const FunctionDef& function) const {
    const auto runs = [](const NodeDef& node) { return node->op == "StatelessIf" || is_call(node); };
    const auto found = std::ranges::find_if(function->nodes, runs);
    if (found == function->nodes.end()) return nullptr;
    const NodeDef& call = *found;
    const bool conditional = call->op == "StatelessIf";
    const FunctionDef* callee = branch(call, conditional ? "else_branch" : "f");
    const auto& args = function->signature.input_args;
    const auto& results = function->signature.output_args;
    const auto is_arg = [](const std::string& input, const ArgDef& arg) { return input == arg.name; };
    const std::span inputs = std::span(call->inputs).subspan(conditional && !call->inputs.empty() ? 1 : 0);
    if (callee == nullptr || !std::ranges::equal(inputs, args, is_arg)) return nullptr;
    if ((*callee)->signature.input_args.size() != args.size()) return nullptr;
    if ((*callee)->signature.output_args.size() != results.size()) return nullptr;
    for (size_t i = 0; i < results.size(); ++i) {
      const auto ret = function->ret.find(results[i].name);
      if (ret == function->ret.end() || ret->second != call->name + ":output:" + std::to_string(i)) return nullptr;
    }
    return callee;
  }

  // What the fallback of a region comes down to (see writer.h); null where it is none that this version writes.
  const FunctionDef* original_of(const NodeDef& region) const {
    const FunctionDef* fallback = branch(region, "else_branch");
    const FunctionDef* graph = fallback != nullptr ? handed_to(*fallback) : nullptr;
    return graph != nullptr ? handed_to(*graph) : nullptr;
  }

  // The engine file that `region` reads; its nodes make way.
  Result<SharedPieces> engine_of(const NodeDef& region, const std::string& tensor) {
    const std::string name(parse_input(tensor).node);
    const auto found = by_name_.find(name);
    std::vector<std::string> consts = {name};
    if (found != by_name_.end() && (*found->second)->op == "BladeEngineFile") {
      consts = (*found->second)->inputs;
      dropped_.insert(name);
    }
    std::vector<SharedBytes> pieces;
    for (const std::string& input : consts) {
      const auto piece = by_name_.find(parse_input(input).node);
      const bool holds_bytes =
          piece != by_name_.end() && ((*piece->second)->op == "Const" || (*piece->second)->op == "BladeEnginePiece");
      if (!holds_bytes) {
        return invalid_argument("node '" + region->name + "' reads its engine from '" + input +
                                "', which is neither a Const nor made of BladeEnginePieces");
      }
      BLADE_ASSIGN_OR_RETURN(TensorProto proto, tensor_attr(*piece->second, "value"));
      BLADE_ASSIGN_OR_RETURN(TensorData data, proto.decode());
      pieces.push_back(data.content);
      dropped_.insert((*piece->second)->name);
    }
    return SharedPieces(std::move(pieces));
  }

  // Where the names of a region's original nodes point to; `data`: what the region reads, its condition first.
  Result<Scope> scope_of(const NodeDef& region, const FunctionDef& original, const std::vector<std::string>& data) {
    Scope scope;
    const size_t own_name = region->name.rfind("blade/region_");
    if (own_name != std::string::npos) scope.prefix = region->name.substr(0, own_name);
    const auto& args = original->signature.input_args;
    if (data.size() != args.size() + 1 || args.empty()) {
      return invalid_argument("node '" + region->name + "' passes " + std::to_string(data.size()) +
                              " tensors, expected a condition and " + std::to_string(args.size()) + " operands");
    }
    BLADE_ASSIGN_OR_RETURN(scope.engine, engine_of(region, data[1]));
    for (size_t i = 0; i < args.size(); ++i) scope.args.emplace(args[i].name, data[i + 1]);
    for (const NodeDef& body : original->nodes) scope.body.emplace(body->name, &body);
    return scope;
  }

  // Puts the original nodes of a region that Blade wrote back into the graph, under their own names.
  Status open_region(const NodeDef& node) {
    const FunctionDef* original = original_of(node);
    if (original == nullptr) {
      return not_found(
          "node '" + node->name +
          "' has a fallback that is no call of its original nodes, as this version of Blade writes it; optimize the "
          "original model again");
    }
    std::vector<std::string> data;
    for (const std::string& input : node->inputs) {
      if (!parse_input(input).control) data.push_back(input);
    }
    BLADE_ASSIGN_OR_RETURN(const Scope scope, scope_of(node, *original, data));
    EngineRegion region{node->name, scope.engine, {}, {}};
    const FunctionDef* then = branch(node, "then_branch");
    size_t count = data.size() - 1;
    for (const NodeDef& body : (*then)->nodes) {
      if (body->op == "BladeEngine") count = body->inputs.size();
    }
    for (size_t i = 1; i < std::min(count, data.size() - 1); ++i) region.inputs.push_back(with_port(data[i + 1]));
    dropped_.insert(node->name);
    InputRef condition = parse_input(data[0]);
    dropped_.insert(std::string(condition.node));
    // Nodes that only repeat the region's outputs under their original names make way for the originals.
    const auto repeats = [&](const NodeDef& other) {
      return (other->op == "Identity" || other->op == "IdentityN") && !other->inputs.empty() &&
             parse_input(other->inputs[0]).node == node->name && other->name.starts_with(scope.prefix) &&
             scope.body.contains(std::string_view(other->name).substr(scope.prefix.size()));
    };
    for (const NodeDef& body : (*original)->nodes) {
      const std::string name = scope.prefix + body->name;
      const auto outside = by_name_.find(name);
      if (outside != by_name_.end() && !repeats(*outside->second)) continue;  // a constant that others read, too
      if (!added_.insert(name).second) continue;                              // two regions may each hold a copy
      const bool is_weight = body->op == "BladeStoredWeight";
      BLADE_ASSIGN_OR_RETURN(NodeDef flat, is_weight ? stored_weight_const(body, scope.engine) : rename(body, scope));
      if (is_weight) flat.edit().name = name;
      BLADE_RETURN_IF_ERROR(keep(std::move(flat)));
    }
    bool read_by_others = false;
    for (const NodeDef& other : graph_->nodes) {
      if (repeats(other)) {
        dropped_.insert(other->name);
      } else {
        read_by_others = read_by_others || reads(other, node->name);
      }
    }
    // TensorFlow names the nodes of a function's results anew when it saves an optimized graph as one.
    if (read_by_others) BLADE_RETURN_IF_ERROR(add_results(node, *original, scope));
    for (const ArgDef& arg : (*original)->signature.output_args) {
      auto ret = (*original)->ret.find(arg.name);
      if (ret == (*original)->ret.end())
        return invalid_argument("function '" + (*original)->signature.name + "' lacks a result");
      BLADE_ASSIGN_OR_RETURN(std::string tensor_text, resolve(ret->second, scope));
      region.outputs.push_back(with_port(tensor_text));
    }
    engines_.push_back(std::move(region));
    return Status();
  }

  static std::string with_port(const std::string& tensor) {
    InputRef ref = parse_input(tensor);
    return std::string(ref.node) + ":" + std::to_string(ref.index);
  }

  const GraphDef& graph_;
  std::unordered_map<std::string_view, const FunctionDef*> functions_;
  std::unordered_map<std::string_view, const NodeDef*> by_name_;
  std::unordered_set<std::string> dropped_, added_;
  std::vector<NodeDef> nodes_;
  std::vector<EngineRegion> engines_;
  std::map<std::string, std::string> kept_calls_;
};

}  // namespace

Result<FlatGraph> flatten(const GraphDef& graph) {
  Flattener flattener(graph);
  if (!flattener.needed()) return FlatGraph{graph, {}, {}};
  BLADE_ASSIGN_OR_RETURN(FlatGraph flat, flattener.run());
  // Of an optimized graph that TensorFlow saved as a function.
  Flattener regions(flat.graph);
  if (!regions.has_regions()) return flat;
  BLADE_ASSIGN_OR_RETURN(FlatGraph opened, regions.run());
  opened.engines.insert(opened.engines.begin(), flat.engines.begin(), flat.engines.end());
  opened.kept_calls.merge(flat.kept_calls);
  return opened;
}

}  // namespace blade::tensorflow
