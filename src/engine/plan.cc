// Makes a plan: concrete shapes, a kernel for each node, shared memory where lives allow it, one arena.
#include "engine/plan.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/checked_math.h"
#include "base/log.h"
#include "engine/fusion.h"
#include "engine/kernel_choice.h"
#include "engine/memory_plan.h"
#include "engine/specialized_graph.h"
#include "engine/storage.h"
#include "engine/strip_choice.h"

namespace blade::engine {
namespace {

std::vector<backends::TensorDesc> descs_of(const ir::Graph& graph, const std::vector<ir::ValueId>& values) {
  std::vector<backends::TensorDesc> descs;
  for (ir::ValueId id : values) descs.push_back(desc_of(graph, id));
  return descs;
}

Status depends_on_data(const ir::Node& node) {
  return unimplemented("Node '" + node.name + "' (" + ir::op_name(node.op) +
                       "): the shape of its result depends on data, which no plan made ahead of the run can follow.");
}

// Of each row the first time: what else was planned for it is said by explain(). Trials of tuning are no news.
void warn_once(const char* kernel, const std::string& node, const std::string& why) {
  static std::mutex mutex;
  static auto* const said = new std::set<std::string>;
  const std::lock_guard lock(mutex);
  if (!said->insert(kernel).second) return;
  log_warning("Node '" + node + "' is not computed by " + kernel +
              ", another kernel or the host takes its place: " + why);
}

class PlanBuilder {
 public:
  PlanBuilder(const ir::Graph& graph, const Decisions& decisions, backends::PackCache& packs,
              const PlanOptions& options, Fusion fusion, StorageMap storages)
      : graph_(graph),
        decisions_(decisions),
        packs_(packs),
        options_(options),
        fusion_(std::move(fusion)),
        storages_(std::move(storages)) {}

  Result<std::shared_ptr<const Plan>> build() {
    plan_->device = options_.reference_only ? nullptr : options_.device;
    plan_->possible_pairs = fusion_.possible_pairs();
    plan_->inputs = descs_of(graph_, graph_.inputs());
    plan_->outputs = descs_of(graph_, graph_.outputs());
    find_input_types();
    for (ir::NodeId id : storages_.steps()) BLADE_RETURN_IF_ERROR(add_step(graph_.node(id)));
    share_memory();
    storages_.assign_outputs(graph_);
    BLADE_RETURN_IF_ERROR(place());
    BLADE_RETURN_IF_ERROR(locate());
    find_reuses();
    plan_transfers();
    return std::shared_ptr<const Plan>(std::move(plan_));
  }

 private:
  void find_input_types() {
    for (const backends::TensorDesc& input : plan_->inputs) plan_->input_types.push_back(input.dtype);
    const std::vector<std::vector<ir::NodeId>> consumers = graph_.consumers();
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      for (ir::NodeId reader : consumers[graph_.inputs()[i]]) {
        if (fusion_.is_done_in_copy(reader)) {
          plan_->input_types[i] = graph_.value(graph_.node(reader).outputs[0]).dtype;
        }
      }
    }
  }

  Status add_step(const ir::Node& node) {
    if (const StripChain* chain = fusion_.strips(node)) return add_strips(node, *chain);
    const std::vector<const ir::Node*> nodes = fusion_.nodes_of_step(graph_, node);
    std::vector<backends::KernelRequest> requests;  // each but the first points to the one before it
    for (const ir::Node* own : nodes) requests.push_back(fusion_.request(graph_, *own, options_));
    for (size_t i = 1; i < nodes.size(); ++i) {
      requests[i].producer = &requests[i - 1];
      requests[i].producer_input = fusion_.producer_input(*nodes[i]);
    }
    backends::KernelRequest& request = requests.back();
    const bool is_fused = nodes.size() > 1;
    Step step;
    Status made = make_kernel(requests, nullptr, step);
    // A row may find out only now that it cannot, a library that has no way for the work: then the next one, or, for a
    // node by itself, the host.
    std::vector<backends::KernelEntry> left;
    std::vector<std::string> failures;
    while (made.code() == StatusCode::kUnavailable && request.device != nullptr) {
      const auto table = is_fused ? fused_kernels(options_) : request.device->kernels();
      if (failures.empty()) left.assign(table.begin(), table.end());
      std::erase_if(left, [&](const backends::KernelEntry& row) { return row.name == step.kernel_name; });
      failures.push_back(std::string(step.kernel_name) + ": " + made.message());
      if (!options_.with_alternatives) warn_once(step.kernel_name, node.name, made.message());
      step = Step();
      step.refused = failures;
      made = make_kernel(requests, &left, step);
    }
    BLADE_RETURN_IF_ERROR(made);
    for (const ir::Node* own : nodes) step.nodes.push_back(own->name);
    step.node_name = node.name;
    step.op = node.op;
    step.input_descs = descs_of(graph_, fusion_.step_inputs(graph_, node));
    step.output_descs = std::move(request.outputs);
    step.cost = step_cost(requests);
    plan_->steps.push_back(std::move(step));
    return {};
  }

