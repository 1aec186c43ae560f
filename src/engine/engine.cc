// The engine: checks what comes in, finds or makes the plan for its shapes, lends it memory and runs it.
#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <mutex>
#include <utility>

#include "backends/cuda/loader.h"
#include "base/float_mode.h"
#include "base/log.h"
#include "engine/check_inputs.h"
#include "engine/derived_constants.h"
#include "engine/device_run_context.h"
#include "engine/engine_file.h"
#include "engine/executor.h"
#include "engine/kernel_choice.h"
#include "engine/limited_device.h"
#include "engine/prepare_graph.h"
#include "engine/run_context.h"
#include "engine/thread_count.h"
#include "ir/plain_text.h"

namespace blade::engine {
namespace {

// What idle runs leave behind for the next ones; more runs at once than this allocate again.
constexpr size_t kMaxIdle = 16;

std::vector<TensorInfo> infos(const ir::Graph& graph, const std::vector<ir::ValueId>& values,
                              const std::vector<std::string>* names) {
  std::vector<TensorInfo> out;
  for (size_t i = 0; i < values.size(); ++i) {
    const ir::Value& value = graph.value(values[i]);
    std::string name = names != nullptr ? (*names)[i] : value.name;
    if (name.ends_with(":0")) name.resize(name.size() - 2);  // users know tensors of single outputs by their node
    out.push_back({std::move(name), value.dtype, value.shape});
  }
  return out;
}

// Choices that were measured on another machine say nothing about this one.
void leave_foreign_choices(Decisions& decisions, const std::string& machine) {
  if (decisions.kernels.empty() || decisions.tuned_on.empty() || decisions.tuned_on == machine) return;
  log_info("kernels are chosen by prediction: the model was tuned on " + decisions.tuned_on + ", this is " + machine);
  decisions.kernels.clear();
  decisions.figures.clear();
}

// The first stage for one group of input shapes, or why there is none.
struct PlanEntry {
  std::vector<ir::Dims> key;
  std::shared_ptr<const Stage> stage;
  Status error;
  uint64_t last_used = 0;
};

void collect_plans(const Stage& stage, std::vector<std::shared_ptr<const Plan>>& plans) {
  plans.push_back(stage.plan);
  for (const ControlStep& step : stage.controls) {
    for (const auto& program : step.programs) {
      for (const auto& inner : program->stages()) collect_plans(*inner, plans);
    }
  }
  if (stage.rest == nullptr) return;
  for (const auto& next : stage.rest->stages()) collect_plans(*next, plans);
}

// What runs of one group of input shapes on one stream of the caller's use.
struct OnStream {
  std::vector<ir::Dims> dims;
  void* stream = nullptr;
  std::unique_ptr<DeviceRunContext> context;
  uint64_t last_used = 0;
};

// Done with the context that has just run, before another run may have it.
using AfterRun = std::function<Status(RunContext&)>;

}  // namespace

struct Engine::Impl {
  std::unique_ptr<backends::Device> limited;  // first: what is below holds memory of it
  ir::Graph source;                           // as imported; only while `derived` may have to be computed again
  ir::Graph graph;
  std::shared_ptr<ir::Graph> second_graph;  // replaces `graph` for planning if passes did not repeat themselves
  Decisions decisions;
  EngineOptions options;
  std::vector<TensorInfo> inputs, outputs;
  std::shared_ptr<ThreadPool> pool;
  backends::PackCache packs;
  std::unique_ptr<DerivedConstants> derived;
  size_t released_bytes = 0;

  std::mutex making;  // one plan is made at a time: they share what they pack
  bool released_once = false;

  mutable std::mutex mutex;  // guards what follows; held for look-ups only
  std::vector<std::shared_ptr<PlanEntry>> entries;
  std::vector<AlignedBuffer> idle_arenas;
  std::vector<std::unique_ptr<Executor>> idle_executors;
  uint64_t clock = 0;
  size_t arenas_created = 0;

  std::mutex starting;  // guards what follows, while a run is put on a stream
  std::vector<OnStream> on_streams;
  uint64_t starts = 0;

