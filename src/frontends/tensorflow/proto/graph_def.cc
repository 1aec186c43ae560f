// GraphDef to wire bytes and files, and typed reading of attributes.
#include "frontends/tensorflow/proto/graph_def.h"

#include <charconv>
#include <filesystem>

#include "base/mapped_file.h"
#include "frontends/tensorflow/proto/pbtxt.h"
#include "frontends/tensorflow/proto/readers.h"

namespace blade::tensorflow {
namespace {

void write_node(const NodeDef& node, WireWriter& writer) {
  if (node.untouched()) return writer.raw(node.wire());
  writer.nonempty(1, node->name);
  writer.nonempty(2, node->op);
  for (const std::string& input : node->inputs) writer.bytes(3, std::string_view(input));
  writer.nonempty(4, node->device);
  write_attrs(5, node->attrs, writer);
  writer.raw(std::string_view(node->unknown_fields));
}

template <class T, class Write>
void write_all(uint32_t field, const std::vector<T>& items, WireWriter& writer, Write&& write) {
  for (const T& item : items) {
    WireWriter message;
    write(item, message);
    writer.message(field, std::move(message));
  }
}

void write_arg(const ArgDef& arg, WireWriter& writer) {
  writer.nonempty(1, arg.name);
  writer.nonzero(3, static_cast<uint64_t>(arg.type));
  writer.nonempty(4, arg.type_attr);
  writer.nonempty(5, arg.number_attr);
  writer.nonempty(6, arg.type_list_attr);
  writer.nonzero(16, arg.is_ref);
  writer.raw(std::string_view(arg.unknown_fields));
}

void write_attr_def(const AttrDef& attr, WireWriter& writer) {
  writer.nonempty(1, attr.name);
  writer.nonempty(2, attr.type);
  if (attr.default_value) {
    WireWriter value;
    attr.default_value->write(value);
    writer.message(3, std::move(value));
  }
  writer.raw(std::string_view(attr.unknown_fields));
}

void write_op_def(const OpDef& op, WireWriter& writer) {
  writer.nonempty(1, op.name);
  write_all(2, op.input_args, writer, write_arg);
  write_all(3, op.output_args, writer, write_arg);
  write_all(4, op.attrs, writer, write_attr_def);
  writer.nonzero(17, op.is_stateful);
  for (const std::string& output : op.control_outputs) writer.bytes(20, std::string_view(output));
  writer.raw(std::string_view(op.unknown_fields));
}

void write_strings(uint32_t field, const std::map<std::string, std::string>& map, WireWriter& writer) {
  for (const auto& [key, value] : map) {
    WireWriter entry;
    entry.bytes(1, std::string_view(key));
    entry.bytes(2, std::string_view(value));
    writer.message(field, std::move(entry));
  }
}

void write_function(const FunctionDef& function, WireWriter& writer) {
  if (function.untouched()) return writer.raw(function.wire());
  WireWriter signature;
  write_op_def(function->signature, signature);
  writer.message(1, std::move(signature));
  write_all(3, function->nodes, writer, write_node);
  write_strings(4, function->ret, writer);
  write_attrs(5, function->attrs, writer);
  write_strings(6, function->control_ret, writer);
  for (const auto& [index, attrs] : function->arg_attrs) {
    WireWriter value;
    write_attrs(1, attrs, value);
    WireWriter entry;
    entry.varint(1, index);
    entry.message(2, std::move(value));
    writer.message(7, std::move(entry));
  }
  writer.raw(std::string_view(function->unknown_fields));
}

void write_gradient(const GradientDef& gradient, WireWriter& writer) {
  writer.nonempty(1, gradient.function_name);
  writer.nonempty(2, gradient.gradient_func);
}

void write_library(const FunctionLibrary& library, WireWriter& writer) {
  if (library.untouched()) return writer.raw(library.wire());
  write_all(1, library->functions, writer, write_function);
  write_all(2, library->gradients, writer, write_gradient);
  writer.raw(std::string_view(library->unknown_fields));
}

void write_versions(const VersionDef& versions, WireWriter& writer) {
  auto number = [](int32_t v) { return static_cast<uint64_t>(static_cast<int64_t>(v)); };
  writer.nonzero(1, number(versions.producer));
  writer.nonzero(2, number(versions.min_consumer));
  std::string packed;
  for (int32_t consumer : versions.bad_consumers) append_varint(number(consumer), packed);
  writer.nonempty(3, packed);
  writer.raw(std::string_view(versions.unknown_fields));
}

std::string about(const NodeDef& node) { return "node '" + node->name + "' (" + node->op + ")"; }

// `get` takes the value out of an AttrValue: null when it is of another kind.
template <class Get>
auto typed_attr(const NodeDef& node, std::string_view name, const char* expected, Get&& get)
    -> Result<std::remove_cvref_t<decltype(*get(std::declval<const AttrValue&>()))>> {
  const AttrValue* attr = node->find_attr(name);
  if (attr == nullptr) return invalid_argument(about(node) + " has no attribute '" + std::string(name) + "'");
  auto value = get(*attr);
  if (value == nullptr) {
    return invalid_argument(about(node) + " has " + kind_name(attr->kind()) + " in its attribute '" +
                            std::string(name) + "', where " + expected + " is expected");
  }
  return *value;
}

bool is_text_name(const std::string& path) { return path.ends_with(".pbtxt"); }

}  // namespace

const AttrValue* NodeFields::find_attr(std::string_view attr_name) const {
  auto it = attrs.find(attr_name);
  return it == attrs.end() ? nullptr : &it->second;
}

const FunctionDef* LibraryFields::find_function(std::string_view name) const {
  for (const FunctionDef& function : functions) {
    if (function->signature.name == name) return &function;
  }
  return nullptr;
}

Result<int64_t> int_attr(const NodeDef& node, std::string_view name) {
  return typed_attr(node, name, "an int", [](const AttrValue& a) { return a.as_int(); });
}
Result<float> float_attr(const NodeDef& node, std::string_view name) {
  return typed_attr(node, name, "a float", [](const AttrValue& a) { return a.as_float(); });
}
Result<bool> bool_attr(const NodeDef& node, std::string_view name) {
  return typed_attr(node, name, "a bool", [](const AttrValue& a) { return a.as_bool(); });
}
Result<std::string> string_attr(const NodeDef& node, std::string_view name) {
  auto value = typed_attr(node, name, "a string", [](const AttrValue& a) { return a.as_string(); });
  if (!value.ok()) return value.status();
  return std::string(value->view());
}
Result<DataType> type_attr(const NodeDef& node, std::string_view name) {
  return typed_attr(node, name, "a type", [](const AttrValue& a) { return a.as_type(); });
}
Result<TensorShapeProto> shape_attr(const NodeDef& node, std::string_view name) {
  return typed_attr(node, name, "a shape", [](const AttrValue& a) { return a.as_shape(); });
}
Result<TensorProto> tensor_attr(const NodeDef& node, std::string_view name) {
  return typed_attr(node, name, "a tensor", [](const AttrValue& a) { return a.as_tensor(); });
}
Result<AttrList> list_attr(const NodeDef& node, std::string_view name) {
  return typed_attr(node, name, "a list", [](const AttrValue& a) { return a.as_list(); });
}
Result<std::vector<int64_t>> ints_attr(const NodeDef& node, std::string_view name) {
  return typed_attr(node, name, "a list of ints", [](const AttrValue& a) {
    const AttrList* list = a.as_list();
    return list != nullptr && list->ints.size() == list->size() ? &list->ints : nullptr;
  });
}
Result<std::vector<DataType>> types_attr(const NodeDef& node, std::string_view name) {
  return typed_attr(node, name, "a list of types", [](const AttrValue& a) {
    const AttrList* list = a.as_list();
    return list != nullptr && list->types.size() == list->size() ? &list->types : nullptr;
  });
}

Result<int64_t> int_attr_or(const NodeDef& node, std::string_view name, int64_t fallback) {
  if (node->find_attr(name) == nullptr) return fallback;
  return int_attr(node, name);
}
Result<float> float_attr_or(const NodeDef& node, std::string_view name, float fallback) {
  if (node->find_attr(name) == nullptr) return fallback;
  return float_attr(node, name);
}
Result<bool> bool_attr_or(const NodeDef& node, std::string_view name, bool fallback) {
  if (node->find_attr(name) == nullptr) return fallback;
  return bool_attr(node, name);
}
Result<std::string> string_attr_or(const NodeDef& node, std::string_view name, std::string fallback) {
  if (node->find_attr(name) == nullptr) return fallback;
  return string_attr(node, name);
}
Result<DataType> type_attr_or(const NodeDef& node, std::string_view name, DataType fallback) {
  if (node->find_attr(name) == nullptr) return fallback;
  return type_attr(node, name);
}
Result<std::vector<int64_t>> ints_attr_or(const NodeDef& node, std::string_view name, std::vector<int64_t> fallback) {
  if (node->find_attr(name) == nullptr) return fallback;
  return ints_attr(node, name);
}

void write_graph(const GraphDef& graph, WireWriter& writer) {
  if (graph.untouched()) return writer.raw(graph.wire());
  write_all(1, graph->nodes, writer, write_node);
  if (graph->library) {
    WireWriter library;
    write_library(*graph->library, library);
    writer.message(2, std::move(library));
  }
  if (graph->versions) {
    WireWriter versions;
    write_versions(*graph->versions, versions);
    writer.message(4, std::move(versions));
  }
  writer.raw(std::string_view(graph->unknown_fields));
}

Result<std::string> serialize(const GraphDef& graph) {
  WireWriter writer;
  write_graph(graph, writer);
  return writer.finish("the GraphDef");
}

Result<std::string> serialize(const NodeDef& node) {
  WireWriter writer;
  write_node(node, writer);
  return writer.finish(about(node));
}

Result<std::string> serialize(const FunctionDef& function) {
  WireWriter writer;
  write_function(function, writer);
  return writer.finish("function '" + function->signature.name + "'");
}

Result<GraphDef> load_graph_def(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return invalid_argument(path + " is a directory, where a frozen graph's .pb or .pbtxt file is expected");
  }
  BLADE_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  std::string_view bytes(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
  if (is_text_name(path)) return parse_graph_pbtxt(bytes, path);
  return parse_graph_def(SharedBytes(std::move(file), bytes), path);
}

Status save_graph_def(const GraphDef& graph, const std::string& path) {
  auto bytes = is_text_name(path) ? print_graph_pbtxt(graph) : serialize(graph);
  if (!bytes.ok()) return bytes.status().with_context("cannot write " + path);
  return write_file_atomically(path, std::as_bytes(std::span(*bytes)));
}

InputRef parse_input(std::string_view input) {
  if (input.starts_with('^')) return {input.substr(1), 0, true};
  size_t colon = input.rfind(':');
  if (colon == std::string_view::npos) return {input, 0, false};
  int index = 0;
  std::string_view digits = input.substr(colon + 1);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (error != std::errc() || end != digits.data() + digits.size() || index < 0) return {input, 0, false};
  return {input.substr(0, colon), index, false};
}

}  // namespace blade::tensorflow