  Status add_strips(const ir::Node& node, const StripChain& chain) {
    Step step;
    for (const auto& own : chain.steps) {
      for (const backends::KernelRequest& request : own->requests) step.nodes.push_back(request.node->name);
      const ir::Cost cost = step_cost(own->requests);
      step.cost.flops += cost.flops;
      step.cost.bytes += cost.bytes;
      const ir::Node& last = *own->requests.back().node;
      step.inner.push_back({last.name, last.op, own->entry->name, cost});
      if (own != chain.steps.back()) step.cost.bytes -= 2 * static_cast<double>(own->result().bytes());
    }
    step.node_name = node.name;
    step.op = node.op;
    step.kernel_name = kStripsName;
    step.choice = strips_choice(chain);
    step.input_descs = descs_of(graph_, chain.inputs());
    step.output_descs = {chain.steps.back()->result()};
    const std::string signature = strips_signature(chain);
    if (const auto found = decisions_.figures.find(signature); found != decisions_.figures.end())
      step.tuned = found->second;
    if (options_.with_alternatives) {
      step.signature = signature;
      step.alternatives = strips_alternatives(chain);
    }
    BLADE_ASSIGN_OR_RETURN(step.kernel, make_strip_kernel(chain, packs_));
    plan_->steps.push_back(std::move(step));
    return {};
  }

  // Of nodes that share a step.
  ir::Cost step_cost(std::span<const backends::KernelRequest> requests) const {
    ir::Cost cost;
    for (size_t i = 0; i < requests.size(); ++i) {
      const ir::Cost own = ir::node_cost(graph_, *requests[i].node);
      cost.flops += own.flops;
      cost.bytes += own.bytes;
      if (i > 0) cost.bytes -= 2 * static_cast<double>(requests[i - 1].outputs[0].bytes());
    }
    return cost;
  }

  // Selects a row for the last of the requests, of `rows` if given, and makes its kernel.
  Status make_kernel(std::vector<backends::KernelRequest>& requests, const std::vector<backends::KernelEntry>* rows,
                     Step& step) {
    backends::KernelRequest& request = requests.back();
    const bool is_fused = requests.size() > 1;
    auto selected = rows != nullptr ? select_kernel(request, decisions_, *rows, &step.refused)
                    : is_fused      ? select_kernel(request, decisions_, fused_kernels(options_), &step.refused)
                                    : select_kernel(request, decisions_, options_.reference_only, &step.refused);
    if (!selected.ok() && request.device != nullptr && !is_fused) {
      step.on_host = true;
      request.device = nullptr;
      selected = select_kernel(request, Decisions(), options_.reference_only, &step.refused);
    }
    if (!selected.ok()) return selected.status();
    const backends::KernelEntry* entry = *selected;
    if (options_.with_alternatives && !step.on_host) {
      step.signature = kernel_signature(request);
      step.alternatives = supporting_kernels(request, entry);
    }
    take_stored_choice(requests, *entry, step);
    step.kernel_name = entry->name;
    auto kernel = entry->create(request, packs_);
    if (!kernel.ok()) {
      const StatusCode code = kernel.status().code();
      if (code == StatusCode::kUnavailable && request.device != nullptr) return kernel.status();
      return kernel.status().with_context("Node '" + request.node->name + "' (" + entry->name + ")");
    }
    step.kernel = std::move(kernel).value();
    return {};
  }

