// GraphDef from wire bytes: every node and function keeps the bytes it was read from.
#include <algorithm>

#include "frontends/tensorflow/proto/readers.h"
#include "frontends/tensorflow/proto/utf8.h"

namespace blade::tensorflow {
namespace {

constexpr std::string_view kGraphHint = "the file is truncated or not a frozen graph";

// Reads the message-valued field under the cursor into a new element of `out`.
template <class T, class Read>
void read_into(WireReader& reader, ParseContext& context, std::vector<T>* out, Read&& read) {
  SharedBytes wire = reader.bytes();
  if (!reader.status().ok()) return;
  out->emplace_back();
  reader.fail(read(wire, context, &out->back()));
}

Status read_node(const SharedBytes& wire, ParseContext& context, NodeDef* node) {
  WireReader reader(wire, context);
  NodeFields fields;
  if (--context.nodes_left < 0) {
    return context.error("there are more than " + std::to_string(kMaxNodes) + " nodes");
  }
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        fields.name = reader.string();
        break;
      case 2:
        fields.op = reader.string();
        break;
      case 3: {
        PartScope part(context, "field input", static_cast<int64_t>(fields.inputs.size()));
        fields.inputs.push_back(reader.string());
        break;
      }
      case 4:
        fields.device = reader.string();
        break;
      case 5: {
        SharedBytes entry;
        {
          PartScope part(context, "field attr");
          entry = reader.bytes();
        }
        if (reader.status().ok()) reader.fail(read_attr_entry(entry, context, &fields.attrs));
        break;
      }
      default:
        fields.unknown_fields += reader.raw_field();
        break;
    }
  }
  BLADE_RETURN_IF_ERROR(reader.status());
  if (fields.name.empty() || fields.op.empty()) {
    return context.error(std::string("the node has no ") + (fields.name.empty() ? "name" : "op"));
  }
  *node = NodeDef(std::move(fields), wire);
  return {};
}

void read_node_field(WireReader& reader, ParseContext& context, std::vector<NodeDef>* nodes) {
  PartScope part(context, "node", static_cast<int64_t>(nodes->size()), reader.peek_name());
  read_into(reader, context, nodes, read_node);
}

Status read_arg(const SharedBytes& wire, ParseContext& context, ArgDef* arg) {
  WireReader reader(wire, context);
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        arg->name = reader.string();
        break;
      case 3:
        arg->type = static_cast<DataType>(reader.int32());
        break;
      case 4:
        arg->type_attr = reader.string();
        break;
      case 5:
        arg->number_attr = reader.string();
        break;
      case 6:
        arg->type_list_attr = reader.string();
        break;
      case 16:
        arg->is_ref = reader.boolean();
        break;
      default:
        arg->unknown_fields += reader.raw_field();
        break;
    }
  }
  return reader.status();
}

Status read_attr_def(const SharedBytes& wire, ParseContext& context, AttrDef* attr) {
  WireReader reader(wire, context);
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        attr->name = reader.string();
        break;
      case 2:
        attr->type = reader.string();
        break;
      case 3: {
        SharedBytes value = reader.bytes();
        if (!reader.status().ok()) break;
        attr->default_value.emplace();
        reader.fail(AttrReader::read(value, context, &*attr->default_value));
        break;
      }
      default:
        attr->unknown_fields += reader.raw_field();
        break;
    }
  }
  return reader.status();
}

Status read_op_def(const SharedBytes& wire, ParseContext& context, OpDef* op) {
  PartScope part(context, "signature");
  WireReader reader(wire, context);
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        op->name = reader.string();
        break;
      case 2:
        read_into(reader, context, &op->input_args, read_arg);
        break;
      case 3:
        read_into(reader, context, &op->output_args, read_arg);
        break;
      case 4:
        read_into(reader, context, &op->attrs, read_attr_def);
        break;
      case 17:
        op->is_stateful = reader.boolean();
        break;
      case 20:
        op->control_outputs.push_back(reader.string());
        break;
      default:
        op->unknown_fields += reader.raw_field();
        break;
    }
  }
  return reader.status();
}

