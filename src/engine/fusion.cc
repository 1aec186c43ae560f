// Nodes are computed together where a row of the fused table takes them and is predicted faster than they are apart.
#include "engine/fusion.h"

#include <algorithm>
#include <utility>

#include "engine/kernel_choice.h"
#include "engine/strip_kernel.h"
#include "ir/half_types.h"

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

// The time of the row that the request would get from the table without tuning; nothing where it has no prediction.
std::optional<double> predicted_us(const backends::KernelRequest& request,
                                   std::span<const backends::KernelEntry> table) {
  const auto entry = select_kernel(request, Decisions(), table, nullptr);
  if (!entry.ok() || (*entry)->predicted_us == nullptr) return std::nullopt;
  return (*entry)->predicted_us(request);
}

// Nodes of the host, each the first input of the next, with predicted times of each alone, of two and of all together.
struct ThreeNodes {
  backends::KernelRequest first, between, last;
  std::optional<double> first_us, between_us, last_us, first_two_us, last_two_us, us;

  ThreeNodes(backends::KernelRequest a, backends::KernelRequest b, backends::KernelRequest c,
             const PlanOptions& options)
      : first(std::move(a)), between(std::move(b)), last(std::move(c)) {
    const auto table = backends::cpu_kernels(), fused_table = fused_kernels(options);
    first_us = predicted_us(first, table);
    between_us = predicted_us(between, table);
    last_us = predicted_us(last, table);
    last.producer = &between;
    last_two_us = predicted_us(last, fused_table);
    between.producer = &first;
    first_two_us = predicted_us(between, fused_table);
    us = predicted_us(last, fused_table);
  }
  ThreeNodes(const ThreeNodes&) = delete;  // the requests point to each other
  ThreeNodes& operator=(const ThreeNodes&) = delete;
};

}  // namespace

