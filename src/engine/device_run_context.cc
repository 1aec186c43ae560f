// Moves inputs to the device, plays the recorded steps, runs what has to run on the host in between, fetches outputs.
#include "engine/device_run_context.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/checked_math.h"
#include "base/half.h"
#include "base/median.h"

namespace blade::engine {
namespace {

constexpr size_t kOperandAlignment = 256;
// What a thread copies to pinned memory at once; copies from there to the device overlap with the next ones.
constexpr size_t kCopyPiece = size_t{128} << 10;
// From here on waking other threads to copy pays.
constexpr size_t kManyBytes = size_t{2} << 20;
// The device writes outputs up to this size to host memory by itself: a copy of its own would take longer.
constexpr size_t kMaxDirectOutput = size_t{64} << 10;

void floats_to_bfloat16(const float* from, uint16_t* to, size_t count) {
  std::transform(from, from + count, to, float_to_bfloat16);
}

size_t place(const std::vector<backends::TensorDesc>& descs, std::vector<size_t>& offsets) {
  size_t total = 0;
  for (const backends::TensorDesc& desc : descs) {
    offsets.push_back(total);
    total += align_up(desc.bytes(), kOperandAlignment);
  }
  return total;
}

}  // namespace

Result<std::unique_ptr<RunContext>> make_device_run_context(std::shared_ptr<const Plan> plan) {
  auto context = std::make_unique<DeviceRunContext>(std::move(plan));
  BLADE_RETURN_IF_ERROR(context->prepare());
  return std::unique_ptr<RunContext>(std::move(context));
}

Status DeviceRunContext::prepare() {
  backends::Device& device = *plan_->device;
  const size_t in = place(plan_->inputs, input_offsets_), out = place(plan_->outputs, output_offsets_);
  BLADE_ASSIGN_OR_RETURN(queue_, device.create_queue());
  BLADE_ASSIGN_OR_RETURN(arena_, device.allocate(plan_->arena_bytes));
  BLADE_ASSIGN_OR_RETURN(input_memory_, device.allocate(in));
  BLADE_ASSIGN_OR_RETURN(output_memory_, device.allocate(out));
  BLADE_ASSIGN_OR_RETURN(pinned_inputs_, device.allocate_pinned(in));
  BLADE_ASSIGN_OR_RETURN(pinned_outputs_, device.allocate_pinned(out));
  find_direct_outputs();
  std::vector<std::byte*> inputs, outputs;
  for (size_t offset : input_offsets_) inputs.push_back(input_memory_.data() + offset);
  for (size_t i = 0; i < output_offsets_.size(); ++i) {
    outputs.push_back((is_direct_[i] != 0 ? pinned_outputs_ : output_memory_).data() + output_offsets_[i]);
  }
  BLADE_ASSIGN_OR_RETURN(own_, bind(std::move(inputs), std::move(outputs)));
  for (size_t s = 0; s < plan_->steps.size(); ++s) {
    const Step& step = plan_->steps[s];
    const bool joins = !segments_.empty() && !segments_.back().on_host && !step.on_host;
    if (joins) {
      segments_.back().last = s + 1;
    } else {
      segments_.push_back({s, s + 1, step.on_host, nullptr});
    }
  }
  return {};
}

Status DeviceRunContext::prepare_for_callers() {
  for (const Step& step : plan_->steps) {
    if (!step.on_host) continue;
    return failed_precondition("Node '" + step.node_name + "' (" + ir::op_name(step.op) +
                               ") runs on the host, where a run on a stream cannot wait for it: use run().");
  }
  BLADE_ASSIGN_OR_RETURN(queue_, plan_->device->create_queue());
  BLADE_ASSIGN_OR_RETURN(arena_, plan_->device->allocate(plan_->arena_bytes));
  return {};
}

Result<DeviceRunContext::Binding> DeviceRunContext::bind(std::vector<std::byte*> inputs,
                                                         std::vector<std::byte*> outputs) const {
  Binding binding;
  binding.inputs = std::move(inputs);
  binding.outputs = std::move(outputs);
  for (const Step& step : plan_->steps) {
    StepPointers& at = binding.steps.emplace_back();
    for (const Location& input : step.inputs) {
      at.inputs.push_back(step.on_host ? nullptr : device_address(binding, input));
    }
    for (const Location& output : step.outputs) {
      at.outputs.push_back(step.on_host ? nullptr : device_address(binding, output));
    }
  }
  BLADE_RETURN_IF_ERROR(join_steps(binding));
  return binding;
}

// Neighbouring steps become as few launches as the device makes of them.
Status DeviceRunContext::join_steps(Binding& binding) const {
  const auto can_join = [&](size_t s) { return !plan_->steps[s].on_host && plan_->steps[s].kernel->can_join(); };
  for (size_t first = 0; first < plan_->steps.size(); ++first) {
    std::vector<backends::BoundKernel> kernels;
    for (size_t s = first; s < plan_->steps.size() && can_join(s); ++s) {
      kernels.push_back({plan_->steps[s].kernel.get(), args_of(binding, s)});
    }
    std::span<const backends::BoundKernel> left = kernels;
    while (left.size() > 1) {
      size_t taken = 1;
      BLADE_ASSIGN_OR_RETURN(auto joined, plan_->device->join(*plan_->device, left, &taken));
      const size_t step = first + kernels.size() - left.size();
      if (taken > 1) binding.groups.push_back({step, step + taken, std::move(joined)});
      left = left.subspan(std::max<size_t>(1, taken));
    }
    first += kernels.size();  // the one behind them cannot be joined
  }
  return {};
}

void DeviceRunContext::find_direct_outputs() {
  for (const backends::TensorDesc& output : plan_->outputs) is_direct_.push_back(output.bytes() <= kMaxDirectOutput);
  is_on_host_.assign(plan_->outputs.size(), 0);
  for (const Step& step : plan_->steps) {
    for (const Location& input : step.inputs) {
      if (input.kind == Location::Kind::kOutput) is_direct_[input.index] = 0;
    }
    for (const Location& output : step.outputs) {
      if (output.kind != Location::Kind::kOutput) continue;
      is_on_host_[output.index] = step.on_host;  // the last to write it decides
      if (step.on_host) is_direct_[output.index] = 0;
    }
  }
}

std::byte* DeviceRunContext::device_address(const Binding& binding, const Location& at) const {
  switch (at.kind) {
    case Location::Kind::kArena:
      return arena_.data() + at.offset;
    case Location::Kind::kInput:
      return binding.inputs[static_cast<size_t>(at.index)];
    case Location::Kind::kOutput:
      return binding.outputs[static_cast<size_t>(at.index)];
    case Location::Kind::kConstant:
      return plan_->device_constants[at.index] != nullptr ? plan_->device_constants[at.index]->data() : nullptr;
    case Location::Kind::kNone:
    case Location::Kind::kFound:
      break;
  }
  return nullptr;
}

// Where a step on the host finds an operand: the arena has a twin there, outputs are built in the caller's memory.
std::byte* DeviceRunContext::host_address(const Location& at, std::byte* arena) const {
  switch (at.kind) {
    case Location::Kind::kArena:
      return arena + at.offset;
    case Location::Kind::kInput:
      if (plan_->input_types[at.index] != plan_->inputs[at.index].dtype)
        return pinned_inputs_.data() + input_offsets_[at.index];
      return static_cast<std::byte*>(const_cast<void*>(inputs_[at.index]));
    case Location::Kind::kOutput:
      return static_cast<std::byte*>(outputs_[at.index]);
    case Location::Kind::kConstant:
      return const_cast<std::byte*>(plan_->constants[at.index]->data);
    case Location::Kind::kNone:
    case Location::Kind::kFound:
      break;
  }
  return nullptr;
}

// Pieces become ready in pinned memory, by several threads where there are many, and are sent from there.
Status DeviceRunContext::send_inputs(ThreadPool& pool) {
  std::optional<ThreadPool::RunScope> helpers;
  if (pinned_inputs_.size() > kManyBytes) helpers.emplace(pool);
  const size_t round = kCopyPiece * static_cast<size_t>(helpers ? pool.num_threads() : 1);
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const ir::DType type = plan_->input_types[i];
    const bool halve = type != plan_->inputs[i].dtype;
    const size_t bytes = plan_->inputs[i].bytes() / (halve ? 2 : 1);
    const auto* from = static_cast<const std::byte*>(inputs_[i]);
    std::byte* pinned = pinned_inputs_.data() + input_offsets_[i];
    const auto stage = [&](size_t begin, size_t size) {
      if (!halve) {
        std::memcpy(pinned + begin, from + begin, size);
      } else {
        const auto convert = type == ir::DType::kFloat16 ? floats_to_float16 : floats_to_bfloat16;
        convert(reinterpret_cast<const float*>(from) + begin / 2, reinterpret_cast<uint16_t*>(pinned + begin),
                size / 2);
      }
    };
    for (size_t at = 0; at < bytes; at += round) {
      const size_t size = std::min(round, bytes - at);
      pool.parallel_for(static_cast<int>(ceil_div(size, kCopyPiece)), [&](int task, int) {
        const size_t begin = at + static_cast<size_t>(task) * kCopyPiece;
        stage(begin, std::min(kCopyPiece, at + size - begin));
      });
      BLADE_RETURN_IF_ERROR(queue_->copy_to_device(input_memory_.data() + input_offsets_[i] + at, pinned + at, size));
    }
  }
  return {};
}

