// blade bench: latency percentiles of a model, or of two in alternating blocks, and what bounds the time.
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "feeds.h"
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

// The three steps that take most of the time, with their rates.
json bound(Side& side) {
  char* text = nullptr;
  check(blade_engine_profile(side.engine->get(), side.inputs.data(), static_cast<int32_t>(side.inputs.size()), 10,
                             &text));
  const std::unique_ptr<char, void (*)(void*)> held(text, blade_free);
  json steps = json::parse(text);
  double total = 0;
  for (const json& step : steps) total += step.at("median_us").get<double>();
  std::sort(steps.begin(), steps.end(),
            [](const json& a, const json& b) { return a.at("median_us") > b.at("median_us"); });
  json top = json::array();
  for (size_t i = 0; i < steps.size() && i < 3; ++i) {
    steps[i]["share"] = total > 0 ? steps[i].at("median_us").get<double>() / total : 0;
    top.push_back(steps[i]);
  }
  return top;
}

void print(const json& report) {
  for (const json& row : report.at("models")) {
    std::cout << row.at("model").get<std::string>() << ": median " << row.at("p50_ms") << " ms, p90 "
              << row.at("p90_ms") << ", p99 " << row.at("p99_ms") << " over " << row.at("runs") << " runs\n";
    for (const json& step : row.at("slowest_steps")) {
      std::cout << "  " << static_cast<int>(100 * step.at("share").get<double>() + 0.5) << "% "
                << step.at("node").get<std::string>() << " (" << step.at("kernel").get<std::string>()
                << "): " << step.at("median_us") << " us, " << step.at("gflops") << " GFLOP/s\n";
    }
  }
  if (report.contains("speedup")) std::cout << "speedup of the second over the first: " << report.at("speedup") << "\n";
}

}  // namespace

void add_bench(CLI::App& app, Context& context) {
  struct Options {
    std::vector<std::string> models;
    ModelOptions wanted;
    int threads = 0, runs = 20, rounds = 5;
    FeedOptions feed;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("bench", "Latency percentiles of one model, or of two in alternating blocks");
  verb->add_option("models", options->models, "One model, or before and after")->required()->expected(1, 2);
  options->wanted.add_to(*verb);
  verb->add_option("--threads", options->threads, "0: as many as the process may use");
  verb->add_option("--runs", options->runs, "Timed runs a block")->check(CLI::Range(1, 1000000));
  verb->add_option("--rounds", options->rounds, "Blocks of each model")->check(CLI::Range(1, 10000));
  verb->add_flag("--json", context.json, "Print JSON");
  options->feed.add_to(*verb);
  verb->callback([options, &context] {
    std::vector<Side> sides(options->models.size());
    for (size_t i = 0; i < sides.size(); ++i) {
      sides[i].path = options->models[i];
      sides[i].engine = std::make_unique<Engine>(sides[i].path, options->wanted.engine_options(options->threads));
      sides[i].feed = make_feed(*sides[i].engine, options->feed);
      sides[i].inputs = tensors_of(sides[i].feed);
    }
    for (int round = 0; round < options->rounds; ++round) {
      for (Side& side : sides) time_runs(*side.engine, side.inputs, 3, options->runs, side.ms);
    }
    json report = {{"models", json::array()}};
    for (Side& side : sides) {
      report["models"].push_back(percentiles(side));
      report["models"].back()["slowest_steps"] = bound(side);
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