// One entry of FunctionDef.arg_attr: map<uint32, ArgAttrs{map<string, AttrValue> attr = 1}>.
Status read_arg_attr(const SharedBytes& wire, ParseContext& context, std::map<uint32_t, AttrMap>* out) {
  PartScope part(context, "arg_attr");
  WireReader reader(wire, context);
  uint32_t key = 0;
  AttrMap attrs;
  while (reader.next()) {
    if (reader.field() == 1) key = static_cast<uint32_t>(reader.varint());
    if (reader.field() != 2) continue;
    SharedBytes message = reader.bytes();
    if (!reader.status().ok()) break;
    WireReader inner(message, context);
    while (inner.next()) {
      if (inner.field() != 1) continue;
      SharedBytes entry = inner.bytes();
      if (inner.status().ok()) inner.fail(read_attr_entry(entry, context, &attrs));
    }
    reader.fail(inner.status());
  }
  if (reader.status().ok()) out->insert_or_assign(key, std::move(attrs));
  return reader.status();
}

Status read_function(const SharedBytes& wire, ParseContext& context, FunctionDef* function) {
  WireReader reader(wire, context);
  FunctionFields fields;
  while (reader.next()) {
    switch (reader.field()) {
      case 1: {
        SharedBytes signature = reader.bytes();
        if (reader.status().ok()) reader.fail(read_op_def(signature, context, &fields.signature));
        break;
      }
      case 3:
        read_node_field(reader, context, &fields.nodes);
        break;
      case 4:
      case 6: {
        PartScope part(context, reader.field() == 4 ? "ret" : "control_ret");
        auto* map = reader.field() == 4 ? &fields.ret : &fields.control_ret;
        SharedBytes entry = reader.bytes();
        if (reader.status().ok()) reader.fail(read_string_entry(entry, context, map));
        break;
      }
      case 5:
      case 7: {
        SharedBytes entry = reader.bytes();
        if (!reader.status().ok()) break;
        reader.fail(reader.field() == 5 ? read_attr_entry(entry, context, &fields.attrs)
                                        : read_arg_attr(entry, context, &fields.arg_attrs));
        break;
      }
      default:
        fields.unknown_fields += reader.raw_field();
        break;
    }
  }
  BLADE_RETURN_IF_ERROR(reader.status());
  if (fields.signature.name.empty()) return context.error("the function has no name");
  *function = FunctionDef(std::move(fields), wire);
  return {};
}

Status read_gradient(const SharedBytes& wire, ParseContext& context, GradientDef* gradient) {
  WireReader reader(wire, context);
  while (reader.next()) {
    if (reader.field() == 1) gradient->function_name = reader.string();
    if (reader.field() == 2) gradient->gradient_func = reader.string();
  }
  return reader.status();
}

Status read_library(const SharedBytes& wire, ParseContext& context, LibraryFields* fields) {
  PartScope part(context, "library");
  WireReader reader(wire, context);
  while (reader.next()) {
    switch (reader.field()) {
      case 1: {
        PartScope function(context, "function", static_cast<int64_t>(fields->functions.size()));
        read_into(reader, context, &fields->functions, read_function);
        break;
      }
      case 2:
        read_into(reader, context, &fields->gradients, read_gradient);
        break;
      default:
        fields->unknown_fields += reader.raw_field();
        break;
    }
  }
  return reader.status();
}

Status read_versions(const SharedBytes& wire, ParseContext& context, VersionDef* versions) {
  PartScope part(context, "versions");
  WireReader reader(wire, context);
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        versions->producer = reader.int32();
        break;
      case 2:
        versions->min_consumer = reader.int32();
        break;
      case 3:
        reader.each_varint([&](uint64_t v) { versions->bad_consumers.push_back(static_cast<int32_t>(v)); });
        break;
      default:
        versions->unknown_fields += reader.raw_field();
        break;
    }
  }
  return reader.status();
}

bool looks_like_text(std::string_view bytes) {
  std::string_view head = bytes.substr(0, 512);
  return std::all_of(head.begin(), head.end(),
                     [](char c) { return (c >= 0x20 && c != 0x7f) || c == '\n' || c == '\r' || c == '\t'; });
}