Status DeviceRunContext::take_outputs() {
  const auto written = [&](size_t i) {
    const Location& from = plan_->output_sources[i];
    return from.kind == Location::Kind::kOutput && from.index == static_cast<int>(i) && plan_->outputs[i].bytes() > 0 &&
           is_on_host_[i] == 0;
  };
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (!written(i) || is_direct_[i] != 0) continue;
    BLADE_RETURN_IF_ERROR(queue_->copy_to_host(pinned_outputs_.data() + output_offsets_[i],
                                               output_memory_.data() + output_offsets_[i], plan_->outputs[i].bytes()));
  }
  BLADE_RETURN_IF_ERROR(queue_->wait());
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (written(i)) std::memcpy(outputs_[i], pinned_outputs_.data() + output_offsets_[i], plan_->outputs[i].bytes());
  }
  return copy_outputs();
}

backends::KernelArgs DeviceRunContext::args_of(const Binding& binding, size_t s) const {
  backends::KernelArgs args;
  args.inputs = binding.steps[s].inputs;
  args.outputs = binding.steps[s].outputs;
  args.scratch = arena_.data() + plan_->steps[s].scratch_offset;
  args.queue = queue_->handle();
  return args;
}

// Groups as far as they lie inside; what is left of a group that began earlier runs step by step.
Status DeviceRunContext::start_steps(const Binding& binding, size_t first, size_t last, ThreadPool& pool) {
  const auto& groups = binding.groups;
  auto group =
      std::lower_bound(groups.begin(), groups.end(), first, [](const Group& g, size_t step) { return g.first < step; });
  for (size_t s = first; s < last;) {
    if (group == groups.end() || group->first != s) {
      BLADE_RETURN_IF_ERROR(start_step(binding, s++, pool));
      continue;
    }
    const size_t end = std::min(last, group->last);
    BLADE_RETURN_IF_ERROR(group->kernels->run(queue_->handle(), end - s)
                              .with_context("The steps from node '" + plan_->steps[s].node_name + "' on"));
    s = end;
    ++group;
  }
  return {};
}

