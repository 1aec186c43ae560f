// TensorFlow's GraphDef in memory: read from a frozen .pb, changed where needed, written back.
//
// What is not changed is written back byte for byte, unknown fields included: a NodeDef, a FunctionDef or the whole
// graph keeps the bytes it came from until edit() is called on it. Weights stay views of the file, which the graph
// keeps alive.
//
//   graph->nodes[3]->op                          // read
//   graph.edit().nodes[3].edit().inputs[0] = "x";  // change: this node is written anew, its neighbours are not
//
// Nodes and attributes may be copied or moved from one graph into another; each keeps its own share of the file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/attr_value.h"
#include "frontends/tensorflow/proto/data_type.h"
#include "frontends/tensorflow/proto/shared_bytes.h"
#include "frontends/tensorflow/proto/tensor_proto.h"

namespace blade::tensorflow {

struct NodeFields {
  std::string name;
  std::string op;
  std::vector<std::string> inputs;  // "node", "node:1", "^control"; in functions also "node:output:0"
  std::string device;
  AttrMap attrs;
  std::string unknown_fields;  // experimental_debug_info, experimental_type and whatever else, as wire bytes

  // Null when there is no such attribute.
  const AttrValue* find_attr(std::string_view attr_name) const;
};
using NodeDef = Tracked<NodeFields>;

// Typed reading of attributes. Missing, or of another kind: a sentence that names the node, its op and the attribute.
Result<int64_t> int_attr(const NodeDef& node, std::string_view name);
Result<float> float_attr(const NodeDef& node, std::string_view name);
Result<bool> bool_attr(const NodeDef& node, std::string_view name);
Result<std::string> string_attr(const NodeDef& node, std::string_view name);
Result<DataType> type_attr(const NodeDef& node, std::string_view name);
Result<TensorShapeProto> shape_attr(const NodeDef& node, std::string_view name);
Result<TensorProto> tensor_attr(const NodeDef& node, std::string_view name);
Result<AttrList> list_attr(const NodeDef& node, std::string_view name);
Result<std::vector<int64_t>> ints_attr(const NodeDef& node, std::string_view name);
Result<std::vector<DataType>> types_attr(const NodeDef& node, std::string_view name);
// The same with a value for a missing attribute (one of another kind is still an error).
Result<int64_t> int_attr_or(const NodeDef& node, std::string_view name, int64_t fallback);
Result<float> float_attr_or(const NodeDef& node, std::string_view name, float fallback);
Result<bool> bool_attr_or(const NodeDef& node, std::string_view name, bool fallback);
Result<std::string> string_attr_or(const NodeDef& node, std::string_view name, std::string fallback);
Result<DataType> type_attr_or(const NodeDef& node, std::string_view name, DataType fallback);
Result<std::vector<int64_t>> ints_attr_or(const NodeDef& node, std::string_view name, std::vector<int64_t> fallback);

// An argument of a function's signature. Its type is `type`, or the attribute that type_attr, number_attr or
// type_list_attr names.
struct ArgDef {
  std::string name;
  DataType type = DataType::kInvalid;
  std::string type_attr;
  std::string number_attr;
  std::string type_list_attr;
  bool is_ref = false;
  std::string unknown_fields;
};

// An attribute that a function's signature declares.
struct AttrDef {
  std::string name;
  std::string type;
  std::optional<AttrValue> default_value;
  std::string unknown_fields;
};

struct OpDef {
  std::string name;
  std::vector<ArgDef> input_args;
  std::vector<ArgDef> output_args;
  std::vector<std::string> control_outputs;
  std::vector<AttrDef> attrs;
  bool is_stateful = false;
  std::string unknown_fields;
};

struct FunctionFields {
  OpDef signature;
  std::vector<NodeDef> nodes;
  std::map<std::string, std::string> ret;          // output argument -> "node:output:0"
  std::map<std::string, std::string> control_ret;  // control output -> node
  AttrMap attrs;
  std::map<uint32_t, AttrMap> arg_attrs;  // by argument number
  std::string unknown_fields;
};
using FunctionDef = Tracked<FunctionFields>;

struct GradientDef {
  std::string function_name;
  std::string gradient_func;
};

struct LibraryFields {
  std::vector<FunctionDef> functions;
  std::vector<GradientDef> gradients;
  std::string unknown_fields;

  const FunctionDef* find_function(std::string_view name) const;
};
using FunctionLibrary = Tracked<LibraryFields>;

struct VersionDef {
  int32_t producer = 0;
  int32_t min_consumer = 0;
  std::vector<int32_t> bad_consumers;
  std::string unknown_fields;
};

struct GraphFields {
  std::vector<NodeDef> nodes;
  std::optional<FunctionLibrary> library;
  std::optional<VersionDef> versions;
  std::string unknown_fields;  // debug_info, the deprecated version number and whatever else
};
using GraphDef = Tracked<GraphFields>;

// Reads a GraphDef message. `what` names it in errors ("model.pb"). A graph without nodes is an error.
Result<GraphDef> parse_graph_def(SharedBytes wire, std::string_view what);
// Reads a FunctionDefLibrary message, as TensorFlow's C API gives one.
Result<FunctionLibrary> parse_function_library(SharedBytes wire, std::string_view what);
// A GraphDef from a file, .pb or (by its name's end) .pbtxt; the file is mapped, not read.
Result<GraphDef> load_graph_def(const std::string& path);

// The wire bytes; fails when they pass the 2 GiB that TensorFlow can read.
Result<std::string> serialize(const GraphDef& graph);
Result<std::string> serialize(const NodeDef& node);
Result<std::string> serialize(const FunctionDef& function);
// Writes .pb or (by the name's end) .pbtxt; the file appears whole or not at all.
Status save_graph_def(const GraphDef& graph, const std::string& path);

// "conv1", 0 and whether it is a control input, from a NodeDef input of a graph ("conv1", "conv1:1", "^conv1").
struct InputRef {
  std::string_view node;
  int index = 0;
  bool control = false;
};
InputRef parse_input(std::string_view input);

}  // namespace blade::tensorflow
