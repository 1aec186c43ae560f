// Reads what the guards compare switches with.
#include "frontends/tensorflow/assumed_values.h"

#include <unordered_map>
#include <vector>

namespace blade::tensorflow {
namespace {

// The boolean that a Const of the writer holds; null for anything else.
ir::TensorPtr boolean_of(const NodeDef& node) {
  if (node->op != "Const") return nullptr;
  const auto proto = tensor_attr(node, "value");
  if (!proto.ok()) return nullptr;
  const auto data = proto->decode();
  if (!data.ok() || data->dtype != DataType::kBool || data->content.size() != 1) return nullptr;
  const auto value = static_cast<uint8_t>(data->content.view()[0]);
  return ir::make_tensor<uint8_t>(ir::DType::kBool, data->dims, std::span(&value, 1));
}

}  // namespace

std::map<std::string, ir::TensorPtr> assumed_values(const GraphDef& graph) {
  std::map<std::string, ir::TensorPtr> values;
  std::vector<const NodeDef*> guards;
  for (const NodeDef& node : graph->nodes) {
    if (node->op == "BladeInProfile") guards.push_back(&node);
  }
  if (guards.empty()) return values;
  std::unordered_map<std::string_view, const NodeDef*> by_name;
  for (const NodeDef& node : graph->nodes) by_name.emplace(node->name, &node);
  for (const NodeDef* guard : guards) {
    std::vector<std::string_view> inputs;
    for (const std::string& input : (*guard)->inputs) {
      if (const InputRef ref = parse_input(input); !ref.control) inputs.push_back(ref.node);
    }
    const auto types = types_attr(*guard, "Tdefault");
    if (!types.ok() || inputs.size() < 2 * types->size()) continue;
    const size_t count = types->size(), given = inputs.size() - 2 * count;
    for (size_t i = given; i < given + count; ++i) {
      const auto assumed = by_name.find(inputs[i + count]);
      // The default itself is a node of the model; a value that was fixed stands beside its guard.
      if (assumed == by_name.end() || !assumed->first.starts_with((*guard)->name + "/")) continue;
      if (ir::TensorPtr value = boolean_of(*assumed->second); value != nullptr)
        values.emplace(std::string(inputs[i]), std::move(value));
    }
  }
  return values;
}

}  // namespace blade::tensorflow