Status DeviceRunContext::start_step(const Binding& binding, size_t s, ThreadPool& pool) {
  const Step& step = plan_->steps[s];
  backends::KernelArgs args = args_of(binding, s);
  args.pool = &pool;
  return step.kernel->run(args).with_context("Node '" + step.node_name + "' (" + step.kernel_name + ")");
}

Result<std::unique_ptr<backends::DeviceRecording>> DeviceRunContext::record(const Binding& binding, size_t first,
                                                                            size_t last, int copies, ThreadPool& pool) {
  BLADE_RETURN_IF_ERROR(queue_->begin_recording());
  Status status;
  for (int copy = 0; copy < copies && status.ok(); ++copy) status = start_steps(binding, first, last, pool);
  auto recording = queue_->end_recording();
  if (!status.ok()) return status;
  return recording;
}

Status DeviceRunContext::play(Segment& segment, ThreadPool& pool) {
  if (segment.recording == nullptr) {
    BLADE_ASSIGN_OR_RETURN(segment.recording, record(own_, segment.first, segment.last, 1, pool));
  }
  return queue_->play(*segment.recording);
}

Status DeviceRunContext::run_on_host(size_t s, std::byte* arena, ThreadPool& pool, FoundOutputs* found) {
  const Step& step = plan_->steps[s];
  StepPointers& at = own_.steps[s];
  for (size_t i = 0; i < step.inputs.size(); ++i) at.inputs[i] = host_address(step.inputs[i], arena);
  for (size_t i = 0; i < step.outputs.size(); ++i) at.outputs[i] = host_address(step.outputs[i], arena);
  for (int i : step.fetch) {
    BLADE_RETURN_IF_ERROR(queue_->copy_to_host(host_address(step.inputs[i], arena),
                                               device_address(own_, step.inputs[i]), step.input_descs[i].bytes()));
  }
  // Also where nothing is fetched: an earlier copy to the device may still read what this step overwrites.
  BLADE_RETURN_IF_ERROR(queue_->wait());
  backends::KernelArgs args;
  args.inputs = at.inputs;
  args.outputs = at.outputs;
  args.scratch = arena + step.scratch_offset;
  args.pool = &pool;
  StepAllocator allocator(step, found);
  args.allocator = &allocator;
  BLADE_RETURN_IF_ERROR(
      step.kernel->run(args).with_context("Node '" + step.node_name + "' (" + step.kernel_name + ")"));
  for (int i : step.send) {
    BLADE_RETURN_IF_ERROR(queue_->copy_to_device(device_address(own_, step.outputs[i]),
                                                 static_cast<const std::byte*>(at.outputs[i]),
                                                 step.output_descs[i].bytes()));
  }
  return {};
}

