// blade profile: time, share and rate of each step.
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "feeds.h"
#include "verbs.h"

namespace blade::command {

void add_profile(CLI::App& app, Context& context) {
  struct Options {
    std::string model;
    ModelOptions wanted;
    int threads = 0, runs = 20;
    FeedOptions feed;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("profile", "Time, share and rate of each step");
  verb->add_option("model", options->model, ".pb, .pbtxt or SavedModel directory")->required();
  options->wanted.add_to(*verb);
  verb->add_option("--threads", options->threads, "0: as many as the process may use");
  verb->add_option("--runs", options->runs, "Runs that the medians are over")->check(CLI::Range(1, 100000));
  verb->add_flag("--json", context.json, "Print JSON");
  options->feed.add_to(*verb);
  verb->callback([options, &context] {
    const Engine engine(options->model, options->wanted.engine_options(options->threads));
    const std::vector<Array> feed = make_feed(engine, options->feed);
    const std::vector<blade_tensor> inputs = tensors_of(feed);
    char* text = nullptr;
    check(blade_engine_profile(engine.get(), inputs.data(), static_cast<int32_t>(inputs.size()), options->runs, &text));
    const std::unique_ptr<char, void (*)(void*)> held(text, blade_free);
    const auto steps = nlohmann::ordered_json::parse(text);
    if (context.json) {
      std::cout << steps.dump(2) << "\n";
      return;
    }
    double total = 0;
    for (const auto& step : steps) total += step.at("median_us").get<double>();
    std::printf("%10s %6s %9s %8s  %-32s %s\n", "us", "share", "GFLOP/s", "GB/s", "kernel", "node");
    for (const auto& step : steps) {
      const double us = step.at("median_us");
      std::printf("%10.1f %5.1f%% %9.1f %8.1f  %-32s %s\n", us, total > 0 ? 100 * us / total : 0,
                  step.at("gflops").get<double>(), step.at("gbytes").get<double>(),
                  step.at("kernel").get<std::string>().c_str(), step.at("node").get<std::string>().c_str());
    }
    std::printf("%10.1f  in all\n", total);
  });
}

}  // namespace blade::command