  // How the stored choice cuts the work; what it replaced is kept for reports.
  void take_stored_choice(std::vector<backends::KernelRequest>& requests, const backends::KernelEntry& entry,
                          Step& step) {
    backends::KernelRequest& request = requests.back();
    step.choice = entry.name;
    const std::string* stored = step.on_host ? nullptr : stored_choice(request, decisions_);
    if (stored == nullptr) return;
    const auto choice = KernelChoice::parse(*stored);
    if (!choice || choice->kernel != entry.name) return;
    step.choice = *stored;
    const std::string signature = kernel_signature(request);
    if (const auto found = decisions_.figures.find(signature); found != decisions_.figures.end())
      step.tuned = found->second;
    request.blocking = choice->blocking;
    step.on_one_thread = request.blocking.threads == 1 && request.device == nullptr;
    if (!step.on_one_thread) return;
    for (backends::KernelRequest& own : requests) own.num_threads = 1;
  }

  void share_memory() {
    for (size_t s = 0; s < plan_->steps.size(); ++s) {
      const ir::Node& node = graph_.node(storages_.steps()[s]);
      for (ir::ValueId input : fusion_.step_inputs(graph_, node)) {
        // Host and device copies of one place would be confused.
        if (plan_->steps[s].on_host || !may_overwrite(*plan_->steps[s].kernel, node, input)) continue;
        if (storages_.share(static_cast<int>(s), input, node.outputs[0])) {
          plan_->steps[s].in_place = true;
          break;
        }
      }
    }
  }

  // Every operand of the node that reads this memory must allow it.
  bool may_overwrite(const backends::Kernel& kernel, const ir::Node& node, ir::ValueId input) {
    const std::vector<ir::ValueId> inputs = fusion_.step_inputs(graph_, node);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (storages_.of(inputs[i]) == storages_.of(input) && !kernel.can_run_in_place(static_cast<int>(i))) return false;
    }
    return true;
  }

  // The last step, of each storage, for which a kernel that shares a launch with others keeps it.
  std::vector<int> held_until() {
    std::vector<int> last(storages_.size(), -1);
    for (size_t s = 0; s < plan_->steps.size(); ++s) {
      const int steps = plan_->steps[s].kernel->holds_operands();
      if (steps == 0) continue;
      const ir::Node& node = graph_.node(storages_.steps()[s]);
      std::vector<ir::ValueId> values = fusion_.step_inputs(graph_, node);
      values.insert(values.end(), node.outputs.begin(), node.outputs.end());
      for (ir::ValueId value : values) {
        if (const int i = storages_.of(value); i != ir::kNone) last[i] = std::max(last[i], static_cast<int>(s) + steps);
      }
    }
    return last;
  }

  // Gives every arena storage and every step's scratch its offset.
  Status place() {
    std::vector<Interval> intervals;
    offsets_.assign(storages_.size(), 0);
    size_t total = 0;
    const auto count = [&](size_t bytes) {
      const auto sum = checked_add(total, align_up(bytes, kBufferAlignment));
      if (sum) total = *sum;
      return sum.has_value();
    };
    std::vector<int> interval_of(storages_.size(), -1);
    const std::vector<int> held = held_until();
    for (int i = 0; i < storages_.size(); ++i) {
      const Storage& storage = storages_.storage(i);
      if (storage.kind != Storage::Kind::kArena) continue;
      if (!count(storage.bytes)) return too_large();
      if (storages_.is_merged_away(i)) continue;
      interval_of[i] = static_cast<int>(intervals.size());
      intervals.push_back({storage.first, std::max(storage.last, held[i]), storage.bytes});
    }
    for (size_t s = 0; s < plan_->steps.size(); ++s) {
      const size_t bytes = plan_->steps[s].kernel->scratch_bytes();
      if (!count(bytes)) return too_large();
      intervals.push_back({static_cast<int>(s), static_cast<int>(s), bytes});
    }
    const MemoryPlan memory = plan_memory(intervals);
    const size_t first_scratch = intervals.size() - plan_->steps.size();
    for (int i = 0; i < storages_.size(); ++i) {
      if (interval_of[i] >= 0) offsets_[i] = memory.offsets[interval_of[i]];
    }
    for (size_t s = 0; s < plan_->steps.size(); ++s) plan_->steps[s].scratch_offset = memory.offsets[first_scratch + s];
    plan_->arena_bytes = memory.bytes;
    const bool needs_host = plan_->device == nullptr || std::any_of(plan_->steps.begin(), plan_->steps.end(),
                                                                    [](const Step& step) { return step.on_host; });
    plan_->host_arena_bytes = needs_host ? memory.bytes : 0;
    plan_->naive_arena_bytes = total;
    return {};
  }

