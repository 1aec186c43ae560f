// A loaded model: takes a graph (or an engine file), keeps plans for the shapes it meets, and runs them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/kernel.h"
#include "base/pieces.h"
#include "base/status.h"
#include "engine/decisions.h"
#include "engine/plan.h"
#include "ir/graph.h"

namespace blade::engine {

struct EngineOptions {
  int num_threads = 0;                 // 0: as many as the process may use
  int max_cached_plans = 16;           // least recently used shapes go first
  bool reference_only = false;         // run the naive kernels: the semantics, for tests and accuracy bisecting
  backends::Device* device = nullptr;  // where to run; null: on the host
  // Where the decisions say that the model was optimized for a GPU: on that if there is one, else on the host with a
  // line in the log.
  bool device_as_decided = false;
  const backends::Machine* machine = nullptr;  // whose kernels to choose among; null: the one at hand
  size_t device_memory_limit = 0;  // bytes of the device's memory that the engine may hold; 0: as many as there are
};

struct TensorInfo {
  std::string name;  // node or tensor name without ":0"
  ir::DType dtype;
  ir::Shape shape;  // symbolic
};

// A caller's tensor: dense row-major data, caller-owned for the length of the call.
struct TensorRef {
  ir::DType dtype = ir::DType::kInvalid;
  ir::Dims dims;
  const void* data = nullptr;
};

// The device that a user names: "cpu" (null), "gpu" or "auto" (a GPU if one is usable); case-insensitive. An error says
// why there is no GPU, or which names there are.
Result<backends::Device*> device_by_name(const std::string& name);

// One step of a plan with its measured time, for `blade profile` and rooflines.
struct StepTime {
  std::string node, op, kernel;
  std::string choice;                 // the kernel and how it cuts its work
  std::optional<TunedFigures> tuned;  // where tuning chose it
  double median_us = 0;
  double flops = 0, bytes = 0;  // estimates of ir::node_cost
  std::vector<StepTime> inner;  // of steps that run as this one, strip by strip: a thread's, on average
};

// Where a run puts its outputs: asked once an output, before anything is written to it.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  // Memory for output `index` (dense, dims as given, aligned to the element at least), or nullptr when there is none
  // (the run then fails with a sentence).
  virtual void* allocate(int index, ir::DType dtype, const ir::Dims& dims) = 0;
};

// Immutable after create(); every method is thread-safe.
class Engine {
 public:
  // `graph`: as imported (no region passes run yet); create() runs the region passes that `decisions` keep.
  static Result<std::shared_ptr<Engine>> create(ir::Graph graph, Decisions decisions, const EngineOptions& options);
  // From the bytes of an engine file (docs/engine-format.md). `owner` keeps them alive as long as the engine lives.
  static Result<std::shared_ptr<Engine>> load(const Pieces& file, std::shared_ptr<const void> owner,
                                              const EngineOptions& options);
  static Result<std::shared_ptr<Engine>> load(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                              const EngineOptions& options) {
    return load(Pieces(bytes), std::move(owner), options);
  }
  ~Engine();

  const std::vector<TensorInfo>& inputs() const;
  const std::vector<TensorInfo>& outputs() const;
  const Decisions& decisions() const;
  // After passes, symbolic. For names, attributes and shapes: the bytes of large constants may have been released.
  const ir::Graph& graph() const;
  // Inside the profile of the decisions (always true without one)? One dims entry an input.
  bool in_profile(std::span<const ir::Dims> input_dims) const;
  // Which input is outside of it, and what its bounds are; for shapes that are not in_profile().
  std::string outside_profile(std::span<const ir::Dims> input_dims) const;

  // The plan for these input shapes, made at first sight (milliseconds) and cached. Errors name the input, what was
  // found and what was expected. Where shapes depend on data it is the plan of what comes before the first of them.
  Result<std::shared_ptr<const Plan>> plan_for(std::span<const ir::Dims> input_dims);
  // That plan and those made so far for what depends on data.
  Result<std::vector<std::shared_ptr<const Plan>>> plans_for(std::span<const ir::Dims> input_dims);
  // Shapes of the outputs for these input shapes; dims (and ranks) that depend on data are unknown.
  Result<std::vector<ir::Shape>> output_shapes(std::span<const ir::Dims> input_dims);
  // Runs once; inputs in the order of inputs(). Checks dtypes and shapes.
  Status run(std::span<const TensorRef> inputs, OutputSink& outputs);

  // For an engine on a device all of whose steps run there: puts one run on the caller's stream (a CUDA stream, nullptr
  // for the default one) and returns. Inputs and what `outputs` gives are device memory, aligned to 16 bytes, of which
  // nothing is copied; they must stay until the stream has passed the run. Runs on one stream share memory, runs on
  // another have their own.
  Status run_on_device(std::span<const TensorRef> inputs, OutputSink& outputs, void* stream);

  // Runs `repetitions` times (after one warm-up) and gives the median time of each step, in the order of the plan.
  Status profile(std::span<const TensorRef> inputs, int repetitions, std::vector<StepTime>* times);

  // Runs once, then measures `repetitions` runs by the device's own clock, inputs and outputs staying there.
  // Microseconds, in order. An error on the host, or where a step has to run there.
  Status device_times(std::span<const TensorRef> inputs, int repetitions, std::vector<double>* microseconds);
  // plan_for() under other decisions, sharing what is packed; not cached. For tuning.
  Result<std::shared_ptr<const Plan>> trial_plan(std::span<const ir::Dims> input_dims, const Decisions& decisions);
  backends::Device* device() const;

  int num_threads() const;
  // Says that a run follows at once: its threads wake meanwhile.
  void expect_run() const;
  // Bytes of packed weights, and arenas made so far (grows only at first runs: see tests).
  size_t packed_bytes() const;
  size_t arenas_created() const;
  size_t plans_cached() const;
  size_t derived_bytes_released() const;  // of weights that passes computed and no run reads

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace blade::engine
