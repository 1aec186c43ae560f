// Signatures of a SavedModel that the optimized one does not offer.
#include "optimizer/lost_signatures.h"

#include <vector>

namespace blade::optimizer {
namespace {

using tensorflow::FunctionDef;
using tensorflow::MetaGraph;
using tensorflow::NodeDef;
using tensorflow::TensorInfo;

const NodeDef* find_node(const std::vector<NodeDef>& nodes, std::string_view name) {
  for (const NodeDef& node : nodes) {
    if (node->name == name) return &node;
  }
  return nullptr;
}

const FunctionDef* called_by(const MetaGraph& meta_graph, const NodeDef& node) {
  const tensorflow::AttrValue* f = node->find_attr("f");
  if (f == nullptr || f->as_func() == nullptr || !meta_graph.graph->library) return nullptr;
  return (*meta_graph.graph->library)->find_function(f->as_func()->name);
}

// What gives a tensor of the graph, as "function:result": TensorFlow wraps a function once for each signature.
std::string source_of(const MetaGraph& meta_graph, const std::string& tensor) {
  const NodeDef* node = find_node(meta_graph.graph->nodes, tensor.substr(0, tensor.find(':')));
  const FunctionDef* function = node != nullptr ? called_by(meta_graph, *node) : nullptr;
  if (function == nullptr) return tensor;
  const size_t colon = tensor.find(':');
  const size_t index = colon == std::string::npos ? 0 : std::stoul(tensor.substr(colon + 1));
  const auto& results = (*function)->signature.output_args;
  if (index >= results.size()) return tensor;
  const auto returned = (*function)->ret.find(results[index].name);
  if (returned == (*function)->ret.end()) return tensor;
  std::string inner = returned->second;  // "node:output:0"
  const NodeDef* giver = find_node((*function)->nodes, inner.substr(0, inner.find(':')));
  while (giver != nullptr && (*giver)->op == "Identity" && !(*giver)->inputs.empty()) {
    inner = (*giver)->inputs[0];
    giver = find_node((*function)->nodes, inner.substr(0, inner.find(':')));
  }
  const FunctionDef* wrapped = giver != nullptr ? called_by(meta_graph, *giver) : nullptr;
  if (wrapped == nullptr) return (*function)->signature.name + ":" + std::to_string(index);
  return (*wrapped)->signature.name + inner.substr(inner.find(':'));
}

bool are_same(const std::map<std::string, TensorInfo>& some, const std::map<std::string, TensorInfo>& others) {
  if (some.size() != others.size()) return false;
  for (const auto& [key, info] : some) {
    const auto other = others.find(key);
    if (other == others.end() || info.dtype != other->second.dtype || !(info.shape == other->second.shape))
      return false;
  }
  return true;
}

bool are_same(const MetaGraph& meta_graph, const std::string& name, const std::string& other) {
  const auto one = meta_graph.signatures.find(name), two = meta_graph.signatures.find(other);
  if (one == meta_graph.signatures.end() || two == meta_graph.signatures.end()) return false;
  if (!are_same(one->second.inputs, two->second.inputs)) return false;
  if (!are_same(one->second.outputs, two->second.outputs)) return false;
  for (const auto& [key, info] : one->second.outputs) {
    if (source_of(meta_graph, info.name) != source_of(meta_graph, two->second.outputs.at(key).name)) return false;
  }
  return true;
}

// All but the chosen one, and but 'serve' where Keras has exported the default one as both.
void leave_out_offered(const MetaGraph& meta_graph, const std::string& chosen, std::vector<std::string>& names) {
  std::erase(names, chosen);
  if (chosen == "serving_default" && are_same(meta_graph, chosen, "serve")) std::erase(names, "serve");
}

Result<std::vector<std::string>> lost_signatures(const tensorflow::LoadedModel& model, const std::string& original,
                                                 const std::string& path, std::string_view optimized,
                                                 const std::vector<std::string>& outputs) {
  std::vector<std::string> names;
  if (original.empty() || original == path) {
    BLADE_ASSIGN_OR_RETURN(
        const tensorflow::GraphDef graph,
        tensorflow::parse_graph_def(tensorflow::SharedBytes::borrow(optimized), "the optimized graph"));
    BLADE_ASSIGN_OR_RETURN(names, model.saved_model->signatures_lost_with(graph, outputs));
    BLADE_ASSIGN_OR_RETURN(const MetaGraph* serving, model.saved_model->serving());
    leave_out_offered(*serving, model.signature, names);
    return names;
  }
  BLADE_ASSIGN_OR_RETURN(const tensorflow::SavedModel whole, tensorflow::SavedModel::load(original));
  const auto serving = whole.serving();
  if (!serving.ok()) return names;  // the meta graph that TensorFlow froze has other tags
  names = tensorflow::signature_names(**serving);
  leave_out_offered(**serving, model.signature, names);
  return names;
}

}  // namespace

std::string about_lost_signatures(const tensorflow::LoadedModel& model, const std::string& original,
                                  const std::string& path, std::string_view optimized,
                                  const std::vector<std::string>& outputs) {
  if (!model.saved_model) return "";
  const auto lost = lost_signatures(model, original, path, optimized, outputs);
  if (!lost.ok())
    return "which signatures of the original the result does not offer is not known: " + lost.status().message();
  if (lost->empty()) return "";
  std::string list;
  for (const std::string& name : *lost) list += (list.empty() ? "'" : ", '") + name + "'";
  const bool one = lost->size() == 1;
  return "the result offers the signature '" + model.signature + "' and not " + list +
         (one ? ", which stays" : ", which stay") + " in the original alone: optimize " + (one ? "it" : "each") +
         " by itself, with the argument signature, or go on serving the original beside this";
}

}  // namespace blade::optimizer
