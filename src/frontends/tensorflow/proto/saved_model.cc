#include "frontends/tensorflow/proto/saved_model.h"

#include <algorithm>
#include <filesystem>
#include <unordered_map>
#include <unordered_set>

#include "base/mapped_file.h"
#include "frontends/tensorflow/proto/readers.h"

namespace blade::tensorflow {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFileName = "saved_model.pb";
constexpr std::string_view kServeTag = "serve";
constexpr std::string_view kDefaultSignature = "serving_default";
constexpr std::string_view kInitSignature = "__saved_model_init_op";
constexpr std::string_view kHint = "the file is truncated or not a SavedModel";
// Field numbers of SavedModel and MetaGraphDef.
constexpr uint32_t kMetaGraphsField = 2;
constexpr uint32_t kGraphField = 2;
constexpr uint32_t kCollectionsField = 4;
constexpr uint32_t kSignaturesField = 5;
constexpr uint32_t kObjectGraphField = 7;

Status read_tensor_info(const SharedBytes& wire, ParseContext& context, TensorInfo* info) {
  WireReader reader(wire, context);
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        info->name = reader.string();
        break;
      case 2:
        info->dtype = static_cast<DataType>(reader.int32());
        break;
      case 3: {
        SharedBytes shape = reader.bytes();
        if (reader.status().ok()) reader.fail(read_shape(shape, context, &info->shape));
        break;
      }
      default:
        break;
    }
  }
  return reader.status();
}

// One entry of a map from strings to messages.
template <class T, class Read>
Status read_entry(const SharedBytes& wire, ParseContext& context, std::map<std::string, T>* out, Read&& read) {
  WireReader reader(wire, context);
  std::string key;
  T value;
  while (reader.next()) {
    if (reader.field() == 1) key = reader.string();
    if (reader.field() != 2) continue;
    SharedBytes message = reader.bytes();
    if (reader.status().ok()) reader.fail(read(message, context, &value));
  }
  if (reader.status().ok()) out->insert_or_assign(std::move(key), std::move(value));
  return reader.status();
}

Status read_signature(const SharedBytes& wire, ParseContext& context, SignatureDef* signature) {
  WireReader reader(wire, context);
  while (reader.next()) {
    if (reader.field() == 3) signature->method_name = reader.string();
    if (reader.field() != 1 && reader.field() != 2) continue;
    auto* tensors = reader.field() == 1 ? &signature->inputs : &signature->outputs;
    SharedBytes entry = reader.bytes();
    if (reader.status().ok()) reader.fail(read_entry(entry, context, tensors, read_tensor_info));
  }
  return reader.status();
}

Status read_tags(const SharedBytes& wire, ParseContext& context, std::vector<std::string>* tags) {
  PartScope part(context, "meta_info_def");
  WireReader reader(wire, context);
  while (reader.next()) {
    if (reader.field() == 4) tags->push_back(reader.string());
  }
  return reader.status();
}

Status read_meta_graph(const SharedBytes& wire, ParseContext& context, MetaGraph* meta_graph) {
  meta_graph->wire = wire;
  WireReader reader(wire, context);
  bool has_graph = false;
  while (reader.next()) {
    const uint32_t field = reader.field();
    if (field != 1 && field != kGraphField && field != kSignaturesField) continue;
    SharedBytes message = reader.bytes();
    if (!reader.status().ok()) break;
    if (field == 1) {
      reader.fail(read_tags(message, context, &meta_graph->tags));
    } else if (field == kSignaturesField) {
      PartScope part(context, "signature_def");
      reader.fail(read_entry(message, context, &meta_graph->signatures, read_signature));
    } else {
      PartScope part(context, "graph_def");
      if (has_graph) return context.error("the meta graph holds two graphs");
      has_graph = true;
      reader.fail(read_graph(message, context, &meta_graph->graph));
    }
  }
  return reader.status();
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text.empty() ? "none" : text;
}

// Copies `wire` field by field, with `replacement` in the place of the `index`-th field `number` (appended when there
// are fewer).
Status replace_field(const SharedBytes& wire, ParseContext& context, uint32_t number, size_t index,
                     WireWriter&& replacement, WireWriter& out) {
  WireReader reader(wire, context);
  size_t seen = 0;
  bool replaced = false;
  while (reader.next()) {
    const bool match = reader.field() == number && seen++ == index;
    std::string_view raw = reader.raw_field();
    if (match) {
      out.message(number, std::move(replacement));  // NOLINT(bugprone-use-after-move): one match at most
      replaced = true;
    } else {
      out.raw(wire.slice(raw));
    }
  }
  if (!replaced) out.message(number, std::move(replacement));
  return reader.status();
}

