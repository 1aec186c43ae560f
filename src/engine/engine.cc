// The engine: checks what comes in, finds or makes the plan for its shapes, lends it memory and runs it.
#include "engine/engine.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/checked_math.h"
#include "base/log.h"
#include "engine/derived_constants.h"
#include "engine/engine_file.h"
#include "engine/run_context.h"
#include "ir/text.h"
#include "passes/pass.h"

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

std::string shape_text(const ir::Dims& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) text += ir::concat(i ? "," : "", dims[i]);
  return text + "]";
}

Status check_profile(const ir::Graph& graph, const Decisions& decisions) {
  if (!decisions.profile || decisions.profile->min.size() == graph.inputs().size()) return {};
  return invalid_argument("The profile has shapes for " + std::to_string(decisions.profile->min.size()) +
                          " inputs, the model has " + std::to_string(graph.inputs().size()) +
                          ": give one shape an input.");
}

Status check_no_foreign(const ir::Graph& graph) {
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id) || graph.node(id).op != ir::Op::kForeign) continue;
    const auto& attrs = graph.node(id).get<ir::ForeignAttrs>();
    return unimplemented("Node '" + graph.node(id).name + "' (" + attrs.source_op +
                         ") runs only in the source framework: " +
                         (attrs.reason.empty() ? "the op is not supported" : attrs.reason) + ".");
  }
  return {};
}

// Small constants are read in place by many kernels: give them vector alignment once.
Status align_small_constants(ir::Graph& graph) {
  constexpr size_t kSmall = size_t{64} << 10;
  for (ir::ValueId id = 0; id < graph.num_values(); ++id) {
    ir::Value& value = graph.value(id);
    if (!value.is_constant() || value.constant->bytes >= kSmall) continue;
    BLADE_ASSIGN_OR_RETURN(value.constant, ir::aligned(value.constant));
  }
  return {};
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The plan for one group of input shapes, or why there is none, with contexts that wait for their next run.
struct PlanEntry {
  std::vector<ir::Dims> key;
  std::shared_ptr<const Plan> plan;
  Status error;
  uint64_t last_used = 0;
  std::vector<std::unique_ptr<RunContext>> idle;
};

}  // namespace

struct Engine::Impl {
  ir::Graph source;  // as imported; only while `derived` may have to be computed again
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
  uint64_t clock = 0;
  size_t arenas_created = 0;

  template <class DimsOf>
  std::shared_ptr<PlanEntry> find(size_t count, const DimsOf& dims_of);
  Result<std::shared_ptr<PlanEntry>> make_entry(std::vector<ir::Dims> dims);
  void insert(const std::shared_ptr<PlanEntry>& entry);
  Result<std::shared_ptr<const Plan>> make(std::span<const ir::Dims> dims);
  Status bring_back_constants();

  Status check(const TensorRef& given, const TensorInfo& expected) const;
  Result<std::shared_ptr<PlanEntry>> entry_for(std::span<const TensorRef> given);
  Status run(std::span<const TensorRef> given, OutputSink& sink, double* step_us);
};

namespace {

// A context and an arena out of the engine's idle ones, given back at the end of the run.
template <class Impl>
class Lease {
 public:
  Lease(Impl& impl, std::shared_ptr<PlanEntry> entry) : impl_(impl), entry_(std::move(entry)) {}
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    std::lock_guard<std::mutex> lock(impl_.mutex);
    if (context_ != nullptr && entry_->idle.size() < kMaxIdle) entry_->idle.push_back(std::move(context_));
    if (arena_.size() > 0 && impl_.idle_arenas.size() < kMaxIdle) impl_.idle_arenas.push_back(std::move(arena_));
  }

