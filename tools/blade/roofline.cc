// Judges steps by the machine's limits.
#include "roofline.h"

#include <algorithm>
#include <memory>

namespace blade::command {
namespace {

using json = nlohmann::ordered_json;

// A step can be no faster than its arithmetic at the machine's peak and its bytes at the bandwidth of its working set.
// Steps whose floor is below this are bound by neither: starting and splitting them takes about as long.
constexpr double kTinyUs = 1.0;

bool runs_on_gpu(const json& step) { return step.at("kernel").get<std::string>().starts_with("cuda"); }

void judge_alone(json& step, const MachineLimits& limits) {
  const double us = step.at("median_us");
  const double flops = step.at("gflops").get<double>() * us * 1e3, bytes = step.at("gbytes").get<double>() * us * 1e3;
  const auto kernel = step.at("kernel").get<std::string>();
  const bool amx = limits.bf16_amx.all > 0 && kernel.find("_amx_") != std::string::npos;
  const bool bf16 = limits.bf16_dot.all > 0 && kernel.find("bf16") != std::string::npos;
  const double peak = amx ? limits.bf16_amx.all : bf16 ? limits.bf16_dot.all : limits.fp32_fma.all;
  const double compute_us = peak > 0 ? flops / peak / 1e3 : 0;
  const double gbps = limits.read_gbps(bytes);
  const double memory_us = gbps > 0 ? bytes / gbps / 1e3 : 0;
  const double floor_us = std::max(compute_us, memory_us);
  step["floor_us"] = floor_us;
  step["roofline"] = us > 0 ? floor_us / us : 0.0;
  step["bound_by"] = floor_us < kTinyUs ? "overhead" : compute_us >= memory_us ? "arithmetic" : "memory";
}

// What runs as one has the floors of its steps.
void judge(json& step, const MachineLimits& limits) {
  judge_alone(step, limits);
  if (!step.contains("steps")) return;
  double floor_us = 0;
  for (json& inner : step["steps"]) {
    judge_alone(inner, limits);
    floor_us += inner["floor_us"].get<double>();
  }
  const double us = step.at("median_us");
  step["floor_us"] = floor_us;
  step["roofline"] = us > 0 ? floor_us / us : 0.0;
}

void judge_all(json& steps, const std::optional<MachineLimits>& limits) {
  if (!limits) return;
  for (json& step : steps) judge(step, *limits);
}

}  // namespace

std::optional<MachineLimits> add_roofline(const Engine& engine, json& steps, bool measure_again) {
  if (std::any_of(steps.begin(), steps.end(), runs_on_gpu)) return std::nullopt;
  char* text = nullptr;
  check(blade_engine_explain(engine.get(), nullptr, 0, &text));
  const std::unique_ptr<char, void (*)(void*)> held(text, blade_free);
  const int threads = json::parse(text).at("threads");
  auto limits = machine_limits(threads, measure_again);
  judge_all(steps, limits);
  if (!measure_again && exceeds_limits(steps)) {
    limits = machine_limits(threads, /*measure_again=*/true);
    judge_all(steps, limits);
  }
  return limits;
}

bool exceeds_limits(const json& steps) {
  constexpr double kNoise = 1.2;
  // Winograd does less arithmetic than is counted; nothing else is faster than the machine.
  return std::any_of(steps.begin(), steps.end(), [](const json& step) {
    return step.value("roofline", 0.0) > kNoise && step.value("bound_by", "") == "arithmetic" &&
           step.at("kernel").get<std::string>().find("winograd") == std::string::npos;
  });
}

json bound_shares(const json& steps) {
  json shares = {{"arithmetic", 0.0}, {"memory", 0.0}, {"overhead", 0.0}};
  double total = 0;
  for (const json& step : steps) {
    double& share = shares[step.at("bound_by").get<std::string>()].get_ref<double&>();
    share += step.at("median_us").get<double>();
    total += step.at("median_us").get<double>();
  }
  for (auto& share : shares) share = total > 0 ? share.get<double>() / total : 0.0;
  return shares;
}

}  // namespace blade::command