  static Status too_large() {
    return resource_exhausted("The intermediate tensors for these input shapes exceed any memory: use smaller inputs.");
  }

  Status locate() {
    for (size_t s = 0; s < plan_->steps.size(); ++s) {
      Step& step = plan_->steps[s];
      const ir::Node& node = graph_.node(storages_.steps()[s]);
      const std::vector<ir::ValueId> inputs = fusion_.step_inputs(graph_, node);
      for (size_t i = 0; i < inputs.size(); ++i) {
        BLADE_ASSIGN_OR_RETURN(Location at, location(inputs[i], step.kernel->reads_input(static_cast<int>(i))));
        if (at.kind == Location::Kind::kConstant && !step.on_host) BLADE_RETURN_IF_ERROR(upload(at.index));
        step.inputs.push_back(at);
      }
      for (ir::ValueId output : node.outputs) {
        BLADE_ASSIGN_OR_RETURN(Location at, location(output, true));
        step.outputs.push_back(at);
      }
    }
    for (ir::ValueId output : graph_.outputs()) {
      BLADE_ASSIGN_OR_RETURN(Location at, location(output, true));
      // Where the caller's memory is the device's, outputs that are constants come from there too.
      if (at.kind == Location::Kind::kConstant && !options_.copies_inputs) BLADE_RETURN_IF_ERROR(upload(at.index));
      plan_->output_sources.push_back(at);
    }
    return {};
  }

  // Steps that may write a graph output over a graph input that no later step reads.
  void find_reuses() {
    for (size_t s = 0; s < plan_->steps.size(); ++s) {
      const ir::Node& node = graph_.node(storages_.steps()[s]);
      const int out = storages_.of(node.outputs[0]);
      const Storage& output = storages_.storage(out);
      if (output.kind != Storage::Kind::kOutput || output.first != static_cast<int>(s) || output.bytes == 0) continue;
      for (ir::ValueId input : fusion_.step_inputs(graph_, node)) {
        const Storage& read = storages_.storage(storages_.of(input));
        if (read.kind != Storage::Kind::kInput || read.last_read != static_cast<int>(s) || read.bytes != output.bytes ||
            !may_overwrite(*plan_->steps[s].kernel, node, input)) {
          continue;
        }
        plan_->reuses.emplace_back(read.index, output.index);
        break;
      }
    }
  }

  Status upload(int constant) {
    if (plan_->device == nullptr || plan_->device_constants[constant] != nullptr) return {};
    const ir::TensorPtr& tensor = plan_->constants[constant];
    const auto copy = [&]() -> Result<AlignedBuffer> { return copied(*tensor); };
    BLADE_ASSIGN_OR_RETURN(plan_->device_constants[constant], packs_.get_on(*plan_->device, tensor, "plain", copy));
    return {};
  }