  Status take() {
    const size_t bytes = entry_->plan->arena_bytes;
    {
      std::lock_guard<std::mutex> lock(impl_.mutex);
      if (!entry_->idle.empty()) {
        context_ = std::move(entry_->idle.back());
        entry_->idle.pop_back();
      }
      take_idle_arena(bytes);
    }
    if (context_ == nullptr) context_ = std::make_unique<RunContext>(entry_->plan);
    if (arena_.size() >= bytes) return {};
    arena_ = AlignedBuffer();  // too small: goes before the larger one comes
    arena_ = AlignedBuffer::allocate(bytes);
    if (arena_.data() == nullptr) {
      return resource_exhausted("There is no memory for the intermediate tensors of this run (" +
                                std::to_string(bytes) + " bytes): free memory or use smaller inputs.");
    }
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
  std::shared_ptr<PlanEntry> entry_;
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
  auto plan = make(dims);
  if (plan.ok()) {
    entry->plan = std::move(plan).value();
    entry->idle.reserve(kMaxIdle);
  } else if (plan.status().code() == StatusCode::kUnimplemented) {
    entry->error = plan.status();  // remembered: asking again gives the same answer at once
  } else {
    return plan.status();
  }
  entry->key = std::move(dims);
  insert(entry);
  return entry;
}

Result<std::shared_ptr<const Plan>> Engine::Impl::make(std::span<const ir::Dims> dims) {
  BLADE_RETURN_IF_ERROR(bring_back_constants());
  const PlanOptions plan_options = {pool->num_threads(), options.reference_only, nullptr};
  auto plan = make_plan(second_graph != nullptr ? *second_graph : graph, dims, decisions, packs, plan_options);
  if (plan.ok() && !released_once && derived != nullptr) {
    derived->release(**plan);
    released_once = true;
    std::lock_guard<std::mutex> lock(mutex);
    released_bytes = derived->released_bytes();
  }
  return plan;
}

Status Engine::Impl::bring_back_constants() {
  if (derived == nullptr || !derived->is_released()) return {};
  ir::Graph fresh = source.clone();
  BLADE_RETURN_IF_ERROR(passes::run_pipeline(fresh, /*whole_graph=*/false, decisions.disabled_passes).status());
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

Status Engine::Impl::check(const TensorRef& given, const TensorInfo& expected) const {
  if (given.dtype != expected.dtype) {
    return invalid_argument("Input '" + expected.name + "' was given " + ir::dtype_name(given.dtype) +
                            " data, expected " + ir::dtype_name(expected.dtype) + ": convert it.");
  }
  const auto address = reinterpret_cast<uintptr_t>(given.data);
  if (address == 0) {
    const auto count = checked_element_count(given.dims);
    if (!count || *count != 0) {
      return invalid_argument("Input '" + expected.name + "' of shape " + shape_text(given.dims) +
                              " was given without data: pass a pointer to its elements.");
    }
  }
  const size_t element = std::max<size_t>(1, ir::dtype_size(given.dtype));
  if (address % element != 0) {
    return invalid_argument("Input '" + expected.name + "' starts at an address that is no multiple of " +
                            std::to_string(element) + ", the size of its elements: copy it to aligned memory.");
  }
  return {};
}

Result<std::shared_ptr<PlanEntry>> Engine::Impl::entry_for(std::span<const TensorRef> given) {
  if (given.size() != inputs.size()) {
    std::string names;
    for (const TensorInfo& info : inputs) names += (names.empty() ? "" : ", ") + info.name;
    return invalid_argument(std::to_string(given.size()) + " inputs were given, the model has " +
                            std::to_string(inputs.size()) + " (" + names + "): give one tensor for each.");
  }
  for (size_t i = 0; i < given.size(); ++i) BLADE_RETURN_IF_ERROR(check(given[i], inputs[i]));
  auto entry = find(given.size(), [&](size_t i) -> const ir::Dims& { return given[i].dims; });
  if (entry == nullptr) {
    std::vector<ir::Dims> dims;
    for (const TensorRef& ref : given) dims.push_back(ref.dims);
    BLADE_ASSIGN_OR_RETURN(entry, make_entry(std::move(dims)));
  }
  if (entry->plan == nullptr) return entry->error;
  return entry;
}

Status Engine::Impl::run(std::span<const TensorRef> given, OutputSink& sink, double* step_us) {
  BLADE_ASSIGN_OR_RETURN(const std::shared_ptr<PlanEntry> entry, entry_for(given));
  Lease<Impl> lease(*this, entry);
  BLADE_RETURN_IF_ERROR(lease.take());
  for (size_t i = 0; i < given.size(); ++i) lease.context().set_input(static_cast<int>(i), given[i].data);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const backends::TensorDesc& desc = entry->plan->outputs[i];
    void* data = sink.allocate(static_cast<int>(i), desc.dtype, desc.dims);
    const size_t bytes = desc.bytes();
    if (data == nullptr && bytes != 0) {
      return resource_exhausted("There is no memory for output '" + outputs[i].name + "' (" + std::to_string(bytes) +
                                " bytes): free memory or use smaller inputs.");
    }
    if (reinterpret_cast<uintptr_t>(data) % std::max<size_t>(1, ir::dtype_size(desc.dtype)) != 0) {
      return invalid_argument("The memory for output '" + outputs[i].name +
                              "' is not aligned to its elements: give aligned memory.");
    }
    lease.context().set_output(static_cast<int>(i), data);
  }
  const ThreadPool::RunScope scope(*pool);
  return lease.context().run(lease.arena(), *pool, step_us);
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::shared_ptr<Engine>> Engine::create(ir::Graph graph, Decisions decisions, const EngineOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->source = graph.clone();
  impl->graph = std::move(graph);
  BLADE_RETURN_IF_ERROR(passes::run_pipeline(impl->graph, /*whole_graph=*/false, decisions.disabled_passes).status());
  impl->graph.remove_dead_nodes();
  BLADE_RETURN_IF_ERROR(check_no_foreign(impl->graph));
  BLADE_RETURN_IF_ERROR(check_profile(impl->graph, decisions));
  BLADE_RETURN_IF_ERROR(align_small_constants(impl->graph));
  impl->derived = std::make_unique<DerivedConstants>(impl->graph, impl->source);
  if (impl->derived->bytes() == 0) {
    impl->derived = nullptr;
    impl->source = ir::Graph();
  }
  impl->decisions = std::move(decisions);
  impl->options = options;
  impl->inputs = infos(impl->graph, impl->graph.inputs(), nullptr);
  impl->outputs = infos(impl->graph, impl->graph.outputs(), &impl->graph.output_names());
  const int threads = options.num_threads > 0 ? options.num_threads : ThreadPool::usable_cpus();
  impl->pool = ThreadPool::shared(threads);
  impl->idle_arenas.reserve(kMaxIdle);
  return std::shared_ptr<Engine>(new Engine(std::move(impl)));
}

Result<std::shared_ptr<Engine>> Engine::load(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                             const EngineOptions& options) {
  BLADE_ASSIGN_OR_RETURN(ParsedEngine parsed, parse_engine_file(bytes, std::move(owner)));
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
  if (!profile) return true;
  if (input_dims.size() != profile->min.size()) return false;
  for (size_t i = 0; i < input_dims.size(); ++i) {
    const ir::Dims& dims = input_dims[i];
    if (dims.size() != profile->min[i].size()) return false;
    for (size_t d = 0; d < dims.size(); ++d) {
      if (dims[d] < profile->min[i][d] || dims[d] > profile->max[i][d]) return false;
    }
  }
  return true;
}

Result<std::shared_ptr<const Plan>> Engine::plan_for(std::span<const ir::Dims> input_dims) {
  auto entry = impl_->find(input_dims.size(), [&](size_t i) -> const ir::Dims& { return input_dims[i]; });
  if (entry == nullptr) {
    BLADE_ASSIGN_OR_RETURN(entry, impl_->make_entry({input_dims.begin(), input_dims.end()}));
  }
  if (entry->plan == nullptr) return entry->error;
  return entry->plan;
}

Status Engine::run(std::span<const TensorRef> inputs, OutputSink& outputs) {
  return impl_->run(inputs, outputs, nullptr);
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
  BLADE_ASSIGN_OR_RETURN(const std::shared_ptr<PlanEntry> entry, impl_->entry_for(inputs));
  const std::vector<Step>& steps = entry->plan->steps;
  Scratch sink(impl_->outputs.size());
  BLADE_RETURN_IF_ERROR(impl_->run(inputs, sink, nullptr));
  std::vector<std::vector<double>> samples(steps.size());
  std::vector<double> one(steps.size());
  for (int r = 0; r < std::max(1, repetitions); ++r) {
    BLADE_RETURN_IF_ERROR(impl_->run(inputs, sink, one.data()));
    for (size_t s = 0; s < steps.size(); ++s) samples[s].push_back(one[s]);
  }
  times->clear();
  for (size_t s = 0; s < steps.size(); ++s) {
    times->push_back({steps[s].node_name, ir::op_name(steps[s].op), steps[s].kernel_name, median(samples[s]),
                      steps[s].cost.flops, steps[s].cost.bytes});
  }
  return {};
}

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