  template <class DimsOf>
  std::shared_ptr<PlanEntry> find(size_t count, const DimsOf& dims_of);
  Result<std::shared_ptr<PlanEntry>> make_entry(std::vector<ir::Dims> dims);
  void insert(const std::shared_ptr<PlanEntry>& entry);
  Result<std::shared_ptr<const Stage>> make(std::span<const ir::Dims> dims, const Decisions& decided,
                                            bool with_alternatives = false, bool copies_inputs = true);
  Status bring_back_constants();

  template <class DimsOf>
  Result<std::shared_ptr<PlanEntry>> entry_of(size_t count, const DimsOf& dims_of);
  Result<std::shared_ptr<PlanEntry>> entry_for(std::span<const TensorRef> given);
  Result<std::shared_ptr<PlanEntry>> entry_for(std::span<const ir::Dims> dims);
  Status run(std::span<const TensorRef> given, OutputSink& sink, StepTimer* timer, const AfterRun& after = nullptr);
  Status run_plan(const Stage& stage, std::span<const TensorRef> given, OutputSink& sink, StepTimer* timer,
                  const AfterRun& after);
  Status run_stages(const std::shared_ptr<const Stage>& stage, std::span<const TensorRef> given, OutputSink& sink,
                    StepTimer* timer);
  Result<OnStream*> context_on(std::span<const TensorRef> given, void* stream);
  Status start(std::span<const TensorRef> given, OutputSink& sink, void* stream);
};

namespace {

// A context and an arena for one run of a plan, given back at its end.
template <class Impl>
class Lease {
 public:
  Lease(Impl& impl, const Stage& stage) : impl_(impl), stage_(stage), context_(stage.take_context()) {}
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    if (context_ != nullptr) stage_.give_back(std::move(context_));
    std::lock_guard<std::mutex> lock(impl_.mutex);
    if (arena_.size() > 0 && impl_.idle_arenas.size() < kMaxIdle) impl_.idle_arenas.push_back(std::move(arena_));
  }

  Status take() {
    const size_t bytes = stage_.plan->host_arena_bytes;
    if (context_ == nullptr) {
      BLADE_ASSIGN_OR_RETURN(context_, make_run_context(stage_.plan));
    }
    {
      std::lock_guard<std::mutex> lock(impl_.mutex);
      take_idle_arena(bytes);
    }
    if (arena_.size() >= bytes) return {};
    arena_ = AlignedBuffer();  // too small: goes before the larger one comes
    arena_ = AlignedBuffer::allocate(bytes);
    if (arena_.data() == nullptr) return no_memory_for_run(bytes);
    std::lock_guard<std::mutex> lock(impl_.mutex);
    ++impl_.arenas_created;
    return {};
  }

  RunContext& context() { return *context_; }
  std::byte* arena() { return arena_.data(); }

 private:
  // The smallest that is large enough, else the largest, which a larger one will replace.
  void take_idle_arena(size_t bytes) {
    auto& idle = impl_.idle_arenas;
    if (bytes == 0 || idle.empty()) return;
    size_t best = 0;
    for (size_t i = 1; i < idle.size(); ++i) {
      const bool fits = idle[i].size() >= bytes, best_fits = idle[best].size() >= bytes;
      if (fits != best_fits ? fits : (fits ? idle[i].size() < idle[best].size() : idle[i].size() > idle[best].size()))
        best = i;
    }
    std::swap(idle[best], idle.back());
    arena_ = std::move(idle.back());
    idle.pop_back();
  }

  Impl& impl_;
  const Stage& stage_;
  std::unique_ptr<RunContext> context_;
  AlignedBuffer arena_;
};

}  // namespace

template <class DimsOf>
std::shared_ptr<PlanEntry> Engine::Impl::find(size_t count, const DimsOf& dims_of) {
  std::lock_guard<std::mutex> lock(mutex);
  for (const auto& entry : entries) {
    bool same = entry->key.size() == count;
    for (size_t i = 0; same && i < count; ++i) same = entry->key[i] == dims_of(i);
    if (!same) continue;
    entry->last_used = ++clock;
    return entry;
  }
  return nullptr;
}

void Engine::Impl::insert(const std::shared_ptr<PlanEntry>& entry) {
  std::shared_ptr<PlanEntry> evicted;  // destroyed after the lock is gone
  std::lock_guard<std::mutex> lock(mutex);
  entry->last_used = ++clock;
  if (entries.size() >= static_cast<size_t>(std::max(1, options.max_cached_plans))) {
    const auto oldest = std::min_element(entries.begin(), entries.end(),
                                         [](const auto& a, const auto& b) { return a->last_used < b->last_used; });
    evicted = std::exchange(*oldest, entry);
  } else {
    entries.push_back(entry);
  }
}