  // What a step on the host reads that only the device has, and what it makes that the device reads.
  void plan_transfers() {
    const bool any_on_host =
        std::any_of(plan_->steps.begin(), plan_->steps.end(), [](const Step& step) { return step.on_host; });
    if (!any_on_host) return;
    std::unordered_set<ir::ValueId> on_host, for_device;
    const auto& order = storages_.steps();
    for (size_t s = 0; s < order.size(); ++s) {
      const ir::Node& node = graph_.node(order[s]);
      if (plan_->steps[s].on_host) {
        on_host.insert(node.outputs.begin(), node.outputs.end());
      } else {
        for (ir::ValueId input : fusion_.step_inputs(graph_, node)) for_device.insert(source_of(input));
      }
    }
    for (size_t s = 0; s < order.size(); ++s) {
      Step& step = plan_->steps[s];
      if (!step.on_host) continue;
      const ir::Node& node = graph_.node(order[s]);
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        const Location::Kind kind = step.inputs[i].kind;
        const bool elsewhere = kind == Location::Kind::kArena || kind == Location::Kind::kOutput;
        if (elsewhere && !on_host.contains(source_of(node.inputs[i]))) step.fetch.push_back(static_cast<int>(i));
      }
      for (size_t i = 0; i < node.outputs.size(); ++i) {
        if (for_device.contains(node.outputs[i])) step.send.push_back(static_cast<int>(i));
      }
    }
  }

  // The value that a chain of views looks at.
  ir::ValueId source_of(ir::ValueId id) const {
    while (graph_.value(id).producer != ir::kNone && is_view(graph_, graph_.node(graph_.value(id).producer)))
      id = graph_.node(graph_.value(id).producer).inputs[0];
    return id;
  }

  Result<Location> location(ir::ValueId id, bool is_read) {
    const int i = storages_.of(id);
    const Storage& storage = storages_.storage(i);
    switch (storage.kind) {
      case Storage::Kind::kInput:
        return Location{Location::Kind::kInput, 0, storage.index};
      case Storage::Kind::kOutput:
        return Location{Location::Kind::kOutput, 0, storage.index};
      case Storage::Kind::kArena:
        return Location{Location::Kind::kArena, offsets_[i], 0};
      case Storage::Kind::kFound:
        return Location{Location::Kind::kFound, 0, storage.index};
      case Storage::Kind::kConstant:
        break;
    }
    if (!is_read) return Location{Location::Kind::kNone, 0, 0};
    const auto [it, is_new] = constant_numbers_.try_emplace(storage.index, static_cast<int>(plan_->constants.size()));
    if (is_new) {
      BLADE_ASSIGN_OR_RETURN(ir::TensorPtr tensor, aligned_constant(graph_.value(storage.index).constant));
      plan_->constants.push_back(std::move(tensor));
      plan_->device_constants.emplace_back();
    }
    return Location{Location::Kind::kConstant, 0, it->second};
  }

  static Result<AlignedBuffer> copied(const ir::Tensor& tensor) {
    AlignedBuffer buffer = AlignedBuffer::allocate(tensor.bytes);
    if (buffer.data() == nullptr && tensor.bytes > 0) {
      return resource_exhausted("There is no memory for a constant of " + std::to_string(tensor.bytes) + " bytes.");
    }
    if (tensor.bytes > 0) std::memcpy(buffer.data(), tensor.data, tensor.bytes);
    return buffer;
  }

  // Constants may stand at any address of a file; the copy is shared by the plans of all shapes.
  Result<ir::TensorPtr> aligned_constant(const ir::TensorPtr& tensor) {
    if (reinterpret_cast<uintptr_t>(tensor->data) % kBufferAlignment == 0) return tensor;
    const auto copy = [&]() -> Result<AlignedBuffer> { return copied(*tensor); };
    BLADE_ASSIGN_OR_RETURN(std::shared_ptr<const AlignedBuffer> buffer, packs_.get(tensor, "aligned", copy));
    auto out = std::make_shared<ir::Tensor>(*tensor);
    out->data = buffer->data();
    out->owner = std::move(buffer);
    return ir::TensorPtr(std::move(out));
  }

  const ir::Graph& graph_;
  const Decisions& decisions_;
  backends::PackCache& packs_;
  const PlanOptions& options_;
  const Fusion fusion_;
  StorageMap storages_;
  std::shared_ptr<Plan> plan_ = std::make_shared<Plan>();
  std::vector<size_t> offsets_;
  std::unordered_map<ir::ValueId, int> constant_numbers_;
};

}  // namespace

Result<std::shared_ptr<const Plan>> build_plan(const ir::Graph& graph, const Decisions& decisions,
                                               backends::PackCache& packs, const PlanOptions& options) {
  BLADE_ASSIGN_OR_RETURN(const std::vector<ir::NodeId> order, graph.topological_order());
  Fusion fusion = Fusion::choose(graph, order, decisions, options);
  choose_strips(graph, order, decisions, options, fusion);
  BLADE_ASSIGN_OR_RETURN(StorageMap storages, StorageMap::create(graph, order, fusion));
  return PlanBuilder(graph, decisions, packs, options, std::move(fusion), std::move(storages)).build();
}

Result<std::shared_ptr<const Plan>> make_plan(const ir::Graph& graph, std::span<const ir::Dims> input_dims,
                                              const Decisions& decisions, backends::PackCache& packs,
                                              const PlanOptions& options) {
  BLADE_ASSIGN_OR_RETURN(const ir::Graph concrete, specialized_graph(graph, input_dims));
  BLADE_ASSIGN_OR_RETURN(const std::vector<ir::NodeId> order, concrete.topological_order());
  for (ir::NodeId id : order) {
    for (ir::ValueId v : concrete.node(id).outputs) {
      if (!concrete.value(v).shape.is_static()) return depends_on_data(concrete.node(id));
    }
  }
  return build_plan(concrete, decisions, packs, options);
}

}  // namespace blade::engine
