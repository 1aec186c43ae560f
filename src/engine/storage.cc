// Views, lives and sharing of memory.
#include "engine/storage.h"

#include <algorithm>

#include "base/checked_math.h"
#include "ir/op_classes.h"

namespace blade::engine {
namespace {

// A bound that no honest model meets, far from where sums of offsets could overflow.
constexpr size_t kMaxTensorBytes = size_t{1} << 46;

ir::Dims axes_over_one(const ir::Dims& dims, const std::vector<int64_t>* order) {
  ir::Dims out;
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t axis = order ? (*order)[i] : static_cast<int64_t>(i);
    if (dims[axis] != 1) out.push_back(axis);
  }
  return out;
}

Result<size_t> bytes_of(const ir::Graph& graph, const ir::Value& value, const std::string& node) {
  const auto dims = value.shape.static_dims();
  const auto count = dims ? checked_element_count(*dims) : std::nullopt;
  const auto bytes =
      count ? checked_mul<size_t>(static_cast<size_t>(*count), ir::dtype_size(value.dtype)) : std::nullopt;
  if (!bytes || *bytes > kMaxTensorBytes) {
    return resource_exhausted("Node '" + node + "' would make a tensor of shape " +
                              graph.symbols().to_string(value.shape) +
                              ", more than any memory holds: use smaller inputs.");
  }
  return *bytes;
}

Status dangling(const std::string& node) {
  return internal_error("Node '" + node + "' reads a value that nothing in the graph makes.");
}

}  // namespace

bool is_view(const ir::Graph& graph, const ir::Node& node) {
  if (ir::is_view_op(node.op)) return true;
  if (node.inputs.empty() || node.outputs.size() != 1) return false;
  const ir::Value& in = graph.value(node.inputs[0]);
  const ir::Value& out = graph.value(node.outputs[0]);
  const auto in_dims = in.shape.static_dims();
  if (in.dtype != out.dtype || !in_dims) return false;
  switch (node.op) {
    case ir::Op::kCast:
      return true;
    case ir::Op::kTranspose: {
      const auto& perm = node.get<ir::PermAttrs>().perm;
      return perm.size() == in_dims->size() && axes_over_one(*in_dims, &perm) == axes_over_one(*in_dims, nullptr);
    }
    case ir::Op::kConcat:
    case ir::Op::kPack:
      return node.inputs.size() == 1;
    // Taking all of it, once.
    case ir::Op::kSlice:
    case ir::Op::kTile:
    case ir::Op::kBroadcastTo:
      return in.shape == out.shape;
    default:
      return false;
  }
}

Result<StorageMap> StorageMap::create(const ir::Graph& graph, std::span<const ir::NodeId> order, const Fusion& fusion) {
  StorageMap map;
  map.of_value_.assign(graph.num_values(), ir::kNone);
  for (size_t i = 0; i < graph.inputs().size(); ++i) {
    Storage storage = {Storage::Kind::kInput, static_cast<int>(i), 0, 0, Storage::kForever, -1};
    BLADE_ASSIGN_OR_RETURN(storage.bytes, bytes_of(graph, graph.value(graph.inputs()[i]), "input"));
    map.of_value_[graph.inputs()[i]] = map.add(storage);
  }
  const auto touch_constant = [&](ir::ValueId id) {
    const ir::Value& value = graph.value(id);
    if (!value.is_constant() || map.of_value_[id] != ir::kNone) return;
    map.of_value_[id] = map.add({Storage::Kind::kConstant, id, value.constant->bytes, 0, Storage::kForever, -1});
  };
  for (ir::NodeId id : order) {
    if (fusion.is_absorbed(id)) continue;
    const ir::Node& node = graph.node(id);
    const std::vector<ir::ValueId> inputs = fusion.step_inputs(graph, node);
    for (ir::ValueId input : inputs) {
      touch_constant(input);
      if (map.of_value_[input] == ir::kNone) return dangling(node.name);
    }
    if (is_view(graph, node) || fusion.is_done_in_copy(id)) {
      map.of_value_[node.outputs[0]] = map.of_value_[node.inputs[0]];
      continue;
    }
    const int step = static_cast<int>(map.steps_.size());
    size_t result_bytes = 0;
    bool finds_size = false;
    for (ir::ValueId output : node.outputs) {
      Storage storage = {Storage::Kind::kArena, 0, 0, step, step, -1};
      if (!graph.value(output).shape.is_static() && ir::finds_its_size(node)) {
        storage.kind = Storage::Kind::kFound;
        finds_size = true;
      } else {
        BLADE_ASSIGN_OR_RETURN(storage.bytes, bytes_of(graph, graph.value(output), node.name));
      }
      result_bytes += storage.bytes;
      map.of_value_[output] = map.add(storage);
    }
    if (result_bytes == 0 && !finds_size) continue;  // nothing to compute
    map.steps_.push_back(id);
    for (ir::ValueId input : inputs) {
      Storage& read = map.storages_[map.of_value_[input]];
      read.last = std::max(read.last, step);
      read.last_read = std::max(read.last_read, step);
    }
  }
  for (ir::ValueId output : graph.outputs()) {
    touch_constant(output);
    if (map.of_value_[output] == ir::kNone) return dangling("output");
    Storage& kept = map.storages_[map.of_value_[output]];
    kept.last = kept.last_read = Storage::kForever;
  }
  return map;
}

int StorageMap::add(Storage storage) {
  storages_.push_back(storage);
  merged_into_.push_back(static_cast<int>(storages_.size()) - 1);
  return merged_into_.back();
}

int StorageMap::of(ir::ValueId id) {
  int i = of_value_[id];
  while (merged_into_[i] != i) i = merged_into_[i] = merged_into_[merged_into_[i]];
  return i;
}

bool StorageMap::share(int step, ir::ValueId input, ir::ValueId output) {
  const int from = of(input), to = of(output);
  Storage& kept = storages_[from];
  const Storage& gone = storages_[to];
  if (kept.kind != Storage::Kind::kArena || kept.last != step || kept.bytes != gone.bytes || gone.bytes == 0)
    return false;
  kept.last = gone.last;
  kept.last_read = gone.last_read;
  merged_into_[to] = from;
  return true;
}

void StorageMap::assign_outputs(const ir::Graph& graph) {
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    Storage& storage = storages_[of(graph.outputs()[i])];
    if (storage.kind == Storage::Kind::kArena) {
      storage.kind = Storage::Kind::kOutput;
      storage.index = static_cast<int>(i);
    } else if (storage.kind == Storage::Kind::kFound) {
      storage.index = static_cast<int>(i);
    }
  }
}

}  // namespace blade::engine