// Field 1 of a SavedModel and of an ONNX model is a version, field 2 the first graph with its tags and the producer's
// name; ONNX's may be followed by any other. Neither where the file ends before that.
std::string guess_versioned_format(std::string_view bytes) {
  size_t at = 1;
  while (at < bytes.size() && (bytes[at] & 0x80) != 0) ++at;  // the version, a varint
  if (++at + 2 > bytes.size()) return {};
  const char tag = bytes[at];
  const auto length = static_cast<uint8_t>(bytes[at + 1]);
  const std::string_view content = bytes.substr(at + 2, length);
  const bool is_name = length < 0x80 && content.size() == length &&
                       std::all_of(content.begin(), content.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  constexpr std::string_view kOnnxFields = "\x1a\x22\x28\x32\x3a\x42\x72";  // 3 to 8 and 14
  if (kOnnxFields.find(tag) != std::string_view::npos || (tag == '\x12' && length > 0 && is_name))
    return "it begins like an ONNX model, which is another format";
  if (tag == '\x12') return "it begins like a saved_model.pb; give the SavedModel's directory instead";
  return {};
}

// What a file that is no GraphDef seems to be instead; empty when there is no telling.
std::string guess_other_format(std::string_view bytes) {
  if (looks_like_text(bytes)) return "it holds text; a graph in text format must have a name that ends in .pbtxt";
  if (bytes.starts_with("\x08")) return guess_versioned_format(bytes);
  if (bytes.starts_with("PK\x03\x04")) return "it is a zip archive (a .keras model?); export it as a SavedModel first";
  if (bytes.starts_with("\x89HDF")) return "it is an HDF5 file (a Keras .h5 model?); export it as a SavedModel first";
  if (bytes.size() > 8 && bytes.substr(4, 4) == "TFL3") return "it is a TensorFlow Lite model, which is another format";
  return {};
}

}  // namespace

Status read_string_entry(const SharedBytes& wire, ParseContext& context, std::map<std::string, std::string>* out) {
  WireReader reader(wire, context);
  std::string key, value;
  while (reader.next()) {
    if (reader.field() == 1) key = reader.string();
    if (reader.field() == 2) value = reader.string();
  }
  if (reader.status().ok()) out->insert_or_assign(std::move(key), std::move(value));
  return reader.status();
}

Status read_graph(const SharedBytes& wire, ParseContext& context, GraphDef* graph) {
  WireReader reader(wire, context);
  GraphFields fields;
  // library and versions are merged when a file gives them more than once; their own bytes are then of no use.
  int library_count = 0;
  LibraryFields library;
  SharedBytes library_wire;
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        read_node_field(reader, context, &fields.nodes);
        break;
      case 2: {
        library_wire = reader.bytes();
        ++library_count;
        if (reader.status().ok()) reader.fail(read_library(library_wire, context, &library));
        break;
      }
      case 4: {
        SharedBytes versions = reader.bytes();
        if (!reader.status().ok()) break;
        if (!fields.versions) fields.versions.emplace();
        reader.fail(read_versions(versions, context, &*fields.versions));
        break;
      }
      default:
        fields.unknown_fields += reader.raw_field();
        break;
    }
  }
  BLADE_RETURN_IF_ERROR(reader.status());
  if (library_count == 1) {
    fields.library.emplace(std::move(library), library_wire);
  } else if (library_count > 1) {
    fields.library.emplace(std::move(library));
  }
  *graph = GraphDef(std::move(fields), wire);
  return {};
}

Result<GraphDef> parse_graph_def(SharedBytes wire, std::string_view what) {
  const std::string name(what);
  if (wire.empty()) return data_loss(name + " is empty; expected a frozen GraphDef");
  if (wire.size() > kMaxProtoBytes) {
    return resource_exhausted(name + " has " + std::to_string(wire.size()) +
                              " bytes; a GraphDef is below 2 GiB (2147483647 bytes)");
  }
  std::string guess = guess_other_format(wire.view());
  ParseContext context(what, "GraphDef", wire.view(), guess.empty() ? kGraphHint : std::string_view(guess));
  GraphDef graph;
  BLADE_RETURN_IF_ERROR(read_graph(wire, context, &graph));
  if (graph->nodes.empty()) return context.error("it has no nodes");
  return graph;
}

Result<FunctionLibrary> parse_function_library(SharedBytes wire, std::string_view what) {
  ParseContext context(what, "FunctionDefLibrary", wire.view(), {});
  LibraryFields fields;
  BLADE_RETURN_IF_ERROR(read_library(wire, context, &fields));
  return FunctionLibrary(std::move(fields), std::move(wire));
}

}  // namespace blade::tensorflow
