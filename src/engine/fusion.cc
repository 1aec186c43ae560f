// A pair is computed together where a row of the fused table takes it and is predicted faster than the two alone.
#include "engine/fusion.h"

#include <algorithm>

namespace blade::engine {
namespace {

// True for a padding with zeros behind the last axis alone.
bool pads_channels(const ir::Graph& graph, const ir::Node& node) {
  if (node.op != ir::Op::kPad || node.get<ir::PadAttrs>().mode != ir::PadMode::kConstant) return false;
  const ir::TensorPtr& pads = graph.value(node.inputs[1]).constant;
  const auto amounts = pads != nullptr ? ir::integer_values(*pads) : std::nullopt;
  if (!amounts || amounts->size() < 2 || amounts->back() < 0) return false;
  if (std::any_of(amounts->begin(), amounts->end() - 1, [](int64_t amount) { return amount != 0; })) return false;
  if (node.inputs.size() < 3) return true;
  const ir::TensorPtr& value = graph.value(node.inputs[2]).constant;
  return value != nullptr && ir::is_floating(value->dtype) && value->element_count() == 1 &&
         std::all_of(value->data, value->data + value->bytes, [](std::byte b) { return b == std::byte{0}; });
}

std::optional<double> predicted_us(const backends::KernelRequest& request, const Decisions& decisions) {
  const auto entry = select_kernel(request, decisions, backends::cpu_kernels(), nullptr);
  if (!entry.ok() || (*entry)->predicted_us == nullptr) return std::nullopt;
  return (*entry)->predicted_us(request);
}

}  // namespace

Fusion Fusion::choose(const ir::Graph& graph, std::span<const ir::NodeId> order, const Decisions& decisions,
                      const PlanOptions& options) {
  Fusion fusion;
  if (options.reference_only || options.device != nullptr) return fusion;
  fusion.absorbed_.assign(static_cast<size_t>(graph.num_node_slots()), 0);
  fusion.producer_of_.assign(fusion.absorbed_.size(), ir::kNone);
  fusion.consumers_ = graph.consumers();
  for (ir::NodeId id : order) {
    fusion.absorb_padding(graph, graph.node(id), decisions, options);
    fusion.absorb_producer(graph, graph.node(id), decisions, options);
  }
  return fusion;
}

const ir::Node* Fusion::sole_producer(const ir::Graph& graph, const ir::Node& node, size_t i) const {
  if (i >= node.inputs.size()) return nullptr;
  const ir::Value& value = graph.value(node.inputs[i]);
  if (value.producer == ir::kNone || consumers_[value.id].size() != 1 || graph.is_output(value.id)) return nullptr;
  const ir::Node& producer = graph.node(value.producer);
  return producer.outputs.size() == 1 ? &producer : nullptr;
}

void Fusion::absorb_padding(const ir::Graph& graph, const ir::Node& node, const Decisions& decisions,
                            const PlanOptions& options) {
  if (node.op != ir::Op::kConv) return;
  for (size_t i = 2; i < node.inputs.size(); ++i) {
    const ir::Node* pad = sole_producer(graph, node, i);
    if (pad == nullptr || !pads_channels(graph, *pad)) continue;
    replaced_.push_back({node.id, i, pad->inputs[0]});
    if (select_kernel(request(graph, node, options), decisions, backends::cpu_kernels(), nullptr).ok()) {
      absorbed_[pad->id] = 1;
    } else {
      replaced_.pop_back();
    }
  }
}

void Fusion::absorb_producer(const ir::Graph& graph, const ir::Node& node, const Decisions& decisions,
                             const PlanOptions& options) {
  const ir::Node* producer = sole_producer(graph, node, 0);
  if (producer == nullptr || producer_of_[producer->id] != ir::kNone) return;
  const backends::KernelRequest first = request(graph, *producer, options);
  backends::KernelRequest pair = request(graph, node, options);
  const auto us = predicted_us(pair, decisions), first_us = predicted_us(first, decisions);
  pair.producer = &first;
  const auto fused = select_kernel(pair, decisions, backends::cpu_fused_kernels(), nullptr);
  if (!fused.ok() || !us || !first_us || (*fused)->predicted_us(pair) >= *us + *first_us) return;
  producer_of_[node.id] = producer->id;
  absorbed_[producer->id] = 1;
}

std::vector<ir::ValueId> Fusion::inputs(const ir::Node& node) const {
  std::vector<ir::ValueId> inputs = node.inputs;
  for (const Replaced& r : replaced_) {
    if (r.node == node.id) inputs[r.input] = r.by;
  }
  return inputs;
}

std::vector<ir::ValueId> Fusion::step_inputs(const ir::Graph& graph, const ir::Node& node) const {
  const ir::Node* first = producer(graph, node);
  const std::vector<ir::ValueId> own = inputs(node);
  if (first == nullptr) return own;
  std::vector<ir::ValueId> both = inputs(*first);
  both.insert(both.end(), own.begin() + 1, own.end());
  return both;
}

backends::TensorDesc desc_of(const ir::Graph& graph, ir::ValueId id) {
  const ir::Value& value = graph.value(id);
  backends::TensorDesc desc = {value.dtype, {}};
  for (ir::Dim d : value.shape.dims()) desc.dims.push_back(d.is_known() ? d.value() : -1);
  return desc;
}

backends::KernelRequest Fusion::request(const ir::Graph& graph, const ir::Node& node,
                                        const PlanOptions& options) const {
  backends::KernelRequest request;
  request.node = &node;
  request.device = options.reference_only ? nullptr : options.device;
  for (ir::ValueId id : inputs(node)) {
    request.inputs.push_back(desc_of(graph, id));
    request.constants.push_back(graph.value(id).constant);
  }
  for (ir::ValueId id : node.outputs) request.outputs.push_back(desc_of(graph, id));
  request.machine = options.machine != nullptr ? options.machine : &backends::Machine::host();
  request.num_threads = options.num_threads;
  return request;
}

}  // namespace blade::engine