// What a meta graph says of tensors and functions that a new graph may no longer have.
class Leftovers {
 public:
  Leftovers(const MetaGraph& before, const GraphDef& after, const std::vector<std::string>& outputs)
      : before_(before), outputs_(outputs.begin(), outputs.end()) {
    for (const NodeDef& node : after->nodes) nodes_.emplace(node->name, &node);
    for (const NodeDef& node : before.graph->nodes) nodes_before_.emplace(node->name, &node);
    std::unordered_set<std::string_view> functions;
    if (after->library) {
      for (const FunctionDef& function : (*after->library)->functions) functions.insert(function->signature.name);
    }
    if (!before.graph->library) return;
    for (const FunctionDef& function : (*before.graph->library)->functions) {
      functions_gone_ = functions_gone_ || !functions.contains(function->signature.name);
    }
  }

  bool functions_gone() const { return functions_gone_; }

  bool holds_signature(const std::string& key) const {
    const auto found = before_.signatures.find(key);
    if (found == before_.signatures.end()) return true;
    return has_all(found->second.inputs) && has_all(found->second.outputs);
  }

  bool has_all(const std::map<std::string, TensorInfo>& tensors) const {
    return std::all_of(tensors.begin(), tensors.end(),
                       [&](const auto& entry) { return entry.second.name.empty() || has(entry.second.name); });
  }

  // A tensor, or a node; a collection's names of anything else never look like that.
  bool has(const std::string& name) const {
    const size_t colon = name.rfind(':');
    const auto found = nodes_.find(name.substr(0, colon));
    if (found == nodes_.end()) return false;
    const NodeDef& node = *found->second;
    if (colon == std::string::npos || !took_the_place(node)) return true;
    return node->op == "Identity" ? name.substr(colon) == ":0" : outputs_.contains(name);
  }

 private:
  // Whether the node stands for one that an engine computes: it has the outputs of that one that are read.
  bool took_the_place(const NodeDef& node) const {
    if (node->op != "Identity" && node->op != "IdentityN") return false;
    const auto found = nodes_before_.find(node->name);
    if (found == nodes_before_.end() || (*found->second)->op != node->op) return true;
    return node->op == "IdentityN" && (*found->second)->inputs != node->inputs;
  }

  const MetaGraph& before_;
  std::unordered_set<std::string> outputs_;
  std::unordered_map<std::string, const NodeDef*> nodes_, nodes_before_;
  bool functions_gone_ = false;
};

// The names in a CollectionDef's node_list; none where it is a list of another kind.
Status read_node_list(const SharedBytes& wire, ParseContext& context, std::vector<std::string>* names) {
  WireReader reader(wire, context);
  while (reader.next()) {
    if (reader.field() != 1) continue;
    SharedBytes list = reader.bytes();
    if (!reader.status().ok()) break;
    WireReader values(list, context);
    while (values.next()) {
      if (values.field() == 1) names->push_back(values.string());
    }
    reader.fail(values.status());
  }
  return reader.status();
}

// The message in a field as raw_field() gives it.
Result<SharedBytes> message_in(const SharedBytes& raw, ParseContext& context) {
  WireReader reader(raw, context);
  if (!reader.next()) return reader.status();
  SharedBytes message = reader.bytes();
  BLADE_RETURN_IF_ERROR(reader.status());
  return message;
}

// Copies an entry of the map of signatures without the inputs and outputs that are gone; copies nothing where no output
// is left.
Status copy_rest_of_signature(const SharedBytes& entry, const Leftovers& leftovers, ParseContext& context,
                              WireWriter& out) {
  WireWriter copied;
  bool has_outputs = false;
  WireReader entry_reader(entry, context);
  while (entry_reader.next()) {
    if (entry_reader.field() != 2) {
      copied.raw(entry.slice(entry_reader.raw_field()));
      continue;
    }
    const SharedBytes signature = entry_reader.bytes();
    if (!entry_reader.status().ok()) break;
    WireWriter rest;
    WireReader reader(signature, context);
    while (reader.next()) {
      const uint32_t field = reader.field();
      const SharedBytes raw = signature.slice(reader.raw_field());
      std::map<std::string, TensorInfo> tensors;
      if (field == 1 || field == 2) {
        BLADE_ASSIGN_OR_RETURN(const SharedBytes tensor, message_in(raw, context));
        BLADE_RETURN_IF_ERROR(read_entry(tensor, context, &tensors, read_tensor_info));
        if (!leftovers.has_all(tensors)) continue;
        has_outputs = has_outputs || field == 2;
      }
      rest.raw(raw);
    }
    BLADE_RETURN_IF_ERROR(reader.status());
    copied.message(2, std::move(rest));
  }
  if (has_outputs) out.message(kSignaturesField, std::move(copied));
  return entry_reader.status();
}

