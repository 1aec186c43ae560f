// blade bench: latency percentiles of a model, or of two in alternating blocks, and what bounds the time.
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "feeds.h"
#include "roofline.h"
#include "timing.h"
#include "verbs.h"

namespace blade::command {
namespace {

using json = nlohmann::ordered_json;

struct Side {
  std::string path;
  std::unique_ptr<Engine> engine;
  std::vector<Array> feed;
  std::vector<blade_tensor> inputs;
  std::vector<double> ms;
};

json percentiles(Side& side) {
  std::sort(side.ms.begin(), side.ms.end());
  json row = {{"model", side.path}, {"runs", side.ms.size()}};
  for (const int p : {50, 90, 95, 99}) row["p" + std::to_string(p) + "_ms"] = percentile(side.ms, p);
  row["min_ms"] = side.ms.front();
  row["runs_per_second"] = 1000.0 / percentile(side.ms, 50);
  return row;
}

// What bounds the time, and the three steps that take most of it.
void add_bound(Side& side, json& row) {
  char* text = nullptr;
  check(blade_engine_profile(side.engine->get(), side.inputs.data(), static_cast<int32_t>(side.inputs.size()), 10,
                             &text));
  const std::unique_ptr<char, void (*)(void*)> held(text, blade_free);
  json steps = json::parse(text);
  if (add_roofline(*side.engine, steps, /*measure_again=*/false)) row["bound_by"] = bound_shares(steps);
  double total = 0;
  for (const json& step : steps) total += step.at("median_us").get<double>();
  std::sort(steps.begin(), steps.end(),
            [](const json& a, const json& b) { return a.at("median_us") > b.at("median_us"); });
  row["slowest_steps"] = json::array();
  for (size_t i = 0; i < steps.size() && i < 3; ++i) {
    steps[i]["share"] = total > 0 ? steps[i].at("median_us").get<double>() / total : 0;
    row["slowest_steps"].push_back(steps[i]);
  }
}

int share_percent(const json& share) { return static_cast<int>(100 * share.get<double>() + 0.5); }

void print_bound(const json& shares) {
  static constexpr std::pair<const char*, const char*> kWords[] = {{"arithmetic", "the processor's arithmetic"},
                                                                   {"memory", "the memory's bandwidth"},
                                                                   {"overhead", "starting steps"}};
  std::printf("  its time is bound by");
  const char* separator = " ";
  for (const auto& [key, words] : kWords) {
    if (share_percent(shares.at(key)) == 0) continue;
    std::printf("%s%s (%d %%)", separator, words, share_percent(shares.at(key)));
    separator = ", ";
  }
  std::printf("\n");
}

void print(const json& report) {
  for (const json& row : report.at("models")) {
    std::printf("%s: median %.4g ms, p90 %.4g, p99 %.4g over %d runs\n", row.at("model").get<std::string>().c_str(),
                row.at("p50_ms").get<double>(), row.at("p90_ms").get<double>(), row.at("p99_ms").get<double>(),
                row.at("runs").get<int>());
    if (row.contains("bound_by")) print_bound(row.at("bound_by"));
    for (const json& step : row.at("slowest_steps")) {
      std::printf("  %d %% %s (%s): %.1f us, %.1f GFLOP/s, %.1f GB/s%s\n", share_percent(step.at("share")),
                  step.at("node").get<std::string>().c_str(), step.at("kernel").get<std::string>().c_str(),
                  step.at("median_us").get<double>(), step.at("gflops").get<double>(), step.at("gbytes").get<double>(),
                  step.contains("bound_by") ? (", bound by " + step.at("bound_by").get<std::string>()).c_str() : "");
    }
  }
  if (report.contains("speedup"))
    std::printf("speedup of the second over the first: %.3g\n", report.at("speedup").get<double>());
}

}  // namespace

void add_bench(CLI::App& app, Context& context) {
  struct Options {
    std::vector<std::string> models;
    RunOptions wanted;
    int runs = 20, rounds = 5;
    FeedOptions feed;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("bench", "Latency percentiles of one model, or of two in alternating blocks");
  verb->add_option("models", options->models, "One model, or before and after")->required()->expected(1, 2);
  options->wanted.add_to(*verb);
  verb->add_option("--runs", options->runs, "Timed runs a block")->check(CLI::Range(1, 1000000))->capture_default_str();
  verb->add_option("--rounds", options->rounds, "Blocks of each model")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  verb->add_flag("--json", context.json, "Print JSON");
  options->feed.add_to(*verb);
  verb->callback([options, &context] {
    std::vector<Side> sides(options->models.size());
    for (size_t i = 0; i < sides.size(); ++i) {
      sides[i].path = options->models[i];
      sides[i].engine = std::make_unique<Engine>(sides[i].path, options->wanted.engine_options());
      sides[i].feed = make_feed(*sides[i].engine, options->feed);
      sides[i].inputs = tensors_of(sides[i].feed);
    }
    for (int round = 0; round < options->rounds; ++round) {
      for (Side& side : sides) time_runs(*side.engine, side.inputs, 3, options->runs, side.ms);
    }
    json report = {{"models", json::array()}};
    for (Side& side : sides) {
      report["models"].push_back(percentiles(side));
      add_bound(side, report["models"].back());
    }
    if (sides.size() == 2) report["speedup"] = percentile(sides[0].ms, 50) / percentile(sides[1].ms, 50);
    if (context.json) {
      std::cout << report.dump(2) << "\n";
    } else {
      print(report);
    }
  });
}

}  // namespace blade::command
