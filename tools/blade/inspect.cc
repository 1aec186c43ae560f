// blade inspect: ops, inputs, outputs and coverage of a model; nothing is built.
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "blade/blade.hpp"
#include "feeds.h"
#include "verbs.h"

namespace blade::command {
namespace {

using json = nlohmann::ordered_json;

void print(const json& report, bool coverage) {
  std::cout << "format: " << report.at("format").get<std::string>() << "\n";
  for (const char* side : {"inputs", "outputs"}) {
    for (const json& tensor : report.at(side)) {
      std::cout << side << ": " << tensor.at("name").get<std::string>() << " " << tensor.at("dtype").get<std::string>()
                << " " << tensor.at("shape").get<std::string>() << "\n";
    }
  }
  std::cout << "nodes: " << report.at("nodes") << ", in engines: " << report.at("nodes_in_engines")
            << ", regions: " << report.at("regions") << "\n";
  if (coverage) {
    for (const auto& [op, counts] : report.at("ops").items()) {
      std::cout << "  " << op << ": " << counts.at("covered") << " of " << counts.at("total") << " covered\n";
    }
  }
  for (const json& left : report.at("left_behind")) {
    std::cout << "stays in TensorFlow: " << left.at("node").get<std::string>() << " ("
              << left.at("op").get<std::string>() << "): " << left.at("reason").get<std::string>() << "\n";
  }
}

}  // namespace

void add_inspect(CLI::App& app, Context& context) {
  struct Options {
    std::string model;
    std::vector<std::string> outputs;
    bool coverage = false, plan = false;
    FeedOptions feed;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("inspect", "Ops, shapes, coverage with reasons, and the memory plan");
  verb->add_option("model", options->model, ".pb, .pbtxt or SavedModel directory")->required();
  verb->add_option("--outputs", options->outputs, "Node or tensor names");
  verb->add_flag("--coverage", options->coverage, "How many nodes of each op are covered");
  verb->add_flag("--plan", options->plan, "Kernels and memory for the shapes given by --shape, --input or --data");
  verb->add_flag("--json", context.json, "Print JSON");
  options->feed.add_to(*verb);
  verb->callback([options, &context] {
    char* text = nullptr;
    if (options->plan) {
      Engine::Options engine_options;
      engine_options.outputs = options->outputs;
      const Engine engine(options->model, engine_options);
      const std::vector<Array> feed = make_feed(engine, options->feed);
      const std::vector<blade_tensor> inputs = tensors_of(feed);
      check(blade_engine_explain(engine.get(), inputs.data(), static_cast<int32_t>(inputs.size()), &text));
    } else {
      std::vector<const char*> names;
      for (const std::string& name : options->outputs) names.push_back(name.c_str());
      check(blade_inspect(options->model.c_str(), names.data(), static_cast<int32_t>(names.size()), &text));
    }
    const std::unique_ptr<char, void (*)(void*)> held(text, blade_free);
    const json report = json::parse(text);
    if (context.json || options->plan) {
      std::cout << report.dump(2) << "\n";
    } else {
      print(report, options->coverage);
    }
  });
}

}  // namespace blade::command