// Copies a meta graph without the signatures and collections that name tensors which `graph` has no more, and, where
// functions are gone, without the object graph that names those; what is left of the offered signature stays.
Status copy_what_holds(const MetaGraph& meta_graph, const GraphDef& graph, const Offered& offered,
                       ParseContext& context, WireWriter& out) {
  const Leftovers leftovers(meta_graph, graph, offered.outputs);
  WireReader reader(meta_graph.wire, context);
  while (reader.next()) {
    const uint32_t field = reader.field();
    const SharedBytes raw = meta_graph.wire.slice(reader.raw_field());
    bool holds = field != kObjectGraphField || !leftovers.functions_gone();
    if (field == kSignaturesField || field == kCollectionsField) {
      BLADE_ASSIGN_OR_RETURN(const SharedBytes entry, message_in(raw, context));
      if (field == kSignaturesField) {
        std::map<std::string, SignatureDef> one;
        BLADE_RETURN_IF_ERROR(read_entry(entry, context, &one, read_signature));
        holds = one.empty() || leftovers.holds_signature(one.begin()->first);
        if (!holds && one.begin()->first == offered.signature)
          BLADE_RETURN_IF_ERROR(copy_rest_of_signature(entry, leftovers, context, out));
      } else {
        std::map<std::string, std::vector<std::string>> one;
        BLADE_RETURN_IF_ERROR(read_entry(entry, context, &one, read_node_list));
        for (const auto& [key, names] : one) {
          holds = std::all_of(names.begin(), names.end(), [&](const auto& name) { return leftovers.has(name); });
        }
      }
    }
    if (holds) out.raw(raw);
  }
  return reader.status();
}

constexpr std::string_view kHoldVariables[] = {"VarHandleOp", "_VarHandlesOp",      "Variable",
                                               "VariableV2",  "AutoReloadVariable", "TemporaryVariable"};
constexpr std::string_view kUseVariables[] = {"ReadVariableOp",      "_ReadVariablesOp",   "ResourceGather",
                                              "ResourceGatherNd",    "AssignVariableOp",   "AssignAddVariableOp",
                                              "AssignSubVariableOp", "VarIsInitializedOp", "Assign",
                                              "AssignAdd",           "AssignSub",          "IsVariableInitialized"};

void add_nodes(const std::vector<NodeDef>& nodes, std::span<const std::string_view> ops, const std::string& prefix,
               std::vector<std::string>* out) {
  for (const NodeDef& node : nodes) {
    if (std::find(ops.begin(), ops.end(), node->op) != ops.end()) out->push_back(prefix + node->name);
  }
}

std::vector<std::string> nodes_of(const GraphDef& graph, std::span<const std::string_view> ops) {
  std::vector<std::string> names;
  add_nodes(graph->nodes, ops, "", &names);
  if (graph->library) {
    for (const FunctionDef& function : (*graph->library)->functions) {
      add_nodes(function->nodes, ops, function->signature.name + "/", &names);
    }
  }
  return names;
}

}  // namespace