Fusion Fusion::choose(const ir::Graph& graph, std::span<const ir::NodeId> order, const Decisions& decisions,
                      const PlanOptions& options) {
  Fusion fusion;
  if (options.reference_only) return fusion;
  fusion.absorbed_.assign(static_cast<size_t>(graph.num_node_slots()), 0);
  fusion.producer_of_.assign(fusion.absorbed_.size(), Producer());
  fusion.done_in_copy_.assign(fusion.absorbed_.size(), 0);
  fusion.consumers_ = graph.consumers();
  for (ir::NodeId id : order) {
    if (options.device != nullptr && options.copies_inputs) fusion.find_cast_of_input(graph, graph.node(id));
    if (options.device == nullptr) fusion.absorb_padding(graph, graph.node(id), decisions, options);
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

void Fusion::find_cast_of_input(const ir::Graph& graph, const ir::Node& node) {
  if (node.op != ir::Op::kCast) return;
  const ir::Value &from = graph.value(node.inputs[0]), &to = graph.value(node.outputs[0]);
  const auto& inputs = graph.inputs();
  if (std::find(inputs.begin(), inputs.end(), from.id) == inputs.end() || consumers_[from.id].size() != 1) return;
  if (from.dtype != ir::DType::kFloat32 || !is_half(to.dtype)) return;
  done_in_copy_[node.id] = !graph.is_output(from.id) && !graph.is_output(to.id);
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
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (absorb_producer_of(graph, node, i, decisions, options)) return;
    if (options.device == nullptr) return;  // rows of the host take the producer of input 0 alone
  }
}

bool Fusion::absorb_producer_of(const ir::Graph& graph, const ir::Node& node, size_t i, const Decisions& decisions,
                                const PlanOptions& options) {
  const ir::Node* producer = sole_producer(graph, node, i);
  if (producer == nullptr || is_done_in_copy(producer->id)) return false;
  if (options.device == nullptr && absorb_chain(graph, node, *producer, decisions, options)) return true;
  if (options.device == nullptr && absorb_pair(graph, node, *producer, decisions, options)) return true;
  const ir::NodeId held = producer_of_[producer->id].node;  // let go below, where the pair is taken
  if (held != ir::kNone && !is_better_off(graph, node, *producer, decisions, options)) return false;
  const backends::KernelRequest first = request(graph, *producer, options);
  backends::KernelRequest pair = request(graph, node, options);
  const auto table = options.device != nullptr ? options.device->kernels() : backends::cpu_kernels();
  // By the static choices: what tuning chose for a node by itself must not undo a pair that was tuned.
  const auto us = predicted_us(pair, table), first_us = predicted_us(first, table);
  pair.producer = &first;
  pair.producer_input = i;
  const auto fused = select_kernel(pair, Decisions(), fused_kernels(options), nullptr);
  if (!fused.ok()) return false;
  // A device's rows without predictions have no rivals: there the pair, which saves a launch, is taken.
  if (options.device == nullptr && (!us || !first_us)) return false;
  bool together = !us || !first_us || (*fused)->predicted_us(pair) < *us + *first_us;
  if (options.device == nullptr) together = decide(pair, together, {producer->name, node.name}, decisions, options);
  if (!together) return false;
  if (held != ir::kNone) {
    producer_of_[producer->id] = {};
    absorbed_[held] = 0;
  }
  producer_of_[node.id] = {producer->id, i};
  absorbed_[producer->id] = 1;
  return true;
}

bool Fusion::decide(const backends::KernelRequest& request, bool predicted_faster, std::vector<std::string> nodes,
                    const Decisions& decisions, const PlanOptions& options) {
  bool together = predicted_faster;
  if (const std::string* stored = stored_choice(request, decisions)) together = *stored != kApart;
  if (options.with_alternatives && !together) {
    possible_pairs_.push_back({kernel_signature(request), supporting_kernels(request, nullptr), std::move(nodes)});
  }
  return together;
}

bool Fusion::absorb_chain(const ir::Graph& graph, const ir::Node& node, const ir::Node& producer,
                          const Decisions& decisions, const PlanOptions& options) {
  if (node.op != ir::Op::kConv || producer.op != ir::Op::kConv) return false;
  const bool absorbed = producer_of_[producer.id].node != ir::kNone;
  const ir::Node* first = sole_producer(graph, producer, 0);
  if (first == nullptr || is_absorbed(first->id) != absorbed || producer_of_[first->id].node != ir::kNone) return false;
  const ThreeNodes three(request(graph, *first, options), request(graph, producer, options),
                         request(graph, node, options), options);
  if (!three.us || !three.first_us || !three.between_us || !three.last_us) return false;
  const double two_us = *three.first_us + *three.between_us;
  double apart_us = *three.last_us + std::min(two_us, three.first_two_us.value_or(two_us));
  if (three.last_two_us) apart_us = std::min(apart_us, *three.first_us + *three.last_two_us);
  const bool faster = *three.us < apart_us && !is_tuned_pair(graph, producer, decisions, options);
  if (!decide(three.last, faster, {first->name, producer.name, node.name}, decisions, options)) return false;
  producer_of_[node.id] = {producer.id, 0};
  producer_of_[producer.id] = {first->id, 0};
  absorbed_[producer.id] = absorbed_[first->id] = 1;
  return true;
}

bool Fusion::absorb_pair(const ir::Graph& graph, const ir::Node& cast, const ir::Node& producer,
                         const Decisions& decisions, const PlanOptions& options) {
  const Producer held = producer_of_[producer.id];
  if (cast.op != ir::Op::kCast || held.node == ir::kNone || held.input != 0) return false;
  if (producer_of_[held.node].node != ir::kNone) return false;
  const ir::Node& first = graph.node(held.node);
  const ThreeNodes three(request(graph, first, options), request(graph, producer, options),
                         request(graph, cast, options), options);
  if (!three.us || !three.first_us || !three.last_us || !three.first_two_us) return false;
  double apart_us = *three.first_two_us + *three.last_us;
  if (three.last_two_us) apart_us = std::min(apart_us, *three.first_us + *three.last_two_us);
  const bool faster = *three.us < apart_us && !is_tuned_pair(graph, producer, decisions, options);
  if (!decide(three.last, faster, {first.name, producer.name, cast.name}, decisions, options)) return false;
  producer_of_[cast.id] = {producer.id, 0};
  absorbed_[producer.id] = 1;
  return true;
}

bool Fusion::is_tuned_pair(const ir::Graph& graph, const ir::Node& node, const Decisions& decisions,
                           const PlanOptions& options) const {
  const ir::Node* first = producer(graph, node);
  if (first == nullptr) return false;
  const backends::KernelRequest first_request = request(graph, *first, options);
  backends::KernelRequest pair = request(graph, node, options);
  pair.producer = &first_request;
  pair.producer_input = producer_input(node);
  return stored_choice(pair, decisions) != nullptr;
}

bool Fusion::is_better_off(const ir::Graph& graph, const ir::Node& node, const ir::Node& producer,
                           const Decisions& decisions, const PlanOptions& options) const {
  const Producer& held = producer_of_[producer.id];
  if (options.device != nullptr || held.node == ir::kNone || held.input != 0) return false;
  if (producer_of_[held.node].node != ir::kNone) return false;  // a chain of three stays whole
  if (is_tuned_pair(graph, producer, decisions, options)) return false;
  const ThreeNodes three(request(graph, graph.node(held.node), options), request(graph, producer, options),
                         request(graph, node, options), options);
  if (!three.last_us || !three.first_us || !three.last_two_us || !three.first_two_us) return false;
  return *three.first_us + *three.last_two_us < *three.first_two_us + *three.last_us;
}

std::vector<const ir::Node*> Fusion::nodes_of_step(const ir::Graph& graph, const ir::Node& node) const {
  const ir::Node* first = producer(graph, node);
  std::vector<const ir::Node*> nodes;
  if (first != nullptr) nodes = nodes_of_step(graph, *first);
  nodes.push_back(&node);
  return nodes;
}

std::vector<ir::ValueId> Fusion::inputs(const ir::Node& node) const {
  std::vector<ir::ValueId> inputs = node.inputs;
  for (const Replaced& r : replaced_) {
    if (r.node == node.id) inputs[r.input] = r.by;
  }
  return inputs;
}

void Fusion::join(const ir::Graph& graph, StripChain chain) {
  const ir::NodeId last = graph.value(chain.steps.back()->output).producer;
  for (const auto& step : chain.steps) {
    const ir::NodeId id = graph.value(step->output).producer;
    if (id != last) absorbed_[id] = 1;
  }
  chains_[last] = std::make_shared<StripChain>(std::move(chain));
}

const StripChain* Fusion::strips(const ir::Node& node) const {
  const auto found = chains_.find(node.id);
  return found != chains_.end() ? found->second.get() : nullptr;
}

std::vector<ir::ValueId> Fusion::step_inputs(const ir::Graph& graph, const ir::Node& node) const {
  if (const StripChain* chain = strips(node)) return chain->inputs();
  const ir::Node* first = producer(graph, node);
  const std::vector<ir::ValueId> own = inputs(node);
  if (first == nullptr) return own;
  std::vector<ir::ValueId> both = step_inputs(graph, *first);
  const auto between = own.begin() + static_cast<ptrdiff_t>(producer_input(node));
  both.insert(both.end(), own.begin(), between);
  both.insert(both.end(), between + 1, own.end());
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
  request.num_threads = std::max(1, options.num_threads);
  return request;
}

}  // namespace blade::engine
