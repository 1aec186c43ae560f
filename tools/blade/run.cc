// blade run: runs a model once and prints or saves its outputs.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/paths.h"
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

// The outputs under the names of results of Engine.run in Python: those asked for, else their keys in the signature,
// where there is one.
std::vector<Engine::Info> named_outputs(const Engine& engine, const std::vector<std::string>& asked) {
  std::vector<Engine::Info> infos = engine.outputs();
  for (size_t i = 0; i < infos.size(); ++i) {
    if (i < asked.size()) {
      infos[i].name = asked[i];
    } else if (std::string key = engine.output_key(i); !key.empty()) {
      infos[i].name = std::move(key);
    }
  }
  return infos;
}

void make_folder(const std::string& folder) {
  std::error_code why, ignored;
  std::filesystem::create_directories(folder, why);
  if (std::filesystem::is_directory(folder, ignored)) return;
  throw Error(BLADE_INVALID_ARGUMENT, "--save names '" + folder + "', which is no directory and cannot be made one (" +
                                          why.message() + "); give another");
}

// Where each output is saved; none where no folder was given. Of names that would go to one file the later are
// numbered.
std::vector<std::string> output_files(const std::string& folder, const std::vector<Engine::Info>& outputs) {
  std::vector<std::string> files;
  if (folder.empty()) return files;
  for (const Engine::Info& output : outputs) {
    std::string name = output.name;
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == '/' || c == ':'; }, '_');
    std::string file = folder + "/" + name + ".npy";
    for (int number = 2; std::find(files.begin(), files.end(), file) != files.end(); ++number)
      file = folder + "/" + name + "_" + std::to_string(number) + ".npy";
    files.push_back(std::move(file));
  }
  return files;
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
  verb->add_option("--save", options->save, "Directory for the outputs as .npy files, bfloat16 as float32");
  verb->add_flag("--json", context.json, "Print JSON");
  options->feed.add_to(*verb);
  verb->callback([options, &context] {
    Engine engine(options->model, options->wanted.engine_options());
    const std::vector<Engine::Info> infos = named_outputs(engine, options->wanted.outputs);
    const std::vector<std::string> files = output_files(options->save, infos);
    if (const Status clash = check_apart(options->model, feed_files(options->feed), files); !clash.ok())
      throw Error(BLADE_INVALID_ARGUMENT, clash.message());
    const std::vector<Array> feed = make_feed(engine, options->feed);
    const std::vector<Tensor> results = engine.run(tensors_of(feed));
    if (!files.empty()) make_folder(options->save);
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (size_t i = 0; i < results.size(); ++i) {
      rows.push_back(summary(infos[i], results[i]));
      if (files.empty()) continue;
      rows.back()["saved"] = files[i];
      Array saved;
      saved.description = results[i].description();
      saved.bytes.assign(results[i].bytes(), results[i].bytes() + saved.description.bytes);
      saved.convert_to(BLADE_FLOAT32);
      save_npy(files[i], saved.tensor());
    }
    for (const auto& row : rows) {
      if (!context.json) std::cout << row.dump() << "\n";
    }
    if (context.json) std::cout << rows.dump(2) << "\n";
  });
}

}  // namespace blade::command