Result<std::shared_ptr<PlanEntry>> Engine::Impl::make_entry(std::vector<ir::Dims> dims) {
  std::lock_guard<std::mutex> lock(making);
  // Another thread may have made it meanwhile.
  if (auto found = find(dims.size(), [&](size_t i) -> const ir::Dims& { return dims[i]; })) return found;
  auto entry = std::make_shared<PlanEntry>();
  auto stage = make(dims, decisions);
  if (stage.ok()) {
    entry->stage = std::move(stage).value();
  } else if (stage.status().code() == StatusCode::kUnimplemented) {
    entry->error = stage.status();  // remembered: asking again gives the same answer at once
  } else {
    return stage.status();
  }
  entry->key = std::move(dims);
  insert(entry);
  return entry;
}

Result<std::shared_ptr<const Stage>> Engine::Impl::make(std::span<const ir::Dims> dims, const Decisions& decided,
                                                        bool with_alternatives, bool copies_inputs) {
  BLADE_RETURN_IF_ERROR(bring_back_constants());
  const PlanOptions plan_options = {pool->num_threads(), options.reference_only, options.machine,
                                    options.device,      copies_inputs,          with_alternatives};
  const Planner planner = {decided, packs, plan_options};
  auto stage = make_first_stage(second_graph != nullptr ? *second_graph : graph, dims, planner);
  // What later stages read is only known when they are made: nothing is let go then.
  if (stage.ok() && (*stage)->is_whole && !released_once && derived != nullptr) {
    derived->release(*(*stage)->plan);
    released_once = true;
    std::lock_guard<std::mutex> lock(mutex);
    released_bytes = derived->released_bytes();
  }
  return stage;
}

Status Engine::Impl::bring_back_constants() {
  if (derived == nullptr || !derived->is_released()) return {};
  ir::Graph fresh = source.clone();
  BLADE_RETURN_IF_ERROR(run_region_passes(fresh, decisions, options));
  fresh.remove_dead_nodes();
  if (!derived->restore(fresh)) {
    log_warning("Graph passes gave another result the second time; weights are packed again.");
    second_graph = std::make_shared<ir::Graph>(std::move(fresh));
    derived = nullptr;
  }
  source = ir::Graph();
  std::lock_guard<std::mutex> lock(mutex);
  released_bytes = 0;
  return {};
}

template <class DimsOf>
Result<std::shared_ptr<PlanEntry>> Engine::Impl::entry_of(size_t count, const DimsOf& dims_of) {
  auto entry = find(count, dims_of);
  if (entry == nullptr) {
    std::vector<ir::Dims> dims;
    for (size_t i = 0; i < count; ++i) dims.push_back(dims_of(i));
    BLADE_ASSIGN_OR_RETURN(entry, make_entry(std::move(dims)));
  }
  if (entry->stage == nullptr) return entry->error;
  return entry;
}

Result<std::shared_ptr<PlanEntry>> Engine::Impl::entry_for(std::span<const TensorRef> given) {
  BLADE_RETURN_IF_ERROR(check_inputs(given, inputs));
  return entry_of(given.size(), [&](size_t i) -> const ir::Dims& { return given[i].dims; });
}

Result<std::shared_ptr<PlanEntry>> Engine::Impl::entry_for(std::span<const ir::Dims> dims) {
  return entry_of(dims.size(), [&](size_t i) -> const ir::Dims& { return dims[i]; });
}

Status Engine::Impl::run(std::span<const TensorRef> given, OutputSink& sink, StepTimer* timer, const AfterRun& after) {
  BLADE_ASSIGN_OR_RETURN(const std::shared_ptr<PlanEntry> entry, entry_for(given));
  const FlushDenormals mode;
  const Status status = entry->stage->is_whole ? run_plan(*entry->stage, given, sink, timer, after)
                                               : run_stages(entry->stage, given, sink, timer);
  if (timer != nullptr) timer->end_run();
  return status;
}