// Only steps on the host find sizes.
Status DeviceRunContext::run(std::byte* arena, ThreadPool& pool, double* step_us, FoundOutputs* found) {
  BLADE_RETURN_IF_ERROR(send_inputs(pool));
  for (Segment& segment : segments_) {
    if (step_us == nullptr && !segment.on_host) {
      BLADE_RETURN_IF_ERROR(started_once_ ? play(segment, pool) : start_steps(own_, segment.first, segment.last, pool));
      continue;
    }
    for (size_t s = segment.first; s < segment.last; ++s) {
      if (step_us != nullptr) BLADE_RETURN_IF_ERROR(queue_->mark(static_cast<int>(2 * s)));
      BLADE_RETURN_IF_ERROR(segment.on_host ? run_on_host(s, arena, pool, found) : start_step(own_, s, pool));
      if (step_us != nullptr) BLADE_RETURN_IF_ERROR(queue_->mark(static_cast<int>(2 * s + 1)));
    }
  }
  started_once_ = true;
  BLADE_RETURN_IF_ERROR(take_outputs());
  for (size_t s = 0; step_us != nullptr && s < plan_->steps.size(); ++s) {
    BLADE_ASSIGN_OR_RETURN(step_us[s],
                           queue_->microseconds_between(static_cast<int>(2 * s), static_cast<int>(2 * s + 1)));
  }
  return {};
}

