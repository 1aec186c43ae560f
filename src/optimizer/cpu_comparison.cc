// Times the engines of both devices alone, for a sentence in the report.
#include "optimizer/cpu_comparison.h"

#include <cstdio>

#include "base/log.h"
#include "optimizer/runners.h"
#include "optimizer/timing.h"

namespace blade::optimizer {
namespace {

constexpr TimingOptions kShort = {.rounds = 3, .block_s = 0.1};
constexpr double kClearly = 0.9;

Result<double> engine_ms(const ir::Graph& graph, const Feed& feed, const engine::Decisions& decisions,
                         const engine::EngineOptions& options) {
  BLADE_ASSIGN_OR_RETURN(auto engine, engine::Engine::create(graph.clone(), decisions, options));
  const auto runner = make_engine_runner(std::move(engine));
  BLADE_ASSIGN_OR_RETURN(const Runnable run, runner->runnable(feed));
  return measure(run, kShort);
}

}  // namespace

std::string faster_on_cpu(const ir::Graph& graph, const Feed& feed, const engine::Decisions& decisions,
                          const engine::EngineOptions& options) {
  engine::EngineOptions on_cpu = options;
  on_cpu.device = nullptr;
  const auto gpu_ms = engine_ms(graph, feed, decisions, options);
  const auto cpu_ms = engine_ms(graph, feed, engine::Decisions(), on_cpu);
  for (const auto* ms : {&gpu_ms, &cpu_ms}) {
    if (ms->ok()) continue;
    log_info("Not compared with the CPU: " + std::string(ms->status().message()));
    return "";
  }
  if (*cpu_ms >= kClearly * *gpu_ms) return "";
  char sentence[160];
  std::snprintf(sentence, sizeof(sentence),
                "the CPU of this machine is faster here: %.3f ms without tuning, the GPU takes %.3f ms; device_type "
                "'cpu' would be better",
                *cpu_ms, *gpu_ms);
  return sentence;
}

}  // namespace blade::optimizer
