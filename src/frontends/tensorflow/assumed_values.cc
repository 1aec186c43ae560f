// Reads what the guards compare switches and ranks with.
#include "frontends/tensorflow/assumed_values.h"

#include <cstring>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "ir/infer.h"

namespace blade::tensorflow {
namespace {

// The value that a Const of the writer holds; null for anything else.
template <typename T>
ir::TensorPtr value_of(const NodeDef& node, DataType type, ir::DType dtype) {
  if (node->op != "Const") return nullptr;
  const auto proto = tensor_attr(node, "value");
  if (!proto.ok()) return nullptr;
  const auto data = proto->decode();
  if (!data.ok() || data->dtype != type || data->content.size() != sizeof(T)) return nullptr;
  T value;
  std::memcpy(&value, data->content.view().data(), sizeof(T));
  return ir::make_tensor<T>(dtype, data->dims, std::span(&value, 1));
}

// Calls `visit` with the nodes that each guard compares: what the graph is fed, and what was assumed of it, which
// stands beside the guard. The default of a placeholder is a node of the model, and no value that was assumed.
template <typename Visitor>
void for_each_assumption(const GraphDef& graph, const Visitor& visit) {
  std::vector<const NodeDef*> guards;
  for (const NodeDef& node : graph->nodes) {
    if (node->op == "BladeInProfile") guards.push_back(&node);
  }
  if (guards.empty()) return;
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
      const auto compared = by_name.find(inputs[i]), assumed = by_name.find(inputs[i + count]);
      if (compared == by_name.end() || assumed == by_name.end()) continue;
      if (assumed->first.starts_with((*guard)->name + "/")) visit(*compared->second, *assumed->second);
    }
  }
}

}  // namespace

std::map<std::string, ir::TensorPtr> assumed_values(const GraphDef& graph) {
  std::map<std::string, ir::TensorPtr> values;
  for_each_assumption(graph, [&](const NodeDef& compared, const NodeDef& assumed) {
    ir::TensorPtr value = value_of<uint8_t>(assumed, DataType::kBool, ir::DType::kBool);
    if (value == nullptr) value = value_of<float>(assumed, DataType::kFloat, ir::DType::kFloat32);
    if (value != nullptr) values.emplace(compared->name, std::move(value));
  });
  return values;
}

std::map<std::string, int32_t> assumed_ranks(const GraphDef& graph) {
  std::map<std::string, int32_t> ranks;
  for_each_assumption(graph, [&](const NodeDef& compared, const NodeDef& assumed) {
    if (compared->op != "Rank" || compared->inputs.empty()) return;
    const ir::TensorPtr rank = value_of<int32_t>(assumed, DataType::kInt32, ir::DType::kInt32);
    if (rank == nullptr) return;
    const InputRef input = parse_input(compared->inputs[0]);
    const int32_t value = (*ir::integer_values(*rank))[0];
    if (value >= 0 && value <= ir::kMaxRank)
      ranks.emplace(std::string(input.node) + ":" + std::to_string(input.index), value);
  });
  return ranks;
}

}  // namespace blade::tensorflow
