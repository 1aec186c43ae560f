// Times the CPU engine once, for a sentence in the report.
#include "optimizer/cpu_comparison.h"

#include <cstdio>

#include "engine/engine.h"
#include "optimizer/runners.h"
#include "optimizer/timing.h"

namespace blade::optimizer {
namespace {

constexpr TimingOptions kShort = {.rounds = 3, .block_s = 0.1};

}  // namespace

Result<std::string> faster_on_cpu(const ir::Graph& graph, const Feed& feed, int num_threads, double gpu_ms) {
  engine::EngineOptions options;
  options.num_threads = num_threads;
  BLADE_ASSIGN_OR_RETURN(auto engine, engine::Engine::create(graph.clone(), engine::Decisions(), options));
  const auto runner = make_engine_runner(std::move(engine));
  BLADE_ASSIGN_OR_RETURN(const Runnable run, runner->runnable(feed));
  BLADE_ASSIGN_OR_RETURN(const double cpu_ms, measure(run, kShort));
  if (cpu_ms >= gpu_ms) return std::string();
  char sentence[160];
  std::snprintf(sentence, sizeof(sentence),
                "the CPU of this machine is faster here: %.3f ms without tuning, the GPU takes %.3f ms; device_type "
                "'cpu' would be better",
                cpu_ms, gpu_ms);
  return std::string(sentence);
}

}  // namespace blade::optimizer