Status Engine::Impl::run_plan(const Stage& stage, std::span<const TensorRef> given, OutputSink& sink, StepTimer* timer,
                              const AfterRun& after) {
  Lease<Impl> lease(*this, stage);
  BLADE_RETURN_IF_ERROR(lease.take());
  for (size_t i = 0; i < given.size(); ++i) lease.context().set_input(static_cast<int>(i), given[i].data);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const int index = static_cast<int>(i);
    const backends::TensorDesc& desc = stage.plan->outputs[i];
    BLADE_ASSIGN_OR_RETURN(void* const data, output_memory(sink, index, outputs[i], desc.dtype, desc.dims));
    lease.context().set_output(index, data);
  }
  std::optional<ThreadPool::RunScope> scope;
  if (stage.plan->device == nullptr || stage.plan->host_arena_bytes > 0) scope.emplace(*pool);
  BLADE_RETURN_IF_ERROR(
      lease.context().run(lease.arena(), *pool, timer != nullptr ? timer->steps_of(stage.plan) : nullptr));
  if (timer != nullptr) timer->add(stage.plan);
  return after ? after(lease.context()) : Status();
}

Status Engine::Impl::run_stages(const std::shared_ptr<const Stage>& stage, std::span<const TensorRef> given,
                                OutputSink& sink, StepTimer* timer) {
  std::unique_ptr<Executor> executor;
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (!idle_executors.empty()) {
      executor = std::move(idle_executors.back());
      idle_executors.pop_back();
    }
  }
  if (executor == nullptr) executor = std::make_unique<Executor>();
  const ThreadPool::RunScope scope(*pool);
  const Status status = executor->run(stage, given, outputs, sink, *pool, timer);
  std::lock_guard<std::mutex> lock(mutex);
  if (idle_executors.size() < kMaxIdle) idle_executors.push_back(std::move(executor));
  return status;
}

// The shapes met last on each stream keep what they need; `starting` is held.
Result<OnStream*> Engine::Impl::context_on(std::span<const TensorRef> given, void* stream) {
  const auto same_dims = [](const TensorRef& ref, const ir::Dims& dims) { return ref.dims == dims; };
  for (OnStream& one : on_streams) {
    if (one.stream == stream && std::ranges::equal(given, one.dims, same_dims)) return &one;
  }
  OnStream made;
  made.stream = stream;
  for (const TensorRef& ref : given) made.dims.push_back(ref.dims);
  std::lock_guard<std::mutex> lock(making);
  BLADE_ASSIGN_OR_RETURN(const auto stage, make(made.dims, decisions, false, /*copies_inputs=*/false));
  if (!stage->is_whole) {
    return failed_precondition(
        "The model has shapes that depend on data, which a run on a stream cannot wait for: use run().");
  }
  made.context = std::make_unique<DeviceRunContext>(stage->plan);
  BLADE_RETURN_IF_ERROR(made.context->prepare_for_callers());
  if (on_streams.size() < static_cast<size_t>(std::max(1, options.max_cached_plans))) {
    return &on_streams.emplace_back(std::move(made));
  }
  const auto oldest = std::min_element(on_streams.begin(), on_streams.end(),
                                       [](const auto& a, const auto& b) { return a.last_used < b.last_used; });
  *oldest = std::move(made);
  return &*oldest;
}

