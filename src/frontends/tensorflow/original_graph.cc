// Turns a region's function into a graph with placeholders that calls it.
#include "frontends/tensorflow/original_graph.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "frontends/tensorflow/stored_weight.h"

namespace blade::tensorflow {
namespace {

// The function with its weights as arguments in place of the engine, behind the others; and the weights.
struct WithWeights {
  FunctionDef function;
  std::vector<NodeDef> weights;  // Const
};

Result<WithWeights> take_weights_out(const FunctionDef& stored, const SharedPieces& engine) {
  WithWeights out{stored, {}};
  FunctionFields& fields = out.function.edit();
  std::vector<ArgDef>& args = fields.signature.input_args;
  args.erase(args.begin());
  std::map<uint32_t, AttrMap> arg_attrs;
  for (auto& [number, attrs] : fields.arg_attrs) {
    if (number > 0) arg_attrs.emplace(number - 1, std::move(attrs));
  }
  fields.arg_attrs = std::move(arg_attrs);
  std::unordered_map<std::string, std::string> arg_of_weight;
  for (const NodeDef& node : fields.nodes) {
    if (node->op != "BladeStoredWeight") continue;
    BLADE_ASSIGN_OR_RETURN(NodeDef weight, stored_weight_const(node, engine));
    ArgDef arg;
    arg.name = (*stored).signature.input_args[0].name + "_weight_" + std::to_string(out.weights.size());
    BLADE_ASSIGN_OR_RETURN(arg.type, type_attr(weight, "dtype"));
    arg_of_weight.emplace(node->name, arg.name);
    args.push_back(std::move(arg));
    weight.edit().name = "weight_" + std::to_string(out.weights.size());
    out.weights.push_back(std::move(weight));
  }
  std::erase_if(fields.nodes, [](const NodeDef& node) { return node->op == "BladeStoredWeight"; });
  const auto read_arg = [&](std::string& input) {
    const auto arg = arg_of_weight.find(input.substr(0, input.find(':')));
    if (arg != arg_of_weight.end()) input = arg->second;
  };
  for (NodeDef& node : fields.nodes) {
    if (node->inputs.empty()) continue;
    for (std::string& input : node.edit().inputs) read_arg(input);
  }
  for (auto& [output, source] : fields.ret) read_arg(source);
  fields.attrs.erase("_noinline");
  return out;
}

// What is known of an argument's shape; see region_functions.cc.
TensorShapeProto shape_of_arg(const FunctionFields& function, uint32_t number) {
  TensorShapeProto unknown;
  unknown.unknown_rank = true;
  const auto attrs = function.arg_attrs.find(number);
  if (attrs == function.arg_attrs.end()) return unknown;
  const auto shapes = attrs->second.find("_output_shapes");
  if (shapes == attrs->second.end() || shapes->second.as_list() == nullptr) return unknown;
  return shapes->second.as_list()->shapes.size() == 1 ? shapes->second.as_list()->shapes[0] : unknown;
}

// Filters are what TensorFlow arranges anew where they are no constants; of large weights of any kind the session's
// cost is no matter.
bool repays_a_session(const FunctionFields& function, uint64_t weight_bytes) {
  constexpr int kConvolutions = 3;
  constexpr uint64_t kWeightBytes = 1 << 20;
  const auto convolves = [](const NodeDef& node) { return node->op.find("Conv") != std::string::npos; };
  return weight_bytes >= kWeightBytes || std::ranges::count_if(function.nodes, convolves) >= kConvolutions;
}

NodeDef make_placeholder(std::string name, DataType type, TensorShapeProto shape) {
  NodeFields fields;
  fields.name = std::move(name);
  fields.op = "Placeholder";
  fields.attrs.emplace("dtype", AttrValue::of_type(type));
  fields.attrs.emplace("shape", AttrValue::of_shape(std::move(shape)));
  return NodeDef(std::move(fields));
}

}  // namespace

Result<OriginalGraph> make_original_graph(const FunctionLibrary& library, std::string_view function,
                                          const SharedPieces& engine, int32_t producer) {
  const FunctionDef* stored = library->find_function(function);
  if (stored == nullptr) return not_found("the graph has no function '" + std::string(function) + "'");
  if ((*stored)->signature.input_args.empty())
    return invalid_argument("the function '" + std::string(function) + "' does not take an engine");
  OriginalGraph out;
  BLADE_ASSIGN_OR_RETURN(WithWeights original, take_weights_out(*stored, engine));

  GraphFields graph;
  NodeFields call;
  call.name = out.call = "call";
  call.op = "PartitionedCall";
  call.attrs.emplace("f", AttrValue::of_func(std::string(function)));
  const OpDef& signature = original.function->signature;
  std::vector<DataType> in, results;
  for (const ArgDef& arg : signature.input_args) in.push_back(arg.type);
  for (uint32_t i = 0; i < in.size() - original.weights.size(); ++i) {
    out.inputs.push_back("input_" + std::to_string(i));
    graph.nodes.push_back(make_placeholder(out.inputs.back(), in[i], shape_of_arg(*original.function, i)));
  }
  for (NodeDef& weight : original.weights) {
    BLADE_ASSIGN_OR_RETURN(const TensorProto value, tensor_attr(weight, "value"));
    BLADE_ASSIGN_OR_RETURN(const TensorData data, value.decode());
    out.weight_bytes += data.content.size();
    graph.nodes.push_back(std::move(weight));
  }
  out.repays_a_session = repays_a_session(*original.function, out.weight_bytes);
  for (const NodeDef& node : graph.nodes) call.inputs.push_back(node->name);
  for (const ArgDef& arg : signature.output_args) results.push_back(arg.type);
  out.num_outputs = results.size();
  call.attrs.emplace("Tin", AttrValue::of_types(std::move(in)));
  call.attrs.emplace("Tout", AttrValue::of_types(std::move(results)));
  graph.nodes.emplace_back(std::move(call));

  LibraryFields functions = *library;
  for (FunctionDef& other : functions.functions) {
    if (other->signature.name == function) other = original.function;
  }
  graph.library.emplace(std::move(functions));
  graph.versions.emplace();
  graph.versions->producer = producer;
  out.graph = GraphDef(std::move(graph));
  return out;
}

}  // namespace blade::tensorflow
