// blade run: runs a model once and prints or saves its outputs.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "feeds.h"
#include "verbs.h"

namespace blade::command {
namespace {

// Range and mean of a float32 output, for people.
nlohmann::ordered_json summary(const Engine::Info& info, const Tensor& tensor) {
  nlohmann::ordered_json row = {
      {"name", info.name}, {"dtype", dtype_name(tensor.description().dtype)}, {"shape", tensor.dims()}};
  if (tensor.description().dtype == BLADE_FLOAT32 && tensor.size<float>() > 0) {
    const float* data = tensor.data<float>();
    const size_t count = tensor.size<float>();
    double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += data[i];
    row["min"] = *std::min_element(data, data + count);
    row["max"] = *std::max_element(data, data + count);
    row["mean"] = sum / static_cast<double>(count);
  }
  return row;
}

std::string file_name(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '/' || c == ':'; }, '_');
  return name + ".npy";
}

}  // namespace

void add_run(CLI::App& app, Context& context) {
  struct Options {
    std::string model, save;
    RunOptions wanted;
    FeedOptions feed;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("run", "Run a model once, without TensorFlow");
  verb->add_option("model", options->model, ".pb, .pbtxt or SavedModel directory")->required();
  options->wanted.add_to(*verb);
  verb->add_option("--save", options->save, "Directory for the outputs as .npy files");
  verb->add_flag("--json", context.json, "Print JSON");
  options->feed.add_to(*verb);
  verb->callback([options, &context] {
    Engine engine(options->model, options->wanted.engine_options());
    const std::vector<Array> feed = make_feed(engine, options->feed);
    const std::vector<Tensor> results = engine.run(tensors_of(feed));
    const std::vector<Engine::Info> infos = engine.outputs();
    if (!options->save.empty()) std::filesystem::create_directories(options->save);
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (size_t i = 0; i < results.size(); ++i) {
      rows.push_back(summary(infos[i], results[i]));
      if (options->save.empty()) continue;
      blade_tensor tensor = results[i].description();
      tensor.data = const_cast<unsigned char*>(results[i].bytes());
      save_npy(options->save + "/" + file_name(infos[i].name), tensor);
    }
    for (const auto& row : rows) {
      if (!context.json) std::cout << row.dump() << "\n";
    }
    if (context.json) std::cout << rows.dump(2) << "\n";
  });
}

}  // namespace blade::command
