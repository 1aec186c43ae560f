// Decides by a SavedModel's signature and the names of the graph's nodes.
#include "frontends/tensorflow/model_names.h"

#include <algorithm>

namespace blade::tensorflow {

std::string node_name(const std::string& tensor) {
  return tensor.size() > 2 && tensor.ends_with(":0") ? tensor.substr(0, tensor.size() - 2) : tensor;
}

ModelNames::ModelNames(const LoadedModel& model) {
  for (size_t i = 0; i < model.input_keys.size(); ++i) input_keys_.emplace(model.input_keys[i], model.inputs[i]);
  for (size_t i = 0; i < model.output_keys.size(); ++i) output_keys_.emplace(model.output_keys[i], model.outputs[i]);
  if (input_keys_.empty() && output_keys_.empty()) return;
  for (const NodeDef& node : model.graph->nodes) {
    if (input_keys_.contains(node->name) || output_keys_.contains(node->name)) nodes_.insert(node->name);
  }
}

std::string ModelNames::meant(const Keys& keys, const std::string& name) const {
  if (const auto key = keys.find(name); key != keys.end()) return key->second;
  const std::string node = node_name(name);
  const auto key = keys.find(node);
  return key == keys.end() || nodes_.contains(node) ? name : key->second;
}

Result<std::string> ModelNames::input(const std::string& name) const {
  const std::string tensor = meant(input_keys_, name);
  if (!input_keys_.contains(name) || node_name(tensor) == name) return tensor;
  const auto is_called_so = [&](const auto& one) { return node_name(one.second) == name; };
  if (std::none_of(input_keys_.begin(), input_keys_.end(), is_called_so)) return tensor;
  return invalid_argument("'" + name + "' is an input's name and the signature's key of another input, '" +
                          node_name(tensor) + "'; give '" + name + ":0' for the first or '" + tensor +
                          "' for the other");
}

Result<std::vector<std::string>> ModelNames::inputs(const std::vector<std::string>& names) const {
  std::map<std::string, std::string> names_of;  // by nodes
  std::vector<std::string> tensors;
  for (const std::string& name : names) {
    BLADE_ASSIGN_OR_RETURN(std::string tensor, input(name));
    const auto [other, is_new] = names_of.emplace(node_name(tensor), name);
    if (!is_new) {
      const bool same = other->second == name;
      return invalid_argument("the input '" + other->first + "' is given twice" +
                              (same ? "" : ", as '" + other->second + "' and as '" + name + "'") +
                              "; leave all but one out");
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::string ModelNames::output(const std::string& name) const { return meant(output_keys_, name); }

Status no_such_input(const std::string& name, const std::vector<std::string>& inputs) {
  std::string all;
  for (const std::string& input : inputs) all += (all.empty() ? "'" : ", '") + node_name(input) + "'";
  return invalid_argument("'" + name + "' is no input of the model; its inputs are " + (all.empty() ? "none" : all) +
                          "; leave it out" + (all.empty() ? "" : " or give one of those"));
}

}  // namespace blade::tensorflow