Result<SavedModel> SavedModel::load(const std::string& directory) {
  std::error_code ignored;
  if (!fs::exists(directory, ignored)) {
    return not_found("there is no SavedModel directory " + directory + "; check the path");
  }
  if (!fs::is_directory(directory, ignored)) {
    return invalid_argument(directory + " is a file, where a SavedModel's directory is expected");
  }
  const std::string path = (fs::path(directory) / kFileName).string();
  if (!fs::exists(path, ignored)) {
    const bool text = fs::exists(fs::path(directory) / "saved_model.pbtxt", ignored);
    return not_found(directory + " holds no saved_model.pb" +
                     (text ? ", only a saved_model.pbtxt, which is not supported; save the model in binary form"
                           : ", so it is not a SavedModel; give the directory that tf.saved_model.save wrote"));
  }
  BLADE_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  std::string_view bytes(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
  return parse(SharedBytes(std::move(file), bytes), path);
}

Result<SavedModel> SavedModel::parse(SharedBytes wire, std::string_view what) {
  SavedModel model;
  model.what_ = what;
  if (wire.empty()) return data_loss(model.what_ + " is empty; expected a SavedModel");
  if (wire.size() > kMaxProtoBytes) {
    return resource_exhausted(model.what_ + " has " + std::to_string(wire.size()) +
                              " bytes; a SavedModel is below 2 GiB (2147483647 bytes)");
  }
  model.wire_ = wire;
  ParseContext context(what, "SavedModel", wire.view(), kHint);
  WireReader reader(wire, context);
  while (reader.next()) {
    if (reader.field() != kMetaGraphsField) continue;
    PartScope part(context, "meta graph", static_cast<int64_t>(model.meta_graphs_.size()));
    SharedBytes message = reader.bytes();
    if (!reader.status().ok()) break;
    model.meta_graphs_.emplace_back();
    reader.fail(read_meta_graph(message, context, &model.meta_graphs_.back()));
  }
  BLADE_RETURN_IF_ERROR(reader.status());
  if (model.meta_graphs_.empty()) return context.error("it has no meta graphs");
  return model;
}

Result<const MetaGraph*> SavedModel::serving() const {
  const MetaGraph* best = nullptr;
  std::vector<std::string> all_tags;
  for (const MetaGraph& meta_graph : meta_graphs_) {
    for (const std::string& tag : meta_graph.tags) {
      if (std::find(all_tags.begin(), all_tags.end(), tag) == all_tags.end()) all_tags.push_back(tag);
    }
    if (std::find(meta_graph.tags.begin(), meta_graph.tags.end(), kServeTag) == meta_graph.tags.end()) continue;
    if (best == nullptr || meta_graph.tags.size() < best->tags.size()) best = &meta_graph;
  }
  if (best == nullptr) {
    return not_found(what_ + " has no meta graph with the tag 'serve'; its tags are: " + quoted_list(all_tags) +
                     ". Save the model for serving");
  }
  return best;
}

Result<std::string> SavedModel::serialize_with(const GraphDef& graph, const Offered& offered) const {
  BLADE_ASSIGN_OR_RETURN(const MetaGraph* meta_graph, serving());
  ParseContext context(what_, "SavedModel", wire_.view(), kHint);
  WireWriter graph_writer, kept_writer, meta_writer;
  write_graph(graph, graph_writer);
  BLADE_RETURN_IF_ERROR(copy_what_holds(*meta_graph, graph, offered, context, kept_writer));
  BLADE_ASSIGN_OR_RETURN(std::string kept, kept_writer.finish("the SavedModel"));
  BLADE_RETURN_IF_ERROR(
      replace_field(SharedBytes::own(std::move(kept)), context, kGraphField, 0, std::move(graph_writer), meta_writer));
  const auto index = static_cast<size_t>(meta_graph - meta_graphs_.data());
  WireWriter writer;
  BLADE_RETURN_IF_ERROR(replace_field(wire_, context, kMetaGraphsField, index, std::move(meta_writer), writer));
  return writer.finish("the SavedModel");
}

Result<std::vector<std::string>> SavedModel::signatures_lost_with(const GraphDef& graph,
                                                                  const std::vector<std::string>& outputs) const {
  BLADE_ASSIGN_OR_RETURN(const MetaGraph* meta_graph, serving());
  std::vector<std::string> names = signature_names(*meta_graph);
  const Leftovers leftovers(*meta_graph, graph, outputs);
  std::erase_if(names, [&](const std::string& name) { return leftovers.holds_signature(name); });
  return names;
}

Status SavedModel::save_with(const GraphDef& graph, const std::string& directory, const std::string& source_directory,
                             const Offered& offered) const {
  BLADE_ASSIGN_OR_RETURN(std::string bytes, serialize_with(graph, offered));
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return invalid_argument("cannot make the directory " + directory + ": " + error.message());
  const bool same = source_directory.empty() || fs::equivalent(source_directory, directory, error);
  // The fingerprint is left behind: it describes the old bytes.
  for (const char* part : {"assets", "assets.extra", "variables"}) {
    const fs::path source = fs::path(source_directory) / part;
    if (same || !fs::is_directory(source, error)) continue;
    fs::copy(source, fs::path(directory) / part,
             fs::copy_options::recursive | fs::copy_options::overwrite_existing | fs::copy_options::skip_symlinks,
             error);
    if (error) return invalid_argument("cannot copy " + source.string() + " to " + directory + ": " + error.message());
  }
  return write_file_atomically((fs::path(directory) / kFileName).string(), std::as_bytes(std::span(bytes)));
}

std::vector<std::string> signature_names(const MetaGraph& meta_graph) {
  std::vector<std::string> names;
  for (const auto& [name, signature] : meta_graph.signatures) {
    if (name != kInitSignature) names.push_back(name);
  }
  return names;
}

Result<std::string> choose_signature(const MetaGraph& meta_graph, const std::string& wanted) {
  const auto& signatures = meta_graph.signatures;
  const std::string& name = wanted.empty() ? std::string(kDefaultSignature) : wanted;
  if (signatures.contains(name)) return name;
  const std::vector<std::string> names = signature_names(meta_graph);
  if (names.size() == 1 && wanted.empty()) return names[0];
  if (names.empty()) {
    return not_found(
        "the SavedModel has no signatures, so its inputs and outputs are not known; name them, or save it "
        "with signatures");
  }
  return not_found("the SavedModel has no signature '" + name + "'; choose one of its signatures: " +
                   quoted_list(names) + " (signature= in Python, --signature in the command)");
}

std::vector<std::string> variable_nodes(const GraphDef& graph) {
  std::vector<std::string> holders = nodes_of(graph, kHoldVariables);
  return holders.empty() ? nodes_of(graph, kUseVariables) : holders;
}

}  // namespace blade::tensorflow