Status Engine::Impl::start(std::span<const TensorRef> given, OutputSink& sink, void* stream) {
  if (options.device == nullptr) {
    return failed_precondition(
        "A run on device memory was asked of an engine that runs on the CPU: load it for the GPU.");
  }
  BLADE_RETURN_IF_ERROR(check_inputs(given, inputs));
  std::lock_guard<std::mutex> lock(starting);
  BLADE_ASSIGN_OR_RETURN(OnStream* const found, context_on(given, stream));
  found->last_used = ++starts;
  const Plan& plan = found->context->plan();
  std::vector<std::byte*> in, out;
  for (size_t i = 0; i < given.size(); ++i) {
    BLADE_RETURN_IF_ERROR(check_device_address("Input '" + inputs[i].name + "'", given[i].data));
    in.push_back(static_cast<std::byte*>(const_cast<void*>(given[i].data)));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const backends::TensorDesc& desc = plan.outputs[i];
    BLADE_ASSIGN_OR_RETURN(void* const data,
                           output_memory(sink, static_cast<int>(i), outputs[i], desc.dtype, desc.dims));
    BLADE_RETURN_IF_ERROR(check_device_address("Output '" + outputs[i].name + "'", data));
    out.push_back(static_cast<std::byte*>(data));
  }
  return found->context->start(stream, in, out);
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::shared_ptr<Engine>> Engine::create(ir::Graph graph, Decisions decisions, const EngineOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  if (options.device_as_decided && decisions.device == "gpu") {
    const auto& card = backends::cuda_device();
    if (card.ok()) impl->options.device = *card;
    if (!card.ok()) log_warning("a model optimized for a GPU runs on the CPU: " + card.status().message());
  }
  if (impl->options.device != nullptr && options.device_memory_limit > 0) {
    impl->limited = limited_device(*impl->options.device, options.device_memory_limit);
    impl->options.device = impl->limited.get();
  }
  impl->source = graph.clone();
  impl->graph = std::move(graph);
  BLADE_RETURN_IF_ERROR(prepare_graph(impl->graph, decisions, impl->options));
  impl->derived = std::make_unique<DerivedConstants>(impl->graph, impl->source);
  if (impl->derived->bytes() == 0) {
    impl->derived = nullptr;
    impl->source = ir::Graph();
  }
  impl->decisions = std::move(decisions);
  impl->inputs = infos(impl->graph, impl->graph.inputs(), nullptr);
  impl->outputs = infos(impl->graph, impl->graph.outputs(), &impl->graph.output_names());
  // Beside a device the host has little to do: a few threads that copy large inputs.
  constexpr int kMostBesideDevice = 4;
  const int cpus = ThreadPool::usable_cpus();
  const int usable = impl->options.device != nullptr ? std::min(kMostBesideDevice, cpus) : cpus;
  const int wanted = impl->decisions.num_threads;
  std::string said;
  BLADE_ASSIGN_OR_RETURN(const int asked, threads_to_use(options.num_threads, "num_threads", &said));
  if (!said.empty()) log_warning(said);
  const int threads = asked > 0 ? asked : wanted > 0 ? std::min(wanted, usable) : usable;
  impl->pool = ThreadPool::shared(threads);
  leave_foreign_choices(impl->decisions, machine_signature(impl->options.device, threads));
  impl->idle_arenas.reserve(kMaxIdle);
  impl->idle_executors.reserve(kMaxIdle);
  return std::shared_ptr<Engine>(new Engine(std::move(impl)));
}

Result<std::shared_ptr<Engine>> Engine::load(const Pieces& file, std::shared_ptr<const void> owner,
                                             const EngineOptions& options) {
  BLADE_ASSIGN_OR_RETURN(ParsedEngine parsed, parse_engine_file(file, std::move(owner)));
  return create(std::move(parsed.graph), std::move(parsed.decisions), options);
}

const std::vector<TensorInfo>& Engine::inputs() const { return impl_->inputs; }
const std::vector<TensorInfo>& Engine::outputs() const { return impl_->outputs; }
const Decisions& Engine::decisions() const { return impl_->decisions; }
const ir::Graph& Engine::graph() const { return impl_->graph; }
int Engine::num_threads() const { return impl_->pool->num_threads(); }
void Engine::expect_run() const { impl_->pool->wake(); }

bool Engine::in_profile(std::span<const ir::Dims> input_dims) const {
  const auto& profile = impl_->decisions.profile;
  return !profile || profile->contains(input_dims);
}

std::string Engine::outside_profile(std::span<const ir::Dims> input_dims) const {
  const Profile& profile = *impl_->decisions.profile;
  if (input_dims.size() != profile.min.size()) {
    return std::to_string(input_dims.size()) + " inputs are given, the profile has bounds for " +
           std::to_string(profile.min.size());
  }
  for (size_t i = 0; i < input_dims.size(); ++i) {
    if (Profile{{profile.min[i]}, {profile.max[i]}, {}}.contains(input_dims.subspan(i, 1))) continue;
    return "the input '" + impl_->inputs[i].name + "' has the shape " + ir::plain_text(input_dims[i]) +
           ", outside the engine's profile of " + ir::plain_text(profile.min[i]) + " to " +
           ir::plain_text(profile.max[i]);
  }
  return "";
}

Result<std::shared_ptr<const Plan>> Engine::plan_for(std::span<const ir::Dims> input_dims) {
  BLADE_ASSIGN_OR_RETURN(const auto entry, impl_->entry_for(input_dims));
  return entry->stage->plan;
}

Result<std::vector<std::shared_ptr<const Plan>>> Engine::plans_for(std::span<const ir::Dims> input_dims) {
  BLADE_ASSIGN_OR_RETURN(const auto entry, impl_->entry_for(input_dims));
  std::vector<std::shared_ptr<const Plan>> plans;
  collect_plans(*entry->stage, plans);
  return plans;
}

Result<std::vector<ir::Shape>> Engine::output_shapes(std::span<const ir::Dims> input_dims) {
  BLADE_ASSIGN_OR_RETURN(const auto entry, impl_->entry_for(input_dims));
  return entry->stage->output_shapes;
}

Status Engine::run(std::span<const TensorRef> inputs, OutputSink& outputs) {
  return impl_->run(inputs, outputs, nullptr);
}

Status Engine::run_on_device(std::span<const TensorRef> inputs, OutputSink& outputs, void* stream) {
  return impl_->start(inputs, outputs, stream);
}

namespace {

// Output memory of profiling runs: results are thrown away.
class Scratch final : public OutputSink {
 public:
  explicit Scratch(size_t outputs) : buffers_(outputs) {}
  void* allocate(int index, ir::DType dtype, const ir::Dims& dims) override {
    const size_t bytes = backends::TensorDesc{dtype, dims}.bytes();
    if (buffers_[index].size() < bytes) buffers_[index] = AlignedBuffer::allocate(bytes);
    return buffers_[index].data();
  }

 private:
  std::vector<AlignedBuffer> buffers_;
};

}  // namespace

Status Engine::profile(std::span<const TensorRef> inputs, int repetitions, std::vector<StepTime>* times) {
  Scratch sink(impl_->outputs.size());
  bool on_device = false;
  BLADE_RETURN_IF_ERROR(impl_->run(inputs, sink, nullptr, [&](RunContext& context) -> Status {
    if (context.plan().device == nullptr) return {};
    auto& there = static_cast<DeviceRunContext&>(context);
    if (!there.runs_on_device()) return {};
    on_device = true;
    std::vector<double> us;
    BLADE_RETURN_IF_ERROR(there.time_shares(std::max(1, repetitions), &us));
    times->clear();
    for (size_t s = 0; s < us.size(); ++s) {
      times->push_back(step_time(context.plan().steps[s], us[s]));
    }
    return {};
  }));
  if (on_device) return {};
  // The first runs of a process have cold caches and, at times, all threads on one core.
  const auto warm = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  while (std::chrono::steady_clock::now() < warm) BLADE_RETURN_IF_ERROR(impl_->run(inputs, sink, nullptr));
  StepTimer timer;
  for (int r = 0; r < std::max(1, repetitions); ++r) BLADE_RETURN_IF_ERROR(impl_->run(inputs, sink, &timer));
  *times = timer.medians();
  return {};
}

Status Engine::device_times(std::span<const TensorRef> inputs, int repetitions, std::vector<double>* microseconds) {
  if (impl_->options.device == nullptr) {
    return failed_precondition("Device time was asked of an engine that runs on the CPU: load it for the GPU.");
  }
  Scratch sink(impl_->outputs.size());
  microseconds->clear();
  BLADE_RETURN_IF_ERROR(impl_->run(inputs, sink, nullptr, [&](RunContext& context) {
    return static_cast<DeviceRunContext&>(context).time_replays(repetitions, microseconds);
  }));
  if (!microseconds->empty()) return {};
  return failed_precondition(
      "Device time is measured only where every step runs on the device: parts of this model, whose shapes depend on "
      "data, run on the host.");
}

Result<std::shared_ptr<const Plan>> Engine::trial_plan(std::span<const ir::Dims> input_dims,
                                                       const Decisions& decisions) {
  std::lock_guard<std::mutex> lock(impl_->making);
  BLADE_ASSIGN_OR_RETURN(const auto stage, impl_->make(input_dims, decisions, /*with_alternatives=*/true));
  return stage->plan;
}

backends::Device* Engine::device() const { return impl_->options.device; }

size_t Engine::packed_bytes() const { return impl_->packs.bytes(); }

size_t Engine::arenas_created() const {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->arenas_created;
}

size_t Engine::plans_cached() const {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->entries.size();
}

size_t Engine::derived_bytes_released() const {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->released_bytes;
}

}  // namespace blade::engine