Result<DeviceRunContext::Binding*> DeviceRunContext::binding_for(std::span<std::byte* const> inputs,
                                                                 std::span<std::byte* const> outputs) {
  constexpr size_t kMostPlaces = 8;
  for (Binding& binding : callers_) {
    if (!std::ranges::equal(binding.inputs, inputs) || !std::ranges::equal(binding.outputs, outputs)) continue;
    return &binding;
  }
  BLADE_ASSIGN_OR_RETURN(Binding binding, bind({inputs.begin(), inputs.end()}, {outputs.begin(), outputs.end()}));
  if (callers_.size() < kMostPlaces) return &callers_.emplace_back(std::move(binding));
  const auto oldest = std::min_element(callers_.begin(), callers_.end(),
                                       [](const Binding& a, const Binding& b) { return a.last_used < b.last_used; });
  *oldest = std::move(binding);
  return &*oldest;
}

Status DeviceRunContext::start(void* stream, std::span<std::byte* const> inputs, std::span<std::byte* const> outputs) {
  BLADE_ASSIGN_OR_RETURN(const auto queue, plan_->device->borrow_queue(stream));
  BLADE_ASSIGN_OR_RETURN(Binding* const binding, binding_for(inputs, outputs));
  binding->last_used = ++clock_;
  if (binding->whole == nullptr && !plan_->steps.empty()) {
    const std::shared_ptr<ThreadPool> nobody = ThreadPool::shared(1);
    BLADE_ASSIGN_OR_RETURN(binding->whole, record(*binding, 0, plan_->steps.size(), 1, *nobody));
  }
  if (binding->whole != nullptr) BLADE_RETURN_IF_ERROR(queue->play(*binding->whole));
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Location& from = plan_->output_sources[i];
    if (from.kind == Location::Kind::kOutput && from.index == static_cast<int>(i)) continue;
    BLADE_RETURN_IF_ERROR(queue->copy_on_device(outputs[i], device_address(*binding, from), plan_->outputs[i].bytes()));
  }
  return {};
}

Status DeviceRunContext::time_replays(int repetitions, std::vector<double>* microseconds) {
  return time_steps(0, plan_->steps.size(), 1, repetitions, microseconds);
}

Status DeviceRunContext::time_steps(size_t first, size_t last, int copies, int repetitions,
                                    std::vector<double>* microseconds) {
  for (size_t s = first; s < last; ++s) {
    if (!plan_->steps[s].on_host) continue;
    return failed_precondition("Device time is measured only where every step runs on the device: node '" +
                               plan_->steps[s].node_name + "' runs on the host.");
  }
  const std::shared_ptr<ThreadPool> nobody = ThreadPool::shared(1);  // kernels of a device use no host threads
  BLADE_ASSIGN_OR_RETURN(const auto recording, record(own_, first, last, copies, *nobody));
  BLADE_RETURN_IF_ERROR(queue_->play(*recording));
  for (int i = 0; i < repetitions; ++i) {
    BLADE_RETURN_IF_ERROR(queue_->mark(2 * i));
    BLADE_RETURN_IF_ERROR(queue_->play(*recording));
    BLADE_RETURN_IF_ERROR(queue_->mark(2 * i + 1));
  }
  BLADE_RETURN_IF_ERROR(queue_->wait());
  microseconds->clear();
  for (int i = 0; i < repetitions; ++i) {
    BLADE_ASSIGN_OR_RETURN(const double us, queue_->microseconds_between(2 * i, 2 * i + 1));
    microseconds->push_back(us);
  }
  return {};
}

Status DeviceRunContext::time_shares(int repetitions, std::vector<double>* microseconds) {
  microseconds->clear();
  double before = 0;
  for (size_t s = 0; s < plan_->steps.size(); ++s) {
    std::vector<double> times;
    BLADE_RETURN_IF_ERROR(time_steps(0, s + 1, 1, repetitions, &times));
    const double until = median(std::move(times));
    microseconds->push_back(std::max(0.0, until - before));
    before = until;
  }
  return {};
}

}  // namespace blade::engine
