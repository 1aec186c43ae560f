// Follows calls from function to function.
#include "frontends/tensorflow/used_functions.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace blade::tensorflow {
namespace {

// Whatever may be the name of a function.
void add_calls(const NodeDef& node, std::vector<std::string>& names) {
  names.push_back(node->op);
  for (const auto& [name, value] : node->attrs) {
    if (value.as_func() != nullptr) names.push_back(value.as_func()->name);
    if (value.as_list() == nullptr) continue;
    for (const NameAttrList& function : value.as_list()->funcs) names.push_back(function.name);
  }
}

}  // namespace

LibraryFields used_functions(const LibraryFields& library, const std::vector<std::span<const NodeDef>>& callers) {
  std::vector<std::string> pending;
  for (const auto& nodes : callers) {
    for (const NodeDef& node : nodes) add_calls(node, pending);
  }
  std::unordered_map<std::string_view, const FunctionDef*> known;
  for (const FunctionDef& function : library.functions) known.emplace(function->signature.name, &function);
  std::unordered_set<std::string> used;
  while (!pending.empty()) {
    const std::string name = std::move(pending.back());
    pending.pop_back();
    const auto function = known.find(name);
    if (function == known.end() || !used.insert(name).second) continue;
    for (const NodeDef& node : (*function->second)->nodes) add_calls(node, pending);
  }
  LibraryFields fields = library;
  std::erase_if(fields.functions, [&](const FunctionDef& f) { return !used.contains(f->signature.name); });
  std::erase_if(fields.gradients, [&](const GradientDef& g) { return !used.contains(g.function_name); });
  return fields;
}

void drop_dangling_colocations(std::vector<NodeDef>& nodes) {
  std::unordered_set<std::string_view> names;
  for (const NodeDef& node : nodes) names.insert(node->name);
  for (NodeDef& node : nodes) {
    const AttrValue* place = node->find_attr("_class");
    if (place == nullptr || place->as_list() == nullptr) continue;
    const auto& strings = place->as_list()->strings;
    const bool dangling = std::any_of(strings.begin(), strings.end(), [&](const SharedBytes& s) {
      return s.view().starts_with("loc:@") && !names.contains(s.view().substr(5));
    });
    if (dangling) node.edit().attrs.erase("_class");
  }
}

}  // namespace blade::tensorflow
