// blade profile: time, share and rate of each step, and how far it is from what the machine can do.
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "feeds.h"
#include "roofline.h"
#include "verbs.h"

namespace blade::command {
namespace {

// How many times as fast as the static choice tuning measured the step; empty for a static choice.
std::string tuned_gain(const nlohmann::ordered_json& step) {
  if (!step.contains("tuned_gain")) return "";
  char text[16];
  std::snprintf(text, sizeof(text), "%.2fx", step.at("tuned_gain").get<double>());
  return text;
}

std::string static_choice(const nlohmann::ordered_json& step) {
  return step.contains("static_choice") ? " (instead of " + step.at("static_choice").get<std::string>() + ")" : "";
}

void print_row(const nlohmann::ordered_json& step, double total, const std::string& indent) {
  const double us = step.at("median_us");
  std::printf("%10.1f %5.1f%% %9.1f %8.1f %9.1f %5.0f%% %-10s  %-32s %5s %s%s\n", us, total > 0 ? 100 * us / total : 0,
              step.at("gflops").get<double>(), step.at("gbytes").get<double>(), step.value("floor_us", 0.0),
              100 * step.value("roofline", 0.0), step.value("bound_by", "").c_str(),
              (indent + step.at("choice").get<std::string>()).c_str(), tuned_gain(step).c_str(),
              (indent + step.at("node").get<std::string>()).c_str(), static_choice(step).c_str());
}

void print_table(const nlohmann::ordered_json& steps, const std::optional<MachineLimits>& limits) {
  double total = 0, floor = 0;
  for (const auto& step : steps) {
    total += step.at("median_us").get<double>();
    floor += step.value("floor_us", 0.0);
  }
  std::printf("%10s %6s %9s %8s %9s %6s %-10s  %-32s %5s %s\n", "us", "share", "GFLOP/s", "GB/s", "floor us", "roof",
              "bound by", "kernel", "tuned", "node");
  for (const auto& step : steps) {
    print_row(step, total, "");
    if (!step.contains("steps")) continue;
    for (const auto& inner : step.at("steps")) print_row(inner, total, "  ");
  }
  std::printf("%10.1f  in all, floor %.1f\n", total, floor);
  if (exceeds_limits(steps)) std::printf("steps above 100 %%: the machine is too busy to measure its limits\n");
  if (limits) {
    std::printf(
        "limits of this machine (%d threads, %s): %.0f GFLOP/s (%.0f in bfloat16, %.0f on AMX), reads %.0f GB/s from 1 "
        "MiB, %.0f "
        "from %g MiB\n",
        limits->threads, limits->vector.c_str(), limits->fp32_fma.all, limits->bf16_dot.all, limits->bf16_amx.all,
        limits->read_gbps(1 << 20), limits->read.back().second, limits->read.back().first);
  }
}

}  // namespace

void add_profile(CLI::App& app, Context& context) {
  struct Options {
    std::string model;
    RunOptions wanted;
    int runs = 20;
    bool measure_limits = false;
    FeedOptions feed;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("profile", "Time, share and rate of each step");
  verb->add_option("model", options->model, ".pb, .pbtxt or SavedModel directory")->required();
  options->wanted.add_to(*verb);
  verb->add_option("--runs", options->runs, "Runs that the medians are over")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  verb->add_flag("--measure-limits", options->measure_limits,
                 "Measure the machine again instead of trusting the cache");
  verb->add_flag("--json", context.json, "Print JSON");
  options->feed.add_to(*verb);
  verb->callback([options, &context] {
    const Engine engine(options->model, options->wanted.engine_options());
    const std::vector<Array> feed = make_feed(engine, options->feed);
    const std::vector<blade_tensor> inputs = tensors_of(feed);
    char* text = nullptr;
    check(blade_engine_profile(engine.get(), inputs.data(), static_cast<int32_t>(inputs.size()), options->runs, &text));
    const std::unique_ptr<char, void (*)(void*)> held(text, blade_free);
    auto steps = nlohmann::ordered_json::parse(text);
    const auto limits = add_roofline(engine, steps, options->measure_limits);
    if (context.json) {
      std::cout << steps.dump(2) << "\n";
      return;
    }
    print_table(steps, limits);
  });
}

}  // namespace blade::command
