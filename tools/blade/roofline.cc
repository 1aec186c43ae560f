// Judges steps by the machine's limits.
#include "roofline.h"

#include <algorithm>
#include <memory>

namespace blade::command {
namespace {

using json = nlohmann::ordered_json;

// Steps whose floor is below this are bound by neither: starting and splitting them takes about as long.
constexpr double kTinyUs = 1.0;

bool runs_on_gpu(const json& step) { return step.at("kernel").get<std::string>().starts_with("cuda"); }

// Operations or bytes of the step, whose rates are in thousands of millions a second.
double total(const json& step, const char* rate) {
  return step.at(rate).get<double>() * step.at("median_us").get<double>() * 1e3;
}

double compute_us(const json& step, const MachineLimits& limits) {
  const auto kernel = step.at("kernel").get<std::string>();
  const bool amx = limits.bf16_amx.all > 0 && kernel.find("_amx_") != std::string::npos;
  const bool bf16 = limits.bf16_dot.all > 0 && kernel.find("bf16") != std::string::npos;
  // A product of float32 by pieces is six of bfloat16.
  const double products = amx && kernel.find(".split_") != std::string::npos ? 6 : 1;
  const double peak = amx ? limits.bf16_amx.all : bf16 ? limits.bf16_dot.all : limits.fp32_fma.all;
  return peak > 0 ? products * total(step, "gflops") / peak / 1e3 : 0;
}

double memory_us(const json& step, const MachineLimits& limits) {
  const double bytes = total(step, "gbytes"), gbps = limits.read_gbps(bytes);
  return gbps > 0 ? bytes / gbps / 1e3 : 0;
}

// Winograd does less arithmetic than is counted.
bool does_less_than_counted(const json& step) {
  if (step.at("kernel").get<std::string>().find("winograd") != std::string::npos) return true;
  return step.contains("steps") && std::any_of(step["steps"].begin(), step["steps"].end(), does_less_than_counted);
}

void judge_all(json& steps, const std::optional<MachineLimits>& limits) {
  if (!limits) return;
  for (json& step : steps) judge_step(step, *limits);
}

}  // namespace

double judge_step(json& step, const MachineLimits& limits) {
  double arithmetic_us = 0;
  if (step.contains("steps")) {
    for (json& inner : step["steps"]) arithmetic_us += judge_step(inner, limits);
  } else {
    arithmetic_us = compute_us(step, limits);
  }
  const double us = step.at("median_us"), bytes_us = memory_us(step, limits);
  const double floor_us = std::max(arithmetic_us, bytes_us);
  step["floor_us"] = floor_us;
  step["roofline"] = us > 0 ? floor_us / us : 0.0;
  step["bound_by"] = floor_us < kTinyUs ? "overhead" : arithmetic_us >= bytes_us ? "arithmetic" : "memory";
  return arithmetic_us;
}

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
  return std::any_of(steps.begin(), steps.end(), [](const json& step) {
    return step.value("roofline", 0.0) > kNoise && step.value("bound_by", "") == "arithmetic" &&
           !does_less_than_counted(step);
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
